"""The golden self-test: does this student, on this machine, still give the answers that it was exported with?

Each stage gets the golden output of the stage before, so that a difference is blamed on the stage that makes it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .artifact import MANIFEST, Artifact
from .backends import Backend, backend_for
from .circuit import Circuit
from .encoder import TextEncoder, fused_deviation
from .errors import InputError
from .predictions import Expectations
from .readout import Readout

__all__ = ["Stage", "Verification", "verify"]


@dataclass(frozen=True)
class Stage:
    """One stage, compared with its golden values.

    Attributes:
        name: ``tokenizer``, ``encoder``, ``circuit``, ``readout``, ``labels``, and ``fused`` where there is one.
        file: the artifact's file that it tests.
        deviation: largest difference from a golden value; for tokens and labels, how many texts differ.
        tolerance: the largest difference that passes.
    """

    name: str
    file: str
    deviation: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether it is within tolerance. A NaN is not."""
        return self.deviation <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """The outcome of the self-test.

    Attributes:
        name: the student's.
        backend: what evaluated the circuit.
        cases: how many golden texts.
        stages: in the order of the data flow.
    """

    name: str
    backend: str
    cases: int
    stages: tuple[Stage, ...]

    @property
    def first_drift(self) -> Stage | None:
        """The first stage out of tolerance; None if all hold."""
        return next((stage for stage in self.stages if not stage.ok), None)

    @property
    def ok(self) -> bool:
        """Whether every stage is within tolerance."""
        return self.first_drift is None


def verify(student: str | os.PathLike[str] | Artifact, *, backend: str | Backend | None = None) -> Verification:
    """Recompute the golden cases stage by stage.

    Args:
        student: its path or its reference ``hf:org/name@revision``, or the opened artifact.
        backend: what evaluates the circuit, exactly; None for the compiled graph, or Aer where there is none.

    Raises:
        ArtifactError: it is not a sound student.
        BackendError: the backend cannot run it.
        InputError: the backend has shots.
    """
    artifact = student if isinstance(student, Artifact) else Artifact.open(student)
    if backend is None:
        backend = "aer" if artifact.manifest.compiled is None else "exact"
    engine = backend_for(backend, artifact)
    golden = artifact.golden
    encoder = TextEncoder.from_artifact(artifact)
    circuit = Circuit.from_artifact(artifact)
    readout = Readout.from_artifact(artifact)
    token_ids = encoder.token_ids(golden.texts)
    angles = encoder.encode_tokens(golden.token_ids)
    expectations = engine.expectations(circuit, np.array(golden.angles))
    if expectations.shots.any():
        raise InputError("verify: found a backend with shots; expected one that gives exact values")
    exact = Expectations(np.array(golden.expectations), np.zeros(len(golden.texts), np.int64), "golden")
    predictions = readout.predict(exact)
    limits = golden.tolerance
    circuit_file = "compiled.onnx" if backend == "exact" else "circuit.qasm"
    stages = [
        Stage("tokenizer", "tokenizer.json", _differing(token_ids, golden.token_ids), 0),
        Stage("encoder", "encoder.onnx", _deviation(angles, golden.angles), limits.angles),
        Stage("circuit", circuit_file, _deviation(expectations.values, golden.expectations), limits.expectations),
        Stage("readout", MANIFEST, _deviation(predictions.probabilities, golden.probabilities), limits.probabilities),
        Stage("labels", MANIFEST, _differing(predictions.labels.tolist(), golden.labels), 0),
    ]
    if "fused.onnx" in artifact.files:
        # Against its own parts, on this machine: it is in the place of both, and what they drift by is known above.
        parts = readout.predict(engine.expectations(circuit, angles))
        deviation = fused_deviation(artifact, parts)
        stages.append(Stage("fused", "fused.onnx", deviation, min(limits.expectations, limits.probabilities)))
    return Verification(artifact.manifest.name, expectations.backend, len(golden.texts), tuple(stages))


def _differing(found: Sequence[object], golden: Sequence[object]) -> int:
    return sum(a != b for a, b in zip(found, golden, strict=True))


def _deviation(found: ArrayLike, golden: ArrayLike) -> float:
    return float(np.max(np.abs(np.asarray(found) - np.asarray(golden))))
