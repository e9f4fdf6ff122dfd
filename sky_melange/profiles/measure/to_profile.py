"""Findings -> a profile of form `points`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sky_melange.domain.profile import PointsForm, Profile, ProfileError, ProfileKind, ProfileProvenance
from sky_melange.domain.units import s_to_ms
from sky_melange.errors import SkyMelangeError
from sky_melange.profiles.measure.journal import Journal
from sky_melange.profiles.measure.results import EndKind, LevelResult, ServerFacts, Spread
from sky_melange.profiles.measure.spec import MeasureSpec, Shape

_LAG_FRACTION: Final = 0.05
_LAG_RESOLUTION_S: Final = 0.002
"""An idle event loop is up to 1 ms late by itself (the resolution of epoll), two on a busy machine."""
_PROMPT_FRACTION: Final = 0.02
_SIGNIFICANT_DIGITS: Final = 6


class NothingMeasuredError(SkyMelangeError):
    """There is no shape to make a profile of."""

    exit_code = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The profile, what else to keep in its provenance, and how many of the shapes are in it."""

    profile: Profile
    details: Mapping[str, object]
    shapes_in_profile: int
    warnings: tuple[str, ...]


def to_profile(spec: MeasureSpec, journal: Journal) -> Measured:
    """A profile of the finished shapes, as far as they fill a rectangle of inputs × outputs.

    A gap in the grid means "does not fit" to planning, which is no way to say "not measured yet". Raises
    NothingMeasuredError when no shape is finished.
    """
    shapes = rectangle(spec, journal)
    levels = [level for shape in shapes for level in journal.levels(shape)]
    server = journal.server
    if not levels or server is None:
        reasons = sorted({end.reason for end in journal.ends.values()})
        why = f": {reasons[0]}" if reasons else " yet"
        raise NothingMeasuredError(f"no shape could be measured, so there is no profile{why}")
    warnings = (
        *_prompt_warnings(levels),
        *_lag_warnings(levels),
        *_error_warnings(levels),
        *_failed_shapes(spec, journal),
    )
    profile = Profile(
        key=spec.key,
        engine_version=server.engine_version,
        engine_args=dict(spec.engine_args),
        kv_cache_tokens=server.kv_cache_tokens,
        form=_form(levels),
        provenance=ProfileProvenance(
            kind=ProfileKind.MEASURED,
            source="sky-melange profiles measure",
            fetched_at=journal.started_on,
            error=_error(levels),
            notes=(*_notes(spec, journal, shapes), *warnings),
        ),
    )
    return Measured(
        profile=profile, details=_details(spec, server, levels), shapes_in_profile=len(shapes), warnings=warnings
    )


def rectangle(spec: MeasureSpec, journal: Journal) -> list[Shape]:
    """The finished shapes of the inputs whose every output is finished; else those of the first input.

    A shape that failed at its very first concurrency counts as not finished: why it failed is not known to be memory.
    """
    usable = {shape for shape, end in journal.ends.items() if end.kind is not EndKind.FAILED or journal.levels(shape)}
    inputs = list(dict.fromkeys(shape.input_tokens for shape in spec.shapes))
    whole = [i for i in inputs if all(shape in usable for shape in spec.shapes if shape.input_tokens == i)]
    kept = set(whole or inputs[:1])
    return [shape for shape in spec.shapes if shape.input_tokens in kept and shape in usable]


def _form(levels: Sequence[LevelResult]) -> PointsForm:
    inputs = _input_tokens(levels)
    latencies: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    for level in levels:
        size = (inputs[level.shape.input_tokens], level.shape.output_tokens)
        point = (level.concurrency, _rounded(level.ttft_s.mean), _rounded(level.tpot_s.mean))
        latencies.setdefault(size, []).append(point)
    return PointsForm(latencies={size: tuple(curve) for size, curve in latencies.items()})


def _input_tokens(levels: Sequence[LevelResult]) -> dict[int, int]:
    """Prompt tokens as the server counted them, by the length asked for: one number for every output, so that the
    sizes stay a grid."""
    by_wanted: dict[int, list[float]] = {}
    for level in levels:
        by_wanted.setdefault(level.shape.input_tokens, []).append(level.input_tokens)
    return {wanted: max(1, round(statistics.fmean(counted))) for wanted, counted in by_wanted.items()}


def _error(levels: Sequence[LevelResult]) -> ProfileError:
    """How far the means may be off by chance: standard error of the mean, as a fraction, median over the levels."""

    def median(spreads: Sequence[Spread]) -> float | None:
        known = [spread.standard_error / spread.mean for spread in spreads if spread.standard_error is not None]
        return _rounded(statistics.median(known)) if known else None

    return ProfileError(
        statistic="median standard error of the mean",
        tpot_fraction=median([level.tpot_s for level in levels]),
        ttft_fraction=median([level.ttft_s for level in levels]),
        request_rate_fraction=None,
        runs=len(levels),
        basis="spread of the requests within each steady window; differences between runs and machines are not in it",
    )


def _notes(spec: MeasureSpec, journal: Journal, shapes: Sequence[Shape]) -> list[str]:
    notes = [
        "TTFT and TPOT are means over a steady window at a held concurrency; warm-up and tail are left out",
        "prompts are random words without a shared prefix, answers of exactly the given length",
    ]
    if len(shapes) < len(spec.shapes):
        notes.append(f"PARTIAL: {len(shapes)} of the {len(spec.shapes)} shapes asked for")
    if spec.slo is not None:
        limits = ", ".join(
            f"{name} {s_to_ms(value):g} ms"
            for name, value in (("TPOT", spec.slo.tpot_s), ("TTFT", spec.slo.ttft_s), ("NTPOT", spec.slo.ntpot_s))
            if value is not None
        )
        notes.append(f"concurrency was raised until {limits} broke: looser targets find no higher rate here")
    notes += [
        f"{shape}: the server refuses it: {journal.ends[shape].reason}"
        for shape in shapes
        if journal.ends[shape].kind is EndKind.REFUSED
    ]
    return notes


def _failed_shapes(spec: MeasureSpec, journal: Journal) -> list[str]:
    ends = [journal.ends[shape] for shape in spec.shapes if shape in journal.ends]
    return [f"{end.shape}: {end.reason}" for end in ends if end.kind is EndKind.FAILED]


def _prompt_warnings(levels: Sequence[LevelResult]) -> list[str]:
    inputs = _input_tokens(levels)
    off = {
        level.shape.input_tokens: inputs[level.shape.input_tokens]
        for level in levels
        if abs(inputs[level.shape.input_tokens] - level.shape.input_tokens)
        > _PROMPT_FRACTION * level.shape.input_tokens
    }
    return [
        f"prompts asked to be {wanted} tokens are {counted} by the server's count" for wanted, counted in off.items()
    ]


def _lag_warnings(levels: Sequence[LevelResult]) -> list[str]:
    late = [level for level in levels if level.client_lag_s > max(_LAG_RESOLUTION_S, _LAG_FRACTION * level.tpot_s.mean)]
    if not late:
        return []
    worst = max(late, key=lambda level: level.client_lag_s / level.tpot_s.mean)
    return [
        f"the client was late by {s_to_ms(worst.client_lag_s):.1f} ms on average at {worst.shape}, "
        f"{worst.concurrency} at once (TPOT {s_to_ms(worst.tpot_s.mean):.1f} ms): "
        f"{len(late)} of {len(levels)} levels may measure the client; run it on a faster or idler machine"
    ]


def _error_warnings(levels: Sequence[LevelResult]) -> list[str]:
    failed = sum(level.error_count for level in levels)
    attempts = failed + sum(level.completed for level in levels)
    if not failed:
        return []
    worst = max(levels, key=lambda level: level.error_count / (level.error_count + level.completed))
    return [
        f"{failed} of {attempts} requests failed ({failed / attempts:.1%}), most at {worst.shape}, {worst.concurrency} "
        "at once; the figures are of the others"
    ]


def _details(spec: MeasureSpec, server: ServerFacts, levels: Sequence[LevelResult]) -> dict[str, Any]:
    return {
        "api": spec.api.value,
        "served_model": spec.served_model,
        "effort": asdict(spec.effort),
        "engine_version_from": "option" if spec.engine_version else "server",
        "kv_cache_tokens_from": None
        if server.kv_cache_tokens is None
        else ("option" if spec.kv_cache_tokens else "server"),
        "levels": [_level_details(level) for level in levels],
    }


def _level_details(level: LevelResult) -> dict[str, Any]:
    return {
        "input_tokens": _rounded(level.input_tokens),
        "output_tokens": level.shape.output_tokens,
        "concurrency": level.concurrency,
        "counted_request_rate_rps": _rounded(level.counted_rate_rps),
        "requests": level.requests,
        "window_s": _rounded(level.window_s),
        "errors": dict(level.errors),
        "ttft_p50_s": _rounded(level.ttft_s.p50),
        "ttft_p99_s": _rounded(level.ttft_s.p99),
        "tpot_p50_s": _rounded(level.tpot_s.p50),
        "tpot_p99_s": _rounded(level.tpot_s.p99),
        "client_lag_s": _rounded(level.client_lag_s),
    }


def _rounded(value: float) -> float:
    """Six significant digits: more than a clock gives, and short in the file."""
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else value
