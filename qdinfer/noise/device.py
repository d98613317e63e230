"""What a device's calibration says of the noise on the qubits and gates that one circuit uses, as a small file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..atomic import replacing
from ..backends.aer import readout_flips, to_noisy
from ..backends.isa import isa_to_json, scheduled
from ..circuit import Circuit
from ..errors import InputError
from .channels import Real, depolarizing, joined, pauli_channel, pauli_probabilities, readout, relaxation, twirl

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.providers import BackendV2
    from qiskit_aer.noise import NoiseModel

__all__ = ["FORMAT", "DeviceNoise", "GateNoise", "QubitNoise"]

FORMAT = 1
"""Of the file. 1: the first."""
_MAX_BYTES = 2**24
_SUM = 1e-9  # by which probabilities may exceed 1

_IDLE = ("delay",)
_FREE = ("barrier", "measure")


class QubitNoise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One qubit.

    Attributes:
        qubit: the device's number of it.
        t1, t2: seconds; None where the device reports none, and none is taken to be there.
        read_1_as_0: the probability that a qubit in |1⟩ is read as 0.
        read_0_as_1: that one in |0⟩ is read as 1.
    """

    qubit: int
    t1: float | None = None
    t2: float | None = None
    read_1_as_0: float = 0.0
    read_0_as_1: float = 0.0


class GateNoise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One gate on its qubits: an average infidelity and a duration, or the Paulis that follow it.

    Attributes:
        gate: its name.
        qubits: the device's numbers of them, in the gate's order.
        error: the average infidelity, relaxation during the gate included.
        seconds: the duration.
        paulis: Pauli string → the probability that it follows the gate, its first letter that of the first qubit; the
            identity is left out. None: the noise is that of `error` and `seconds`.
    """

    gate: str
    qubits: tuple[int, ...]
    error: float = 0.0
    seconds: float = 0.0
    paulis: dict[str, float] | None = None


class DeviceNoise(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The noise of a device, as far as one circuit needs it, and that circuit as it runs there.

    Attributes:
        format: of the file.
        device: its name.
        calibrated: when the device was calibrated, ISO 8601; if it does not tell, when it was read.
        source: ``"target"``, what the device reports; or ``"noise model"``, of Aer, whose errors are Pauli-twirled.
        circuit_sha256: `Circuit.sha256` of the circuit.
        qubits: those that the circuit uses.
        gates: those that it uses, on its qubits.
        isa: the circuit in the device's gates and on its qubits, as `qdinfer.backends.isa.isa_to_json` writes it; with
            delays, in seconds, where a qubit waits, if idling is to count.
    """

    format: int
    device: str
    calibrated: str
    source: str
    circuit_sha256: str
    qubits: tuple[QubitNoise, ...]
    gates: tuple[GateNoise, ...]
    isa: dict[str, Any]

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise InputError(
                f"noise: found format {self.format}; expected {FORMAT}: upgrade qdinfer to read a newer one"
            )
        for qubit in self.qubits:
            _check_qubit(qubit)
        for gate in self.gates:
            _check_gate(gate, {qubit.qubit for qubit in self.qubits})
        if len(self._qubits) != len(self.qubits) or len(self._gates) != len(self.gates):
            raise InputError("noise: found a qubit or a gate twice; expected each once")
        for place in self.measured:
            self._qubit(place)

    @classmethod
    def from_backend(
        cls, backend: BackendV2, circuit: Circuit, isa: QuantumCircuit, *, idling: bool = True
    ) -> DeviceNoise:
        """Read what a device reports of the qubits and gates that a circuit uses there.

        Args:
            backend: the device, fake or live.
            circuit: the trained circuit.
            isa: the same as it runs on the device, see `qdinfer.backends.isa.to_isa`.
            idling: whether qubits relax while they wait as well. A device's do; a simulated one's do not.

        Raises:
            InputError: the device reports something that cannot be.
            BackendError: the device does not tell how long its gates take.
        """
        properties = backend.properties() if hasattr(backend, "properties") else None
        date = getattr(properties, "last_update_date", None)
        gates = []
        for name, qubits in _places(isa):
            reported = backend.target[name].get(qubits)
            error, seconds = getattr(reported, "error", None) or 0.0, getattr(reported, "duration", None) or 0.0
            gates.append(GateNoise(name, qubits, float(error), float(seconds)))
        return cls(
            FORMAT,
            str(backend.name),
            (date or datetime.now(UTC)).isoformat(timespec="seconds"),
            "target",
            circuit.sha256,
            tuple(_qubit_of(backend, properties, qubit) for qubit in _used(isa)),
            tuple(gates),
            json.loads(isa_to_json(scheduled(isa, backend) if idling else isa)),
        )

    @classmethod
    def from_noise_model(cls, model: NoiseModel, circuit: Circuit, *, name: str = "noise model") -> DeviceNoise:
        """Take over a noise model of Aer, as `AerBackend` would run the circuit with it.

        Errors that are no Pauli channels are twirled into the nearest ones.

        Args:
            model: readout errors and errors on gates of one or two qubits.
            circuit: the trained circuit.
            name: of the device, for people.

        Raises:
            BackendError: no circuit can be written in the model's gates, or more than one qubit is read at once.
        """
        isa = to_noisy(circuit.to_qiskit(), model)
        isa.measure_all()
        errors = _gate_errors(model)
        gates = [
            GateNoise(gate, qubits, paulis=errors.get((gate, qubits), errors.get((gate, ()), {})))
            for gate, qubits in _places(isa)
        ]
        flips = readout_flips(model, circuit.num_qubits)
        qubits = [QubitNoise(q, read_1_as_0=flips[q][1], read_0_as_1=flips[q][0]) for q in range(circuit.num_qubits)]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        isa_rows = json.loads(isa_to_json(isa))
        return cls(FORMAT, name, now, "noise model", circuit.sha256, tuple(qubits), tuple(gates), isa_rows)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DeviceNoise:
        """Read a noise file.

        Raises:
            InputError: it is none, or of a newer format.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InputError(f"{path}: found over {_MAX_BYTES} bytes; expected a noise file")
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(
                f"{path}: found no noise file ({error}); expected one as DeviceNoise.save writes"
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as indented JSON, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        with replacing(Path(path)) as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    def scaled(self, factor: float) -> DeviceNoise:
        """A device with error rates times that: gate errors and readout errors, and T1 and T2 divided by it.

        Probabilities stop at those of a completely depolarizing gate, and of a coin for a readout; those that are
        beyond already do not grow.

        Raises:
            InputError: the factor is no positive number.
        """
        if not 0 < factor < math.inf:
            raise InputError(f"factor: found {factor}; expected a positive number")
        qubits = [
            QubitNoise(
                each.qubit,
                None if each.t1 is None else each.t1 / factor,
                None if each.t2 is None else each.t2 / factor,
                min(max(0.5, each.read_1_as_0), each.read_1_as_0 * factor),
                min(max(0.5, each.read_0_as_1), each.read_0_as_1 * factor),
            )
            for each in self.qubits
        ]
        gates = [_scaled_gate(gate, factor) for gate in self.gates]
        name = f"{self.device} × {factor:g}"
        return msgspec.structs.replace(self, device=name, qubits=tuple(qubits), gates=tuple(gates))

    def after(self, name: str, qubits: Sequence[int], seconds: float = 0.0, *, twirled: bool) -> Real:
        """What follows an instruction.

        Args:
            name: of the instruction.
            qubits: the device's numbers.
            seconds: of a delay.
            twirled: whether relaxation is Pauli-twirled, as randomized gates make it.

        Returns:
            (4ᵏ, 4ᵏ) transfer matrix, see `qdinfer.noise.channels`.

        Raises:
            InputError: a gate that this noise knows nothing of.
        """
        if name in _FREE:
            return np.eye(4 ** len(qubits))
        if name in _IDLE:
            return joined([self._relaxation(qubit, seconds, twirled) for qubit in qubits])
        gate = self._gates.get((name, tuple(qubits)))
        if gate is None:
            raise InputError(
                f"noise of {self.device}: found nothing of {name} on qubits {list(qubits)}; "
                "expected noise of the circuit that is run"
            )
        if gate.paulis is not None:
            return pauli_channel(gate.paulis) if gate.paulis else np.eye(4 ** len(qubits))
        single = [self._relaxation(qubit, gate.seconds, twirled) for qubit in qubits]
        # In time the depolarizing error comes first, so seen backwards it is the left factor.
        return depolarizing(gate.error, single) @ joined(single)

    @cached_property
    def measured(self) -> tuple[int, ...]:
        """The device's qubit for each of the circuit's.

        Raises:
            InputError: the ISA circuit does not measure them all, once each.
        """
        try:
            read = sorted((row[3][0], row[1][0]) for row in self.isa["instructions"] if row[0] == "measure")
        except (LookupError, TypeError):
            read = []
        places = tuple(place for _, place in read)
        if not read or [bit for bit, _ in read] != [*range(len(read))] or len({*places}) != len(places):
            raise InputError(
                f"noise of {self.device}: found no circuit of a device in isa, or one that does not measure each of "
                "its qubits once; expected one as qdinfer.backends.isa.isa_to_json writes it"
            )
        return places

    def reading(self, qubit: int) -> Real:
        """(4, 4): what the readout of a qubit makes of Z.

        Raises:
            InputError: a qubit that this noise knows nothing of.
        """
        known = self._qubit(qubit)
        return readout(known.read_1_as_0, known.read_0_as_1)

    def _relaxation(self, number: int, seconds: float, twirled: bool) -> Real:
        known = self._qubit(number)
        t1, t2 = (math.inf if t is None else t for t in (known.t1, known.t2))
        found = relaxation(t1, t2, seconds)
        return twirl(found) if twirled else found

    def _qubit(self, number: int) -> QubitNoise:
        if number not in self._qubits:
            raise InputError(
                f"noise of {self.device}: found nothing of qubit {number}; expected noise of the circuit that is run"
            )
        return self._qubits[number]

    @cached_property
    def _qubits(self) -> dict[int, QubitNoise]:
        return {each.qubit: each for each in self.qubits}

    @cached_property
    def _gates(self) -> dict[tuple[str, tuple[int, ...]], GateNoise]:
        return {(each.gate, each.qubits): each for each in self.gates}


def _used(isa: QuantumCircuit) -> list[int]:
    return sorted({isa.find_bit(qubit).index for row in isa.data if row.name != "barrier" for qubit in row.qubits})


def _places(isa: QuantumCircuit) -> list[tuple[str, tuple[int, ...]]]:
    """The gates, each with its qubits."""
    found = {(row.name, tuple(isa.find_bit(qubit).index for qubit in row.qubits)) for row in isa.data}
    return sorted(place for place in found if place[0] not in (*_FREE, *_IDLE))


def _gate_errors(model: NoiseModel) -> dict[tuple[str, tuple[int, ...]], dict[str, float]]:
    """The Paulis after each gate, by its name and qubits; no qubits where they are those of any."""
    from qiskit.quantum_info import PTM
    from qiskit_aer.noise import PauliLindbladError, QuantumError

    found = {}
    for error in model.to_dict()["errors"]:
        if error["type"] == "roerror":
            continue
        kind = PauliLindbladError if error["type"] == "plerror" else QuantumError
        channel = kind.from_dict(error)
        k = channel.num_qubits
        # Qiskit's first qubit is the last letter of a Pauli.
        fidelities = np.diagonal(PTM(channel.to_quantumchannel()).data).real.reshape((4,) * k).transpose().ravel()
        paulis = pauli_probabilities(np.diag(fidelities))
        for gate in error["operations"]:
            for qubits in error.get("gate_qubits", [()]):
                found[gate, tuple(qubits)] = paulis
    return found


def _qubit_of(backend: BackendV2, properties: Any, qubit: int) -> QubitNoise:
    known = (backend.target.qubit_properties or {})[qubit] if backend.target.qubit_properties else None
    measure = backend.target["measure"].get((qubit,)) if "measure" in backend.target.operation_names else None
    symmetric = float(getattr(measure, "error", None) or 0.0)
    asymmetric = properties.qubit_property(qubit) if properties is not None else {}
    flips = [float(asymmetric.get(f"prob_meas{a}_prep{b}", (symmetric,))[0]) for a, b in ((0, 1), (1, 0))]
    return QubitNoise(qubit, getattr(known, "t1", None), getattr(known, "t2", None), *flips)


def _scaled_gate(gate: GateNoise, factor: float) -> GateNoise:
    k = len(gate.qubits)
    if gate.paulis is None:
        return GateNoise(gate.gate, gate.qubits, min(2**k / (2**k + 1), gate.error * factor), gate.seconds)
    most = (4**k - 1) / 4**k
    total = sum(gate.paulis.values())
    scale = min(factor, max(1.0, most / total)) if total else factor
    return GateNoise(gate.gate, gate.qubits, paulis={pauli: p * scale for pauli, p in gate.paulis.items()})


def _check_qubit(known: QubitNoise) -> None:
    for name in ("t1", "t2"):
        value = getattr(known, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"noise: found {name} = {value} of qubit {known.qubit}; expected seconds above 0")
    for name in ("read_1_as_0", "read_0_as_1"):
        value = getattr(known, name)
        if not 0 <= value <= 1:
            raise InputError(f"noise: found {name} = {value} of qubit {known.qubit}; expected a probability")


def _check_gate(gate: GateNoise, qubits: set[int]) -> None:
    where = f"{gate.gate} on qubits {list(gate.qubits)}"
    if not 1 <= len(gate.qubits) <= 2 or not {*gate.qubits} <= qubits or len({*gate.qubits}) != len(gate.qubits):
        raise InputError(f"noise: found {where}; expected a gate on one or two of the qubits {sorted(qubits)}")
    if not (0 <= gate.error <= 1 and 0 <= gate.seconds < math.inf):
        raise InputError(
            f"noise: found error {gate.error} and {gate.seconds} s of {where}; expected a probability and a duration"
        )
    paulis = gate.paulis or {}
    good = all(len(p) == len(gate.qubits) and p.strip("IXYZ") == "" and p.strip("I") for p in paulis)
    if not good or any(not 0 <= p <= 1 for p in paulis.values()) or sum(paulis.values()) > 1 + _SUM:
        raise InputError(
            f"noise: found {paulis} after {where}; expected probabilities of Pauli strings of {len(gate.qubits)} "
            "letters, not all I, with a sum of at most 1"
        )
