"""`traffic: {trace: …}`, `traffic: {preset: …}` and `bucket_size` in a workload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.domain.buckets import BucketSize
from sky_melange.errors import InputError
from sky_melange.render import plan_json
from sky_melange.workload_file import read_workload

HEAD = (
    "version: 1\nname: chat\nmodel: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}\n"
    "slo: {attainment: mean, tpot_ms: 40, ttft_ms: 2000}\ncandidates: {clouds: [aws]}\n"
)
HISTOGRAM = "histogram: {input_tokens: [100, 500], output_tokens: [50, 100], weights: [[1, 0], [2, 1]]"


@pytest.fixture
def workload(tmp_path: Path, extracts: Path) -> Callable[[str], Path]:
    """A workload with this section `traffic`, in a folder that has logs/conv.csv."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "conv.csv").write_bytes((extracts / "azure-conversation.csv").read_bytes())

    def write(traffic: str) -> Path:
        path = tmp_path / "workload.yaml"
        path.write_text(f"{HEAD}traffic: {traffic}\n")
        return path

    return write


def _mistakes(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        pipeline.read(path)
    return [str(mistake).replace(f"{path.parent}/", "") for mistake in caught.value.mistakes]


def test_a_trace_is_counted_when_planning(workload: Callable[[str], Path]) -> None:
    planned = pipeline.plan_file(workload("{trace: logs/conv.csv}"))
    assert (
        "conv.csv (Azure LLM inference trace, 400 requests; the rate is the p99 of its 60 s windows)"
        in (planned.plan.assumptions[0])
    )
    assert planned.workload.traffic.is_counted


def test_a_trace_equals_its_from_trace_histogram(workload: Callable[[str], Path], tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sky_melange.cli import cli

    other = tmp_path / "other.yaml"
    CliRunner().invoke(cli, ["workload", "from-trace", str(tmp_path / "logs" / "conv.csv"), "-o", str(other)])
    direct = pipeline.read(workload("{trace: 'logs/*.csv'}")).traffic
    written = read_workload(other).traffic
    assert direct.rates_rps == written.rates_rps
    assert direct.origin == written.origin


def test_options_of_a_trace(workload: Callable[[str], Path]) -> None:
    text = (
        "{trace: logs/conv.csv, buckets: '100,5000x100,1000', window_s: 10, rate_percentile: 50, request_rate: 3, "
        "columns: {input: GeneratedTokens, output: ContextTokens}, bucket_size: mean}"
    )
    traffic = pipeline.read(workload(text)).traffic
    assert traffic.grid.input_edges == (100, 5000)
    assert traffic.request_rate_rps == pytest.approx(3)
    assert traffic.bucket_size is BucketSize.MEAN
    assert "the rate as given" in traffic.origin


@pytest.mark.slow
def test_the_plan_follows_the_log_and_the_digest_the_file(workload: Callable[[str], Path], tmp_path: Path) -> None:
    path = workload("{trace: logs/conv.csv, request_rate: 4}")
    first, again = (plan_json.text(planned.plan, planned.workload) for planned in map(pipeline.plan_file, (path, path)))
    with (tmp_path / "logs" / "conv.csv").open("a") as stream:
        stream.write("2023-11-16 18:16:00.0000000,4000,900\r\n")
    later = pipeline.plan_file(path)
    assert first == again != plan_json.text(later.plan, later.workload)
    assert later.plan.inputs.workload in first


@pytest.mark.slow
def test_means_never_cost_more(workload: Callable[[str], Path]) -> None:
    costs = {
        size: pipeline.plan_file(
            workload(f"{{preset: azure-conversation-2023, request_rate: 60, bucket_size: {size}}}")
        ).plan.cost.replicas_usd_per_hour
        for size in ("upper", "mean")
    }
    assert 0 < costs["mean"] < costs["upper"]


def test_means_are_rounded_up_and_never_below_the_first_edge(workload: Callable[[str], Path]) -> None:
    means = "[[100, 50, 20.2, 3.0], [500, 50, 300.2, 41.0], [500, 100, 101.5, 99.1]]"
    path = workload(f"{{request_rate: 4, bucket_size: mean, {HISTOGRAM}, mean_tokens: {means}}}}}")
    sizes = [(b.planned_input_tokens, b.planned_output_tokens) for b in pipeline.read(path).traffic.buckets()]
    assert sizes == [(100, 50), (301, 50), (102, 100)]
    path = workload(f"{{request_rate: 4, {HISTOGRAM}, mean_tokens: {means}}}}}")
    sizes = [(b.planned_input_tokens, b.planned_output_tokens) for b in pipeline.read(path).traffic.buckets()]
    assert sizes == [(100, 50), (500, 50), (500, 100)]


def test_notes_of_the_log_are_warnings_of_the_plan(workload: Callable[[str], Path], tmp_path: Path) -> None:
    with (tmp_path / "logs" / "conv.csv").open("a") as stream:
        stream.write("2023-11-16 18:16:00.0000000,20000,0\r\n2023-11-16 18:16:00.0000000,20000,5\r\n")
    warnings = pipeline.plan_file(workload("{trace: logs/conv.csv}")).plan.warnings
    assert any("1 of 402 rows are not counted: 0 output tokens" in warning for warning in warnings)
    assert any("1 of 401 requests (0.25%) are larger than the last edges" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("traffic", "wanted"),
    [
        ("{request_rate: 3}", "workload.yaml:6: traffic: give exactly one of histogram, trace, preset"),
        (
            "{trace: a, preset: azure-code-2023}",
            "workload.yaml:6: traffic.preset: cannot be combined with trace; use exactly one of histogram",
        ),
        (
            f"{{{HISTOGRAM}}}}}",
            "workload.yaml:6: traffic: request_rate is missing; write for example `request_rate: 32`",
        ),
        ("{preset: azure-code}", "workload.yaml:6: traffic.preset: unknown preset 'azure-code'; did you mean"),
        (
            "{preset: azure-code-2023, window_s: 5}",
            "traffic.window_s: says how a log is counted; only valid together with trace or hours.file",
        ),
        ("{trace: none.csv}", "workload.yaml:6: traffic.trace: none.csv: there is no such file"),
        ("{trace: 'logs/*.json'}", "workload.yaml:6: traffic.trace: logs/*.json: no file matches"),
        (
            "{trace: workload.yaml}",
            "workload.yaml:6: traffic.trace: workload.yaml: no known log format has these columns",
        ),
        ("{trace: logs/conv.csv, buckets: many}", "workload.yaml:6: traffic.trace: --buckets: want melange, extend"),
        ("{trace: logs/conv.csv, window_s: 0}", "traffic.window_s: must be at least 1"),
        ("{trace: logs/conv.csv, rate_percentile: 0}", "traffic.rate_percentile: must be greater than 0"),
        ("{trace: logs/conv.csv, bucket_size: median}", "traffic.bucket_size: must be one of upper, mean"),
        ("{preset: arxiv-summarization}", "workload.yaml:6: traffic.preset: "),
        ("{trace: [a, b]}", "traffic.trace: want text"),
        (f"{{request_rate: 1, arrivals: trace, {HISTOGRAM}}}}}", "traffic.arrivals: a histogram has no times"),
        (
            f"{{request_rate: 1, {HISTOGRAM}, mean_tokens: [[100, 50, 5, 5], [100, 51, 5, 5], [100, 50, 5, 5]]}}}}",
            "traffic.histogram.mean_tokens[1]: there is no bucket with the upper edges 100 in, 51 out",
        ),
        (
            f"{{request_rate: 1, {HISTOGRAM}, mean_tokens: [[100, 50, 5, 5], [100, 50, 5, 5]]}}}}",
            "traffic.histogram.mean_tokens[1]: the bucket 100 in, 50 out is repeated",
        ),
        (
            f"{{request_rate: 1, {HISTOGRAM}, mean_tokens: [[100, 50, 5, 51]]}}}}",
            "traffic.histogram.mean_tokens[0]: a mean is larger than the bucket's upper edge",
        ),
        (f"{{request_rate: 1, {HISTOGRAM}, mean_tokens: [[100, 50]]}}}}", "mean_tokens[0]"),
        (f"{{request_rate: 1, {HISTOGRAM}, mean_tokens: [[100, 50, 0, 5]]}}}}", "mean_tokens[0][2]: must be greater"),
    ],
)
def test_mistakes_are_named_at_their_key(workload: Callable[[str], Path], traffic: str, wanted: str) -> None:
    found = _mistakes(workload(traffic))
    assert any(wanted in mistake for mistake in found), found


def test_a_caller_without_traces_is_told(workload: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="reads histograms only"):
        read_workload(workload("{trace: logs/conv.csv}"))
