"""A circuit as the page draws it."""

from __future__ import annotations

from msgspec import Struct

from ..circuit import Circuit, affine

__all__ = ["DrawnCircuit", "DrawnGate", "drawn"]


class Angle(Struct):
    """A gate's angle in radians: Σ factors[input]·input + offset."""

    factors: dict[str, float]
    offset: float


class DrawnGate(Struct):
    """One gate, in the order in which they are applied."""

    name: str
    qubits: list[int]
    angles: list[Angle]


class DrawnCircuit(Struct):
    """A circuit in standard gates, and the products of Z that are measured at its end, qubit 0 rightmost."""

    qubits: int
    inputs: list[str]
    gates: list[DrawnGate]
    observables: list[str]


def drawn(circuit: Circuit) -> DrawnCircuit:
    """The circuit's gates, with their angles.

    Raises:
        CircuitError: Qiskit cannot read it.
        MissingExtraError: Qiskit is not installed.
    """
    lowered = circuit.to_qiskit()
    gates = []
    for instruction in lowered.data:
        qubits = [lowered.find_bit(qubit).index for qubit in instruction.qubits]
        angles = []
        for parameter in instruction.operation.params:
            factors, offset = affine(parameter)
            angles.append(Angle({symbol.name: factor for symbol, factor in factors.items()}, offset))
        gates.append(DrawnGate(instruction.operation.name, qubits, angles))
    return DrawnCircuit(lowered.num_qubits, list(circuit.inputs), gates, list(circuit.observables))
