"""`candidates.own`: GPUs that one has are priced as stated, and there are only so many; clouds take the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sealed import sealed

from sky_melange import pipeline
from sky_melange.check.repricing import reprice
from sky_melange.cli import cli
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.own_gpus import OwnGpus, infra_fault, pod_size
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import CandidateFilter
from sky_melange.errors import InputError, MissingDataError
from sky_melange.optimizer.verify import verify
from sky_melange.pipeline import Planned
from sky_melange.plan_file import read_plan
from sky_melange.prices.own import own_offers, with_own_gpus
from sky_melange.render import render_files

Make = Callable[..., Any]
PLENTY = ((40.0, 20.0), (10.0, 10.0))


def own(**changes: Any) -> OwnGpus:
    fields = {"infra": "k8s/prod", "accelerator": "H100", "per_node": 8, "nodes": 1, "usd_per_gpu_hour": 0.5}
    return OwnGpus(**(fields | changes))


@pytest.fixture
def planned(make_workload: Make, make_offer: Make, make_book: Make, make_profile: Make, cpu_offer: Make) -> Make:
    """Of own GPUs beside a cloud that sells the same at USD 2, and L4 at 1."""

    def make(*gpus: OwnGpus, rates: Any = PLENTY, clouds: tuple[str, ...] | None = None, **changes: Any) -> Planned:
        workload = make_workload(rates, candidates=CandidateFilter(own=gpus, clouds=clouds), **changes)
        book = make_book(make_offer("H100", 2.0), make_offer("L4", 1.0), cpu_offer())
        profiles = [make_profile("H100", speed=2.0), make_profile("L4")]
        return pipeline.make_plan(workload, book, profiles, workload_digest="0" * 64)

    return make


def gpus_on(plan: Plan, cloud: str) -> int:
    return sum(g.instances * g.accelerators_per_instance for g in plan.groups if g.cloud == cloud)


@given(per_node=st.integers(1, 24), nodes=st.integers(1, 3), data=st.data())
def test_pods_of_any_sizes_fit_on_the_nodes(per_node: int, nodes: int, data: st.DataObject) -> None:
    """The cap counts GPUs. That is exact only if pods, the largest first, always find a node."""
    gpus = own(per_node=per_node, nodes=nodes)
    assert {1, per_node} <= set(gpus.sizes)
    pods: list[int] = []
    while sum(pods) < gpus.gpus:
        left = gpus.gpus - sum(pods)
        pods.append(data.draw(st.sampled_from([size for size in gpus.sizes if size <= left])))
    free = [per_node] * nodes
    for pod in sorted(pods, reverse=True):
        node = next((index for index, room in enumerate(free) if room >= pod), None)
        assert node is not None, (gpus.sizes, pods)
        free[node] -= pod
    assert free == [0] * nodes


def test_own_gpus_are_used_to_the_last_and_the_cloud_takes_the_rest(planned: Make) -> None:
    without = planned().plan
    wanted = gpus_on(without, "aws")
    assert wanted > 3
    plan = planned(own(per_node=2, nodes=1)).plan
    assert gpus_on(plan, "kubernetes") == 2
    assert gpus_on(plan, "aws") > 0
    assert plan.cost.replicas_usd_per_hour < without.cost.replicas_usd_per_hour
    enough = planned(own(per_node=8, nodes=8)).plan
    assert gpus_on(enough, "aws") == 0
    assert enough.cost.total_usd_per_hour == pytest.approx(0.5 * gpus_on(enough, "kubernetes"))


def test_price_alone_decides(planned: Make) -> None:
    assert gpus_on(planned(own(usd_per_gpu_hour=1.9)).plan, "kubernetes") > 0
    assert gpus_on(planned(own(usd_per_gpu_hour=2.1)).plan, "kubernetes") == 0


def test_pods_are_fractions_of_a_node(planned: Make) -> None:
    """A little traffic takes a GPU, not a node."""
    plan = planned(own(), rates=((4.0, 2.0), (1.0, 1.0))).plan
    (group,) = plan.groups
    assert group.accelerators_per_instance * group.instances < 8
    assert pod_size(group.instance_type) == (4 * group.accelerators_per_instance, 16 * group.accelerators_per_instance)
    assert group.price.source == "candidates.own"
    assert "as stated: USD 0.5 per GPU and hour" in group.price.detail
    assert any("They are taken to be free" in sentence for sentence in plan.assumptions)


def test_a_small_price_takes_no_more_than_is_needed(planned: Make) -> None:
    """At 0 the fewest instances win, and they are whole nodes."""
    little = ((4.0, 2.0), (1.0, 1.0))
    free, cheap = (planned(own(usd_per_gpu_hour=price), rates=little).plan for price in (0.0, 0.001))
    assert free.cost.total_usd_per_hour == 0
    assert gpus_on(cheap, "kubernetes") <= gpus_on(free, "kubernetes")
    assert gpus_on(cheap, "kubernetes") < 8


def test_a_quota_holds_a_plan_to_less_than_there_is(planned: Make) -> None:
    quota = {"max_accelerators_in": {"kubernetes/prod": {"H100": 3}}}
    assert gpus_on(planned(own()).plan, "kubernetes") == 8
    assert gpus_on(planned(own(), limits=quota).plan, "kubernetes") == 3


def test_pods_ask_for_three_quarters_of_their_share(planned: Make) -> None:
    offers = [offer for offer in own_offers([own(vcpus=96, memory_gib=1000)]) if offer.accelerator]
    assert [(o.accelerators_per_instance, pod_size(o.instance_type)) for o in offers] == [
        (1, (9, 93)),
        (2, (18, 187)),
        (4, (36, 375)),
        (8, (72, 750)),
    ]
    assert [offer.reserved_instances for offer in offers] == [8, 4, 2, 1]
    small = [offer for offer in own_offers([own(vcpus=2, memory_gib=6)]) if not offer.accelerator]
    assert [offer.instance_type for offer in small] == ["2CPU--4GB"]


def test_controller_and_router_run_beside_them(planned: Make) -> None:
    gpus = (own(per_node=2), own(infra="ssh/lab", accelerator="L4", per_node=4))
    found = planned(*gpus, rates=((5.0, 2.5), (1.25, 1.25)), clouds=())
    plan = found.plan
    assert {group.cloud for group in plan.groups} == {"kubernetes", "ssh"}
    assert {machine.cloud for machine in plan.overhead} <= {"kubernetes", "ssh"}
    assert [machine.price_usd_per_hour for machine in plan.overhead] == [0.0, 0.0]
    assert plan.cost.total_usd_per_hour == plan.cost.replicas_usd_per_hour
    files = render_files(plan, found.workload)
    config = yaml.safe_load(files[".sky.yaml"])["serve"]["controller"]["resources"]
    assert config == {"infra": "k8s/prod", "instance_type": "4CPU--16GB"}
    router = yaml.safe_load(files["router.sky.yaml"])["resources"]
    assert router == {"infra": "k8s/prod", "instance_type": "2CPU--4GB", "ports": 8080}
    resources = [yaml.safe_load(files[group.file])["resources"] for group in plan.groups]
    assert {each["infra"] for each in resources} == {"k8s/prod", "ssh/lab"}
    for each in resources:
        assert each.keys() == {"infra", "cpus", "memory", "accelerators", "use_spot", "ports"}


def test_the_same_bytes_whatever_the_order(planned: Make) -> None:
    kinds = [own(per_node=2), own(infra="ssh/lab", accelerator="L4", per_node=4)]
    one, other = planned(*kinds).plan, planned(*reversed(kinds)).plan
    assert one.groups == other.groups
    assert one.routing == other.routing


def test_the_verifier_counts_them_itself(planned: Make) -> None:
    found = planned(own(per_node=2))
    plan, workload = found.plan, found.workload
    capacities = {
        group.name: next(
            (*c.capacities, *c.strays)
            for c in found.candidates
            if c.offer.machine == group.machine and c.profile.key.tensor_parallel == group.tensor_parallel
        )
        for group in plan.groups
    }
    assert verify(plan, workload, capacities) == ()
    fewer = replace(workload, candidates=CandidateFilter(own=(own(per_node=1),)))
    assert any("which has 1" in each for each in verify(plan, fewer, capacities))
    none = replace(workload, candidates=CandidateFilter(own=(own(infra="k8s/other", per_node=2),)))
    assert any("which candidates.own has not" in each for each in verify(plan, none, capacities))


def test_they_are_priced_again_by_what_the_workload_says(planned: Make, make_book: Make, make_offer: Make) -> None:
    plan = planned(own(per_node=2)).plan
    listed: PriceBook = make_book(make_offer("H100", 2.0), make_offer("L4", 1.0))
    now = datetime(2026, 6, 2, tzinfo=UTC)

    def today(*gpus: OwnGpus) -> dict[str, float | None]:
        changes = reprice(plan, with_own_gpus(listed, gpus), now).groups
        return {each.machine: each.today_usd_per_hour for each in changes if each.cloud == "kubernetes"}

    (size,) = [group.accelerators_per_instance for group in plan.groups if group.cloud == "kubernetes"]
    assert list(today(own(per_node=2)).values()) == [0.5 * size]
    assert list(today(own(per_node=2, usd_per_gpu_hour=0.7)).values()) == [pytest.approx(0.7 * size)]
    assert list(today().values()) == [None]
    # What the workload states has no age of its own.
    ages = reprice(plan, with_own_gpus(listed, [own(per_node=2)]), now).ages
    assert [age.cloud for age in ages] == ["aws"]


def test_they_are_added_once(make_book: Make) -> None:
    book = with_own_gpus(make_book(), [own()])
    assert with_own_gpus(book, [own()]) is book


def test_gpus_that_cannot_serve_are_named(planned: Make, make_profile: Make) -> None:
    plan = planned(own(accelerator="T4", per_node=2), own()).plan
    (said,) = [warning for warning in plan.warnings if warning.startswith("candidates.own")]
    assert said.startswith(
        "candidates.own: k8s/prod with 1 node of 2 × T4 cannot serve example/model-8b: no profile of"
    )
    with pytest.raises(MissingDataError, match="k8s/prod with 1 node of 2 × T4 cannot serve"):
        planned(own(accelerator="T4", per_node=2), clouds=())


@pytest.mark.parametrize(
    ("infra", "fault"),
    [
        ("k8s/prod-cluster", ""),
        ("kubernetes/gke_project_us-central1_c", ""),
        ("k8s/arn:aws:eks:us-east-1:123456789012:cluster/prod", ""),
        ("k8s/admin@home lab", ""),
        ("ssh/lab", ""),
        ("ssh/ssh-lab", "write ssh/lab"),
        ("k8s/ssh-lab", "write ssh/lab"),
        ("k8s", "must name the context"),
        ("ssh/", "must name the pool"),
        ("k8s/a//b", "no empty part"),
        ("k8s/a /b", "no blank"),
        ("k8s/*", "any"),
        ("aws/us-east-1", "must begin with"),
        ("K8S/prod", "must begin with"),
        ("", "must begin with"),
        ("k8s/a\x1b[2J", "printable"),
        ("k8s/" + "a" * 250, "200"),
    ],
)
def test_names_of_places_are_those_that_skypilot_reads_back(infra: str, fault: str) -> None:
    assert fault in infra_fault(infra)
    assert bool(fault) is bool(infra_fault(infra))


WORKLOAD = """\
version: 1
name: chat
model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}
slo: {tpot_ms: 40, ttft_ms: 2000, attainment: mean}
traffic: {preset: azure-conversation-2023, request_rate: 60}
candidates:
  clouds: [aws, gcp]
  own:
  - {infra: k8s/prod-cluster, accelerator: H100, per_node: 2, nodes: 1, usd_per_gpu_hour: 0.4, memory_gib: 256}
  - {infra: ssh/lab, accelerator: L40S, per_node: 4, nodes: 1, usd_per_gpu_hour: 0.3}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "workload.yaml").write_text(WORKLOAD, encoding="utf-8")
    said = CliRunner().invoke(
        cli, ["plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan"), "-v"]
    )
    assert said.exit_code == 0, said.output
    assert "price as stated" in said.output
    return folder


@pytest.mark.slow
def test_a_plan_with_them_reads_back_and_checks(folder: Path) -> None:
    document = read_plan(folder / "plan")
    assert {group.cloud for group in document.plan.groups} == {"aws", "kubernetes", "ssh"}
    (gpus, _) = document.workload.candidates.own
    assert gpus.memory_gib == 256
    checked = CliRunner().invoke(cli, ["check", str(folder / "plan"), "--offline", "--max-drift", "1"])
    assert checked.exit_code == 0, checked.output
    report = folder / "report.html"
    for command in (
        ["report", str(folder / "plan"), "-o", str(report)],
        ["explain", str(folder / "plan"), "--offline"],
    ):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
    assert "as stated" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("instance_type", "p5.48xlarge", "is no name of a pod"),
        ("region", "a//b", "no empty part"),
        ("cloud", "slurm", "launches on no cloud"),
    ],
)
def test_an_edited_plan_is_refused(folder: Path, tmp_path: Path, key: str, value: str, message: str) -> None:
    document = json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8"))
    group = next(group for group in document["groups"] if group["cloud"] == "kubernetes")
    group[key] = value
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_plan(path)


def test_workloads_of_a_fleet_share_them(tmp_path: Path) -> None:
    from sky_melange.pipeline.fleets import plan_fleet

    for name in ("chat", "code"):
        text = WORKLOAD.replace("name: chat", f"name: {name}").replace("request_rate: 60", "request_rate: 20")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    path = tmp_path / "fleet.yaml"
    path.write_text("version: 1\nfleet:\n  name: team\n  workloads: [chat.yaml, code.yaml]\n", encoding="utf-8")
    members = plan_fleet(path).members
    alone = pipeline.plan_file(tmp_path / "chat.yaml").plan
    assert gpus_on(alone, "kubernetes") == 2
    assert sum(gpus_on(member.plan, "kubernetes") for member in members) == 2
