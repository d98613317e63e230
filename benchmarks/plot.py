"""What was measured, as pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from qdinfer.evaluation import wilson_interval

from .results import Circuits, Compiling, Results, Streaming, Texts
from .statistics import spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pictures"]


def pictures(results: Results) -> Mapping[str, bytes]:
    """File name → content, of each part that was measured and has a picture."""
    drawn: dict[str, bytes] = {}
    if results.circuits is not None:
        drawn["circuits.png"] = _png(_circuits(results.circuits))
    if results.texts is not None:
        drawn["texts.png"] = _png(_texts(results.texts))
    if results.compiling is not None:
        drawn["compiling.png"] = _png(_compiling(results.compiling))
    if results.streaming is not None:
        drawn["streaming.png"] = _png(_streaming(results.streaming))
    return drawn


def _png(drawing: Figure) -> bytes:
    content = io.BytesIO()
    drawing.savefig(content, format="png", dpi=120)
    return content.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    return Figure(figsize=(width, height), layout="constrained")


def _circuits(found: Circuits) -> Figure:
    """Time a text against the texts in a call, a line an engine."""
    drawing = _figure(8, 5)
    panel = drawing.subplots()
    for engine in found.engines:
        timings = [each for each in found.timings if each.engine == engine.name]
        middles = [spread(each.a_text).scaled(1e6).median for each in timings]
        ours = engine.name == "ours"
        panel.plot(
            [each.batch for each in timings],
            middles,
            marker="o",
            linewidth=3 if ours else 1.2,
            label=engine.title.replace("`", ""),
            zorder=3 if ours else 2,
        )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    batches = sorted({each.batch for each in found.timings})
    panel.set_xticks(batches, [f"{each}" for each in batches])
    panel.set_xlabel("texts a call")
    panel.set_ylabel(f"µs a text, all {found.qubits} expectation values")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


def _texts(found: Texts) -> Figure:
    """Throughput and accuracy, a row a contender."""
    contenders = found.contenders[::-1]  # the first on top
    places = range(len(contenders))
    drawing = _figure(10, 0.8 + 0.45 * len(contenders))
    panels = drawing.subplots(1, 2, sharey=True)
    for place, each in zip(places, contenders, strict=True):
        colour = "C1" if each.title.startswith("student") else "C0"
        rate = spread([1 / seconds for seconds in each.a_text])
        error = [[rate.median - rate.low], [rate.high - rate.median]]
        panels[0].errorbar(rate.median, place, xerr=error, fmt="o", color=colour, capsize=3)
        if each.hits is not None:
            low, high = (100 * limit for limit in wilson_interval(each.hits, found.test_texts))
            value = 100 * each.hits / found.test_texts
            panels[1].errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=3)
    panels[0].set_yticks([*places], [each.title.replace("`", "") for each in contenders])
    panels[0].set_xscale("log")
    panels[0].set_xlabel("texts a second")
    panels[1].set_xlabel("accuracy, % with 95 % interval")
    for panel in panels:
        panel.grid(axis="x", alpha=0.3)
    return drawing


def _compiling(found: Compiling) -> Figure:
    """Compile time, size and time a text against qubits, a line a depth."""
    drawing = _figure(11, 3.6)
    panels = drawing.subplots(1, 3)
    values: list[tuple[str, Callable[..., float]]] = [
        ("compiling, s", lambda cell: cell.seconds),
        ("size, kB", lambda cell: cell.size / 1e3),
        ("µs a text, 1024 at a time", lambda cell: cell.many * 1e6),
    ]
    done = [each for each in found.cells if each.ended is None]
    for panel, (label, value) in zip(panels, values, strict=True):
        for depth in dict.fromkeys(each.depth for each in done):
            cells = [each for each in done if each.depth == depth]
            name = f"depth {depth}" if depth is not None else cells[0].name
            marker = "o" if depth is not None else "*"
            panel.plot([each.qubits for each in cells], [value(each) for each in cells], marker=marker, label=name)
        if done:
            panel.set_xscale("log")
            panel.set_yscale("log")
            qubits = sorted({each.qubits for each in done})
            panel.set_xticks(qubits, [f"{each}" for each in qubits])
            panel.minorticks_off()
        panel.set_xlabel("qubits")
        panel.set_title(label, fontsize="medium")
        panel.grid(alpha=0.3)
    if done:
        panels[0].legend(fontsize="small")
    return drawing


def _streaming(found: Streaming) -> Figure:
    """Resident memory against texts."""
    drawing = _figure(7, 3)
    panel = drawing.subplots()
    panel.plot([each.texts for each in found.samples], [each.memory / 1e6 for each in found.samples])
    panel.set_ylim(0, 1.2 * max(each.memory for each in found.samples) / 1e6)
    panel.set_xlabel("texts")
    panel.set_ylabel("resident memory, MB")
    panel.grid(alpha=0.3)
    return drawing
