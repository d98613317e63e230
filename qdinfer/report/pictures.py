"""Figures as pictures inside an HTML page."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture"]

_DRAWING = threading.Lock()  # matplotlib's settings are everybody's
_SETTINGS = {
    "svg.hashsalt": "qdinfer",  # names inside the file are not random
    "svg.fonttype": "none",  # letters stay letters: the viewer may have those that matplotlib's own font lacks
}


def picture(draw: Callable[[], Figure]) -> str:
    """What is drawn as a ``data:`` address of an SVG; the same figure gives the same letters.

    It is drawn with matplotlib's own settings, whatever the user's are, and belongs into an ``<img>``, where nothing in
    it is run or fetched.

    Args:
        draw: makes the figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require("matplotlib", feature="drawing", extra="report")
    content = io.BytesIO()
    with _DRAWING, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the viewer's fonts count, not those here
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        draw().savefig(content, format="svg", dpi=150, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode()
