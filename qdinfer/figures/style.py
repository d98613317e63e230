"""What all figures share: how one is made, colours, error bars, names.

Fonts are those of matplotlib's settings, `matplotlib.rcParams`. Colours are of the palette of Okabe and Ito
(https://jfly.uni-koeln.de/color/), which people with any colour vision can tell apart; a dark one stands beside a light
one, so that they differ in grey too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import require
from ..inspection import printable
from ..predictions import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DARK", "GREY", "LIGHT", "bars", "new_figure", "short", "signed"]

DARK, LIGHT, GREY = "#0072B2", "#E69F00", "#777777"
_NAME = 24  # letters of a class's name that fit


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    # Not by pyplot, which would keep it.
    module = require("matplotlib.figure", feature="drawing", extra="report")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    return figure


def bars(values: FloatArray, bounds: FloatArray) -> FloatArray:
    """Intervals (N, 2) as lengths (2, N) below and above the values (N,), as matplotlib takes error bars."""
    lengths: FloatArray = np.abs(bounds - values[:, None]).T
    return lengths


def short(name: str) -> str:
    """A class's name as it is shown."""
    name = printable(name)
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def signed(value: float) -> str:
    """A difference as it is shown: ``+0.012``, ``−0.003``."""
    return f"{value:+.3f}".replace("-", "−")
