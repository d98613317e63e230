"""Accuracies over seeds and texts, and the difference of two, with 95 % intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qdinfer.evaluation import wilson_interval

__all__ = ["Estimate", "Hits", "difference", "mean_accuracy"]

Hits = NDArray[np.bool_]
"""(S, N): whether the training of each of S seeds gets each of N test texts right."""


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def mean_accuracy(hits: Hits) -> Estimate:
    """The mean accuracy over seeds, for other seeds and for other texts drawn as these were.

    The texts' part is Wilson's score interval, the seeds' part Student's t over S seeds (none if S = 1). Each side adds
    the two distances in quadrature (Zou and Donner 2008, doi:10.1002/sim.3095).
    """
    value = float(hits.mean())
    low, high = wilson_interval(value * hits.shape[1], hits.shape[1])
    seeds = _seeds_half_width(hits.mean(axis=1))
    return Estimate(
        value, max(0.0, value - math.hypot(value - low, seeds)), min(1.0, value + math.hypot(high - value, seeds))
    )


def difference(first: Hits, second: Hits) -> Estimate:
    """The mean accuracy of the first minus that of the second, on the same texts.

    Seeds are paired if both have as many, else the second's mean is taken. The variance from the texts is that of the
    paired differences, with half a text added to each cell of the table (Agresti and Min 2005, doi:10.1002/sim.1781),
    so that two that agree on all texts still have an interval.
    """
    pairs = first.astype(float) - (second if len(second) == len(first) else second.mean(axis=0))  # (S, N)
    value, means, texts = float(pairs.mean()), pairs.mean(axis=0), pairs.shape[1] + 2
    variance = ((means**2).sum() + 1) / texts - (means.sum() / texts) ** 2
    half = math.hypot(1.96 * math.sqrt(variance / texts), _seeds_half_width(pairs.mean(axis=1)))
    return Estimate(value, value - half, value + half)


def _seeds_half_width(values: NDArray[np.float64]) -> float:
    """Half of Student's 95 % interval for the mean of S values; 0 for one."""
    if len(values) < 2:
        return 0.0
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
