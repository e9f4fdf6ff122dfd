"""Judges one request: price it, see what is spent, and decide with nobody in between."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sky_melange.domain.spending import Budgets, Excess, GuardMode, Kind, Spending, WhenUnknown
from sky_melange.skypilot.budget import labels, machine, messages, request, running
from sky_melange.skypilot.budget.ledger import Decided, Ledger, LedgerError, Reservation
from sky_melange.skypilot.budget.pricing import UnknownPriceError, WorstCase, worst_case
from sky_melange.skypilot.budget.request import Asked
from sky_melange.skypilot.budget.weigh import excesses, limits_on, matters
from sky_melange.skypilot.skypilot_errors import one_line, skypilot_errors
from sky_melange.workload_file import read_budgets

_SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a request. `rejection` None: it passes."""

    rejection: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What is spent, by the state and the ledger; `ended` are the requests that had ended before the state was read."""

    now: running.Running
    ended: frozenset[str]
    known: frozenset[str]


def judge(user_request: Any) -> Verdict:
    """Weighs a `sky.UserRequest`; labels its task when it passes.

    Raises InputError for a budgets file that is missing or wrong, and for a request that tries to choose it.
    """
    asked = request.asked(user_request)
    if asked is None:
        return Verdict()
    told: list[str] = []
    budgets = read_budgets(machine.budgets_path(), tell=lambda readings: told.extend(map(str, readings)))
    verdict = _judged(budgets, asked, user_request)
    return replace(verdict, warnings=(*verdict.warnings, *told))


def _judged(budgets: Budgets, asked: Asked, user_request: Any) -> Verdict:
    try:
        price = _price(asked, user_request.task)
    except UnknownPriceError as error:
        return _unknown(budgets, asked, [str(error)])
    if price is None:
        return Verdict()
    claim = Spending(kind=asked.kind, name=asked.name, owner=asked.owner, usd_per_hour=price.usd_per_hour)
    verdict = _weigh(budgets, asked, claim, price)
    return verdict if verdict.rejection is not None else _labelled(verdict, asked, user_request.task, price)


def _price(asked: Asked, task: Any) -> WorstCase | None:
    """The worst case; None for a launch on a cluster that runs already and is not resized."""
    existing = running.cluster(asked.name) if asked.kind is Kind.CLUSTER else None
    if existing is None:
        has_replicas = asked.kind in (Kind.SERVICE, Kind.POOL)
        price = worst_case(task, has_replicas=has_replicas, copies=asked.copies, minimize=asked.minimize)
        return _with_outdated(price, asked) if asked.is_update else price
    if existing.is_running and not asked.is_resize:
        return None
    if existing.usd_per_hour_per_node is None:
        raise UnknownPriceError(f"no price of the machines of cluster {messages.shown(asked.name)} is known")
    nodes = (task.num_nodes or 1) if asked.is_resize else existing.nodes
    usd_per_hour = existing.usd_per_hour_per_node * nodes
    return WorstCase(
        usd_per_hour=usd_per_hour,
        reckoning=f"{nodes} × {existing.usd_per_hour_per_node:.4f} USD/h for the machines that it has",
        per_candidate=(None,) * len(task.resources),
    )


def _with_outdated(price: WorstCase, asked: Asked) -> WorstCase:
    """With the replicas that an earlier update was to replace and that still run: they outlive this update too."""
    try:
        usd_per_hour = running.outdated_price(asked.name, is_pool=asked.kind is Kind.POOL)
    except skypilot_errors() as error:
        raise UnknownPriceError(f"what {_words(asked)} runs by now cannot be read: {one_line(error)}") from error
    if not usd_per_hour:
        return price
    return replace(
        price,
        usd_per_hour=price.usd_per_hour + usd_per_hour,
        reckoning=f"{price.reckoning} + {usd_per_hour:.4f} USD/h of replicas that earlier updates have not replaced",
    )


def _weigh(budgets: Budgets, asked: Asked, claim: Spending, price: WorstCase) -> Verdict:
    if not limits_on(budgets, claim.name, claim.owner):
        return Verdict()
    ledger = Ledger.at(machine.ledger_path()) if budgets.ledger is None else Ledger.parse(budgets.ledger)
    try:
        seen = _look(ledger)
        found = ledger.decide(lambda reserved: _decide(budgets, asked, claim, seen, reserved))
    except LedgerError as error:
        return _unknown(budgets, asked, [str(error)])
    except skypilot_errors() as error:
        return _unknown(budgets, asked, [f"SkyPilot's state cannot be read: {one_line(error)}"])
    if isinstance(found, Verdict):
        return found
    text = messages.over_budget(claim, price, found) if found else ""
    if any(excess.is_fatal for excess in found):
        return Verdict(rejection=text)
    warnings = (text,) if text else ()
    problems = _problems(budgets, claim, seen)
    if problems:
        warnings = (*warnings, messages.unknown(_words(asked), problems))
    return Verdict(warnings=warnings)


def _problems(budgets: Budgets, claim: Spending, seen: _Seen) -> list[str]:
    """What makes the rest of the claim's budgets unknown; others' troubles are no reason to hold it up."""
    return [p.text for p in seen.now.problems if p.thing is None or matters(budgets, claim, p.thing)]


def _look(ledger: Ledger) -> _Seen:
    """Reads which requests have ended before what runs: what they started is then seen, or never came to be."""
    ids = {reservation.request_id for reservation in ledger.read()}
    ended = request.finished(ids)
    known = frozenset(request_id for request_id in ids - ended if request.is_known(request_id))
    return _Seen(now=running.running(), ended=ended, known=known)


def _decide(
    budgets: Budgets, asked: Asked, claim: Spending, seen: _Seen, reserved: Sequence[Reservation]
) -> tuple[Decided, Sequence[Excess] | Verdict]:
    """Runs while the ledger is held: no state is read and nothing is priced here."""
    problems = _problems(budgets, claim, seen)
    unknown = _unknown(budgets, asked, problems) if problems else Verdict()
    if unknown.rejection is not None:
        return Decided(), unknown
    now_unix_s = machine.unix_time_s()
    pending = [entry for entry in reserved if _is_pending(entry, seen, budgets, now_unix_s)]
    placed = running.in_workspaces_of(seen.now.spent, (entry.spending for entry in reserved))
    found = excesses(budgets, claim, [*placed, *(entry.spending for entry in pending)])
    settled = [entry for entry in reserved if entry not in pending]
    is_let_in = not any(excess.is_fatal for excess in found) and not asked.is_dry_run
    reservation = Reservation(spending=claim, request_id=asked.request_id, made_at_unix_s=now_unix_s)
    add = reservation if is_let_in else None
    return Decided(add=add, drop_ids=_obsolete(settled, {entry.key for entry in placed})), found


def _obsolete(settled: Sequence[Reservation], visible: Collection[tuple[Kind, str]]) -> tuple[int, ...]:
    """Reservations that say nothing any more. The first of a thing that runs is kept for its workspace."""
    kept: set[tuple[Kind, str, str]] = set()
    drop = []
    for entry in settled:
        thing = (*entry.spending.key, entry.spending.owner.user_id)
        if entry.spending.key in visible and thing not in kept:
            kept.add(thing)
        elif entry.id is not None:
            drop.append(entry.id)
    return tuple(drop)


def _is_pending(entry: Reservation, seen: _Seen, budgets: Budgets, now_unix_s: float) -> bool:
    """Whether a reservation counts beside what is seen.

    Until its request has ended; where the server has no record of the request, for the time in the budgets file. One
    that was made after `seen` counts.
    """
    if entry.request_id in seen.ended:
        return False
    if entry.request_id in seen.known:
        return True
    return now_unix_s - entry.made_at_unix_s < budgets.reservation_minutes * _SECONDS_PER_MINUTE


def _labelled(verdict: Verdict, asked: Asked, task: Any, price: WorstCase) -> Verdict:
    if not asked.is_update:
        labels.label_with_prices(task, price.per_candidate)
        return verdict
    try:
        text = running.service_yaml(asked.name, is_pool=asked.kind is Kind.POOL)
    except skypilot_errors() as error:
        warning = f"no label: what {_words(asked)} runs by now cannot be read: {one_line(error)}"
        return Verdict(warnings=(*verdict.warnings, warning))
    labels.label_like(task, text)
    return verdict


def _unknown(budgets: Budgets, asked: Asked, problems: Sequence[str]) -> Verdict:
    """Rejects only where a budget that is enforced could be exceeded."""
    text = messages.unknown(_words(asked), problems)
    limits = limits_on(budgets, asked.name, asked.owner)
    if not any(budgets.mode_of(limit) is GuardMode.ENFORCE for limit in limits):
        return Verdict(warnings=(text,) if limits else ())
    if budgets.when_unknown is WhenUnknown.ALLOW:
        return Verdict(warnings=(f"{text} It is let through (when_unknown: allow).",))
    return Verdict(rejection=f"{text} (`when_unknown: allow` in the budgets file would let it through.)")


def _words(asked: Asked) -> str:
    return f"{asked.kind} {messages.shown(asked.name)}"
