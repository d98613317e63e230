"""A circuit's expectation value as a polynomial in the cosines and sines of its data angles.

An observable is propagated backwards through the circuit as a sum of Pauli strings over the qubits that it has reached
so far, its light cone. At first that is one string: Clifford and diagonal gates at the circuit's end only rename it. A
data rotation adds an axis to the sum, a *site*, which tells the features 1, cos and sin apart. At the front of the
circuit every qubit is |0⟩, whose Pauli vector (1, 0, 0, 1) contracts the qubit away. What is left is
⟨O⟩ = Σ c[i₁…i_k] · f_{i₁}(φ₁) ⋯ f_{i_k}(φ_k) with f = (1, cos, sin).

The sum is a list of terms while they are few, and an array with an axis for each qubit and site once it fills up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import CompileError
from .steps import Real, Site, Step

__all__ = ["MAX_ARRAY", "MAX_TERMS", "Array", "Letters", "Polynomial", "Terms", "distinct", "expand", "first_steps"]

MAX_TERMS = 2**20
"""Terms that one observable may have on its way while they are kept as a list."""
MAX_ARRAY = 4**12
"""Entries of one observable's array: 128 MB."""
_FULL = 1 / 64
"""How full an array has to be to be worth its while: a term in a list costs about as much as that many entries."""
_ZERO = 1e-15

Axis = int | Site
Letters = NDArray[np.uint8]

_ZERO_STATE = np.array([1.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Polynomial:
    """An expectation value as a function of the angles.

    Attributes:
        sites: the k data rotations that it depends on, in their order.
        features: (T, k): which feature of each site a term has, 0 for 1, 1 for cos, 2 for sin.
        coefficients: (T,) of the terms.
        bound: upper bound of the error, at any angles, by terms that were left out.
    """

    sites: tuple[Site, ...]
    features: Letters
    coefficients: Real
    bound: float = 0.0


@dataclass(frozen=True)
class Terms:
    """A sum of Pauli strings with features, as a list.

    Attributes:
        axes: the qubits and sites that the letters belong to.
        letters: (T, A): the Pauli on a qubit (I, X, Y, Z), the feature of a site (1, cos, sin).
        coefficients: (T,)
    """

    axes: tuple[Axis, ...]
    letters: Letters
    coefficients: Real

    def __len__(self) -> int:
        return len(self.coefficients)

    def after(self, step: Step, ending: Sequence[int]) -> Terms:
        """The sum in front of a step; the qubits that end there, at the circuit's front, are contracted at once."""
        kept = tuple(q for q in step.qubits if q not in ending)
        transfer = _contracted(step, ending).reshape(-1, 4 ** len(step.qubits))  # (features and Paulis before, after)
        code = np.zeros(len(self), np.int64)
        for q in step.qubits:
            code = 4 * code + (self.letters[:, self.axes.index(q)] if q in self.axes else 0)
        # Every term becomes as many as its column of the transfer matrix has entries.
        columns, rows = np.nonzero(transfer.T)
        many = np.bincount(columns, minlength=transfer.shape[1])
        first = np.cumsum(many) - many
        source = np.repeat(np.arange(len(self)), many[code])
        count = many[code]
        within = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
        row = rows[first[code[source]] + within]
        others = [i for i, axis in enumerate(self.axes) if axis not in step.qubits]
        new = [row // 4**i % 4 for i in reversed(range(len(kept)))]
        axes: tuple[Axis, ...] = (*kept, *(self.axes[i] for i in others))
        if step.site is not None:
            new, axes = [row // 4 ** len(kept), *new], (step.site, *axes)
        letters = np.column_stack([*(each.astype(np.uint8) for each in new), self.letters[:, others][source]])
        grown = Terms(axes, letters, self.coefficients[source] * transfer[row, code[source]])
        return grown.merged().without_idle() if many.max() > 1 or ending else grown.without_idle()

    def merged(self) -> Terms:
        """Equal strings added up."""
        first, inverse = distinct(self.letters)
        sums = np.zeros(len(first))
        np.add.at(sums, inverse, self.coefficients)
        kept = np.abs(sums) > _ZERO
        return Terms(self.axes, self.letters[first[kept]], sums[kept])

    def without_idle(self) -> Terms:
        """Without the axes on which every term has the letter 0: the identity, or the feature 1."""
        used = np.flatnonzero(self.letters.any(axis=0)).tolist()
        return Terms(tuple(self.axes[i] for i in used), self.letters[:, used], self.coefficients)

    def truncated(self, allowance: float) -> tuple[Terms, float]:
        """Without the smallest terms whose sizes add up to the allowance at most, and that sum."""
        order = np.argsort(np.abs(self.coefficients), kind="stable")
        sums = np.cumsum(np.abs(self.coefficients)[order])
        dropped = int(np.searchsorted(sums, allowance, side="right"))
        if not dropped:
            return self, 0.0
        kept = np.sort(order[dropped:])
        return Terms(self.axes, self.letters[kept], self.coefficients[kept]).without_idle(), float(sums[dropped - 1])

    def to_array(self) -> Array:
        """The same as an array."""
        entries = np.zeros(_shape(self.axes))
        entries[tuple(self.letters.T)] = self.coefficients
        return Array(self.axes, entries)

    def to_terms(self) -> Terms:
        """Itself."""
        return self


@dataclass(frozen=True)
class Array:
    """The same as an array: `entries` has an axis for each of the axes, 4 long for a qubit and 3 for a site."""

    axes: tuple[Axis, ...]
    entries: Real

    def __len__(self) -> int:
        return int(np.count_nonzero(self.entries))

    def after(self, step: Step, ending: Sequence[int]) -> Array:
        """As `Terms.after`."""
        k = len(step.qubits)
        kept = [q for q in step.qubits if q not in ending]
        transfer = _contracted(step, ending).reshape(-1, *(4,) * (len(kept) + k))
        for i, q in reversed(list(enumerate(step.qubits))):
            if q not in self.axes:
                transfer = np.take(transfer, 0, axis=1 + len(kept) + i)  # not reached so far: the identity
        places = [self.axes.index(q) for q in step.qubits if q in self.axes]
        inner = list(range(transfer.ndim - len(places), transfer.ndim))
        grown = np.tensordot(transfer, self.entries, axes=(inner, places))
        axes: tuple[Axis, ...] = (*kept, *(axis for axis in self.axes if axis not in step.qubits))
        if step.site is None:
            return Array(axes, grown[0])._without_idle(kept)
        return Array((step.site, *axes), grown)._without_idle([*kept, step.site])

    def _without_idle(self, candidates: Sequence[Axis]) -> Array:
        axes, entries = list(self.axes), self.entries
        for axis in candidates:
            place = axes.index(axis)
            front = np.moveaxis(entries, place, 0)
            if not front[1:].any():
                entries = front[0]
                axes.pop(place)
        return Array(tuple(axes), entries)

    def with_last(self, axis: Axis) -> Array:
        """The same with that axis as the last."""
        place = self.axes.index(axis)
        axes = (*self.axes[:place], *self.axes[place + 1 :], axis)
        return Array(axes, np.moveaxis(self.entries, place, -1))

    def to_array(self) -> Array:
        """Itself."""
        return self

    def to_terms(self) -> Terms:
        """The same as a list."""
        kept = np.flatnonzero(np.abs(self.entries) > _ZERO)
        letters = np.empty((len(kept), self.entries.ndim), np.uint8)
        rest = kept
        for i in reversed(range(self.entries.ndim)):
            rest, letters[:, i] = np.divmod(rest, self.entries.shape[i])
        return Terms(self.axes, letters, self.entries.ravel()[kept])


def expand(steps: Sequence[Step], mask: NDArray[np.bool_], label: str, max_error: float = 0.0) -> Polynomial:
    """The polynomial of one observable.

    Args:
        steps: the circuit.
        mask: (n,) the qubits with a Z.
        label: the observable's, for messages.
        max_error: where there are too many terms, the smallest are left out as long as the sizes of all that were add
            up to no more; the allowance grows evenly over the steps. The expectation value changes by no more at any
            angles, since no Pauli string's and no product of features is beyond 1. Nothing is left out where there is
            room: what is left of a sum has higher ranks than the whole.

    Raises:
        CompileError: there are too many terms.
    """
    first = first_steps(steps)
    start = tuple(q for q in np.flatnonzero(mask).tolist() if q in first)  # the others are |0⟩ still, where Z is 1
    total: Terms | Array = Terms(start, np.full((1, len(start)), 3, np.uint8), np.ones(1))
    bound = 0.0
    for passed, (i, step) in enumerate(reversed(list(enumerate(steps))), start=1):
        if not set(step.qubits) & set(total.axes):
            continue
        ending = [q for q in step.qubits if first[q] == i]
        axes = {*total.axes, *step.qubits, *([] if step.site is None else [step.site])} - {*ending}
        entries = float(np.prod([float(size) for size in _shape(tuple(axes))]))
        if entries <= min(MAX_ARRAY, len(total) / _FULL):
            total = total.to_array()
        else:
            if not max_error:
                _check(total, label)  # before a list of them takes its memory
            total = total.to_terms()
        total = total.after(step, ending)
        if isinstance(total, Terms) and len(total) > MAX_TERMS:
            total, dropped = total.truncated(max_error * passed / len(steps) - bound)
            bound += dropped
            _check(total, label)
    terms = total.to_terms().without_idle()
    sites = [axis for axis in terms.axes if isinstance(axis, Site)]
    order = sorted(range(len(sites)), key=lambda k: sites[k])
    return Polynomial(tuple(sites[k] for k in order), terms.letters[:, order], terms.coefficients, bound)


def first_steps(steps: Sequence[Step]) -> dict[int, int]:
    """Qubit → the index of the first step on it, of those that have one."""
    first: dict[int, int] = {}
    for i, step in reversed(list(enumerate(steps))):
        first.update(dict.fromkeys(step.qubits, i))
    return first


def distinct(letters: Letters) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each different row is first, and which of these every row is."""
    words = np.zeros((len(letters), max(1, -(-letters.shape[1] // 32))), np.uint64)
    for i in range(letters.shape[1]):
        words[:, i // 32] = words[:, i // 32] * np.uint64(4) + letters[:, i]
    keys = words[:, 0] if words.shape[1] == 1 else words  # which is much faster where one word will do
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, inverse.ravel()


def _check(total: Terms | Array, label: str) -> None:
    if len(total) > MAX_TERMS:
        sites = sum(isinstance(axis, Site) for axis in total.axes)
        raise CompileError(
            f"observable {label}: found {len(total)} terms, over {len(total.axes) - sites} qubits and {sites} data "
            f"rotations; expected at most {MAX_TERMS}. Allow a larger error, or run this circuit on backend='aer'"
        )


def _contracted(step: Step, ending: Sequence[int]) -> Real:
    """The step's transfer matrix with |0⟩ in front of the qubits that end there."""
    k = len(step.qubits)
    transfer: Real = step.transfer.reshape(-1, *(4,) * (2 * k))  # feature, k Paulis in front of the step, k behind it
    for i, q in reversed(list(enumerate(step.qubits))):
        if q in ending:
            transfer = np.tensordot(_ZERO_STATE, transfer, axes=(0, 1 + i))
    return transfer


def _shape(axes: Sequence[Axis]) -> tuple[int, ...]:
    return tuple(3 if isinstance(axis, Site) else 4 for axis in axes)
