"""What a plan has to do without: clouds without prices, regions without offers, own GPUs that cannot serve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.offer import MissingPrices, PriceBook
from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.domain.plan import LastKnownOffer, MissingCloud
from sky_melange.domain.profile import Capacity, Profile, Skipped
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.candidates import ProfileCapacities, build_candidates
from sky_melange.pipeline.profiling import capacities_of
from sky_melange.prices.own import own_offers
from sky_melange.resources import cloud_features
from sky_melange.workload_file import did_you_mean


def missing_clouds(workload: Workload, book: PriceBook, profiles: Sequence[Profile]) -> tuple[MissingCloud, ...]:
    """The clouds that `candidates.clouds` names; where it names none, those that are known to sell a candidate."""
    wanted = workload.candidates.clouds
    concerned = [missing for missing in book.missing if wanted is None or missing.cloud in wanted]
    if not concerned:
        return ()
    capacities = capacities_of(workload, profiles)
    offers = [offer for missing in concerned for offer in missing.last_known]
    candidates = build_candidates(workload, offers, capacities, cloud_features()).candidates
    found = [_missing(workload, missing, candidates) for missing in concerned]
    is_stated = workload.candidates.stated_clouds is not None
    return tuple(missing for missing in found if is_stated or missing.last_known is not None)


def idle_own(workload: Workload, profiles: Sequence[Profile]) -> tuple[str, ...]:
    """A sentence for each of `candidates.own` that cannot serve any request, by name and with the reason."""
    if not workload.candidates.own:
        return ()
    capacities = capacities_of(workload, profiles)
    reasons = ((gpus, _idle(workload, gpus, capacities)) for gpus in workload.candidates.own)
    return tuple(
        f"candidates.own: {gpus} cannot serve {workload.model.id}: {reason}" for gpus, reason in reasons if reason
    )


def _idle(workload: Workload, gpus: OwnGpus, capacities: Sequence[ProfileCapacities]) -> str:
    """Why the GPUs are of no use; empty where they are of some."""
    pods = [offer for offer in own_offers([gpus]) if offer.accelerators_per_instance]
    found = build_candidates(workload, pods, capacities, cloud_features())
    able = [each for candidate in found.candidates for each in candidate.capacities]
    if any(isinstance(each, Capacity) for each in able):
        return ""
    refused = [each.detail for each in able if isinstance(each, Skipped)]
    return next(iter([*refused, *(each.reason for each in found.rejected)]), "")


def unsold_regions(wanted: Mapping[str, Sequence[str]], book: PriceBook) -> tuple[str, ...]:
    """A sentence for each region that `candidates.regions` names in vain, though its cloud has offers."""
    sold: dict[str, set[str]] = {}
    for offer in (*book.offers, *(doubted.offer for doubted in book.quarantined)):
        sold.setdefault(offer.cloud, set()).add(offer.region)
    return tuple(
        f"candidates.regions.{cloud}: there is no offer in {region}"
        f"{did_you_mean(region, sorted(sold[cloud]), 'its regions')}"
        for cloud, regions in wanted.items()
        for region in regions
        if cloud in sold and region not in sold[cloud]
    )


def _missing(workload: Workload, missing: MissingPrices, candidates: Sequence[Candidate]) -> MissingCloud:
    there = [candidate for candidate in candidates if candidate.offer.cloud == missing.cloud]
    ranked = sorted(there, key=lambda candidate: (*_price_of_traffic(workload, candidate), candidate.sort_key))
    last_known = _last_known(workload, ranked[0]) if ranked else None
    return MissingCloud(cloud=missing.cloud, problem=missing.problem, last_known=last_known)


def _last_known(workload: Workload, candidate: Candidate) -> LastKnownOffer:
    offer = candidate.offer
    unserved, usd_per_hour = _price_of_traffic(workload, candidate)
    return LastKnownOffer(
        name=offer.name,
        accelerator=offer.accelerator,
        accelerators_per_instance=offer.accelerators_per_instance,
        price_usd_per_hour=offer.price_usd_per_hour,
        price=offer.provenance.dated(),
        alone_usd_per_hour=None if unserved else usd_per_hour,
    )


def _price_of_traffic(workload: Workload, candidate: Candidate) -> tuple[float, float]:
    """(requests/s that the candidate cannot serve, USD per hour for as many instances as the others need)."""
    rates = [bucket.rate_rps for bucket in workload.traffic.buckets()]
    served = [(r, c) for r, c in zip(rates, candidate.capacities, strict=True) if isinstance(c, Capacity)]
    unserved_rps = math.fsum(rates) - math.fsum(rate for rate, _ in served)
    busy_replicas = max(
        math.fsum(
            bucket.rate_rps / capacity.request_rate_rps
            for bucket, capacity in zip(each, candidate.capacities, strict=True)
            if isinstance(capacity, Capacity)
        )
        for each in workload.traffic.in_busiest_hours()
    )
    replicas = busy_replicas / workload.constraints.utilization_limit
    replicas = max(replicas, float(workload.constraints.min_replicas))
    instances = max(1, math.ceil(replicas / candidate.replicas_per_instance - 1e-9))
    is_whole = len(served) == len(rates)
    return 0.0 if is_whole else max(unserved_rps, 5e-324), instances * candidate.offer.price_usd_per_hour
