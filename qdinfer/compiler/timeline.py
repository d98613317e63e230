"""Circuits of few qubits and many data rotations, whose coefficients are cut in time.

The observable goes backwards through the circuit as an array with an axis for each qubit, as in `propagate`, and one
more for all that the data rotations behind have told apart. At each data rotation, that axis takes in its three
features and is compressed to what still differs: never more than there are Paulis on the qubits. So the work grows with
the number of data rotations, and not with the products of their features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import CompileError
from ..predictions import BoolArray
from .propagate import MAX_ARRAY, Array, first_steps
from .steps import Real, Site, Step
from .train import IDLE, MAX_RANK, TOLERANCE, Train, decompose, train_from_left

__all__ = ["train_in_time"]

_BEHIND = Site(-3, -3, 0, 0.0)
"""The axis of what is behind: its place among the axes is kept as that of a site."""


def train_in_time(steps: Sequence[Step], mask: BoolArray, label: str) -> Train:
    """The tensor train of one observable.

    Args:
        steps: the circuit, its sites in the order of time.
        mask: (n,) the qubits with a Z.
        label: the observable's, for messages.

    Raises:
        CompileError: the array is out of reach.
    """
    first = first_steps(steps)
    start = tuple(q for q in np.flatnonzero(mask).tolist() if q in first)
    total = Array((*start, _BEHIND), np.zeros((*(4,) * len(start), 1)))
    total.entries[(3,) * len(start)] = 1.0
    sites: list[Site] = []
    cores: list[Real] = []
    for i, step in reversed(list(enumerate(steps))):
        if not set(step.qubits) & set(total.axes):
            continue
        ending = [q for q in step.qubits if first[q] == i]
        new = len(set(step.qubits) - set(total.axes)) - len(ending)
        entries = total.entries.size * 4.0**new * len(step.transfer)
        if entries > MAX_ARRAY:
            raise CompileError(
                f"observable {label}: found {entries:.0f} numbers to be known of {len(total.axes) - 1 + new} qubits "
                f"between data rotations; expected at most {MAX_ARRAY}. Run this circuit on backend='aer'"
            )
        total = total.after(step, ending).with_last(_BEHIND)
        if step.site is not None and step.site in total.axes:
            total, core = _compressed(total, step.site)
            sites.append(step.site)
            cores.append(core)
    weights = total.entries.reshape(1, -1)  # no qubit is left at the front
    if not sites:  # a constant
        sites, cores = [IDLE], [np.array([1.0, 0.0, 0.0]).reshape(1, 3, 1)]
    cores[-1] = np.tensordot(weights, cores[-1], axes=1)
    return train_from_left(tuple(sites[::-1]), tuple(cores[::-1]))


def _compressed(total: Array, site: Site) -> tuple[Array, Real]:
    """The array with the site taken into what is behind, and the core that did it: its rows are orthonormal."""
    place = total.axes.index(site)
    entries = np.moveaxis(total.entries, place, -2)
    *qubits, features, behind = entries.shape
    u, values, v = decompose(entries.reshape(-1, features * behind))
    rank = max(1, int((values > TOLERANCE * values[0]).sum()))
    if rank > MAX_RANK:
        raise CompileError(
            f"circuit: found an observable of rank {rank}; expected at most {MAX_RANK}. "
            "Run this circuit on backend='aer'"
        )
    axes = tuple(axis for axis in total.axes if axis != site)
    return Array(axes, (u[:, :rank] * values[:rank]).reshape(*qubits, rank)), v[:rank].reshape(rank, features, behind)
