"""`sky-melange profiles show --against … --plot …`, and profiles of a base model, as a user meets them."""

from __future__ import annotations

import json
import math
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli
from sky_melange.prices import load_snapshot

ROOT = Path(__file__).resolve().parents[2]
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
PAIR = ("profiles", "show", LLAMA_8B, "L40S", "--against", "H100")


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


class _Page(HTMLParser):
    """Cells and whatever would be fetched or run."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = 0
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.cells += tag == "td"
        if tag in ("script", "link", "img", "iframe") or any(name in ("src", "href") for name, _ in attrs):
            self.active.append(tag)


def test_requests_per_dollar_by_bucket_of_both_and_which_is_better() -> None:
    result = run(*PAIR, "--tpot-ms", "40", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["slo"]["tpot_s"] == 0.04
    alone = json.loads(run(*PAIR[:4], "--tpot-ms", "40", "--format", "json").stdout)["cells"]
    rates = {(cell["input_tokens"], cell["output_tokens"]): cell.get("request_rate_rps") for cell in alone}
    hourly = found["first"]["price"]["usd_per_hour_per_replica"]
    both = [cell for cell in found["cells"] if all("requests_per_usd" in cell[side] for side in ("first", "second"))]
    assert len(both) >= 20
    for cell in both:
        values = [cell[side]["requests_per_usd"] for side in ("first", "second")]
        assert values[0] == pytest.approx(rates[cell["input_tokens"], cell["output_tokens"]] * 3600 / hourly)
        assert cell["better"] == ("first" if values[0] > values[1] else "second")


def test_prices_are_the_least_on_demand_ones_embedded() -> None:
    found = json.loads(run(*PAIR, "--format", "json").stdout)
    offers = load_snapshot().offers
    for side, accelerator in (("first", "L40S"), ("second", "H100")):
        price = found[side]["price"]
        (offer,) = [o for o in offers if o.name == price["offer"] and o.accelerator == accelerator]
        assert not offer.use_spot
        assert price["fetched_at"]
        assert price["usd_per_hour_per_replica"] == offer.price_usd_per_hour / price["replicas_per_instance"]


def test_the_table_fits_and_names_prices_and_kinds() -> None:
    first, second = run(*PAIR), run(*PAIR)
    assert (first.exit_code, first.stdout) == (0, second.stdout)
    assert max(map(len, first.stdout.splitlines())) <= 100
    for words in (
        "A: meta-llama",
        "B: meta-llama",
        "per hour and replica",
        "Estimated; in 4 of 5 cases TPOT",
        "requests per USD",
        "×",
    ):
        assert words in first.stdout
    assert "\x1b" not in first.stdout


def test_two_layouts_of_one_accelerator() -> None:
    found = run("profiles", "show", LLAMA_8B, "H100", "--against", "H100", "--against-tensor-parallel", "2")
    assert found.exit_code == 0, found.stderr
    assert "2 × H100" in found.stdout


def test_a_pair_of_which_one_cannot_serve_a_size_says_only() -> None:
    cells = json.loads(run(*PAIR, "--tpot-ms", "12", "--format", "json").stdout)["cells"]
    alone = [cell for cell in cells if "skipped" in cell["first"] and "requests_per_usd" in cell["second"]]
    assert alone
    assert {cell["better"] for cell in alone} == {"second"}
    assert "only B" in run(*PAIR, "--tpot-ms", "12").stdout


@pytest.mark.parametrize(
    ("arguments", "panels"), [((), 3), (("--tpot-ms", "12"), 3), (("--tpot-ms", "0.01"), 3), (None, 1)]
)
def test_html_stands_alone_and_is_the_same_twice(tmp_path: Path, arguments: Any, panels: int) -> None:
    command = PAIR[:4] if arguments is None else (*PAIR, *arguments)
    texts = []
    for name in ("a.html", "b.HTML"):
        result = run(*command, "--plot", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    page = _Page()
    page.feed(texts[0].decode())
    assert page.active == []
    assert page.cells == panels * 60


def test_png_is_a_picture_and_the_same_twice(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pictures = []
    for name in ("a.png", "b.png"):
        result = run(*PAIR, "--plot", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", pictures[0][16:24])
    assert 800 <= width <= 4000
    assert 1000 <= height <= 6000


def test_png_without_matplotlib_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    result = run(*PAIR, "--plot", tmp_path / "a.png")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pip install matplotlib" in result.stderr
    assert ".html" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*PAIR, "--plot", "a.pdf"), 2, "want a .png or .html file, found 'a.pdf'"),
        ((*PAIR, "--plot", "nowhere/a.html"), 2, "there is no folder nowhere"),
        ((*PAIR, "--at", "1000,100,1"), 2, "--at is one operating point"),
        ((*PAIR[:4], "--plot", "a.html", "--at", "1000,100,1"), 2, "--at is one operating point"),
        ((*PAIR[:4], "--against-tensor-parallel", "2"), 2, "needs --against"),
        ((*PAIR[:4], "--against", "L40S"), 2, "--against: is the same L40S"),
        ((*PAIR[:4], "--against", "K80"), 5, "there is no profile of meta-llama/Llama-3.1-8B-Instruct on K80"),
        ((*PAIR, "--tpot-ms", "-1"), 2, "tpot-ms"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], code: int, words: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hostile_name_in_a_profile_file_is_only_text(tmp_path: Path) -> None:
    source = next((ROOT / "catalogs" / "profiles" / "llama-3.1-8b-instruct").glob("L40S-tp1-bfloat16-vllm.json"))
    content = json.loads(source.read_text())
    content["model"] = '<script>alert(1)</script> $x_{ \x07"\ud800'.encode("utf-8", "replace").decode()
    path = tmp_path / "own.json"
    path.write_text(json.dumps(content))
    result = run("profiles", "show", "--file", path, "--plot", tmp_path / "a.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "a.html").read_text()
    assert "<script" not in page
    assert "\x07" not in page
    pytest.importorskip("matplotlib")
    assert run("profiles", "show", "--file", path, "--plot", tmp_path / "a.png").exit_code == 0


@pytest.fixture
def workload(tmp_path: Path) -> Any:
    document = yaml.safe_load((ROOT / "examples" / "means" / "workload.yaml").read_text())

    def write(**changes: dict[str, Any]) -> Path:
        for section, values in changes.items():
            document.setdefault(section, {}).update(values)
        path = tmp_path / "workload.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write


def test_a_fine_tune_is_planned_as_its_base_and_launched_as_itself(tmp_path: Path, workload: Any) -> None:
    own = json.loads(run("plan", workload(), "--no-files", "--offline", "--format", "json").stdout)
    path = workload(model={"id": "acme/tuned-8b", "profile_as": LLAMA_8B})
    result = run("plan", path, "--offline", "--out", tmp_path / "plan", "--format", "json")
    assert result.exit_code == 0, result.stderr
    tuned = json.loads(result.stdout)
    assert tuned["cost"] == own["cost"]
    assert any(f"Throughput is that of {LLAMA_8B}" in line for line in tuned["assumptions"])
    assert tuned["workload"]["model"]["profile_as"] == LLAMA_8B
    for group in tuned["groups"]:
        launch = (tmp_path / "plan" / group["file"]).read_text()
        assert "acme/tuned-8b" in launch
        assert LLAMA_8B not in launch


def test_a_plan_names_the_kind_and_error_of_each_profile(workload: Any) -> None:
    path = workload()
    plan = json.loads(run("plan", path, "--no-files", "--offline", "--format", "json").stdout)
    table = run("plan", path, "--no-files", "--offline", "-v").stdout
    for group in plan["groups"]:
        error = group["profile"]["error"]
        assert error["request_rate_interval"] is None  # of kernels: as far on both sides
        high = (1 + error["request_rate_fraction"]) ** math.log2(5)
        low = 1 / high
        assert f"throughput {group['profile']['kind']}, {100 * low - 100:+.0f}…{100 * high - 100:+.0f}%" in table


def test_min_profile_kind_in_a_file(workload: Any) -> None:
    result = run("plan", workload(constraints={"min_profile_kind": "measured"}), "--no-files", "--offline")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "L40S: only estimated profiles, weaker than constraints.min_profile_kind: measured" in result.stderr
    wrong = run("plan", workload(constraints={"min_profile_kind": "guessed"}), "--no-files", "--offline")
    assert wrong.exit_code == 2
    assert "constraints.min_profile_kind: must be one of measured, fitted, published, estimated" in wrong.stderr
