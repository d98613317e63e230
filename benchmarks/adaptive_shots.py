"""Hold adaptive shots against a fixed number of them and against exact values, for one student and a file of texts.

    python -m benchmarks.adaptive_shots exported_models/topic topic_test.csv

Every text is measured `--repeats` times either way, with bits drawn from the exact distribution of its circuit.
Shares have 95 % intervals (Wilson), counting each measurement of a text as one, however many error bars it has.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.distributions import DistributionBackend
from qdinfer import AdaptiveBackend, Classifier, Expectations, Predictions, Readout
from qdinfer.backends.sampling import Measured
from qdinfer.evaluation import wilson_interval
from qdinfer.predictions import BoolArray, FloatArray
from qdinfer.tabular import column, read_table

FIXED = [30, 100, 300, 1000, 4096]
"""Numbers of shots whose error bars are tried."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("texts", help="csv or jsonl with a column `text`")
    parser.add_argument("--confidence", type=float, default=0.99)
    parser.add_argument("--max-shots", type=int, default=4096)
    parser.add_argument("--first-shots", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    classifier = Classifier.load(arguments.student)
    texts = column(read_table(arguments.texts, columns=["text"]), "text")
    circuit, readout = classifier.circuit, classifier.readout
    angles = classifier.encoder.encode(texts)
    sampler = DistributionBackend(circuit, angles, seed=arguments.seed)
    adaptive = AdaptiveBackend(
        sampler,
        readout,
        confidence=arguments.confidence,
        max_shots=arguments.max_shots,
        first_shots=arguments.first_shots,
    )
    exact = readout.predict(sampler.expectations(circuit, angles))
    repeats = range(arguments.repeats)
    found = [readout.predict(adaptive.expectations(circuit, angles)) for _ in repeats]
    fixed, other = (
        [_fixed(sampler.measure(circuit, angles, arguments.max_shots), readout) for _ in repeats] for _ in range(2)
    )
    shots = np.array([predictions.shots for predictions in found])
    confident = np.array([predictions.confidence for predictions in found]) >= arguments.confidence
    labels, fixed_labels, other_labels = (np.array([one.labels for one in runs]) for runs in (found, fixed, other))
    print(
        f"{len(texts)} texts, {arguments.repeats} times; confidence {arguments.confidence}, cap {arguments.max_shots}"
    )
    print(f"  shots a text: mean {shots.mean():.0f}, median {np.median(shots):.0f}")
    _print_share("open at the cap", ~confident)
    _print_share("label of the fixed shots", labels == fixed_labels)
    _print_share("fixed shots: label of as many others", other_labels == fixed_labels)
    _print_share("exact label", labels == exact.labels)
    _print_share("fixed shots: exact label", fixed_labels == exact.labels)
    _print_share("confident, and not the exact label", confident & (labels != exact.labels))
    print("  error bars of 95 % cover, of expectation values and of probabilities")
    _print_coverage("adaptive", found, exact)
    for number in FIXED:
        runs = [_fixed(sampler.measure(circuit, angles, number), readout) for _ in repeats]
        _print_coverage(f"{number} shots", runs, exact)


def _fixed(measured: Measured, readout: Readout) -> Predictions:
    return readout.predict(measured.expectations("statevector"))


def _print_share(name: str, holds: BoolArray) -> None:
    print(f"  {name:<37} {_share(holds)}")


def _print_coverage(name: str, runs: list[Predictions], exact: Predictions) -> None:
    values = [_inside(run.expectations, exact.expectations) for run in runs]
    probabilities = [np.abs(run.probabilities - exact.probabilities) <= 1.96 * run.standard_errors for run in runs]
    print(f"  {name:<37} {_share(np.array(values))}   {_share(np.array(probabilities))}")


def _inside(found: Expectations, exact: Expectations) -> BoolArray:
    errors: FloatArray = np.abs(found.values - exact.values)
    return errors <= 1.96 * found.standard_errors


def _share(holds: BoolArray) -> str:
    measurements = holds.shape[0] * holds.shape[1]
    low, high = wilson_interval(float(holds.mean()) * measurements, measurements)
    return f"{holds.mean():.4f} ({low:.4f} to {high:.4f})"


if __name__ == "__main__":
    main()
