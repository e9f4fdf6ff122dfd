"""plan.json and the tables."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import LARGE, PRICE, PROFILE, alternative, group, plan, workload
from property_examples import examples

from sky_melange.domain.offer import Offer, Quarantined
from sky_melange.domain.plan import Plan
from sky_melange.domain.profile import ProfileError
from sky_melange.render import plan_answer, plan_json, plan_table, price_table
from sky_melange.render.text import verdict_table

MIX = plan(
    group(),
    group("chat-h100-x8", **LARGE, replicas_per_instance=8),
    alternatives=(
        alternative("H100", 63.84, instances=2),
        alternative("L4", None, note="cannot serve 25.0% of the requests within the targets"),
    ),
)
WIDTH = 100


def golden(repository: Path, name: str, text: str) -> None:
    path = repository / "tests" / "golden" / "text" / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


def assert_plain(text: str) -> None:
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []


class TestPlanJson:
    def test_golden(self, repository: Path) -> None:
        golden(repository, "plan.json", plan_json.text(MIX, workload()))

    def test_it_is_json_of_finite_numbers_in_a_fixed_order(self) -> None:
        def refuse(constant: str) -> None:
            raise AssertionError(constant)

        document = json.loads(plan_json.text(MIX, workload()), parse_constant=refuse)
        assert list(document) == [
            "schema_version",
            "name",
            "model",
            "launch_mode",
            "status",
            "mip_gap",
            "prices",
            "cost",
            "unit_costs",
            "groups",
            "overhead",
            "size_aware_total_usd_per_hour",
            "switching",
            "routing",
            "contingencies",
            "alternatives",
            "assumptions",
            "warnings",
            "simulated",
            "inputs",
            "workload",
            "plan_sha256",
        ]
        assert document["schema_version"] == 2
        assert [entry["name"] for entry in document["groups"]] == ["chat-l4", "chat-h100-x8"]
        assert document["groups"][0]["price_usd_per_hour"] == 0.8048
        assert document["groups"][0]["instances"] == 3
        assert document["routing"]["buckets"][0]["shares"] == {"chat-l4": 1.0}

    def test_the_same_plan_gives_the_same_bytes(self) -> None:
        assert plan_json.text(MIX, workload()) == plan_json.text(replace(MIX), workload())

    def test_an_unknown_price_is_null(self) -> None:
        document = json.loads(plan_json.text(plan(overhead=None), workload()))
        assert document["overhead"][0]["price_usd_per_hour"] is None

    def test_a_number_that_is_none_is_never_written(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            plan_json.text(replace(MIX, cost=replace(MIX.cost, total_usd_per_hour=float("nan"))), workload())

    def test_a_plan_whose_gap_is_not_known_can_be_written(self) -> None:
        json.loads(plan_json.text(replace(MIX, status="feasible", mip_gap=None), workload()))


class TestPlanMarkdown:
    def test_golden(self, repository: Path) -> None:
        doubted = replace(MIX, warnings=("Price of <b>x</b> @team: see https://example.com | `rm`.",))
        golden(repository, "plan.md", plan_table.render_markdown(doubted, workload()))

    def test_it_says_what_the_table_says(self) -> None:
        text = plan_table.render_markdown(MIX, workload()).replace("\\", "")
        shown = " ".join(plan_table.render(MIX, workload(), color=False, is_verbose=True).split())
        assert all(cell in text for row in plan_table.group_rows(MIX) for cell in row[3:])
        for sentence in (
            plan_answer.headline(MIX),
            plan_answer.lead(MIX, workload()),
            plan_answer.verdict(MIX),
            plan_answer.attained(MIX, workload().slo),
            *MIX.warnings,
            *MIX.assumptions,
        ):
            assert sentence in shown
            assert sentence in text

    def test_the_largest_plan_fits_a_comment(self) -> None:
        many = plan(*(group(f"chat-h100-{number}") for number in range(2000)))
        assert len(plan_table.render_markdown(many, workload())) < 65_536


class TestPlanTable:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("mix.txt", MIX),
            ("one-type.txt", plan()),
            ("unproven.txt", replace(plan(), status="feasible", mip_gap=0.0123)),
            ("overhead-unknown.txt", plan(overhead=None)),
            ("spot-zone.txt", plan(group("chat-l4-spot", use_spot=True, zone="us-east-1a"))),
        ],
    )
    def test_golden(self, repository: Path, name: str, shown: Plan) -> None:
        text = plan_table.render(shown, workload(), color=False)
        details = plan_table.render(shown, workload(), color=False, is_verbose=True)
        assert_plain(text + details)
        golden(repository, name, f"{text}\n--verbose\n\n{details}")

    def test_it_says_what_it_costs(self) -> None:
        text = plan_table.render(MIX, workload(), color=False)
        total = 3 * 0.8048 + 31.92 + 0.2
        assert text.startswith(f"chat: USD {total:.2f} per hour, {total * 730:,.2f} per month\n")
        assert "proven cheapest" in text

    def test_it_says_the_worst_case(self) -> None:
        cost = replace(MIX.cost, worst_case_usd_per_hour=40.0)
        text = " ".join(plan_table.render(replace(MIX, cost=cost), workload(), color=False).split())
        assert "USD 34.53 to 40.00 per hour, 25,210.11 to 29,200.00 per month (the most while on-demand" in text

    def test_colour_only_when_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[" in plan_table.render(MIX, workload(), color=True)
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert_plain(plan_table.render(MIX, workload(), color=False))

    def test_the_width_does_not_depend_on_the_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = plan_table.render(MIX, workload(), color=False)
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("TERM", "dumb")
        assert plan_table.render(MIX, workload(), color=False) == expected

    def test_long_names_and_large_numbers_stay_within_the_width(self) -> None:
        wide = group(
            "c" * 40 + "-rtx-pro-6000-blackwell-server-edition-x8-spot",
            instance_type="a" * 70,
            region="b" * 60,
            accelerator="RTX-PRO-6000-BLACKWELL-SERVER-EDITION",
            accelerators_per_instance=8,
            price_usd_per_hour=12_345.6789,
            instances=987_654,
        )
        text = plan_table.render(plan(wide, group()), workload(), color=False, is_verbose=True)
        assert_plain(text)
        assert "987654" in text.replace("\n", "")
        assert "12,345.6789" in text

    def test_large_rates_and_counts_have_no_exponents(self) -> None:
        traffic = workload().traffic
        large = replace(traffic, rates_rps=((300_000_000.0,), (1_250_000.5,)))
        text = plan_table.render(plan(group(instances=1_868_455)), replace(workload(), traffic=large), color=False)
        assert "at 301,250,000.5 req/s on" in " ".join(text.split())
        assert "1,868,455 instances" in " ".join(text.split())

    def test_brackets_in_a_name_are_shown_as_they_are(self) -> None:
        named = plan(group(instance_type="[red]x[/red]"), warnings=("[bold]w[/bold]",))
        text = plan_table.render(named, workload(), color=False)
        assert "[bold]w[/bold]" in text
        assert "[red]x[/red]" in text


def many(count: int) -> Plan:
    """Groups of rising cost, each with the usual warnings."""
    groups = [
        group(f"llama-3-1-8b-h100-{number}", **LARGE | {"price_usd_per_hour": 1.0 + number}) for number in range(count)
    ]
    warnings = [f"Throughput of {each.name} is extrapolated beyond its profile: {'long ' * 60}." for each in groups]
    doubts = [f"Price of {each.name}: sources disagree: {'9.99 ' * 30}." for each in groups]
    prices = "Prices are those of lambda of 2026-05-07 (snapshot). Check them before launching."
    return plan(*groups, warnings=(prices, *warnings, *doubts, "Traffic: all of it.", "Traffic: more.", prices))


class TestOneScreen:
    @pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30)])
    @pytest.mark.parametrize("count", [1, 2, 3, 200])
    def test_it_fits(self, width: int, height: int, count: int) -> None:
        lines = plan_table.render(many(count), workload(), color=False, width=width).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= height + max(0, min(count, plan_answer.MOST_GROUPS + 1) - 5)

    @pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
    @pytest.mark.parametrize("shown", [MIX, many(5), many(40)])
    def test_it_wraps_at_the_terminals_width_with_whole_figures(self, width: int, shown: Plan) -> None:
        text = plan_table.render(shown, workload(), color=False, width=width)
        full = plan_table.render(shown, workload(), color=False, width=width, is_verbose=True)
        assert max(map(len, (text + full).splitlines())) <= width
        first = " ".join(text.split())
        assert plan_answer.headline(shown) in first
        for row in plan_answer.group_rows(shown):
            assert row[4] in first

    def test_the_dearest_groups_are_shown_and_the_rest_is_summed(self) -> None:
        rows = list(plan_answer.group_rows(many(200)))
        assert [row[0] for row in rows[:8]] == [f"llama-3-1-8b-h100-{number}" for number in range(192, 200)]
        rest = sum(1.0 + number for number in range(192))
        assert rows[8][:5] == ("192 more (-v)", "192", "", "", f"{rest:,.2f}")
        assert rows[9][0] == "SkyServe controller"

    def test_every_group_and_warning_is_there_with_v(self) -> None:
        shown = many(12)
        text = plan_table.render(shown, workload(), color=False, is_verbose=True)
        squeezed = "".join(text.split())
        for each in shown.groups:
            assert each.name in squeezed
        for warning in (*shown.warnings, *shown.assumptions):
            assert "".join(warning.split()) in squeezed

    def test_a_narrow_terminal_shows_fewer_columns(self) -> None:
        heads = [
            plan_table.render(MIX, workload(), color=False, width=width).split("\n\n")[1].splitlines()[0].split()
            for width in (40, 50, 60, 70, 90)
        ]
        assert heads[0] == ["Group", "Count", "USD/h"]
        assert [len(head) for head in heads] == [3, 4, 5, 6, 7]


class TestWarnings:
    def test_they_are_grouped_and_the_most_expensive_comes_first(self) -> None:
        found = plan_answer.warnings(many(4))
        assert [each.split(":")[0] for each in found] == [
            "Prices in doubt (lambda)",
            "Traffic",
            "Traffic",
            "Throughput of llama-3-1-8b-h100-3 (and 3 more) is extrapolated beyond its profile",
            "Prices are those of lambda of 2026-05-07 (snapshot). Check them before launching.",
        ]

    def test_what_is_estimated_says_what_that_may_cost(self) -> None:
        error = ProfileError(
            statistic="median",
            tpot_fraction=None,
            ttft_fraction=None,
            request_rate_fraction=0.14,
            runs=12,
            basis="12 runs",
        )
        estimated = group(profile=replace(PROFILE, error=error))
        said = f"Throughput of {estimated.name} is estimated, not measured (median of the request rate 14%: 12 runs)."
        (found,) = plan_answer.warnings(plan(estimated, warnings=(said,)))
        cost = 3 * 0.8048 * 0.14
        assert f"is estimated (-26…+36%): measuring it could change the bill by about USD {cost:.2f} per hour" in found

    def test_a_name_within_another_is_not_that_group(self) -> None:
        shown = plan(group("chat-h100"), group("chat-h100-x8", **LARGE), warnings=("Price of chat-h100-x8: doubted.",))
        (found,) = plan_answer.warnings(shown)
        assert found == "Prices in doubt (lambda): Price of chat-h100-x8: doubted."

    def test_three_are_shown_and_the_rest_is_counted(self) -> None:
        text = plan_table.render(many(4), workload(), color=False)
        assert text.count("\n! ") == 3
        assert text.endswith("\n2 more warnings with -v.\n")
        markdown = plan_table.render_markdown(many(4), workload())
        assert markdown.count("⚠️ ") == 3
        assert "2 more warnings below." in markdown


class TestVerdict:
    def test_one_type(self) -> None:
        shown = plan()
        assert plan_answer.verdict(shown) == (
            "One type is best: L4. No mix of the candidates is cheaper; the next type alone costs 32.12."
        )
        alone = replace(shown, alternatives=shown.alternatives[:1])
        assert plan_answer.verdict(alone) == "One type is best: L4. No mix of the candidates is cheaper."

    def test_a_mix(self) -> None:
        mix = replace(MIX, alternatives=(alternative("H100", 40.0, instances=2), alternative("L4", None, note="no")))
        saved = 1 - (3 * 0.8048 + 31.92 + 0.2) / 40.2
        assert plan_answer.verdict(mix) == (
            f"A mix is best: {saved:.1%} less than the best single type (H100 alone, 40.20)."
        )

    def test_no_single_type(self) -> None:
        none = replace(MIX, alternatives=(alternative("H100", None), alternative("L4", None)))
        assert plan_answer.verdict(none) == ("A mix is needed: no single type can carry the traffic alone.")

    @pytest.mark.parametrize("shown", [plan(), replace(MIX, alternatives=(alternative("H100", 40.0, instances=2),))])
    def test_a_plan_that_is_not_proven_is_not_called_best(self, shown: Plan) -> None:
        assert "is best" not in plan_answer.verdict(replace(shown, status="feasible", mip_gap=0.2))

    def test_a_mix_that_costs_more_than_one_type_saves_nothing(self) -> None:
        dearer = replace(MIX, status="feasible", alternatives=(alternative("H100", 31.92, instances=1),))
        assert "-" not in plan_answer.verdict(dearer)


def offer(**changes: Any) -> Offer:
    given: dict[str, Any] = {
        "cloud": "gcp",
        "region": "us-central1",
        "zone": None,
        "instance_type": "g2-standard-4",
        "accelerator": "L4",
        "catalog_accelerator": "L4",
        "accelerators_per_instance": 1,
        "vcpus": 4.0,
        "memory_gib": 16.0,
        "price_usd_per_hour": 0.70683,
        "use_spot": False,
        "provenance": PRICE,
    }
    return Offer(**(given | changes))


NOW = datetime(2026, 6, 11, tzinfo=UTC)


class TestPriceTable:
    OFFERS = (
        offer(),
        offer(accelerator="H100", accelerators_per_instance=8, price_usd_per_hour=31.92, instance_type="a" * 60),
        offer(use_spot=True, zone="us-central1-a", price_usd_per_hour=0.3),
    )
    ITEMS = (Quarantined(offer=offer(price_usd_per_hour=0.01), rule="floor", reason="[0.01] is below any [/other]"),)

    def test_golden(self, repository: Path) -> None:
        text = price_table.table(self.OFFERS, NOW, color=False)
        assert_plain(text)
        golden(repository, "prices.txt", text)

    def test_reasons_are_shown_as_they_are(self) -> None:
        assert "below any [/other]" in price_table.quarantine_table(self.ITEMS, color=False)

    def test_csv(self) -> None:
        lines = price_table.to_csv(self.OFFERS[:1], self.ITEMS, NOW).splitlines()
        assert lines[1] == (
            "gcp,us-central1,,g2-standard-4,L4,1,false,0.70683,0.70683,test catalog,2026-06-01,240.000,,,"
        )
        assert lines[2].endswith("2026-06-01,240.000,floor,[0.01] is below any [/other],")


class TestVerdictTable:
    def test_a_failed_check_stands_out(self) -> None:
        text = verdict_table([("chat-l4", "price", False, "0.80 planned, 0.90 found")], color=False)
        assert_plain(text)
        assert " NO " in text

    def test_brackets_in_a_detail_are_shown_as_they_are(self) -> None:
        detail = "wanted [/dev/x], found [red]"
        assert detail in verdict_table([("g", "check", True, detail)], color=False)


@examples(40)
@given(
    st.floats(0.0001, 1e6),
    st.integers(1, 10**6),
    st.text("abcdefgh-0123456789", min_size=1, max_size=60),
    st.text("ABCDEF-0123456789", min_size=1, max_size=40),
)
def test_no_line_is_ever_wider(price: float, instances: int, name: str, accelerator: str) -> None:
    shown = plan(group(name, price_usd_per_hour=price, instances=instances, accelerator=accelerator))
    for is_verbose in (False, True):
        assert_plain(plan_table.render(shown, workload(), color=False, is_verbose=is_verbose))
