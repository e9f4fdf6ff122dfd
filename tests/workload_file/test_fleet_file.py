"""fleet.yaml: what it says, and every mistake in it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sky_melange.domain.workload import Objective
from sky_melange.errors import InputError
from sky_melange.workload_file import fleet_schema, is_fleet, read_fleet

ACCELERATORS = ("A100", "H100")
CLOUDS = ("aws", "gcp")


def written(folder: Path, text: str) -> Path:
    path = folder / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_fleet_names_its_workloads_with_or_without_a_priority(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
version: 1
fleet:
  name: assistants
  workloads: [chat.yaml, {file: code.yaml, priority: 7, min_fraction: 0.5}]
  budget: {usd_per_hour: 60}
  objective: most_traffic
  constraints:
    max_accelerators: {H100: 16}
    max_accelerators_in: {aws/us-east-1: {H100: 8}}
    max_vcpus_in: {aws/us-east-1: {"p5.*": 192}}
""",
    )
    fleet = read_fleet(path, known_accelerators=ACCELERATORS, known_clouds=CLOUDS)
    assert [(each.file, each.priority, each.min_fraction) for each in fleet.members] == [
        ("chat.yaml", 5, 1.0),
        ("code.yaml", 7, 0.5),
    ]
    assert fleet.objective is Objective.MOST_TRAFFIC
    assert fleet.budget is not None
    assert fleet.budget.usd_per_hour == 60
    assert fleet.constraints.max_vcpus_in == {"aws/us-east-1": {"p5.*": 192}}
    assert is_fleet(path, path.read_text(encoding="utf-8"))
    assert not is_fleet(path, "version: 1\nname: fleet\n")


def test_every_mistake_is_told_at_once_with_its_line_and_what_to_write(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """version: 1
fleet:
  name: Foo Bar
  workloads:
    - chat.yaml
    - {file: code.yaml, priority: 11, min_fractoin: 0.5}
    - chat.yaml
    - {file: more.yaml, min_fraction: 0}
  budgt: {usd_per_hour: 5}
  constraints:
    max_accelerators: {H100: 8, H1000: 2, A100: two}
    max_accelerators_in: {awz/us-east-1: {H100: 8}}
    max_vcpus_in: {aws/us-east-1: {}}
  objective: most_traffic
""",
    )
    with pytest.raises(InputError) as caught:
        read_fleet(path, known_accelerators=ACCELERATORS, known_clouds=CLOUDS)
    told = {(mistake.line, mistake.key): mistake.message for mistake in caught.value.mistakes}
    limits = "fleet.constraints"
    assert "lower-case letters" in told[3, "fleet.name"]
    assert told[6, "fleet.workloads[1].priority"] == "must be at most 9, found the number 11"
    assert "did you mean 'min_fraction'?" in told[6, "fleet.workloads[1].min_fractoin"]
    assert "named twice" in told[7, "fleet.workloads[2]"]
    assert told[8, "fleet.workloads[3].min_fraction"] == "must be above 0, found the number 0"
    assert "did you mean 'budget'?" in told[9, "fleet.budgt"]
    assert "did you mean 'H100'?" in told[11, f"{limits}.max_accelerators.H1000"]
    assert told[11, f"{limits}.max_accelerators.A100"] == "want for example `8`, found the text 'two'"
    assert "did you mean 'aws'?" in told[12, f"{limits}.max_accelerators_in.awz/us-east-1"]
    assert "must not be empty" in told[13, f"{limits}.max_vcpus_in.aws/us-east-1"]
    assert "needs a budget" in told[14, "fleet.objective"]
    assert len(told) == 11
    assert not any("must not be empty, found a list" in message for message in told.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fleet",
        "[1, 2]",
        "version: 1\nfleet: 3\n",
        "version: 2\nfleet: {name: a, workloads: [x]}\n",
        "version: 1\nfleet: {name: a, workloads: []}\n",
        "version: 1\nfleet: {name: a, workloads: {a: b}}\n",
        "version: 1\nfleet: {name: a, workloads: [[x]]}\n",
        "version: 1\nfleet: {name: a, workloads: [x], objective: [a]}\n",
        "version: 1\nfleet: {name: a, workloads: [" + "x, " * 5000 + "]}\n",
        "version: 1\nfleet: {name: a",
    ],
)
def test_what_is_no_fleet_is_told_and_never_a_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        read_fleet(written(tmp_path, text))


def test_the_schema_has_a_description_of_every_key() -> None:
    schema = fleet_schema()
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    for name in ("FleetSection", "MemberSection", "FleetConstraintsSection"):
        keys = definitions[name]["properties"].values()
        assert all("description" in each or "$ref" in each for each in keys)


REGIONS = {"aws": ("us-east-1", "us-west-2")}


def test_names_and_numbers_are_read_as_those_of_a_workload(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """version: 1
fleet:
  name: assistants
  workloads: [chat.yaml, {file: code.yaml, min_fraction: "0.5"}]
  budget: {usd_per_hour: "60"}
  objective: Least-Cost
  constraints:
    max_accelerators: {h100: 16}
    max_accelerators_in: {amazon/US-East-1: {h100: 8}, google: {a100: "4"}, k8s/prod: {H100: 8}}
    max_vcpus_in: {amazon/us-eest-1: {"p5.*": 192}}
    max_cloud_share: 60%
""",
    )
    told: list[str] = []
    fleet = read_fleet(
        path,
        known_accelerators=ACCELERATORS,
        known_clouds=(*CLOUDS, "kubernetes", "ssh"),
        known_regions=lambda cloud: REGIONS.get(cloud, ()),
        tell=lambda readings: told.extend(map(str, readings)),
    )
    limits = fleet.constraints
    assert limits.max_accelerators == {"H100": 16}
    places = {"aws/us-east-1": {"H100": 8}, "gcp": {"A100": 4}, "kubernetes/prod": {"H100": 8}}
    assert limits.max_accelerators_in == places
    assert (limits.max_cloud_share_fraction, fleet.members[1].min_fraction) == (0.6, 0.5)
    assert fleet.objective is Objective.LEAST_COST
    key = f"{path}:8: fleet.constraints.max_accelerators.h100"
    assert f"{key}: 'h100' is read as H100" in told
    (doubt,) = [each for each in told if "is not a region" in each]
    assert doubt.startswith(
        f"{path}:10: fleet.constraints.max_vcpus_in.aws/us-eest-1: 'us-eest-1' is not a region of aws"
    )
    assert doubt.endswith("did you mean 'us-east-1'?")


def test_two_spellings_of_one_name_are_not_one_limit(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "version: 1\nfleet: {name: a, workloads: [x.yaml], constraints: {max_accelerators: {H100: 1, h100: 2}}}\n",
    )
    with pytest.raises(InputError, match="unknown accelerator 'h100'; did you mean 'H100'"):
        read_fleet(path, known_accelerators=ACCELERATORS, known_clouds=CLOUDS)


def test_a_shared_machine_and_losses_do_not_go_together(tmp_path: Path) -> None:
    limits = "share_machines: true, constraints: {tolerate_replica_losses: 1}"
    path = written(tmp_path, f"version: 1\nfleet: {{name: a, workloads: [x.yaml], {limits}}}\n")
    with pytest.raises(
        InputError, match=r"tolerate_replica_losses: a shared machine takes engines of several replicas"
    ):
        read_fleet(path)
