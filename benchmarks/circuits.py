"""All engines on the published circuit: the same angles, the same observables, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from qdinfer import Artifact, Circuit, ExactBackend
from qdinfer.compiler import statevector_expectations
from qdinfer.predictions import FloatArray

from .engines import ENGINES
from .results import BenchmarkError, Circuits, Engine, Setting, Timing
from .statistics import spread
from .workers import Worker, in_turn

__all__ = ["BATCHES", "check_values", "measure_circuits", "rows_of_a_call"]

BATCHES = (1, 8, 64, 1024)
LONGEST = 20.0
"""Seconds that one call may take; an engine that would take longer is timed with fewer rows."""
_CHECKED = 8


def measure_circuits(
    setting: Setting,
    student: Path,
    *,
    batches: Sequence[int] = BATCHES,
    accuracy_rows: int = 256,
    step: Callable[[], object] = lambda: None,
) -> Circuits:
    """Check each engine's values against ours, then time all.

    Raises:
        BenchmarkError: an engine's process died, or its values are not those of the circuit.
    """
    artifact = Artifact.open(student)
    circuit = Circuit.from_artifact(artifact)
    random = np.random.default_rng(0)
    angles = random.uniform(-np.pi, np.pi, (max(*batches, _CHECKED), len(circuit.inputs))).astype(np.float32)
    timings: list[Timing] = []
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "angles.npy")
        np.save(file, angles)
        workers = {
            name: stack.enter_context(Worker("circuit", name, [str(student), str(file)], kind.environment))
            for name, kind in ENGINES.items()
        }
        ours = np.array(workers["ours"].answer(_CHECKED))
        engines = [
            Engine(
                name=name,
                title=kind.title,
                note=kind.note,
                difference=check_values(name, np.array(workers[name].answer(_CHECKED)), ours, kind.tolerance),
                tolerance=kind.tolerance,
            )
            for name, kind in ENGINES.items()
        ]
        for batch in batches:
            timings += _at(batch, workers, timings, setting.rounds, step)
    error = _errors(artifact, circuit, random, accuracy_rows)
    return Circuits(
        setting=setting,
        student=artifact.manifest.name,
        qubits=circuit.num_qubits,
        gates=sum(circuit.gate_counts.values()),
        checked_rows=_CHECKED,
        engines=engines,
        timings=timings,
        accuracy_rows=accuracy_rows,
        largest_error=float(error.max()),
        mean_error=float(error.mean()),
    )


def check_values(name: str, found: FloatArray, ours: FloatArray, tolerance: float) -> float:
    """The largest difference of an engine's values from ours.

    Raises:
        BenchmarkError: it is beyond what the engine's precision or shots explain, so that something else was computed.
    """
    if found.shape != ours.shape:
        raise BenchmarkError(f"{name}: found values {found.shape}; expected {ours.shape}")
    difference = float(np.abs(found - ours).max())
    if not difference <= tolerance:  # also if it is NaN
        raise BenchmarkError(f"{name}: found values up to {difference:.2g} from ours; expected at most {tolerance:.2g}")
    return difference


def rows_of_a_call(batch: int, known: Sequence[Timing]) -> int:
    """How many rows an engine is timed with: fewer than the batch if, by its last timing, that would take too long."""
    if not known:
        return batch
    last = known[-1]
    return batch if spread(last.a_text).median * batch <= LONGEST else last.rows


def _at(
    batch: int, workers: Mapping[str, Worker], known: Sequence[Timing], rounds: int, step: Callable[[], object]
) -> list[Timing]:
    rows = {name: rows_of_a_call(batch, [each for each in known if each.engine == name]) for name in workers}
    for name, worker in workers.items():
        worker.warm(rows[name])
    asked = {name: partial(worker.seconds, rows[name]) for name, worker in workers.items()}
    times = in_turn(asked, rounds, step=step)
    return [Timing(engine=name, batch=batch, rows=rows[name], seconds=times[name]) for name in workers]


def _errors(artifact: Artifact, circuit: Circuit, random: np.random.Generator, rows: int) -> FloatArray:
    angles = random.uniform(-np.pi, np.pi, (rows, len(circuit.inputs))).astype(np.float32)
    found = ExactBackend.from_artifact(artifact).expectations(circuit, angles).values
    return np.abs(found - statevector_expectations(circuit, angles))
