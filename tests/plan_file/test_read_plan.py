"""plan.json as found: what `plan` writes is read back whole, anything else is refused with its reason."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from check_cases import H100, L4, PLAN, PROFILES, WORKLOAD, Situation, group, plan_of
from hypothesis import given
from hypothesis import strategies as st
from sealed import sealed

from sky_melange import pipeline
from sky_melange.domain.offer import OWN_PRICES
from sky_melange.domain.plan import Contingency, Switching
from sky_melange.domain.workload import Budget, Launch, PricePolicy
from sky_melange.errors import InputError
from sky_melange.plan_file import read_files_beside, read_plan
from sky_melange.render import plan_json

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Situation().write(tmp_path / "plan")


def edited(path: Path, edit: Callable[[Document], object]) -> InputError:
    """The error after an edit by hand."""
    document = json.loads(path.read_text(encoding="utf-8"))
    edit(document)
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_plan(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return caught.value


def test_what_is_written_is_read_back(path: Path) -> None:
    document = read_plan(path)
    assert (document.plan, document.workload, document.path) == (PLAN, WORKLOAD, path)
    assert read_plan(path.parent) == document


def test_a_real_plan_is_read_back(tmp_path: Path) -> None:
    planned = pipeline.make_plan(WORKLOAD, Situation().book, PROFILES, workload_digest="a" * 64)
    path = tmp_path / "plan.json"
    path.write_text(plan_json.text(planned.plan, planned.workload), encoding="utf-8")
    document = read_plan(path)
    assert (document.plan, document.workload) == (planned.plan, planned.workload)


def test_every_part_of_a_workload_survives(tmp_path: Path) -> None:
    workload = replace(
        WORKLOAD,
        budget=Budget(usd_per_month=100.0),
        launch=Launch(engine_args=("--enable-prefix-caching",), secrets=("HF_TOKEN",)),
        traffic=replace(
            WORKLOAD.traffic,
            mean_tokens=(((50.5, 60.0), None), (None, (900.0, 400.0))),
        ),
    )
    path = Situation(workload=workload).write(tmp_path)
    assert read_plan(path).workload == workload


def test_contingencies_and_switching_survive(tmp_path: Path) -> None:
    shares = tuple(route.shares for route in PLAN.routing)
    plan = replace(
        PLAN,
        size_aware_total_usd_per_hour=5.5,
        contingencies=(Contingency(lost=(("chat-l4", 1),), shares=shares, peak_utilization=0.95),),
        switching=Switching(started_instances=1, stopped_instances=2, charged_usd_per_hour=0.3),
    )
    assert read_plan(Situation(plan=plan).write(tmp_path)).plan == plan


def test_of_a_file_of_overrides_only_the_name_is_written(tmp_path: Path) -> None:
    workload = replace(WORKLOAD, prices=PricePolicy(overrides=Path("/home/somebody/prices.csv")))
    path = Situation(workload=workload).write(tmp_path)
    assert "somebody" not in path.read_text(encoding="utf-8")
    assert read_plan(path).workload.prices.overrides == Path("prices.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read(path: Path, tmp_path: Path) -> None:
    """`sky-melange diff <(git show main:plan/plan.json) plan/plan.json`."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = path.read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(content))
    writer.start()
    assert read_plan(pipe).plan == PLAN
    writer.join()


@pytest.mark.parametrize(
    ("edit", "key", "fragment"),
    [
        (lambda d: d.update(schema_version=3), "schema_version", "update sky-melange"),
        (lambda d: d.update(schema_version="1"), "schema_version", "must be 1 to 2"),
        (lambda d: d.pop("schema_version"), "schema_version", "must be 1 to 2"),
        (lambda d: d["groups"][0].update(instances=5), "cost.replicas_usd_per_hour", "counts, prices and costs"),
        (lambda d: d["groups"][0].update(price_usd_per_hour=0.7), "groups[0].cost_usd_per_hour", "4 instances at 0.7"),
        (lambda d: d["cost"].update(total_usd_per_hour=1.0), "cost.total_usd_per_hour", "is 1.0"),
        (lambda d: d["cost"].update(worst_case_usd_per_hour=1.0), "cost.worst_case_usd_per_hour", "is 1.0"),
        (lambda d: d["unit_costs"].update(usd_per_month=1.0), "unit_costs.usd_per_month", "is 1.0"),
        (lambda d: d["groups"][0].update(instances="4"), "groups[0].instances", "want a whole number"),
        (lambda d: d["groups"][0].update(instances=4.0), "groups[0].instances", "want a whole number"),
        (lambda d: d["groups"][0].update(instances=True), "groups[0].instances", "found true"),
        (lambda d: d["groups"][0].update(instances=0), "groups[0].instances", "from 1"),
        (lambda d: d["groups"][0].update(instances=10**400), "groups[0].instances", "401 digits"),
        (lambda d: d["groups"][0].update(price_usd_per_hour=-1), "groups[0].price_usd_per_hour", "not negative"),
        (lambda d: d["groups"][0].update(price_usd_per_hour=0), "groups[0].price_usd_per_hour", "must be above 0"),
        (lambda d: d["groups"][0].update(region=""), "groups[0].region", "not empty"),
        (lambda d: d["groups"][0].update(zone=""), "groups[0].zone", "not empty"),
        (lambda d: d["groups"][0].update(instance_type=""), "groups[0].instance_type", "not empty"),
        (lambda d: d["groups"][0].update(catalog_accelerator=""), "groups[0].catalog_accelerator", "not empty"),
        (lambda d: d["groups"][0].update(price_usd_per_hour=1e12), "groups[0].price_usd_per_hour", "no price"),
        (lambda d: d["groups"][0].update(price_usd_per_hour=None), "groups[0].price_usd_per_hour", "found null"),
        (lambda d: d["groups"][0].update(file="../../etc/passwd"), "groups[0].file", "plain file name"),
        (lambda d: d["groups"][0].update(name="a\nb"), "groups[0].name", "control characters"),
        (lambda d: d["groups"][0].update(name="a\x1b[31m"), "groups[0].name", "control characters"),
        (lambda d: d["groups"][0].update(region="\ud800"), "groups[0].region", "control characters"),
        (lambda d: d["groups"][0].update(cloud="awss"), "groups[0].cloud", "no cloud 'awss'"),
        (lambda d: d["groups"][0].pop("region"), "groups[0].region", "is missing"),
        (lambda d: d["groups"][1].update(name="chat-l4"), "groups", "2 groups have the name"),
        (lambda d: d.update(groups=[]), "groups", "at least one"),
        (lambda d: d.update(groups={}), "groups", "want a list"),
        (lambda d: d.update(groups=[None]), "groups[0]", "want an object"),
        (lambda d: d["groups"][0]["profile"].update(kind="guessed"), "groups[0].profile.kind", "one of measured"),
        (lambda d: d["routing"].update(policy="psychic"), "routing.policy", "one of size_aware"),
        (lambda d: d["routing"]["buckets"][0].update(shares={"nobody": 1.0}), "routing.buckets[0].shares", "no group"),
        (lambda d: d["routing"]["buckets"][0].update(shares={"chat-l4": 2.0}), "routing.buckets[0].shares", "0 to 1"),
        (lambda d: d["routing"]["buckets"][0].update(shares=[]), "routing.buckets[0].shares", "want an object"),
        (lambda d: d["routing"].update(buckets=[]), "routing.buckets", "no traffic"),
        (lambda d: d.pop("routing"), "routing.policy", "is missing"),
        (lambda d: d.pop("workload"), "workload", "want an object"),
        (lambda d: d["workload"]["traffic"].update(rates_rps=[[1.0]]), "workload.traffic.rates_rps", "a row per input"),
        (
            lambda d: d["workload"]["traffic"].update(rates_rps=[[0, 0], [0, 0]]),
            "workload.traffic.rates_rps",
            "no traffic",
        ),
        (
            lambda d: d["workload"]["traffic"]["grid"].update(input_edges=[1000, 100]),
            "workload.traffic.grid.input_edges",
            "strictly rising",
        ),
        (lambda d: d["inputs"].pop("prices_sha256"), "inputs.prices", "is missing"),
    ],
)
def test_an_edit_by_hand_is_refused_with_its_key(
    path: Path, edit: Callable[[Document], object], key: str, fragment: str
) -> None:
    mistakes = {mistake.key: mistake.message for mistake in edited(path, edit).mistakes}
    assert key in mistakes
    assert fragment in mistakes[key]


def test_a_listed_machine_has_one_price(tmp_path: Path) -> None:
    """And its owner another: capacity that is paid for already, which may be at nothing."""
    cheaper = replace(L4, price_usd_per_hour=0.5)
    path = Situation(plan=plan_of(group(L4, 1), group(cheaper, 1, name="chat-l4-2"))).write(tmp_path / "listed")
    with pytest.raises(InputError, match=r"g6\.xlarge in aws/us-east-1 has two prices: 0\.8048 and 0\.5"):
        read_plan(path)
    own = replace(cheaper, price_usd_per_hour=0.0, provenance=replace(L4.provenance, source=OWN_PRICES))
    plan = plan_of(group(L4, 1), group(own, 1, name="chat-l4-2"))
    assert read_plan(Situation(plan=plan).write(tmp_path / "own")).plan == plan


def test_every_mistake_is_named_at_once(path: Path) -> None:
    def edit(document: Document) -> None:
        document["groups"][0]["instances"] = "many"
        document["groups"][1].pop("cloud")
        document["cost"]["total_usd_per_hour"] = []

    keys = [mistake.key for mistake in edited(path, edit).mistakes]
    assert keys == ["cost.total_usd_per_hour", "groups[0].instances", "groups[1].cloud"]


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "top level must be an object"),
        (b'{"schema_version": 1, "groups": [{"name": "a"', "truncated"),
        (b'{"schema_version": 1, "mip_gap": NaN}', "NaN is not a number"),
        (b'{"schema_version": 1, "mip_gap": -Infinity}', "-Infinity is not a number"),
        (b'{"schema_version": 1, "schema_version": 1}', "is repeated"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "schema_version"),
        (b'{"schema_version": 1, "pad": "' + b"x" * 50_000_000 + b'"}', "larger than 32 MiB"),
    ],
    ids=["empty", "list", "truncated", "NaN", "infinity", "repeated", "utf-16", "deep", "digits", "50 MB"],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes, fragment: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=fragment) as caught:
        read_plan(path)
    assert caught.value.exit_code == 2
    assert len(str(caught.value)) < 1000


def test_a_figure_beyond_a_float_is_refused(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"mip_gap": 0.0', '"mip_gap": 1e999'), encoding="utf-8")
    with pytest.raises(InputError, match="mip_gap: want a number"):
        read_plan(path)


def test_every_truncation_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 97):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_plan(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sky-melange plan WORKLOAD"):
        read_plan(tmp_path / "plan.json")


def test_keys_of_later_releases_are_left_alone(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    document["novelty"] = {"a": 1}
    document["groups"][0]["novelty"] = [1]
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    assert read_plan(path).plan == PLAN


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_any_value_anywhere_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never a traceback: a random value at a random place is either fine or an InputError."""
    document = json.loads(plan_json.text(PLAN, WORKLOAD))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_JSON)
        break
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    try:
        found = read_plan(path)
    except InputError:
        return
    assert found.plan.cost.total_usd_per_hour == pytest.approx(PLAN.cost.total_usd_per_hour)


class TestFilesBeside:
    def test_missing_and_left_over_files_are_told(self, path: Path) -> None:
        (path.parent / "chat-l4.sky.yaml").unlink()
        (path.parent / "old.sky.yaml").write_text("name: old\n")
        found = read_files_beside(path, ["chat-l4.sky.yaml", "chat-h100.sky.yaml"])
        assert found["chat-l4.sky.yaml"] is None
        assert found["old.sky.yaml"] == "name: old\n"

    def test_line_ends_do_not_count(self, path: Path) -> None:
        name = "chat-l4.sky.yaml"
        text = (path.parent / name).read_text(encoding="utf-8")
        (path.parent / name).write_bytes(text.replace("\n", "\r\n").encode())
        assert read_files_beside(path, [name])[name] == text

    def test_a_link_is_refused_and_not_read(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("hunter2")
        (path.parent / "chat-l4.sky.yaml").unlink()
        (path.parent / "chat-l4.sky.yaml").symlink_to(tmp_path / "secret")
        with pytest.raises(InputError, match="is a link") as caught:
            read_files_beside(path, ["chat-l4.sky.yaml"])
        assert "hunter2" not in str(caught.value)

    def test_a_folder_and_a_huge_file_are_refused_together(self, path: Path) -> None:
        for name in ("chat-l4.sky.yaml", "chat-h100.sky.yaml"):
            (path.parent / name).unlink()
        (path.parent / "chat-l4.sky.yaml").mkdir()
        (path.parent / "chat-h100.sky.yaml").write_bytes(b"x" * 5_000_000)
        with pytest.raises(InputError) as caught:
            read_files_beside(path, ["chat-l4.sky.yaml", "chat-h100.sky.yaml"])
        assert len(caught.value.mistakes) == 2


def test_a_plan_of_a_thousand_groups_is_read(tmp_path: Path) -> None:
    groups = [group(L4, 1, name=f"chat-l4-{index}") for index in range(1000)]
    path = Situation(plan=plan_of(*groups, group(H100, 1))).write(tmp_path)
    assert len(read_plan(path).plan.groups) == 1001
