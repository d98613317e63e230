"""Our circuits as those of libraries that do not read Qiskit's, gate by gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from qdinfer import Circuit
from qdinfer.circuit import affine
from qdinfer.predictions import FloatArray

from .results import BenchmarkError

__all__ = ["Operation", "measured_qubits", "operations", "pennylane_ansatz", "qulacs_circuit"]


class Operation(NamedTuple):
    """One gate of `qdinfer.circuit.BASIS`.

    Attributes:
        gate: its name.
        qubits: what it acts on.
        factors: column of the angles → what it is multiplied by.
        offset: added to their sum. The gate has no angle where there are no factors and this is None.
    """

    gate: str
    qubits: tuple[int, ...]
    factors: dict[int, float]
    offset: float | None

    def angle(self, row: Any) -> Any:
        """Its angle at a row of angles, or its angles at columns of many."""
        return sum((factor * row[column] for column, factor in self.factors.items()), self.offset or 0.0)


def operations(circuit: Circuit) -> list[Operation]:
    """The gates of a circuit, in order."""
    quantum, found = circuit.to_qiskit(), []
    column = {name: i for i, name in enumerate(circuit.inputs)}
    for instruction in quantum.data:
        factors: dict[int, float] = {}
        offset = None
        if instruction.operation.params:
            by_parameter, offset = affine(instruction.operation.params[0])
            factors = {column[parameter.name]: factor for parameter, factor in by_parameter.items()}
        qubits = tuple(quantum.find_bit(qubit).index for qubit in instruction.qubits)
        found.append(Operation(instruction.operation.name, qubits, factors, offset))
    return found


def measured_qubits(circuit: Circuit) -> list[int]:
    """The qubit of each observable.

    Raises:
        BenchmarkError: one is not Z on one qubit; the engines are written for no other.
    """
    if not (circuit.observable_masks.sum(axis=1) == 1).all():
        raise BenchmarkError(f"found the observables {circuit.observables}; expected Z on one qubit each")
    return [int(qubit) for qubit in circuit.observable_masks.argmax(axis=1)]


def pennylane_ansatz(circuit: Circuit) -> Callable[[Any], list[Any]]:
    """A function of angles (P,), or of columns (P, N), for a QNode: it gives what is measured."""
    import pennylane as qml

    gates = {"h": qml.Hadamard, "x": qml.PauliX, "y": qml.PauliY, "z": qml.PauliZ, "sx": qml.SX}
    gates |= {"s": qml.S, "sdg": qml.adjoint(qml.S), "t": qml.T, "tdg": qml.adjoint(qml.T)}
    gates |= {"rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "cx": qml.CNOT, "cz": qml.CZ, "swap": qml.SWAP}
    gates |= {"rxx": qml.IsingXX, "ryy": qml.IsingYY, "rzz": qml.IsingZZ}
    steps, measured = operations(circuit), measured_qubits(circuit)

    def ansatz(angles: Any) -> list[Any]:
        for step in steps:
            if step.offset is None:
                gates[step.gate](wires=step.qubits)
            else:
                gates[step.gate](step.angle(angles), wires=step.qubits)
        return [qml.expval(qml.PauliZ(qubit)) for qubit in measured]

    return ansatz


def qulacs_circuit(circuit: Circuit) -> tuple[Any, Callable[[FloatArray], FloatArray]]:
    """A parametric circuit of qulacs, and the function from a row of angles (P,) to its parameters, in its order.

    Its rotations turn the other way than those of Qiskit.
    """
    import qulacs

    made = qulacs.ParametricQuantumCircuit(circuit.num_qubits)
    steps, moving = operations(circuit), []
    paulis = {"rxx": [1, 1], "ryy": [2, 2], "rzz": [3, 3]}
    plain = {"h": "H", "x": "X", "y": "Y", "z": "Z", "s": "S", "sdg": "Sdag", "t": "T", "tdg": "Tdag", "sx": "sqrtX"}
    plain |= {"cx": "CNOT", "cz": "CZ", "swap": "SWAP"}
    for step in steps:
        kind = "add_parametric_" if step.factors else "add_"
        qubits, angle = step.qubits, -(step.offset or 0.0)
        if step.offset is None:
            getattr(made, f"add_{plain[step.gate]}_gate")(*qubits)
        elif step.gate in paulis:
            getattr(made, f"{kind}multi_Pauli_rotation_gate")(list(qubits), paulis[step.gate], angle)
        else:
            getattr(made, f"{kind}{step.gate.upper()}_gate")(*qubits, angle)
        if step.factors:
            moving.append(step)
    matrix = np.zeros((len(moving), len(circuit.inputs)))
    for i, step in enumerate(moving):
        for column, factor in step.factors.items():
            matrix[i, column] = -factor
    offsets = np.array([-(step.offset or 0.0) for step in moving])
    return made, lambda row: matrix @ row + offsets
