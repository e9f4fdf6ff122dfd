"""Unit costs: the formulas, the tokens that they divide by, and that they are said to be bounds where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.unit_costs import TokenBasis, token_rates, unit_costs
from sky_melange.render.money import unit_line, unit_rows

TRAFFIC = Traffic(
    grid=TokenGrid(input_edges=(100, 1000), output_edges=(50,)), rates_rps=((3.0,), (1.0,)), origin="a test"
)
MEANS = replace(TRAFFIC, mean_tokens=(((40.0, 30.0),), ((700.0, 45.0),)))


def test_upper_edges_are_a_lower_bound_of_the_cost() -> None:
    units = unit_costs(7.2, TRAFFIC)
    assert units.rates.basis is TokenBasis.UPPER
    assert units.rates.input_tokens_per_s == 3 * 100 + 1 * 1000
    assert units.usd_per_month == 7.2 * 730
    assert units.usd_per_1000_requests == pytest.approx(7.2 / (4 * 3600) * 1000, rel=1e-12)
    assert units.usd_per_million_input_tokens == pytest.approx(7.2 / (1300 * 3600) * 1e6, rel=1e-12)
    assert units.usd_per_million_output_tokens == pytest.approx(7.2 / (200 * 3600) * 1e6, rel=1e-12)
    assert units.usd_per_million_tokens == pytest.approx(7.2 / (1500 * 3600) * 1e6, rel=1e-12)
    assert unit_line(units).count("≥ ") == 3


def test_means_of_the_requests_are_exact_and_never_cheaper() -> None:
    bound, exact = unit_costs(7.2, TRAFFIC), unit_costs(7.2, MEANS)
    assert exact.rates.basis is TokenBasis.MEAN
    assert exact.rates.input_tokens_per_s == pytest.approx(3 * 40 + 700)
    assert exact.usd_per_million_input_tokens >= bound.usd_per_million_input_tokens
    assert exact.usd_per_million_output_tokens >= bound.usd_per_million_output_tokens
    assert "≥" not in unit_line(exact)
    assert not any("≥" in cell for _, cell in unit_rows(exact))


def test_one_bucket_without_a_mean_makes_it_a_bound() -> None:
    rates = token_rates(replace(MEANS, mean_tokens=(((40.0, 30.0),), (None,))))
    assert rates.basis is TokenBasis.UPPER
    assert rates.input_tokens_per_s == pytest.approx(3 * 40 + 1000)


def test_the_line_fits_a_terminal() -> None:
    assert len(unit_line(unit_costs(123.4, TRAFFIC))) <= 100
