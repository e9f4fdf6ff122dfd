"""Before the first level: does the server answer as needed, how long are prompts by its count, what does it run?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from random import Random
from typing import Final

from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.profiles.measure.client import Client, Outcome
from sky_melange.profiles.measure.prompts import prompt
from sky_melange.profiles.measure.results import ErrorKind, Failure, ServerFacts
from sky_melange.profiles.measure.spec import MeasureSpec

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


async def check_server(client: Client, spec: MeasureSpec) -> ServerFacts:
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


async def is_alive(client: Client, spec: MeasureSpec) -> bool:
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


async def calibrate(client: Client, spec: MeasureSpec, input_tokens: Iterable[int]) -> dict[int, int | str]:
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


async def warm_up(client: Client, words: int, random: Random) -> None:
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
