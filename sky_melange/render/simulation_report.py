"""A simulation for people, the answer first on one screen, and for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from sky_melange.domain.digest import in_order
from sky_melange.domain.simulation import SimulatedBucket, SimulatedGroup, Simulation, Spread
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo
from sky_melange.render.text import Breakable, new_table, to_text

_WORST_BUCKETS: Final = 3
_LEAST_SHOWN: Final = 0.00005
_HIDDEN: Final = ("histogram_tpot_s", "histogram_ttft_s")
_KEYS: Final = (
    *("attainment", "attainment_error", "refused_fraction", "requests", "request_rate_rps", "duration_s", "arrivals"),
    *("seed", "ttft_s", "tpot_s", "itl_s", "latency_s", "missed", "groups", "buckets", "is_stable", "queue_growth_rps"),
)
_GROUP_KEYS: Final = ("name", "instances", "replicas", "requests", "share_fraction", "attainment")
_LATENCIES: Final = (("TTFT", "ttft_s"), ("TPOT", "tpot_s"), ("ITL", "itl_s"), ("Latency", "latency_s"))


def to_json(found: Simulation, *, requests_per_second: float) -> str:
    """Everything but the histograms. `requests_per_second`: how fast the simulator was, the one figure with a clock."""
    document = in_order(dataclasses.asdict(found), _KEYS)
    document["groups"] = [in_order(group, _GROUP_KEYS) for group in document["groups"]]
    for name in _HIDDEN:
        del document[name]
    document["simulated_requests_per_second"] = round(requests_per_second)
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def table(found: Simulation, slo: Slo, name: str, *, color: bool) -> str:
    """The text, 100 columns; `color` adds terminal codes."""
    return to_text(
        Text(headline(found, name), style="bold"),
        *(Text(sentence) for sentence in _sentences(found, slo)),
        "",
        _latencies(found),
        "",
        _groups(found),
        "",
        *(Text(line) for line in _basis(found)),
        color=color,
    )


def headline(found: Simulation, name: str) -> str:
    """`chat: 99.95% (± 0.02) of 50,000 simulated requests at 32 req/s are within targets (Poisson).`"""
    # What is nearly all is not all.
    share = ">99.99%" if 1 - _LEAST_SHOWN < found.attainment < 1 else f"{found.attainment:.2%}"
    error = f" (±{100 * found.attainment_error:.2g} points)" if 0 < found.attainment_error < 1 else ""
    return (
        f"{name}: {share}{error} of {found.requests:,} simulated requests at {found.request_rate_rps:,.6g} req/s are "
        f"within targets ({found.arrivals})."
    )


def _sentences(found: Simulation, slo: Slo) -> Iterator[str]:
    if not found.is_stable:
        yield (
            f"NOT STABLE: {found.queue_growth_rps:.3g} more requests are in flight every second; the longer it lasts, "
            "the fewer meet the targets."
        )
    missed = found.missed
    causes = [
        f"{f'{share:.2%}' if share >= _LEAST_SHOWN else '<0.01%'} {what}"
        for share, what in (
            (missed.refused, "refused"),
            (missed.ttft, f"TTFT over {_ms(slo.ttft_s)}"),
            (missed.tpot, f"TPOT over {_ms(slo.tpot_s)}"),
            (missed.ntpot, f"latency per token over {_ms(slo.ntpot_s)}"),
        )
        if share > 0
    ]
    if causes:
        yield f"Missed: {', '.join(causes)}."
    for each in found.percentiles:
        verdict = "" if each.attainment >= each.target else ": MISSED"
        yield f"{each.name} ≤ {_ms(each.limit_s)}: {each.attainment:.2%} of the requests{verdict}."
    worst = _worst(found.buckets)
    if worst:
        yield "Most misses: " + "; ".join(worst) + "."


def _worst(buckets: tuple[SimulatedBucket, ...]) -> list[str]:
    def misses(bucket: SimulatedBucket) -> float:
        return bucket.requests * (1.0 - bucket.attainment)

    found = [bucket for bucket in sorted(buckets, key=misses, reverse=True) if bucket.attainment < 1]
    return [
        f"{_size(bucket)}: {bucket.attainment:.1%} of {bucket.requests:,} within" for bucket in found[:_WORST_BUCKETS]
    ]


def _size(bucket: SimulatedBucket) -> str:
    if bucket.input_tokens is None:
        return "larger than the buckets"
    return f"≤{bucket.input_tokens} in × ≤{bucket.output_tokens} out"


def _latencies(found: Simulation) -> Any:
    rich_table = new_table(expand=False)
    for column in ("", "mean", "p50", "p90", "p95", "p99"):
        rich_table.add_column(column, justify="left" if not column else "right", min_width=9)
    for label, name in _LATENCIES:
        spread: Spread | None = getattr(found, name)
        values = [] if spread is None else dataclasses.astuple(spread)
        rich_table.add_row(label, *(_ms(value) for value in values))
    return rich_table


def _groups(found: Simulation) -> Any:
    rich_table = new_table()
    for column in ("Group", "Count", "Requests", "Within", "p99 TTFT", "p99 TPOT", "Busy", "Running", "Limit"):
        rich_table.add_column(column, justify="left" if column == "Group" else "right")
    for group in found.groups:
        rich_table.add_row(*_row(group))
    return rich_table


def _row(group: SimulatedGroup) -> tuple[Any, ...]:
    return (
        Breakable(group.name),
        f"{group.instances}",
        f"{group.share_fraction:.1%}",
        "–" if group.attainment is None else f"{group.attainment:.2%}",
        "–" if group.ttft_s is None else _ms(group.ttft_s.p99),
        "–" if group.tpot_s is None else _ms(group.tpot_s.p99),
        f"{group.busy_fraction:.0%}",
        f"{group.mean_running:.1f}",
        f"{group.running_limit}",
    )


def _basis(found: Simulation) -> Iterator[str]:
    yield (
        f"{found.requests:,} requests in {found.duration_s:,.0f} s, after a start in which the fleet fills; seed "
        f"{found.seed}. Running: requests on a replica while it is busy."
    )
    if found.thinned_to is not None:
        yield f"The fleet is simulated thinned, at {found.thinned_to:.3g} of its size and traffic; counts are of that."
    preempted = sum(group.preemptions for group in found.groups)
    if preempted:
        yield f"{preempted:,} times the KV cache was full and a request was put back."


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None else f"{s_to_ms(seconds):,.4g} ms"
