"""How old prices may be, and what to say of those that are not of this moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from sky_melange.domain.ages import age_hours, age_text
from sky_melange.domain.offer import Obtained, PriceBook, PriceState
from sky_melange.domain.workload import EVERY_CLOUD
from sky_melange.errors import PriceSourceError
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS


def with_age_limit(states: Iterable[PriceState], max_age_hours: float | None, now: datetime) -> tuple[PriceState, ...]:
    """The states with `too_old` set where prices are older than the limit, or of unknown age. Files have no age."""
    if max_age_hours is None:
        return tuple(states)
    return tuple(_limited(state, max_age_hours, now) for state in states)


def _limited(state: PriceState, max_age_hours: float, now: datetime) -> PriceState:
    if state.obtained in (Obtained.ABSENT, Obtained.FILE):
        return state
    age = age_hours(state.data_date, now)
    if age is not None and age <= max_age_hours:
        return state
    older = f"prices of {dated(state, now)} are older than prices.max_age_hours ({max_age_hours:g})"
    return replace(state, too_old=True, problem=f"{older}; {state.problem}" if state.problem else older)


def require_fresh(
    states: Sequence[PriceState], clouds: Collection[str] | None, max_age_hours: float | None, now: datetime
) -> None:
    """Raises PriceSourceError when a limit is set and none of the clouds has prices within it."""
    if max_age_hours is None:
        return
    asked = [state for state in states if state.cloud and (clouds is None or state.cloud in clouds)]
    if any(state.obtained is not Obtained.ABSENT and not state.too_old for state in asked):
        return
    found = "\n".join(f"  {line}" for line in _summary(asked, now)) or "  nothing"
    raise PriceSourceError(
        f"no price source gives prices younger than prices.max_age_hours ({max_age_hours:g} hours). Found:\n{found}\n"
        "Try again when the network is back, raise prices.max_age_hours, or remove it to plan on old prices."
    )


def missing_clouds(states: Iterable[PriceState]) -> dict[str, str]:
    """Launchable clouds of which no source has prices that may be used -> why."""
    problems: dict[str, dict[str, None]] = {cloud: {} for cloud in LAUNCHABLE_CLOUDS}
    served: set[str] = set()
    for state in states:
        if state.obtained is not Obtained.ABSENT and not state.too_old:
            served.add(state.cloud)
        elif state.problem:
            problems.setdefault(state.cloud, {})[state.problem] = None
    return {
        cloud: "; ".join(reasons) or "no price source has it"
        for cloud, reasons in sorted(problems.items())
        if cloud and cloud not in served
    }


def require_prices(
    states: Sequence[PriceState], required: Sequence[str], clouds: Collection[str] | None, *, offline: bool
) -> None:
    """Raises PriceSourceError when a cloud of `prices.require_clouds` has no prices; `all`: of `clouds`, None: any.

    Embedded prices that stand in because no source could be reached are none, unless the network was not to be used.
    """
    if not required:
        return
    wanted = (LAUNCHABLE_CLOUDS if clouds is None else clouds) if EVERY_CLOUD in required else required
    absent = missing_clouds(states)
    if not offline:
        absent |= {s.cloud: s.problem for s in states if s.obtained is Obtained.SNAPSHOT and s.problem}
    lacking = "\n".join(f"  {cloud}: {absent[cloud]}" for cloud in sorted(wanted) if cloud in absent)
    if lacking:
        raise PriceSourceError(
            f"no prices of clouds that prices.require_clouds names:\n{lacking}\n"
            "Try again when they are back, or remove them from prices.require_clouds to plan without them."
        )


def warnings_of(book: PriceBook, now: datetime, clouds: Collection[str] | None = None) -> tuple[str, ...]:
    """What whoever spends money must know of the prices' age, in sentences. Empty when all were confirmed just now.

    `clouds` limits it to those that matter to the caller.
    """
    return tuple(_summary([state for state in book.states if clouds is None or state.cloud in clouds], now))


def dated(state: PriceState, now: datetime) -> str:
    """`2026-05-20 (186 days old)`, or `an unknown date`."""
    if not state.data_date:
        return "an unknown date"
    confirmed = f"; last confirmed {state.fetched_at}" if state.as_of not in ("", state.fetched_at) else ""
    return f"{state.data_date} ({age_text(age_hours(state.data_date, now))} old{confirmed})"


def _summary(states: Sequence[PriceState], now: datetime) -> Iterator[str]:
    """One line for each way in which prices are not those of this moment, the worst first."""
    embedded = [state for state in states if state.obtained is Obtained.SNAPSHOT]
    if embedded:
        yield from _snapshot_lines(embedded, now)
    served = {state.cloud for state in states if state.obtained is not Obtained.ABSENT}
    cached: dict[tuple[str, str, str, bool], list[str]] = {}
    absent: dict[str, list[str]] = {}
    silent: dict[tuple[str, str], list[str]] = {}
    unkept: dict[str, list[str]] = {}
    for state in states:
        if state.not_kept:
            unkept.setdefault(state.not_kept, []).append(state.cloud)
        if state.obtained is Obtained.CACHED or (state.obtained is Obtained.CONFIRMED and state.too_old):
            verb = "last changed" if state.as_of else "last confirmed"
            cached.setdefault((state.source, f"{verb} {dated(state, now)}", state.problem, state.too_old), []).append(
                state.cloud
            )
        elif state.obtained is Obtained.ABSENT and state.cloud in served:
            silent.setdefault((state.source, state.problem), []).append(state.cloud)
        elif state.obtained is Obtained.ABSENT:
            absent.setdefault(state.problem, []).append(state.cloud)
    for (source, date, problem, too_old), clouds in sorted(cached.items()):
        use = "are too old to be used" if too_old else "are used"
        yield f"OLD PRICES of {_names(clouds)} ({source}) {use}: {date}; {problem}."
    for problem, clouds in sorted(absent.items()):
        yield f"LEFT OUT: {_names(clouds)}: {problem}."
    for (source, problem), clouds in sorted(silent.items()):
        yield f"No second opinion from {source} on {_names(clouds)}: {problem}."
    for reason, clouds in sorted(unkept.items()):
        yield f"Without a network the next run will not have these prices of {_names(clouds)}: {reason}."


def _snapshot_lines(states: Sequence[PriceState], now: datetime) -> Iterator[str]:
    dates = [state.fetched_at for state in states if state.fetched_at]
    newest, oldest = max(states, key=lambda s: s.fetched_at), min(dates, default="")
    unknown = [state.cloud for state in states if not state.fetched_at]
    known = f"oldest {oldest}, newest {dated(newest, now)}" if dates else "all of unknown date"
    undated = f"; of unknown date for {_names(unknown)}" if dates and unknown else ""
    why = f" {states[0].problem}." if states[0].problem else ""
    yield f"OLD PRICES: those embedded in this release are used ({known}{undated}).{why}"


def _names(clouds: Sequence[str]) -> str:
    return ", ".join(sorted(clouds))
