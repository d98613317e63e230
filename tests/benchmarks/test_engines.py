"""Every engine that is timed computes what ours does; one that does not is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from students import parts

from benchmarks.circuits import LONGEST, check_values, rows_of_a_call
from benchmarks.compiling import line_circuit
from benchmarks.conversion import measured_qubits
from benchmarks.engines import ENGINES
from benchmarks.results import BenchmarkError, Timing
from benchmarks.workers import Worker
from qdinfer import Circuit
from qdinfer.circuit import BASIS
from qdinfer.compiler import statevector_expectations
from qdistill.export import export

ANGLES = np.random.default_rng(5).uniform(-3, 3, (4, 3)).astype(np.float32)


def every_gate() -> Circuit:
    """Each gate of `BASIS`, the rotations with and without inputs, on qubits in either order."""
    names = ["theta_0", "theta_10", "theta_2"]  # sorted by name, they would not be in order
    inputs = [Parameter(name) for name in names]
    circuit = QuantumCircuit(3)
    for i, gate in enumerate(BASIS):
        qubits = [i % 3, (i + 1) % 3]
        add = getattr(circuit, gate)
        if gate.startswith("r"):
            used = qubits if len(gate) == 3 else qubits[:1]
            add(0.3 + i, *used)
            add(inputs[i % 3] + inputs[(i + 1) % 3] if len(gate) == 3 else 2 * inputs[i % 3] - 0.4, *used)
        else:
            add(*(qubits if gate in ("cx", "cz", "swap") else qubits[:1]))
            circuit.ry(0.5 + i, (i + 2) % 3)
    return Circuit.from_qiskit(circuit, names)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifact, reason = export(dataclasses.replace(parts(3), circuit=every_gate()))
    assert reason is None
    return artifact.save(tmp_path_factory.mktemp("students") / "every-gate")


@pytest.fixture(scope="module")
def angles_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("angles") / "angles.npy"
    np.save(file, ANGLES)
    return file


@pytest.mark.parametrize("name", ENGINES)
def test_engine_computes_the_circuit(name: str, student: Path, angles_file: Path) -> None:
    kind = ENGINES[name]
    assert set(every_gate().gate_counts) == set(BASIS)
    expected = statevector_expectations(every_gate(), ANGLES)
    assert np.ptp(expected) > 0.5
    with Worker("circuit", name, [str(student), str(angles_file)], kind.environment) as worker:
        for batch in (1, 4):
            assert worker.warm(batch) > 0
            found = np.array(worker.answer(batch))
            assert found.shape == (batch, 3)
            assert np.abs(found - expected[:batch]).max() < kind.tolerance
            assert worker.seconds(batch) > 0


def test_another_circuit_is_not_within_the_tolerance_of_shots() -> None:
    expected = statevector_expectations(every_gate(), ANGLES)
    other = statevector_expectations(line_circuit(3, 1), ANGLES)
    with pytest.raises(BenchmarkError, match=r"aer_sampler: found values up to .* from ours; expected at most 0.19"):
        check_values("aer_sampler", other, expected, ENGINES["aer_sampler"].tolerance)


def test_wrong_values_are_refused() -> None:
    ours = np.zeros((2, 3))
    assert check_values("near", ours + 1e-6, ours, 1e-4) == pytest.approx(1e-6)
    for found in (ours + 1e-3, ours * np.nan):
        with pytest.raises(BenchmarkError, match="wrong: found values up to"):
            check_values("wrong", found, ours, 1e-4)
    with pytest.raises(BenchmarkError, match=r"wrong: found values \(3, 2\); expected \(2, 3\)"):
        check_values("wrong", ours.T, ours, 1e-4)


def test_only_z_on_one_qubit_is_measured() -> None:
    circuit = line_circuit(3, 1)
    assert measured_qubits(circuit) == [0, 1, 2]
    with pytest.raises(BenchmarkError, match="expected Z on one qubit each"):
        measured_qubits(dataclasses.replace(circuit, observables=("ZZI",)))


def test_a_call_that_would_take_too_long_gets_fewer_rows() -> None:
    slow = Timing(engine="slow", batch=64, rows=64, seconds=[LONGEST / 2] * 3)
    assert rows_of_a_call(64, []) == 64
    assert rows_of_a_call(128, [slow]) == 128
    assert rows_of_a_call(1024, [slow]) == 64


def test_line_circuits_are_those_of_the_page() -> None:
    circuit = line_circuit(5, 3)
    assert circuit.gate_counts == {"rx": 5, "ry": 5 * 4, "rz": 5 * 3, "cz": 4 * 3}
    assert len(circuit.inputs) == len(circuit.observables) == 5
