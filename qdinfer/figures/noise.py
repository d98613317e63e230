"""Answers with noise beside exact ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..agreement import Agreement, compare
from ..errors import InputError
from ..evaluation import Z95, evaluate_labels
from ..predictions import FloatArray, Predictions
from ..texts import checked_texts
from .style import DARK, GREY, LIGHT, bars, new_figure, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["accuracy_against_shots", "exact_against_noisy"]

_DRAWN = 500  # points; with more, they become one picture within the figure, or its file would be very large
_FAR = 5.0  # z beyond is drawn there


def accuracy_against_shots(exact: Predictions, sampled: Sequence[Predictions], labels: Iterable[str]) -> Figure:
    """Accuracy with so many shots a text, and exact accuracy as a line, both with Wilson's 95 % intervals.

    An interval is for other texts, drawn as these were and measured once each. The texts are the same at every point
    and for the line, so these differ more surely than their intervals let one think: see `Agreement.difference`.

    Args:
        exact: answers for N texts without shot noise.
        sampled: answers for the same texts, each with another number of shots.
        labels: (N,) their true labels.

    Raises:
        InputError: other texts or classes, none at all, no error bars, or a label that is none of the classes.
        MissingExtraError: matplotlib is not installed.
    """
    if not sampled:
        raise InputError("accuracy_against_shots: found no predictions with shots; expected some")
    true = checked_texts(labels, "labels")
    points = sorted((compare(exact, each, true) for each in sampled), key=lambda point: point.shots)
    reference = evaluate_labels(exact.classes.tolist(), true, exact.labels.tolist())
    shots = [point.shots for point in points]
    accuracies = np.array([point.accuracy for point in points])
    figure = new_figure(6.4, 4.2)
    panel = figure.subplots()
    panel.axhspan(*reference.interval, color=LIGHT, alpha=0.2, linewidth=0)
    panel.axhline(reference.accuracy, color=LIGHT, linestyle="--", linewidth=2, label="exact, 95 % interval")
    panel.errorbar(
        shots,
        accuracies[:, 0],
        yerr=bars(accuracies[:, 0], accuracies[:, 1:]),
        fmt="o-",
        color=DARK,
        capsize=3,
        label="with shots, 95 % interval",
    )
    panel.set_xscale("log")
    panel.set_xticks(shots, [f"{each:g}" for each in shots])
    panel.minorticks_off()
    panel.set_xlabel("shots a text")
    panel.set_ylabel("accuracy: share of right labels")
    panel.grid(alpha=0.3)
    panel.legend(loc="lower right")
    value, low, high = points[-1].difference
    panel.set_title(f"{shots[-1]:g} shots change accuracy by {signed(value)} ({signed(low)} to {signed(high)})")
    return figure


def exact_against_noisy(exact: Predictions, noisy: Predictions) -> Figure:
    """What noise changes: expectation values, the probability of the exact label, and whether error bars explain it.

    Left: by how much each expectation value is off, and the ±1.96 standard errors that 95 % of them are within if shot
    noise is all. Middle: a point a text, with bars of ±1.96 standard errors. Right: z = (noisy − exact) / standard
    error of the expectation values, beside the standard normal distribution that it then has.

    Args:
        exact: answers for N texts without noise.
        noisy: answers for the same texts, with error bars.

    Raises:
        InputError: other texts or classes, none at all, or no error bars.
        MissingExtraError: matplotlib is not installed.
    """
    found = compare(exact, noisy)
    figure = new_figure(11.5, 4.4)
    left, middle, right = figure.subplots(1, 3)
    _expectation_values(left, exact, noisy)
    _probabilities(middle, exact, noisy, found)
    _deviations(right, found)
    for panel in (left, middle, right):
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
    return figure


def _expectation_values(panel: Axes, exact: Predictions, noisy: Predictions) -> None:
    x, off = exact.expectations.values.ravel(), (noisy.expectations.values - exact.expectations.values).ravel()
    errors = np.hypot(exact.expectations.standard_errors, noisy.expectations.standard_errors).ravel()
    panel.axhline(0, linestyle="--", color=GREY)
    panel.plot(x, off, ".", color=DARK, markersize=3, alpha=0.5, rasterized=len(x) > _DRAWN)
    places, limits = _band(x, errors)
    for sign in (1, -1):
        panel.plot(places, sign * limits, color=LIGHT, linewidth=2, label="95 % if shot noise is all" * (sign > 0))
    panel.set_ylim(np.array([-1, 1.3]) * 1.1 * max(np.abs(off).max(), limits.max()))
    panel.set_xlabel("exact expectation value")
    panel.set_ylabel("noisy − exact")
    panel.legend(loc="upper left")
    rms = math.sqrt(float(np.mean(off**2)))
    panel.set_title(f"Expectation values are {rms:.3f} off (rms)", fontsize="medium")


def _band(x: FloatArray, errors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Places along x, and 1.96 times the root mean square of the standard errors around each."""
    places = np.linspace(-1, 1, 41)
    nearest = np.abs(x[:, None] - places).argmin(axis=1)
    counts = np.bincount(nearest, minlength=len(places))
    squares = np.bincount(nearest, errors**2, len(places))
    there = counts > 0
    return places[there], Z95 * np.sqrt(squares[there] / counts[there])


def _probabilities(panel: Axes, exact: Predictions, noisy: Predictions, found: Agreement) -> None:
    rows, winners = np.arange(found.texts), exact.probabilities.argmax(axis=1)
    x, y = exact.probabilities[rows, winners], noisy.probabilities[rows, winners]
    errors = Z95 * np.hypot(exact.standard_errors[rows, winners], noisy.standard_errors[rows, winners])
    panel.plot([0, 1], [0, 1], "--", color=GREY)
    for chosen, colour, marker, size, name in (
        (~found.flipped, DARK, "o", 3, "same label"),
        (found.flipped, LIGHT, "D", 5, "another label"),
    ):
        panel.errorbar(
            x[chosen],
            y[chosen],
            yerr=errors[chosen],
            fmt=marker,
            color=colour,
            ecolor=colour,
            elinewidth=0.6,
            markersize=size,
            markeredgecolor="black" if marker == "D" else colour,
            label=f"{name}: {int(chosen.sum())}",
            rasterized=found.texts > _DRAWN,
        )
    panel.set_ylim(-0.05, 1.05)
    panel.set_xlabel("exact probability of the exact label")
    panel.set_ylabel("noisy probability of that label")
    panel.legend(loc="upper left")
    share, low, high = (100 * value for value in found.flips)
    panel.set_title(f"{share:.1f} % of labels flip ({low:.1f} to {high:.1f} %)", fontsize="medium")


def _deviations(panel: Axes, found: Agreement) -> None:
    edges = np.linspace(-_FAR, _FAR, 41)
    panel.hist(
        np.clip(found.z.ravel(), -_FAR, _FAR),
        bins=edges.tolist(),
        density=True,
        color=DARK,
        alpha=0.7,
        label="measured",
    )
    x = np.linspace(-_FAR, _FAR, 201)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    panel.plot(x, density, "--", color="black", label="shot noise alone")
    panel.set_xlabel(f"z = (noisy − exact) / standard error, cut at ±{_FAR:g}")
    panel.set_ylabel("density")
    panel.set_ylim(0, 1.3 * panel.get_ylim()[1])  # room for the legend
    panel.legend(loc="upper left")
    value, low, high = found.rms_z
    spread = f"{low:.2f} to {high:.2f}" if math.isfinite(high) else "of one text"
    panel.set_title(f"z is {value:.2f} (rms; {spread})", fontsize="medium")
