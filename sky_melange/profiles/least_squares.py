"""Non-negative least squares for a handful of columns, many problems at once, without iteration."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SINGULAR: Final = 1e-9
"""Least eigenvalue of a correlation matrix: columns nearer to each other than this are not told apart."""


def non_negative(columns: Array, weights: Array, target: Array) -> Array:
    """Coefficients ≥ 0 that minimise Σ weights·(columns @ coefficients − target)², for each problem.

    `columns`: [problem, row, column]; `weights` and `target`: [problem, row]; result: [problem, column]. Every subset
    of the columns is solved without the sign constraint; the best subset whose coefficients are all positive is the
    constrained optimum (Lawson and Hanson 1974, chapter 23: the optimum is unconstrained on its own support). With k
    columns these are 2^k − 1 small systems, which for k ≤ 5 is less work than an active-set iteration.
    """
    scale = np.sqrt(np.einsum("pr,prc->pc", weights, columns**2))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = columns / scale[:, None, :]
    gram = np.einsum("pr,prc,prd->pcd", weights, scaled, scaled)
    moment = np.einsum("pr,prc,pr->pc", weights, scaled, target)
    problems, count = moment.shape
    best = np.zeros((problems, count))
    least = np.zeros(problems)  # of the objective without its constant, Σ weights·target²
    for size in range(1, count + 1):
        for subset in itertools.combinations(range(count), size):
            _try_subset(list(subset), gram, moment, best, least)
    return best / scale


def _try_subset(subset: list[int], gram: Array, moment: Array, best: Array, least: Array) -> None:
    """Replaces, in place, the best coefficients of the problems for which this subset is feasible and better."""
    part = gram[:, subset][:, :, subset]
    values, vectors = np.linalg.eigh(part)
    usable = values[:, 0] > _SINGULAR
    inverse = np.where(values > _SINGULAR, 1.0 / np.maximum(values, _SINGULAR), 0.0)
    right = moment[:, subset]
    found = np.einsum("pij,pj,pkj,pk->pi", vectors, inverse, vectors, right)
    objective = -np.einsum("pi,pi->p", found, right)
    better = usable & (found > 0).all(axis=1) & (objective < least)
    if better.any():
        least[better] = objective[better]
        best[better] = 0.0
        best[np.ix_(np.flatnonzero(better), np.array(subset))] = found[better]
