"""IBM Quantum, and the fake devices that stand in for it: the client-side Sampler, with its options."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..circuit import Circuit
from ..errors import BackendError, InputError, require, whole_number
from ..predictions import BoolArray, Expectations, FloatArray
from .base import MAX_SHOTS
from .ibm_client import Patience
from .ibm_jobs import JobService, TooManyJobsError
from .isa import MEASURED, NotIsaError, calibration_circuit, check_isa, execution_seconds, to_isa
from .sampling import Measured

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.providers import BackendV2

__all__ = ["Limits", "Prepared", "RuntimeBackend", "RuntimeSettings", "device_named"]

_FEATURE = "running on IBM Quantum"
_RANDOMIZATIONS = 32  # twirls of a row; the client's own choice may exceed the shots that were asked for
_CALIBRATION_SHOTS = 16_384  # of the empty circuit, in each job
_JOB_SECONDS = 2.0  # of every job, beside its executions, as IBM documents


@dataclass(frozen=True)
class RuntimeSettings:
    """How a circuit is run on an IBM device. Part of what a measurement is, so of a durable run's identity.

    Attributes:
        mode: ``"batch"``, ``"session"`` or ``"job"``: how the service schedules the jobs.
        seed_transpiler: the same seed and calibration give the same circuit on the device.
        initial_layout: the device's qubit for each of the circuit's; None: the transpiler chooses.
        twirl_gates: whether two-qubit gates are Pauli-twirled, over 32 randomizations a text.
        dynamical_decoupling: the sequence for idle qubits, ``"XX"``, ``"XpXm"`` or ``"XY4"``; None: none.
        mitigate_readout: whether readout error is divided out: measurements are twirled, and each job measures the
            empty circuit as well, at least 16 384 times, whose expectation values are what readout leaves of 1 (van
            den Berg, Minev, Temme 2022, doi:10.1103/PhysRevA.105.032620).
    """

    mode: Literal["batch", "session", "job"] = "batch"
    seed_transpiler: int = 0
    initial_layout: tuple[int, ...] | None = None
    twirl_gates: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    mitigate_readout: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("batch", "session", "job"):
            raise InputError(f"mode: found {self.mode!r}; expected 'batch', 'session' or 'job'")
        if self.dynamical_decoupling not in (None, "XX", "XpXm", "XY4"):
            raise InputError(f"dynamical decoupling: found {self.dynamical_decoupling!r}; expected XX, XpXm or XY4")
        whole_number("seed_transpiler", self.seed_transpiler, 0, 2**32 - 1)

    @property
    def twirled(self) -> bool:
        """Whether each row is measured over several randomizations."""
        return self.twirl_gates or self.mitigate_readout

    def shots(self, asked: int) -> int:
        """The shots that are run where so many are asked for: twirled, as many for each randomization."""
        return -(-asked // _RANDOMIZATIONS) * _RANDOMIZATIONS if self.twirled else asked

    def sampler_options(self, shots: int, *, tags: Sequence[str] = (), seed_simulator: int | None = None) -> Any:
        """The client's `SamplerOptions`."""
        from qiskit_ibm_runtime.options_models.sampler import SamplerOptions

        options = SamplerOptions()
        options.twirling.enable_gates = self.twirl_gates
        options.twirling.enable_measure = self.mitigate_readout
        if self.twirled:
            options.twirling.num_randomizations = _RANDOMIZATIONS
            options.twirling.shots_per_randomization = shots // _RANDOMIZATIONS
        options.dynamical_decoupling.enable = self.dynamical_decoupling is not None
        if self.dynamical_decoupling is not None:
            options.dynamical_decoupling.sequence_type = self.dynamical_decoupling
        options.environment.job_tags = list(tags)
        options.simulator.seed_simulator = seed_simulator
        return options


@dataclass(frozen=True)
class Limits:
    """What one job may hold, as IBM documents it (https://quantum.cloud.ibm.com/docs/guides/job-limits).

    Attributes:
        executions: rows × shots, with those of the calibration.
        control_instructions: on one qubit, over all rows.
        two_qubit_gates: in the circuit.
        seconds: of estimated time; the service ends a job after 3 h.
    """

    executions: int = 10_000_000
    control_instructions: int = 26_800_000
    two_qubit_gates: int = 5_000_000
    seconds: float = 2.5 * 3600

    def __post_init__(self) -> None:
        whole_number("executions", self.executions, 1, 10_000_000)


@dataclass(frozen=True)
class Prepared:
    """A circuit made ready for a device.

    Attributes:
        isa: the ISA circuit, its inputs unbound.
        calibration: its measurements alone; None without readout mitigation.
        seconds: of one execution; NaN if the device does not tell.
        device: its name.
    """

    isa: QuantumCircuit
    calibration: QuantumCircuit | None
    seconds: float
    device: str

    def calibrations(self, shots: int) -> int:
        """How often the calibration circuit stands in a job, for all circuits of a job have the same shots."""
        return 0 if self.calibration is None else -(-_CALIBRATION_SHOTS // shots)

    def executions(self, rows: int, shots: int) -> int:
        """What a job of so many rows and shots executes."""
        return (rows + self.calibrations(shots)) * shots

    def job_seconds(self, rows: int, shots: int) -> float:
        """The quantum computer's seconds that a job is estimated to take: 2 s, and its executions."""
        return _JOB_SECONDS + self.executions(rows, shots) * self.seconds

    def rows_per_job(self, shots: int, limits: Limits) -> int:
        """How many rows fit into a job.

        Raises:
            BackendError: not even one.
        """
        sizes = [len(i.qubits) for i in self.isa.data if i.operation.name not in ("barrier", "measure")]
        if sizes.count(2) > limits.two_qubit_gates:
            raise BackendError(
                f"{self.device}: found {sizes.count(2)} two-qubit gates; expected at most {limits.two_qubit_gates}"
            )
        each = [self.isa.find_bit(qubit).index for i in self.isa.data for qubit in i.qubits]
        busiest = int(np.bincount(each).max())
        most = [limits.executions // shots - self.calibrations(shots), limits.control_instructions // busiest]
        if self.seconds > 0:
            most.append(int((limits.seconds - _JOB_SECONDS) / (shots * self.seconds)) - self.calibrations(shots))
        if min(most) < 1:
            raise BackendError(
                f"{self.device}: found {self.executions(1, shots)} executions and {self.job_seconds(1, shots):.0f} s "
                f"for one text at {shots} shots; expected at most {limits.executions} and {limits.seconds:.0f} s in a "
                "job; take fewer shots"
            )
        return min(most)


class RuntimeBackend:
    """Samples the circuit on an IBM device through `qiskit_ibm_runtime`'s client-side Sampler.

    A call of `expectations` or `measure` waits for its jobs, and forgets them if it is interrupted: what costs money is
    better run durably, by `qdinfer.runs.Run` or ``qdinfer predict --journal``. Credentials are those that IBM's client
    has saved or finds in the environment; they are never written or shown.
    """

    def __init__(
        self,
        device: str | BackendV2,
        *,
        shots: int = 4096,
        settings: RuntimeSettings | None = None,
        limits: Limits | None = None,
        patience: Patience | None = None,
        seed: int | None = None,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        """Name a device; nothing is sent yet.

        Args:
            device: an IBM device's name, or ``"least_busy"``; or a fake device, which is simulated here.
            shots: measurements a text.
            settings: how the circuit is run.
            limits: what one job may hold.
            patience: how long to wait for the service.
            seed: makes a fake device's shots repeatable.
            note: told, in one line, what goes wrong and is tried again.

        Raises:
            InputError: neither a name nor a device, or numbers out of range.
            MissingExtraError: IBM's client is not installed.
        """
        require("qiskit_ibm_runtime", feature=_FEATURE, extra="ibm")
        from qiskit.providers import BackendV2

        if not isinstance(device, str | BackendV2) or not device:
            raise InputError(f"device: found {device!r}; expected a name, or a BackendV2")
        self.settings = settings or RuntimeSettings()
        self.limits = limits or Limits()
        self._device = device
        self.patience = patience or Patience()
        self._shots = whole_number("shots", shots, 1, MAX_SHOTS)
        self._seed = None if seed is None else whole_number("seed", seed, 0, 2**31 - 1)
        if isinstance(device, str) and seed is not None:
            raise InputError(
                f"seed: found {seed} for a real device; expected none (settings.seed_transpiler is another)"
            )
        self.note = note
        self._prepared: dict[str, Prepared] = {}

    @property
    def name(self) -> str:
        """``"ibm:DEVICE"`` or ``"fake:DEVICE"``."""
        return f"ibm:{self._device}" if isinstance(self._device, str) else f"fake:{self._device.name}"

    @property
    def local(self) -> bool:
        """Whether the device is simulated here."""
        return not isinstance(self._device, str)

    @cached_property
    def service(self) -> JobService:
        """Where jobs are submitted.

        Raises:
            BackendError: the device is simulated here.
        """
        if not isinstance(self._device, str):
            raise BackendError(f"{self.name}: found a simulated device; expected one of IBM's service, as ibm:DEVICE")
        return JobService(self._device, self.settings.mode, patience=self.patience, note=lambda text: self.note(text))

    def pin(self, device: str) -> None:
        """Stay on that device, which ``"least_busy"`` was before."""
        if isinstance(self._device, str):
            self._device = device

    def device(self, min_qubits: int = 1) -> BackendV2:
        """The device itself.

        Raises:
            BackendError: there is none of that name, or the service cannot be reached.
        """
        if not isinstance(self._device, str):
            return self._device
        found = self.service.backend(min_qubits)
        self._device = str(found.name)  # "least_busy" is one device from now on
        return found

    def prepare(self, circuit: Circuit, isa: QuantumCircuit | None = None) -> Prepared:
        """Make a circuit ready for the device, once.

        Args:
            circuit: the trained circuit.
            isa: the ISA circuit to go on with, of the same circuit; None to make one.

        Raises:
            NotIsaError: the device cannot run it any more: its calibration has changed.
            BackendError: the device cannot run the circuit at all, or cannot be reached.
        """
        device = self.device(circuit.num_qubits)
        settings = self.settings
        known = self._prepared.get(circuit.sha256)
        if known is None or isa is not None:
            if isa is None:
                isa = to_isa(circuit, device, seed=settings.seed_transpiler, initial_layout=settings.initial_layout)
            calibration = calibration_circuit(isa) if settings.mitigate_readout else None
            known = Prepared(isa, calibration, execution_seconds(isa, device), str(device.name))
            self._prepared[circuit.sha256] = known
        check_isa(known.isa, device.target, self.name)
        if hasattr(device, "check_faulty"):
            try:
                device.check_faulty(known.isa)
            except ValueError as error:
                raise NotIsaError(f"{self.name}: {error}") from error
        return known

    def pubs(self, prepared: Prepared, circuit: Circuit, angles: FloatArray, shots: int) -> list[Any]:
        """What one job samples: all rows, then the calibrations."""
        rows = [(prepared.isa, circuit.bindings(angles))]
        return rows + [(prepared.calibration,)] * prepared.calibrations(shots)

    def measured(self, circuit: Circuit, bits: Sequence[BoolArray]) -> Measured:
        """What a job's bits, PUB by PUB, say of its rows."""
        masks = circuit.observable_masks
        measured = Measured.from_bits(bits[0], masks)
        if not self.settings.mitigate_readout:
            return measured
        empty = np.concatenate([pub.reshape(1, -1, pub.shape[-1]) for pub in bits[1:]], axis=1)
        return measured.mitigated(Measured.from_bits(empty, masks))

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`."""
        return self.measure(circuit, angles, self._shots).expectations(self.name)

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`. Twirled, shots are rounded up to a multiple of 32."""
        angles = circuit.check_angles(angles)
        shots = self.settings.shots(whole_number("shots", shots, 1, MAX_SHOTS))
        if not len(angles):
            return Measured.from_bits(np.zeros((0, shots, circuit.num_qubits), np.bool_), circuit.observable_masks)
        prepared = self.prepare(circuit)
        step = prepared.rows_per_job(shots, self.limits)
        jobs = [self.pubs(prepared, circuit, angles[i : i + step], shots) for i in range(0, len(angles), step)]
        results = self._sample_here(jobs, shots, offset) if self.local else self._sample_there(jobs, shots)
        return Measured.concatenate([self.measured(circuit, bits) for bits in results])

    def _sample_here(self, jobs: list[list[Any]], shots: int, offset: int) -> list[list[BoolArray]]:
        from qiskit.exceptions import QiskitError
        from qiskit_ibm_runtime.executor_sampler import Sampler

        results = []
        for number, pubs in enumerate(jobs):
            seed = None if self._seed is None else (self._seed + 7919 * number + 104_729 * offset) % 2**31
            options = self.settings.sampler_options(shots, seed_simulator=seed)
            try:
                result = Sampler(mode=self._device, options=options).run(pubs, shots=shots).result()
            except QiskitError as error:
                raise BackendError(f"{self.name}: the simulation failed: {error.message}") from error
            results.append([pub.data[MEASURED].to_bool_array(order="little") for pub in result])
        return results

    def _sample_there(self, jobs: list[list[Any]], shots: int) -> list[list[BoolArray]]:
        service = self.service
        session = service.open_session()
        submitted = []
        for pubs in jobs:
            tag = f"qdinfer-{secrets.token_hex(16)}"
            submitted.append(self._submitted(pubs, shots, tag, session))
        if session is not None:
            service.close_session(session)
        results = []
        for job in submitted:
            while not (state := service.look(job)).final:
                time.sleep(self.patience.poll)
            if state.status != "DONE":
                raise BackendError(
                    f"{self.name}: job {job} ended as {state.status}: {state.reason or 'no reason given'}"
                )
            results.append(service.fetch(job))
        return results

    def _submitted(self, pubs: list[Any], shots: int, tag: str, session: str | None) -> str:
        options = self.settings.sampler_options(shots, tags=[tag])
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return self.service.submit(pubs, shots, options, tag, session).job
            except TooManyJobsError as error:
                refused = error
                time.sleep(self.patience.delay(attempt) if error.wait is None else error.wait)
        raise refused


def device_named(name: str) -> BackendV2:
    """One of IBM's fake devices, by the name of its class or the device: FakeFez, fake_fez, fez.

    Raises:
        InputError: there is none of that name.
        MissingExtraError: IBM's client is not installed.
    """
    provider = require("qiskit_ibm_runtime.fake_provider", feature="a fake device", extra="ibm")
    wanted = name.lower().replace("_", "").removeprefix("fake").removesuffix("v2")
    known = {}
    for kind in dir(provider):
        if kind.startswith("Fake") and not kind.startswith("FakeProvider") and "Fractional" not in kind:
            known[kind.lower().removeprefix("fake").removesuffix("v2")] = kind
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4) or ["fez", "torino", "miami"]
        raise InputError(f"fake:{name}: found no such device; expected one such as {[known[n] for n in near]}")
    found: BackendV2 = getattr(provider, known[wanted])()
    return found
