"""Any Qiskit primitive or device: other vendors, simulators, fake devices."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Circuit
from ..errors import BackendError, InputError, require, whole_number
from ..predictions import Expectations, FloatArray
from .base import MAX_SHOTS
from .isa import MEASURED, check_isa, checked_layout, to_isa
from .sampling import Measured

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.primitives import BaseSamplerV2
    from qiskit.providers import BackendV2

__all__ = ["PrimitiveBackend"]

_EXECUTIONS = 2**24  # rows × shots of one job, which bounds the bits held at once


class PrimitiveBackend:
    """Samples the circuit on any `BaseSamplerV2`, or on any `BackendV2` through Qiskit's own sampler."""

    def __init__(
        self,
        primitive: BaseSamplerV2 | BackendV2,
        *,
        shots: int = 4096,
        device: BackendV2 | None = None,
        seed_transpiler: int = 0,
        initial_layout: Sequence[int] | None = None,
    ) -> None:
        """Take over a primitive or a device.

        Args:
            primitive: a sampler, or a device (fake ones and other vendors' too). What is random about it is its own
                affair: a `StatevectorSampler` with a whole number as its seed gives each row the same randomness, with
                a generator it does not.
            shots: measurements a text.
            device: what a sampler runs on, where it does not tell by its `backend`, or another than it tells; its
                gates and wiring are kept to. A sampler without a device gets the circuit in plain gates.
            seed_transpiler: the same seed and calibration give the same circuit on the device.
            initial_layout: the device's qubit for each of the circuit's; None: the transpiler chooses.

        Raises:
            InputError: neither a sampler nor a device, or numbers out of range.
            MissingExtraError: Qiskit is not installed.
        """
        require("qiskit", feature="running on a primitive", extra="aer")
        from qiskit.primitives import BackendSamplerV2, BaseSamplerV2
        from qiskit.providers import BackendV2

        if device is not None and not isinstance(device, BackendV2):
            raise InputError(f"device: found {type(device).__name__}; expected a BackendV2")
        if isinstance(primitive, BackendV2):
            if device is not None:
                raise InputError(
                    f"device: found {device.name} beside the device {primitive.name}; expected one of them"
                )
            device, primitive = primitive, BackendSamplerV2(backend=primitive)
        if not isinstance(primitive, BaseSamplerV2):
            raise InputError(f"primitive: found {type(primitive).__name__}; expected a BaseSamplerV2 or a BackendV2")
        told: Any = getattr(primitive, "backend", None)
        told = told() if callable(told) and not isinstance(told, BackendV2) else told
        self._sampler = primitive
        self._device: BackendV2 | None = told if device is None and isinstance(told, BackendV2) else device
        if self._device is None and initial_layout is not None:
            raise InputError("initial layout: found one without a device; expected device=… with it")
        self._shots = whole_number("shots", shots, 1, MAX_SHOTS)
        self._seed = whole_number("seed_transpiler", seed_transpiler, 0, 2**32 - 1)
        self._layout = checked_layout(initial_layout)
        self._prepared: dict[str, QuantumCircuit] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The device's name, or the sampler's kind."""
        return type(self._sampler).__name__ if self._device is None else str(self._device.name)

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`."""
        return self.measure(circuit, angles, self._shots).expectations(self.name)

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`. What is repeatable here, the primitive decides; `offset` is not used."""
        angles = circuit.check_angles(angles)
        shots = whole_number("shots", shots, 1, MAX_SHOTS)
        whole_number("offset", offset, 0, 2**63 - 1)
        isa = self._isa(circuit)
        if not len(angles):
            return Measured.from_bits(np.empty((0, shots, circuit.num_qubits), np.bool_), circuit.observable_masks)
        step = max(1, _EXECUTIONS // shots)
        parts = [self._sample(isa, circuit, angles[i : i + step], shots) for i in range(0, len(angles), step)]
        return Measured.concatenate(parts)

    def _sample(self, isa: QuantumCircuit, circuit: Circuit, angles: FloatArray, shots: int) -> Measured:
        try:
            result = self._sampler.run([(isa, circuit.bindings(angles))], shots=shots).result()
            bits = result[0].data[MEASURED].to_bool_array(order="little")
        except Exception as error:  # each vendor has errors of its own
            raise BackendError(f"{self.name}: the sampler failed: {getattr(error, 'message', error)!s}") from error
        expected = len(angles), shots, circuit.num_qubits
        if bits.shape != expected:
            raise BackendError(f"{self.name}: found bits {bits.shape}; expected (texts, shots, qubits) {expected}")
        return Measured.from_bits(bits, circuit.observable_masks)

    def _isa(self, circuit: Circuit) -> QuantumCircuit:
        """The circuit as the sampler runs it, made once."""
        with self._lock:
            if circuit.sha256 not in self._prepared:
                if self._device is None:
                    isa = circuit.to_qiskit()
                    isa.measure_all()
                else:
                    isa = to_isa(circuit, self._device, seed=self._seed, initial_layout=self._layout)
                self._prepared[circuit.sha256] = isa
            if self._device is not None:  # its calibration may have changed since
                check_isa(self._prepared[circuit.sha256], self._device.target, self.name)
            return self._prepared[circuit.sha256]
