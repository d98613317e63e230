"""The page: a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from qdinfer.evaluation import wilson_interval

from .contenders import COMPARED
from .results import Cell, Circuits, Compiling, Contender, Results, Setting, Start, Startup, Streaming, Texts, Timing
from .statistics import Spread, ratios, spread

__all__ = ["page"]

_INTRODUCTION = """\
# Benchmarks

`make bench DATA=FOLDER` measured all of this; the folder holds `topic_train.csv` and `topic_test.csv`, the texts that
the students in `exported_models` were made from. The raw numbers are in [results.json](benchmarks/results.json).

Whatever is compared runs in a process of its own, warmed up, and is asked in turn: in every round each once, so that
what disturbs the machine disturbs all. A time is the median over the rounds; a ratio is the median of the rounds'
ratios; in brackets are the quartiles. All may use every core that the machine has, unless the table says otherwise.
Before anything is timed, its answers are compared with ours, and a difference that its precision or its shots do not
explain ends the run.

**What this does not say.** A circuit of this size has not been seen to beat a classical layer of the same width
([comparison.md](comparison.md)), and none is needed to run fast: these numbers say what it costs to have one.
"""


def page(results: Results) -> str:
    """The whole page in Markdown."""
    parts = [iter(_INTRODUCTION.rstrip().splitlines())]
    if results.circuits is not None:
        parts.append(_circuits(results.circuits))
    if results.texts is not None:
        parts.append(_texts(results.texts))
    if results.startup is not None:
        parts.append(_startup(results.startup))
    if results.compiling is not None:
        parts.append(_compiling(results.compiling))
    if results.streaming is not None:
        parts.append(_streaming(results.streaming))
    parts.append(_settings(results))
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _circuits(found: Circuits) -> Iterator[str]:
    yield "## Evaluating the circuit"
    yield ""
    yield (
        f"The published circuit of `{found.student}`, {found.qubits} qubits and {found.gates} gates: all "
        f"{found.qubits} expectation values ⟨Z⟩, at random angles. Time a text, and how many times ours that is."
    )
    yield ""
    batches = list(dict.fromkeys(each.batch for each in found.timings))
    timings = {(each.engine, each.batch): each for each in found.timings}
    heads = [f"{batch} text{'s' * (batch > 1)} a call" for batch in batches]
    rows = []
    for engine in found.engines:
        cells = [_timing(timings[engine.name, batch], timings["ours", batch]) for batch in batches]
        difference = "" if engine.name == "ours" else f"{engine.difference:.1g}"
        rows.append([f"{engine.title}: {engine.note}", difference, *cells])
    yield from _table(["engine", "largest difference from ours", *heads], rows)
    yield ""
    yield "![time a text](benchmarks/circuits.png)"
    yield ""
    yield (
        f"The differences are those of {found.checked_rows} texts; where there are shots, they are noise. Over "
        f"{found.accuracy_rows} random rows of angles, ours, in float32, is within {found.largest_error:.1e} of a "
        f"statevector in float64, {found.mean_error:.1e} on average."
    )
    if any(each.rows < each.batch for each in found.timings):
        yield ""
        yield "(with fewer): one call would have taken too long, so the time a text is that of smaller calls."


def _timing(timing: Timing, ours: Timing) -> str:
    cell = _time(spread(timing.a_text))
    if timing.engine != "ours":
        cell += f": {_times(ratios(timing.a_text, ours.a_text))}"
    return cell + (f" (with {timing.rows})" if timing.rows < timing.batch else "")


def _texts(found: Texts) -> Iterator[str]:
    yield "## From texts to labels"
    yield ""
    yield f"News headlines, end to end. Accuracy is that on the {found.test_texts} test texts, with its 95 % interval."
    yield ""
    by_name = {each.name: each for each in found.contenders}
    rows = [
        [
            f"{each.title}: {each.note}",
            f"{each.texts}",
            _rate(each),
            _accuracy(each, found.test_texts),
            each.agrees,
        ]
        for each in found.contenders
    ]
    yield from _table(["", "texts a call", "texts a second", "accuracy", "agrees with the student"], rows)
    yield ""
    yield "![throughput and accuracy](benchmarks/texts.png)"
    yield ""
    for name, other, words in COMPARED:
        ratio = ratios(by_name[other].a_text, by_name[name].a_text)
        shown = f"{ratio.median:.2f} × ({ratio.low:.2f} to {ratio.high:.2f})"
        yield f"- {by_name[name].title} has {shown} the throughput of {words}."


def _accuracy(each: Contender, texts: int) -> str:
    if each.hits is None:
        return "–"
    low, high = wilson_interval(each.hits, texts)
    return f"{each.hits / texts:.3f} ({low:.3f} to {high:.3f})"


_PROGRAM_TITLES = {
    "bare": "`benchmarks/bare.py`: onnxruntime, tokenizers and numpy alone, nothing checked",
    "library": "`Classifier.load(path).predict(text)`",
    "command": "`python -m qdinfer predict STUDENT TEXT`",
}


def _startup(found: Startup) -> Iterator[str]:
    yield "## Starting"
    yield ""
    yield "From the start of a Python process to its first label, and the most memory that was resident."
    yield ""
    by_name = {(each.student, each.program): each for each in found.starts}
    rows = [
        [
            f"`{each.student}`",
            _PROGRAM_TITLES[each.program],
            _time(spread(each.seconds)),
            _beside(each, by_name, "seconds"),
            f"{spread(each.memory).median / 1e6:.0f} MB",
            _beside(each, by_name, "memory"),
        ]
        for each in found.starts
    ]
    yield from _table(["student", "program", "first label", "ratio", "peak memory", "ratio"], rows)


def _beside(each: Start, by_name: Mapping[tuple[str, str], Start], field: str) -> str:
    if each.program == "bare":
        return ""
    ratio = ratios(getattr(each, field), getattr(by_name[each.student, "bare"], field))
    return f"{ratio.median:.2f} × ({ratio.low:.2f} to {ratio.high:.2f})"


def _compiling(found: Compiling) -> Iterator[str]:
    yield "## Compiling"
    yield ""
    yield (
        "Circuits on a line: the data enter by RX on each qubit; each layer is RY and RZ on each qubit and CZ between "
        "neighbours, at random angles; Z is measured on each qubit. One process a circuit, with at most 8 GB, "
        f"stopped after {found.limit:g} s. The time includes the comparison with an independent reference."
    )
    yield ""
    heads = ("circuit", "qubits", "layers", "compiling", "size", "multiply-adds a text")
    yield from _table(
        [*heads, "1 text by itself", "a text of 1024", "peak memory"], [_compiled(each) for each in found.cells]
    )
    yield ""
    yield "![against qubits](benchmarks/compiling.png)"
    reasons = dict.fromkeys(f"{each.ended}: {each.reason}" for each in found.cells if each.ended)
    if reasons:
        yield ""
        yield from (f"- {reason}" for reason in reasons)


def _compiled(cell: Cell) -> list[str]:
    start = [
        "line" if cell.depth is not None else f"that of `{cell.name}`",
        f"{cell.qubits}",
        "" if cell.depth is None else f"{cell.depth}",
    ]
    if cell.ended is not None:
        return [*start, cell.ended, "", "", "", "", ""]
    return [
        *start,
        _seconds(cell.seconds or 0),
        f"{(cell.size or 0) / 1e3:,.0f} kB",
        f"{cell.multiply_adds or 0:,}",
        _seconds(cell.one or 0),
        _seconds(cell.many or 0),
        f"{(cell.memory or 0) / 1e6:.0f} MB",
    ]


def _streaming(found: Streaming) -> Iterator[str]:
    yield "## Streaming"
    yield ""
    early = next(each for each in found.samples if each.texts >= found.texts / 10)
    last = found.samples[-1]
    yield (
        f"{found.texts:,} texts through `Classifier.stream` of `{found.student}` in one process: "
        f"{found.texts / found.seconds:,.0f} texts a second. Resident memory after {early.texts:,} texts: "
        f"{early.memory / 1e6:.1f} MB; at the end: {last.memory / 1e6:.1f} MB "
        f"({(last.memory - early.memory) / 1e6:+.1f} MB)."
    )
    yield ""
    yield "![memory](benchmarks/streaming.png)"


def _settings(results: Results) -> Iterator[str]:
    yield "## Measured with"
    yield ""
    for name in ("circuits", "texts", "startup", "compiling", "streaming"):
        part = getattr(results, name)
        if part is not None:
            yield f"- {name}: {_setting(part.setting)}"


def _setting(setting: Setting) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions.items())
    cores = f"{setting.cores} core" + "s" * (setting.cores > 1)
    return (
        f"`{setting.command}`; {cores} of {setting.cpu}, {setting.system}, load {setting.load:.1f} before; {versions}"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in (heads, ["---"] * len(heads), *rows):
        yield "| " + " | ".join(line) + " |"


def _rate(each: Contender) -> str:
    rate = spread([1 / seconds for seconds in each.a_text])
    return f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})"


def _time(found: Spread) -> str:
    return f"{_seconds(found.median)} ({_seconds(found.low)} to {_seconds(found.high)})"


def _times(found: Spread) -> str:
    return f"**{_digits(found.median)} ×** ({_digits(found.low)} to {_digits(found.high)})"


def _seconds(value: float) -> str:
    """A time in the unit that suits it, to three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-6)} µs"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
