"""Noise as transfer matrices, seen backwards: what each channel makes of a Pauli (the Heisenberg picture).

H[P, Q] is the coefficient of Pauli P in the image of Pauli Q, with Paulis in the order I, X, Y, Z and the first qubit
as the slowest index, as in the compiler's steps. A Pauli channel is diagonal here: it damps every Pauli and makes no
new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Real", "depolarizing", "joined", "pauli_channel", "pauli_probabilities", "readout", "relaxation", "twirl"]

Real = NDArray[np.float64]

_LETTERS = "IXYZ"
_ROUNDING = 1e-9  # which may make a probability negative
_NOTHING = 1e-12
_SIGNS: Real = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], np.float64)
"""−1 where two Paulis anticommute."""


def depolarizing(error: float, transfers: Sequence[Real]) -> Real:
    """A gate's depolarizing error, so large that with the relaxation during the gate its average infidelity is `error`.

    With F the relaxation's average gate fidelity and d = 2ᵏ, the channel (1 − p)·1 + p·D, D completely depolarizing,
    has p = d·(error − (1 − F)) / (d·F − 1); p = 0 where relaxation alone is as bad, or leaves nothing to lose. This
    is how Aer derives a device's noise model.

    Args:
        error: the gate's average infidelity, as a calibration reports it.
        transfers: (4, 4) each, the relaxation of the k qubits during the gate.

    Returns:
        (4ᵏ, 4ᵏ)
    """
    k = len(transfers)
    dimension = 2**k
    # F = (d·F_e + 1) / (d + 1), where the entanglement fidelity F_e is the mean of the transfer matrix's diagonal.
    entanglement = float(np.prod([np.trace(each) / 4 for each in transfers]))
    fidelity = (dimension * entanglement + 1) / (dimension + 1)
    error = min(error, dimension / (dimension + 1))
    left = dimension * fidelity - 1
    lost = max(0.0, dimension * (error - (1 - fidelity)) / left) if left > _NOTHING else 0.0
    lost = min(lost, 4**k / (4**k - 1))
    return np.diag([1.0, *[1 - lost] * (4**k - 1)])


def relaxation(t1: float, t2: float, seconds: float) -> Real:
    """(4, 4): thermal relaxation to |0⟩.

    X and Y are damped by exp(−t/T2), Z by exp(−t/T1), and 1 − exp(−t/T1) of a Z becomes an I, for the qubit is |0⟩
    then. A T2 over 2·T1, which no qubit has, counts as 2·T1.

    Args:
        t1: seconds; infinite for none.
        t2: seconds; infinite for none.
        seconds: how long.
    """
    z = np.exp(-seconds / t1)
    xy = np.exp(-seconds / min(t2, 2 * t1))
    transfer: Real = np.diag([1.0, xy, xy, z])
    transfer[0, 3] = 1 - z
    return transfer


def readout(read_1_as_0: float, read_0_as_1: float) -> Real:
    """(4, 4): Z as a measurement with bit flips sees it: (p(0|1) − p(1|0))·I + (1 − p(0|1) − p(1|0))·Z."""
    transfer: Real = np.eye(4)
    transfer[0, 3] = read_1_as_0 - read_0_as_1
    transfer[3, 3] = 1 - read_1_as_0 - read_0_as_1
    return transfer


def twirl(transfer: Real) -> Real:
    """The channel averaged over conjugation by all Paulis: its diagonal (Wallman and Emerson 2016, 1512.01098)."""
    return np.diag(np.diagonal(transfer))


def joined(transfers: Sequence[Real]) -> Real:
    """Channels on different qubits as one."""
    whole: NDArray[Any] = np.ones((1, 1))
    for each in transfers:
        whole = np.kron(whole, each)
    return np.asarray(whole, np.float64)


def pauli_channel(probabilities: Mapping[str, float]) -> Real:
    """(4ᵏ, 4ᵏ): the channel that applies each Pauli with its probability, and nothing otherwise.

    Args:
        probabilities: Pauli string → probability, the first letter that of the first qubit; at least one, which may
            be that of the identity: it has what the others leave, whatever is said of it.
    """
    k = len(next(iter(probabilities)))
    strings = _strings(k)
    weights = np.array([probabilities.get(string, 0.0) for string in strings])
    weights[0] = 1 - weights[1:].sum()
    return np.diag(_all_signs(k) @ weights)


def pauli_probabilities(transfer: Real, least: float = 1e-12) -> dict[str, float]:
    """The Pauli channel that a channel becomes when it is twirled; the identity is left out."""
    k = (transfer.shape[0].bit_length() - 1) // 2
    weights = _all_signs(k) @ np.diagonal(transfer) / 4**k
    return {
        s: float(w) for s, w in zip(_strings(k), weights, strict=True) if (w > least or w < -_ROUNDING) and s.strip("I")
    }


def _strings(k: int) -> list[str]:
    return ["".join(letters) for letters in product(_LETTERS, repeat=k)]


def _all_signs(k: int) -> Real:
    return joined([_SIGNS] * k)
