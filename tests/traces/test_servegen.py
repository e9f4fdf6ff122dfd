"""ServeGen's clients: rates and distributions, against sums written out by hand."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.cli import cli
from sky_melange.domain.trace import TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import scan_files
from sky_melange.traces.aggregates import servegen

TRACE = "0,2.0,0.8,Gamma,2.0,300\n600,1.0,1.2,Weibull,0.9,3\n1200,0.5,0,,,\n"
SIZES = {
    "0": {"input_tokens": "{10: 0.25, 300: 0.75}", "output_tokens": "{20: 0.5, 90: 0.5}"},
    "1200": {"input_tokens": "{5: 1.0}", "output_tokens": "{40: 1.0}", "reason_ratio": "{0.5: 1.0}"},
}
OPTIONS = TraceOptions(buckets="100,1000x50,100")


def _write(folder: Path, name: str, *, trace: str | None = TRACE, sizes: object = SIZES) -> list[str]:
    paths = []
    for ending, text in (("trace.csv", trace), ("dataset.json", None if sizes is None else json.dumps(sizes))):
        if text is not None:
            path = folder / f"chunk-{name}-{ending}"
            path.write_text(text)
            paths.append(str(path))
    return paths


def test_requests_are_rates_times_probabilities(tmp_path: Path) -> None:
    summary = scan_files(_write(tmp_path, "7"), OPTIONS)
    assert summary.columns.layout == servegen.NAME
    # 1,800 requests of the first law, 300 of the second.
    assert summary.counts() == ((525, 225), (675, 675))
    (small, *_) = summary.cells
    assert (small.input_tokens, small.output_tokens) == (225 * 10 + 300 * 5, 225 * 20 + 300 * 40)
    assert summary.rate is not None
    assert (summary.rate.peak_rps, summary.rate.mean_rps) == (2.0, pytest.approx(2100 / 1800))
    assert summary.rate.burstiness == ()
    assert "not requests" in summary.notes[0]


def test_files_may_be_compressed_and_lie_in_a_folder(tmp_path: Path) -> None:
    for path in map(Path, _write(tmp_path, "1")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found = CliRunner().invoke(cli, ["workload", "from-trace", str(tmp_path), "--buckets", "100,1000x50,100"])
    assert found.exit_code == 0, found.output
    assert "weights" in found.stdout


def test_requests_without_sizes_count_in_the_rate_and_are_named(tmp_path: Path) -> None:
    summary = scan_files([*_write(tmp_path, "1"), *_write(tmp_path, "2", sizes=None)], OPTIONS)
    assert summary.requests == 2100
    assert summary.rate is not None
    assert summary.rate.peak_rps == 4.0
    assert any("50.0%" in note for note in summary.notes)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(
            st.lists(st.integers(0, 40), min_size=1, max_size=4),
            st.dictionaries(st.integers(1, 3000), st.integers(1, 9), min_size=1, max_size=5),
            st.dictionaries(st.integers(1, 3000), st.integers(1, 9), min_size=1, max_size=5),
        ),
        min_size=1,
    ).filter(lambda clients: any(any(rates) for rates, _, _ in clients.values()))
)
def test_every_cell_is_the_sum_over_clients(
    clients: dict[str, tuple[list[int], dict[int, int], dict[int, int]]],
) -> None:
    documents, wanted = {}, Counter[tuple[int, int]]()
    for name, (rates, inputs, outputs) in clients.items():
        documents[f"chunk-{name}-trace.csv"] = "".join(f"{600 * k},{r},1,Gamma,1,1\n" for k, r in enumerate(rates))
        laws = {"input_tokens": str(inputs), "output_tokens": str(outputs)}
        documents[f"chunk-{name}-dataset.json"] = json.dumps({"0": laws})
        whole = sum(inputs.values()) * sum(outputs.values())
        for i, a in inputs.items():
            for o, b in outputs.items():
                wanted[i > 100, o > 50] += 600 * sum(rates) * a * b / whole  # type: ignore[assignment]
    counts = servegen.summarize(documents, TraceOptions(buckets="100,3000x50,3000")).counts()
    for (i, j), requests in wanted.items():
        assert counts[i][j] == pytest.approx(requests, abs=0.5 + 1e-6)


@pytest.mark.parametrize(
    ("trace", "sizes", "wanted"),
    [
        (None, SIZES, "says what sizes requests have, and not how many"),
        (TRACE, None, "says how many requests there are, and not their sizes"),
        (TRACE + "zz,1,1,Gamma,1,1\n", SIZES, "chunk-1-trace.csv:4: want start in whole seconds"),
        (TRACE + "1800,nan,1,Gamma,1,1\n", SIZES, "chunk-1-trace.csv:4"),
        (TRACE + "1800,1e300,1,Gamma,1,1\n", SIZES, "chunk-1-trace.csv:4"),
        (TRACE + "0,2.0,0.8,Gamma,2.0,300\n", SIZES, "chunk-1-trace.csv:4: has the window from 0 s twice"),
        (TRACE, {"0": {"input_tokens": "{5: 1.0}"}}, "lacks the key 'output_tokens'"),
        (TRACE, {"0": {"input_tokens": "{-5: 1.0}", "output_tokens": "{5: 1}"}}, "has a size that is not from 0"),
        (TRACE, {"0": {"input_tokens": "{5: nan}", "output_tokens": "{5: 1}"}}, "has a probability that is none"),
        (TRACE, {"0": {"input_tokens": "{5: {7: 1}}", "output_tokens": "{5: 1}"}}, "chunk-1-dataset.json"),
        (TRACE, {"0": {"input_tokens": "{}", "output_tokens": "{}"}}, "no requests with sizes in any window"),
        (TRACE, ["input_tokens", {"input_tokens": "{5: 1}"}], "chunk-1-dataset.json"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, trace: str | None, sizes: object, wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        scan_files(_write(tmp_path, "1", trace=trace, sizes=sizes), OPTIONS)
    assert wanted in str(caught.value)


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(TRACE)
    with pytest.raises(InputError, match="its files are paired by their names"):
        scan_files([str(path)], OPTIONS)
