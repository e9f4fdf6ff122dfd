"""From the published table to bundled profiles: what is read, left out, named an outlier, and that it is repeatable."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from sky_melange.domain.profile import LatencyModelForm
from sky_melange.profiles.profile_json import read_profile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from profile_fit.accuracy import Prediction, fitted, largest_rate, outliers, rate_errors  # noqa: E402
from profile_fit.bundle import error, profile  # noqa: E402
from profile_fit.neighbours import NEIGHBOURS_WEIGHT, Neighbourhood, similarity  # noqa: E402
from profile_fit.outcomes import examine, examine_all, main_setup, quantile  # noqa: E402
from profile_fit.runs import Layout, Table, read_table  # noqa: E402
from profile_fit.serving_runs import Run  # noqa: E402

EXTRACT = ROOT / "tests" / "data" / "profile_fit" / "runs.csv"
WHOLE = ROOT.parent / "shared" / "data" / "profiles" / "aiconfigurator" / "measured-serving-runs.csv.gz"
MEMORY_GIB = {"H100": 80.0, "H200": 141.0, "GB200": 185.0, "B200": 180.0, "B300": 270.0}


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table([EXTRACT])


def layout_of(table: Table, model: str, accelerator: str, sharing: str = "") -> Layout:
    (found,) = [
        layout
        for layout in table.runs
        if layout.model.endswith(model) and layout.accelerator == accelerator and layout.sharing == sharing
    ]
    return found


def test_every_row_is_a_run_or_left_out_for_a_reason(table: Table) -> None:
    assert sum(map(len, table.runs.values())) + sum(table.left_out.values()) == table.rows
    assert set(table.left_out) == {
        "disaggregated prefill and decode: not one engine",
        "repeats a configuration: the newest is kept",
        "more than 8 GPUs: not one machine",
        "several engines behind one address: not one engine",
    }


def test_multiplied_parallel_sizes_are_one_layout_of_eight_gpus(table: Table) -> None:
    layout = layout_of(table, "DeepSeek-R1", "H200", "ep")
    assert layout.gpus == 8
    with EXTRACT.open(newline="") as stream:
        sizes = {row["id"]: row["tp_size"] for row in csv.DictReader(stream)}
    assert {sizes[run.name] for run in table.runs[layout]} >= {"8", "64"}


def read_rows(folder: Path, *rows: dict[str, str]) -> Table:
    """A table of rows of the extract's first, each with other columns."""
    with EXTRACT.open(newline="") as stream:
        first = next(row for row in csv.DictReader(stream) if row["mode"] == "agg")
    with (folder / "runs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, first.keys())
        writer.writeheader()
        writer.writerows(first | row for row in rows)
    return read_table([folder / "runs.csv"])


@pytest.mark.parametrize(
    ("model", "experts", "batch", "expected"),
    [
        ("openai/gpt-oss-120b", "1", "80", ""),
        ("openai/gpt-oss-120b", "1", "20", "dp"),
        ("openai/gpt-oss-120b", "4", "20", "dp-ep"),
        ("openai/gpt-oss-120b", "4", "80", "ep"),
        ("Qwen/Qwen3-32B", "1", "80", ""),
        ("Qwen/Qwen3-32B", "1", "20", None),
    ],
)
def test_a_concurrency_of_several_batches_is_of_ranks_or_of_engines(
    tmp_path: Path, model: str, experts: str, batch: str, expected: str | None
) -> None:
    sizes = {"tp_size": "4", "pp_size": "1", "attention_dp_size": "", "moe_tp_size": "1", "moe_ep_size": experts}
    source = {"id": "x", "silicon_data_source": "source_file=x.csv; silicon_concurrency=80; measured=2026-01-01"}
    table = read_rows(tmp_path, {**sizes, **source, "model_path": model, "batch_size": batch})
    if expected is None:
        assert table.left_out == {"several engines behind one address: not one engine": 1}
        return
    ((layout, (run,)),) = table.runs.items()
    assert (layout.gpus, layout.sharing, run.concurrency) == (4, expected, 80)


def test_each_configuration_is_there_once_with_its_newest_date(table: Table) -> None:
    for runs in table.runs.values():
        shapes = [(run.input_tokens, run.output_tokens, run.concurrency) for run in runs]
        assert len(shapes) == len(set(shapes))


def test_of_two_runs_on_one_day_the_slower_is_kept_and_the_conflict_told(table: Table) -> None:
    layout, name, date, tpot_s, other_s = next(item for item in table.conflicts if item[0].engine == "sglang")
    assert (layout.model, date) == ("deepseek-ai/DeepSeek-R1", "2026-03-25")
    kept = {run.tpot_s for run in table.runs[layout]}
    assert max(tpot_s, other_s) in kept
    assert min(tpot_s, other_s) not in kept
    assert name


def test_a_run_that_contradicts_the_others_is_named(table: Table) -> None:
    layout = layout_of(table, "gpt-oss-120b", "H100")
    runs = table.runs[layout]
    found = outliers(runs, fitted(layout, runs, MEMORY_GIB["H100"]))
    assert [run.name for run, _ in found] == ["2026_04_06_gpt_oss_120b_h100_sxm_vllm_fp4_agg_1024x1024_c32_tp4_ep1_334"]
    assert found[0][1] > 1.35


def test_what_no_law_fits_is_refused_and_what_nobody_offers_is_not_bundled(table: Table) -> None:
    good = layout_of(table, "gpt-oss-120b", "H200")
    around = Neighbourhood(table.runs, MEMORY_GIB)
    senseless = [dataclasses.replace(run, tpot_s=0.001 * 7 ** (n % 3)) for n, run in enumerate(table.runs[good])]
    outcome = examine(good, senseless, around)
    assert outcome.refused
    assert "cross-validated median TPOT error" in outcome.reason
    assert "over 15%" in outcome.reason
    elsewhere = Layout(model=good.model, accelerator="GB200", engine=good.engine, dtype=good.dtype, gpus=1, sharing="")
    assert "no cloud" in examine(elsewhere, table.runs[good], around).reason
    assert examine(good, table.runs[good][:1], around).reason == "1 run: nothing to check a fit with"


def test_a_good_layout_is_cross_validated_with_every_run_counted(table: Table) -> None:
    layout = layout_of(table, "gpt-oss-120b", "H200")
    outcome = examine(layout, table.runs[layout], Neighbourhood(table.runs, MEMORY_GIB))
    assert (outcome.reason, outcome.refused) == ("", False)
    assert outcome.error is not None
    assert outcome.error < 0.05
    assert [p.run.name for p in outcome.predictions] == [run.name for run in table.runs[layout]]


def test_the_nearest_layouts_lend_and_the_far_ones_do_not(table: Table) -> None:
    def layout(accelerator: str = "H200", gpus: int = 1, engine: str = "vllm", model: str = "m") -> Layout:
        return Layout(model=model, accelerator=accelerator, engine=engine, dtype="fp4", gpus=gpus, sharing="")

    own = layout()
    assert [similarity(own, other) for other in (own, layout(gpus=4), layout("B200"), layout("B200", 2, "sglang"))] == [
        1.0, 0.25, 0.5, 0.125,
    ]  # fmt: skip
    runs = table.runs[layout_of(table, "gpt-oss-120b", "H200")]
    others = {layout(gpus=4): runs, layout(gpus=2): runs[:2], layout("B200"): runs, layout(model="n"): runs}
    around = Neighbourhood({own: runs, **others}, MEMORY_GIB)
    assert around.names(own) == [layout("B200"), layout(gpus=2)]
    assert [lent.weight for lent in around.of(own)] == pytest.approx([NEIGHBOURS_WEIGHT * 2 / 3, NEIGHBOURS_WEIGHT / 3])
    assert Neighbourhood({own: runs}, MEMORY_GIB).of(own) == ()


def test_no_prediction_depends_on_the_run_that_it_is_of(table: Table) -> None:
    """Ten times the latencies of one run change every prediction but its own, though its layout has neighbours."""
    layout = layout_of(table, "gpt-oss-120b", "H200")
    runs = table.runs[layout][:5]
    wrong = dataclasses.replace(runs[2], ttft_s=runs[2].ttft_s * 10, tpot_s=runs[2].tpot_s * 10)
    lenders = {other: found for other, found in table.runs.items() if other.model == layout.model}
    found = []
    for own in (runs, [*runs[:2], wrong, *runs[3:]]):
        outcome = examine(layout, own, Neighbourhood({**lenders, layout: own}, MEMORY_GIB))
        assert outcome.neighbours
        found.append([(p.ttft_s, p.tpot_s) for p in outcome.predictions])
    assert found[0][2] == found[1][2]
    assert all(before != after for number, (before, after) in enumerate(zip(*found, strict=True)) if number != 2)


def test_a_profile_of_few_runs_says_so_and_states_its_largest_error(table: Table) -> None:
    layout = layout_of(table, "gpt-oss-120b", "H200")
    runs = table.runs[layout][:3]
    outcome = examine(layout, runs, Neighbourhood({**table.runs, layout: runs}, MEMORY_GIB))
    stated = error(outcome)
    assert stated.tpot_fraction == pytest.approx(max(p.tpot_fraction for p in outcome.predictions), rel=1e-5)
    assert "largest" in stated.statistic
    assert (stated.runs, "from runs of" in stated.basis) == (3, True)
    dates = {run.name: "2026-01-01" for run in runs}
    found = profile(outcome, MEMORY_GIB["H200"], dates, "2026-01-01")
    assert found.provenance.notes[0].startswith(
        "Scaled from its neighbours' laws rather than fitted: 3 runs of its own"
    )
    assert isinstance(found.form, LatencyModelForm)
    assert found.form.ranges.concurrency == (min(r.concurrency for r in runs), max(r.concurrency for r in runs))
    assert found.form.ranges.input_tokens == (min(r.input_tokens for r in runs), max(r.input_tokens for r in runs))


def test_the_profile_describes_the_most_frequent_version() -> None:
    def run(name: str, setup: str) -> Run:
        return Run(name=name, setup=setup, input_tokens=1, output_tokens=2, concurrency=1, ttft_s=1, tpot_s=1)

    runs = [run("a", "1"), run("b", "1"), run("c", "2"), run("d", "2"), run("e", "3")]
    dates = {"a": "2026-01-01", "b": "2026-01-01", "c": "2026-02-01", "d": "2025-01-01", "e": "2026-03-01"}
    assert main_setup(runs, dates) == "2"


def test_rates_at_a_target_interpolate_and_stop_where_it_breaks() -> None:
    curve = [(1.0, 0.1, 0.010), (2.0, 0.1, 0.020), (4.0, 0.1, 0.040), (8.0, 0.1, 0.030)]
    assert largest_rate(curve, 101, 0.030) == pytest.approx(3 / (0.1 + 0.030 * 100))
    assert largest_rate(curve, 101, 0.005) == 0
    assert largest_rate(curve[:2], 101, 1) == pytest.approx(2 / (0.1 + 0.020 * 100))


def test_rate_errors_compare_shape_by_shape() -> None:
    runs = [
        Run(name=str(n), setup="1", input_tokens=10, output_tokens=101, concurrency=n, ttft_s=0.1, tpot_s=0.01 * n)
        for n in (1, 2)
    ]
    same = [Prediction(run=run, ttft_s=run.ttft_s, tpot_s=run.tpot_s) for run in runs]
    assert [error.fraction for error in rate_errors(same)] == [0.0, 0.0, 0.0]
    slow = [Prediction(run=run, ttft_s=run.ttft_s, tpot_s=run.tpot_s * 2) for run in runs]
    assert all(error.fraction > 0.3 for error in rate_errors(slow))


def test_quantiles_are_linear_between_values() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.9) == pytest.approx(1.9)
    assert quantile([1.0], 0.9) == 1.0


def run_script(name: str, *arguments: object, seed: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "scripts" / name, *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env={"PYTHONHASHSEED": seed}
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_the_script_writes_the_same_bytes_twice_and_readable_profiles(tmp_path: Path) -> None:
    for number in ("1", "2"):
        done = run_script("fit_profiles.py", EXTRACT, "--output", tmp_path / number, seed=number)
        assert done.returncode == 0, done.stderr
    first, second = content(tmp_path / "1"), content(tmp_path / "2")
    assert first == second
    assert {"index_fitted.csv", "fitted_skipped.csv", "fitted_outliers.csv"} <= set(first)
    profile = read_profile(tmp_path / "1" / "gpt-oss-120b" / "H200-tp1-fp4-vllm-fitted.json")
    assert isinstance(profile.form, LatencyModelForm)
    assert profile.provenance.kind == "fitted"


@pytest.mark.slow
def test_files_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    old = tmp_path / "some-model" / "H100-tp1-fp8-vllm-fitted.json"
    kept = tmp_path / "some-model" / "H100-tp1-fp8-vllm.json"
    old.parent.mkdir()
    old.write_text("{}")
    kept.write_text("{}")
    assert run_script("fit_profiles.py", EXTRACT, "--output", tmp_path).returncode == 0
    assert (old.exists(), kept.exists()) == (False, True)


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE.exists(), reason="the whole table of measured runs is not beside this repository")
def test_the_bundled_fits_are_those_of_the_whole_table(tmp_path: Path) -> None:
    done = run_script("fit_profiles.py", WHOLE, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    folder = ROOT / "catalogs" / "profiles"
    for name, expected in content(tmp_path).items():
        assert (folder / name).read_bytes() == expected, f"{name}: run scripts/fit_profiles.py"


@pytest.mark.slow
@pytest.mark.skipif(not WHOLE.exists(), reason="the whole table of measured runs is not beside this repository")
def test_the_targets_hold_on_the_whole_table() -> None:
    table = read_table([WHOLE])
    with (ROOT / "catalogs" / "gpus.csv").open(newline="") as stream:
        memory = {row["accelerator"]: float(row["memory_gib"]) for row in csv.DictReader(stream)}
    outcomes = examine_all(table.runs, memory)
    errors = [p.tpot_fraction for o in outcomes if o.predictions and not o.refused for p in o.predictions]
    without = sum(len(o.runs) for o in outcomes if o.refused or not o.predictions)
    assert quantile(errors, 0.5) <= 0.028
    assert sum(errors) / len(errors) <= 0.05
    assert without / sum(len(o.runs) for o in outcomes) <= 0.03
