"""The page in SkyPilot's own dashboard, with answers that a real server rarely gives: broken, hostile, slow, empty."""

from __future__ import annotations

import copy
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from dashboard_stub import ASSETS, Stub
from page_answers import listed

LIST = "/dashboard/plugins/melange"
PLAN = f"{LIST}/p1"


def test_it_opens_from_the_navigation_and_goes_back_by_the_browser(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}/dashboard/plugins/nothing")
    browser.press(browser.link("Mélange"))
    browser.press(browser.link("chat in production"))
    browser.find(".heat")
    assert browser.driver.current_url == f"{stub.url}{PLAN}"
    assert browser.driver.title == "Mélange | SkyPilot Dashboard"
    browser.driver.back()
    browser.says("Stored plans")
    assert browser.hosts() == {stub.url.removeprefix("http://")}


def test_the_list_states_costs_counts_and_the_age_of_prices(browser: Browser, stub: Stub) -> None:
    stub.answers["GET", "plans"] = (200, {"plans": [{**listed_plan(stub), "priced_at": None, "usd_per_month": None}]})
    browser.open(f"{stub.url}{LIST}")
    ((name, model, hour, month, worst, groups, replicas, priced, owner, *_),) = browser.rows("Stored plans")
    assert (name, model, hour) == ("chat in production", "meta-llama/Llama-3.1-8B-Instruct", "11.6331")
    assert (month, priced) == ("unknown", "unknown")
    assert (worst, groups, replicas, owner) == ("11.6331", "2", "2", "ada")
    stub.answers["GET", "plans"] = (200, {"plans": [listed_plan(stub)]})
    browser.press(browser.button("Refresh"))
    browser.wait(lambda: browser.rows("Stored plans")[0][3] == "8,492.15")
    assert re.fullmatch(r"2026-05-07\n\d+ days old", browser.rows("Stored plans")[0][7])


def listed_plan(stub: Stub) -> dict[str, Any]:
    answer = stub.answers["GET", "plans/p1"]
    assert not callable(answer)
    return listed(answer[1])


def test_a_plan_states_its_groups(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    first, second = browser.rows("Groups")
    assert first[:7] == ["chat-b200", "1 × B200", "lambda us-east-1\ngpu_1x_b200_sxm6", "1", "6.99", "6.99", "83%"]
    assert second[0] == "chat-h100"
    assert first[7].startswith("2026-05-07\n")
    assert first[8] == "estimated\n-26…+34%"


def test_a_plan_says_all_that_the_report_says_first(
    browser: Browser, stub: Stub, stored: dict[str, Any], planned: dict[str, Any]
) -> None:
    """Every text of the report's first screen, letter for letter."""
    shown = stored["figures"]
    shown.update(missing=["NO PRICES of aws"], sentences=["It survives."], commitments=["Committed: USD 1"], week=WEEK)
    assert all(planned["figures"][key] for key in ("tiles", "promise", "beyond", "carried"))
    browser.open(f"{stub.url}{PLAN}")
    browser.wait(lambda: "NO PRICES of aws" in browser.find(".melange .page").text)
    page = browser.find(".melange .page").text
    for name in ("missing", "sentences", "promise", "commitments", "beyond", "carried"):
        for text in shown[name]:
            assert text in page, name
    for tile in shown["tiles"]:
        assert "\n".join((tile["name"], tile["value"], tile["note"])) in page
    assert shown["why"] in page
    assert f"USD {shown['monthly']} per month" in page
    assert f"USD {shown['hourly']} per hour, {shown['when']}, " in page
    assert shown["proof"] in page
    assert "null" not in page
    assert browser.find(".melange figure svg").get_attribute("aria-label") == "By the hour"
    assert [part.tag_name for part in browser.find_all(".melange figure svg *")] == ["polygon", "title"]
    assert browser.driver.execute_script("return window.hacked") is None
    link = browser.link("Report")
    assert str(link.get_attribute("href")).endswith("/plugins/api/melange/plans/p1/report")


WEEK = (
    '<svg viewBox="0 0 8 2" role="img" aria-label="By the hour" onload="window.hacked=1">'
    '<polygon points="0,0 1,1 0,1" fill="var(--series)" onclick="window.hacked=1" style="fill: red"><title>a</title>'
    "</polygon><script>window.hacked=1</script><foreignObject/><image href='x'/></svg>"
)


def test_a_plan_of_an_earlier_release_names_the_report(browser: Browser, stub: Stub, stored: dict[str, Any]) -> None:
    stored["figures"] = None
    browser.open(f"{stub.url}{PLAN}")
    browser.find(".heat")
    browser.says("An earlier release stored this plan: the report has its figures.")
    assert browser.rows("Why this mix")[0][1] == "unknown"
    assert "null" not in browser.text(".melange")


def test_the_heat_map_tells_zero_cannot_and_unknown_apart(browser: Browser, stub: Stub, stored: dict[str, Any]) -> None:
    stored["requests_per_usd"]["groups"][1]["requests_per_usd"][-2] = []
    browser.open(f"{stub.url}{PLAN}")
    browser.find(".heat tbody td")
    best = [cell.text for cell in browser.find_all(".heat tbody tr:first-of-type td")]
    assert best[0].splitlines() == ["H100", "24,889 per USD", "1.40× the next"]
    assert best[-1].splitlines() == ["B200", "498 per USD", "1.43× the next"]
    browser.press(browser.find(".chooser input[value='1'] + span"))
    browser.says("chat-h100: requests per USD")
    *_, unknown, last = browser.find_all(".heat tbody tr")
    cells = [
        (cell.get_attribute("class"), cell.text.split("\n")[0])
        for cell in browser.find_all(".heat tbody tr:last-of-type td")
    ]
    assert cells[0] == ("figure", "0")
    assert cells[-1][0] == "cannot"
    assert {cell.get_attribute("class") for cell in unknown.find_elements("css selector", "td")} == {"not-known"}
    assert "cannot serve" in str(last.get_attribute("textContent"))


def test_figures_that_nobody_knows_come_with_the_reason(browser: Browser, stub: Stub, stored: dict[str, Any]) -> None:
    first, second = stored["requests_per_usd"]["groups"]
    first.update(requests_per_usd=None, reason="no profile of B200")
    browser.open(f"{stub.url}{PLAN}")
    browser.says("chat-b200 is not known: no profile of B200.")
    assert browser.find(".heat tbody td strong").text == "H100"
    second.update(requests_per_usd=None, reason="no profile of H100")
    browser.open(f"{stub.url}{PLAN}")
    browser.says("Requests per dollar are not known for this plan.")
    browser.says("chat-h100 is not known: no profile of H100.")
    assert browser.find_all(".heat") == []
    stored["requests_per_usd"] = None
    browser.open(f"{stub.url}{PLAN}")
    browser.says("Requests per dollar are not known for this plan.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("groups", [2, 6])
def test_every_text_can_be_read(browser: Browser, stub: Stub, stored: dict[str, Any], scheme: str, groups: int) -> None:
    """WCAG AA: 4.5 to 1 for text, in both themes, on every shade of the heat map."""
    map_groups = stored["requests_per_usd"]["groups"]
    for number in range(2, groups):
        other = copy.deepcopy(map_groups[number % 2])
        other["requests_per_usd"][number] = [cell and cell * (3 + number) for cell in other["requests_per_usd"][number]]
        map_groups.append({**other, "group": f"group-{number}", "accelerator": f"GPU{number}"})
    browser.scheme(scheme)
    browser.open(f"{stub.url}{PLAN}")
    browser.press(browser.button("Run check"))
    browser.rows("Findings of the check")
    browser.rows("Running replicas")
    poor = browser.driver.execute_script(CONTRASTS)
    assert poor == []
    browser.press(browser.find(".chooser input[value='0'] + span"))
    browser.says("chat-b200: requests per USD")
    assert browser.driver.execute_script(CONTRASTS) == []


# Every element with text of its own whose contrast with the nearest painted ground is below 4.5.
CONTRASTS = """
const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const context = canvas.getContext('2d', {willReadFrequently: true});
const rgba = (colour) => {
  context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
};
const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const groundOf = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const own = rgba(getComputedStyle(at).backgroundColor);
    if (own[3] === 255) return own;
    if (at.classList.contains('melange')) return rgba(getComputedStyle(at, '::before').backgroundColor);
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('.melange *')) {
  const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
  const style = getComputedStyle(element);
  if (!text || element.closest('.hidden, .cannot, :disabled') || !element.checkVisibility()) continue;
  const [a, b] = [light(rgba(style.color)), light(groundOf(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push(`${element.tagName}.${element.className} ${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
}
return found;
"""


def test_running_replicas_stand_beside_the_planned_ones(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    first, second = browser.rows("Running replicas")
    assert first == ["chat-b200", "chat-b200", "1", "1", "1", "✓ as planned", "READY"]
    assert second[2:] == ["3", "1", "2", "! 1 missing, 1 not ready", "REPLICA_INIT"]
    nobody = {"group": "chat-b200", "service": "chat-b200", "planned": 1, "ready": None, "total": None, "status": None}
    stub.answers["GET", "plans/p1/replicas"] = (200, {"groups": [{**nobody, "reason": "SkyServe has no controller"}]})
    browser.press(browser.button("Refresh running replicas"))
    browser.says("SkyServe has no controller")
    ((*_, ready, total, _, _),) = browser.rows("Running replicas")
    assert (ready, total) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("wanted", "ready", "total", "says"),
    [
        (1, 1, 2, "! 1 more than planned"),
        (1, 2, 2, "! 1 more than planned"),
        (2, 0, 3, "! 1 more than planned, 2 not ready"),
        (1, 0, 1, "! 1 not ready"),
        (2, 0, 0, "! 2 missing"),
        (0, 0, 0, "✓ as planned"),
        (2, 2, None, "✓ as planned"),
    ],
)
def test_only_as_many_as_planned_are_as_planned(
    browser: Browser, stub: Stub, wanted: int, ready: int, total: int | None, says: str
) -> None:
    row = {"group": "a", "service": "a", "planned": wanted, "ready": ready, "total": total, "status": "READY"}
    stub.answers["GET", "plans/p1/replicas"] = (200, {"groups": [row], "observed_at": "2026-06-02T10:00:00Z"})
    browser.open(f"{stub.url}{PLAN}")
    ((*_, verdict, _),) = browser.rows("Running replicas")
    assert verdict == says


def test_a_plan_states_what_each_group_carries_and_is_cheapest_for(
    browser: Browser, stub: Stub, stored: dict[str, Any]
) -> None:
    browser.open(f"{stub.url}{PLAN}")
    first, second = browser.rows("Why this mix")
    assert first[:2] == ["chat-b200", "45.9%\nof your requests"]
    assert second[:2] == ["chat-h100", "54.1%\nof your requests"]
    # The made-up figures of the heat map: chat-h100 serves answers under 200 tokens for less, chat-b200 longer ones.
    buckets = stored["plan"]["routing"]["buckets"]
    total = sum(bucket["rate_rps"] for bucket in buckets)
    short = sum(bucket["rate_rps"] for bucket in buckets if bucket["output_tokens"] < 200) / total
    # A tie at the only group that serves a size goes to it.
    assert re.fullmatch(r"\d+(\.\d)?% of your requests\nup to [\d,–]+ input and [\d,–]+ output tokens", first[2])
    assert f"{round(100 * short, 1):g}% of your requests" in second[2]
    assert "up to 25–16,000 input and 25–100 output tokens" in second[2]
    stored["requests_per_usd"]["groups"][0].update(requests_per_usd=None, reason="no profile of B200")
    browser.open(f"{stub.url}{PLAN}")
    assert browser.rows("Why this mix")[0][2] == "unknown\nno profile of B200"


def test_the_check_shows_its_findings_failures_first(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    browser.says("Nothing has been checked on this page yet.")
    browser.press(browser.button("Run check"))
    rows = browser.rows("Findings of the check")
    assert rows[0][:4] == ["budget-total", "✕ fail", "11.6331 USD/hour", "10.00 USD/hour"]
    assert {row[0]: row[1] for row in rows}["serves"] == "✓ pass"
    order = ["✕✓–".index(row[1][0]) for row in rows]
    assert order == sorted(order)
    judged = [row for row in rows if not row[1].startswith("–")]
    browser.says(f"1 of {len(judged)} checks failed")
    assert stub.asked[-1] == ("POST", "plans/p1/check", {})


def test_no_plans_is_said_and_leads_to_the_first(browser: Browser, stub: Stub) -> None:
    stub.answers["GET", "plans"] = (200, {"plans": []})
    browser.open(f"{stub.url}{LIST}")
    browser.says("No plans are stored yet.")
    assert len([button for button in browser.find_all("button") if button.text == "New plan"]) == 2


def test_loading_is_said(browser: Browser, stub: Stub) -> None:
    answered = threading.Event()

    def slowly(_: Any) -> tuple[int, Any]:
        assert answered.wait(120)
        return 200, {"plans": []}

    stub.answers["GET", "plans"] = slowly
    browser.open(f"{stub.url}{LIST}")
    browser.says("Loading the stored plans…", ".melange [role=status]")
    answered.set()
    browser.says("No plans are stored yet.")


FINDING = {"where": "workload.yaml:3", "message": "slo.tpot_ms must be positive", "help": "Give milliseconds."}


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (422, {"detail": [FINDING, {**FINDING, "where": "model"}], "code": 2}, [*FINDING.values(), "model"]),
        (500, {"detail": "the database is locked"}, ["GET plans", "the database is locked"]),
        (422, {"detail": [{"loc": ["body", "name"], "msg": "Field required"}]}, ["body.name", "Field required"]),
        (502, "<html><script>alert(1)</script>", ["The API server answered 502"]),
        (403, {}, ["answered 403", "Ask an administrator"]),
        (200, "no JSON at all", ["The answer is no JSON."]),
    ],
)
def test_an_error_says_where_what_and_what_to_do(
    browser: Browser, stub: Stub, status: int, content: Any, said: list[str]
) -> None:
    stub.answers["GET", "plans"] = (status, content)
    browser.open(f"{stub.url}{LIST}")
    browser.says("The stored plans could not be loaded", ".melange [role=alert]")
    for text in said:
        assert text in browser.text(".melange [role=alert]")
    stub.answers["GET", "plans"] = (200, {"plans": []})
    browser.press(browser.button("Refresh"))
    browser.says("No plans are stored yet.")
    if status >= 400:
        (failed_load,) = browser.errors()
        assert f"status of {status}" in failed_load


def test_a_plan_that_is_gone_is_an_error_of_its_own(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{LIST}/of%2Fanother%20user%25")
    browser.says("The plan could not be loaded")
    assert stub.asked[-1][:2] == ("GET", "plans/of/another user%")
    browser.says("no such plan")
    browser.errors()


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&amp;'


def test_names_are_text_wherever_they_stand(browser: Browser, stub: Stub, stored: dict[str, Any]) -> None:
    plan = stored["plan"]
    hostile: dict[str, Any] = {"name": HOSTILE, "owner": HOSTILE}
    stored.update(hostile)
    plan["model"]["id"] = HOSTILE
    plan["warnings"] = plan["assumptions"] = [HOSTILE]
    plan["groups"][0].update(name=HOSTILE, accelerator=HOSTILE, region=HOSTILE, instance_type=HOSTILE)
    stored["requests_per_usd"]["groups"][0].update(group=HOSTILE, accelerator=HOSTILE)
    stub.answers["GET", "plans"] = (200, {"plans": [{**listed(stored), "model": HOSTILE, "priced_at": HOSTILE}]})
    row = {"group": HOSTILE, "service": HOSTILE, "planned": 1, "ready": None, "status": HOSTILE, "reason": HOSTILE}
    stub.answers["GET", "plans/p1/replicas"] = (200, {"groups": [row], "observed_at": HOSTILE})
    check = {
        "name": HOSTILE,
        "verdict": HOSTILE,
        "figure": 1,
        "limit": 1,
        "unit": HOSTILE,
        "says": HOSTILE,
        "details": [HOSTILE],
    }
    found = {"verdict": "pass", "summary": HOSTILE, "checks": [check], "warnings": [HOSTILE]}
    stub.answers["POST", "plans/p1/check"] = (200, found)
    stub.answers["DELETE", "plans/p1"] = (409, {"detail": [{"where": HOSTILE, "message": HOSTILE, "help": HOSTILE}]})

    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.link(HOSTILE))
    browser.rows("Running replicas")
    browser.press(browser.button("Run check"))
    browser.rows("Findings of the check")
    browser.press(browser.find(".chooser input[value='0'] + span"))
    browser.press(browser.button("Delete"))
    browser.press(browser.button("Delete", "dialog"))
    browser.says("It was not deleted", "dialog")
    content = browser.driver.execute_script("return document.querySelector('.melange').textContent")
    assert content.count("<img src=x onerror=") > 20
    assert browser.driver.execute_script("return document.querySelectorAll('.melange :is(img, script)').length") == 0
    assert browser.driver.execute_script("return window.hacked") is None
    (failed_load,) = browser.errors()
    assert "status of 409" in failed_load


def test_a_plan_is_made_from_a_pasted_workload_after_its_errors_are_shown(browser: Browser, stub: Stub) -> None:
    stub.answers["POST", "plans"] = (422, {"detail": [FINDING], "code": 2})
    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("#melange-name").send_keys("made here")
    browser.find("#melange-workload").send_keys("version: 1\nname: chat")
    browser.press(browser.button("Plan and store"))
    browser.says("slo.tpot_ms must be positive", "dialog [role=alert]")
    browser.errors()
    stub.answers["POST", "plans"] = lambda _: stub.answers["GET", "plans/p1"]  # type: ignore[assignment,return-value]
    browser.press(browser.button("Plan and store"))
    browser.find(".heat")
    assert browser.driver.current_url == f"{stub.url}{PLAN}"
    posted = [content for method, _, content in stub.asked if method == "POST"]
    assert posted == [{"name": "made here", "workload": "version: 1\nname: chat"}] * 2


def test_a_workload_may_come_from_a_file(browser: Browser, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "workload.yaml").write_text("version: 1\nname: ünï\n", encoding="utf-8")
    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("#melange-file").send_keys(str(tmp_path / "workload.yaml"))
    text = browser.find("#melange-workload")
    browser.wait(lambda: text.get_property("value") == "version: 1\nname: ünï\n")
    browser.press(browser.button("Cancel"))
    browser.wait(lambda: not browser.find_all("dialog"))


def test_a_plan_is_deleted_only_after_asking(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.button("Delete chat in production"))
    browser.press(browser.button("Keep it", "dialog"))
    browser.wait(lambda: not browser.find_all("dialog"))
    assert all(method == "GET" for method, _, _ in stub.asked)
    browser.press(browser.button("Delete chat in production"))
    stub.answers["GET", "plans"] = (200, {"plans": []})
    browser.press(browser.button("Delete", "dialog"))
    browser.says("No plans are stored yet.")
    assert ("DELETE", "plans/p1", None) in stub.asked


def test_controls_and_tables_have_names(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    browser.rows("Running replicas")
    nameless = """
    const named = (e) => (e.labels?.length && [...e.labels].every((l) => l.textContent.trim()))
      || e.getAttribute('aria-label') || e.textContent.trim();
    return [...document.querySelectorAll('.melange :is(button, a, input, textarea)')].filter((e) => !named(e)).length
      + [...document.querySelectorAll('.melange table')].filter((t) => !t.caption?.textContent).length
      + [...document.querySelectorAll('.melange th:not([scope])')].length
      + [...document.querySelectorAll('.melange tbody tr')].filter((r) => r.cells[0].tagName !== 'TH').length;
    """
    assert browser.driver.execute_script(nameless) == 0
    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("dialog")
    assert browser.driver.execute_script(nameless) == 0


def test_it_reads_on_a_desk_and_a_phone_in_light_and_dark(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    browser.rows("Running replicas")
    seen = set()
    for _ in browser.first_screens("dashboard"):
        ground = "return getComputedStyle(document.querySelector('.melange'), '::before').backgroundColor"
        seen.add(browser.driver.execute_script(ground))
        width = "return document.querySelector('.melange').scrollWidth - document.querySelector('.melange').clientWidth"
        assert browser.driver.execute_script(width) <= 0
    assert len(seen) == 2
    assert browser.hosts() == {stub.url.removeprefix("http://")}


def test_axe_finds_no_serious_fault(browser: Browser, stub: Stub, stored: dict[str, Any]) -> None:
    stored["figures"]["week"] = WEEK
    browser.open(f"{stub.url}{PLAN}")
    browser.press(browser.button("Run check"))
    browser.rows("Findings of the check")
    browser.rows("Running replicas")
    for seen in browser.first_screens("dashboard-checked"):
        assert browser.accessibility_faults(".melange") == [], seen


def test_it_fits_a_narrow_window(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{PLAN}")
    browser.rows("Running replicas")
    browser.driver.set_window_size(500, 900)
    try:
        browser.wait(lambda: browser.driver.execute_script("return innerWidth") <= 500)
        width = "return document.querySelector('.melange').scrollWidth - document.querySelector('.melange').clientWidth"
        assert browser.driver.execute_script(width) <= 0
    finally:
        browser.driver.set_window_size(1440, 1000)


def test_no_module_parses_html_or_names_another_host() -> None:
    modules = [path for path in ASSETS.iterdir() if path.suffix in {".js", ".css"}]
    assert {"melange.js", "melange.css"} <= {path.name for path in modules}
    banned = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org/2000/svg\")|@import"
    )
    for path in modules:
        assert banned.findall(path.read_text(encoding="utf-8")) == [], path.name
