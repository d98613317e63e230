"""IBM Quantum, and the fake devices that stand in for it: the client-side Sampler, with its options."""

from __future__ import annotations

import difflib
import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Circuit
from ..errors import BackendError, InputError, require, whole_number
from ..predictions import BoolArray, Expectations, FloatArray
from .base import MAX_SHOTS
from .ibm_client import Patience
from .ibm_jobs import JobService, JobState, SessionClosedError, TooManyJobsError
from .isa import (
    IDLE,
    MEASURED,
    NotIsaError,
    calibration_circuit,
    check_isa,
    execution_seconds,
    to_isa,
)
from .sampling import Measured
from .settings import Limits, Prepared, RuntimeSettings

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.providers import BackendV2

__all__ = ["RuntimeBackend", "device_named", "device_of"]

_FEATURE = "running on IBM Quantum"


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
        from qiskit_ibm_runtime import IBMBackend

        if not isinstance(device, str | BackendV2) or not device:
            raise InputError(f"device: found {device!r}; expected a name, or a BackendV2")
        if isinstance(device, IBMBackend):  # it would be taken for a simulation, and charged
            raise InputError(f"device: found the service's own {device.name}; expected its name, {device.name!r}")
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
        self._lock = threading.RLock()  # over what is prepared, and over each call of the service

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

        A device that is simulated here may leave open how long it takes; one that is paid for may not.

        Args:
            circuit: the trained circuit.
            isa: the ISA circuit to go on with, of the same circuit; None to make one.

        Raises:
            NotIsaError: the device cannot run it any more: its calibration has changed.
            BackendError: the device cannot run the circuit at all, or cannot be reached.
        """
        with self._lock:
            device = self.device(circuit.num_qubits)
            known = self._prepared.get(circuit.sha256)
            isa = known.isa if known is not None and isa is None else isa
            if isa is not None:
                self._check_still(isa, device)
            if known is None or isa is not known.isa:
                known = self._prepared[circuit.sha256] = self._made_ready(circuit, device, isa)
        return known

    def _check_still(self, isa: QuantumCircuit, device: BackendV2) -> None:
        """See that the device can run a circuit that was made for it before."""
        check_isa(isa, device.target, self.name)
        if hasattr(device, "check_faulty"):
            try:
                device.check_faulty(isa)
            except ValueError as error:
                raise NotIsaError(f"{self.name}: {error}") from error

    def _made_ready(self, circuit: Circuit, device: BackendV2, isa: QuantumCircuit | None) -> Prepared:
        settings = self.settings
        if isa is None:
            isa = to_isa(circuit, device, seed=settings.seed_transpiler, initial_layout=settings.initial_layout)
        try:
            seconds = execution_seconds(isa, device)
        except BackendError:
            if not self.local:
                raise
            seconds = math.nan
        calibration = calibration_circuit(isa) if settings.mitigate_readout else None
        return Prepared(isa, calibration, seconds, str(device.name))

    def pubs(self, prepared: Prepared, circuit: Circuit, angles: FloatArray, shots: int) -> list[Any]:
        """What one job samples: all rows, then the calibrations, a PUB each."""
        rows = [(prepared.isa, circuit.bindings(angles))]
        if prepared.calibration is None:
            return rows
        return [*rows, (prepared.calibration, {(IDLE,): np.zeros((prepared.calibrations(shots), 1))})]

    def measured(self, circuit: Circuit, bits: Sequence[BoolArray]) -> Measured:
        """What a job's bits, PUB by PUB, say of its rows."""
        masks = circuit.observable_masks
        measured = Measured.from_bits(bits[0], masks)
        if not self.settings.mitigate_readout:
            return measured
        empty = bits[1].reshape(1, -1, bits[1].shape[-1])
        return measured.mitigated(Measured.from_bits(empty, masks))

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`."""
        return self.measure(circuit, angles, self._shots).expectations(self.name)

    def measure(self, circuit: Circuit, angles: FloatArray, shots: int, *, offset: int = 0) -> Measured:
        """See `SamplingBackend.measure`. Twirled, shots are rounded up, as `RuntimeSettings.shots` does."""
        angles = circuit.check_angles(angles)
        shots = self.settings.shots(whole_number("shots", shots, 1, MAX_SHOTS))
        offset = whole_number("offset", offset, 0, 2**63 - 1)
        if not len(angles):
            return Measured.from_bits(np.empty((0, shots, circuit.num_qubits), np.bool_), circuit.observable_masks)
        prepared = self.prepare(circuit)
        step = prepared.rows_per_job(shots, self.limits)
        parts = [angles[i : i + step] for i in range(0, len(angles), step)]
        jobs = [self.pubs(prepared, circuit, part, shots) for part in parts]
        if self.local:
            seeds = [self._seeds(part, offset, number) for number, part in enumerate(parts)]
            results = [self._sample_here(job, shots, both) for job, both in zip(jobs, seeds, strict=True)]
        else:
            results = self._sample_there(jobs, shots)
        return Measured.concatenate([self.measured(circuit, bits) for bits in results])

    def _seeds(self, angles: FloatArray, offset: int, number: int) -> tuple[int | None, int | None]:
        """Of a simulated job and its calibration.

        Aer gives row i the seed + 2113·i, and so correlates whatever else starts from a seed nearby.
        """
        if self._seed is None:
            return None, None
        content = np.array([self._seed, offset, number]).tobytes() + np.asarray(angles, np.float64).tobytes()
        one, other = np.frombuffer(hashlib.sha256(content).digest()[:8], "<u4") >> 2  # Aer takes 31 bits
        return int(one), int(other)

    def _sample_here(self, job: list[Any], shots: int, seeds: tuple[int | None, int | None]) -> list[BoolArray]:
        """One job. Its calibrations are simulated as one, for each takes seconds on a device of many qubits."""
        rows, *calibrations = job
        bits = [self._simulated(rows, shots, seeds[0])]
        for circuit, idle in calibrations:
            many = self.settings.shots(len(idle[(IDLE,)]) * shots)
            bits.append(self._simulated((circuit, {(IDLE,): np.zeros((1, 1))}), many, seeds[1]))
        return bits

    def _simulated(self, pub: Any, shots: int, seed: int | None) -> BoolArray:
        from qiskit_ibm_runtime.executor_sampler import Sampler

        options = self.settings.sampler_options(shots, seed_simulator=seed)
        try:
            result = Sampler(mode=self._device, options=options).run([pub], shots=shots).result()
        except Exception as error:  # of Qiskit, Aer, samplomatic or the device
            raise BackendError(f"{self.name}: the simulation failed: {getattr(error, 'message', error)!s}") from error
        bits: BoolArray = result[0].data[MEASURED].to_bool_array(order="little")
        return bits

    def _sample_there(self, jobs: list[list[Any]], shots: int) -> list[list[BoolArray]]:
        submitted: list[str] = []
        try:
            self._submit(jobs, shots, submitted)
            return [self._fetched(job) for job in submitted]
        except BackendError:
            with suppress(BackendError):  # what nobody will read shall not be paid for
                for job in submitted:
                    with self._lock:
                        self.service.cancel(job)
            raise

    def _submit(self, jobs: list[list[Any]], shots: int, submitted: list[str]) -> None:
        """Submit all jobs, and list them as they are; the session is closed behind them."""
        session = self._open_session()
        try:
            for pubs in jobs:
                tag = f"qdinfer-{secrets.token_hex(16)}"
                try:
                    submitted.append(self._submitted(pubs, shots, tag, session, submitted))
                except SessionClosedError:  # its time was up
                    session = self._open_session()
                    submitted.append(self._submitted(pubs, shots, tag, session, submitted))
        finally:
            if session is not None:
                try:
                    with self._lock:
                        self.service.close_session(session)
                except BackendError as error:  # no reason to lose the jobs in it
                    self.note(f"{error}; session {session} will close by itself")

    def _open_session(self) -> str | None:
        with self._lock:
            return self.service.open_session()

    def _submitted(self, pubs: list[Any], shots: int, tag: str, session: str | None, earlier: Sequence[str]) -> str:
        """A job's id. While earlier jobs of this call are pending, the service may refuse as often as it likes."""
        options = self.settings.sampler_options(shots, tags=[tag])
        attempt = 0
        while True:
            try:
                with self._lock:
                    return self.service.submit(pubs, shots, options, tag, session).job
            except TooManyJobsError as refused:
                attempt += 1
                if attempt >= self.patience.attempts and all(self._look(job).final for job in earlier):
                    raise
                wait = refused.wait
                time.sleep(self.patience.delay(min(attempt, self.patience.attempts)) if wait is None else wait)

    def _look(self, job: str) -> JobState:
        with self._lock:
            return self.service.look(job)

    def _fetched(self, job: str) -> list[BoolArray]:
        while not (state := self._look(job)).final:
            time.sleep(self.patience.poll)
        if state.status != "DONE":
            raise BackendError(f"{self.name}: job {job} ended as {state.status}: {state.reason or 'no reason given'}")
        with self._lock:
            return self.service.fetch(job)


def device_of(reference: str) -> str | BackendV2:
    """What `RuntimeBackend` takes for ``fake:NAME``, the fake device, and for ``ibm:NAME``, its name.

    Raises:
        InputError, MissingExtraError: as `device_named`.
    """
    kind, _, name = reference.partition(":")
    return device_named(name) if kind == "fake" else name


def device_named(name: str) -> BackendV2:
    """One of IBM's fake devices: a snapshot of a real one, with its wiring and noise, simulated here.

    Args:
        name: of its class or of the device: FakeFez, fake_fez, fez.

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
