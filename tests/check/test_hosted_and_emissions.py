"""What a plan says of a hosted API and of CO2e: only what is known, and it follows from the plan."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from check_cases import H100, L4, WORKLOAD, Situation, group, plan_of
from hypothesis import given
from hypothesis import strategies as st
from sealed import sealed

from sky_melange.domain.emissions import Grid, emissions
from sky_melange.domain.hosted import hosted_api
from sky_melange.domain.plan import HostedPrice, Plan
from sky_melange.domain.unit_costs import token_rates
from sky_melange.errors import InputError
from sky_melange.plan_file import read_plan
from sky_melange.render import plan_report, plan_table
from sky_melange.render.plan_sentences import emission_sentence, hosted_sentence
from sky_melange.resources import board_watts, grid_of, hosted_prices

CATALOGS = Path(__file__).resolve().parents[2] / "catalogs"
PLAN = plan_of(group(L4, 4), group(H100, 1))
SIZES = tuple(
    tuple((float(i), float(o)) for o in WORKLOAD.traffic.grid.output_edges) for i in WORKLOAD.traffic.grid.input_edges
)
KNOWN = replace(WORKLOAD, traffic=replace(WORKLOAD.traffic, mean_tokens=SIZES))


def price(usd: float, model: str = WORKLOAD.model.id, provider: str = "Provider") -> HostedPrice:
    return HostedPrice(
        model=model,
        provider=provider,
        served_as="the model",
        usd_per_million_input=usd,
        usd_per_million_output=usd,
        dated="2026-08-18",
        source="https://example.com/pricing",
    )


def with_load(utilization: float) -> Plan:
    return replace(PLAN, groups=tuple(replace(each, utilization=utilization) for each in PLAN.groups))


def test_only_a_price_of_this_very_model_counts() -> None:
    others = [price(1.0, f"{WORKLOAD.model.id}-FP8"), price(1.0, "other/" + WORKLOAD.model.id.split("/")[1])]
    assert hosted_api(PLAN, KNOWN, others) is None
    found = hosted_api(PLAN, KNOWN, [*others, price(2.0), price(1.0, WORKLOAD.model.id.upper(), "Cheaper")])
    assert found is not None
    assert found.price.provider == "Cheaper"


@given(st.floats(1e-4, 1e4), st.floats(0.01, 0.9), st.floats(0.0, 5.0))
def test_own_gpus_cost_no_more_at_the_rate_that_is_named(usd: float, utilization: float, overhead: float) -> None:
    """At that rate so many copies of the fleet carry the requests, and cost what the API costs; one fewer does not."""
    base = with_load(utilization)
    replicas = base.cost.replicas_usd_per_hour
    cost = replace(base.cost, overhead_usd_per_hour=overhead, total_usd_per_hour=replicas + overhead)
    plan = replace(base, cost=cost)
    found = hosted_api(plan, KNOWN, [price(usd)])
    assert found is not None
    rate = token_rates(KNOWN.traffic).request_rate_rps
    per_request = found.usd_per_hour / rate
    limit = KNOWN.constraints.max_utilization
    assert limit is not None
    carried = rate * max(1.0, limit / utilization)

    def pays(copies: int, at_rps: float) -> bool:
        return copies * replicas + overhead <= at_rps * per_request * (1 + 1e-9)

    if found.own_from_rps is None:
        assert not any(pays(copies, copies * carried) for copies in (1, 2, 10, 1000))
        return
    copies = max(1, math.ceil(found.own_from_rps / carried * (1 - 1e-12)))
    assert pays(copies, found.own_from_rps)
    assert not pays(copies, found.own_from_rps * (1 - 1e-6))
    assert copies == 1 or not pays(copies - 1, (copies - 1) * carried)


def test_tokens_that_are_an_upper_bound_decide_nothing() -> None:
    upper = replace(WORKLOAD, traffic=replace(WORKLOAD.traffic, mean_tokens=None))
    dear = hosted_api(PLAN, upper, [price(1e3)])
    assert dear is not None
    assert (dear.is_upper_bound, dear.own_from_rps, dear.loaded_usd_per_hour) == (True, None, None)
    assert "at most USD" in hosted_sentence(PLAN, dear)
    assert "pays off" not in hosted_sentence(PLAN, dear)


@pytest.mark.parametrize(
    ("usd", "said"), [(1e-3, "cost more even when fully loaded"), (1e2, "this fleet pays off from")]
)
def test_it_is_one_sentence_of_the_answer(usd: float, said: str) -> None:
    plan = replace(PLAN, hosted_api=hosted_api(PLAN, KNOWN, [price(usd)]))
    shown = " ".join(plan_table.render(plan, KNOWN, color=False).split())
    assert said in shown
    assert "Provider lists the model at USD" in shown
    assert "Provider" not in plan_table.render(PLAN, KNOWN, color=False)


def france(cloud: str, region: str) -> Grid | None:
    return Grid(country="FRA", grams_co2e_per_kwh=50.0, year=2025)


def test_grams_are_watts_times_intensity() -> None:
    plan = plan_of(group(L4, 4))
    found = emissions(plan, board_watts={"L4": 72.0}, grid_of=france)
    gpus = plan.groups[0].accelerators_per_instance * 4
    assert found.grams_co2e_per_hour == pytest.approx(gpus * 0.072 * 50.0)
    assert f"{gpus * 3.6:,.0f} g CO2e per hour" in emission_sentence(replace(plan, emissions=found))


def test_what_is_not_known_is_none_and_never_a_part() -> None:
    for watts, grid in (({"L4": 72.0}, france), ({"L4": 72.0, "H100": 700.0}, lambda *_: None)):
        found = emissions(PLAN, board_watts=watts, grid_of=grid)
        assert found.grams_co2e_per_hour is None
        assert "not known of" in emission_sentence(replace(PLAN, emissions=found))
    assert grid_of("lambda", "atlantis-1") is None
    assert grid_of("no-cloud", "us-east-1") is None


def whole() -> Plan:
    plan = with_load(0.5)
    return replace(
        plan,
        hosted_api=hosted_api(plan, KNOWN, [price(1.0)]),
        emissions=emissions(plan, board_watts=board_watts(), grid_of=grid_of),
    )


def test_they_are_written_and_read_back(tmp_path: Path) -> None:
    plan = whole()
    path = Situation(plan=plan, workload=KNOWN).write(tmp_path)
    assert read_plan(path).plan == plan
    text = plan_report.page(plan, KNOWN, today=date(2026, 11, 29), folder="plan")
    assert "https://example.com/pricing" in text
    assert "g CO2e per hour" in text


@pytest.mark.parametrize(
    ("section", "key"),
    [("hosted_api", "usd_per_hour"), ("hosted_api", "own_from_rps"), ("emissions", "grams_co2e_per_hour")],
)
@pytest.mark.parametrize("value", [None, 1.0])
def test_figures_that_do_not_follow_are_refused(tmp_path: Path, section: str, key: str, value: float | None) -> None:
    path = Situation(plan=whole(), workload=KNOWN).write(tmp_path)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    document[section][key] = value
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match=rf"{section}\.{key}"):
        read_plan(path)


def test_the_catalogs_are_whole() -> None:
    """Prices are dated and positive; powers are of known GPUs; regions of the price lists are in countries."""

    def rows(name: str) -> list[dict[str, str]]:
        with (CATALOGS / name).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    assert hosted_prices()
    for each in hosted_prices():
        assert each.model.count("/") == 1
        assert min(each.usd_per_million_input, each.usd_per_million_output) > 0
        assert each.dated.startswith("2026-")
        assert each.source.startswith("https://")
    gpus = {row["accelerator"] for row in rows("gpus.csv")}
    assert set(board_watts()) <= gpus
    assert min(board_watts().values()) > 0
    assert {"H100", "H200", "B200", "L4", "L40S", "A100-80GB"} <= set(board_watts())
    places = {
        (path.stem, row["Region"])
        for path in sorted((CATALOGS / "prices").glob("*.csv"))
        if path.stem not in ("sources", "overhead_types")
        for row in rows(f"prices/{path.name}")
        if row["Region"]
    }
    unknown = {(cloud, region) for cloud, region in places if grid_of(cloud, region) is None}
    assert unknown == {("hyperbolic", "default"), ("lambda", "europe-south-1")}
    assert grid_of("aws", "eu-west-3").country == "FRA"  # type: ignore[union-attr]
    assert grid_of("vast", "Georgia, US, NA").country == "USA"  # type: ignore[union-attr]
