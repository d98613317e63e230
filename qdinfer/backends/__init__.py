"""Where expectation values come from."""

from __future__ import annotations

from ..artifact import Artifact
from ..circuit import Circuit
from ..errors import InputError
from .base import Backend

__all__ = ["Backend", "backend_for"]


def backend_for(name: str | Backend, artifact: Artifact, *, threads: int | None = None) -> Backend:
    """The backend of that name for a student; one that is given whole is taken as it is.

    Args:
        name: ``"exact"``, ``"aer"`` (exact values, on Aer), ``"fake:DEVICE"`` (one of IBM's fake devices, simulated
            here with its noise), ``"ibm:DEVICE"`` or ``"ibm:least_busy"``, with 4096 shots a text on devices,
            ``"twin:DEVICE"`` (what a device would answer if it had infinitely many shots; DEVICE is ``fake:NAME``,
            ``ibm:NAME`` or a file, see `qdinfer.backends.twin.twin_named`), or a backend.
        artifact: the student that it shall run.
        threads: CPU threads for one call of the exact engine; None for one.

    Raises:
        InputError: no such name, or no such fake device.
        BackendError: it cannot run this student.
        MissingExtraError: it needs an extra that is not installed.
    """
    if name == "exact":
        from .exact import ExactBackend

        return ExactBackend.from_artifact(artifact, threads=threads)
    if name == "aer":
        from .aer import AerBackend

        return AerBackend()
    if isinstance(name, str) and name.startswith(("fake:", "ibm:")) and not name.endswith(":"):
        from .runtime import RuntimeBackend, device_of

        return RuntimeBackend(device_of(name))
    if isinstance(name, str) and name.startswith("twin:") and not name.endswith(":"):
        from .twin import TwinBackend, twin_named

        return TwinBackend(twin_named(name.removeprefix("twin:"), Circuit.from_artifact(artifact)))
    if isinstance(name, Backend) and not isinstance(name, type):
        return name
    raise InputError(
        f"backend: found {name!r}; expected 'exact', 'aer', 'fake:DEVICE', 'twin:DEVICE', 'ibm:DEVICE', "
        "'ibm:least_busy' or an object with an expectations() method"
    )
