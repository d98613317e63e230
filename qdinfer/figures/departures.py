"""What a run measured, beside what its device's calibration promised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..departure import AS_CALIBRATED, Departure
from ..evaluation import Z95
from ..predictions import FloatArray
from .style import DARK, GREY, LIGHT, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..runs import Comparison

__all__ = ["measured_against_twin"]

_COLUMNS = 4
_GROUPS = 8  # of texts, in a panel


def measured_against_twin(comparison: Comparison) -> Figure:
    """By how much a run's values are off: a panel an observable, measured − twin beside measured − exact.

    Texts are in up to eight groups of alike exact values. A point is the mean of a group, with a bar of ±1.96 standard
    errors, as they would be if the device were its twin. A device that is as calibrated has its dark points on 0; one
    that damps more or less has them on a line that falls or rises, and one that is shifted on a level line.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    found, count = comparison.departure, len(comparison.observables)
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure = new_figure(max(6.4, 3 * columns), 0.9 + 2.6 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for j, panel in enumerate(panels.ravel()):
        if j >= count:
            panel.set_axis_off()
            continue
        _panel(panel, found, j)
        verdict, place = found.verdicts[j], ", ".join(map(str, comparison.qubits[j]))
        weight = "normal" if verdict == AS_CALIBRATED else "bold"
        panel.set_title(f"qubit {place}\n{verdict}", fontsize="medium", fontweight=weight)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    figure.supxlabel("exact expectation value", fontsize="medium")
    figure.supylabel("measured − expected", fontsize="medium")
    return figure


def _panel(panel: Axes, found: Departure, j: int) -> None:
    exact, measured, errors = found.exact[:, j], found.measured[:, j], found.errors[:, j]
    groups = np.array_split(np.argsort(exact), min(_GROUPS, len(exact)))
    panel.axhline(0, linestyle="--", color=GREY)
    for expected, colour, marker, name in (
        (exact, LIGHT, "D", "measured − exact"),
        (found.twin[:, j], DARK, "o", "measured − twin, 95 % if as calibrated"),
    ):
        panel.errorbar(
            [exact[rows].mean() for rows in groups],
            [(measured - expected)[rows].mean() for rows in groups],
            yerr=[Z95 * _error_of_mean(errors[rows]) for rows in groups],
            fmt=marker,
            color=colour,
            markersize=4,
            capsize=2,
            label=name,
        )
    panel.grid(alpha=0.3)
    panel.set_axisbelow(True)


def _error_of_mean(errors: FloatArray) -> float:
    return math.sqrt(float(np.sum(errors**2))) / len(errors)
