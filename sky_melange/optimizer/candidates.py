"""Offers × replica layouts: what can be bought, matched with what it sustains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate, HostMemory, Rejected
from sky_melange.domain.machine import CloudFeatures, Covered
from sky_melange.domain.offer import Offer
from sky_melange.domain.price_record import Commitment, CommittedPrice
from sky_melange.domain.profile import Capacity, Profile, Skipped, SkipReason
from sky_melange.domain.workload import CloudsFrom, SpotUse, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileCapacities:
    """A profile and what one of its replicas sustains on each bucket with traffic, and on each stray."""

    profile: Profile
    capacities: tuple[Capacity | Skipped, ...]
    strays: tuple[Capacity | Skipped, ...] = ()
    host_memory: HostMemory = field(default_factory=HostMemory)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSet:
    """Candidates in a fixed order, and the offers that did not become one."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


def context_limited(
    profile: Profile, capacities: Sequence[Capacity | Skipped], buckets: Sequence[Bucket], max_model_len: int
) -> tuple[Capacity | Skipped, ...]:
    """The same capacities with what the engine's context limit (tokens) rules out.

    An engine refuses to start when its KV cache cannot hold one request of the full context, and refuses requests
    longer than it.
    """
    ranks = profile.key.ranks
    held = None if profile.kv_cache_tokens is None else profile.kv_cache_tokens // ranks
    if held is not None and held < max_model_len:
        its = "its KV cache" if ranks == 1 else f"the KV cache of each of its {ranks} ranks"
        detail = f"{its} holds {held} tokens, less than model.max_model_len {max_model_len}: it would not start"
        return tuple(Skipped(reason=SkipReason.MEMORY, detail=detail) for _ in buckets)
    return tuple(
        Skipped(
            reason=SkipReason.CONTEXT_LIMIT,
            detail=f"{bucket.input_tokens} + {bucket.output_tokens} tokens exceed model.max_model_len {max_model_len}",
        )
        if bucket.input_tokens + bucket.output_tokens > max_model_len
        else capacity
        for bucket, capacity in zip(buckets, capacities, strict=True)
    )


def build_candidates(
    workload: Workload,
    offers: Iterable[Offer],
    profiles: Sequence[ProfileCapacities],
    clouds: Mapping[str, CloudFeatures],
    commitments: Iterable[Commitment] = (),
) -> CandidateSet:
    """Every offer that the workload allows × every layout that a profile covers, sorted by `Candidate.sort_key`.

    An instance with k GPUs holds k ÷ tensor_parallel replicas; layouts that would leave a GPU idle are not built. Where
    one of the `commitments` may be bought for a machine, its offer is the cheapest of them.
    """
    terms = _terms(workload, commitments)
    by_accelerator: dict[str, list[ProfileCapacities]] = {}
    for entry in profiles:
        by_accelerator.setdefault(entry.profile.key.accelerator, []).append(entry)
    candidates: list[Candidate] = []
    rejected: dict[str, list[Offer]] = {}
    for offer in offers:
        reason = _refusal(workload, offer, by_accelerator, clouds)
        bought = None if reason else committed(workload, offer, terms.get(offer.covered, ()))
        if bought is None:
            rejected.setdefault(reason or _NOT_COMMITTED, []).append(offer)
            continue
        candidates += _layouts(bought, by_accelerator[offer.accelerator])
    return CandidateSet(
        candidates=tuple(sorted(candidates, key=lambda candidate: candidate.sort_key)),
        rejected=tuple(
            Rejected(reason=reason, offers=len(found), example=min(offer.name for offer in found))
            for reason, found in sorted(rejected.items())
        ),
    )


_NOT_AMONG: Final = {
    CloudsFrom.STATED: "not among candidates.clouds",
    CloudsFrom.ENABLED: "not among the clouds that SkyPilot has enabled, and candidates.clouds names none",
    CloudsFrom.USUAL: "not among the usual clouds, and candidates.clouds names none",
}

_NOT_COMMITTED: Final = "on-demand, and candidates.purchase wants commitments: no price of one is known"


def _terms(workload: Workload, commitments: Iterable[Commitment]) -> Mapping[Covered, Sequence[Commitment]]:
    """Those that may be bought, by machine."""
    wanted = workload.candidates.commitments
    found: dict[Covered, list[Commitment]] = {}
    for commitment in commitments if wanted else ():
        if commitment.kind in wanted:
            found.setdefault(commitment.covered, []).append(commitment)
    return found


def committed(workload: Workload, offer: Offer, terms: Sequence[Commitment]) -> Offer | None:
    """The offer at the price of its cheapest term, or unchanged where on demand costs as little.

    None: on demand is not allowed, and no price of a term is known.
    """
    if offer.use_spot or offer.reserved_instances is not None:
        return offer
    by_the_hour = workload.candidates.by_the_hour
    best = min(terms, key=lambda term: (term.price_usd_per_hour, term.kind.years), default=None)
    if best is None or (by_the_hour and best.price_usd_per_hour >= offer.price_usd_per_hour):
        return offer if by_the_hour else None
    return replace(
        offer,
        price_usd_per_hour=best.price_usd_per_hour,
        committed=CommittedPrice(
            kind=best.kind,
            on_demand_usd_per_hour=offer.price_usd_per_hour,
            is_hourly_too=by_the_hour,
            as_of=best.as_of,
            source=best.source,
        ),
    )


def _layouts(offer: Offer, profiles: Iterable[ProfileCapacities]) -> Iterable[Candidate]:
    for entry in profiles:
        tensor_parallel = entry.profile.key.tensor_parallel
        # A part of a machine is one replica's: each has a port of its own.
        fits = offer.accelerators_per_instance % tensor_parallel == 0
        if fits and (offer.part is None or offer.accelerators_per_instance == tensor_parallel):
            yield Candidate(
                offer=offer,
                profile=entry.profile,
                replicas_per_instance=offer.accelerators_per_instance // tensor_parallel,
                capacities=entry.capacities,
                strays=entry.strays,
            )


def _refusal(
    workload: Workload,
    offer: Offer,
    profiles: Mapping[str, Sequence[ProfileCapacities]],
    clouds: Mapping[str, CloudFeatures],
) -> str | None:
    """Why this offer is no candidate, or None."""
    wanted = workload.candidates
    reason: str | None = None
    if offer.accelerators_per_instance == 0:
        reason = "has no accelerator"
    elif not wanted.has_cloud(offer.cloud, offer.region, is_own=offer.provenance.is_own):
        reason = _NOT_AMONG[wanted.clouds_from]
    elif offer.cloud in wanted.regions and offer.region not in wanted.regions[offer.cloud]:
        reason = f"not among candidates.regions.{offer.cloud}"
    elif wanted.accelerators is not None and offer.accelerator not in wanted.accelerators:
        reason = "not among candidates.accelerators"
    elif offer.use_spot and wanted.spot is SpotUse.NEVER:
        reason = "spot, and candidates.spot is never"
    elif not offer.use_spot and wanted.spot is SpotUse.ONLY:
        reason = "on-demand, and candidates.spot is only"
    elif offer.cloud not in clouds:
        reason = "SkyPilot cannot launch on this cloud"
    elif not clouds[offer.cloud].open_ports:
        reason = "SkyPilot cannot open a port on this cloud"
    elif offer.use_spot and not clouds[offer.cloud].spot:
        reason = "SkyPilot cannot launch spot machines on this cloud"
    elif offer.accelerator not in profiles:
        weakest = workload.constraints.min_profile_kind
        trusted = "" if weakest is None else f" that is {weakest} or better"
        model = f"{workload.model.profiled_id} ({workload.model.dtype})"
        reason = f"no profile of {model} on {offer.accelerator}{trusted}"
    elif offer.memory_gib is not None and offer.memory_gib < (
        needed_gib := profiles[offer.accelerator][0].host_memory.of(offer.accelerators_per_instance)
    ):
        gpus = f"{offer.accelerators_per_instance} × {offer.accelerator}"
        reason = f"less memory than the {needed_gib:g} GiB that loading the model takes beside {gpus}"
    elif all(offer.accelerators_per_instance % p.profile.key.tensor_parallel for p in profiles[offer.accelerator]):
        sizes = sorted({p.profile.key.tensor_parallel for p in profiles[offer.accelerator]})
        reason = (
            f"{offer.accelerators_per_instance} × {offer.accelerator} holds no whole replica of a profiled "
            f"tensor-parallel size ({', '.join(map(str, sizes))})"
        )
    return reason
