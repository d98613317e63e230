"""Forecasts as a table, and what they come to in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..forecast import SETTLED, Forecast
from ..inspection import printable

__all__ = ["Row", "table", "verdict"]

_NORMAL = 100
_SETTLED = f"{100 * SETTLED:.0f} %"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: the device's.
        forecast: what a run would give.
        seconds: of the quantum computer; None where nobody knows.
        money: for them; None where there is no price.
    """

    name: str
    forecast: Forecast
    seconds: float | None
    money: float | None

    @property
    def title(self) -> str:
        """The device, and whether readout is mitigated."""
        return printable(self.name) + (", mitigated" if self.forecast.mitigated else "")

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {"name": self.name} | self.forecast.to_dict() | {"qpu_seconds": self.seconds, "money": self.money}

    @property
    def rank(self) -> tuple[float, float]:
        """The smaller, the better: labels that are wrong, or without true labels not the exact ones, in whole texts."""
        told = self.forecast
        worse = told.flipped.mean if told.accuracy is None else 1 - told.accuracy.mean
        return round(worse * told.texts), float("inf") if self.seconds is None else self.seconds


def table(rows: Sequence[Row]) -> str:
    """A line for exact values, and one for each forecast."""
    first = rows[0].forecast
    labelled, priced = first.accuracy is not None, any(row.money is not None for row in rows)
    header = ["", "calibrated"]
    header += ["accuracy", "95 % of runs", "∞ shots"] * labelled
    header += ["flipped", "95 % of runs", "∞ shots", f"{_SETTLED} at", "z", "QPU s"] + ["money"] * priced
    exact = ["exact", "-"] + [_number(first.exact_accuracy), "-", "-"] * labelled
    exact += ["0.0 %", "-", "-", "-", "-", "-"] + ["-"] * priced
    lines = [header, exact]
    for row in rows:
        told = row.forecast
        cells = [row.title, told.calibrated[:10]]
        if told.accuracy is not None:
            low, high = _number(told.accuracy.low), _number(told.accuracy.high)
            cells += [_number(told.accuracy.mean), f"{low} to {high}", _number(told.limit_accuracy)]
        cells += [_percent(told.flipped.mean), f"{100 * told.flipped.low:.1f} to {_percent(told.flipped.high)}"]
        cells += [_percent(told.limit_flipped), _shots(told.shots_needed), f"{told.rms_z:.1f}"]
        cells += ["-" if row.seconds is None else f"{row.seconds:.0f}"]
        cells += ["-" if row.money is None else f"{row.money:.2f}"] * priced
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def verdict(rows: Sequence[Row]) -> str:
    """Where to run, and whether running changes anything.

    The best is the forecast with the fewest wrong labels, in whole texts (without true labels, the fewest that are not
    the exact ones), and of such the cheapest.
    """
    best = min(rows, key=lambda row: row.rank)
    told, equal = best.forecast, sum(row.rank[0] == best.rank[0] for row in rows)
    cost = "" if best.seconds is None else f", for {best.seconds:.0f} s of QPU"
    among = f", one of {equal} that are equal to a label" if equal > 1 else ""
    flips = told.flipped.mean * told.texts
    changed = f"{_about(flips)} of {told.texts} labels would be other ones than the exact ones"
    words = [f"Best: {best.title}{cost}{among}; {changed}.", _worth(told), _enough(told)]
    if not all(row.forecast.correlated for row in rows):
        words.append("How the shots of two qubits vary together is not known: they were taken to be independent.")
    bound = max(row.forecast.bound for row in rows)
    if bound:
        words.append(f"Terms were left out of a twin: its expectation values may be off by {bound:.1e}.")
    return " ".join(words)


def _worth(told: Forecast) -> str:
    if told.flipped.high * told.texts < 1:
        return "A run changes next to nothing: exact values give the same labels, without a device."
    if told.accuracy is None or told.exact_accuracy is None:
        return "Without true labels, nobody knows whether that is for the better."
    lost = told.exact_accuracy - told.accuracy.mean
    points = f"{100 * abs(lost):.1f} points of accuracy"
    if told.accuracy.low <= told.exact_accuracy <= told.accuracy.high:
        return "A run would be about as accurate as exact values, which need no device: it can show that, and no more."
    if lost > 0:
        return f"It would lose {points} against exact values, which need no device: for the labels alone, do not run."
    return f"It would gain {points} on these texts, by chance of the noise: other texts may lose by it."


def _enough(told: Forecast) -> str:
    if told.shots_needed is None:
        return f"No number of shots settles {_SETTLED} of its labels."
    if told.shots_needed <= told.shots:
        return f"{_shots(told.shots_needed)} shots a text settle {_SETTLED} of its labels."
    settled = _percent(told.settled.mean)
    return f"{told.shots} shots a text settle {settled} of its labels; {_SETTLED} take {_shots(told.shots_needed)}."


def _about(count: float) -> str:
    return f"on average {count:.1g}" if count < 1 else f"about {count:.0f}"


def _shots(count: int | None) -> str:
    """Rounded up to two digits, for they are not known better; with few shots, normal errors say little."""
    if count is None:
        return "never"
    if count < _NORMAL:
        return f"under {_NORMAL}"
    unit = 10 ** max(0, len(str(count)) - 2)
    return str(-(-count // unit) * unit)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
