"""Label the headlines beside this file with the student in exported_models/topic."""

from __future__ import annotations

from pathlib import Path

from qdinfer import Classifier
from qdinfer.tabular import column, read_table

HERE = Path(__file__).parent


def main() -> None:
    """Print a table: headline, label, probability."""
    headlines = column(read_table(str(HERE / "headlines.csv"), columns=["text"]), "text")
    classifier = Classifier.load(HERE.parent / "exported_models" / "topic")
    for headline, prediction in zip(headlines, classifier.classify(headlines), strict=True):
        print(f"{prediction.label:<10} {prediction.probabilities[prediction.label]:>4.0%}   {headline}")


if __name__ == "__main__":
    main()
