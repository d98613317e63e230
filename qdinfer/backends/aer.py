"""Qiskit Aer: exact, sampled, and with noise."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import BASIS, Circuit
from ..errors import BackendError, InputError, require
from ..predictions import Expectations, FloatArray
from .sampling import expectations_from_bits

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer.noise import NoiseModel

__all__ = ["AerBackend"]

_BITS = 2**24  # measured rows × shots held at once


class AerBackend:
    """Simulates the circuit with Qiskit Aer.

    Without shots, values are exact (also with noise: by the density matrix, readout error included). With shots, they
    are estimates from measured bits, with their covariance.
    """

    def __init__(
        self, shots: int | None = None, *, seed: int | None = None, noise_model: NoiseModel | None = None
    ) -> None:
        """Set the simulation up.

        Args:
            shots: measurements a text; None for exact values.
            seed: makes shots repeatable: the same seed and the same angles give the same bits. Only with shots.
            noise_model: any Aer noise model. The circuit is translated to the model's basis gates.

        Raises:
            InputError: shots or seed out of range.
            MissingExtraError: qiskit-aer is not installed.
        """
        if shots is not None and not 1 <= shots <= 2**24:
            raise InputError(f"shots: found {shots}; expected 1 to {2**24}, or None for exact values")
        if seed is not None and (shots is None or seed < 0):
            raise InputError(f"seed: found {seed} with shots={shots}; expected a number from 0 up, with shots")
        require("qiskit_aer", feature="the aer backend", extra="aer")
        self._shots = shots
        self._seed = seed
        self._noise_model = noise_model
        self._prepared: dict[str, QuantumCircuit] = {}
        self._lock = threading.Lock()

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`."""
        from qiskit.exceptions import QiskitError

        angles = circuit.check_angles(angles)
        name = "aer" if self._noise_model is None else "aer with noise"
        if not len(angles):
            return Expectations(np.empty((0, len(circuit.observables))), np.empty(0, np.int64), name)
        try:
            prepared = self._prepare(circuit)
            if self._shots is None:
                values = self._exact(prepared, circuit, angles)
                return Expectations(values, np.zeros(len(angles), np.int64), name)
            step = max(1, _BITS // self._shots)
            parts = [self._sample(prepared, circuit, angles[i : i + step]) for i in range(0, len(angles), step)]
        except QiskitError as error:
            raise BackendError(f"aer: the simulation failed: {error.message}") from error
        values, covariance = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return Expectations(values, np.full(len(angles), self._shots, np.int64), name, covariance)

    def _prepare(self, circuit: Circuit) -> QuantumCircuit:
        """The circuit in gates that Aer binds rightly, once for each circuit."""
        from qiskit import transpile

        with self._lock:
            if circuit.sha256 not in self._prepared:
                basis = list(BASIS)
                if self._noise_model is not None:
                    # Noise sits on the model's own gates: a circuit in other gates would run without it.
                    basis = [gate for gate in self._noise_model.basis_gates if gate in BASIS]
                self._prepared[circuit.sha256] = transpile(
                    circuit.to_qiskit(), basis_gates=basis, optimization_level=1, seed_transpiler=0
                )
            return self._prepared[circuit.sha256]

    def _exact(self, prepared: QuantumCircuit, circuit: Circuit, angles: FloatArray) -> FloatArray:
        from qiskit_aer.primitives import EstimatorV2

        method = "statevector" if self._noise_model is None else "density_matrix"
        estimator = EstimatorV2(options={"backend_options": self._options(method=method)})
        observables = [[self._measured(label)] for label in circuit.observables]  # (M, 1) against (N,)
        result = estimator.run([(prepared, observables, circuit.bindings(angles))], precision=0.0).result()
        values: FloatArray = np.asarray(result[0].data.evs).T
        return values

    def _sample(self, prepared: QuantumCircuit, circuit: Circuit, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
        from qiskit_aer.primitives import SamplerV2

        measured = prepared.copy()
        measured.measure_all()
        # Aer gives row i the seed + i, so consecutive seeds, or one seed for two chunks, would share their randomness.
        seed = None if self._seed is None else _mix(self._seed, angles)
        sampler = SamplerV2(seed=seed, options={"backend_options": self._options()})
        result = sampler.run([(measured, circuit.bindings(angles))], shots=self._shots).result()
        bits = result[0].data.meas.to_bool_array(order="little")
        return expectations_from_bits(bits, circuit.observable_masks)

    def _options(self, **options: Any) -> dict[str, Any]:
        if self._noise_model is not None:
            options["noise_model"] = self._noise_model
        return options

    def _measured(self, label: str) -> SparsePauliOp:
        """A Z string as the measurement with readout error would see it.

        With the error rates p(1|0) and p(0|1), measuring Z gives (p(0|1) − p(1|0))·I + (1 − p(1|0) − p(0|1))·Z. An
        estimator has no measurement, and would leave the readout error out without a word.
        """
        from qiskit.quantum_info import SparsePauliOp

        operator = SparsePauliOp("")
        for qubit, letter in reversed(list(enumerate(reversed(label)))):
            factor = SparsePauliOp(letter)
            if letter == "Z" and self._noise_model is not None:
                flip_0, flip_1 = _readout_error(self._noise_model, qubit)
                factor = SparsePauliOp(["I", "Z"], [flip_1 - flip_0, 1 - flip_0 - flip_1])
            operator = operator.tensor(factor)
        return operator


def _mix(seed: int, angles: FloatArray) -> int:
    content = seed.to_bytes(16, "little") + np.ascontiguousarray(angles, np.float64).tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "little") >> 2  # leaves room for seed + i in 31 bits


def _readout_error(noise_model: NoiseModel, qubit: int) -> tuple[float, float]:
    """p(1|0) and p(0|1) of a qubit."""
    everywhere, here = (0.0, 0.0), None
    for error in noise_model.to_dict(serializable=True)["errors"]:
        if "measure" not in error["operations"]:
            continue
        if error["type"] != "roerror" or len(error["probabilities"]) != 2:
            raise BackendError(
                "aer: found a noise model with more than single-qubit readout error on its measurement; "
                "expected shots=… for such a model, since exact values would leave it out"
            )
        rates = (float(error["probabilities"][0][1]), float(error["probabilities"][1][0]))
        if "gate_qubits" not in error:
            everywhere = rates
        elif [qubit] in [list(qubits) for qubits in error["gate_qubits"]]:
            here = rates
    return here or everywhere
