"""Time the exact engine against Aer's EstimatorV2: same circuit, same angles, same observables, in turn in one run.

    python benchmarks/engines.py exported_models/topic

Prints the median over the rounds of each engine's time, in microseconds a text, and of their ratio round by round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qiskit import transpile
from qiskit_aer.primitives import EstimatorV2

from qdinfer import Artifact, Circuit, ExactBackend
from qdinfer.circuit import BASIS

Run = Callable[[NDArray[np.float32]], object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    artifact = Artifact.open(arguments.student)
    circuit = Circuit.from_artifact(artifact)
    exact = ExactBackend.from_artifact(artifact)
    prepared = transpile(circuit.to_qiskit(), basis_gates=list(BASIS), optimization_level=1)
    observables = [[label] for label in circuit.observables]
    estimator = EstimatorV2()

    def ours(angles: NDArray[np.float32]) -> object:
        return exact.expectations(circuit, angles)

    def aer(angles: NDArray[np.float32]) -> object:
        return estimator.run([(prepared, observables, circuit.bindings(angles))], precision=0.0).result()

    rng = np.random.default_rng(0)
    print(f"{'batch':>6} {'exact engine':>14} {'Aer EstimatorV2':>16} {'ratio':>7}")
    for batch in (1, 8, 64, 1024):
        angles = rng.uniform(0, np.pi, (batch, len(circuit.inputs))).astype(np.float32)
        ours(angles), aer(angles)
        times = np.array([(_seconds(ours, angles), _seconds(aer, angles)) for _ in range(arguments.rounds)])
        mine, theirs = np.median(times, axis=0) / batch * 1e6
        print(f"{batch:>6} {mine:>11.1f} µs {theirs:>13.1f} µs {np.median(times[:, 1] / times[:, 0]):>7.0f}")


def _seconds(run: Run, angles: NDArray[np.float32]) -> float:
    """The time of one call; of the mean of many where one is too short to time."""
    calls = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < 0.05:
        run(angles)
        calls += 1
    return elapsed / calls


if __name__ == "__main__":
    main()
