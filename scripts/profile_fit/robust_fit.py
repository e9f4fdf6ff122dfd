"""Non-negative fits of groups of rows that share a law up to a factor each, robust to single bad rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from sky_melange.profiles.step_terms import Array, non_negative

_ROUNDS: Final = 3
_LARGEST_LOSS: Final = 0.5
"""Of one row, when problems are compared: beyond it a row is simply wrong."""


GroupName = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows with one factor on the law, kept near `start` as by `shrinkage` rows that say so; each row has `weight`."""

    rows: tuple[int, ...]
    weight: float
    log_start: float
    shrinkage: float


def robust_fit(
    columns: Array, measured: Array, groups: Mapping[GroupName, Group], *, floor: float
) -> tuple[Array, dict[GroupName, Array], Array]:
    """Coefficients [problem, column], log factors by group [problem], and loss [problem].

    `columns`: [problem, row, column]; `measured`: [row]. Least squares of relative errors are reweighted by 1 ÷ error,
    at least `floor`, which tends to least absolute errors (Schlossmacher 1973); factors are refitted in between.
    """
    problems, rows, _ = columns.shape
    weight, shift = np.ones(rows), np.zeros((problems, rows))
    logs: dict[GroupName, Array] = {}
    for name, group in groups.items():
        weight[list(group.rows)] = group.weight
        logs[name] = np.full(problems, group.log_start)
        shift[:, list(group.rows)] = group.log_start
    trust, target = np.ones((problems, rows)), np.ones((problems, rows))
    for turn in range(_ROUNDS + 1):
        scaled = columns / (measured * np.exp(-shift))[:, :, None]
        coefficients = non_negative(scaled, trust * weight, target)
        fitted = np.einsum("prc,pc->pr", columns, coefficients)
        residual = np.log(measured / np.maximum(fitted, 1e-12))
        if turn < _ROUNDS and len(groups) > 1:
            for name, group in groups.items():
                logs[name] = _factor(group, trust, residual)
                shift[:, list(group.rows)] = logs[name][:, None]
        trust = 1.0 / np.maximum(np.abs(residual - shift), floor)
        trust /= trust.max(axis=1, keepdims=True)
    loss = (np.minimum(np.abs(residual - shift), _LARGEST_LOSS) * weight).sum(axis=1)
    for name, group in groups.items():
        loss += 0.5 * group.shrinkage * min(1.0, group.weight) * np.abs(logs[name] - group.log_start)
    return coefficients, logs, loss


def _factor(group: Group, trust: Array, residual: Array) -> Array:
    """Log factor of a group: the trusted mean of its residuals, drawn towards where it started."""
    share = trust[:, list(group.rows)]
    total = (share * residual[:, list(group.rows)]).sum(axis=1) + group.shrinkage * group.log_start
    return np.asarray(total / (share.sum(axis=1) + group.shrinkage))
