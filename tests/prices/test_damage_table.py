"""The table of damage by plans, over two small embedded catalogs; damage_table.py has it over every real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from damage_table import ALL_CLOUDS, CUT, Found, Table, wrong
from test_past_prices import embedded

TRUE_CATALOGS = {cloud: embedded(cloud) for cloud in ("lambda", "nebius", "verda")}


@pytest.mark.slow
@pytest.mark.parametrize("cloud", ["lambda", ALL_CLOUDS])
def test_no_damage_makes_a_plan_cheaper_in_silence_and_no_true_cut_is_refused(cloud: str, tmp_path: Path) -> None:
    kinds = ["a tenth", "six tenths", CUT, "cut at 60 % of the rows without length"]
    assert not list(Table(TRUE_CATALOGS, tmp_path).failures([cloud], kinds))


def test_the_table_finds_what_it_looks_for() -> None:
    truth = Found(total_usd_per_hour=10.0, stdout="")
    silent = Found(total_usd_per_hour=9.0, stdout="! Prices in doubt (aws): it asks less. ! lambda.")
    assert "without a word on lambda" in wrong(silent, truth, "lambda", (), is_cut=False)
    assert not wrong(silent, truth, "aws", (), is_cut=False)
    assert "refused" in wrong(truth, truth, "aws", (), is_cut=True)
