"""A comparison as a picture: accuracy, size and time beside each other."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .report import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "png"]


def figure(comparison: Comparison, title: str) -> Figure:
    """Three panels with one row a contender; sizes and times on logarithmic axes."""
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    rows = comparison.rows[::-1]  # the first on top
    places = range(len(rows))
    drawing = Figure(figsize=(10, 0.8 + 0.45 * len(rows)), layout="constrained")
    panels = drawing.subplots(1, 3, sharey=True, width_ratios=[2, 1, 1])
    colours = ["C1" if row.name in ("student", "paper") else "C0" for row in rows]
    for place, row, colour in zip(places, rows, colours, strict=True):
        value, low, high = (100 * number for number in row.accuracy)
        panels[0].errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
        for each in row.measurements if len(row.measurements) > 1 else ():
            correct = 100 * each.correct.count("1") / len(each.correct)
            panels[0].plot(correct, place - 0.22, marker="|", color=colour, alpha=0.6)
    panels[0].set_yticks([*places], [row.title for row in rows])
    panels[0].set_xlabel("accuracy, %: mean with 95 % interval, seeds below")
    panels[0].grid(axis="x", alpha=0.3)
    for panel, field, unit, label in (
        (panels[1], "disk_bytes", 1e6, "on disk, MB"),
        (panels[2], "milliseconds", 1.0, "ms a text"),
    ):
        values = [(row.middle(field) or 0) / unit for row in rows]
        shown = [value for value in values if value]
        panel.set_xscale("log")
        if shown:
            panel.set_xlim(min(shown) / 3, max(shown) * 8)
        for place, value, colour in zip(places, values, colours, strict=True):
            if value:
                panel.plot(value, place, "o", color=colour)
            panel.annotate(
                f"{value:.3g}" if value else "not measured",
                (value or panel.get_xlim()[0], place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
        panel.set_xlabel(label)
        panel.grid(axis="x", alpha=0.3)
    drawing.suptitle(title, fontsize="medium", parse_math=False)
    return drawing


def png(comparison: Comparison, title: str) -> bytes:
    """The same, as a file's content."""
    content = io.BytesIO()
    figure(comparison, title).savefig(content, format="png", dpi=150)
    return content.getvalue()
