"""What people write who have not read the documentation: each is told once, in at most three lines, what to write."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.check.plan_file import policy_in
from sky_melange.errors import InputError
from sky_melange.prices.overrides import read_overrides
from sky_melange.workload_file import read_budgets
from sky_melange.workload_file.schema_lookup import _OTHER_NAMES, valid_keys

WORKLOAD = """\
version: 1
name: chat
model:
  id: meta-llama/Llama-3.1-8B-Instruct
  dtype: bfloat16
slo:
  tpot_ms: 40
  ttft_ms: 2000
traffic:
  request_rate: 32
  preset: azure-conversation-2023
candidates:
  clouds: [aws, gcp]
  accelerators: [L4, H100]
constraints:
  max_groups: 3
"""
PRESET = "preset: azure-conversation-2023"
SIZES = "histogram: {input_tokens: [500], output_tokens: [200], weights: [[1]]}"

# (what stands in the workload, what is written instead, where and what to write)
MISTAKES = [
    ("tpot_ms: 40", "tpot: 40", "7: slo.tpot: unknown key; did you mean 'tpot_ms'?"),
    ("ttft_ms: 2000", "ttft_s: 2", "8: slo.ttft_s: unknown key; did you mean 'ttft_ms'?"),
    ("tpot_ms: 40", "itl_ms: 40", "7: slo.itl_ms: unknown key; did you mean 'tpot_ms'?"),
    ("tpot_ms: 40", "p99_tpot: 40", "7: slo.p99_tpot: unknown key; did you mean 'p99_tpot_ms'?"),
    ("tpot_ms: 40", "latency_ms: 900", "7: slo.latency_ms: unknown key; valid keys here: tpot_ms, ttft_ms, ntpot_ms"),
    ("request_rate: 32", "rate: 32", "10: traffic.rate: unknown key; did you mean 'request_rate'?"),
    ("request_rate: 32", "qps: 32", "10: traffic.qps: unknown key; did you mean 'request_rate'?"),
    (f"request_rate: 32\n  {PRESET}", f"rps: 32\n  {SIZES}", "10: traffic.rps: unknown key; did you mean 'request_"),
    ("slo:\n  tpot_ms: 40\n  ttft_ms: 2000\n", "", "1: slo: is missing; write for example `slo: {tpot_ms: 40, ttft_"),
    ("slo:", "sla:", "6: sla: unknown key; did you mean 'slo'?"),
    ("  id: ", "  name: ", "4: model.name: unknown key; did you mean 'id'?"),
    ("meta-llama/", "https://huggingface.co/meta-llama/", "; write meta-llama/Llama-3.1-8B-Instruct"),
    (
        "dtype: bfloat16",
        "dtype: fp32",
        "5: model.dtype: must be one of auto, any, bfloat16, float16, fp8, fp4, int4, found",
    ),
    ("dtype: bfloat16", "quantization: fp8", "5: model.quantization: unknown key; did you mean 'dtype'?"),
    ("dtype: bfloat16", "max_model_len: 16k", "'16k'; write its digits alone, without a unit"),
    ("dtype: bfloat16", "context_length: 16384", "unknown key; did you mean 'max_model_len'?"),
    (
        PRESET,
        "preset: azure",
        "11: traffic.preset: unknown preset 'azure'; presets: arxiv-summarization, azure-code-2023",
    ),
    (
        f"  {PRESET}\n",
        "",
        "9: traffic: give exactly one of histogram, trace, preset, for example `trace: logs/requests.cs",
    ),
    (PRESET, f"{PRESET}\n  trace: a.csv", "cannot be combined with trace; use exactly one of histogram, trace, preset"),
    (PRESET, "trace: logs.csv", "11: traffic.trace: logs.csv: there is no such file; check the path"),
    (f"request_rate: 32\n  {PRESET}", SIZES, "9: traffic: request_rate is missing; write for example `request_rate: 3"),
    (
        PRESET,
        SIZES.replace("[[1]]", "[1]"),
        "weights[0]: want a list such as `[0.3, 0.1]`, found the number 1; write [1]",
    ),
    (
        PRESET,
        SIZES.replace("[500]", "500"),
        "input_tokens: want a list such as `[100, 500, 2000]`, found the number 500",
    ),
    (
        PRESET,
        SIZES.replace("[500]", "[500, 100]").replace("[[1]]", "[[1], [1]]"),
        "the edge 100 comes after 500; upper",
    ),
    (PRESET, SIZES.replace("[[1]]", "[[0]]"), "every weight is 0; give at least one bucket a positive weight"),
    (
        PRESET,
        SIZES.replace("[[1]]", "[[1, 2]]"),
        "2 columns found in this row, expected 1 row × 1 column: one column p",
    ),
    ("tpot_ms: 40", "tpot_ms: 40\n  attainment: 99", "found the number 99; for 99 percent write 0.99"),
    ("tpot_ms: 40", "tpot_ms: 40\n  attainment: 1.0", "found the number 1.0; write 0.999 for 999 requests in 1,000"),
    ("tpot_ms: 40", "tpot_ms: 40\n  attainment: p99", "found the text 'p99'; write 0.99"),
    ("40", "1,000", "7: slo.tpot_ms: want a number such as `40`, found the text '1,000'; write 1000"),
    ("40", "25 tokens/s", "found the text '25 tokens/s'; units are ms, s, min, h and d"),
    ("40", "0", "7: slo.tpot_ms: must be greater than 0, found the number 0; write for example 40"),
    ("32", "32 rps", "found the text '32 rps'; write its digits alone, without a unit"),
    ("32", "-1", "10: traffic.request_rate: must be at least 1e-06, found the number -1; write for example 32"),
    (
        "request_rate: 32",
        "request_rate: 32\n  requests_per_day: 9",
        "cannot be combined with request_rate; use exactly",
    ),
    (
        PRESET,
        f"arrivals: bursty\n  {PRESET}",
        "want poisson, trace, or `{cv: 2}` with a number from 0 to 100, found the",
    ),
    ("[aws, gcp]", "aws", "13: candidates.clouds: want a list such as `[aws, gcp]`, found the text 'aws'; write [aws]"),
    ("[aws, gcp]", "aws, gcp", "found the text 'aws, gcp'; write [aws, gcp]"),
    ("[aws, gcp]", "any", "found the text 'any'; write all"),
    ("[L4, H100]", "all", "found the text 'all'; leave out the key for all of them"),
    ("[aws, gcp]", "[ec2]", "13: candidates.clouds[0]: unknown cloud 'ec2'; known clouds: aws, azure, cudo"),
    ("clouds: [aws, gcp]", "cloud: aws", "13: candidates.cloud: unknown key; did you mean 'clouds'?"),
    (
        "[aws, gcp]",
        "[aws]\n  regions: {gcp: [us-east1]}",
        "is not in candidates.clouds: add it there, or remove its reg",
    ),
    ("clouds: [aws, gcp]", "regions: [us-east-1]", "want a mapping such as `{aws: [us-east-1]}`, found a list"),
    ("[aws, gcp]", "[aws]\n  spot: true", "must be one of never, allow, only, found 'true', which YAML reads as true"),
    ("[L4, H100]", "[H1000]", "14: candidates.accelerators[0]: unknown accelerator 'H1000'; did you mean 'H100'?"),
    ("[L4, H100]", "['H100:8']", "14: candidates.accelerators[0]: unknown accelerator 'H100:8'; did you mean 'H100'?"),
    ("[L4, H100]", "[p5.48xlarge]", "unknown accelerator 'p5.48xlarge'; known accelerators: A10, A100, A100-80GB"),
    ("[L4, H100]", "[4090]", "want text such as `L4`, found the number 4090; put it in quotes: '4090'"),
    ("accelerators:", "gpus:", "14: candidates.gpus: unknown key; did you mean 'accelerators'?"),
    ("max_groups: 3", "max_utilization: 90", "must be at most 1, found the number 90; for 90 percent write 0.9"),
    ("max_groups: 3", "max_accelerators: 8", "want a mapping such as `{H100: 8}`, found the number 8"),
    ("max_groups: 3", "max_replicas: 8", "16: constraints.max_replicas: unknown key; did you mean 'max_accelerators'?"),
    ("max_groups: 3", "max_cost: 40", "unknown key here; did you mean 'budget.usd_per_hour'?"),
    (
        "constraints:",
        "budget: $40\nconstraints:",
        "15: budget: want a mapping such as `{usd_per_hour: 40}`, found the te",
    ),
    ("constraints:", "budget: {usd_per_hour: $40}\nconstraints:", "'$40'; write its digits alone, without a unit"),
    ("constraints:", "budget: {usd_per_day: 960}\nconstraints:", "unknown key; did you mean 'usd_per_hour'?"),
    (
        "constraints:",
        "routing: round_robin\nconstraints:",
        "15: routing: must be one of size_aware, input_aware, blind",
    ),
    (
        "constraints:",
        "objective: most_traffic\nconstraints:",
        "needs a budget to stay within: write `budget: {usd_per_",
    ),
    ("constraints:", "launch: {secrets: [HF_TOKEN=abc]}\nconstraints:", "must be the NAME of an environment variable"),
    ("constraints:", "launch: {engine_args: --seed}\nconstraints:", "found the text '--seed'; write [--seed]"),
    (
        "constraints:",
        "solver: {timeout: 5}\nconstraints:",
        "15: solver.timeout: unknown key; did you mean 'time_limit_s'",
    ),
    ("constraints:", "prices: {discounts: [{cloud: aws, percent: 15}]}\nconstraints:", "did you mean 'fraction'?"),
    ("constraints:", "profiles: {files: mine.json}\nconstraints:", "found the text 'mine.json'; write [mine.json]"),
    ("  tpot_ms: 40", "\ttpot_ms: 40", "7: is not valid YAML: "),
    ("tpot_ms: 40", "tpot_ms:40", "; write `key: value` with a colon and a space, also on the line above"),
    ("[aws, gcp]", "[aws, gcp", "; close the bracket `[` with `]`"),
    ("  ttft_ms", " ttft_ms", "; the keys of a section begin in the same column"),
    ("  ttft_ms", "  tpot_ms", "8: the key 'tpot_ms' is repeated, first on line 7; keep one of them"),
    ("name: chat", "name: My Chat", "found the text 'My Chat'; write for example `name: my-chat`"),
    ("version: 1\n", "", "1: version: is missing; write for example `version: 1`"),
]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        path = tmp_path / "workload.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            pipeline.read(path)
        return [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]

    return read


@pytest.mark.parametrize(("usual", "written", "expected"), MISTAKES)
def test_it_is_told_once_and_shortly(told: Callable[[str], list[str]], usual: str, written: str, expected: str) -> None:
    assert usual in WORKLOAD
    found = told(WORKLOAD.replace(usual, written, 1))
    assert len(found) == 1, found
    assert f"workload.yaml:{expected}" in found[0] or expected in found[0]
    assert len(textwrap.wrap(found[0], 80)) <= 3


def test_the_list_is_long_enough_and_the_workload_is_good(tmp_path: Path) -> None:
    assert len(MISTAKES) >= 40
    assert len({each[:2] for each in MISTAKES}) == len(MISTAKES)
    path = tmp_path / "workload.yaml"
    path.write_text(WORKLOAD, encoding="utf-8")
    assert pipeline.read(path).name == "chat"


def test_other_names_lead_to_keys_that_exist() -> None:
    for other, meant in _OTHER_NAMES.items():
        *section, name = meant.split(".")
        assert name in valid_keys(tuple(section)), meant
        assert other not in valid_keys(tuple(section)), other


LIMIT = "users: {a: {usd_per_hour: 1}}"
PRICED = "cloud,instance_type,price_usd_per_hour"

# (file, its text after the version where it has one, the mistake)
OF_OTHER_FILES = [
    ("policy.yaml", "max_spot_fraction: 50", "max_spot_fraction: want a fraction from 0 to 1, such as 0.5, found 50"),
    ("policy.yaml", "max_spot_share: 0.5", "max_spot_share: unknown key; did you mean 'max_spot_fraction'?"),
    ("policy.yaml", "banned_cloud: [aws]", "banned_cloud: unknown key; did you mean 'banned_clouds'?"),
    ("policy.yaml", "banned_clouds: aws", "banned_clouds: want a list of 1 to 100 clouds, found 'aws'"),
    ("policy.yaml", "allowed_gpus: [H100]", "allowed_gpus: unknown key; did you mean 'allowed_accelerators'?"),
    ("policy.yaml", "banned_accelerators: [K80]", "unknown key; a policy names what may be used: allowed_accelerators"),
    ("policy.yaml", "max_usd_per_hour: 5", "is not a key of a policy; give `check --budget`"),
    ("policy.yaml", "max_drift: 5", "is not a key of a policy; give `check --max-drift`"),
    ("policy.yaml", "max_usd_per_million_tokens: $0.5", "want USD per million tokens, such as 0.5, found '$0.5'"),
    ("policy.yaml", "max_usd_per_million_tokens: 1,000", "want USD per million tokens, such as 0.5, found '1,000'"),
    ("policy.yaml", "allowed_accelerators: [H1000]", "unknown accelerator 'H1000'; did you mean 'H100'?"),
    ("policy.yaml", "banned_regions: [us-east-1]", "want regions by cloud, such as {aws: [us-east-1]}"),
    ("policy.yaml", "banned_regions: {aws: us-east-1}", "banned_regions.aws: want a list of 1 to 100 regions"),
    ("policy.yaml", "min_profile_kind: good", "must be one of measured, fitted, published, estimated, found 'good'"),
    ("budgets.yaml", "user: {a: {usd_per_hour: 1}}", "user: unknown key; did you mean 'users'?"),
    (
        "budgets.yaml",
        "teams: {a: {usd_per_hour: 1}}",
        "teams: unknown key; valid keys here: version, mode, when_unknown",
    ),
    ("budgets.yaml", "users: {a: 10}", "users.a: want for example `{usd_per_hour: 20}`, found the number 10"),
    ("budgets.yaml", "users: [a]", "users: want for example `{alice: {usd_per_hour: 20}"),
    ("budgets.yaml", "users: {a: {}}", "users.a: has no limit; write usd_per_hour, usd_per_month, or both"),
    ("budgets.yaml", "users: {a: {per_hour: 1}}", "users.a.per_hour: unknown key; did you mean 'usd_per_hour'?"),
    ("budgets.yaml", "users: {a: {usd_per_day: 1}}", "unknown key; valid keys here: usd_per_hour, usd_per_month, mode"),
    ("budgets.yaml", "users: {a: {usd_per_hour: $20}}", "found the text '$20'; write its digits alone, without a unit"),
    ("budgets.yaml", "users: {a: {usd_per_hour: -1}}", "usd_per_hour: must be at least 0, found the number -1"),
    ("budgets.yaml", f"mode: block\n{LIMIT}", "2: mode: must be one of enforce, warn, found the text 'block'"),
    ("budgets.yaml", f"reservation_minutes: 5m\n{LIMIT}", "found the text '5m'; units are ms, s, min, h and d"),
    (
        "budgets.yaml",
        "prefixes: {'*': {usd_per_hour: 1}}",
        "give `workspaces` or `users` a `*` for a budget on everything",
    ),
    ("budgets.yaml", "mode: warn", "has no budget; write for example `users: {'*': {usd_per_hour: 10}}`"),
    ("own.csv", f"{PRICED}\naws,p5.48xlarge,$40", "must be an amount such as 2.49, found '$40'"),
    ("own.csv", f'{PRICED}\naws,p5.48xlarge,"1,000"', "must be an amount such as 2.49, found '1,000'"),
    ("own.csv", f"{PRICED}\naws,p5.48xlarge", "own.csv:2: has 2 fields, the header 3"),
    ("own.csv", f"{PRICED}\naws,p5.48xlarge,0", "is 0 without reserved_instances: say how many are paid for"),
    ("own.csv", f"{PRICED}\naws,,2", "own.csv:2: instance_type is empty"),
    (
        "own.csv",
        "cloud,instance,price_usd_per_hour\naws,x,1",
        "unknown column 'instance'; did you mean 'instance_type'?",
    ),
    ("own.csv", "provider,instance_type,price_usd_per_hour\naws,x,1", "'provider'; did you mean 'cloud'?"),
    ("own.csv", "cloud,instance_type,price\naws,x,1", "unknown column 'price'; did you mean 'price_usd_per_hour'?"),
    ("own.csv", f"{PRICED},gpus\naws,x,1,4", "unknown column 'gpus'; did you mean 'accelerators'?"),
    ("own.csv", "cloud;instance_type;price_usd_per_hour\naws;x;1", "columns are separated by commas"),
    ("own.csv", f"{PRICED},spot\naws,x,1,maybe", "spot must be true or false, found 'maybe'"),
    ("own.csv", f"{PRICED},purchase\naws,x,1,3y", "purchase must be one of on_demand, spot, commit_1y, commit_3y"),
    ("own.csv", f"{PRICED},as_of\naws,x,1,05/20/2026", "as_of must be a date such as 2026-05-20, found '05/20/2026'"),
    ("own.csv", f"{PRICED},reserved_instances\naws,x,1,4", "reserved_instances needs a region"),
    ("own.yaml", "cloud: aws", "must be a list of mappings, such as `- {cloud: aws, instance_type: g6.xlarge"),
    ("own.yaml", "- aws", "own.yaml:1: must be a mapping, such as {cloud: aws"),
]


@pytest.mark.parametrize(("name", "text", "expected"), OF_OTHER_FILES)
def test_other_files_are_as_short(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        read_other(tmp_path, name, text)
    found = [str(mistake).removeprefix(f"{tmp_path}/") for mistake in caught.value.mistakes]
    assert len(found) == 1, found
    assert expected in found[0]
    assert len(textwrap.wrap(found[0], 80)) <= 3


# (file, its text, what is said)
READ = [
    ("policy.yaml", "banned_clouds: [amazon]", "banned_clouds[0]: 'amazon' is read as aws"),
    ("policy.yaml", "banned_regions: {AWS: [us-east-1]}", "banned_regions.AWS: 'AWS' is read as aws"),
    ("policy.yaml", "banned_regions: {aws: [us-east1]}", "banned_regions.aws[0]: 'us-east1' is read as us-east-1"),
    ("policy.yaml", "allowed_accelerators: [h100]", "allowed_accelerators[0]: 'h100' is read as H100"),
    ("policy.yaml", "max_spot_fraction: 50%", "max_spot_fraction: '50%' is read as 0.5"),
    ("policy.yaml", 'max_usd_per_million_tokens: "0.5"', "max_usd_per_million_tokens: '0.5' is read as 0.5"),
    ("policy.yaml", "min_profile_kind: Fitted", "min_profile_kind: 'Fitted' is read as fitted"),
    ("budgets.yaml", 'users: {a: {usd_per_hour: "40"}}', "users.a.usd_per_hour: '40' is read as 40"),
    ("budgets.yaml", "users: {a: {usd_per_month: 1e4}}", "users.a.usd_per_month: '1e4' is read as 10000"),
    ("budgets.yaml", f"mode: Warn\n{LIMIT}", "mode: 'Warn' is read as warn"),
    ("budgets.yaml", f"reservation_minutes: 2h\n{LIMIT}", "reservation_minutes: '2h' is read as 120"),
    ("own.csv", f"{PRICED},purchase\naws,x,1,On-Demand", "own.csv:2: purchase: 'On-Demand' is read as on_demand"),
]


@pytest.mark.parametrize(("name", "text", "expected"), READ)
def test_other_files_are_read_where_the_meaning_is_clear(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (said,) = read_other(tmp_path, name, text)
    assert said.endswith(expected)


def read_other(folder: Path, name: str, text: str) -> list[str]:
    """What is said of a file that can be read."""
    path, told = folder / name, list[str]()
    if name.startswith("own"):
        path.write_text(f"{text}\n", encoding="utf-8")
        read_overrides(path, notes=told)
        return told
    path.write_text(f"version: 1\n{text}\n", encoding="utf-8")
    if name == "policy.yaml":
        policy_in(path, told)
    else:
        read_budgets(path, tell=lambda readings: told.extend(map(str, readings)))
    return told


def test_other_files_have_as_many() -> None:
    assert len(OF_OTHER_FILES) >= 40


def test_names_of_budgets_are_spelled_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "budgets.yaml").write_text("version: 1\nusers: {'40': {usd_per_hour: 1}, Warn: {usd_per_hour: 2}}\n")
    assert [limit.name for limit in read_budgets(tmp_path / "budgets.yaml").limits] == ["40", "Warn"]
