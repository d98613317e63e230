"""The built-in exact engine: a compiled graph, run by onnxruntime."""

from __future__ import annotations

import numpy as np

from ..artifact import Artifact
from ..circuit import Circuit
from ..errors import ArtifactError, BackendError
from ..predictions import Expectations, FloatArray
from ..reading import HUB
from ..session import OnnxSession

__all__ = ["ExactBackend"]

BATCH = 1024
"""Rows that one run takes at most. It bounds onnxruntime's arena, which never shrinks."""


class ExactBackend:
    """Evaluates one circuit exactly, in float32, by the graph that it was compiled to."""

    def __init__(self, compiled: bytes, circuit_sha256: str, *, threads: int | None = None) -> None:
        """Load a compiled graph.

        Args:
            compiled: the bytes of ``compiled.onnx``.
            circuit_sha256: `Circuit.sha256` of the circuit that it was compiled from.
            threads: CPU threads for one call. None for one: to wake a second costs more than it saves on graphs of
                this size.

        Raises:
            ArtifactError: onnxruntime cannot load it.
        """
        self._session = OnnxSession("compiled.onnx", compiled, 1 if threads is None else threads)
        self._circuit_sha256 = circuit_sha256

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, threads: int | None = None) -> ExactBackend:
        """The exact engine of a student.

        Args:
            artifact: the student.
            threads: CPU threads for one call; None for one, which is the fastest for a graph of this size.

        Raises:
            BackendError: the student has no compiled graph.
        """
        spec = artifact.manifest.compiled
        if spec is None:
            where = artifact.path or "PATH"
            if where.startswith(HUB):
                where += " --output PATH"
            raise BackendError(
                f"{artifact.manifest.name}: found no compiled.onnx, which the exact backend runs; "
                f"make it with `qdinfer compile {where}`, or use backend='aer', which is exact too"
            )
        return cls(artifact.files["compiled.onnx"], spec.circuit_sha256, threads=threads)

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`.

        Args:
            circuit: the one that was compiled.
            angles: (N, P), radians; computed with as float32.

        Raises:
            InputError: angles of the wrong shape, or not finite.
            BackendError: the graph is that of another circuit, or onnxruntime failed.
            ArtifactError: the graph gives numbers that are not finite.
        """
        if circuit.sha256 != self._circuit_sha256:
            raise BackendError(
                f"compiled.onnx: found the compiled form of circuit {self._circuit_sha256[:16]}…; "
                f"expected that of {circuit.sha256[:16]}…: compile it again"
            )
        rows = circuit.check_angles(angles).astype(np.float32, copy=False)
        values = np.empty((len(rows), len(circuit.observables)))
        for start in range(0, len(rows), BATCH):
            values[start : start + BATCH] = self._session.run("expectations", {"angles": rows[start : start + BATCH]})
        if not np.isfinite(values).all():
            raise ArtifactError("compiled.onnx", "expectation values that are NaN or infinite", "finite ones")
        return Expectations(values, shots=np.zeros(len(rows), np.int64), backend="exact")
