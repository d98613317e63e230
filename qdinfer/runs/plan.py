"""What a durable run is, and how it is cut into jobs. Nothing here talks to anybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..artifact import Artifact
from ..backends.base import MAX_SHOTS
from ..backends.runtime import RuntimeBackend
from ..backends.settings import Prepared
from ..circuit import Circuit
from ..errors import InputError, whole_number
from ..predictions import FloatArray, IntArray

__all__ = [
    "AutoShots",
    "Chunk",
    "Identity",
    "chunk_of",
    "identify",
    "identify_student",
    "plan_round",
    "run_tag",
    "split",
    "text_hashes",
]


@dataclass(frozen=True)
class AutoShots:
    """Shots as a budget: a few for every text, then more for those whose label is still open.

    The rule that closes a label is that of `qdinfer.backends.sequential`. Each round doubles the shots of the texts
    that are open, for it is another job with another wait in the queue; growing by half would take an eighth less.

    Attributes:
        confidence: that a label is to have before its text is let be.
        max_shots: of a text, after which its label stays open.
        first_shots: of every text.
    """

    confidence: float = 0.99
    max_shots: int = 4096
    first_shots: int = 128

    def __post_init__(self) -> None:
        if not isinstance(self.confidence, int | float) or not 0 < self.confidence < 1:
            raise InputError(f"confidence: found {self.confidence!r}; expected a number between 0 and 1")
        whole_number("max_shots", self.max_shots, 1, MAX_SHOTS)
        whole_number("first_shots", self.first_shots, 1, MAX_SHOTS)

    def next_shots(self, taken: int) -> int:
        """How many shots the next round takes of a text that has had so many; 0 at the cap."""
        return max(0, min(taken or self.first_shots, self.max_shots - taken))

    @property
    def rounds(self) -> list[int]:
        """The shots of each round of a text that stays open to the end."""
        rounds: list[int] = []
        while more := self.next_shots(sum(rounds)):
            rounds.append(more)
        return rounds


Identity = dict[str, object]
"""What makes a run that run and no other, by names for people. It goes into every chunk's id."""


@dataclass(frozen=True)
class Chunk:
    """The texts of one job.

    Attributes:
        id: the hash of content and settings: the same rows of the same run have the same id in any journal. It is the
            job's tag as well.
        round: 0; with `AutoShots`, 1 for the texts that were open after round 0, and so on.
        rows: (n,) int64, the texts.
        shots: of each.
        seconds: of the quantum computer, as estimated.
    """

    id: str
    round: int
    rows: IntArray
    shots: int
    seconds: float


def identify_student(artifact: Artifact) -> Identity:
    """What of a run's identity is the student's.

    Only what decides about angles, circuit and readout counts, so it may be compiled in between.
    """
    manifest = artifact.manifest
    readout = json.dumps(
        [manifest.labels, manifest.readout.weights, manifest.readout.bias, manifest.readout.temperature]
    )
    return {
        "student": manifest.name,
        "tokenizer": _digest(artifact.files["tokenizer.json"]),
        "encoder": _digest(artifact.files["encoder.onnx"]),
        "circuit": Circuit.from_artifact(artifact).sha256,
        "readout": _digest(readout.encode()),
    }


def identify(
    artifact: Artifact, backend: RuntimeBackend, shots: int | AutoShots, texts: Sequence[str], name: str
) -> Identity:
    """The identity of a run: student, device, settings, shots and texts."""
    identity = {**identify_student(artifact), "backend": backend.name, "name": name, "number of texts": len(texts)}
    identity |= {key.replace("_", " "): value for key, value in asdict(backend.settings).items()}
    identity |= {"shots": shots} if isinstance(shots, int) else {"shots": "auto", **asdict(shots)}
    return dict(json.loads(json.dumps(identity)))  # as it comes back from a journal


def text_hashes(texts: Sequence[str]) -> list[bytes]:
    """16 bytes for each text, so that a journal can tell texts apart without having any."""
    return [hashlib.sha256(text.encode()).digest()[:16] for text in texts]


def plan_round(
    identity: Identity,
    prepared: Prepared,
    backend: RuntimeBackend,
    angles: FloatArray,
    rows: IntArray,
    number: int,
    shots: int,
) -> list[Chunk]:
    """Cut the rows of a round into jobs, each as large as the limits allow.

    Args:
        identity: of the run.
        prepared: the circuit on the device.
        backend: whose limits and settings are kept to.
        angles: (N, P) of all texts.
        rows: (n,) of this round.
        number: of the round.
        shots: that each row is to have; twirled, they are rounded up.
    """
    shots = backend.settings.shots(shots)
    step = prepared.rows_per_job(shots, backend.limits) if len(rows) else 1
    return [
        _chunk(identity, prepared, angles, rows[start : start + step], number, shots)
        for start in range(0, len(rows), step)
    ]


def split(identity: Identity, prepared: Prepared, angles: FloatArray, chunk: Chunk) -> list[Chunk]:
    """The two halves of a chunk that ran longer than the service lets it; itself alone if it has only one row."""
    if len(chunk.rows) == 1:
        return [chunk]
    halves = np.array_split(chunk.rows, 2)
    return [_chunk(identity, prepared, angles, half, chunk.round, chunk.shots) for half in halves]


def _chunk(
    identity: Identity, prepared: Prepared, angles: FloatArray, rows: IntArray, number: int, shots: int
) -> Chunk:
    content = json.dumps([identity, number, shots, rows.tolist()], sort_keys=True).encode()
    content += np.ascontiguousarray(angles[rows], "<f4").tobytes()
    seconds = prepared.job_seconds(len(rows), shots)
    return Chunk(f"qdinfer-{_digest(content)}", number, np.asarray(rows, np.int64), shots, seconds)


def run_tag(identity: Identity, hashes: Sequence[bytes]) -> str:
    """The tag of all jobs of a run, wherever its journal is."""
    return f"qdinfer-run-{_digest(json.dumps(identity, sort_keys=True).encode() + b''.join(hashes))}"


def chunk_of(tags: Sequence[str]) -> str:
    """The id of the chunk that a job with these tags is for; empty if it is for none."""
    return next((tag for tag in tags if tag.startswith("qdinfer-") and not tag.startswith("qdinfer-run-")), "")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
