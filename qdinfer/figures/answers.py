"""Answers beside true labels: which, how sure, and how rightly so."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibration import BINS, calibrate
from ..evaluation import Evaluation, evaluate_labels
from ..predictions import Predictions
from ..texts import checked_texts
from .style import DARK, GREY, LIGHT, bars, new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["certainty_histogram", "confusion_matrix", "reliability_diagram"]

_WRITTEN = 20  # classes; with more, numbers in the cells could not be read
_NAMED = 60  # classes; with more, only every second has its name, and so on


def confusion_matrix(predictions: Predictions, labels: Iterable[str]) -> Figure:
    """Counts of true against predicted labels, and as colour what share of its row (its true label) each is.

    Args:
        predictions: of N texts.
        labels: (N,) their true labels.

    Raises:
        InputError: another number of labels than of texts, none at all, or a label that is none of the classes.
        MissingExtraError: matplotlib is not installed.
    """
    found = _evaluated(predictions, checked_texts(labels, "labels"))
    names, size = [short(name) for name in found.labels], len(found.labels)
    totals = found.confusion.sum(axis=1, keepdims=True)
    percent = 100 * found.confusion / np.maximum(totals, 1)
    side = 2.6 + 0.7 * min(size, _WRITTEN)
    longest = 0.09 * max(map(len, names))
    figure = new_figure(side + 1 + longest, side + longest / 2)
    panel = figure.subplots()
    picture = panel.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    ticks = range(0, size, math.ceil(size / _NAMED))
    shown = [names[place] for place in ticks]
    upright: dict[str, Any] = {"rotation": 90} if size > _WRITTEN else {}
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if longest > 0.9 else {}
    panel.set_xticks(ticks, shown, parse_math=False, **(upright or slanted))
    panel.set_yticks(ticks, shown, parse_math=False)
    panel.set_xlabel("predicted label")
    panel.set_ylabel("true label")
    if size <= _WRITTEN:
        for (row, column), count in np.ndenumerate(found.confusion):
            told = f"{count}\n{percent[row, column]:.0f} %" if totals[row, 0] else f"{count}"
            colour = "white" if percent[row, column] > 55 else "black"
            panel.text(column, row, told, ha="center", va="center", color=colour)
    figure.colorbar(picture, label="share of the texts with that true label, %", shrink=0.9)
    panel.set_title(f"{int(np.trace(found.confusion))} of {found.texts} labels are right")
    return figure


def reliability_diagram(predictions: Predictions, labels: Iterable[str]) -> Figure:
    """How often labels are right, against how sure the student was of them; below, of how many texts.

    Points stand at the mean certainty of a bin; their bars are Wilson's 95 % intervals. The numbers are those of
    `qdinfer.calibration.Calibration`, which has their sources.

    Args:
        predictions: of N texts.
        labels: (N,) their true labels.

    Raises:
        InputError: another number of labels than of texts, none at all, or a label that is none of the classes.
        MissingExtraError: matplotlib is not installed.
    """
    found = calibrate(predictions, labels)
    filled = found.counts > 0
    shares = found.hits[filled] / found.counts[filled]
    figure = new_figure(6.4, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], "--", color=GREY, label="as often right as said")
    upper.errorbar(
        found.certainties[filled],
        shares,
        yerr=bars(shares, found.intervals[filled]),
        fmt="o",
        color=DARK,
        capsize=3,
        label="share of right labels, 95 % interval",
    )
    upper.set_ylim(-0.02, 1.02)
    upper.set_ylabel("share of right labels")
    upper.legend(loc="upper left")
    lower.bar((np.arange(BINS) + 0.5) / BINS, found.counts, width=1 / BINS, color=DARK, edgecolor="white")
    lower.set_xlim(0, 1)
    lower.set_ylabel("texts")
    lower.set_xlabel("certainty: probability of the label that was given")
    for panel in (upper, lower):
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
    low, high = found.interval
    upper.set_title(f"Expected calibration error {found.error:.3f} (95 % interval {low:.3f} to {high:.3f})")
    return figure


def certainty_histogram(predictions: Predictions, labels: Iterable[str]) -> Figure:
    """How many texts there are of each certainty, the probability of the label that was given: right and wrong ones.

    Args:
        predictions: of N texts.
        labels: (N,) their true labels.

    Raises:
        InputError: another number of labels than of texts, none at all, or a label that is none of the classes.
        MissingExtraError: matplotlib is not installed.
    """
    true = checked_texts(labels, "labels")
    found = _evaluated(predictions, true)
    hits, classes = int(np.trace(found.confusion)), len(found.labels)
    certainty = predictions.probabilities.max(axis=1)
    right = predictions.labels == np.array(true)
    figure = new_figure(6.4, 3.6)
    panel = figure.subplots()
    panel.hist(
        [certainty[~right], certainty[right]],
        bins=np.linspace(0, 1, 2 * BINS + 1).tolist(),
        stacked=True,
        color=[LIGHT, DARK],
        edgecolor="white",
        linewidth=0.5,
        label=[f"wrong: {found.texts - hits}", f"right: {hits}"],
    )
    panel.axvline(1 / classes, color=GREY, linestyle=":", label=f"one in {classes}: a guess")
    panel.set_xlim(0, 1)
    panel.set_xlabel("certainty: probability of the label that was given")
    panel.set_ylabel("texts")
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)
    panel.legend(loc="upper left")
    panel.set_title(f"Half of the texts have a certainty of {np.median(certainty):.2f} or more")
    return figure


def _evaluated(predictions: Predictions, true: list[str]) -> Evaluation:
    return evaluate_labels(predictions.classes.tolist(), true, predictions.labels.tolist())
