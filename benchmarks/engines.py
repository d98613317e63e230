"""Ways to evaluate a circuit: ours and those of others, each as its library's documentation would have it.

`ENGINES` is all of them. A library is imported in the function that needs it, in a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from qdinfer import Artifact, Circuit
from qdinfer.circuit import BASIS
from qdinfer.predictions import FloatArray

from .conversion import measured_qubits, operations, pennylane_ansatz, qulacs_circuit

__all__ = ["ENGINES", "PACKAGES", "EngineKind", "prepare"]

Run = Callable[[FloatArray], FloatArray]
"""(N, P) angles → (N, M) expectation values."""

PACKAGES = (
    *("numpy", "onnxruntime", "qiskit", "qiskit-aer", "qiskit-machine-learning"),
    *("pennylane", "pennylane-lightning", "qulacs"),
)
SHOTS = 1024
BROADCAST = 64  # more rows at a time are slower
_EXACT = 1e-4  # far above what float32 costs, far below what would change a label
_SAMPLED = 6 / math.sqrt(SHOTS)  # six times the largest standard error that a mean of so many ±1 can have


class EngineKind(NamedTuple):
    """One engine.

    Attributes:
        title: for people.
        note: how it is called.
        make: builds it from a student and its circuit.
        tolerance: how far its values may be from ours.
        environment: of its process.
    """

    title: str
    note: str
    make: Callable[[Artifact, Circuit], Run]
    tolerance: float = _EXACT
    environment: Mapping[str, str] = MappingProxyType({})


def prepare(name: str, student: str, angles_file: str) -> Callable[[int], Callable[[], FloatArray]]:
    """An engine, ready for a worker: its batches are the first rows of the file (.npy)."""
    artifact = Artifact.open(student)
    circuit = Circuit.from_artifact(artifact)
    measured_qubits(circuit)
    run = ENGINES[name].make(artifact, circuit)
    angles = np.load(angles_file)

    def batch(size: int) -> Callable[[], FloatArray]:
        if size > len(angles):
            raise ValueError(f"{angles_file}: found {len(angles)} rows; expected at least {size}")
        return partial(run, angles[:size])

    return batch


def _exact(artifact: Artifact, circuit: Circuit) -> Run:
    from qdinfer import ExactBackend

    backend = ExactBackend.from_artifact(artifact)
    return lambda angles: backend.expectations(circuit, angles).values


def _aer_estimator(artifact: Artifact, circuit: Circuit) -> Run:
    from qiskit import transpile
    from qiskit_aer.primitives import EstimatorV2

    prepared = transpile(circuit.to_qiskit(), basis_gates=list(BASIS), optimization_level=1)
    estimator = EstimatorV2()
    observables = [[label] for label in circuit.observables]  # (M, 1) beside (N,) angles: all of each

    def run(angles: FloatArray) -> FloatArray:
        result = estimator.run([(prepared, observables, circuit.bindings(angles))], precision=0.0).result()
        return np.asarray(result[0].data.evs).T

    return run


def _aer_sampler(artifact: Artifact, circuit: Circuit) -> Run:
    from qiskit import transpile
    from qiskit_aer.primitives import SamplerV2

    prepared = transpile(circuit.to_qiskit(), basis_gates=list(BASIS), optimization_level=1)
    prepared.measure_all()
    sampler = SamplerV2(seed=7)
    measured = measured_qubits(circuit)

    def run(angles: FloatArray) -> FloatArray:
        bits = sampler.run([(prepared, circuit.bindings(angles))], shots=SHOTS).result()[0].data.meas
        means = 1 - 2 * bits.to_bool_array(order="little").mean(-2)
        return np.asarray(means)[:, measured]

    return run


def _statevector_estimator(artifact: Artifact, circuit: Circuit) -> Run:
    from qiskit.primitives import StatevectorEstimator

    quantum, estimator = circuit.to_qiskit(), StatevectorEstimator()
    observables = [[label] for label in circuit.observables]

    def run(angles: FloatArray) -> FloatArray:
        result = estimator.run([(quantum, observables, circuit.bindings(angles))], precision=0.0).result()
        return np.asarray(result[0].data.evs).T

    return run


def _estimator_qnn(artifact: Artifact, circuit: Circuit) -> Run:
    from qiskit.primitives import StatevectorEstimator
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_machine_learning.neural_networks import EstimatorQNN

    quantum = circuit.to_qiskit()
    parameters = {parameter.name: parameter for parameter in quantum.parameters}
    network = EstimatorQNN(
        circuit=quantum,
        estimator=StatevectorEstimator(),
        observables=[SparsePauliOp(label) for label in circuit.observables],
        input_params=[parameters[name] for name in circuit.inputs],
        weight_params=[],
        default_precision=0.0,
    )
    return lambda angles: np.asarray(network.forward(angles, np.empty(0)))


def _pennylane(device: str, circuit: Circuit) -> Any:
    import pennylane as qml

    return qml.QNode(pennylane_ansatz(circuit), qml.device(device, wires=circuit.num_qubits))


def _lightning(artifact: Artifact, circuit: Circuit) -> Run:
    node = _pennylane("lightning.qubit", circuit)
    return lambda angles: np.array([node(row) for row in angles])


def _default_qubit(artifact: Artifact, circuit: Circuit) -> Run:
    node = _pennylane("default.qubit", circuit)

    def run(angles: FloatArray) -> FloatArray:
        parts = [node(angles[start : start + BROADCAST].T) for start in range(0, len(angles), BROADCAST)]
        return np.concatenate([np.stack(part, axis=1) for part in parts])

    return run


def _qulacs(artifact: Artifact, circuit: Circuit) -> Run:
    import qulacs
    from qulacs.circuit import QuantumCircuitOptimizer

    parametric, parameters = qulacs_circuit(circuit)
    # Fixed gates on the same qubits become one: twice as fast. With parametric rotations of two qubits the optimizer
    # (0.6.14) moves gates past them that do not commute, and the values are wrong.
    if all(len(step.qubits) == 1 for step in operations(circuit) if step.factors):
        QuantumCircuitOptimizer().optimize_light(parametric)
    state = qulacs.QuantumState(circuit.num_qubits)
    measured = measured_qubits(circuit)

    def one(row: FloatArray) -> list[float]:
        for i, angle in enumerate(parameters(row)):
            parametric.set_parameter(i, angle)
        state.set_zero_state()
        parametric.update_quantum_state(state)
        return [2 * state.get_zero_probability(qubit) - 1 for qubit in measured]

    return lambda angles: np.array([one(row) for row in angles])


ENGINES: Mapping[str, EngineKind] = MappingProxyType(
    {
        "ours": EngineKind("qdinfer, exact engine", "all rows in one call, one thread", _exact),
        "aer_estimator": EngineKind("Aer `EstimatorV2`", "transpiled, one PUB, precision 0", _aer_estimator),
        "aer_sampler": EngineKind(
            "Aer `SamplerV2`", f"transpiled, one PUB, {SHOTS} shots a text", _aer_sampler, tolerance=_SAMPLED
        ),
        "statevector_estimator": EngineKind(
            "Qiskit `StatevectorEstimator`",
            "one PUB, precision 0; it simulates anew for each observable",
            _statevector_estimator,
        ),
        "estimator_qnn": EngineKind(
            "qiskit-machine-learning `EstimatorQNN`", "`forward` on `StatevectorEstimator`, precision 0", _estimator_qnn
        ),
        "lightning": EngineKind("PennyLane `lightning.qubit`", "row by row", _lightning),
        "default_qubit": EngineKind(
            "PennyLane `default.qubit`", f"broadcast, {BROADCAST} rows at most", _default_qubit
        ),
        "qulacs": EngineKind(
            "qulacs",
            "row by row, one thread, circuit optimized",
            _qulacs,
            environment=MappingProxyType({"OMP_NUM_THREADS": "1", "QULACS_NUM_THREADS": "1"}),
        ),
    }
)
"""Name → engine; ours first, the others are compared with it."""
