"""Drives one measurement from its journal: measures what is not in it, and adds to it.

Prompts are common words, each one token in nearly every tokenizer, in random order: engines keep the attention state of
prompts they have seen, and would answer a repeated one without the work that is to be measured.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from functools import partial
from random import Random
from typing import Final

from sky_melange.domain.units import ms_above, s_to_ms
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.profiles.capacity import targets
from sky_melange.profiles.measure.client import Client, Outcome, connect
from sky_melange.profiles.measure.journal import Journal, Progress
from sky_melange.profiles.measure.load import run_level
from sky_melange.profiles.measure.results import (
    EndKind,
    ErrorKind,
    Failure,
    LevelFailure,
    LevelResult,
    ServerFacts,
    ShapeEnd,
)
from sky_melange.profiles.measure.spec import Endpoint, MeasureSpec, Shape

_WORDS: Final = tuple(
    """
    the of and to in is it you that he was for on are with as his they be at one have this from or had by but
    some what there we can out other were all your when up use word how said an each she which do their time if
    will way about many then them would write like so these her long make thing see him two has look more day
    could go come did my sound no most number who over know water than call first people may down side been now
    find any new work part take get place made live where after back little only round man year came show every
    good me give our under name very through just form much great think say help low line before turn cause same
    mean differ move right boy old too does tell sentence set three want air well also play small end put home
    read hand port large spell add even land here must big high such follow act why ask men change went light
    kind off need house picture try us again animal point mother world near build self earth father
    """.split()  # noqa: SIM905 - a list of 200 quoted words would be a page long
)

_PROBE_WORDS: Final = 16
_PROBE_TOKENS: Final = 4
_WARM_UP_ROUNDS: Final = 3
_WARM_UP_CONCURRENCY: Final = 4
_WARM_UP_TOKENS: Final = 16
_ROUNDS: Final = 6
_TOLERANCE_FRACTION: Final = 0.05
_RETRY_PAUSES_S: Final = (0.1, 0.5)
_PASSING: Final = (ErrorKind.CONNECTION, ErrorKind.SERVER, ErrorKind.OVERLOADED)
_CACHE_LINE: Final = re.compile(r"^vllm:cache_config_info\{(?P<labels>[^}]*)\}", re.MULTILINE)
_LABEL: Final = re.compile(r'(?P<name>num_gpu_blocks|block_size)="(?P<value>\d{1,12})"')


class EndpointError(MissingDataError):
    """The server cannot be measured, or stopped answering; what was measured before is kept."""


async def measure(spec: MeasureSpec, endpoint: Endpoint, journal: Journal, progress: Progress) -> None:
    """Measures every shape that the journal has not finished. What is in the journal is never lost.

    Raises:
        EndpointError: the server does not answer, or stopped answering.
        InputError: the server refuses what it is asked, or runs another version than the journal's.

    """
    left = [shape for shape in spec.shapes if shape not in journal.ends]
    if not left:
        return
    async with connect(endpoint, spec.served_model, stall_timeout_s=spec.effort.stall_timeout_s) as client:
        await _know_server(client, spec, journal, progress)
        words = await _calibrate(client, spec, [shape.input_tokens for shape in left])
        known = [found for found in words.values() if isinstance(found, int)]
        if known:
            await _warm_up(client, known[0], Random(f"{spec.effort.seed} warm-up"))  # noqa: S311 - a load, no secret
        for shape in left:
            found = words[shape.input_tokens]
            if isinstance(found, str):
                end = ShapeEnd(shape=shape, kind=EndKind.REFUSED, reason=found)
                journal.add(end)
                progress.end(end)
            else:
                await _measure_shape(client, spec, shape, found, journal=journal, progress=progress)


def next_step(spec: MeasureSpec, shape: Shape, levels: Sequence[LevelResult]) -> int | ShapeEnd:
    """The concurrency to measure next, or why the shape is finished.

    `levels` are the shape's, by rising concurrency. The level that breaks a target is kept: planning interpolates
    between it and the one before.
    """
    if levels:
        broken = _broken_target(spec.slo, levels[-1])
        if broken is not None:
            return ShapeEnd(shape=shape, kind=EndKind.SLO, reason=broken)
        if _saturated(levels, spec.effort.min_gain_fraction):
            reason = f"throughput stopped rising at concurrency {levels[-3].concurrency}"
            return ShapeEnd(shape=shape, kind=EndKind.THROUGHPUT, reason=reason)
    done = {level.concurrency for level in levels}
    left = [concurrency for concurrency in spec.concurrencies if concurrency not in done]
    if not left:
        reason = f"{spec.concurrencies[-1]} is the largest concurrency asked for"
        return ShapeEnd(shape=shape, kind=EndKind.CONCURRENCY, reason=reason)
    return left[0]


def prompt(words: int, random: Random) -> str:
    """A prompt of that many words."""
    return " ".join(random.choices(_WORDS, k=words))


async def _know_server(client: Client, spec: MeasureSpec, journal: Journal, progress: Progress) -> None:
    facts = await _check_server(client, spec)
    before = journal.server
    if before is None:
        journal.add(facts)
    elif facts.engine_version != before.engine_version:
        message = (
            f"runs {facts.engine_version} now, and {before.engine_version} when the journal was begun; "
            "start the old version, or --restart"
        )
        raise InputError([Mistake(source="--endpoint", message=message)])
    progress.note(f"the server runs {spec.key.engine} {facts.engine_version}")


async def _measure_shape(
    client: Client, spec: MeasureSpec, shape: Shape, words: int, *, journal: Journal, progress: Progress
) -> None:
    """Raises the concurrency until something stops it; every step goes into the journal."""
    while True:
        step = next_step(spec, shape, journal.levels(shape))
        if isinstance(step, ShapeEnd):
            journal.add(step)
            progress.end(step)
            return
        random = Random(f"{spec.effort.seed} {shape} {step}")  # noqa: S311 - a load, no secret
        outcome = await run_level(client, partial(prompt, words, random), shape, step, spec.effort)
        if isinstance(outcome, LevelFailure):
            progress.failure(shape, step, outcome)
            if outcome.suspect and not await _is_alive(client, spec):
                raise EndpointError(f"the endpoint stopped answering at {shape}, {step} at once: {outcome.reason}")
            kind = EndKind.REFUSED if outcome.refused else EndKind.FAILED
            end = ShapeEnd(shape=shape, kind=kind, reason=f"at concurrency {step}: {outcome.reason}")
            journal.add(end)
            progress.end(end)
            return
        journal.add(outcome)
        progress.level(outcome)


def _broken_target(slo: Slo | None, level: LevelResult) -> str | None:
    """The first target that the level's mean latencies break, in words."""
    if slo is None:
        return None
    for target in targets(slo, level.shape.output_tokens):
        latency_s = target.latency_s(level.ttft_s.mean, level.tpot_s.mean)
        if latency_s > target.limit_s:
            return (
                f"{target.name} is {ms_above(latency_s, target.limit_s)} ms at concurrency {level.concurrency}, "
                f"over the target of {s_to_ms(target.limit_s):g} ms"
            )
    return None


def _saturated(levels: Sequence[LevelResult], min_gain_fraction: float) -> bool:
    """Whether each of the last two levels failed to raise the best rate before both of them."""
    if len(levels) < 3:
        return False
    best = max(level.request_rate_rps for level in levels[:-2])
    return all(level.request_rate_rps < best * (1 + min_gain_fraction) for level in levels[-2:])


async def _check_server(client: Client, spec: MeasureSpec) -> ServerFacts:
    """Sends one short request and asks for the version.

    Raises:
        EndpointError: the server does not answer.
        InputError: it refuses the model or the key, or lacks token counts, `ignore_eos`, or a version.

    """
    random = Random(spec.effort.seed)  # noqa: S311 - a load, no secret
    outcome = await _ask(client, prompt(_PROBE_WORDS, random), _PROBE_TOKENS)
    if isinstance(outcome, Failure):
        raise await _explain(client, spec, outcome)
    version = spec.engine_version or await _version(client)
    if version is None:
        raise InputError(
            [Mistake(source="--engine-version", message="is needed: this server does not say its version")]
        )
    kv_cache_tokens = spec.kv_cache_tokens or await _kv_cache_tokens(client)
    return ServerFacts(engine_version=version, kv_cache_tokens=kv_cache_tokens)


async def _is_alive(client: Client, spec: MeasureSpec) -> bool:
    """Whether a short request still succeeds."""
    random = Random(f"{spec.effort.seed} alive")  # noqa: S311 - a load, no secret
    return not isinstance(await _ask(client, prompt(_PROBE_WORDS, random), _PROBE_TOKENS), Failure)


async def _ask(client: Client, text: str, output_tokens: int) -> Outcome:
    """One request, tried again where the failure may be a passing one: some fail on many a busy server."""
    outcome = await client.generate(text, output_tokens)
    for pause_s in _RETRY_PAUSES_S:
        if not isinstance(outcome, Failure) or outcome.kind not in _PASSING:
            break
        await asyncio.sleep(pause_s)
        outcome = await client.generate(text, output_tokens)
    return outcome


async def _calibrate(client: Client, spec: MeasureSpec, input_tokens: Iterable[int]) -> dict[int, int | str]:
    """Words of a prompt by its wanted length in tokens, as the server counts; or the server's reason to refuse it."""
    random = Random(f"{spec.effort.seed} calibrate")  # noqa: S311 - a load, no secret
    scale = await _tokens_per_word(client, random)
    return {tokens: await _words(client, tokens, scale, random) for tokens in sorted(set(input_tokens))}


async def _tokens_per_word(client: Client, random: Random) -> float:
    """Nearly 1; several where tokens are letters, and then too long a first try would be refused for no reason."""
    counts = []
    for words in (_PROBE_WORDS, 2 * _PROBE_WORDS):
        outcome = await _ask(client, prompt(words, random), _PROBE_TOKENS)
        if isinstance(outcome, Failure):
            return 1.0
        counts.append(outcome.prompt_tokens)
    return max(1.0, (counts[1] - counts[0]) / _PROBE_WORDS)


async def _warm_up(client: Client, words: int, random: Random) -> None:
    """A few requests side by side that nobody looks at: a server's first ones compile kernels and fill caches."""
    for _ in range(_WARM_UP_ROUNDS):
        requests = [client.generate(prompt(words, random), _WARM_UP_TOKENS) for _ in range(_WARM_UP_CONCURRENCY)]
        await asyncio.gather(*requests)


async def _words(client: Client, tokens: int, scale: float, random: Random) -> int | str:
    """Tries lengths until the count is exact; then the nearest, when it is within 5 %. `scale`: tokens a word."""
    words = max(1, round(tokens / scale))
    tried: dict[int, int] = {}
    for _ in range(_ROUNDS):
        outcome = await _ask(client, prompt(words, random), _PROBE_TOKENS)
        if isinstance(outcome, Failure):
            if outcome.kind is ErrorKind.REFUSED:
                return outcome.detail
            raise EndpointError(f"a prompt of {words} words failed: {outcome.detail}")
        tried[words] = outcome.prompt_tokens
        if outcome.prompt_tokens == tokens:
            return words
        extra = tokens - outcome.prompt_tokens
        # One word is one token in nearly every tokenizer; where it is not, go by the ratio seen.
        step = extra if abs(extra) < words / 2 else round(words * tokens / max(outcome.prompt_tokens, 1)) - words
        words = max(1, words + step)
        if words in tried:
            break
    best = min(tried, key=lambda count: (abs(tried[count] - tokens), count))
    if abs(tried[best] - tokens) <= max(1, _TOLERANCE_FRACTION * tokens):
        return best
    raise InputError(
        [
            Mistake(
                source="--grid",
                message=f"no prompt of {tokens} tokens can be made: {best} words are {tried[best]} tokens by the "
                "server's count (a chat template adds its own); use longer inputs or --api completions",
            )
        ]
    )


async def _explain(client: Client, spec: MeasureSpec, failure: Failure) -> InputError | EndpointError:
    """The first request failed: whose fault is it?"""
    if failure.kind is ErrorKind.NO_USAGE:
        message = "sends no token counts with a stream (stream_options.include_usage); it cannot be measured"
        return InputError([Mistake(source="--endpoint", message=message)])
    if failure.kind is ErrorKind.WRONG_LENGTH:
        message = f"does not hold the asked-for answer length (ignore_eos, min_tokens): {failure.detail}"
        return InputError([Mistake(source="--endpoint", message=message)])
    if failure.kind is ErrorKind.REFUSED:
        message = f"{spec.served_model!r} is refused: {failure.detail}{await _models(client)}"
        return InputError([Mistake(source="--model", message=message)])
    return EndpointError(f"the endpoint does not answer ({failure.kind.value}): {failure.detail}; nothing was measured")


async def _models(client: Client) -> str:
    content = await client.get_json("/v1/models")
    entries = content.get("data") if content else None
    names = [str(entry.get("id")) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return f"; the server has: {', '.join(names[:10])[:200]}" if names else ""


async def _version(client: Client) -> str | None:
    """vLLM answers `/version`; others need --engine-version."""
    content = await client.get_json("/version")
    version = content.get("version") if content else None
    return version if isinstance(version, str) and 0 < len(version) <= 64 and version.isprintable() else None


async def _kv_cache_tokens(client: Client) -> int | None:
    """KV cache tokens of a vLLM server from its metrics (blocks × tokens a block), over all its GPUs; else None.

    Tensor parallel ranks hold parts of the same tokens, so their number does not enter.
    """
    found = _CACHE_LINE.search(await client.get_text("/metrics") or "")
    labels = {match["name"]: int(match["value"]) for match in _LABEL.finditer(found["labels"])} if found else {}
    return labels.get("num_gpu_blocks", 0) * labels.get("block_size", 0) or None
