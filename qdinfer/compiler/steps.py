"""A circuit as steps on Pauli vectors, seen backwards (the Heisenberg picture).

A fixed gate U takes a Pauli Q to U†QU, which its Pauli transfer matrix holds. A data rotation exp(−iφP/2) has a
transfer matrix of the form H₁ + H_c·cos φ + H_s·sin φ: one matrix for each of the features 1, cos φ and sin φ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..circuit import affine
from ..errors import CompileError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction

__all__ = ["Complex", "Real", "Site", "Step", "clean", "cut_in_time", "steps_of", "transfer_matrix"]

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_PAULIS: Complex = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


@dataclass(frozen=True, order=True)
class Site:
    """One data rotation, by the angle scale · θ[input]. Its features are 1, cos and sin of that.

    Attributes:
        place: sites are put in this order, so that those which depend on each other most are neighbours: the first
            qubit that it acts on, or its number (see `cut_in_time`).
        number: position among the data rotations of the circuit.
        input: column of the angles.
        scale: factor in front of the angle.
    """

    place: int
    number: int
    input: int
    scale: float


@dataclass(frozen=True)
class Step:
    """A gate, or several merged.

    Attributes:
        qubits: the k qubits that it acts on; the first is the slowest index of a Pauli string.
        transfer: (1, 4ᵏ, 4ᵏ) its transfer matrix; (3, 4ᵏ, 4ᵏ) for a data rotation, one for each feature.
        site: the data rotation that it is.
    """

    qubits: tuple[int, ...]
    transfer: Real
    site: Site | None = None


def cut_in_time(circuit: QuantumCircuit) -> bool:
    """Whether the data rotations are better cut in time than between qubits.

    Cut between qubits, k data rotations are tied together by up to 3^(k/2) products of features on either side; cut in
    time, by the up to 4ⁿ Paulis of all n qubits.
    """
    rotations = sum(len(_split(instruction)[0]) for instruction in circuit.data)
    return bool(circuit.num_qubits * np.log(4) < rotations / 2 * np.log(3))


def steps_of(
    circuit: QuantumCircuit, inputs: Sequence[str], *, in_time: bool, noise: Sequence[Real] | None = None
) -> list[Step]:
    """The circuit's gates, fixed one- and two-qubit gates merged as far as their qubits allow.

    The sites are in the order of time if that is how they are cut (see `cut_in_time`), else of their qubits.

    Args:
        circuit: gates on one or two qubits.
        inputs: the names of its data angles, in the order of the columns.
        in_time: how the sites are cut.
        noise: (4ᵏ, 4ᵏ) each, the transfer matrix of what follows each instruction; None: nothing does.
    """
    merged = _Merged()
    column = {name: i for i, name in enumerate(inputs)}
    number = 0
    for i, instruction in enumerate(circuit.data):
        qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
        rotations, matrix = _split(instruction)
        for name, scale in rotations:
            place = number if in_time else min(qubits)
            merged.data(_data_step(instruction, qubits, Site(place, number, column[name], scale)))
            number += 1
        transfer = transfer_matrix(matrix)
        merged.fixed(qubits, transfer if noise is None else transfer @ noise[i])
    return merged.steps()


class _Merged:
    """Steps as they come, each joined to what its qubits are waiting with."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._waiting: dict[int, Real] = {}  # fixed single-qubit transfers that still look for a two-qubit one

    def fixed(self, qubits: tuple[int, ...], transfer: Real) -> None:
        """Add what holds no data. Seen backwards, the earlier is the left factor."""
        if len(qubits) == 1:
            (q,) = qubits
            self._waiting[q] = self._waiting.get(q, np.eye(4)) @ transfer
            return
        before = np.kron(*(self._waiting.pop(q, np.eye(4)) for q in qubits))
        self._add(Step(qubits, clean(before @ transfer)[None]))

    def data(self, step: Step) -> None:
        """Add a data rotation."""
        for q in step.qubits:
            self._flush(q)
        self._add(step)

    def steps(self) -> list[Step]:
        """All of them."""
        for q in list(self._waiting):
            self._flush(q)
        return self._steps

    def _flush(self, qubit: int) -> None:
        if qubit in self._waiting:
            self._add(Step((qubit,), clean(self._waiting.pop(qubit))[None]))

    def _add(self, step: Step) -> None:
        self._steps.append(step)


def _split(instruction: CircuitInstruction) -> tuple[list[tuple[str, float]], Complex]:
    """A gate as data rotations by single inputs, then a fixed gate.

    Gates with one angle are rotations exp(−iφP/2), so a sum of angles is a sequence of gates.

    Raises:
        CompileError: data enters a gate of several angles.
    """
    operation = instruction.operation
    if not operation.is_parameterized():
        return [], operation.to_matrix()
    if len(operation.params) > 1:
        raise CompileError(
            f"circuit: found data in {operation.name}, a gate of {len(operation.params)} angles; expected it in "
            "rotations of one, such as rz"
        )
    (angle,) = operation.params
    factors, offset = affine(angle)
    return [(parameter.name, a) for parameter, a in factors.items()], operation.base_class(offset).to_matrix()


def _data_step(instruction: CircuitInstruction, qubits: tuple[int, ...], site: Site) -> Step:
    gate = instruction.operation.base_class
    at_0, at_half, at_1 = (transfer_matrix(gate(angle).to_matrix()) for angle in (0.0, np.pi / 2, np.pi))
    constant = (at_0 + at_1) / 2
    return Step(qubits, clean(np.stack([constant, (at_0 - at_1) / 2, at_half - constant])), site)


def transfer_matrix(unitary: Complex) -> Real:
    """H[P, Q] = Tr(P · U† Q U) / 2^k: what U makes of Pauli Q, seen backwards. The first qubit is the first index."""
    k = unitary.shape[0].bit_length() - 1
    strings = _PAULIS if k == 1 else np.einsum("aij,bkl->abkilj", _PAULIS, _PAULIS).reshape(16, 4, 4)
    images = unitary.conj().T @ strings @ unitary
    return clean(np.einsum("pij,qji->pq", strings, images).real / 2**k)


def clean(matrix: Real) -> Real:
    """Rounding errors of exact zeros would widen the light cone."""
    return np.where(np.abs(matrix) < 1e-14, 0.0, matrix)
