"""Figures and sentences of a diff, the same in every format. Figures are rounded here and nowhere before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.plan_diff import GroupChange, GroupChangeKind, InputChange, PlanDiff, RouteChange
from sky_melange.render.money import change, hourly, monthly, monthly_change

GROUP_HEAD: Final = ("Change", "Group", "Machine", "Count", "USD/h each", "By price", "By count", "Requests")
NUMBERS: Final = (3, 4, 5, 6, 7)

_LONGEST: Final = 80


def verdict_line(diff: PlanDiff) -> str:
    """One sentence on everything."""
    before, after, unit = *_means(diff), _per_hour(diff)
    if diff.is_empty:
        return f"{diff.new_name}: nothing changed; it costs USD {hourly(after)} {unit}, {monthly(after)} per month."
    return (
        f"{diff.new_name}: USD {hourly(before)} → {hourly(after)} {unit} ({change(after - before)}), "
        f"{monthly(before)} → {monthly(after)} per month ({monthly_change(after - before)})."
    )


def _means(diff: PlanDiff) -> tuple[float, float]:
    return diff.old_mean_usd_per_hour, diff.new_mean_usd_per_hour


def _per_hour(diff: PlanDiff) -> str:
    return "per hour on average" if diff.is_by_the_clock else "per hour"


def headline(diff: PlanDiff) -> str:
    """What the change costs: per hour, in per cent, per month."""
    before, after, unit = *_means(diff), _per_hour(diff)
    now = f"USD {hourly(after)} {unit}, {monthly(after)} per month"
    if change(after - before) == "0.0000":
        return f"{diff.new_name}: the cost is the same, {now}"
    relative = f" ({after / before - 1:+.1%})" if before > 0 else ""
    return (
        f"{diff.new_name}: {change(after - before)} USD {unit}, {monthly_change(after - before)} per month"
        f"{relative}: {now} instead of {hourly(before)} and {monthly(before)}"
    )


def reasons(diff: PlanDiff) -> str:
    """Why the cost changed: by price, count and overhead, and which traffic asks for it."""
    causes = [f"{name} {change(effect)} USD/h" for name, effect in _causes(diff) if change(effect) != "0.0000"]
    traffic = [_input(item) for item in diff.workload if item.key.startswith("traffic.")]
    others = [item.key for item in diff.workload if not item.key.startswith("traffic.")]
    asked = [*traffic, *([f"other keys of the workload: {', '.join(others)}"] if others else [])]
    return "; ".join([*causes, *(asked or ["the workload is the same"])])


def changed_group_rows(diff: PlanDiff) -> list[tuple[str, ...]]:
    """The rows of `group_rows` of groups that were added, removed, resized or repriced."""
    return [row for row in group_rows(diff) if row[0] != GroupChangeKind.KEPT.value]


def _causes(diff: PlanDiff) -> tuple[tuple[str, float], ...]:
    return (
        ("by price", diff.price_effect_usd_per_hour),
        ("by count", diff.count_effect_usd_per_hour),
        ("by overhead", diff.overhead_effect_usd_per_hour),
    )


def cost_rows(diff: PlanDiff) -> list[tuple[str, str, str]]:
    """(what, USD per hour, USD per month) of the change, by cause; they sum to the change of the total.

    Causes are of the busiest hour; what each makes in a month is then not said, only what all do.
    """
    causes = (*_causes(diff), ("in all", diff.new_cost.total_usd_per_hour - diff.old_cost.total_usd_per_hour))
    if not diff.is_by_the_clock:
        return [(name, change(effect), monthly_change(effect)) for name, effect in causes]
    before, after = _means(diff)
    rows = [(f"{name}, busiest hour", change(effect), "") for name, effect in causes]
    return [*rows, ("on average", change(after - before), monthly_change(after - before))]


def group_rows(diff: PlanDiff) -> Iterator[tuple[str, ...]]:
    """Cells under GROUP_HEAD, one row a group."""
    for item in diff.groups:
        yield (
            item.kind.value
            if item.kind is not GroupChangeKind.KEPT or item.price_effect_usd_per_hour == 0
            else "repriced",
            _renamed(item),
            _machine(item.new or item.old),
            _pair(_count(item.old), _count(item.new)),
            _pair(_price(item.old), _price(item.new)),
            change(item.price_effect_usd_per_hour),
            change(item.count_effect_usd_per_hour),
            _pair(f"{item.old_request_fraction:.1%}", f"{item.new_request_fraction:.1%}"),
        )


def routing_line(diff: PlanDiff) -> str:
    """One sentence on routing."""
    if not diff.routes:
        return "Routing: no bucket of both plans has other shares."
    return (
        f"Routing: {diff.moved_fraction:.1%} of the requests go to another group; {_buckets(len(diff.routes))} changed."
    )


def route_line(item: RouteChange) -> str:
    """One bucket, the groups that it was and is divided over."""
    shares = " → ".join(
        ", ".join(f"{name} {share:.1%}" for name, share in side) for side in (item.old_shares, item.new_shares)
    )
    return f"≤{item.input_tokens} in × ≤{item.output_tokens} out ({item.moved_fraction:.1%} moved): {shares}"


def input_lines(diff: PlanDiff) -> list[str]:
    """What changed in the workload and the profiles."""
    lines = [f"workload: {_input(item)}" for item in diff.workload]
    if diff.workload_file_changed and not diff.workload:
        lines.append("workload: the file was edited, what it asks for is the same")
    lines += [f"profile: {_input(item)}" for item in diff.profiles]
    if diff.profiles_changed and not diff.profiles:
        lines.append("profiles: those considered changed; the groups in both plans name the same ones as before")
    if diff.prices_changed:
        lines.append("prices: those considered changed")
    return lines


def _input(item: InputChange) -> str:
    if item.note:
        return f"{item.key}: {item.note}"
    return f"{item.key}: {_cut(item.old)} → {_cut(item.new)}"


def _cut(text: str | None) -> str:
    line = "(none)" if text is None else " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _renamed(item: GroupChange) -> str:
    if item.old is not None and item.new is not None and item.old.name != item.new.name:
        return f"{item.old.name} → {item.new.name}"
    return item.name


def _machine(group: ReplicaGroup | None) -> str:
    if group is None:
        return ""
    spot = "spot " if group.use_spot else ""
    is_plain = group.accelerators_per_instance == 1 and group.layout_text == "TP 1"
    layout = "" if is_plain else f", {group.layout_text}"
    gpus = f"{group.gpus_text} × {group.accelerator}{layout}"
    return f"{spot}{group.instance_type} ({gpus}) on {group.cloud} {group.zone or group.region}"


def _count(group: ReplicaGroup | None) -> str:
    return "0" if group is None else str(group.instances)


def _price(group: ReplicaGroup | None) -> str:
    return "" if group is None else hourly(group.price_usd_per_hour)


def _pair(old: str, new: str) -> str:
    return old or new if old == new or not (old and new) else f"{old} → {new}"


def _buckets(count: int) -> str:
    return "1 bucket" if count == 1 else f"{count} buckets"
