"""From the times of the rounds to one number and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Spread", "ratios", "spread"]


class Spread(NamedTuple):
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles of a few values.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("spread: found no values; expected at least one")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratios(upper: Sequence[float], lower: Sequence[float]) -> Spread:
    """The spread of upper / lower, round by round: what slowed a whole round falls out.

    Raises:
        ValueError: they are not of the same rounds.
    """
    return spread([a / b for a, b in zip(upper, lower, strict=True)])
