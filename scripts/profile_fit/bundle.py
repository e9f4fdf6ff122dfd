"""From the runs of one layout to its profile."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from profile_fit.accuracy import fitted, memory_tokens, output_share_held, rate_errors
from profile_fit.fitting import Fit
from profile_fit.neighbours import NEIGHBOURS_WEIGHT
from profile_fit.outcomes import Outcome, main_setup, quantile, stated, statistic
from profile_fit.runs import Layout
from profile_fit.serving_runs import Limit, Run
from sky_melange.domain.engine import can_launch
from sky_melange.domain.profile import (
    LatencyModelForm,
    MeasuredRanges,
    Profile,
    ProfileError,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
    TpotLaw,
    TtftLaw,
)

SOURCE = "measured runs of SemiAnalysis InferenceX and others, published with aiconfigurator (silicon_sample.csv)"
ATTRIBUTION = (
    "Data of SemiAnalysis InferenceX (https://github.com/SemiAnalysisAI/InferenceX), which asks for this attribution, "
    "and of other parties, as published with aiconfigurator (https://github.com/ai-dynamo/aiconfigurator), Apache-2.0."
)

_SHARING: Final = {
    "ep": "Expert parallel",
    "dp-ep": "Expert parallel with data-parallel attention",
    "dp": "Data-parallel attention",
}


def profile(outcome: Outcome, memory_gib: float, dates: Mapping[str, str], date: str) -> Profile:
    """The profile of a layout: the fit to all runs, for its most frequent engine version."""
    layout = outcome.layout
    setup = main_setup(outcome.runs, dates)
    found = fitted(layout, outcome.runs, memory_gib, setup=setup, neighbours=outcome.lent)
    tpot_factor, ttft_factor = found.factors[setup]
    newest = max((dates[run.name] for run in outcome.runs), default="")
    return Profile(
        key=ProfileKey(
            model=layout.model,
            accelerator=layout.accelerator,
            tensor_parallel=layout.gpus,
            dtype=layout.dtype,
            engine=layout.engine,
            layout=layout.sharing,
        ),
        engine_version=setup,
        engine_args={},
        kv_cache_tokens=_held(outcome, found.limit, memory_tokens(layout, memory_gib)),
        form=LatencyModelForm(
            tpot=_scaled_tpot(found.tpot, tpot_factor),
            ttft=_scaled_ttft(found.ttft, ttft_factor),
            ranges=ranges(outcome.runs, found.limit),
            max_running=None if math.isinf(found.limit.max_running) else max(1, int(found.limit.max_running)),
            output_share_held=output_share_held(layout),
        ),
        provenance=ProfileProvenance(
            kind=ProfileKind.FITTED,
            source=SOURCE,
            fetched_at=newest or date,
            error=error(outcome),
            notes=_notes(outcome, found, setup),
        ),
    )


def ranges(runs: Sequence[Run], limit: Limit) -> MeasuredRanges:
    """What the runs cover. A run that waits for memory covers no more tokens than the memory holds."""
    inputs, outputs = [run.input_tokens for run in runs], [run.output_tokens for run in runs]
    concurrency = [run.concurrency for run in runs]
    return MeasuredRanges(
        input_tokens=(min(inputs), max(inputs)),
        output_tokens=(min(outputs), max(outputs)),
        concurrency=(min(concurrency), max(concurrency)),
        request_tokens=max(run.input_tokens + run.output_tokens for run in runs),
        context_tokens=int(max(limit.running(run) * (run.input_tokens + run.output_tokens / 2) for run in runs)),
    )


def error(outcome: Outcome) -> ProfileError:
    """Cross-validated errors of all runs, outliers too: median, or largest where a median would rest on too few."""
    found = outcome.predictions
    rates = [item.fraction for item in rate_errors(found)]
    basis = f"{len(found)} measured runs of this model and layout, each predicted from the others"
    if outcome.neighbours:
        basis += " and from runs of " + " and ".join(_differing(outcome.layout, name) for name, _ in outcome.neighbours)
    return ProfileError(
        statistic=f"leave-one-out cross-validated {statistic(len(found))} absolute relative error",
        tpot_fraction=_digits(stated([item.tpot_fraction for item in found])),
        ttft_fraction=_digits(stated([item.ttft_fraction for item in found])),
        request_rate_fraction=_digits(max(rates) if outcome.few else statistics.median(rates)) if rates else None,
        runs=len(found),
        basis=basis,
    )


def details(outcome: Outcome) -> dict[str, object]:
    """What the profile file keeps beside the schema: versions, mean and 90th percentile, neighbours, outliers."""
    tpot = sorted(item.tpot_fraction for item in outcome.predictions)
    versions = Counter(run.setup for run in outcome.runs)
    return {
        "engine_versions": dict(sorted(versions.items())),
        "tpot_mean_fraction": _digits(statistics.fmean(tpot)),
        "tpot_p90_fraction": _digits(quantile(tpot, 0.9)),
        "neighbours": [
            f"{name.accelerator} {name.label} {name.dtype}: {len(lent.runs)} runs, at most as {lent.weight:.3g} own"
            for name, lent in outcome.neighbours
        ],
        "outliers": [f"{run.name}: {factor:.2f} times the fitted TPOT" for run, factor in outcome.outliers],
    }


def _differing(layout: Layout, other: Layout) -> str:
    """The other layout by what sets it apart: `tp8 (fp8)`, `B300 tp4 ep`."""
    words = [
        name for name, own in ((other.accelerator, layout.accelerator), (other.engine, layout.engine)) if name != own
    ]
    words += [f"tp{other.gpus}", other.sharing, f"({other.dtype})" if other.dtype != layout.dtype else ""]
    return " ".join(word for word in words if word)


def _held(outcome: Outcome, limit: Limit, estimate: float) -> int | None:
    """Tokens of KV cache: what waiting runs show, or else the 16-bit estimate or what was seen to fit, if more."""
    most = max(limit.running(run) * run.held_tokens(limit.output_share_held) for run in outcome.runs)
    if limit.kv_cache_tokens < most * 1.0001:
        return int(limit.kv_cache_tokens)
    held = max(estimate, most)
    return None if math.isinf(held) else int(held)


def _scaled_tpot(law: TpotLaw, factor: float) -> TpotLaw:
    return TpotLaw(
        fixed_s=_digits(law.fixed_s * factor),
        sequence_s=_digits(law.sequence_s * factor),
        sequence_exponent=law.sequence_exponent,
        context_s=_digits(law.context_s * factor),
        prefill_s=_digits(law.prefill_s * factor),
    )


def _scaled_ttft(law: TtftLaw, factor: float) -> TtftLaw:
    return TtftLaw(
        fixed_s=_digits(law.fixed_s * factor),
        prompt_s=_digits(law.prompt_s * factor),
        queue_s=_digits(law.queue_s * factor),
        sequence_s=_digits(law.sequence_s * factor),
    )


def _notes(outcome: Outcome, found: Fit, setup: str) -> tuple[str, ...]:
    notes = []
    if outcome.neighbours:
        names = " and ".join(_differing(outcome.layout, name) for name, _ in outcome.neighbours)
        own = len(outcome.runs)
        few = "Scaled from its neighbours' laws rather than fitted: " if outcome.few else ""
        notes.append(
            f"{few}{own} runs of its own, and runs of {names}, scaled to them, that weigh at most as "
            f"much as {NEIGHBOURS_WEIGHT:g} of its own."
        )
    others = {name: factor for name, (factor, _) in sorted(found.factors.items()) if name != setup}
    own_factor = found.factors[setup][0]
    if others:
        listed = ", ".join(f"{name} {factor / own_factor:.2f}" for name, factor in others.items())
        notes.append(f"TPOT of the other engine versions in the data, as a multiple of {setup}: {listed}.")
    if outcome.layout.sharing:
        notes.append(f"{_SHARING[outcome.layout.sharing]} over all GPUs of the replica.")
    if not can_launch(outcome.layout.engine, outcome.layout.sharing):
        notes.append("No launch files are written for this engine, so plans do not use it: it serves as evidence.")
    notes.append(ATTRIBUTION)
    return tuple(notes)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
