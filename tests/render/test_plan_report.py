"""The page for whoever signs the bill."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from plans import LARGE, alternative, group, plan, workload

from sky_melange.cli import cli
from sky_melange.domain.hours import Hours, Period, Schedule
from sky_melange.domain.plan import GroupCommitment, Plan
from sky_melange.domain.price_record import PriceKind
from sky_melange.render import plan_report, plan_table
from sky_melange.render.plots import hours_plot

TODAY = date(2026, 7, 1)
MIX = plan(
    group(),
    group("chat-h100-x8", **LARGE, replicas_per_instance=8),
    alternatives=(alternative("H100", 63.84, instances=2), alternative("L4", None, note="cannot serve 25.0%")),
)
QUICKSTART = Path(__file__).parents[2] / "examples" / "means" / "workload.yaml"


class Page(HTMLParser):
    """Tags with their attributes, and the text of the page outside of its style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)


def page(shown: Plan) -> str:
    return plan_report.page(shown, workload(), today=TODAY, folder="plan")


def test_the_first_screen_says_what_it_costs_and_serves() -> None:
    text = Page(page(MIX)).text
    total = MIX.cost.total_usd_per_hour
    first = text[: text.index("What is rented")]
    assert f"USD {total * 730:,.2f} per month" in first
    assert f"USD {total:.4f} per hour" in first
    assert "3 × L4" in first
    assert "8 × H100" in first
    assert "4 requests/s" in first
    assert "46.1% less than the best single type (H100 alone" in first


def test_prices_have_their_age_and_throughput_its_kind() -> None:
    text = Page(page(MIX)).text
    assert "2026-06-01 30" in text
    assert "estimated" in text
    old = replace(MIX, groups=tuple(replace(g, price=replace(g.price, fetched_at="")) for g in MIX.groups))
    assert "not known not known" in Page(page(old)).text


def test_nothing_comes_from_elsewhere_and_nothing_runs() -> None:
    found = Page(page(MIX))
    assert not {tag for tag, _ in found.tags} & {"script", "link", "img", "iframe", "object", "form", "a"}
    assert not [
        name for _, attributes in found.tags for name in attributes if name in {"src", "href"} or name[:2] == "on"
    ]
    assert not re.search(r"url\(|@import|https?://", page(MIX))
    (policy,) = [a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_week_by_the_clock_is_drawn_with_its_traffic() -> None:
    """Each hour of each group is a step of its area; nothing of a name is markup there."""
    rates = tuple(1.0 + hour % 24 for hour in range(168))
    quiet = tuple(int(rate <= 12) for rate in rates)
    most = tuple(group.instances for group in MIX.groups)
    periods = tuple(
        Period(rate_rps=rate, hours=84, instances=counts, cost_usd_per_hour=1.0)
        for rate, counts in ((24.0, most), (12.0, tuple(1 for _ in most)))
    )
    schedule = Schedule(
        time_zone="Europe/Berlin",
        period_of_hour=quiet,
        periods=periods,
        startup_minutes=5.0,
        starts=7,
        usd_per_hour=50.0,
        fixed_usd_per_hour=60.0,
    )
    named = replace(MIX.groups[0], name='"<b>x')
    shown = replace(MIX, schedule=schedule, groups=(named, *MIX.groups[1:]))
    drawn = Page(hours_plot(shown, schedule, rates))
    areas = [attributes["points"] or "" for tag, attributes in drawn.tags if tag == "polygon"]
    assert [len(points.split()) for points in areas] == [4 * 168] * len(MIX.groups)
    assert [tag for tag, _ in drawn.tags if tag == "b"] == []
    assert f"1 to {most[1]} instances" in drawn.text
    hours = Hours(rates_rps=rates, time_zone="Europe/Berlin")
    asked = workload()
    text = plan_report.page(
        shown, replace(asked, traffic=replace(asked.traffic, hours=hours)), today=TODAY, folder="plan"
    )
    assert "When it runs" in text
    assert "on average over its hours" in text
    assert "When it runs" not in page(MIX)
    even = replace(schedule, periods=tuple(replace(period, instances=most) for period in periods))
    asked = replace(asked, traffic=replace(asked.traffic, hours=hours))
    unchanged = plan_report.page(replace(shown, schedule=even), asked, today=TODAY, folder="plan")
    assert "When it runs" not in unchanged
    bars = "Instances by the hour"
    drawn_in = (plan_table.render(replace(shown, schedule=each), asked, color=False) for each in (schedule, even))
    assert [bars in table for table in drawn_in] == [True, False]


def test_the_week_is_a_png_where_it_differs_by_the_hour(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = QUICKSTART.read_text(encoding="utf-8")
    source, folder = tmp_path / "workload.yaml", tmp_path / "plan"

    def drawn(rate: str, *arguments: str) -> Any:
        source.write_text(re.sub(r"request_rate: \S+", rate, text), encoding="utf-8")
        assert CliRunner().invoke(cli, ["plan", str(source), "--offline", "--out", str(folder)]).exit_code == 0
        return CliRunner().invoke(cli, ["report", str(folder), *arguments])

    first, again = tmp_path / "week.PNG", tmp_path / "other"
    assert drawn(f"hours: {[2.0] * 12 + [40.0] * 12}", "-o", str(first)).exit_code == 0
    assert CliRunner().invoke(cli, ["report", str(folder), "--as", "png", "-o", str(again)]).exit_code == 0
    assert first.read_bytes() == again.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")
    even = drawn("request_rate: 32", "-o", str(tmp_path / "even.png"))
    assert (even.exit_code, (tmp_path / "even.png").exists()) == (2, False)
    assert "there is no week to draw: plan with `traffic.hours`" in even.output


def test_committed_instances_are_drawn_apart() -> None:
    bought = GroupCommitment(
        kind=PriceKind.COMMIT_1Y, instances=2, price_usd_per_hour=1.0, as_of="2026-01-01", source="x"
    )
    plan = replace(MIX, groups=(replace(MIX.groups[0], committed=bought),))
    periods = tuple(
        Period(rate_rps=rate, hours=12, instances=(n,), cost_usd_per_hour=1.0) for rate, n in ((9.0, 5), (1.0, 1))
    )
    schedule = Schedule(
        time_zone="UTC",
        period_of_hour=(0,) * 12 + (1,) * 12,
        periods=periods,
        startup_minutes=5.0,
        starts=4,
        usd_per_hour=1.0,
        fixed_usd_per_hour=2.0,
    )
    text = Page(hours_plot(plan, schedule, [9.0] * 12 + [1.0] * 12)).text
    name = MIX.groups[0].name
    assert f"{name}, committed: 1 to 2 instances" in text
    assert f"{name}, by the hour: 0 to 3 instances" in text


def test_names_with_markup_stay_text() -> None:
    hostile = "<script>alert(1)</script>\"'&"
    shown = replace(
        MIX,
        name=hostile,
        warnings=(hostile,),
        assumptions=(hostile,),
        groups=tuple(replace(g, name=hostile, instance_type=hostile, region=hostile) for g in MIX.groups),
    )
    found = Page(page(shown))
    assert "script" not in {tag for tag, _ in found.tags}
    assert hostile in found.text


def test_two_hundred_groups_and_the_same_bytes() -> None:
    many = plan(*(group(f"chat-l4-{number}") for number in range(200)))
    assert page(many) == page(many)
    assert "chat-l4-199" in page(many)


def test_the_command_writes_one_page_and_no_half(tmp_path: Path) -> None:
    runner = CliRunner(mix_stderr=False)
    folder = tmp_path / "plan"
    assert runner.invoke(cli, ["plan", str(QUICKSTART), "--offline", "-o", str(folder)]).exit_code == 0
    target = tmp_path / "report.html"
    result = runner.invoke(cli, ["report", str(folder), "-o", str(target)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Llama-3.1-8B-Instruct at 32 requests per second" in target.read_text()
    assert "attainment: mean" in target.read_text()
    for place, plan_at in ((tmp_path / "no" / "r.html", folder), (tmp_path, folder), (target, tmp_path / "none")):
        failed = runner.invoke(cli, ["report", str(plan_at), "-o", str(place)])
        assert failed.exit_code == 2, failed.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan", "report.html"]


@pytest.mark.slow
def test_a_simulated_plan_has_its_curve(tmp_path: Path) -> None:
    quickstart = QUICKSTART.parents[1] / "quickstart" / "workload.yaml"
    runner = CliRunner(mix_stderr=False)
    assert runner.invoke(cli, ["plan", str(quickstart), "--offline", "-o", str(tmp_path / "plan")]).exit_code == 0
    result = runner.invoke(cli, ["report", str(tmp_path / "plan"), "-o", str(tmp_path / "report.html")])
    assert result.exit_code == 0, result.stderr
    found = Page((tmp_path / "report.html").read_text())
    (label,) = [str(attributes["aria-label"]) for tag, attributes in found.tags if tag == "svg"]
    assert "at 32" in label
    assert "Keeps its targets for 99." in found.text
