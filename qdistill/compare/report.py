"""A comparison as a table in Markdown, with what it says of the circuit in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..names import TITLES
from .measurement import Measurement, hits
from .statistics import Estimate, difference, mean_accuracy

__all__ = ["Comparison", "Row"]

_COLUMNS = (
    "",
    "accuracy (95 % interval)",
    "student − it, points",
    "trained parameters",
    "on disk, MB",
    "peak memory, MB",
    "training, s",
    "ms a text",
)
_NOTES = """\
Accuracy is the mean over the trainings; its interval is for other seeds and other texts drawn as these were (for other
texts alone where there is one training). The differences are paired, text by text and, where both have seeds, seed by
seed. Everything else is the median over the trainings. Each had a process of its own; peak memory is that of training,
export and labelling together; training is from the texts to what can be deployed, imports included; ms a text is end to
end, all test texts at once. On disk are the files that would be deployed: large weights of a transformer as int8 in
students and twin, as float32 where it is fine-tuned whole; a pickle for TF-IDF. QD-LLM's settings are the paper's, on
the transformer given. The transformer is fine-tuned whole for two epochs."""
_TEACHER_NOTE = """\
Student, twin and QD-LLM's settings learned from labels and teacher, the others from the labels alone. The teacher's
figures are those of `qdistill label`: training is loading and fitting it."""
_MARGIN = 0.03
"""Two whose difference lies within ± this, with its whole interval, are called on par."""


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        name: a key of `TITLES`.
        title: for people.
        accuracy: mean over seeds.
        behind: the student's accuracy minus its own; None for the student.
        measurements: one a seed.
    """

    name: str
    title: str
    accuracy: Estimate
    behind: Estimate | None
    measurements: Sequence[Measurement]

    def middle(self, field: str) -> float | None:
        """The median over seeds of a measured number, None if there is none."""
        values = [value for each in self.measurements if (value := getattr(each, field)) is not None]
        return median(values) if values else None

    def to_cells(self) -> list[str]:
        """Its line of the table."""
        low, high = self.accuracy.low, self.accuracy.high
        parameters, disk = self.middle("trained_parameters"), self.middle("disk_bytes")
        memory, seconds, milliseconds = (self.middle(n) for n in ("peak_memory", "training_seconds", "milliseconds"))
        return [
            self.title,
            f"{self.accuracy.value:.3f} ({low:.3f} to {high:.3f})",
            _difference(self.behind),
            _cell(parameters, "{:,.0f}"),
            _cell(disk and disk / 1e6, "{:.1f}"),
            _cell(memory and memory / 1e6, "{:.0f}"),
            _cell(seconds, "{:.0f}"),
            _cell(milliseconds, "{:.2f}"),
        ]


@dataclass(frozen=True)
class Comparison:
    """All contenders, the student first."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, found: Mapping[str, list[Measurement]]) -> Comparison:
        """From the measurements of each contender."""
        student = hits(found["student"])
        rows = []
        for name, measurements in found.items():
            own = hits(measurements)
            rows.append(
                Row(
                    name=name,
                    title=TITLES[name],
                    accuracy=mean_accuracy(own),
                    behind=None if name == "student" else difference(student, own),
                    measurements=measurements,
                )
            )
        return cls(tuple(rows))

    def to_metrics(self) -> dict[str, float]:
        """The accuracies, for a student's manifest."""
        metrics: dict[str, float] = {}
        for row in self.rows:
            metrics[f"compare_{row.name}_accuracy"] = row.accuracy.value
            metrics[f"compare_{row.name}_95_low"] = row.accuracy.low
            metrics[f"compare_{row.name}_95_high"] = row.accuracy.high
            metrics[f"compare_{row.name}_trainings"] = float(len(row.measurements))
        return metrics

    def verdict(self) -> str:
        """What the comparison says of the circuit."""
        rows = {row.name: row for row in self.rows}
        gap = rows["twin"].behind
        if gap is None:
            raise ValueError("a twin has a difference from the student")
        points = f"{100 * gap.value:+.2f} points, 95 % interval {100 * gap.low:+.2f} to {100 * gap.high:+.2f}"
        if -_MARGIN <= gap.low <= 0 <= gap.high <= _MARGIN:
            return (
                f"The circuit is on par with its classical twin, a layer of the same width in its place ({points}): it "
                f"neither gains nor loses, within {100 * _MARGIN:.0f} points."
            )
        if gap.low <= 0 <= gap.high:
            return (
                "No difference was found between the circuit and its classical twin, but the interval is too wide to "
                f"call them on par ({points})."
            )
        word = "better" if gap.value > 0 else "worse"
        return f"The circuit is {word} than its classical twin, a layer of the same width in its place ({points})."

    def _made_with(self) -> list[str]:
        """Programs and machine, and who was measured with them."""
        by: dict[str, list[str]] = {}
        for row in self.rows:
            for each in row.measurements:
                if each.made_with and row.title not in by.setdefault(each.made_with, []):
                    by[each.made_with].append(row.title)
        return [f"{made_with}: {', '.join(titles)}" for made_with, titles in by.items()]

    def to_markdown(self, title: str, notes: Sequence[str]) -> str:
        """A page: table, verdict, notes."""
        table = [_COLUMNS, ["---"] * len(_COLUMNS), *(row.to_cells() for row in self.rows)]
        seeds = [
            f"- {row.title}: "
            + ", ".join(f"{each.correct.count('1') / len(each.correct):.4f}" for each in row.measurements)
            for row in self.rows
        ]
        texts = len(self.rows[0].measurements[0].correct)
        return "\n".join(
            [
                f"# {title}",
                "",
                *("| " + " | ".join(line) + " |" for line in table),
                "",
                f"**{self.verdict()}**",
                "",
                "![accuracy, size and time](comparison.png)",
                "",
                _NOTES,
                *([_TEACHER_NOTE] if any(row.name == "teacher" for row in self.rows) else []),
                "",
                f"Accuracy on the {texts} test texts, training by training:",
                "",
                *seeds,
                "",
                *notes,
                "",
                "Measured with",
                "",
                *(f"- {line}" for line in self._made_with()),
                "",
            ]
        )


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _difference(gap: Estimate | None) -> str:
    return "" if gap is None else f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
