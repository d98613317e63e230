"""Accuracies over seeds and texts, and the difference of two, with 95 % intervals.

S trainings answer the same N texts, so a mark has an effect of its seed, one of its text, and a rest. The variance of
the mean over both comes from the two-way table's mean squares, (MS_seeds + MS_texts − MS_rest) / (S·N), with the
degrees of freedom of Satterthwaite (1946, doi:10.2307/3002019): for other seeds, and other texts drawn as these were.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdinfer.evaluation import wilson_interval

__all__ = ["Estimate", "Hits", "difference", "mean_accuracy"]

Hits = NDArray[np.bool_]
"""(S, N): whether the training of each of S seeds gets each of N test texts right."""


_ROUNDING = 1e-9  # else the two sides of a difference, which are rounded otherwise, could fall on either side of a tie


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def mean_accuracy(hits: Hits) -> Estimate:
    """The mean accuracy: Wilson's score interval for as many texts as the variance of the mean is worth.

    With one seed, these are the N texts. (Effective numbers in intervals of proportions: Korn and Graubard 1998, Survey
    Methodology 24, 193.)
    """
    value, (seeds, texts) = float(hits.mean()), hits.shape
    worth, quantile = float(texts), _quantile(math.inf)
    if seeds > 1 and 0 < value < 1:
        variance, freedom = _variance(hits.astype(float))
        most = float(seeds * texts)
        worth = min(value * (1 - value) / variance, most) if variance > 0 else most
        quantile = _quantile(freedom)
    low, high = wilson_interval(value * worth, worth, quantile)
    return Estimate(value, low, high)


def difference(first: Hits, second: Hits) -> Estimate:
    """The mean accuracy of the first minus that of the second, paired text by text and seed by seed.

    Two texts are added that the two answer unlike, half a text for each cell of the table (Agresti and Min 2005,
    doi:10.1002/sim.1781), so that two that agree on all texts still have an interval.

    Args:
        first: (S, N).
        second: (S, N), or (1, N) of what no seed changes.
    """
    pairs = first.astype(float) - second  # (S, N)
    unlike = np.full((len(pairs), 2), math.sqrt(0.5)) * [1, -1]
    variance, freedom = _variance(np.hstack([pairs, unlike]))
    value, half = float(pairs.mean()), _quantile(freedom) * math.sqrt(variance)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))


def _variance(table: NDArray[np.float64]) -> tuple[float, float]:
    """The variance of the mean of an (S, N) table, for other rows and other columns; its degrees of freedom."""
    seeds, texts = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    of_texts = seeds * ((columns - mean) ** 2).sum() / (texts - 1)
    if seeds == 1:
        return float(of_texts / texts), texts - 1
    of_seeds = texts * ((rows - mean) ** 2).sum() / (seeds - 1)
    rest = ((table - rows[:, None] - columns + mean) ** 2).sum() / ((seeds - 1) * (texts - 1))
    total = of_seeds + of_texts - rest
    if total <= of_texts * (1 + _ROUNDING):  # the seeds differ by no more than chance: they have no part of their own
        return float(of_texts / (seeds * texts)), texts - 1
    parts = of_seeds**2 / (seeds - 1) + of_texts**2 / (texts - 1) + rest**2 / ((seeds - 1) * (texts - 1))
    return float(total / (seeds * texts)), float(total**2 / parts)


def _quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))
