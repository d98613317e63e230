"""Expectation values by Qiskit's statevector: slow, and the reference for all else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..circuit import Circuit, affine
from ..errors import CompileError
from ..predictions import BoolArray, FloatArray
from .steps import Real, transfer_matrix

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction

__all__ = ["MAX_QUBITS", "light_cone", "statevector_expectations"]

MAX_QUBITS = 20
"""Of a statevector: 16 MB."""
SMALL = 12
"""Qubits of a circuit whose statevector costs less than to look for parts of it."""
_ANY_ANGLE = 0.7  # at which no rotation is the identity, nor swaps two Paulis


def statevector_expectations(circuit: Circuit, angles: FloatArray) -> FloatArray:
    """Expectation values by statevectors, a row at a time: of the whole circuit, or if it is wide, of each light cone.

    Args:
        circuit: with at most 20 qubits in each observable's light cone.
        angles: (N, P), radians.

    Returns:
        (N, M) float64.

    Raises:
        CompileError: a light cone is too wide.
    """
    whole = circuit.to_qiskit()
    rows = [dict(zip(circuit.inputs, map(float, row), strict=True)) for row in circuit.check_angles(angles)]
    masks = circuit.observable_masks
    if circuit.num_qubits <= SMALL:
        return _expectations(whole, masks, rows)
    transfers = [_transfer(instruction) for instruction in whole.data]
    gates: dict[tuple[int, ...], set[int]] = {}  # of all observables with the same qubits in their cones
    observables: dict[tuple[int, ...], list[int]] = {}
    for j, (mask, label) in enumerate(zip(masks, circuit.observables, strict=True)):
        inside, cone = light_cone(whole, transfers, mask)
        if len(cone) > MAX_QUBITS:
            raise CompileError(
                f"observable {label}: found a light cone of {len(cone)} qubits; expected at most {MAX_QUBITS}, "
                "since every compiled form is compared with a statevector. Run this circuit on backend='aer'"
            )
        gates.setdefault(cone, set()).update(inside)
        observables.setdefault(cone, []).append(j)
    values = np.empty((len(rows), len(masks)))
    for cone, members in observables.items():
        part = _part(whole, sorted(gates[cone]), cone)
        values[:, members] = _expectations(part, masks[np.ix_(members, cone)], rows)
    return values


def light_cone(circuit: QuantumCircuit, transfers: Sequence[Real], mask: BoolArray) -> tuple[set[int], tuple[int, ...]]:
    """The instructions that an observable depends on, and their qubits; those of the observable are among these.

    For each qubit it is known which Paulis may be there. A gate that leaves all of them as they are is none of it.
    """
    letters = {q: {0, 3} for q in np.flatnonzero(mask).tolist()}
    inside = set()
    for i in reversed(range(len(transfers))):
        qubits = [circuit.find_bit(qubit).index for qubit in circuit.data[i].qubits]
        if not any(q in letters for q in qubits):
            continue
        places = list(enumerate(reversed(qubits)))
        before = [sum(code) for code in product(*({4**k * p for p in letters.get(q, {0})} for k, q in places))]
        images = transfers[i][:, before]
        if np.array_equal(images, np.eye(len(images))[:, before]):
            continue
        inside.add(i)
        after = np.flatnonzero(images.any(axis=1))
        for k, q in places:
            letters[q] = {0, *(after // 4**k % 4).tolist()}
    return inside, tuple(sorted(letters))


def _transfer(instruction: CircuitInstruction) -> Real:
    operation = instruction.operation
    if not operation.params:
        return transfer_matrix(operation.to_matrix())
    factors, offset = affine(operation.params[0])
    return transfer_matrix(operation.base_class(_ANY_ANGLE if factors else offset).to_matrix())


def _part(whole: QuantumCircuit, inside: Sequence[int], cone: Sequence[int]) -> QuantumCircuit:
    from qiskit import QuantumCircuit

    part = QuantumCircuit(len(cone))
    for i in inside:
        instruction = whole.data[i]
        part.append(instruction.operation, [cone.index(whole.find_bit(qubit).index) for qubit in instruction.qubits])
    return part


def _expectations(
    circuit: QuantumCircuit, masks: BoolArray, rows: Sequence[Mapping[str, float]]
) -> NDArray[np.float64]:
    """(N, M) of Pauli-Z strings, whose qubits the (M, n) masks have."""
    from qiskit.quantum_info import Statevector

    states = np.arange(2**circuit.num_qubits)[:, None] >> np.arange(circuit.num_qubits) & 1
    signs = 1 - 2 * ((states @ masks.T) & 1)
    names = {parameter.name for parameter in circuit.parameters}
    values = np.empty((len(rows), len(masks)))
    for i, row in enumerate(rows):
        bound = circuit.assign_parameters({name: value for name, value in row.items() if name in names})
        values[i] = np.abs(Statevector(bound).data) ** 2 @ signs
    return values
