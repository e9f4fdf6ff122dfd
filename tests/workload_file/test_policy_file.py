"""policy.yaml: every key read, every mistake named at once with its line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.spending import Policy
from sky_melange.errors import InputError
from sky_melange.workload_file import read_policy
from sky_melange.workload_file.policy import _KEYS

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).resolve().parents[2]
ACCELERATORS = ("L4", "A100-80GB", "H100")
CLOUDS = ("aws", "gcp", "lambda", "vast")

WHOLE = """\
version: 1
max_usd_per_million_tokens: 0.5
max_usd_per_million_input_tokens: 1
max_usd_per_million_output_tokens: 2.5
banned_clouds: [vast]
banned_regions: {aws: [us-east-1, us-west-2], gcp: [us-central1]}
allowed_accelerators: [L4, H100]
max_spot_fraction: 0
min_profile_kind: fitted
"""


def read(folder: Path, text: str) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return read_policy(path, known_accelerators=ACCELERATORS, known_clouds=CLOUDS)


def test_every_key(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == Policy(
        max_usd_per_million_tokens=0.5,
        max_usd_per_million_input_tokens=1.0,
        max_usd_per_million_output_tokens=2.5,
        banned_clouds=("vast",),
        banned_regions={"aws": ("us-east-1", "us-west-2"), "gcp": ("us-central1",)},
        allowed_accelerators=("L4", "H100"),
        max_spot_fraction=0.0,
        min_profile_kind=ProfileKind.FITTED,
    )


def test_the_keys_are_the_fields() -> None:
    assert set(_KEYS) == {"version", *(field.name for field in dataclasses.fields(Policy))}


def test_an_empty_policy_limits_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "version: 1\n") == Policy()


def test_the_example_is_valid() -> None:
    from sky_melange.prices import known_accelerators, launchable_clouds

    policy = read_policy(
        ROOT / "examples" / "ci" / "policy.yaml",
        known_accelerators=known_accelerators(),
        known_clouds=launchable_clouds(),
    )
    assert policy.max_usd_per_million_tokens == 0.5


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("max_spot_fraction: 0.5\n", ["version: is missing"]),
        ("version: 2\n", ["policy.yaml:1: version", "update sky-melange"]),
        ("version: one\n", ["this release reads version 1, found 'one'"]),
        ("version: 1\nbaned_clouds: [vast]\n", ["policy.yaml:2: baned_clouds: unknown key", "banned_clouds"]),
        ("version: 1\nbanned_clouds: [vasst]\n", ["policy.yaml:2: banned_clouds[0]: unknown cloud 'vasst'", "vast"]),
        ("version: 1\nbanned_clouds: vast\n", ["want a list of 1 to 100 clouds, found 'vast'"]),
        ("version: 1\nbanned_clouds: []\n", ["want a list"]),
        ("version: 1\nbanned_clouds: [vast, vast]\n", ["listed twice"]),
        ("version: 1\nbanned_regions: {azur: [x]}\n", ["unknown cloud 'azur'"]),
        ("version: 1\nbanned_regions: {aws: us-east-1}\n", ["banned_regions.aws: want a list"]),
        ("version: 1\nbanned_regions: {aws: [1]}\n", ["want the name of a region, found 1"]),
        ("version: 1\nbanned_regions: []\n", ["want regions by cloud"]),
        ("version: 1\nallowed_accelerators: [H1000]\n", ["unknown accelerator 'H1000'", "did you mean 'H100'"]),
        ("version: 1\nmax_spot_fraction: 1.5\n", ["want a fraction from 0 to 1"]),
        ("version: 1\nmax_spot_fraction: true\n", ["want a fraction"]),
        ("version: 1\nmax_spot_fraction: .nan\n", ["want a fraction"]),
        ("version: 1\nmax_spot_fraction:\n", ["want a fraction", "no value here"]),
        ("version: 1\nmax_usd_per_million_tokens: 0\n", ["want USD per million tokens"]),
        ("version: 1\nmax_usd_per_million_tokens: '$1'\n", ["want USD per million tokens", "found '$1'"]),
        ("version: 1\nmin_profile_kind: guessed\n", ["must be one of measured, fitted, published, estimated"]),
        ("version: 1\nmin_profile_kind: [measured]\n", ["found a list of 1"]),
        ("", ["is empty"]),
        ("- a\n", ["want a mapping"]),
        ("version: 1\nversion: 1\n", ["is repeated"]),
        ("version: 1\na: &x [1]\nb: *x\n", ["aliases"]),
        ("version: 1\nmax_spot_fraction: {a: [\n", ["not valid YAML"]),
        (
            "version: 1\nmax_spot_fraction: 2\nbanned_clouds: [x, y]\nnope: 1\n",
            ["policy.yaml:2:", "policy.yaml:3:", "'x'", "'y'", "policy.yaml:4:"],
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, fragments: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert [fragment for fragment in fragments if fragment not in message] == []


def test_no_file_and_a_huge_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_policy(tmp_path / "none.yaml", known_accelerators=(), known_clouds=())
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read(tmp_path, "version: 1\n#" + "x" * 2_000_000)


def test_a_ban_of_a_region_that_nothing_is_sold_in_is_told(tmp_path: Path) -> None:
    path, told = tmp_path / "policy.yaml", list[str]()
    path.write_text("version: 1\nbanned_regions: {aws: [us-east-1, us-wset-2]}\n", encoding="utf-8")
    policy = read_policy(
        path,
        known_accelerators=ACCELERATORS,
        known_clouds=CLOUDS,
        known_regions=lambda _: ("us-east-1", "us-west-2"),
        tell=lambda readings: told.extend(map(str, readings)),
    )
    assert policy.banned_regions == {"aws": ("us-east-1", "us-wset-2")}
    (doubt,) = told
    assert doubt.startswith(f"{path}:2: banned_regions.aws[1]: 'us-wset-2' is not a region of aws")
    assert doubt.endswith("did you mean 'us-west-2'?")
