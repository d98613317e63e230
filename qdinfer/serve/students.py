"""A student behind a server: its queues, and its answers as plain values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from ..classifier import Classifier
from ..predictions import BoolArray, Predictions
from .batching import Batcher, Sliceable
from .drawing import DrawnCircuit, drawn
from .settings import ServerSettings

__all__ = ["Answers", "ServedStudent"]

_QISKIT = threading.Lock()
"""Held where Qiskit is imported, which takes seconds and fails when two threads begin it in different places."""


_AT_A_TIME = 8.0
"""Weight of the texts that Aer samples at a time: it holds Python's lock meanwhile, and nobody else is answered."""


class Answers(msgspec.Struct, frozen=True):
    """What is told of N texts, as columns of plain values. A Struct, for every request makes one.

    Attributes:
        backend: what computed the expectation values.
        labels: (N,).
        probabilities: (N, C).
        standard_errors: (N, C).
        confidence: (N,).
        shots: (N,).
        truncated: (N,), whether the text has more tokens than the student reads.
    """

    backend: str
    labels: list[str]
    probabilities: list[list[float]]
    standard_errors: list[list[float]]
    confidence: list[float]
    shots: list[int]
    truncated: list[bool]

    @classmethod
    def of(cls, predictions: Predictions, truncated: BoolArray) -> Answers:
        """The same as lists."""
        return cls(
            predictions.backend,
            predictions.labels.tolist(),
            predictions.probabilities.tolist(),
            predictions.standard_errors.tolist(),
            predictions.confidence.tolist(),
            predictions.shots.tolist(),
            truncated.tolist(),
        )

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Those of one part after the other."""
        columns = ("labels", "probabilities", "standard_errors", "confidence", "shots", "truncated")
        return cls(parts[0].backend, *([row for part in parts for row in getattr(part, name)] for name in columns))

    def __getitem__(self, index: slice, /) -> Answers:
        """Those of some of the texts."""
        return Answers(
            self.backend,
            self.labels[index],
            self.probabilities[index],
            self.standard_errors[index],
            self.confidence[index],
            self.shots[index],
            self.truncated[index],
        )


@dataclass(frozen=True, eq=False)
class _Sampling:
    """Shots that a request asks for. No two are equal: each runs alone, so that no seed's answer depends on others."""

    shots: int
    seed: int | None

    @property
    def weight(self) -> float:
        """How long a text takes: a fixed time, and one for each shot; at 11 qubits and 1000 shots they are equal."""
        return 1 + self.shots / 1000


class ServedStudent:
    """One student and its two queues: exact answers, and sampled ones, which take much longer.

    Attributes:
        name: in the server's addresses.
        classifier: what answers.
        classes: (C,) labels, in the order of the probability columns.
    """

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        settings: ServerSettings,
        note: Callable[[str, int, float], object] = lambda queue, texts, seconds: None,
    ) -> None:
        """Open the queues, and answer once, so that the first client does not wait for what is built on first use.

        Args:
            name: in the server's addresses.
            classifier: what answers.
            settings: the limits.
            note: told of each batch: its queue, its texts and the seconds it took.

        Raises:
            ArtifactError: the student's encoder cannot answer.
            BackendError: the backend failed.
        """
        self.name = name
        self.classifier = classifier
        self.classes: list[str] = classifier.classes_.tolist()
        limits: dict[str, Any] = {"deadline": settings.deadline, "max_queue": settings.max_queue}
        self._exact: Batcher[str, Sliceable] = Batcher(
            self._compute, note=lambda texts, seconds: note("exact", texts, seconds), **limits
        )
        self._sampled: Batcher[_Sampling, Answers] = Batcher(
            self._sample, note=lambda texts, seconds: note("sampled", texts, seconds), **limits
        )
        self._sampled_once = False
        self._compute("classify", ["warm"])

    @property
    def waiting(self) -> dict[str, int]:
        """Texts in each queue."""
        return {"exact": self._exact.waiting, "sampled": self._sampled.waiting}

    @property
    def busy(self) -> bool:
        """Whether something waits or runs."""
        return self._exact.busy or self._sampled.busy

    async def classify(self, texts: list[str], shots: int | None = None, seed: int | None = None) -> Answers:
        """The answers for checked texts; with shots, measured so often on Aer's ideal simulator.

        Raises:
            OverloadedError: they cannot be answered in time.
            BackendError: the backend failed.
            MissingExtraError: Aer is not installed, and shots are asked for.
        """
        if not texts:
            return Answers.of(*self.classifier.classify_marked([]))
        if shots is None:
            exact: Answers = await self._exact.submit("classify", texts)
            return exact
        await asyncio.to_thread(self._prepare_sampling)
        wanted = _Sampling(shots, seed)
        sampled: Answers = await self._sampled.submit(wanted, texts, weight=wanted.weight)
        return sampled

    async def angles(self, texts: list[str]) -> list[list[float]]:
        """The angles of checked texts, (N, P), in radians.

        Raises:
            OverloadedError: they cannot be answered in time.
        """
        angles: list[list[float]] = await self._exact.submit("angles", texts) if texts else []
        return angles

    async def drawing(self) -> DrawnCircuit:
        """The circuit, for drawing.

        Raises:
            CircuitError: Qiskit cannot read it.
            MissingExtraError: Qiskit is not installed.
        """

        def draw() -> DrawnCircuit:
            with _QISKIT:
                return self._drawn

        return await asyncio.to_thread(draw)

    def close(self) -> None:
        """End the threads. Nothing may wait any more."""
        self._exact.close()
        self._sampled.close()

    def _compute(self, wanted: str, texts: list[str]) -> Sliceable:
        if wanted == "angles":
            angles: list[list[float]] = self.classifier.encoder.encode_marked(texts)[0].tolist()
            return angles
        return Answers.of(*self.classifier.classify_marked(texts))

    def _prepare_sampling(self) -> None:
        from ..backends.aer import AerBackend

        with _QISKIT:
            if not self._sampled_once:  # the seconds would be taken for the pace at which the queue goes
                self.classifier.classify_marked(["warm"], backend=AerBackend(1))
                self._sampled_once = True

    @cached_property
    def _drawn(self) -> DrawnCircuit:
        return drawn(self.classifier.circuit)

    def _sample(self, wanted: _Sampling, texts: list[str]) -> Answers:
        from ..backends.aer import AerBackend

        step = max(1, int(_AT_A_TIME / wanted.weight))
        backend = AerBackend(wanted.shots, seed=wanted.seed)
        parts = []
        for number, start in enumerate(range(0, len(texts), step)):
            if wanted.seed is not None and number:  # or equal parts would have equal bits
                backend = AerBackend(wanted.shots, seed=(wanted.seed + number) % 2**63)
            parts.append(Answers.of(*self.classifier.classify_marked(texts[start : start + step], backend=backend)))
        return Answers.joined(parts)
