"""Hold the error bars of sampled predictions against the exact values, for several numbers of shots.

    python benchmarks/error_bars.py exported_models/topic topic_test.csv

A z-score is (sampled − exact) / standard error; where the errors are right, z has the standard deviation 1 and lies
within ±1.96 for 95 %. The mean confidence should not be above the share of labels that stand, that is, are those of
the exact values.
"""

from __future__ import annotations

import argparse

import numpy as np

from qdinfer import AerBackend, Classifier
from qdinfer.tabular import column, read_table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("texts", help="csv or jsonl with a column `text`")
    parser.add_argument("--shots", type=int, nargs="+", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classifier = Classifier.load(arguments.student)
    texts = column(read_table(arguments.texts, columns=["text"]), "text")
    exact = classifier.classify(texts)
    print(f"{len(texts)} texts         expectation values      probabilities          labels")
    heads = ("sd of z", "in ±1.96", "sd of z", "in ±1.96", "confidence", "stand")
    print(f"{'shots':>8} {heads[0]:>14} {heads[1]:>9} {heads[2]:>12} {heads[3]:>9} {heads[4]:>13} {heads[5]:>7}")
    for shots in arguments.shots:
        found = classifier.classify(texts, backend=AerBackend(shots, seed=arguments.seed))
        values = found.expectations.values - exact.expectations.values
        row = []
        for z in (
            values / found.expectations.standard_errors,
            (found.probabilities - exact.probabilities) / found.standard_errors,
        ):
            row += [z.std(), float(np.mean(np.abs(z) < 1.96))]
        stand = float(np.mean(found.labels == exact.labels))
        print(
            f"{shots:>8} {row[0]:>14.2f} {row[1]:>9.3f} {row[2]:>12.2f} {row[3]:>9.3f} "
            f"{found.confidence.mean():>13.3f} {stand:>7.3f}"
        )


if __name__ == "__main__":
    main()
