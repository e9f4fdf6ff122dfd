"""From the runs of one layout to its profile, or to the reason why there is none."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from profile_fit.accuracy import (
    LARGEST_MEDIAN,
    LEAST_RUNS,
    Prediction,
    leave_one_out,
    memory_tokens,
    most_memory_tokens,
    outliers,
    output_share_held,
    predictor,
    rate_errors,
)
from profile_fit.runs import NOT_OFFERED, Layout
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
from sky_melange.profiles.fitting import Fit, Run, fit

SOURCE = "measured runs of SemiAnalysis InferenceX and others, published with aiconfigurator (silicon_sample.csv)"
ATTRIBUTION = (
    "Data of SemiAnalysis InferenceX (https://github.com/SemiAnalysisAI/InferenceX), which asks for this attribution, "
    "and of other parties, as published with aiconfigurator (https://github.com/ai-dynamo/aiconfigurator), Apache-2.0."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one layout. `reason` is empty when the profile is bundled."""

    layout: Layout
    runs: tuple[Run, ...]
    outliers: tuple[tuple[Run, float], ...]
    predictions: tuple[Prediction, ...]
    reason: str

    @property
    def clean(self) -> list[Prediction]:
        """Predictions of the runs that are no outliers."""
        wrong = {run.name for run, _ in self.outliers}
        return [prediction for prediction in self.predictions if prediction.run.name not in wrong]

    @property
    def kept(self) -> list[Run]:
        """Runs that are no outliers."""
        wrong = {run.name for run, _ in self.outliers}
        return [run for run in self.runs if run.name not in wrong]

    @property
    def median(self) -> float | None:
        """Cross-validated median TPOT error; None where there are too few runs."""
        return statistics.median(p.tpot_fraction for p in self.clean) if self.predictions else None

    @property
    def refused(self) -> bool:
        """Whether the error is too large."""
        return self.median is not None and self.median > LARGEST_MEDIAN


def examine(layout: Layout, runs: Sequence[Run], memory_gib: float) -> Outcome:
    """Cross-validates one layout and decides whether its profile is good enough to ship."""
    if len(runs) < LEAST_RUNS:
        reason = f"{len(runs)} runs, fewer than {LEAST_RUNS}"
        return Outcome(layout=layout, runs=tuple(runs), outliers=(), predictions=(), reason=reason)
    wrong = outliers(runs, layout, memory_gib)
    names = {run.name for run, _ in wrong}
    known = [run for run in runs if run.name not in names]
    predictions = leave_one_out(runs, predictor(layout, memory_gib), known=known)
    outcome = Outcome(layout=layout, runs=tuple(runs), outliers=tuple(wrong), predictions=tuple(predictions), reason="")
    if outcome.refused:
        reason = f"cross-validated median TPOT error {outcome.median:.1%}, over {LARGEST_MEDIAN:.0%}"
        return replace(outcome, reason=reason)
    if layout.accelerator in NOT_OFFERED:
        return replace(outcome, reason=f"no cloud that SkyPilot launches on offers {layout.accelerator}")
    return outcome


def profile(outcome: Outcome, memory_gib: float, dates: Mapping[str, str], date: str) -> Profile:
    """The profile of a layout: the fit to all runs but the outliers, for its most frequent engine version."""
    layout, kept = outcome.layout, outcome.kept
    share = output_share_held(layout)
    fitted = fit(kept, kv_cache_tokens=most_memory_tokens(layout, memory_gib), output_share_held=share)
    setup = main_setup(kept, dates)
    tpot_factor, ttft_factor = fitted.factors[setup]
    newest = max((dates[run.name] for run in kept), default="")
    return Profile(
        key=ProfileKey(
            model=layout.model,
            accelerator=layout.accelerator,
            tensor_parallel=layout.gpus,
            dtype=layout.dtype,
            engine=layout.engine,
        ),
        engine_version=setup,
        engine_args={},
        kv_cache_tokens=_held(outcome, fitted, memory_tokens(layout, memory_gib)),
        form=LatencyModelForm(
            tpot=_scaled_tpot(fitted.tpot, tpot_factor),
            ttft=_scaled_ttft(fitted.ttft, ttft_factor),
            ranges=ranges(kept, fitted),
            max_running=None if fitted.max_running == float("inf") else max(1, int(fitted.max_running)),
            output_share_held=share,
        ),
        provenance=ProfileProvenance(
            kind=ProfileKind.FITTED,
            source=SOURCE,
            fetched_at=newest or date,
            error=error(outcome),
            notes=_notes(outcome, fitted, setup),
        ),
        layout=layout.sharing,
    )


def main_setup(runs: Sequence[Run], dates: Mapping[str, str]) -> str:
    """The engine version with the most runs; of several, the one with the newest run."""
    count = Counter(run.setup for run in runs)
    newest = {setup: max(dates[run.name] for run in runs if run.setup == setup) for setup in count}
    return max(count, key=lambda setup: (count[setup], newest[setup], setup))


def ranges(runs: Sequence[Run], fitted: Fit) -> MeasuredRanges:
    """What the runs cover. A run that waits for memory covers no more tokens than the memory holds."""
    share = fitted.output_share_held
    inputs, outputs = [run.input_tokens for run in runs], [run.output_tokens for run in runs]
    concurrency = [run.concurrency for run in runs]
    context = 0.0
    for run in runs:
        held = fitted.kv_cache_tokens / (run.input_tokens + share * run.output_tokens)
        running = min(float(run.concurrency), held, fitted.max_running)
        context = max(context, running * (run.input_tokens + run.output_tokens / 2))
    return MeasuredRanges(
        input_tokens=(min(inputs), max(inputs)),
        output_tokens=(min(outputs), max(outputs)),
        concurrency=(min(concurrency), max(concurrency)),
        request_tokens=max(run.input_tokens + run.output_tokens for run in runs),
        context_tokens=int(context),
    )


def error(outcome: Outcome) -> ProfileError:
    """Cross-validated median errors."""
    clean = outcome.clean
    rates = [item.fraction for item in rate_errors(clean)]
    dropped = f"; {len(outcome.outliers)} outliers left out" if outcome.outliers else ""
    return ProfileError(
        statistic="leave-one-out cross-validated median absolute relative error",
        tpot_fraction=_digits(statistics.median(item.tpot_fraction for item in clean)),
        ttft_fraction=_digits(statistics.median(item.ttft_fraction for item in clean)),
        request_rate_fraction=_digits(statistics.median(rates)) if rates else None,
        runs=len(clean),
        basis=f"{len(clean)} measured runs of this model and layout, each predicted from the others{dropped}",
    )


def details(outcome: Outcome) -> dict[str, object]:
    """What the profile file keeps beside the schema: versions, mean and 90th percentile, outliers."""
    tpot = sorted(item.tpot_fraction for item in outcome.clean)
    versions = Counter(run.setup for run in outcome.kept)
    return {
        "engine_versions": dict(sorted(versions.items())),
        "tpot_mean_fraction": _digits(statistics.fmean(tpot)),
        "tpot_p90_fraction": _digits(quantile(tpot, 0.9)),
        "outliers": [f"{run.name}: {factor:.2f} times the fitted TPOT" for run, factor in outcome.outliers],
    }


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the ordered values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _held(outcome: Outcome, fitted: Fit, estimate: float) -> int | None:
    """Tokens of KV cache: what waiting runs show, or else the 16-bit estimate or what was seen to fit, if more."""
    most = most_seen(outcome, fitted)
    if fitted.kv_cache_tokens < most * 1.0001:
        return int(fitted.kv_cache_tokens)
    held = max(estimate, most)
    return None if held == float("inf") else int(held)


def most_seen(outcome: Outcome, fitted: Fit) -> float:
    """The most tokens that runs held at once."""
    share = fitted.output_share_held
    seen = []
    for run in outcome.kept:
        tokens = run.input_tokens + share * run.output_tokens
        seen.append(min(run.concurrency * tokens, fitted.kv_cache_tokens, fitted.max_running * tokens))
    return max(seen)


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


def _notes(outcome: Outcome, fitted: Fit, setup: str) -> tuple[str, ...]:
    notes = []
    others = {name: factor for name, (factor, _) in sorted(fitted.factors.items()) if name != setup}
    own = fitted.factors[setup][0]
    if others:
        listed = ", ".join(f"{name} {factor / own:.2f}" for name, factor in others.items())
        notes.append(f"TPOT of the other engine versions in the data, as a multiple of {setup}: {listed}.")
    if outcome.layout.sharing:
        notes.append(
            "Expert parallel" + (" with data-parallel attention" if outcome.layout.sharing == "dp-ep" else "") + ": "
            "sky-melange does not write launch files for this layout, so plans do not use it."
        )
    notes.append(ATTRIBUTION)
    return tuple(notes)


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
