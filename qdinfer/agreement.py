"""One student's answers on two backends, text by text: what noise changes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .evaluation import Z95, check_labels, wilson_interval
from .predictions import BoolArray, FloatArray, Predictions
from .texts import checked_texts

__all__ = ["Agreement", "compare"]


@dataclass(frozen=True)
class Agreement:
    """The same N texts on an exact backend and on a noisy one.

    Attributes:
        shots: mean shots a text on the noisy one.
        flipped: (N,) bool, whether the label is another.
        z: (N, M) float64, (noisy − exact) / standard error of each expectation value. If shot noise were all, each
            would have the mean 0 and the standard deviation 1.
        right: (2, N) bool, whether the exact and the noisy label are the true one; None without true labels.
    """

    shots: float
    flipped: BoolArray
    z: FloatArray
    right: BoolArray | None

    @property
    def texts(self) -> int:
        """How many texts were compared."""
        return len(self.flipped)

    @property
    def flips(self) -> tuple[float, float, float]:
        """The share of texts whose label is another, and Wilson's 95 % interval of it."""
        count = int(self.flipped.sum())
        return count / self.texts, *wilson_interval(count, self.texts)

    @property
    def rms_z(self) -> tuple[float, float, float]:
        """The root mean square of z, 1 if shot noise is all, and a 95 % interval of it.

        The interval is that of ±1.96 standard errors of the mean of z² over texts, for within a text the values depend
        on each other. With few texts it is too narrow (for normal z, 10 texts: it covers 88 to 92 %; 100 texts: 94 %);
        with one text it is everything.
        """
        squares = np.mean(self.z**2, axis=1)
        mean = float(squares.mean())
        half = Z95 * float(squares.std(ddof=1)) / math.sqrt(self.texts) if self.texts > 1 else math.inf
        return math.sqrt(mean), math.sqrt(max(0.0, mean - half)), math.sqrt(mean + half)

    @property
    def outside(self) -> float:
        """The share of expectation values over 1.96 standard errors from the exact ones: 0.05 if shot noise is all."""
        return float(np.mean(np.abs(self.z) > Z95))

    @property
    def accuracy(self) -> tuple[float, float, float]:
        """The noisy backend's accuracy, and Wilson's 95 % interval of it, for texts drawn as these, measured once each.

        Raises:
            InputError: it was compared without true labels.
        """
        hits = int(self._right[1].sum())
        return hits / self.texts, *wilson_interval(hits, self.texts)

    @property
    def exact_accuracy(self) -> float:
        """The exact backend's accuracy on the same texts. Raises as `accuracy` does."""
        return float(self._right[0].mean())

    @property
    def difference(self) -> tuple[float, float, float]:
        """The noisy backend's accuracy minus the exact one's, paired text by text, and a 95 % interval of it.

        Half a text is added to each cell of the 2 × 2 table (Agresti and Min 2005, doi:10.1002/sim.1781), so that two
        that agree on all texts still have an interval. Raises as `accuracy` does.
        """
        exact, noisy = self._right
        gained, lost, texts = float(np.sum(noisy & ~exact)), float(np.sum(exact & ~noisy)), self.texts + 2
        middle = (gained - lost) / texts
        half = Z95 * math.sqrt((gained + lost + 1 - texts * middle**2) / texts**2)
        return (gained - lost) / self.texts, max(-1.0, middle - half), min(1.0, middle + half)

    @property
    def _right(self) -> BoolArray:
        if self.right is None:
            raise InputError("agreement: found no true labels; expected them in the comparison")
        return self.right


def compare(exact: Predictions, noisy: Predictions, labels: Iterable[str] | None = None) -> Agreement:
    """Hold what a noisy backend says of N texts against exact answers.

    Args:
        exact: the predictions to compare with; if they have error bars too, z takes both into account.
        noisy: predictions of the same texts, with error bars.
        labels: (N,) true labels; None where accuracy is not wanted.

    Raises:
        InputError: other texts or classes, none at all, no error bars, or a label that is none of the classes.
    """
    one, other = exact.expectations, noisy.expectations
    if one.values.shape != other.values.shape or not len(one) or exact.classes.tolist() != noisy.classes.tolist():
        raise InputError(
            f"compare: found expectation values {one.values.shape} and {other.values.shape}, classes "
            f"{exact.classes.tolist()} and {noisy.classes.tolist()}; expected one student's, of the same texts, not 0"
        )
    errors = np.hypot(one.standard_errors, other.standard_errors)
    if not (errors > 0).all():
        raise InputError(f"compare: found {noisy.backend} without error bars; expected a backend with shots")
    right = None
    if labels is not None:
        true = checked_texts(labels, "labels")
        if len(true) != len(noisy):
            raise InputError(f"compare: found {len(true)} labels of {len(noisy)} texts; expected as many")
        check_labels(exact.classes.tolist(), true)
        right = np.array([exact.labels == np.array(true), noisy.labels == np.array(true)])
    z = (other.values - one.values) / errors
    return Agreement(float(noisy.shots.mean()), exact.labels != noisy.labels, z, right)
