"""A student behind a server: its queues, and its answers as plain values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..classifier import Classifier
from ..predictions import BoolArray, Predictions
from .batching import Batcher, Sliceable
from .drawing import DrawnCircuit, drawn
from .settings import ServerSettings

if TYPE_CHECKING:
    from ..backends.aer import AerBackend

__all__ = ["Answers", "ServedStudent"]

_QISKIT = threading.Lock()
"""Held where Qiskit is imported, which takes seconds and fails when two threads begin it in different places."""


@dataclass(frozen=True)
class Answers:
    """What is told of N texts, as columns of plain values.

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
        # No two backends are equal, so that each request runs alone, and no seed's answer depends on others.
        self._sampled: Batcher[AerBackend, Answers] = Batcher(
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
        backend = await asyncio.to_thread(self._simulator, shots, seed)
        # Sampling takes a fixed time a text and one for each shot; with 11 qubits they are equal at about 1000 shots.
        sampled: Answers = await self._sampled.submit(backend, texts, weight=1 + shots / 1000)
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

    def _simulator(self, shots: int, seed: int | None) -> AerBackend:
        from ..backends.aer import AerBackend

        with _QISKIT:
            if not self._sampled_once:  # the seconds would be taken for the pace at which the queue goes
                self.classifier.classify_marked(["warm"], backend=AerBackend(1))
                self._sampled_once = True
            return AerBackend(shots, seed=seed)

    @cached_property
    def _drawn(self) -> DrawnCircuit:
        return drawn(self.classifier.circuit)

    def _sample(self, backend: AerBackend, texts: list[str]) -> Answers:
        return Answers.of(*self.classifier.classify_marked(texts, backend=backend))
