"""Judges one request: price it, see what is spent, and decide with nobody in between."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sky_melange.domain.spending import (
    ANYONE,
    Budgets,
    Excess,
    GuardMode,
    Kind,
    Owner,
    Scope,
    Spending,
    SpendingLimit,
    WhenUnknown,
)
from sky_melange.skypilot.budget import machine, request, running
from sky_melange.skypilot.budget.ledger import Decided, Ledger, LedgerError, Reservation
from sky_melange.skypilot.budget.pricing import UnknownPriceError, WorstCase, worst_case
from sky_melange.skypilot.budget.request import Asked
from sky_melange.skypilot.skypilot_errors import one_line, skypilot_errors
from sky_melange.workload_file import read_budgets

_TOLERANCE_USD_PER_HOUR = 1e-9

_LABEL: Final = "sky-melange-micro-usd-per-hour"
"""Per machine. Digits alone, since Google Cloud allows no point in a label, hence the unit."""

_MICRO: Final = 1e6

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


def unknown(claim_words: str, problems: Sequence[str]) -> str:
    """Why nothing can be said."""
    listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return f"what {claim_words} may cost cannot be weighed against the budgets: {listed}."


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
        raise UnknownPriceError(f"no price of the machines of cluster {_shown(asked.name)} is known")
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
    if not _limits_on(budgets, claim.name, claim.owner):
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
    text = _over_budget(claim, price, found) if found else ""
    if any(excess.is_fatal for excess in found):
        return Verdict(rejection=text)
    warnings = (text,) if text else ()
    problems = _problems(budgets, claim, seen)
    if problems:
        warnings = (*warnings, unknown(_words(asked), problems))
    return Verdict(warnings=warnings)


def _problems(budgets: Budgets, claim: Spending, seen: _Seen) -> list[str]:
    """What makes the rest of the claim's budgets unknown; others' troubles are no reason to hold it up."""
    return [p.text for p in seen.now.problems if p.thing is None or _matters(budgets, claim, p.thing)]


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
    found = _excesses(budgets, claim, [*placed, *(entry.spending for entry in pending)])
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
        _label_with_prices(task, price.per_candidate)
        return verdict
    try:
        text = running.service_yaml(asked.name, is_pool=asked.kind is Kind.POOL)
    except skypilot_errors() as error:
        warning = f"no label: what {_words(asked)} runs by now cannot be read: {one_line(error)}"
        return Verdict(warnings=(*verdict.warnings, warning))
    _label_like(task, text)
    return verdict


def _unknown(budgets: Budgets, asked: Asked, problems: Sequence[str]) -> Verdict:
    """Rejects only where a budget that is enforced could be exceeded."""
    text = unknown(_words(asked), problems)
    limits = _limits_on(budgets, asked.name, asked.owner)
    if not any(budgets.mode_of(limit) is GuardMode.ENFORCE for limit in limits):
        return Verdict(warnings=(text,) if limits else ())
    if budgets.when_unknown is WhenUnknown.ALLOW:
        return Verdict(warnings=(f"{text} It is let through (when_unknown: allow).",))
    return Verdict(rejection=f"{text} (`when_unknown: allow` in the budgets file would let it through.)")


def _words(asked: Asked) -> str:
    return f"{asked.kind} {_shown(asked.name)}"


def _label_with_prices(task: Any, per_candidate: Sequence[float | None]) -> None:
    """Writes the price of one machine on each candidate of a `sky.Task`, in its order; None: none is known."""
    labelled = [
        candidate if price is None else _with_label(candidate, str(round(price * _MICRO)))
        for candidate, price in zip(task.resources, per_candidate, strict=True)
    ]
    task.set_resources(type(task.resources)(labelled))


def _label_like(task: Any, text: str | None) -> None:
    """Writes the label that a running service's YAML has, or takes it away.

    SkyServe keeps the replicas that run only when nothing outside `service:` changes: a label that followed the price
    would restart them all with every update.
    """
    value = _label_in(text)
    task.set_resources(type(task.resources)([_with_label(candidate, value) for candidate in task.resources]))


def _with_label(candidate: Any, value: str | None) -> Any:
    kept = {key: text for key, text in (candidate.labels or {}).items() if key != _LABEL}
    wanted = kept if value is None else {**kept, _LABEL: value}
    return candidate if wanted == (candidate.labels or {}) else candidate.copy(labels=wanted or None)


def _label_in(text: str | None) -> str | None:
    from sky.utils import yaml_utils

    for config in yaml_utils.read_yaml_all_str(text) if text else ():
        found = _find(config)
        if found is not None:
            return found
    return None


def _find(value: Any) -> str | None:
    if isinstance(value, dict):
        labels = value.get("labels")
        if isinstance(labels, dict) and _LABEL in labels:
            return str(labels[_LABEL])
        value = list(value.values())
    if isinstance(value, list):
        return next((found for found in map(_find, value) if found is not None), None)
    return None


def _over_budget(claim: Spending, price: WorstCase, found: Sequence[Excess]) -> str:
    """Figure, arithmetic, and each budget that it exceeds."""
    lines = [f"{claim.kind} {_shown(claim.name)} costs up to {claim.usd_per_hour:.4f} USD/h ({price.reckoning})."]
    for excess in found:
        lines.append(
            f"That is more than what is left of {_budget_words(excess, claim.owner)}: "
            f"{excess.left_usd_per_hour:.4f} of {excess.limit.usd_per_hour:.4f} USD/h{_of_month(excess.limit)}, "
            f"{excess.used_usd_per_hour:.4f} being spent or reserved."
        )
    return " ".join(lines)


def _of_month(limit: SpendingLimit) -> str:
    return "" if limit.usd_per_month is None else f" ({limit.usd_per_month:,.2f} USD per month of 730 hours)"


def _budget_words(excess: Excess, owner: Owner) -> str:
    """`the budget users."*" (here: user alice)`."""
    limit = excess.limit
    section = {Scope.USER: "users", Scope.WORKSPACE: "workspaces", Scope.PREFIX: "prefixes"}[limit.scope]
    whose = ""
    if limit.name == ANYONE:
        name = (owner.user_name or owner.user_id) if limit.scope is Scope.USER else owner.workspace
        whose = f" (here {_shown(name)})"
    return f"the budget {section}.{_shown(limit.name)}{whose}"


def _shown(name: str) -> str:
    """A name as it can be shown: names come from clients."""
    text = name.split("#", 1)[0]
    return repr(text if len(text) <= 80 else text[:80] + "…")


def _limits_on(budgets: Budgets, name: str, owner: Owner) -> tuple[SpendingLimit, ...]:
    """The budgets that a launch of this name by this owner falls under; `*` only where no entry names the owner."""
    users = {_composed(owner.user_id), *([_composed(owner.user_name)] if owner.user_name else [])}
    found = [
        *_named_or_anyone(budgets.limits, Scope.USER, users),
        *_named_or_anyone(budgets.limits, Scope.WORKSPACE, {_composed(owner.workspace)}),
    ]
    found += [limit for limit in budgets.limits if limit.scope is Scope.PREFIX and name.startswith(limit.name)]
    return tuple(found)


def _named_or_anyone(limits: Iterable[SpendingLimit], scope: Scope, names: set[str]) -> list[SpendingLimit]:
    fitting = [limit for limit in limits if limit.scope is scope]
    named = [limit for limit in fitting if _composed(limit.name) in names]
    return named or [limit for limit in fitting if limit.name == ANYONE]


def _composed(name: str) -> str:
    """One spelling of a name: `é` may be one character or two."""
    return unicodedata.normalize("NFC", name)


def _excesses(budgets: Budgets, claim: Spending, spent: Sequence[Spending]) -> tuple[Excess, ...]:
    """The limits that the claim would break beside everything else, in the order of the file.

    What the claim replaces (the same kind and name: an update, a second launch) is not counted twice, and a claim that
    costs no more than what the same user has there is always let through: a lowered budget must not hold it up.
    """
    own = (entry for entry in spent if entry.key == claim.key and entry.owner.user_id == claim.owner.user_id)
    replaced = _by_thing(own).get(claim.key)
    if replaced is not None and claim.usd_per_hour <= replaced + _TOLERANCE_USD_PER_HOUR:
        return ()
    found = []
    for limit in _limits_on(budgets, claim.name, claim.owner):
        used = _used_usd_per_hour(limit, claim, spent)
        if used + claim.usd_per_hour > limit.usd_per_hour + _TOLERANCE_USD_PER_HOUR:
            is_fatal = budgets.mode_of(limit) is GuardMode.ENFORCE
            found.append(Excess(limit=limit, used_usd_per_hour=used, is_fatal=is_fatal))
    return tuple(found)


def _used_usd_per_hour(limit: SpendingLimit, claim: Spending, spent: Iterable[Spending]) -> float:
    """What is spent under a limit beside the claim. A thing both seen and reserved counts once, at the larger."""
    under = (entry for entry in spent if entry.key != claim.key and _is_under(limit, claim.owner, entry))
    return math.fsum(_by_thing(under).values())


def _matters(budgets: Budgets, claim: Spending, entry: Spending) -> bool:
    """Whether a thing counts under any budget that the claim falls under."""
    limits = _limits_on(budgets, claim.name, claim.owner)
    return entry.key != claim.key and any(_is_under(limit, claim.owner, entry) for limit in limits)


def _by_thing(spent: Iterable[Spending]) -> dict[tuple[Kind, str], float]:
    largest: dict[tuple[Kind, str], float] = {}
    for entry in spent:
        largest[entry.key] = max(entry.usd_per_hour, largest.get(entry.key, 0.0))
    return largest


def _is_under(limit: SpendingLimit, claimant: Owner, entry: Spending) -> bool:
    if limit.scope is Scope.USER:
        # The limit is the claimant's, by name or as one of `*`: what counts is theirs alone.
        return entry.owner.user_id == claimant.user_id
    if limit.scope is Scope.WORKSPACE:
        return entry.owner.workspace == claimant.workspace
    return entry.name.startswith(limit.name)
