"""`sky-melange workload from-trace`: what it prints, writes and refuses."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.workload_file import read_workload

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: object) -> Result:
        return CliRunner(mix_stderr=False).invoke(
            cli, ["workload", "from-trace", *map(str, arguments)], catch_exceptions=False
        )

    return invoke


@pytest.fixture
def azure(extracts: Path) -> Path:
    return extracts / "azure-conversation.csv"


def test_from_a_log_to_a_plan_in_two_commands(run: Run, azure: Path, tmp_path: Path) -> None:
    workload = tmp_path / "workload.yaml"
    first = run(azure, "-o", workload)
    assert first.exit_code == 0
    assert first.stdout.startswith("azure-conversation.csv: 400 requests (Azure LLM inference trace)")
    second = CliRunner(mix_stderr=False).invoke(
        cli, ["plan", str(workload), "--no-files", "-v"], catch_exceptions=False
    )
    assert second.exit_code == 0
    flowing = " ".join(second.stdout.split())
    assert "sizes from azure-conversation.csv (Azure LLM inference trace, 400 requests; the rate is the p99" in flowing
    assert "each bucket is planned at the mean size of its requests" in flowing


def test_the_workload_holds_what_was_counted(run: Run, azure: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    options = ["--name", "code", "--model", "Qwen/Qwen3-32B", "--dtype", "fp8", "--tpot-ms", 25, "--ttft-ms", 900]
    assert run(azure, "-o", path, "--bucket-size", "mean", "--request-rate", 12.5, *options).exit_code == 0
    workload = read_workload(path)
    assert (workload.name, workload.model.id, workload.model.dtype) == ("code", "Qwen/Qwen3-32B", "fp8")
    assert (workload.slo.tpot_s, workload.slo.ttft_s) == (0.025, 0.9)
    assert workload.traffic.request_rate_rps == pytest.approx(12.5)
    report = json.loads(run(azure, "--format", "json").stdout)
    document = yaml.safe_load(path.read_text())
    assert document["traffic"]["histogram"]["weights"] == report["histogram"]["counts"]
    bucket = workload.traffic.buckets()[0]
    cell = report["histogram"]["mean_tokens"][0]
    assert bucket.planned_input_tokens == max(25, -(-round(cell["mean_input_tokens"], 1) // 1))
    assert bucket.planned_input_tokens <= bucket.input_tokens


def test_the_answer_is_on_stdout_and_the_report_on_stderr(run: Run, azure: Path, tmp_path: Path) -> None:
    found = run(azure)
    assert yaml.safe_load(found.stdout)["version"] == 1
    assert "Planned for" in found.stderr
    path = tmp_path / "w.yaml"
    written = run(azure, "-o", path)
    assert path.read_text() == found.stdout
    assert written.stdout == found.stderr.split("Warning:")[0]
    assert written.stderr.startswith(f"Wrote {path}. Next:\n  sky-melange plan {path}")


def test_the_same_log_gives_the_same_bytes(run: Run, azure: Path, tmp_path: Path) -> None:
    compressed = tmp_path / "azure-conversation.csv"
    compressed.write_bytes(gzip.compress(azure.read_bytes()))
    assert run(azure).stdout == run(compressed).stdout == run(azure).stdout
    assert run(azure, "--format", "json").stdout == run(compressed, "--format", "json").stdout


def test_json_needs_no_rate(run: Run, extracts: Path) -> None:
    found = run(extracts / "vidur-arxiv.csv", "--format", "json")
    assert found.exit_code == 0
    assert json.loads(found.stdout)["rate"] is None


def test_a_log_without_times_wants_a_rate(run: Run, extracts: Path, tmp_path: Path) -> None:
    path = extracts / "vidur-arxiv.csv"
    refused = run(path, "-o", tmp_path / "w.yaml")
    assert refused.exit_code == 2
    assert "has no times, so no rate; give the request rate" in refused.stderr
    assert not (tmp_path / "w.yaml").exists()
    assert run(path, "-o", tmp_path / "w.yaml", "--request-rate", 3).exit_code == 0
    assert read_workload(tmp_path / "w.yaml").traffic.request_rate_rps == pytest.approx(3)


def test_a_rate_of_zero_is_no_rate(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "a.csv"
    log.write_text("ContextTokens,GeneratedTokens,TIMESTAMP\n5,5,2025-01-01 00:00:00\n5,5,2025-02-01 00:00:00\n")
    found = run(log)
    assert found.exit_code == 2
    assert "100.00% of all windows of 60 s have no request, so percentile 99 of the rate is 0" in found.stderr


def test_rejected_rows_are_in_every_output(run: Run, extracts: Path, tmp_path: Path) -> None:
    path, page = tmp_path / "w.yaml", tmp_path / "r.html"
    found = run(extracts / "litellm.jsonl", "-o", path, "--report", page, "--window", 1)
    assert found.exit_code == 0
    assert "1 × output_zero: 0 output tokens: a failed request" in found.stdout
    assert "Warning: 1 of 4 rows are not counted: 0 output tokens: a failed request (output_zero)." in found.stderr
    assert "# 1 of 4 rows are not counted" in path.read_text()
    assert "<code>output_zero</code>" in page.read_text()


class _Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells = 0
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.cells += tag == "td"
        self.bars += tag == "rect"
        assert tag != "script"
        assert not [name for name, _ in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escapes_names(run: Run, azure: Path, tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>.csv"
    evil.write_bytes(azure.read_bytes())
    page = tmp_path / "r.html"
    assert run(evil, "--report", page).exit_code == 0
    outline = _Outline()
    outline.feed(page.read_text())
    outline.close()
    assert outline.open == []
    assert outline.cells == 10 * 6 + 7 * 24
    assert outline.bars == 3
    assert "<img" not in page.read_text()


def test_wide_grids_are_left_to_the_page(run: Run, azure: Path) -> None:
    assert "too wide for a terminal; --report FILE.html" in run(azure, "--buckets", "auto:400").stderr


def test_markup_in_names_is_no_markup(run: Run, azure: Path, tmp_path: Path) -> None:
    path = tmp_path / "[bold red]x.csv"
    path.write_bytes(azure.read_bytes())
    found = run(path)
    assert found.stderr.startswith("[bold red]x.csv: 400 requests")
    assert yaml.safe_load(found.stdout)["traffic"]["histogram"]["source"].startswith("[bold red]x.csv (")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the files of a log, or --connect and --table"),
        (["a.csv", "--table", "x"], "give either files or --connect and --table"),
        (["--table", "x"], "--connect and --table go together"),
        (["--connect", "duckdb://"], "--connect and --table go together"),
        (["a.csv", "--columns", "input=a"], "--columns: want input=NAME,output=NAME,time=NAME"),
        (["a.csv", "--columns", "input=a,output=b,input=c"], "--columns: want"),
        (["a.csv", "--columns", "input=a,output=b,when=c"], "--columns: want"),
        (["a.csv", "--columns", "input=,output=b"], "--columns: want"),
        (["a.csv", "--window", "0", "--percentile", "101", "--buckets", "x"], "window: must be 1 to 604800 seconds"),
        (["a.csv", "--window", "0", "--percentile", "101", "--buckets", "x"], "percentile: must be above 0"),
        (["a.csv", "--window", "0", "--percentile", "nan", "--buckets", "x"], "--buckets: want melange"),
        (["a.csv", "--percentile", "nan"], "percentile: must be above 0"),
        (["none.csv"], "none.csv: there is no such file"),
        (["none.csv", "-o", "no/such/folder/w.yaml"], "no/such/folder/w.yaml: cannot be written"),
        (["none.csv", "--report", "."], ".: cannot be written"),
        (
            ["a.csv", "--since", "2026-05-01", "--until", "yesterday"],
            "--until: want a date and time such as 2026-05-01T09",
        ),
        (["a.csv", "--since", "20", "--until", "20"], "--until: must be later than --since"),
        (["a.csv", "--split-by", "model"], "--split-by: writes a workload for each model: give the folder with -o"),
        (["--connect", "nonsense://x", "--table", "t"], "nonsense"),
        (["--connect", "mysql://x", "--table", "t"], "pip install 'ibis-framework[mysql]'"),
    ],
)
def test_wrong_options_are_exit_2(run: Run, arguments: list[str], words: str) -> None:
    found = run(*arguments)
    assert found.exit_code == 2
    assert words in found.stderr
    assert found.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--name", "Big Chat", "options: name: must be lower-case letters"),
        ("--name", "a\nb: c", "options: name: "),
        ("--model", "../x y", "options: model.id: must be a Hugging Face model id"),
        ("--model", 'x", dtype: fp8}', "options: model.id: must be a Hugging Face model id"),
        ("--dtype", "fp99", "options: model.dtype: must be one of auto, any, bfloat16"),
        ("--tpot-ms", "-1", "options: slo.tpot_ms: must be greater than 0"),
        ("--ttft-ms", "nan", "options: slo.ttft_ms: "),
        ("--request-rate", "0", "options: traffic.request_rate: must be at least 1e-06"),
        ("--request-rate", "inf", "options: traffic.request_rate: "),
    ],
)
def test_what_would_spoil_the_workload_is_refused(
    run: Run, azure: Path, tmp_path: Path, option: str, value: str, words: str
) -> None:
    path = tmp_path / "w.yaml"
    found = run(azure, "-o", path, option, value)
    assert found.exit_code == 2
    assert words in found.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_workload_that_you_changed_is_not_replaced(run: Run, azure: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    assert run(azure, "-o", path).exit_code == 0
    assert run(azure, "-o", path).exit_code == 0, "the same text is no loss"
    path.write_text(path.read_text().replace("tpot_ms: 40", "tpot_ms: 20"))
    refused = run(azure, "-o", path)
    assert refused.exit_code == 2
    assert "is there already and says something else; --force replaces it" in refused.stderr
    assert "tpot_ms: 20" in path.read_text()
    assert run(azure, "-o", path, "--force").exit_code == 0
    assert "tpot_ms: 40" in path.read_text()


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_a_pipe_is_neither_read_nor_replaced(run: Run, azure: Path, tmp_path: Path, option: str) -> None:
    """Nor is a device: /dev/zero would be read without end, and root would replace /dev/null by a workload."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused = run(azure, option, pipe)
    assert refused.exit_code == 2
    assert "it is a device or a pipe, not a file; nothing was changed" in refused.stderr
    assert pipe.is_fifo()


def test_a_huge_file_in_the_way_is_not_read(run: Run, azure: Path, tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    refused = run(azure, "-o", path)
    assert refused.exit_code == 2
    assert "is there already and says something else" in refused.stderr


def test_a_table_of_a_database_file(run: Run, azure: Path, tmp_path: Path) -> None:
    """--connect with the one database that needs no server."""
    import duckdb

    with duckdb.connect(str(tmp_path / "logs.duckdb")) as connection:
        connection.execute(f"CREATE TABLE requests AS SELECT * FROM read_csv('{azure}', all_varchar = true)")
    url = f"duckdb://{tmp_path}/logs.duckdb"
    found = json.loads(run("--connect", url, "--table", "requests", "--format", "json").stdout)
    wanted = json.loads(run(azure, "--format", "json").stdout)
    assert found["source"] == "table requests"
    assert {**found, "source": ""} == {**wanted, "source": ""}
    missing = run("--connect", url, "--table", "absent")
    assert missing.exit_code == 2
    assert "absent" in missing.stderr


def test_given_columns(run: Run, azure: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(azure.read_bytes().replace(b"TIMESTAMP,ContextTokens,GeneratedTokens", b"when,asked,said", 1))
    found = run(path, "--columns", "input=asked,output=said,time=when", "--format", "json")
    counts = json.loads(run(azure, "--format", "json").stdout)["histogram"]["counts"]
    assert json.loads(found.stdout)["histogram"]["counts"] == counts


def test_help_stays_quick_and_imports_no_engine() -> None:
    code = (
        "import sys; sys.argv = ['sky-melange', 'workload', 'from-trace', '--help']\n"
        "from sky_melange.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('ibis', 'duckdb', 'pyarrow', 'pandas', 'numpy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--buckets" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_estimates_are_fitted_to_a_log_with_bytes(tmp_path: Path, run: Run) -> None:
    """4.5 bytes a token and 300 of JSON, ±10 %; two thirds of the requests lie in the last quarter of their bucket."""
    import random

    import yaml

    draw = random.Random(5)  # noqa: S311 - repeatable numbers
    lines = ["prompt,answer,body"]
    for number in range(3000):
        tokens = draw.randint(876, 1000) if number % 3 else draw.randint(501, 875)
        tokens = tokens if number % 5 else draw.randint(30, 90)
        lines.append(f"{tokens},50,{300 + round(tokens * 4.5 * draw.uniform(0.9, 1.1))}")
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = "input=prompt,output=answer,bytes=body"
    arguments = (tmp_path / "log.csv", "--request-rate", "5", "--columns")
    made = run(*arguments, columns, "-o", tmp_path / "w.yaml")
    assert made.exit_code == 0, made.stderr
    written = yaml.safe_load((tmp_path / "w.yaml").read_text(encoding="utf-8"))
    router, histogram = written["router"], written["traffic"]["histogram"]
    assert router["bytes_per_token"] == pytest.approx(4.5, rel=0.02)
    assert router["envelope_bytes"] == pytest.approx(300, abs=15)
    assert router["size_error"] == pytest.approx(0.1, abs=0.02)
    assert router["size_bias"] == 0.05
    row = histogram["input_parts"][histogram["input_tokens"].index(1000)]
    assert sum(row[12:]) / sum(row) == pytest.approx(2 / 3, abs=0.03)
    wrong = run(*arguments, "input=prompt,output=answer,bytes=answer")
    assert wrong.exit_code == 2
    assert "bytes a token" in wrong.stderr


def test_stdin_and_folders_are_logs_like_any_other(
    run: Run, azure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = json.loads(run(azure, "--format", "json").stdout)
    zipped = gzip.compress(azure.read_bytes())
    found = CliRunner(mix_stderr=False).invoke(cli, ["workload", "from-trace", "-", "--format", "json"], input=zipped)
    assert json.loads(found.stdout) == wanted | {"source": "stdin"}
    empty = CliRunner(mix_stderr=False).invoke(cli, ["workload", "from-trace", "-"], input=b"")
    assert (empty.exit_code, empty.stdout) == (2, "")
    assert "stdin: is empty" in empty.stderr
    lines = azure.read_text().splitlines(keepends=True)
    (tmp_path / "logs" / "day-2").mkdir(parents=True)
    (tmp_path / "logs" / ".index").write_text("not a log")
    (tmp_path / "logs" / "1.csv").write_text("".join(lines[:200]))
    (tmp_path / "logs" / "day-2" / "2.csv").write_text(lines[0] + "".join(lines[200:]))
    found = run(tmp_path / "logs", "--format", "json")
    assert json.loads(found.stdout) == wanted | {"source": "1.csv, 2.csv"}


@pytest.mark.parametrize("kind", ["text", "typed"])
def test_a_period_of_a_log(run: Run, azure: Path, tmp_path: Path, kind: str) -> None:
    """Rows outside it are counted by name; the first second is in it, the last is not."""
    rows = [line.split(",") for line in azure.read_text().splitlines()[1:]]
    seconds = [row[0].partition(".")[0] for row in rows]
    since, until = seconds[100], seconds[300]
    inside = [row for row, second in zip(rows, seconds, strict=True) if since <= second < until]
    path = azure
    if kind == "typed":
        path = tmp_path / "log.parquet"
        duckdb.sql(f"COPY (FROM read_csv('{azure}')) TO '{path}'")
    found = json.loads(run(path, "--since", since, "--until", f"{until}+00:00", "--format", "json").stdout)
    assert found["requests"] == len(inside)
    assert found["rejected"] == {"outside_period": 400 - len(inside)}
    tokens = [cell["mean_input_tokens"] for cell in found["histogram"]["mean_tokens"]]
    assert min(tokens) >= min(int(row[1]) for row in inside)
    outside = run(path, "--since", "2040-01-01")
    assert outside.exit_code == 2
    assert "holds no valid request (400 rows: before --since, or not before --until (outside_period))" in outside.stderr


def test_a_workload_for_each_model(run: Run, extracts: Path, tmp_path: Path) -> None:
    log = extracts / "gateways" / "litellm-mixed.csv"
    found = run(log, "--split-by", "model", "-o", tmp_path / "models")
    assert found.exit_code == 0, found.stderr
    names = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert names == ["gpt-5-6.yaml", "llama-3-1-8b-instruct.yaml"]
    workload = read_workload(tmp_path / "models" / names[1])
    text = (tmp_path / "models" / names[1]).read_text()
    assert "from litellm-mixed.csv where \"model\" = 'hosted_vllm/meta-llama/Llama-3.1-8B-Instruct'.\n" in text
    assert workload.model.id == "meta-llama/Llama-3.1-8B-Instruct"
    alone = json.loads(run(log, "--where", f"model = 'hosted_vllm/{workload.model.id}'", "--format", "json").stdout)
    assert workload.traffic.request_rate_rps == alone["rate"]["planned_rps"]
    assert f"{alone['requests']} requests of hosted_vllm/meta-llama/Llama-3.1-8B-Instruct" in found.stdout
    unnamed = run(extracts / "azure-conversation.csv", "--split-by", "model", "-o", tmp_path / "none")
    assert unnamed.exit_code == 2
    assert "no column is known to name the model: --model-column" in unnamed.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["../../etc/evil", "..", "a/../b", "", "a b", "x\n#", "/abs"])
def test_rows_that_split_by_leaves_out_are_said(run: Run, tmp_path: Path, name: str) -> None:
    """Those without a model, and those of what is no name of one."""
    rows = [(at, ("llama", None, name)[at % 3]) for at in range(600)]
    objects = [
        {"request_id": f"i{at}", "startTime": f"2026-05-01T09:{at // 60:02d}:{at % 60:02d}Z", "model": model}
        | {"prompt_tokens": 100, "completion_tokens": 50}
        for at, model in rows
    ]
    log = tmp_path / "a.jsonl"
    log.write_text("".join(json.dumps(each) + "\n" for each in objects))
    found = run(log, "--split-by", "model", "-o", tmp_path / "models")
    assert found.exit_code == 0, found.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["llama.yaml"]
    assert "200 requests name no model and are in no workload" in found.stderr
    assert '"model" IS NULL' in found.stderr
    assert "which is not a model id" in found.stderr


def _two_days(path: Path) -> Path:
    """More requests in the afternoon than in the morning, of one size."""
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens\n"]
    for minute in range(48 * 60 + 1):
        day, hour = divmod(minute // 60, 24)
        rows += [f"2026-06-0{day + 1} {hour:02d}:{minute % 60:02d}:00,90,9\n"] * (1 if hour < 12 else hour)
    path.write_text("".join(rows))
    return path


def test_hours_are_written_and_read_as_they_are_counted(run: Run, tmp_path: Path) -> None:
    log, path = _two_days(tmp_path / "log.csv"), tmp_path / "w.yaml"
    found = run(log, "--hours", "day", "--time-zone", "Asia/Tokyo", "-o", path, "--report", tmp_path / "page.html")
    assert found.exit_code == 0
    flowing = " ".join(found.stdout.split())
    assert (
        "To plan for, requests/s by Asia/Tokyo (log.csv: p99 of its 60 s windows within each hour of the day, over 2 "
        "days): 0.3833 at 08:00, 0.01667 at 09:00" in flowing
    )
    assert "Over the whole log 0.3833 requests/s" in flowing
    assert "To plan for, requests/s by Asia/Tokyo" in (tmp_path / "page.html").read_text()
    assert "Warning: Its times name no time zone: they are taken as UTC, and counted by Asia/Tokyo." in found.stderr
    written = read_workload(path).traffic
    assert written.hours is not None
    assert "request_rate:" not in path.read_text()
    other = tmp_path / "other.yaml"
    text = path.read_text()
    kept = text[: text.index("traffic:")]
    other.write_text(f"{kept}traffic: {{trace: log.csv, hours: {{counted: day, time_zone: Asia/Tokyo}}}}\n")
    direct = pipeline.read(other).traffic
    assert direct.hours is not None
    assert written.hours.rates_rps == pytest.approx(direct.hours.rates_rps, rel=1e-5)
    assert written.hours.time_zone == direct.hours.time_zone == "Asia/Tokyo"


def test_a_given_rate_is_that_of_the_busiest_hour(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    assert run(_two_days(tmp_path / "log.csv"), "--hours", "day", "--request-rate", 230, "-o", path).exit_code == 0
    hours = read_workload(path).traffic.hours
    assert hours is not None
    assert hours.rates_rps == pytest.approx([10.0] * 12 + [10.0 * hour for hour in range(12, 24)])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--hours", "week"], "log.csv: says nothing of 120 hours of the week: Wednesday 00:00 to 24:00, Thursday"),
        (["--hours", "day", "--time-zone", "Tokyo"], "--time-zone: is not a time zone; did you mean 'Asia/Tokyo'?"),
        (["--time-zone", "Asia/Tokyo"], "--time-zone: only valid together with --hours"),
        (["--hours", "day", "--window", "7200"], "windows of 7200 s do not fit into an hour"),
    ],
)
def test_hours_that_cannot_be_counted_are_exit_2(run: Run, tmp_path: Path, options: list[str], wanted: str) -> None:
    path = tmp_path / "w.yaml"
    # An hour of which the log has a second is not covered.
    found = run(_two_days(tmp_path / "log.csv"), *options, "-o", path)
    assert found.exit_code == 2
    assert wanted in " ".join(found.stderr.split())
    assert not path.exists()
