"""Whether a student is right as often as its probabilities say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import InputError
from .evaluation import Z95, check_labels, wilson_interval
from .predictions import FloatArray, IntArray, Predictions
from .texts import checked_texts

__all__ = ["BINS", "Calibration", "calibrate"]

BINS = 10
_DRAWS = 4000


@dataclass(frozen=True)
class Calibration:
    """Texts in bins of equal width by certainty, which is the probability of the label that was given.

    Attributes:
        counts: (B,) texts in each bin; bin b has the certainties from b/B to (b + 1)/B.
        hits: (B,) how many of them are right.
        certainties: (B,) float64, their mean certainty; NaN where there is none.
    """

    counts: IntArray
    hits: IntArray
    certainties: FloatArray

    @property
    def intervals(self) -> FloatArray:
        """(B, 2): Wilson's 95 % interval of the share of right labels; NaN where there is no text."""
        counted = zip(self.hits.tolist(), self.counts.tolist(), strict=True)
        return np.array([wilson_interval(hits, total) if total else (np.nan, np.nan) for hits, total in counted])

    @property
    def error(self) -> float:
        """The expected calibration error, Σ (n_b/N)·|accuracy_b − certainty_b| over the bins that have texts.

        Naeini, Cooper and Hauskrecht 2015 (https://pmc.ncbi.nlm.nih.gov/articles/PMC4410090/), in the form of Guo et
        al. 2017, arXiv 1706.04599, equation 3. Chance alone makes it larger than 0: see `by_chance`.
        """
        return float(np.sum(self._weights * np.abs(self.hits[self._filled] / self._n - self._stated)))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of the error that endlessly many texts would show in these bins; wide rather than narrow.

        With ε_b what chance adds to the accuracy of bin b, |δ + ε| lies within |ε| of |δ|, and is at least
        |δ| + sign(δ)·ε. So the true error is at least the measured one less Σ w_b·|ε_b|, whose 97.5 % quantile is
        taken, and exceeds it by more than 1.96·√(Σ w_b²·σ_b²) with a chance of at most 2.5 %. The ε_b are drawn from
        binomial distributions around Wilson's midpoints (k + z²/2)/(n + z²), which are never 0 or 1.
        """
        middles = (self.hits[self._filled] + Z95**2 / 2) / (self._n + Z95**2)
        fall = np.quantile(self._drawn(middles), 0.975)
        rise = Z95 * np.sqrt(np.sum(self._weights**2 * middles * (1 - middles) / self._n))
        return max(0.0, self.error - float(fall)), min(1.0, self.error + float(rise))

    @cached_property
    def by_chance(self) -> tuple[float, float]:
        """What `error` would be if every probability were true: its mean, and the bound that 95 % stay below.

        Labels are drawn at random from the stated certainties (consistency resampling, Bröcker and Smith 2007,
        doi:10.1175/WAF993.1), as if all texts of a bin had its mean.
        """
        drawn = self._drawn(self._stated)
        return float(drawn.mean()), float(np.quantile(drawn, 0.95))

    def _drawn(self, shares: FloatArray) -> FloatArray:
        """(D,) draws of Σ w_b·|k_b/n_b − share_b|, k_b from binomial distributions. The same at every call."""
        hits = np.random.default_rng(0).binomial(self._n, shares, (_DRAWS, len(shares)))
        drawn: FloatArray = np.abs(hits / self._n - shares) @ self._weights
        return drawn

    @property
    def _filled(self) -> IntArray:
        return np.flatnonzero(self.counts)

    @property
    def _n(self) -> IntArray:
        return self.counts[self._filled]

    @property
    def _stated(self) -> FloatArray:
        return self.certainties[self._filled]

    @property
    def _weights(self) -> FloatArray:
        shares: FloatArray = self._n / self.counts.sum()
        return shares


def calibrate(predictions: Predictions, labels: Iterable[str]) -> Calibration:
    """Hold how sure a student was against how often it was right.

    Args:
        predictions: of N texts.
        labels: (N,) their true labels.

    Raises:
        InputError: another number of labels than of texts, none at all, or a label that is none of the classes.
    """
    true = checked_texts(labels, "labels")
    if len(true) != len(predictions) or not true:
        raise InputError(f"calibrate: found {len(true)} labels of {len(predictions)} texts; expected as many, not 0")
    check_labels(predictions.classes.tolist(), true)
    certainty = predictions.probabilities.max(axis=1)
    place = np.minimum((certainty * BINS).astype(np.int64), BINS - 1)
    right = predictions.labels == np.array(true)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, certainty, BINS) / counts
    return Calibration(counts, np.bincount(place[right], minlength=BINS), means)
