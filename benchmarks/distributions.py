"""Shots drawn from exact distributions: as many as a statistic needs, at no cost of simulating each."""

from __future__ import annotations

import numpy as np
from qiskit.quantum_info import Statevector

from qdinfer import Circuit, Expectations
from qdinfer.backends.sampling import Measured
from qdinfer.predictions import FloatArray

__all__ = ["DistributionBackend"]


class DistributionBackend:
    """A `SamplingBackend` that knows some rows of angles beforehand, and draws from their exact distributions.

    Its draws go on from call to call, whatever the offset, and are repeated by a new one with the same seed.
    """

    name = "statevector"

    def __init__(self, circuit: Circuit, angles: FloatArray, *, seed: int) -> None:
        """Simulate all rows of (N, P) angles once, without noise."""
        states = np.arange(2**circuit.num_qubits)[:, None] >> np.arange(circuit.num_qubits) & 1
        self._signs = 1 - 2 * (states @ circuit.observable_masks.T.astype(np.int64) & 1)  # (2ⁿ, M)
        m = self._signs.shape[1]
        self._pairs = (self._signs[:, :, None] * self._signs[:, None, :]).reshape(-1, m * m)
        self._rng = np.random.default_rng(seed)
        distinct = np.unique(_checked(circuit, angles), axis=0)
        self._rows = {row.tobytes(): i for i, row in enumerate(distinct)}
        plain = circuit.to_qiskit()
        parameters = {parameter.name: parameter for parameter in plain.parameters}
        inputs = [parameters[name] for name in circuit.inputs]
        circuits = (plain.assign_parameters(dict(zip(inputs, row, strict=True))) for row in distinct)
        self._probabilities = np.array([Statevector(bound).probabilities() for bound in circuits])

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """The exact values, (N, M)."""
        values = self._chosen(circuit, angles) @ self._signs
        return Expectations(values, np.zeros(len(angles), np.int64), self.name)

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`."""
        counts = self._rng.multinomial(shots, self._chosen(circuit, angles)).astype(np.float64)  # for BLAS
        sums, products = (np.rint(counts @ values).astype(np.int64) for values in (self._signs, self._pairs))
        n, m = sums.shape
        return Measured(sums, products.reshape(n, m, m), np.full(n, shots, np.int64))

    def _chosen(self, circuit: Circuit, angles: FloatArray) -> FloatArray:
        probabilities: FloatArray = self._probabilities[
            [self._rows[row.tobytes()] for row in _checked(circuit, angles)]
        ]
        return probabilities


def _checked(circuit: Circuit, angles: FloatArray) -> FloatArray:
    return circuit.check_angles(angles).astype(np.float64)
