"""The noise twin of a run that was measured: of its own circuit, on its own qubits, with its settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from ..backends.ibm_client import Patience
from ..backends.ibm_jobs import JobService
from ..backends.isa import check_isa, isa_from_json
from ..backends.runtime import RuntimeBackend, device_of
from ..circuit import Circuit
from ..errors import BackendError, InputError
from ..noise import DeviceNoise
from ..noise.twin import Twin
from .journal import Journal

if TYPE_CHECKING:
    from qiskit.providers import BackendV2
    from qiskit.transpiler import Target

__all__ = ["check_noise", "twin_of"]


def twin_of(
    journal: Journal,
    circuit: Circuit,
    device: str | None = None,
    *,
    patience: Patience | None = None,
    note: Callable[[str], object] = lambda text: None,
    progress: bool = False,
) -> Twin:
    """The twin of a run, compiled for the circuit that the journal has: it is not transpiled anew.

    Of the covariance of two observables it knows nothing, which no comparison needs.

    Args:
        journal: of the run.
        circuit: the student's.
        device: whose calibration counts. None: the run's own device, as it was calibrated when its last job was asked
            for, which the service is asked for. ``ibm:DEVICE`` or ``fake:DEVICE``: as it is now. Else a file that was
            saved before: a noise file (.json) or a twin (.onnx).
        patience: how long to wait for the service.
        note: told, in one line, what goes wrong at the service and is tried again.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        InputError: no such device; a file that is no noise file, or that is of another circuit.
        ArtifactError: a file that is no twin.
        BackendError: the device cannot be reached, cannot run the circuit, or has no calibration of that time.
        CompileError: the circuit has no compiled form.
        MissingExtraError: an extra is not installed.
    """
    from ..compiler.noisy import compile_twin

    kind, _, name = (device or "").partition(":")
    if device is not None and device.endswith(".onnx"):
        return Twin.load(device)
    if device is None:
        service = JobService(journal.text("device"), "job", patience=patience, note=note)
        noise = _noise(_calibrated(service, _last(journal)), journal, circuit)
    elif kind in ("fake", "ibm") and name:
        noise = _noise(RuntimeBackend(device_of(device), patience=patience, note=note).device(), journal, circuit)
    elif device.endswith(".json"):
        noise = DeviceNoise.load(device)
        check_noise(journal, noise)
    else:
        raise InputError(
            f"device: found {device!r}; expected fake:DEVICE, ibm:DEVICE, a noise file (.json) or a twin (.onnx)"
        )
    return compile_twin(circuit, noise, twirled=bool(journal.identity["twirl gates"]), pairs=False, progress=progress)


def check_noise(journal: Journal, noise: DeviceNoise) -> None:
    """See that noise is that of the run's circuit: the same gates on the same qubits.

    Raises:
        InputError: it is not.
    """
    run = json.loads(journal.text("circuit"))
    if _wires(noise.isa) != _wires(run):
        used, expected = (sorted(_wires(isa)) for isa in (noise.isa, run))
        raise InputError(
            f"noise of {noise.device}: found a circuit on qubits {used}, other than the run's on {expected}; expected "
            "the same, gate by gate: name the device instead of a file, and the run's own circuit is taken"
        )


def _wires(isa: dict[str, Any]) -> dict[int, list[Any]]:
    """What happens on each qubit, in order. Delays do not count: a noise file has them, a run leaves them open."""
    wires: dict[int, list[Any]] = {}
    for row in isa.get("instructions", []):
        if row[0] not in ("barrier", "delay"):
            for qubit in row[1]:
                wires.setdefault(qubit, []).append(row)
    return wires


@dataclass(frozen=True)
class _Then:
    """A device as it was calibrated: what `DeviceNoise.from_backend` reads of one."""

    name: str
    target: Target
    known: Any

    def properties(self) -> Any:
        return self.known


def _last(journal: Journal) -> datetime:
    """When the last job was asked for."""
    asked = journal.asked().values()
    if not asked:
        raise InputError(
            f"{journal.path}: found jobs of an earlier journal, and not when they were asked for; expected the "
            "name of a device, for its calibration of now, or a noise file"
        )
    return datetime.fromtimestamp(max(asked), UTC)


def _calibrated(service: JobService, when: datetime) -> BackendV2:
    """The device as it was at that time."""

    def asked() -> Any:
        device = cast(Any, service.backend())
        known = device.properties(datetime=when)
        return known and _Then(str(device.name), device.target_history(datetime=when), known)

    found = service.call("reading the calibration of the run", asked)
    if found is None:
        raise BackendError(
            f"the service: found no calibration of {when:%Y-%m-%d %H:%M} UTC; expected that of the run: name the "
            "device for that of now, or a noise file"
        )
    return cast("BackendV2", found)


def _noise(device: BackendV2, journal: Journal, circuit: Circuit) -> DeviceNoise:
    isa = isa_from_json(journal.text("circuit"))
    check_isa(isa, device.target, str(device.name))
    return DeviceNoise.from_backend(device, circuit, isa)
