"""A student behind a server: its queues, and its answers as plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..classifier import Classifier
from ..predictions import BoolArray, Predictions
from .batching import Batcher, Sliceable
from .settings import ServerSettings

__all__ = ["Answers", "ServedStudent"]


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


@dataclass(frozen=True, eq=False)
class _Sampling:
    """Shots that one request asks for. No two are equal, so each runs alone, and no seed's answer depends on others."""

    shots: int
    seed: int | None


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
        """Open the queues. `note` is told of each batch: its queue, its texts and the seconds it took."""
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

    @property
    def waiting(self) -> dict[str, int]:
        """Texts in each queue."""
        return {"exact": self._exact.waiting, "sampled": self._sampled.waiting}

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
        # Sampling takes a fixed time a text and one for each shot; with 11 qubits they are equal at about 1000 shots.
        sampled: Answers = await self._sampled.submit(_Sampling(shots, seed), texts, weight=1 + shots / 1000)
        return sampled

    async def angles(self, texts: list[str]) -> list[list[float]]:
        """The angles of checked texts, (N, P), in radians.

        Raises:
            OverloadedError: they cannot be answered in time.
        """
        angles: list[list[float]] = await self._exact.submit("angles", texts) if texts else []
        return angles

    def warm_up(self) -> None:
        """Answer once, so that the first client does not wait for what is built on first use."""
        self._compute("classify", ["warm"])

    def close(self) -> None:
        """End the threads. Nothing may wait any more."""
        self._exact.close()
        self._sampled.close()

    def _compute(self, wanted: str, texts: list[str]) -> Sliceable:
        if wanted == "angles":
            angles: list[list[float]] = self.classifier.encoder.encode_marked(texts)[0].tolist()
            return angles
        return Answers.of(*self.classifier.classify_marked(texts))

    def _sample(self, key: _Sampling, texts: list[str]) -> Answers:
        from ..backends.aer import AerBackend  # Qiskit is slow to import, and an extra

        backend = AerBackend(key.shots, seed=key.seed)
        return Answers.of(*self.classifier.classify_marked(texts, backend=backend))
