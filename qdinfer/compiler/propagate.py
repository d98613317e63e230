"""A circuit's expectation value as a polynomial in the cosines and sines of its data angles.

Observables are propagated backwards through the circuit (the Heisenberg picture) as dense Pauli vectors over the qubits
that they have reached so far, their light cone. A fixed gate acts on the vector by its Pauli transfer matrix. A data
rotation exp(−iφP/2) has a transfer matrix of the form H₁ + H_c·cos φ + H_s·sin φ, so it adds an axis of three to the
vector: a *site*. At the front of the circuit every qubit is |0⟩, whose Pauli vector (1, 0, 0, 1) contracts the qubit
away. What is left is ⟨O⟩ = Σ c[i₁…i_k] · f_{i₁}(φ₁) ⋯ f_{i_k}(φ_k) with f = (1, cos, sin), exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..circuit import Circuit, affine
from ..errors import CompileError

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction

__all__ = ["MAX_TERMS", "Polynomial", "Site", "expand"]

MAX_TERMS = 4**12
"""Numbers that one observable's vector may have on its way: 128 MB."""

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_PAULIS: Complex = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
_ZERO_STATE = np.array([1.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Site:
    """One data rotation, by the angle scale · θ[input]. Its features are 1, cos and sin of that.

    Attributes:
        number: position among the data rotations of the circuit.
        input: column of the angles.
        scale: factor in front of the angle.
    """

    number: int
    input: int
    scale: float


@dataclass(frozen=True)
class Polynomial:
    """An expectation value as a function of the angles.

    Attributes:
        sites: the k data rotations that it depends on, by number.
        coefficients: (3, …, 3) with k axes, in the sites' order.
    """

    sites: tuple[Site, ...]
    coefficients: Real


@dataclass(frozen=True)
class _Step:
    """A gate, or several merged.

    Attributes:
        qubits: the k qubits that it acts on.
        transfer: (1, 4ᵏ, 4ᵏ) its transfer matrix; (3, 4ᵏ, 4ᵏ) for a data rotation, one for each feature.
        site: the data rotation that it is.
    """

    qubits: tuple[int, ...]
    transfer: Real
    site: Site | None = None


def expand(circuit: Circuit) -> list[Polynomial]:
    """The polynomial of each observable.

    Raises:
        CompileError: an angle is no sum of multiples of inputs, or an observable depends on so many data rotations
            and qubits that its polynomial is out of reach.
    """
    steps = _steps(circuit.to_qiskit(), circuit.inputs)
    observables = zip(circuit.observable_masks, circuit.observables, strict=True)
    return [_propagate(steps, mask, label) for mask, label in observables]


def _propagate(steps: Sequence[_Step], mask: NDArray[np.bool_], label: str) -> Polynomial:
    first = {}  # index of the first step on each qubit
    for i, step in reversed(list(enumerate(steps))):
        first.update(dict.fromkeys(step.qubits, i))
    # The axes of the vector: qubits (as their number) and sites.
    axes: list[int | Site] = [int(q) for q in np.flatnonzero(mask)]
    vector: Real = reduce(np.multiply.outer, [np.array([0.0, 0.0, 0.0, 1.0])] * len(axes), np.array(1.0))
    for place in np.flatnonzero(mask).tolist():
        if place not in first:
            vector, axes = _contract(vector, axes, place)
    for i, step in reversed(list(enumerate(steps))):
        if not set(step.qubits) & {axis for axis in axes if isinstance(axis, int)}:
            continue
        ending = [q for q in step.qubits if first[q] == i]
        new = [q for q in step.qubits if q not in axes]
        grown = int(vector.size * len(step.transfer) * 4.0 ** (len(new) - len(ending)))
        if grown > MAX_TERMS:
            qubits = sum(isinstance(axis, int) for axis in axes) + len(new)
            rotations = len(axes) + len(new) - qubits + (step.site is not None)
            raise CompileError(
                f"observable {label}: found {qubits} qubits and {rotations} data rotations mixed, "
                f"{grown} terms; expected at most {MAX_TERMS}. Run this circuit on backend='aer'"
            )
        vector, axes = _apply(vector, axes, step, ending)
        grown_axes: list[int | Site] = [q for q in step.qubits if q not in ending]
        for axis in grown_axes if step.site is None else [*grown_axes, step.site]:
            vector, axes = _drop_if_idle(vector, axes, axis)
    sites = [axis for axis in axes if isinstance(axis, Site)]
    order = sorted(range(len(sites)), key=lambda k: sites[k].number)
    return Polynomial(tuple(sites[k] for k in order), vector.transpose(order))


def _apply(vector: Real, axes: list[int | Site], step: _Step, ending: Sequence[int]) -> tuple[Real, list[int | Site]]:
    """The vector in front of a step; the qubits that end there, at the front of the circuit, are contracted at once."""
    k = len(step.qubits)
    transfer: Real = step.transfer.reshape(-1, *(4,) * (2 * k))  # feature, k Paulis in front of the step, k behind it
    for i, q in reversed(list(enumerate(step.qubits))):
        if q not in axes:
            transfer = np.take(transfer, 0, axis=1 + k + i)  # not reached so far: the identity
    for i, q in reversed(list(enumerate(step.qubits))):
        if q in ending:
            transfer = np.tensordot(_ZERO_STATE, transfer, axes=(0, 1 + i))
    places = [axes.index(q) for q in step.qubits if q in axes]
    inner = range(transfer.ndim - len(places), transfer.ndim)
    grown = np.tensordot(transfer, vector, axes=(list(inner), places))
    left = [*(q for q in step.qubits if q not in ending), *(axis for axis in axes if axis not in step.qubits)]
    return (grown[0], left) if step.site is None else (grown, [step.site, *left])


def _contract(vector: Real, axes: list[int | Site], qubit: int) -> tuple[Real, list[int | Site]]:
    place = axes.index(qubit)
    return np.tensordot(vector, _ZERO_STATE, axes=(place, 0)), axes[:place] + axes[place + 1 :]


def _drop_if_idle(vector: Real, axes: list[int | Site], axis: int | Site) -> tuple[Real, list[int | Site]]:
    """Take an axis out of which only the first entry (identity, or the feature 1) is left."""
    place = axes.index(axis)
    front = np.moveaxis(vector, place, 0)
    return (front[0], axes[:place] + axes[place + 1 :]) if not front[1:].any() else (vector, axes)


def _steps(circuit: QuantumCircuit, inputs: Sequence[str]) -> list[_Step]:
    """The circuit's gates, fixed one- and two-qubit gates merged as far as their qubits allow."""
    merged: list[_Step | tuple[tuple[int, ...], Complex]] = []
    waiting: dict[int, Complex] = {}  # fixed single-qubit gates that still look for a two-qubit gate
    number = 0

    def flush(qubit: int) -> None:
        if qubit in waiting:
            merged.append(((qubit,), waiting.pop(qubit)))

    for instruction in circuit.data:
        qubits = tuple(circuit.find_bit(qubit).index for qubit in instruction.qubits)
        rotations, matrix = _split(instruction)
        if rotations:
            for q in qubits:
                flush(q)
            for name, scale in rotations:
                site = Site(number, list(inputs).index(name), scale)
                merged.append(_data_step(instruction, qubits, site))
                number += 1
        if len(qubits) == 1:
            waiting[qubits[0]] = matrix @ waiting.get(qubits[0], np.eye(2))
        else:
            # Qiskit's order: the first qubit of a gate is the last factor of its matrix.
            before = np.kron(waiting.pop(qubits[1], np.eye(2)), waiting.pop(qubits[0], np.eye(2)))
            merged.append((qubits, matrix @ before))
    for q in list(waiting):
        flush(q)
    return [step if isinstance(step, _Step) else _Step(step[0], _transfer(step[1])[None]) for step in merged]


def _split(instruction: CircuitInstruction) -> tuple[list[tuple[str, float]], Complex]:
    """A gate as data rotations by single inputs, then a fixed gate.

    All gates with an angle in the basis are rotations exp(−iφP/2), so a sum of angles is a sequence of gates.
    """
    operation = instruction.operation
    if not operation.params:
        return [], operation.to_matrix()
    (angle,) = operation.params
    factors, offset = affine(angle)
    return [(parameter.name, a) for parameter, a in factors.items()], operation.base_class(offset).to_matrix()


def _data_step(instruction: CircuitInstruction, qubits: tuple[int, ...], site: Site) -> _Step:
    gate = instruction.operation.base_class
    at_0, at_half, at_1 = (_transfer(gate(angle).to_matrix()) for angle in (0.0, np.pi / 2, np.pi))
    constant = (at_0 + at_1) / 2
    return _Step(qubits, _clean(np.stack([constant, (at_0 - at_1) / 2, at_half - constant])), site)


def _transfer(unitary: Complex) -> Real:
    """H[P, Q] = Tr(P · U† Q U) / 2^k: what U makes of Pauli Q, seen backwards. The first qubit is the first index."""
    k = unitary.shape[0].bit_length() - 1
    strings = _PAULIS if k == 1 else np.einsum("aij,bkl->abkilj", _PAULIS, _PAULIS).reshape(16, 4, 4)
    images = unitary.conj().T @ strings @ unitary
    return _clean(np.einsum("pij,qji->pq", strings, images).real / 2**k)


def _clean(matrix: Real) -> Real:
    """Rounding errors of exact zeros would widen the light cone."""
    return np.where(np.abs(matrix) < 1e-14, 0.0, matrix)
