"""Router and controller are decided with the replicas: against plans that are made to have one group, or no router."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import yaml

from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.pipeline import embedded_book, plan_file

ALONE = "gpu_2x_h100_sxm5"
"""The cheapest machine that carries this traffic alone; beside it stands a mix of one H100 and one L40S."""


def _at(price: float, **changes: object) -> Callable[[Workload], PriceBook]:
    """The shipped prices with another one for ALONE, USD per hour, and `changes` to the machines without GPU."""

    def changed(offer: Offer) -> Offer:
        if offer.instance_type == ALONE:
            return replace(offer, price_usd_per_hour=price)
        return replace(offer, **changes) if changes and not offer.accelerators_per_instance else offer

    def book_of(workload: Workload) -> PriceBook:
        book = embedded_book(workload)
        return replace(book, offers=tuple(changed(offer) for offer in book.offers))

    return book_of


@pytest.fixture
def planned(repository: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plans the quickstart's traffic at 10 requests per second, with more text in its workload file."""
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    text = text.replace("request_rate: 32", "request_rate: 10")

    def plan(book_of: Callable[[Workload], PriceBook], more: str = "", constraint: str = "") -> Plan:
        path = tmp_path / "workload.yaml"
        path.write_text(text.replace("min_replicas: 2", f"min_replicas: 2\n{constraint}") + more, encoding="utf-8")
        return plan_file(path, book_of=book_of).plan

    return plan


@pytest.mark.slow
@pytest.mark.parametrize("price", [6.0, 6.16, 6.2, 6.24, 6.25, 6.5, 7.0])
def test_the_cheaper_of_the_best_mix_and_the_best_single_group_is_planned(
    planned: Callable[..., Plan], price: float
) -> None:
    mix = planned(_at(100.0))
    alone = planned(_at(price), constraint="  max_groups: 1")
    assert len(mix.groups) == 2
    assert len(alone.groups) == 1
    plan = planned(_at(price))
    assert plan.status == "optimal"
    assert plan.cost.total_usd_per_hour == min(mix.cost.total_usd_per_hour, alone.cost.total_usd_per_hour)
    # Between the two lies the router: replicas that cost more, and a total that costs less.
    saved = alone.cost.replicas_usd_per_hour - mix.cost.replicas_usd_per_hour
    reasons = [sentence for sentence in plan.assumptions if "One endpoint costs no more in total" in sentence]
    if saved > 0 and len(plan.groups) == 1:
        assert f"USD {saved:.4f} per hour less" in reasons[0]
        assert "1 × chat-h100 + 1 × chat-l40s" in reasons[0]
    else:
        assert reasons == []


def test_both_sides_of_the_choice_are_tested(planned: Callable[..., Plan]) -> None:
    assert len(planned(_at(6.24)).groups) == 1
    assert len(planned(_at(6.25)).groups) == 2


def test_without_a_router_the_mix_is_planned(planned: Callable[..., Plan]) -> None:
    assert len(planned(_at(6.2), "router:\n  kind: none\n").groups) == 2


def test_without_a_plain_machine_the_router_is_priced_with_the_gpu_that_it_idles(planned: Callable[..., Plan]) -> None:
    """Its price is never taken for nothing."""
    plan = planned(_at(100.0, memory_gib=None))
    assert all(machine.price_usd_per_hour for machine in plan.overhead)
    assert any("which idles" in machine.note for machine in plan.overhead)


def test_what_the_router_keeps_out_is_named_with_both_sums(planned: Callable[..., Plan]) -> None:
    plan = planned(_at(6.2))
    mix = planned(_at(6.2), "router:\n  kind: none\n")
    (reason,) = [sentence for sentence in plan.assumptions if "One endpoint costs no more in total" in sentence]
    saved = plan.cost.replicas_usd_per_hour - mix.cost.replicas_usd_per_hour
    assert f"USD {saved:.4f} per hour less" in reason
    assert plan.cost.total_usd_per_hour >= mix.cost.total_usd_per_hour


FAR: Final = "gpu-h100-sxm_1gpu-16vcpu-200gb"
"""An H100 where machines without GPU are sold, too; vast sells none, so that a controller rents a GPU there."""


def _h100s(of_vast: float, elsewhere: float) -> Callable[[Workload], PriceBook]:
    """The shipped prices, with those of one H100 on vast and on nebius, in USD per hour."""

    def changed(offer: Offer) -> Offer:
        if offer.cloud == "vast" and (offer.accelerator, offer.accelerators_per_instance) == ("H100", 1):
            return replace(offer, price_usd_per_hour=of_vast)
        return replace(offer, price_usd_per_hour=elsewhere) if offer.instance_type == FAR else offer

    def book_of(workload: Workload) -> PriceBook:
        book = embedded_book(workload)
        return replace(book, offers=tuple(changed(offer) for offer in book.offers))

    return book_of


CANDIDATES: Final = "candidates: {accelerators: [H100], clouds: [vast, nebius]}\n"


@pytest.fixture
def on_one_h100(repository: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Plans traffic that one H100 carries, on vast or on nebius."""
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    text = text.replace("request_rate: 32", "request_rate: 4").replace("min_replicas: 2", "min_replicas: 1")
    document = yaml.safe_load(text)
    document["candidates"] = yaml.safe_load(CANDIDATES)["candidates"]

    def plan(book_of: Callable[[Workload], PriceBook], **more: object) -> Plan:
        path = tmp_path / "workload.yaml"
        path.write_text(yaml.safe_dump({**document, **more}), encoding="utf-8")
        return plan_file(path, book_of=book_of).plan

    return plan


@pytest.mark.parametrize("elsewhere", [1.0, 1.79, 1.81, 3.4])
def test_the_controller_costs_the_same_wherever_the_replicas_are(
    on_one_h100: Callable[..., Plan], elsewhere: float
) -> None:
    """On nebius, which sells machines without GPU; so the cheaper replicas are the cheaper plan."""
    plan = on_one_h100(_h100s(1.8, elsewhere))
    (group,) = plan.groups
    assert group.cloud == ("nebius" if elsewhere < 1.8 else "vast")
    (controller,) = plan.overhead
    assert (controller.cloud, controller.note) == ("nebius", "")
    assert plan.cost.overhead_usd_per_hour < 0.2


def test_on_a_cloud_of_gpus_alone_the_controller_is_the_cheapest_of_them_not_another_replica(
    on_one_h100: Callable[..., Plan],
) -> None:
    """It used to be the machine that was planned: a limit that moved the plan could lower the total."""
    candidates = {"accelerators": ["H100"], "clouds": ["vast"]}
    plan = on_one_h100(_h100s(1.8, 2.0), candidates=candidates)
    (controller,) = plan.overhead
    assert controller.cloud == "vast"
    assert "which idles" in controller.note
    assert 0 < plan.cost.overhead_usd_per_hour < 1.8
    dearer = on_one_h100(_h100s(1.8, 2.0), candidates=candidates, constraints={"min_replicas": 2})
    assert dearer.cost.total_usd_per_hour >= plan.cost.total_usd_per_hour


def test_clusters_have_no_controller_to_place(on_one_h100: Callable[..., Plan]) -> None:
    plan = on_one_h100(_h100s(1.8, 2.0), launch={"mode": "cluster"})
    assert plan.groups[0].cloud == "vast"
    assert plan.overhead == ()


def test_a_consolidated_controller_costs_nothing(on_one_h100: Callable[..., Plan]) -> None:
    plan = on_one_h100(_h100s(1.8, 2.0), launch={"controller": "consolidated"})
    assert plan.overhead == ()
    assert plan.cost.total_usd_per_hour == pytest.approx(1.8)
