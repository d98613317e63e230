"""Qiskit Aer: exact, sampled, and with noise."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import BASIS, Circuit
from ..errors import BackendError, InputError, require, whole_number
from ..predictions import Expectations, FloatArray
from .base import MAX_SHOTS
from .sampling import Measured

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer.noise import NoiseModel

__all__ = ["AerBackend", "readout_flips", "to_noisy"]

_BITS = 2**24  # measured rows × shots held at once
_GATES = frozenset({*BASIS, "id", "p", "r", "u", "u1", "u2", "u3", "rzx", "cy", "ecr"})
"""What a noise model's circuit may be translated to: Aer binds parameters rightly in these."""
_NO_GATES = frozenset({"measure", "reset", "delay"})


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
            noise_model: any Aer noise model. The circuit is translated to the model's basis gates, noisy ones first.

        Raises:
            InputError: shots or seed out of range.
            MissingExtraError: qiskit-aer is not installed.
        """
        if seed is not None and shots is None:
            raise InputError(f"seed: found {seed!r} without shots; expected shots, or no seed for exact values")
        self._shots = None if shots is None else whole_number("shots", shots, 1, MAX_SHOTS)
        self._seed = None if seed is None else whole_number("seed", seed, 0, 2**64 - 1)
        noise = require("qiskit_aer.noise", feature="the aer backend", extra="aer")
        if noise_model is not None and not isinstance(noise_model, noise.NoiseModel):
            raise InputError(f"noise_model: found {type(noise_model).__name__}; expected an Aer NoiseModel")
        self._noise_model = noise_model
        self._prepared: dict[str, QuantumCircuit] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"AerBackend(shots={self._shots}, seed={self._seed}, noise_model={self._noise_model!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_prepared": {}, "_lock": None}  # a lock cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @property
    def name(self) -> str:
        """What predictions name as their backend."""
        return "aer" if self._noise_model is None else "aer with noise"

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`."""
        if self._shots is not None:
            return self.measure(circuit, angles, self._shots).expectations(self.name)
        angles = circuit.check_angles(angles)
        values: FloatArray = np.empty((0, len(circuit.observables)))
        if len(angles):
            with _mapped_errors():
                values = self._exact(self._prepare(circuit), circuit, angles)
        return Expectations(values, np.zeros(len(angles), np.int64), self.name)

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`. The shots that the backend was made with do not count here."""
        angles = circuit.check_angles(angles)
        shots = whole_number("shots", shots, 1, MAX_SHOTS)
        offset = whole_number("offset", offset, 0, 2**63 - 1)
        if not len(angles):
            return Measured.from_bits(np.empty((0, shots, circuit.num_qubits), np.bool_), circuit.observable_masks)
        step = max(1, _BITS // shots)
        with _mapped_errors():
            prepared = self._prepare(circuit)
            starts = range(0, len(angles), step)
            parts = [self._sample(prepared, circuit, angles[i : i + step], shots, (i, offset)) for i in starts]
        return Measured.concatenate(parts)

    def _prepare(self, circuit: Circuit) -> QuantumCircuit:
        """The circuit in gates that Aer binds rightly, once for each circuit."""
        with self._lock:
            if circuit.sha256 not in self._prepared:
                plain, noise = circuit.to_qiskit(), self._noise_model
                self._prepared[circuit.sha256] = _to_basis(plain, BASIS) if noise is None else to_noisy(plain, noise)
            return self._prepared[circuit.sha256]

    def _exact(self, prepared: QuantumCircuit, circuit: Circuit, angles: FloatArray) -> FloatArray:
        from qiskit_aer.primitives import EstimatorV2

        method = "statevector" if self._noise_model is None else "density_matrix"
        estimator = EstimatorV2(options={"backend_options": self._options(method=method)})
        flips = readout_flips(self._noise_model, circuit.num_qubits)
        observables = [[_measured(label, flips)] for label in circuit.observables]  # (M, 1) against (N,)
        result = estimator.run([(prepared, observables, circuit.bindings(angles))], precision=0.0).result()
        values: FloatArray = np.asarray(result[0].data.evs).T
        return values

    def _sample(
        self, prepared: QuantumCircuit, circuit: Circuit, angles: FloatArray, shots: int, counters: tuple[int, int]
    ) -> Measured:
        from qiskit_aer.primitives import SamplerV2

        measured = prepared.copy()
        measured.measure_all()
        # Aer gives row i the seed + 2113·i, so two seeds, or one seed for two chunks, could share their randomness.
        seed = None if self._seed is None else _mix(self._seed, *counters, angles)
        sampler = SamplerV2(seed=seed, options={"backend_options": self._options()})
        result = sampler.run([(measured, circuit.bindings(angles))], shots=shots).result()
        bits = result[0].data.meas.to_bool_array(order="little")
        return Measured.from_bits(bits, circuit.observable_masks)

    def _options(self, **options: Any) -> dict[str, Any]:
        options["max_parallel_experiments"] = 0  # a row a thread, which is faster than threads within a row
        if self._noise_model is not None:
            options["noise_model"] = self._noise_model
        return options


@contextmanager
def _mapped_errors() -> Iterator[None]:
    from qiskit.exceptions import QiskitError

    try:
        yield
    except QiskitError as error:
        raise BackendError(f"aer: the simulation failed: {error.message}") from error


def _to_basis(circuit: QuantumCircuit, basis: Iterable[str]) -> QuantumCircuit:
    from qiskit import transpile

    return transpile(circuit, basis_gates=list(basis), optimization_level=1, seed_transpiler=0)


def to_noisy(circuit: QuantumCircuit, noise_model: NoiseModel) -> QuantumCircuit:
    """The circuit in the noise model's gates; in noiseless ones only where it cannot do without them.

    Noise sits on gates by name, and Aer adds cx, id, rz and sx to the gates of most models: a circuit translated to
    those would run without the noise on, say, ecr or u, and without a word.
    """
    from qiskit.circuit.library import get_standard_gate_name_mapping
    from qiskit.transpiler.exceptions import TranspilerError

    gates = {g: get_standard_gate_name_mapping()[g].num_qubits for g in noise_model.basis_gates if g in _GATES}
    noisy = set(noise_model.noise_instructions) - _NO_GATES
    for spared in ((1, 2), (2,), (1,)):  # noiseless gates on so many qubits are left out
        basis = [gate for gate, size in gates.items() if gate in noisy or size not in spared]
        try:
            translated = _to_basis(circuit, basis or gates)
            break
        except TranspilerError:
            continue
    else:
        try:
            translated = _to_basis(circuit, gates)
        except TranspilerError as error:
            raise BackendError(
                f"aer: found a circuit that cannot be translated to {sorted(gates)} ({error.message}); expected a "
                "noise model with gates that any circuit can be written in, such as rz, sx and cx"
            ) from error
    used = set(translated.count_ops())
    missed = noisy - set(gates)
    for size in (1, 2):
        of_size = {gate for gate in gates if gates[gate] == size}
        if used & of_size and not used & of_size & noisy:
            missed |= of_size & noisy
    if missed:
        raise BackendError(
            f"aer: found noise on {sorted(missed)}, and a circuit translated to {sorted(used)}, which would run "
            "without it; expected noise on gates that a circuit can be written in, such as sx and cx"
        )
    return translated


def _measured(label: str, flips: Sequence[tuple[float, float]]) -> SparsePauliOp:
    """A Z string as the measurement with readout error would see it.

    With the error rates p(1|0) and p(0|1), measuring Z gives (p(0|1) − p(1|0))·I + (1 − p(1|0) − p(0|1))·Z. An
    estimator has no measurement, and would leave the readout error out without a word.
    """
    from qiskit.quantum_info import SparsePauliOp

    seen = SparsePauliOp("")
    for letter, (flip_0, flip_1) in zip(label, reversed(flips), strict=True):
        error = SparsePauliOp(["I", "Z"], [flip_1 - flip_0, 1 - flip_0 - flip_1])
        seen = seen.tensor(error if letter == "Z" else SparsePauliOp("I"))
    return seen.simplify()


def _mix(seed: int, start: int, offset: int, angles: FloatArray) -> int:
    content = seed.to_bytes(8, "little") + start.to_bytes(8, "little") + np.asarray(angles, np.float64).tobytes()
    content += offset.to_bytes(8, "little") if offset else b""  # the first round has the bits of a call by itself
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "little") >> 2  # Aer takes 31 bits


def readout_flips(noise_model: NoiseModel | None, num_qubits: int) -> list[tuple[float, float]]:
    """p(1|0) and p(0|1) of each qubit."""
    everywhere, here = (0.0, 0.0), {}
    for error in [] if noise_model is None else noise_model.to_dict(serializable=True)["errors"]:
        if "measure" not in error["operations"]:
            continue
        if error["type"] != "roerror" or len(error["probabilities"]) != 2:
            raise BackendError(
                "aer: found a noise model with more than single-qubit readout error on its measurement; "
                "expected shots=… for such a model, since exact values would leave it out"
            )
        rates = (float(error["probabilities"][0][1]), float(error["probabilities"][1][0]))
        if "gate_qubits" in error:
            here.update({qubit: rates for (qubit,) in error["gate_qubits"]})
        else:
            everywhere = rates
    return [here.get(qubit, everywhere) for qubit in range(num_qubits)]
