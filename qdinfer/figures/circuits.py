"""The circuit, drawn by Qiskit."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ..circuit import Circuit
from ..errors import require
from .style import DARK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["circuit_diagram"]

_COLUMNS = 16  # gates beside each other, at most
_INCH = 0.62  # of a column: at this width Qiskit writes angles in about 6 points
_FEATURE = "drawing a circuit"


def circuit_diagram(circuit: Circuit) -> Figure:
    """The circuit as Qiskit draws it, in its lowered gates and folded into lines of equal length.

    The data angles stand there by their names, in blue; the numbers are the trained angles, in radians, rounded to
    three digits. A global phase, which no measurement sees, is left out.

    Args:
        circuit: the trained circuit.

    Raises:
        CircuitError: Qiskit cannot read it.
        MissingExtraError: Qiskit, matplotlib or pylatexenc is not installed.
    """
    for module in ("matplotlib", "pylatexenc", "qiskit", "qiskit_qasm3_import"):
        require(module, feature=_FEATURE, extra="report")
    drawn = circuit.to_qiskit()
    drawn.global_phase = 0  # Qiskit would write it with pyplot, onto another figure
    _, right = _draw(drawn, -1).axes[0].get_xlim()
    lines = math.ceil(right / _COLUMNS)
    figure = _draw(drawn, math.ceil(right / lines))
    names = re.compile(rf"\b({'|'.join(circuit.inputs)})\b")
    for text in figure.axes[0].texts:
        if "$" not in text.get_text() and names.search(text.get_text()):  # with $ it is a gate's or a qubit's name
            text.set_color(DARK)
    return figure


def _draw(circuit: Any, fold: int) -> Figure:
    """Folded after so many columns; −1 for not at all."""
    width = _INCH * (fold + 2 if fold > 0 else 40)
    figure = new_figure(width, width)
    figure.set_layout_engine("none")
    panel = figure.add_axes((0, 0, 1, 1))
    circuit.draw("mpl", ax=panel, fold=fold, style="bw", plot_barriers=False)
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    figure.set_size_inches(width, width * (top - bottom) / (right - left))
    return figure
