"""A small circuit for tests of the stand-in, and how they submit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.primitives import BitArray
from qiskit.providers import BackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime import RuntimeJobV2
from qiskit_ibm_runtime.executor_sampler import Sampler

QUBITS = 3


@dataclass(frozen=True)
class Layers:
    """Two layers of rotations around a chain of CZ.

    Attributes:
        logical: as it was written.
        isa: for the device.
        empty: measurements alone, on the same qubits of the device.
    """

    logical: QuantumCircuit
    isa: QuantumCircuit
    empty: QuantumCircuit

    @classmethod
    def on(cls, backend: BackendV2) -> Layers:
        """The circuit on a device's first qubits."""
        x = ParameterVector("x", QUBITS)
        circuit, empty = QuantumCircuit(QUBITS), QuantumCircuit(QUBITS)
        for layer in range(2):
            for qubit in range(QUBITS):
                circuit.ry(x[qubit] + layer, qubit)
            for qubit in range(QUBITS - 1):
                circuit.cz(qubit, qubit + 1)
            circuit.rx(0.5, range(QUBITS))
        circuit.measure_all()
        empty.measure_all()
        return cls(circuit, transpiled(circuit, backend), transpiled(empty, backend))

    def exact(self, values: np.ndarray) -> np.ndarray:
        """⟨Zᵢ⟩ of each row of values."""
        bare = self.logical.remove_final_measurements(inplace=False)
        sites = [SparsePauliOp.from_sparse_list([("Z", [qubit], 1.0)], QUBITS) for qubit in range(QUBITS)]
        states = [Statevector(bare.assign_parameters(row)) for row in values]
        return np.array([[state.expectation_value(site).real for site in sites] for state in states])


def transpiled(circuit: QuantumCircuit, backend: BackendV2, first: int = 0) -> QuantumCircuit:
    """A circuit on consecutive qubits of a device."""
    places = range(first, first + circuit.num_qubits)
    manager = generate_preset_pass_manager(
        backend=backend, optimization_level=1, initial_layout=places, seed_transpiler=1
    )
    return manager.run(circuit)


def submit(mode: Any, pubs: list[Any], *, shots: int = 16, tags: Sequence[str] = ()) -> RuntimeJobV2:
    """A job in a mode: a backend, a batch or a session."""
    sampler = Sampler(mode=mode)
    sampler.options.environment.job_tags = list(tags)
    return sampler.run(pubs, shots=shots)


def finish(job: RuntimeJobV2) -> Any:
    """A job's result, asked for often."""
    return job.result(timeout=60, poll_interval=0.1)


def expectations(bits: BitArray) -> np.ndarray:
    """⟨Zᵢ⟩ of each row."""
    return np.asarray(1 - 2 * bits.to_bool_array(order="little").mean(axis=-2))
