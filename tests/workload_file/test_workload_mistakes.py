"""Bad files: one test per kind of mistake, with its line, key and advice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

MistakesIn = Callable[..., list[str]]

# (text to replace in the good file, what replaces it, where and what the mistake is)
REPLACEMENTS = [
    pytest.param("slo:\n", "sol:\n", [":4: sol: unknown key; did you mean 'slo'?"], id="key"),
    pytest.param("tpot_ms", "tpot", [":5: slo.tpot: unknown key; did you mean 'tpot_ms'?"], id="nested-key"),
    pytest.param("name: chat", "tpot_ms: 3", ["did you mean 'slo.tpot_ms'?", ":1: name: is missing"], id="elsewhere"),
    pytest.param("40", "fast", [":5: slo.tpot_ms: want a number such as `40`, found the text 'fast'"], id="type"),
    pytest.param("40", '"040"', [":5: slo.tpot_ms: want a number such as `40`, found the text '040'; write"], id="q"),
    pytest.param("40", "1,500", ["found the text '1,500'; write 1500"], id="thousands"),
    pytest.param("40", "0", [":5: slo.tpot_ms: must be greater than 0, found the number 0"], id="zero"),
    pytest.param("40", "on", [":5: slo.tpot_ms: want a number such as `40`, found 'on', which YAML reads as"], id="on"),
    pytest.param("40", "", [":5: slo.tpot_ms: there is no value here: write one, or remove the key"], id="null"),
    pytest.param("40", "~", [":5: slo.tpot_ms: there is no value here"], id="tilde"),
    pytest.param("40", "040", [":5: slo.tpot_ms: not every YAML reader sees the same number in 040"], id="octal"),
    pytest.param("40", "1_0", [":5: slo.tpot_ms: not every YAML reader sees the same number in 1_0"], id="underscore"),
    pytest.param("40", "1:30", ["not every YAML reader sees the same number in 1:30"], id="sexagesimal"),
    pytest.param("40", "2024-01-01", [":5: slo.tpot_ms: YAML reads 2024-01-01 as a date"], id="date"),
    pytest.param("\n  tpot_ms: 40", " {}", [":4: slo: give at least one of tpot_ms, ttft_ms, ntpot_ms"], id="no-slo"),
    pytest.param("\n  tpot_ms: 40", " 40", [":4: slo: want a mapping such as `{tpot_ms: 40, ttft_"], id="section"),
    pytest.param("32", "-1", [":7: traffic.request_rate: must be at least 1e-06, found the number -1"], id="negative"),
    pytest.param("32", ".nan", [":7: traffic.request_rate: must be a finite number, found the number .nan"], id="nan"),
    pytest.param(
        "32", "-.inf", [":7: traffic.request_rate: must be a finite number, found the number -.inf"], id="inf"
    ),
    pytest.param("32", "1.0e+999", [":7: traffic.request_rate: must be a finite number"], id="overflow"),
    pytest.param("32", "9" * 99, [":7: traffic.request_rate: must be at most 1e+09"], id="long-integer"),
    pytest.param("32", "9" * 9999, [":7: traffic.request_rate: a number of 9999 digits"], id="longest-integer"),
    pytest.param("[1, 2, 1]", "[1, -2, 1]", [":12: traffic.histogram.weights[0][1]: must be at least 0"], id="weight"),
    pytest.param("[1, 2, 1]", "[1, .inf, 1]", [":12: traffic.histogram.weights[0][1]: must be a finite"], id="inf-w"),
    pytest.param("[1, 2, 1]", "[1, yes, 1]", ["weights[0][1]: want a number such as `0.3`, found 'yes'"], id="bool-w"),
    pytest.param(
        "      - [2, 1, 1]\n",
        "",
        [":11: traffic.histogram.weights: 1 row × 3 columns found, expected 2 rows × 3 columns"],
        id="rows",
    ),
    pytest.param(
        "- [2, 1, 1]",
        "- [2, 1]",
        [":13: traffic.histogram.weights[1]: 2 columns found in this row, expected 2 rows × 3 columns"],
        id="columns",
    ),
    pytest.param(
        "- [2, 1, 1]", "- 5", [":13: traffic.histogram.weights[1]: want a list such as `[0.3, 0.1]`"], id="row"
    ),
    pytest.param("[50, 100, 200]", "[]", [":10: traffic.histogram.output_tokens: must not be empty"], id="no-edges"),
    pytest.param("[50, 100, 200]", "[50, 50, 200]", ["output_tokens[1]: the edge 50 is repeated"], id="repeated-edge"),
    pytest.param(
        "[50, 100, 200]", "[50, 100, 99]", [":10: traffic.histogram.output_tokens[2]: the edge 99"], id="sort"
    ),
    pytest.param("[50, 100, 200]", "[0, 100, 200]", ["output_tokens[0]: must be at least 1, found"], id="edge-0"),
    pytest.param("[50, 100, 200]", "[50, 100, 200.0]", ["found the number 200.0; write 200"], id="float-edge"),
    pytest.param("chat", "My_Chat", [":2: name: must be lower-case", "write for example `name: my-chat`"], id="name"),
    pytest.param("chat", "chat-", [":2: name: must be lower-case", "not end with a hyphen"], id="hyphen"),
    pytest.param(
        "chat", "a" * 41, [":2: name: must be at most 40 characters long, found the text 'aaa"], id="long-name"
    ),
    pytest.param("chat", "no", [":2: name: want text such as `chat`, found 'no', which YAML reads as false"], id="no"),
    pytest.param("chat", "7", [":2: name: want text such as `chat`, found the number 7; put it in quotes"], id="seven"),
    pytest.param("bfloat16", "bfloat", [":3: model.dtype: must be one of", "did you mean 'bfloat16'?"], id="dtype"),
    pytest.param("meta-llama/", "--x/", [":3: model.id: must be a Hugging Face model id"], id="option-as-model"),
    pytest.param(
        "version: 1", "version: true", [":1: version: this release reads version 1, found 'true'"], id="v-true"
    ),
    pytest.param(
        "version: 1", "version: 1.0", [":1: version: this release reads version 1, found '1.0'"], id="v-float"
    ),
    pytest.param("version: 1", "version: 0", [":1: version: this release reads version 1, found '0'; write"], id="v-0"),
    pytest.param(
        "version: 1", "version: [1]", [":1: version: this release reads version 1, found a list"], id="v-list"
    ),
    pytest.param("version: 1\n", "", [":1: version: is missing; write for example `version: 1`"], id="no-version"),
]

# (a line appended to the good file, so on line 14, and what is said of it)
ADDITIONS = [
    ("routing: blnd", "routing: must be one of size_aware, input_aware, blind, found the text 'blnd'; did you mean"),
    ("budget: 40", "budget: want a mapping such as `{usd_per_hour: 40}`, found the number 40"),
    ("budget: {usd_per_hour: 0}", "budget.usd_per_hour: must be greater than 0"),
    ("budget: {usd_per_hour: -1}", "budget.usd_per_hour: must be greater than 0"),
    ("budget: {usd_per_hour: .nan}", "budget.usd_per_hour: must be a finite number, found the number .nan"),
    ("budget: {usd_per_month: 0}", "budget.usd_per_month: must be greater than 0"),
    ("budget: {usd_per_month: -0.01}", "budget.usd_per_month: must be greater than 0"),
    ("budget: {usd_per_month: .nan}", "budget.usd_per_month: must be a finite number, found the number .nan"),
    ("candidates: {spot: alow}", "candidates.spot: must be one of never, allow, only, found the text 'alow'; did you"),
    ("candidates: {accelerators: L4}", "candidates.accelerators: want a list such as `[L4, A100-80GB, H100]`, found"),
    ("candidates: {accelerators: []}", "candidates.accelerators: must not be empty: write an entry, or remove the key"),
    ("candidates: {accelerators: [L4, L4]}", "candidates.accelerators[1]: 'L4' is listed twice, first on line 14"),
    (
        "candidates: {clouds: [aws], regions: {gcp: [x]}}",
        "candidates.regions.gcp: the cloud 'gcp' is not in candidates.c",
    ),
    ("candidates: {regions: {aws: us-east-1}}", "candidates.regions.aws: want a list such as `[us-east-1]`"),
    ("candidates: {regions: {aws: []}}", "candidates.regions.aws: must not be empty"),
    ("candidates: {regions: {aws: [a, a]}}", "candidates.regions.aws[1]: 'a' is listed twice"),
    (
        "constraints: {max_utilization: 90}",
        "constraints.max_utilization: must be at most 1, found the number 90; for 90 percent write 0.9",
    ),
    ("constraints: {max_utilization: 0}", "constraints.max_utilization: must be greater than 0"),
    ("constraints: {max_accelerators: {'a b': 1}}", "constraints.max_accelerators.'a b': must be letters, digits"),
    ("constraints: {max_accelerators: {H100: -1}}", "constraints.max_accelerators.H100: must be at least 0"),
    ("constraints: {max_groups: 1.5}", "constraints.max_groups: want a whole number such as `3`, found the number 1.5"),
    ("constraints: {min_replicas: 0}", "constraints.min_replicas: 0 stops the replicas in hours without requests, and"),
    ("constraints: {min_replicas: -1}", "constraints.min_replicas: must be at least 0"),
    ("constraints: {scale_to_zero: true}", "constraints.scale_to_zero: unknown key; did you mean 'min_replicas'?"),
    (
        "launch: {scale_to_zero: true}",
        "launch.scale_to_zero: unknown key here; did you mean 'constraints.min_replicas'?",
    ),
    ("solver: {mip_gap: 1}", "solver.mip_gap: must be less than 1"),
    ("solver: {formulation: slices}", "solver.formulation: must be one of exact, sliced, found the text 'slices'; did"),
    ("prices: {require_clouds: lambda}", "prices.require_clouds: want a list such as `[aws, lambda]`, found the text"),
    (
        "prices: {max_age: 24}",
        "prices.max_age: unknown key; did you mean 'max_age_hours'?",
    ),
    ("launch: {engine: trtllm}", "launch.engine: must be one of vllm, sglang, any, found the text 'trtllm'"),
    (
        "launch: {engine_args: [--seed, 7]}",
        "launch.engine_args[1]: want text such as `--enable-prefix-caching`, found the",
    ),
    ('launch: {engine_args: ["a\\nb"]}', "launch.engine_args[0]: must hold no line break and no control character"),
    ('launch: {engine_args: ["a\\0b"]}', "launch.engine_args[0]: must hold no line break and no control character"),
    (
        'launch: {engine_args: ["-tp", "2"]}',
        "launch.engine_args[0]: -tp is the layout that the plan chooses for each group: leave it out, and",
    ),
    ('launch: {engine_args: ["--api-key=x"]}', "launch.engine_args[0]: --api-key is a secret: name its environment"),
    ("launch: {secrets: [A, A]}", "launch.secrets[1]: this entry is listed twice"),
    ("candidates: {accelerators: &gpus [L4]}", "anchors (`&name`) are not supported: remove it"),
    ("candidates: !!python/object:os.system {}", "tags (here 'tag:yaml.org,2002:python/object:os.system') are not"),
    ("candidates: {<<: {spot: never}}", "merge keys (`<<`) are not supported: write the values out"),
    ("? [a, b]\n: 1", "a key must be a word, found a list or a mapping; check the brackets and braces"),
    ("---\nversion: 1", "a second YAML document starts here (`---`)"),
    ("slo: {attainment: mean, tpot_ms: 30}", "the key 'slo' is repeated, first on line 4; keep one of them"),
    ("launch: [", "is not valid YAML: "),
    ("\tlaunch: 3", "is not valid YAML: "),
    ("a: " + "[" * 25, "is nested more than 20 levels deep"),
    ("a\x07: 3", "holds the control character U+0007; remove it"),
    ('"\\e[31mred": 3', "'\\x1b[31mred': unknown key"),
]


@pytest.mark.parametrize(("old", "new", "fragments"), REPLACEMENTS)
def test_a_bad_value_is_reported(mistakes_in: MistakesIn, good: str, old: str, new: str, fragments: list[str]) -> None:
    assert old in good
    text = "\n".join(mistakes_in(good.replace(old, new, 1)))
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize(("line", "expected"), ADDITIONS)
def test_a_bad_section_is_reported(mistakes_in: MistakesIn, good: str, line: str, expected: str) -> None:
    found = mistakes_in(good + line + "\n")
    assert any(mistake.startswith(f"workload.yaml:14: {expected}") for mistake in found), found


def test_a_single_mistake_is_reported_once(mistakes_in: MistakesIn, good: str) -> None:
    # A bad value must not make a rule that spans several keys complain as well.
    for old, new in [("40", "~"), ("[50, 100, 200]", "[50, x, 200]"), ("[1, 2, 1]", "[1, ~, 1]"), ("chat", "*a")]:
        assert len(mistakes_in(good.replace(old, new))) == 1


def test_all_weights_zero(mistakes_in: MistakesIn, good: str) -> None:
    found = mistakes_in(good.replace("[1, 2, 1]", "[0, 0, 0]").replace("[2, 1, 1]", "[0, 0.0, -0.0]"))
    assert found == [
        "workload.yaml:11: traffic.histogram.weights: every weight is 0; give at least one bucket a positive weight"
    ]


def test_a_turned_table_is_recognised(mistakes_in: MistakesIn, good: str) -> None:
    rows = "      - [1, 2, 1]\n      - [2, 1, 1]\n"
    found = mistakes_in(good.replace(rows, "      - [1, 2]\n" * 3))
    assert len(found) == 1
    assert "weights: the table is turned: 3 rows × 2 columns, expected 2 rows × 3 columns" in found[0]


def test_a_newer_version_is_the_only_mistake(mistakes_in: MistakesIn, good: str) -> None:
    assert mistakes_in(good.replace("version: 1", "version: 2") + "shiny: true\n") == [
        "workload.yaml:1: version: this release reads version 1, found '2'; update sky-melange to read newer files"
    ]


@pytest.mark.parametrize("entry", ["HF_TOKEN=hf_sekrit", "hf_sekrit", "0123456", "{HF_TOKEN: hf_sekrit}", "2024-01-01"])
def test_a_secret_value_is_never_shown(mistakes_in: MistakesIn, good: str, entry: str) -> None:
    (mistake,) = mistakes_in(good + f"launch: {{secrets: [{entry}]}}\n")
    assert mistake.startswith("workload.yaml:14: launch.secrets[0]: ")
    for secret in ("sekrit", "0123456", "2024-01-01"):
        assert secret not in mistake


def test_names_that_do_not_exist(mistakes_in: MistakesIn, good: str) -> None:
    text = good + (
        "candidates:\n  accelerators: [L4, a100-80]\n  clouds: [AW]\n  regions: {aws: [us-east-1]}\n"
        "constraints: {max_accelerators: {H10: 2}}\n"
    )
    found = mistakes_in(
        text,
        known_accelerators={"L4", "H100", "A100-80GB"},
        known_clouds={"aws", "gcp"},
        known_models={"meta-llama/Llama-3.1-70B-Instruct"},
    )
    assert found == [
        "workload.yaml:3: model.id: unknown model 'meta-llama/Llama-3.1-8B-Instruct'; did you mean "
        "'meta-llama/Llama-3.1-70B-Instruct'?",
        "workload.yaml:15: candidates.accelerators[1]: unknown accelerator 'a100-80'; did you mean 'A100-80GB'?",
        "workload.yaml:16: candidates.clouds[0]: unknown cloud 'AW'; did you mean 'aws'?",
        "workload.yaml:18: constraints.max_accelerators.H10: unknown accelerator 'H10'; did you mean 'H100'?",
    ]


def test_ten_mistakes_at_once_word_for_word(mistakes_in: MistakesIn) -> None:
    text = """\
version: 1
name: Chat
modle: {id: x}
model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bf32}
slo: {tpot_ms: -40}
slo: {ttft_ms: 1}
traffic:
  request_rate: .nan
  histogram:
    input_tokens: [100, 100]
    output_tokens: [50, 100]
    weights:
      - [1, 2, 3]
      - [1, -2]
candidates: {spot: sometimes}
launch: {secrets: [HF_TOKEN=abc]}
"""
    assert mistakes_in(text) == [
        "workload.yaml:2: name: must be lower-case letters, digits and hyphens, begin with a letter and not end with "
        "a hyphen, found the text 'Chat'; write for example `name: chat`",
        "workload.yaml:3: modle: unknown key; did you mean 'model'?",
        "workload.yaml:4: model.dtype: must be one of auto, any, bfloat16, float16, fp8, fp4, int4, found the text "
        "'bf32'",
        "workload.yaml:5: slo.tpot_ms: must be greater than 0, found the number -40; write for example 40",
        "workload.yaml:6: the key 'slo' is repeated, first on line 5; keep one of them",
        "workload.yaml:8: traffic.request_rate: must be a finite number, found the number .nan",
        "workload.yaml:10: traffic.histogram.input_tokens[1]: the edge 100 is repeated; upper edges must rise strictly",
        "workload.yaml:13: traffic.histogram.weights[0]: 3 columns found in this row, expected 2 rows × 2 columns: "
        "one column per output edge (output_tokens)",
        "workload.yaml:14: traffic.histogram.weights[1][1]: must be at least 0, found the number -2; write for "
        "example 0.3",
        "workload.yaml:15: candidates.spot: must be one of never, allow, only, found the text 'sometimes'",
        "workload.yaml:16: launch.secrets[0]: must be the NAME of an environment variable: capital letters, digits "
        "and `_`, not its value (what stands here is not shown)",
    ]
