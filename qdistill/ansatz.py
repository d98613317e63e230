"""Trained circuits: one gate list gives both the JAX function and the Qiskit circuit.

The data enter first, by RX(theta_i) on qubit i of the all-zero state; the trained gates follow.
Angles are in radians, and every rotation is exp(-i · angle / 2 · G) with G one of X, Y, Z and Z⊗Z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qdinfer.errors import InputError

__all__ = ["ANSATZE", "Ansatz", "Gate", "line", "qdllm"]

_GENERATORS = {
    "rx": np.array([[0, 1], [1, 0]], dtype=np.complex64),
    "ry": np.array([[0, -1j], [1j, 0]], dtype=np.complex64),
    "rz": np.diag([1, -1]).astype(np.complex64),
    "rzz": np.diag([1, -1, -1, 1]).astype(np.complex64),
}
_FIXED = {
    "cx": np.eye(4, dtype=np.complex64)[[0, 1, 3, 2]],
    "cz": np.diag([1, 1, 1, -1]).astype(np.complex64),
}
_IDENTITY = np.eye(2, dtype=np.complex64)


@dataclass(frozen=True)
class Gate:
    """One gate: its name (rx, ry, rz, rzz, cx or cz), its qubits, and where its angle comes from.

    A rotation has either `trained` or `data`, an index into the trained or the data angles; cx
    (control first) and cz have neither.
    """

    name: str
    qubits: tuple[int, ...]
    trained: int | None = None
    data: int | None = None


@dataclass(frozen=True)
class Ansatz:
    """A circuit of K trained and P data angles on n qubits; Z is measured on every qubit."""

    name: str
    num_qubits: int
    gates: tuple[Gate, ...]

    @property
    def num_parameters(self) -> int:
        """K, how many angles are trained."""
        return len({gate.trained for gate in self.gates if gate.trained is not None})

    @property
    def num_inputs(self) -> int:
        """P, how many angles come from the data."""
        return len({gate.data for gate in self.gates if gate.data is not None})

    @property
    def inputs(self) -> tuple[str, ...]:
        """(P,) names of the data angles, in the order of the columns of `angles`."""
        return tuple(f"theta_{i}" for i in range(self.num_inputs))

    @property
    def observables(self) -> tuple[str, ...]:
        """(n,) Pauli labels, Z on qubit 0, 1, …; as in Qiskit, the rightmost letter is qubit 0."""
        n = self.num_qubits
        return tuple("I" * (n - 1 - i) + "Z" + "I" * i for i in range(n))

    def expectations(self, parameters: ArrayLike, angles: ArrayLike) -> jax.Array:
        """⟨Z_i⟩ on every qubit: a JAX function, to be jitted and differentiated.

        Args:
            parameters: (K,) trained angles, radians.
            angles: (N, P) data angles, radians, columns in the order of `inputs`.

        Returns:
            (N, n) float32, column i for qubit i.

        Raises:
            InputError: an argument has another shape.
        """
        trained, data = jnp.asarray(parameters, jnp.float32), jnp.asarray(angles, jnp.float32)
        self._check(trained.shape)
        if data.ndim != 2 or data.shape[1] != self.num_inputs:
            raise InputError(f"angles have shape {data.shape}; {self.name} needs (N, {self.num_inputs})")
        states = jax.vmap(self._state, (None, 0))(trained, data)
        # Tensorcircuit's qubit 0 is the most significant bit of a basis state's index.
        bits = np.arange(2**self.num_qubits)[:, None] >> np.arange(self.num_qubits)[::-1] & 1
        return jnp.abs(states) ** 2 @ jnp.asarray(1 - 2 * bits, jnp.float32)

    def to_qiskit(self, parameters: ArrayLike) -> QuantumCircuit:
        """The same circuit for Qiskit, without measurements.

        Args:
            parameters: (K,) trained angles, radians; they are bound.

        Returns:
            A circuit whose free parameters are the P data angles, named as `inputs`.

        Raises:
            InputError: `parameters` has another shape.
        """
        trained = np.asarray(parameters, np.float64)
        self._check(trained.shape)
        data = [Parameter(name) for name in self.inputs]
        circuit = QuantumCircuit(self.num_qubits, name=self.name)
        for gate in self.gates:
            operands: list[object] = list(gate.qubits)
            if gate.trained is not None:
                operands.insert(0, float(trained[gate.trained]))
            elif gate.data is not None:
                operands.insert(0, data[gate.data])
            getattr(circuit, gate.name)(*operands)
        return circuit

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape != (self.num_parameters,):
            raise InputError(f"parameters have shape {shape}; {self.name} needs ({self.num_parameters},)")

    def _state(self, trained: jax.Array, data: jax.Array) -> jax.Array:
        """(K,), (P,) → (2ⁿ,) amplitudes.

        What XLA takes to compile this grows with the gates on the state, so every trained one-qubit
        gate is first multiplied into the next gate on its qubit (`qdllm`: 9 s instead of 90 s).
        """
        pending: dict[int, jax.Array] = {}
        with tc.runtime_backend("jax"):
            circuit = tc.Circuit(self.num_qubits)
            for gate in self.gates:
                if gate.data is not None:
                    circuit.any(*gate.qubits, unitary=_rotation(gate.name, data[gate.data]))
                    continue
                matrix = (
                    jnp.asarray(_FIXED[gate.name])
                    if gate.trained is None
                    else _rotation(gate.name, trained[gate.trained])
                )
                if len(gate.qubits) == 1:
                    (qubit,) = gate.qubits
                    pending[qubit] = matrix @ pending.pop(qubit, _IDENTITY)
                    continue
                before = [pending.pop(qubit, _IDENTITY) for qubit in gate.qubits]
                circuit.any(*gate.qubits, unitary=matrix @ jnp.kron(*before))
            for qubit, matrix in pending.items():
                circuit.any(qubit, unitary=matrix)
            state: jax.Array = circuit.state()
        return state


def qdllm(num_qubits: int = 11, layers: int = 2) -> Ansatz:
    """The ansatz of QD-LLM as published (arXiv 2505.13205 and its authors' code).

    144 trained angles on 11 qubits, 18 RZZ and 34 CX; in each layer one CX is from last to first.

    Raises:
        InputError: fewer than 3 qubits, or no layer.
    """
    _check_size("qdllm", num_qubits, 3, layers)
    new = count()

    def layer() -> Iterator[Gate]:
        for j in range(num_qubits - 1):
            for _ in range(3):
                yield Gate("ry", (j,), next(new))
            if j + 2 < num_qubits:
                yield Gate("rzz", (j + 1, j + 2), next(new))
        for _ in range(3):
            for j in range(num_qubits):
                yield Gate("rz", (j,), next(new))
        yield Gate("cx", (num_qubits - 1, 0))
        for k in range(1, num_qubits - 2):
            yield Gate("cx", (k, k + 1))
            yield Gate("cx", (k, k - 1))

    trained = [gate for _ in range(layers) for gate in layer()]
    return Ansatz("qdllm", num_qubits, (*_data_gates(num_qubits), *trained))


def line(num_qubits: int = 11, layers: int = 3) -> Ansatz:
    """Layers of RY and RZ on every qubit and CZ on neighbours, then RY.

    It fits any device without swaps. 77 trained angles and 30 CZ on 11 qubits with 3 layers.

    Raises:
        InputError: fewer than 2 qubits, or no layer.
    """
    _check_size("line", num_qubits, 2, layers)
    new = count()

    def column(name: str) -> list[Gate]:
        return [Gate(name, (j,), next(new)) for j in range(num_qubits)]

    trained = []
    for _ in range(layers):
        neighbours = [Gate("cz", (j, j + 1)) for j in range(num_qubits - 1)]
        trained += [*column("ry"), *column("rz"), *neighbours]
    trained += column("ry")
    return Ansatz("line", num_qubits, (*_data_gates(num_qubits), *trained))


ANSATZE: Mapping[str, Callable[..., Ansatz]] = MappingProxyType({"qdllm": qdllm, "line": line})


def _rotation(name: str, angle: jax.Array) -> jax.Array:
    """exp(-i · angle / 2 · G), which is cos(angle / 2) I - i sin(angle / 2) G as G² = I."""
    generator = _GENERATORS[name]
    identity = np.eye(len(generator), dtype=np.complex64)
    return jnp.cos(angle / 2) * identity - 1j * jnp.sin(angle / 2) * generator


def _data_gates(num_qubits: int) -> list[Gate]:
    return [Gate("rx", (i,), data=i) for i in range(num_qubits)]


def _check_size(name: str, num_qubits: int, fewest: int, layers: int) -> None:
    if num_qubits < fewest:
        raise InputError(f"{name} on {num_qubits} qubits; it needs {fewest} or more")
    if layers < 1:
        raise InputError(f"{name} with {layers} layers; it needs 1 or more")
