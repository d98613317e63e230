"""Draw the pictures of report.md: python docs/make_report_pictures.py STUDENT LABELLED.csv FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from qdinfer import AerBackend, Classifier, figures
from qdinfer.report import measure
from qdinfer.tabular import column, read_table


def draw(student: str, table: str, folder: Path) -> None:
    """Measure as ``qdinfer report`` does by default, and draw two of its figures."""
    rows = list(read_table(table, columns=["text", "label"]))
    backend = AerBackend(1000, seed=0)
    found = measure(Classifier.load(student), column(rows, "text"), column(rows, "label"), backend)
    drawn = {
        "reliability": figures.reliability_diagram(found.exact, found.labels),
        "shots": figures.accuracy_against_shots(found.shots.exact, found.shots.others, found.shots.labels),
    }
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
