"""SkyPilot itself reads and optimises hand-written folders: one child process per folder of many groups."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_folders import MACHINES, launch_config, planned_group, write_plan

from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.errors import CheckFailedError
from sky_melange.skypilot.seed_catalogs import offer_of
from sky_melange.skypilot.validate import validate_plan
from sky_melange.skypilot.verdict import GroupVerdict

PECULIAR = ["spot-aws", "spot-gcp", "spot-runpod", "larger-gcp", "v100-gcp", "p100-gcp", "cluster-verda"]
Verdicts = dict[str, GroupVerdict]


def failed(verdict: GroupVerdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.failures}


def by_group(verdicts: tuple[GroupVerdict, ...]) -> Verdicts:
    return {verdict.group: verdict for verdict in verdicts}


def listed(group: ReplicaGroup, **changes: Any) -> Offer:
    return replace(offer_of(group), vcpus=8.0, memory_gib=32.0, **changes)


@pytest.fixture(scope="module")
def faithful(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """Every cloud in both modes, and spot with a zone, as planned."""
    groups: dict[str, list[ReplicaGroup]] = {"serve": [], "cluster": []}
    for cloud in MACHINES:
        for mode, planned in groups.items():
            planned.append(planned_group(cloud, f"{mode}-{cloud}"))
    served = groups["serve"]
    spot = {"aws": "use1-az2", "gcp": "us-central1-b", "runpod": "CA-MTL-1"}
    for cloud, zone in spot.items():
        price = MACHINES[cloud]["price_usd_per_hour"] * 0.4
        served.append(planned_group(cloud, f"spot-{cloud}", zone=zone, use_spot=True, price_usd_per_hour=price))
    # A second host on the same accelerator row of the same zone: Google's split has to agree for both.
    larger = {"instance_type": "g2-standard-32", "price_usd_per_hour": 1.73432}
    served.append(planned_group("gcp", "larger-gcp", **larger))
    # Two accelerators on one host type, which has a row of its own: the machine type alone is no offer there.
    for accelerator, price in (("V100", 2.86), ("P100", 1.84)):
        names = {"accelerator": accelerator, "catalog_accelerator": accelerator, "instance_type": "n1-standard-8"}
        served.append(planned_group("gcp", f"{accelerator.lower()}-gcp", **names, price_usd_per_hour=price))
    files = {group.file: launch_config(group, mode) for mode, planned in groups.items() for group in planned}
    del files["cluster-verda.yaml"]["resources"]["ports"]  # SkyPilot opens no ports there
    folder = tmp_path_factory.mktemp("faithful")
    both = [validate_plan(write_plan(folder, planned, files, mode)) for mode, planned in groups.items()]
    return by_group((*both[0], *both[1]))


@pytest.mark.parametrize("mode", ["serve", "cluster"])
@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "lambda", "runpod", "nebius", "fluidstack"])
def test_skypilot_picks_what_was_planned(faithful: Verdicts, cloud: str, mode: str) -> None:
    verdict = faithful[f"{mode}-{cloud}"]
    assert failed(verdict) == {}
    steps = ["schema", "task", *(["service"] if mode == "serve" else []), "optimizer"]
    count = "replicas" if mode == "serve" else "num_nodes"
    machine = ["pinned", "cloud", "region", "instance_type", "accelerators", "use_spot"]
    assert [check.name for check in verdict.checks] == [*steps, *machine, count, "price", "mode"]


@pytest.mark.parametrize("name", PECULIAR)
def test_spot_zones_shared_rows_and_portless_clouds_agree_too(faithful: Verdicts, name: str) -> None:
    assert failed(faithful[name]) == {}


def test_a_cloud_that_opens_no_ports_cannot_serve(faithful: Verdicts) -> None:
    assert "open_ports" in failed(faithful["serve-verda"])["optimizer"]


TAMPERED: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any], str, str]] = {
    "type": (
        "aws",
        "serve",
        lambda c: c["resources"].update(instance_type="g6.4xlarge"),
        "instance_type",
        "planned g6.2xlarge, the file g6.4xlarge",
    ),
    "region": ("aws", "serve", lambda c: c["resources"].update(infra="aws/us-west-2"), "region", "file us-west-2"),
    "decoy-region": (
        "lambda",
        "serve",
        lambda c: c["resources"].update(infra="lambda/decoy-double-price"),
        "price",
        "planned 31.9200, SkyPilot 63.8400 USD/h per instance",
    ),
    "no-region": ("gcp", "serve", lambda c: c["resources"].update(infra="gcp"), "region", "planned us-central1"),
    "no-type": ("azure", "serve", lambda c: c["resources"].pop("instance_type"), "pinned", "instance_type"),
    "no-resources": ("azure", "cluster", lambda c: c.pop("resources"), "pinned", "infra: cloud"),
    "any-of": (
        "lambda",
        "serve",
        lambda c: c.update(
            resources={
                "any_of": [{"infra": "lambda/us-west-3"}, {"infra": "lambda/decoy-half-price"}],
                **{key: value for key, value in c["resources"].items() if key != "infra"},
            }
        ),
        "pinned",
        "any of 2 resources",
    ),
    "accelerators": (
        "runpod",
        "serve",
        lambda c: c["resources"].update(accelerators={"A100-80GB": 4}),
        "optimizer",
        "A100-80GB",
    ),
    "replicas": ("aws", "serve", lambda c: c["service"].update(replicas=3), "replicas", "planned 2, the file 3"),
    "autoscaling": (
        "gcp",
        "serve",
        lambda c: c.update(
            service={
                "readiness_probe": "/health",
                "replica_policy": {"min_replicas": 2, "max_replicas": 9, "target_qps_per_replica": 5},
            }
        ),
        "replicas",
        "scales between 2 and 9",
    ),
    "nodes": ("gcp", "cluster", lambda c: c.update(num_nodes=7), "num_nodes", "planned 2, the file 7"),
    "runpod-nodes": ("runpod", "cluster", lambda c: c.update(num_nodes=2), "optimizer", "2x RunPod"),
    "no-ports": ("azure", "serve", lambda c: c["resources"].pop("ports"), "service", "port"),
    "spot": ("lambda", "serve", lambda c: c["resources"].update(use_spot=True), "optimizer", "Lambda"),
    "unknown-key": ("aws", "serve", lambda c: c.update(replicas=2), "schema", "replicas"),
    "null-env": ("aws", "serve", lambda c: c["envs"].update(MODEL=None), "task", "MODEL"),
    "tag-image": ("aws", "serve", lambda c: c["resources"].update(image_id="skypilot:gpu"), "optimizer", "no network"),
}


@pytest.fixture(scope="module")
def tampered(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    verdicts: Verdicts = {}
    for mode in ("serve", "cluster"):
        groups, files = [], {}
        for name, (cloud, of, tamper, _check, _detail) in TAMPERED.items():
            if of == mode:
                groups.append(planned_group(cloud, name))
                files[groups[-1].file] = launch_config(groups[-1], mode)
                tamper(files[groups[-1].file])
        verdicts |= by_group(validate_plan(write_plan(tmp_path_factory.mktemp("tampered"), groups, files, mode)))
    return verdicts


@pytest.mark.slow
@pytest.mark.parametrize("name", TAMPERED)
def test_a_file_edited_by_hand_fails(tampered: Verdicts, name: str) -> None:
    *_rest, check, detail = TAMPERED[name]
    failures = failed(tampered[name])
    assert check in failures
    assert detail in failures[check]


@pytest.mark.slow
def test_a_price_book_overrules_the_plan(tmp_path: Path) -> None:
    groups = [planned_group(cloud, f"chat-{cloud}") for cloud in ("aws", "gcp", "azure", "lambda", "runpod")]
    files = {group.file: launch_config(group, "serve") for group in groups}
    offers = [listed(group) for group in groups if group.cloud != "lambda"]
    offers[0] = replace(offers[0], price_usd_per_hour=0.9777)
    offers += [listed(groups[0], region="us-east-2", price_usd_per_hour=0.5), listed(groups[0], zone="us-east-1z")]
    offers += [listed(groups[2], instance_type="Standard_NC48ads_A100_v4", accelerators_per_instance=2)]
    controller = {"instance_type": "c6i.xlarge", "accelerator": "", "catalog_accelerator": ""}
    offers += [listed(groups[0], **controller, accelerators_per_instance=0, price_usd_per_hour=0.17)]
    offers += [listed(groups[0], cloud="hyperstack", price_usd_per_hour=0.01)]  # no cloud of SkyPilot
    verdicts = by_group(validate_plan(write_plan(tmp_path, groups, files), offers))
    assert failed(verdicts["chat-aws"]) == {"price": "planned 0.9776, SkyPilot 0.9777 USD/h per instance"}
    assert list(failed(verdicts["chat-lambda"])) == ["offer"]
    assert all(verdicts[f"chat-{cloud}"].passed for cloud in ("gcp", "azure", "runpod"))


@pytest.mark.slow
def test_the_user_home_stays_untouched_and_two_runs_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    catalog = home / ".sky" / "catalogs" / "v8" / "aws" / "vms.csv"
    catalog.parent.mkdir(parents=True)
    catalog.write_text("InstanceType\n", encoding="utf-8")
    (home / ".sky" / "config.yaml").write_text("admin_policy: nonsense.Policy\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SKY_RUNTIME_DIR", str(home))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "must-not-be-read")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("aws", "git", "gcloud"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >>{tmp_path}/started\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    plans = []
    for name, price in (("one", 0.9776), ("two", 1.25)):
        group = planned_group("aws", name, price_usd_per_hour=price)
        files = {f"{name}.yaml": launch_config(group, "cluster")}
        plans.append(write_plan(tmp_path / name, [group], files, "cluster"))
    with ThreadPoolExecutor(max_workers=2) as pool:
        both = list(pool.map(validate_plan, plans))
    assert [failed(verdict) for (verdict,) in both] == [{}, {}]
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "started").exists()


def test_too_slow_is_said_so(tmp_path: Path) -> None:
    group = planned_group("aws", "chat-aws")
    document = write_plan(tmp_path, [group], {"chat-aws.yaml": launch_config(group, "serve")})
    with pytest.raises(CheckFailedError, match=r"within 0\.05 s"):
        validate_plan(document, timeout_s=0.05)
