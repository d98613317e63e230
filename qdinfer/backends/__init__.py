"""Where expectation values come from."""

from __future__ import annotations

from ..artifact import Artifact
from ..errors import InputError
from .base import Backend

__all__ = ["Backend", "backend_for"]


def backend_for(name: str | Backend, artifact: Artifact, *, threads: int | None = None) -> Backend:
    """The backend of that name for a student; one that is given whole is taken as it is.

    Args:
        name: ``"exact"``, ``"aer"`` (exact values, on Aer), or a backend.
        artifact: the student that it shall run.
        threads: CPU threads for one call of the exact engine; None for one.

    Raises:
        InputError: no such name.
        BackendError: it cannot run this student.
        MissingExtraError: it needs an extra that is not installed.
    """
    if name == "exact":
        from .exact import ExactBackend

        return ExactBackend.from_artifact(artifact, threads=threads)
    if name == "aer":
        from .aer import AerBackend

        return AerBackend()
    if isinstance(name, Backend) and not isinstance(name, type):
        return name
    raise InputError(f"backend: found {name!r}; expected 'exact', 'aer' or an object with an expectations() method")
