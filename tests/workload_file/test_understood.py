"""Other spellings: those with one meaning are read, those with two are not, and the JSON Schema agrees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sky_melange import pipeline
from sky_melange.domain.units import HOURS_PER_MONTH
from sky_melange.domain.workload import Workload
from sky_melange.prices import embedded_regions, snapshot
from sky_melange.workload_file import Reading, json_schema, read_workload
from sky_melange.workload_file.understood import SHARES

MistakesIn = Callable[..., list[str]]
Read = Callable[[str], tuple[Workload, list[str]]]

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart" / "workload.yaml"
CLOUDS = ("aws", "azure", "gcp", "lambda")
ACCELERATORS = ("A100", "A100-80GB", "H100", "L4")

# (text of the good file, another spelling, the schema's spelling, what is said)
SPELLINGS = [
    ("40", "40ms", "40", "slo.tpot_ms: '40ms' is read as 40"),
    ("40", "0.04s", "40", "slo.tpot_ms: '0.04s' is read as 40"),
    ("40", "0.04 s", "40", "slo.tpot_ms: '0.04 s' is read as 40"),
    ("40", '"40"', "40", "slo.tpot_ms: '40' is read as 40"),
    ("40", "4e1", "40", "slo.tpot_ms: '4e1' is read as 40"),
    ("40", "12.5ms", "12.5", "slo.tpot_ms: '12.5ms' is read as 12.5"),
    ("tpot_ms: 40", "tpot_ms: 40\n  attainment: 99%", "tpot_ms: 40\n  attainment: 0.99", "slo.attainment: '99%'"),
    ("tpot_ms: 40", "tpot_ms: 40\n  attainment: Mean", "tpot_ms: 40\n  attainment: mean", "slo.attainment: 'Mean'"),
    ("32", "3.2e1", "32", "traffic.request_rate: '3.2e1' is read as 32"),
    ("[100, 500]", '["100", 5e2]', "[100, 500]", "traffic.histogram.input_tokens[0]: '100' is read as 100"),
    ("[1, 2, 1]", '[1, "2", 1]', "[1, 2, 1]", "traffic.histogram.weights[0][1]: '2' is read as 2"),
    ("bfloat16", "bf16", "bfloat16", "model.dtype: 'bf16' is read as bfloat16"),
    ("bfloat16", "BF16", "bfloat16", "model.dtype: 'BF16' is read as bfloat16"),
    ("bfloat16", "FP8", "fp8", "model.dtype: 'FP8' is read as fp8"),
    ("bfloat16", "half", "float16", "model.dtype: 'half' is read as float16"),
]

# (a line appended to the good file, the schema's spelling, what is said)
LINES = [
    ("routing: size-aware", "routing: size_aware", "routing: 'size-aware' is read as size_aware"),
    ("candidates: {accelerators: [h100, a100-80gb]}", "candidates: {accelerators: [H100, A100-80GB]}", "'h100'"),
    ("candidates: {accelerators: [A100_80GB]}", "candidates: {accelerators: [A100-80GB]}", "'A100_80GB'"),
    ("candidates: {accelerators: [a100]}", "candidates: {accelerators: [A100]}", "'a100' is read as A100"),
    ("candidates: {clouds: [amazon, google]}", "candidates: {clouds: [aws, gcp]}", "'google' is read as gcp"),
    ("candidates: {clouds: [AWS, gcloud]}", "candidates: {clouds: [aws, gcp]}", "'gcloud' is read as gcp"),
    ("candidates: {clouds: [Microsoft]}", "candidates: {clouds: [azure]}", "'Microsoft' is read as azure"),
    ("candidates: {clouds: [lambda-labs]}", "candidates: {clouds: [lambda]}", "'lambda-labs' is read as lambda"),
    (
        "candidates: {regions: {amazon: [us-east1]}}",
        "candidates: {regions: {aws: [us-east-1]}}",
        "candidates.regions.aws[0]: 'us-east1' is read as us-east-1",
    ),
    ("constraints: {max_accelerators: {h100: 8}}", "constraints: {max_accelerators: {H100: 8}}", "'h100' is read"),
    (
        "constraints: {max_accelerators_in: {aws/US-EAST-1: {l4: '8'}}}",
        "constraints: {max_accelerators_in: {aws/us-east-1: {L4: 8}}}",
        "'aws/US-EAST-1' is read as aws/us-east-1",
    ),
    ("constraints: {max_utilization: 90 %}", "constraints: {max_utilization: 0.9}", "'90 %' is read as 0.9"),
    ("prices: {max_age_hours: 2d}", "prices: {max_age_hours: 48}", "prices.max_age_hours: '2d' is read as 48"),
    ("prices: {require_clouds: [amazon]}", "prices: {require_clouds: [aws]}", "'amazon' is read as aws"),
    (
        "prices: {discounts: [{cloud: amazon, accelerator: h100, fraction: 15%}]}",
        "prices: {discounts: [{cloud: aws, accelerator: H100, fraction: 0.15}]}",
        "prices.discounts[0].cloud: 'amazon' is read as aws",
    ),
    ("solver: {time_limit_s: 5min}", "solver: {time_limit_s: 300}", "solver.time_limit_s: '5min' is read as 300"),
    ("router: {size_error: 15%}", "router: {size_error: 0.15}", "router.size_error: '15%' is read as 0.15"),
]

# (text of the good file, what is not read, why)
TWO_MEANINGS = [
    ("40", '"1,000"', "write 1000"),
    ("40", '"1,5"', "found the text '1,5'; units are"),
    ("40", '"4_29"', "found the text '4_29'; units are ms, s, min, h and d"),
    ("40", '"040"', "found the text '040'"),
    ("40", "5m", "found the text '5m'; units are ms, s, min, h and d"),
    ("40", "40 seconds", "found the text '40 seconds'"),
    ("40", "40us", "found the text '40us'"),
    ("40", "4%", "found the text '4%'"),
    ("40", "1e999", "found the text '1e999'"),
    ("40", '" 40"', "found the text ' 40'"),
    ("32", "32/s", "found the text '32/s'"),
    ("32", "2s", "found the text '2s'"),
    ("[100, 500]", "[100, '5.0e2']", "found the text '5.0e2'"),
    ("[100, 500]", "[100, 16k]", "found the text '16k'"),
    ("bfloat16", "16", "must be one of"),
    ("bfloat16", "bf8", "must be one of"),
    ("version: 1", 'version: "1"', "write `version: 1`"),
]


def _regions(cloud: str) -> Collection[str]:
    return {"aws": ("us-east-1", "us-west-2"), "gcp": ("us-east1",)}.get(cloud, ())


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The workload in a text, and what was said of it."""

    def reader(text: str) -> tuple[Workload, list[str]]:
        path = tmp_path / "workload.yaml"
        path.write_text(text, encoding="utf-8")
        said: list[Reading] = []
        workload = read_workload(
            path,
            known_accelerators=ACCELERATORS,
            known_clouds=CLOUDS,
            known_regions=_regions,
            tell=said.extend,
        )
        return workload, [str(each).removeprefix(f"{tmp_path}/") for each in said]

    return reader


@pytest.mark.parametrize(("old", "other", "usual", "expected"), SPELLINGS)
def test_another_spelling_is_the_same_workload(  # noqa: PLR0917
    read: Read, validator: Any, good: str, old: str, other: str, usual: str, expected: str
) -> None:
    assert old in good
    found, said = read(good.replace(old, other, 1))
    assert (found, []) == read(good.replace(old, usual, 1))
    assert any(expected in each for each in said), said
    validator.validate(yaml.safe_load(good.replace(old, other, 1)))


@pytest.mark.parametrize(("other", "usual", "expected"), LINES)
def test_another_name_is_the_same_workload(
    read: Read, validator: Any, good: str, other: str, usual: str, expected: str
) -> None:
    found, said = read(good + other + "\n")
    literal, silent = read(good + usual + "\n")
    assert found == literal
    assert silent == []
    assert any(expected in each for each in said), said
    assert all(each.startswith("workload.yaml:14: ") for each in said)
    validator.validate(yaml.safe_load(good + other))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("candidates: {regions: {aws: [us-eest-1]}}", "candidates.regions.aws[0]"),
        (
            "constraints: {max_accelerators_in: {aws/us-eest-1: {H100: 8}}}",
            "constraints.max_accelerators_in.aws/us-eest-1",
        ),
    ],
)
def test_a_region_that_nothing_is_sold_in_is_told_with_the_nearest(read: Read, good: str, line: str, key: str) -> None:
    _, said = read(good + line + "\n")
    assert said == [
        f"workload.yaml:14: {key}: 'us-eest-1' is not a region of aws that this release has prices of, so nothing may "
        "fit it; did you mean 'us-east-1'?"
    ]
    # Clouds whose regions are not known say nothing.
    assert read(good + line.replace("aws", "azure") + "\n")[1] == []


@pytest.mark.parametrize(("old", "other", "expected"), TWO_MEANINGS)
def test_two_meanings_are_refused(
    mistakes_in: MistakesIn, validator: Any, good: str, old: str, other: str, expected: str
) -> None:
    text = good.replace(old, other, 1)
    (mistake,) = mistakes_in(text)
    assert expected in mistake
    assert not validator.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "line",
    [
        "candidates: {clouds: [aws, amazon]}",
        "candidates: {accelerators: [H100, h100]}",
        "constraints: {max_accelerators: {H100: 8, h100: 4}}",
        "candidates: {clouds: [amazonia]}",
    ],
)
def test_one_thing_by_two_names_is_refused(mistakes_in: MistakesIn, good: str, line: str) -> None:
    found = mistakes_in(good + line + "\n", known_accelerators=ACCELERATORS, known_clouds=CLOUDS)
    assert len(found) == 1


def test_a_name_like_two_others_is_refused(mistakes_in: MistakesIn, good: str) -> None:
    text = good + "candidates: {accelerators: [a-100]}\n"
    assert len(mistakes_in(text, known_accelerators=("A10-0", "A1-00"))) == 1


def test_every_number_and_choice_may_be_a_text(validator: Any) -> None:
    """Of each key in the schema: its example as text, in the schema's eyes."""
    schema: Any = json_schema()
    checked = 0
    for key, part in _properties(schema):
        for example in part.get("examples", ()):
            is_number = isinstance(example, int | float) and not isinstance(example, bool)
            if is_number and key != "version":
                part_validator = jsonschema.Draft202012Validator({**part, "$defs": schema["$defs"]})
                assert part_validator.is_valid(f"{example:g}"), key
                assert part_validator.is_valid("1,000") is False, key
                checked += 1
    assert checked > 40


def test_shares_are_the_fractions_of_the_schema() -> None:
    schema: Any = json_schema()
    fractions = {
        key
        for key, part in _properties(schema)
        for kind in _numbers(part)
        if 0.5 <= kind.get("maximum", kind.get("exclusiveMaximum", 2)) <= 1
    }
    # One is a key of policy.yaml.
    assert fractions | {"max_spot_fraction"} == SHARES


def _properties(schema: Any) -> Iterator[tuple[str, Any]]:
    for section in (schema, *schema["$defs"].values()):
        yield from section.get("properties", {}).items()


def _numbers(part: Any) -> Iterator[Any]:
    if part.get("type") == "number":
        yield part
    for each in part.get("anyOf", ()):
        yield from _numbers(each)


def test_a_secret_is_not_said(read: Read, good: str) -> None:
    assert read(good + "launch: {secrets: [HF_TOKEN], engine_args: ['8', '--seed', '1e3']}\n")[1] == []


@pytest.mark.parametrize(
    ("line", "rate_rps"),
    [
        ("requests_per_hour: 7200", 2.0),
        ("requests_per_day: 2e6", 2e6 / 86_400),
        ("tokens_per_month: 5e9\n  bucket_size: upper", None),
    ],
)
def test_a_rate_by_other_counts(read: Read, good: str, line: str, rate_rps: float | None) -> None:
    workload, _ = read(good.replace("request_rate: 32", line))
    traffic = workload.traffic
    if rate_rps is None:
        weights = {(100, 50): 1, (100, 100): 2, (100, 200): 1, (500, 50): 2, (500, 100): 1, (500, 200): 1}
        mean = sum(sum(size) * weight for size, weight in weights.items()) / sum(weights.values())
        rate_rps = 5e9 / (HOURS_PER_MONTH * 3600) / mean
    assert traffic.request_rate_rps == pytest.approx(rate_rps)
    assert ("hour" in line) == (traffic.notes == ())
    assert all("plan for the busiest hour with request_rate" in note for note in traffic.notes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tokens_per_month: 5e9", "tokens_per_month: is a rate only where the mean sizes are known: add"),
        ("request_rate: 3\n  requests_per_day: 4", "requests_per_day: cannot be combined with request_rate; use"),
        ("requests_per_day: 0", "traffic.requests_per_day: must be at least"),
        ("tokens_per_month: 5e-9\n  bucket_size: upper", "makes 4.683e-18 requests per second, of 406 tokens"),
        ("bucket_size: mean", "request_rate is missing; write for example `request_rate: 32`"),
        ("requests_per_week: 5", "traffic.requests_per_week: unknown key; did you mean 'requests_per_day'"),
    ],
)
def test_a_count_that_is_no_rate(mistakes_in: MistakesIn, good: str, line: str, expected: str) -> None:
    found = mistakes_in(good.replace("request_rate: 32", line))
    assert any(expected in each for each in found), found


def test_tokens_of_buckets_without_means(mistakes_in: MistakesIn, good: str) -> None:
    text = good.replace("request_rate: 32", "tokens_per_month: 5e9") + "    mean_tokens: [[100, 50, 60, 20]]\n"
    (mistake,) = mistakes_in(text)
    assert "traffic.tokens_per_month" in mistake
    assert "needs the mean sizes of every bucket" in mistake


def test_names_of_regions_are_known_without_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judging all embedded prices for each of its regions took half of the quickstart's time."""
    embedded_regions.cache_clear()
    monkeypatch.setattr(snapshot, "_read", None)
    workload = pipeline.read(QUICKSTART)
    assert sum(map(len, workload.candidates.regions.values())) > 2 * len(workload.candidates.regions)


def test_regions_are_those_of_the_offers() -> None:
    found: dict[str, set[str]] = {}
    for catalog in snapshot.SnapshotSource().read():
        found[catalog.cloud] = {offer.region for offer in catalog.offers}
    assert {cloud: embedded_regions(cloud) for cloud in found} == found
    assert embedded_regions("nowhere") == frozenset()
