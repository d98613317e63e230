"""Forecasts of runs on devices, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..forecast import SETTLED, Forecast, Share
from .style import GREY, new_figure, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["forecast_against_shots"]

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")  # Okabe and Ito's
_MARKERS = "osD^vP*X"
_APART = 1.2  # factor between the bars of two forecasts
_LEAST = 1e-4  # share of unsettled labels: with fewer, a point stands there


def forecast_against_shots(forecasts: Sequence[Forecast], *, names: Sequence[str] | None = None) -> Figure:
    """What more shots give on each device, with readout mitigation (dashed) and without it.

    Left: the accuracy expected, or without true labels the share of labels that are the exact ones, and a line for
    exact values; markers, beside each other at the shots that were forecast, have bars of 95 % of the runs. Right: the
    share of labels that are those of infinitely many shots on the same device, and the line of 99 %.

    Args:
        forecasts: of the same texts, with the same number of shots.
        names: of their devices, for the legend; None for their own.

    Raises:
        InputError: none, other texts or shots, or not as many names.
        MissingExtraError: matplotlib is not installed.
    """
    names = [each.device for each in forecasts] if names is None else names
    same = {(each.texts, each.shots, each.exact_accuracy) for each in forecasts}
    if len(same) != 1 or len(names) != len(forecasts):
        raise InputError(
            f"forecast_against_shots: found {len(forecasts)} forecasts, {len(names)} names; "
            "expected as many, of the same texts and shots, not 0"
        )
    devices = list(dict.fromkeys(names))
    figure = new_figure(11.5, 4.8)
    left, right = figure.subplots(1, 2)
    for i, (name, each) in enumerate(zip(names, forecasts, strict=True)):
        place = devices.index(name)
        style: dict[str, Any] = {
            "color": _PALETTE[place % len(_PALETTE)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": "--" if each.mitigated else "-",
            "markerfacecolor": "white" if each.mitigated else _PALETTE[place % len(_PALETTE)],
        }
        label = short(name) + (", mitigated" if each.mitigated else "")
        labelled = each.accuracy is not None
        quality = [(point.accuracy if labelled else point.as_exact) or 0.0 for point in each.curve]
        chosen = each.accuracy or _mirrored(each.flipped)
        beside = each.shots * _APART ** (i - (len(forecasts) - 1) / 2)  # or the bars would hide each other
        left.plot([point.shots for point in each.curve], quality, **style, markersize=0)
        bars = [[chosen.mean - chosen.low], [chosen.high - chosen.mean]]
        left.errorbar(beside, chosen.mean, yerr=bars, **style, label=label, markersize=5, capsize=2)
        unsettled = [(point.shots, 1 - point.settled) for point in each.curve] + [(each.shots, 1 - each.settled.mean)]
        x, y = np.array(sorted(unsettled)).T
        right.plot(x, np.maximum(y, _LEAST), **style, markersize=5, markevery=[int(np.argmax(x == each.shots))])
    _dress_left(left, forecasts[0])
    _dress_right(right, max(1 - point.settled for each in forecasts for point in each.curve))
    for panel in (left, right):
        panel.axvline(forecasts[0].shots, color=GREY, linestyle=":")
        panel.set_xscale("log")
        panel.set_xlabel(f"shots a text (dotted: {forecasts[0].shots})")
        panel.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return figure


def _mirrored(share: Share) -> Share:
    """That of the other texts."""
    return Share(1 - share.mean, 1 - share.high, 1 - share.low)


def _dress_left(panel: Axes, first: Forecast) -> None:
    exact = 1.0 if first.exact_accuracy is None else first.exact_accuracy
    panel.axhline(exact, color="black", linewidth=1)
    panel.annotate(
        "exact" if first.exact_accuracy is None else f"exact: {exact:.4f}",
        (1, exact),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 3),
        textcoords="offset points",
        ha="right",
    )
    panel.margins(y=0.12)
    told = "accuracy: share of right labels" if first.exact_accuracy is not None else "share of labels as exact ones"
    panel.set_ylabel(told)
    panel.set_title(f"What a run would say of {first.texts} texts", fontsize="medium")


def _dress_right(panel: Axes, most: float) -> None:
    panel.axhline(1 - SETTLED, color="black", linewidth=1)
    panel.set_yscale("log")
    panel.set_yticks([0.5, 0.1, 0.01, 0.001, 0.0001], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    panel.minorticks_off()
    panel.set_ylim(max(0.02, 1.3 * most), _LEAST)
    panel.set_ylabel("share of labels that more shots would not change")
    panel.set_title("How settled its labels would be", fontsize="medium")
