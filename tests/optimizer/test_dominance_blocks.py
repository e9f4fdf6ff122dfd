"""Blocks of candidates at once leave what one after the other leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from problems import problems
from property_examples import examples

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve import dominance


@given(problem=problems(max_candidates=9))
@examples(60)
def test_any_block_leaves_the_same(problem: Problem) -> None:
    found = []
    for block in (1, 3, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dominance, "_MOST_BLOCK", block)
            found.append(dominance.undominated(problem))
    assert found[0] == found[1] == found[2]
