"""How good a student is on labelled texts, with the uncertainty that the number of texts leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InputError
from .predictions import IntArray

__all__ = ["Evaluation", "check_labels", "evaluate_labels", "wilson_interval"]

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Evaluation:
    """Predicted against true labels.

    Attributes:
        labels: the C classes.
        confusion: (C, C) counts, true label down, predicted label across.
    """

    labels: tuple[str, ...]
    confusion: IntArray

    @property
    def texts(self) -> int:
        """How many texts were labelled."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of texts whose label was predicted."""
        return float(np.trace(self.confusion) / self.texts)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, for texts drawn as these were."""
        return wilson_interval(int(np.trace(self.confusion)), self.texts)

    @property
    def macro_f1(self) -> float:
        """The mean over classes of F1 = 2·TP / (2·TP + FP + FN), leaving out classes that occur in neither column."""
        hits = np.diagonal(self.confusion)
        seen = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return float(np.mean(2 * hits[seen > 0] / seen[seen > 0]))

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "texts": self.texts,
            "accuracy": self.accuracy,
            "accuracy_interval_95": list(self.interval),
            "macro_f1": self.macro_f1,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def to_text(self) -> str:
        """All of it, for people."""
        low, high = self.interval
        width = max(9, *map(len, self.labels))
        lines = [
            f"accuracy   {self.accuracy:.4f}   95 % interval {low:.4f} to {high:.4f}   {self.texts} texts",
            f"macro F1   {self.macro_f1:.4f}",
            "",
            f"{'true / predicted':>{max(width, 16)}}  " + "  ".join(f"{label:>{width}}" for label in self.labels),
        ]
        for label, row in zip(self.labels, self.confusion.tolist(), strict=True):
            lines.append(f"{label:>{max(width, 16)}}  " + "  ".join(f"{count:>{width}}" for count in row))
        return "\n".join(lines)


def evaluate_labels(labels: Sequence[str], true: Sequence[str], predicted: Sequence[str]) -> Evaluation:
    """Count true against predicted labels.

    Args:
        labels: the classes, in the order of the confusion matrix.
        true: (N,) labels of the texts.
        predicted: (N,) labels that were predicted.

    Raises:
        InputError: no texts, or a true label that is none of the classes.
    """
    if len(true) != len(predicted) or not true:
        raise InputError(
            f"evaluate: found {len(true)} true and {len(predicted)} predicted labels; expected as many, not 0"
        )
    check_labels(labels, true)
    index = {label: i for i, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    for expected, found in zip(true, predicted, strict=True):
        confusion[index[expected], index[found]] += 1
    return Evaluation(tuple(labels), confusion)


def check_labels(labels: Sequence[str], true: Sequence[str], where: str = "label") -> None:
    """See that every true label is one of the classes, before the work of predicting.

    Raises:
        InputError: one is not; the message has its number, from 1.
    """
    known = set(labels)
    for number, label in enumerate(true, start=1):
        if label not in known:
            raise InputError(f"{where} {number}: found {label!r}; expected one of {list(labels)}")


def wilson_interval(hits: float, total: float, quantile: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953); of 95 % by default."""
    share, spread = hits / total, quantile**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = quantile * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - half if hits else 0.0, middle + half if hits < total else 1.0  # rounding would miss the ends
