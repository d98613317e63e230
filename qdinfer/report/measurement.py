"""What a report says, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from ..backends.base import Backend, SamplingBackend
from ..classifier import Classifier
from ..errors import InputError, whole_number
from ..evaluation import Evaluation, check_labels, evaluate_labels
from ..predictions import Expectations, FloatArray, IntArray, Predictions
from ..texts import checked_texts

__all__ = ["MAX_SEED", "MAX_TEXTS", "SHOTS", "Measurements", "Progress", "Sample", "measure"]

SHOTS = (1, 4, 16, 64, 256, 1024, 4096)
"""Shots a text that accuracy is measured with."""
MAX_SEED = 2**31 - 1
MAX_TEXTS = 2**31
_CHUNK = 1024  # texts that are encoded at once, as in `Classifier.stream`
_TOGETHER = 256  # texts that Aer is given at once, for the curve
_STEPS = 20  # of the noisy backend's bar: a fake device takes seconds a text

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""From what is begun, and how many texts it has, to what is told of so many texts more."""


@dataclass(frozen=True)
class Sample:
    """Some of the texts, drawn at random, with exact answers and others.

    Attributes:
        rows: (n,) which texts these are, from 0, in their order.
        labels: (n,) their true labels.
        exact: their exact answers.
        others: answers with shots, for each backend or number of shots.
    """

    rows: IntArray
    labels: Sequence[str]
    exact: Predictions
    others: Sequence[Predictions]


@dataclass(frozen=True)
class Measurements:
    """A student on N labelled texts.

    Attributes:
        texts: (N,) the texts.
        labels: (N,) their true labels.
        cut: how many of them are longer than the student reads.
        exact: answers for all from exact expectation values.
        shots: some of them, with answers from so many shots each as `SHOTS` says, one after the other.
        noisy: some of them, with the answers of the noisy backend.
        seed: what these were drawn with.
    """

    texts: Sequence[str]
    labels: Sequence[str]
    cut: int
    exact: Predictions
    shots: Sample
    noisy: Sample
    seed: int

    @property
    def evaluation(self) -> Evaluation:
        """The exact answers against the true labels."""
        return evaluate_labels(self.exact.classes.tolist(), self.labels, self.exact.labels.tolist())


@contextmanager
def _silent(title: str, total: int) -> Iterator[Callable[[int], object]]:
    yield lambda number: None


def measure(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[str],
    backend: Backend,
    *,
    noisy_texts: int = 1000,
    shot_texts: int = 1000,
    seed: int = 0,
    progress: Progress = _silent,
) -> Measurements:
    """Label texts exactly, on a noisy backend, and with growing numbers of shots.

    The numbers of shots are measured on Qiskit Aer, each anew: no two points of the curve share a shot.

    Args:
        classifier: the student, on an exact backend.
        texts: (N,) texts.
        labels: (N,) their true labels.
        backend: what is held against the exact one. It has to give error bars.
        noisy_texts: so many texts, drawn at random, are given to it; all if there are no more.
        shot_texts: so many, drawn likewise, are measured with `SHOTS`.
        seed: draws the texts, and makes the shots for the curve repeatable.
        progress: told how the work goes on.

    Raises:
        InputError: another number of labels than of texts, none at all, something that is no text, a label that is none
            of the classes, or a number out of range.
        BackendError: a backend failed.
        MissingExtraError: Qiskit Aer is not installed.
    """
    from ..backends.aer import AerBackend

    texts, labels = checked_texts(texts), checked_texts(labels, "labels")
    if len(texts) != len(labels) or not texts:
        raise InputError(f"report: found {len(texts)} texts and {len(labels)} labels; expected as many, not 0")
    check_labels(classifier.readout.labels, labels)
    seed = whole_number("seed", seed, 0, MAX_SEED)
    order = np.random.default_rng(seed).permutation(len(texts))
    noisy_rows = np.sort(order[: whole_number("noisy_texts", noisy_texts, 1, MAX_TEXTS)])
    shot_rows = np.sort(order[: whole_number("shot_texts", shot_texts, 1, MAX_TEXTS)])
    aer = AerBackend(1, seed=seed)
    angles, exact, cut = _exact(classifier, texts, progress)

    def sample(rows: IntArray, others: Sequence[Expectations]) -> Sample:
        shown = Expectations(exact.values[rows], exact.shots[rows], exact.backend)
        answers = [classifier.readout.predict(each) for each in others]
        return Sample(rows, [labels[row] for row in rows], classifier.readout.predict(shown), answers)

    with progress("noisy backend", len(noisy_rows)) as tell:
        step = math.ceil(len(noisy_rows) / _STEPS)
        noisy = _by_and_by(lambda some: backend.expectations(classifier.circuit, some), angles[noisy_rows], step, tell)
    with progress("shots", len(SHOTS) * len(shot_rows)) as tell:
        curve = _curve(aer, classifier, angles[shot_rows], tell)
    predictions = classifier.readout.predict(exact)
    return Measurements(texts, labels, cut, predictions, sample(shot_rows, curve), sample(noisy_rows, [noisy]), seed)


def _exact(classifier: Classifier, texts: Sequence[str], progress: Progress) -> tuple[FloatArray, Expectations, int]:
    """The texts' angles and exact values, and how many of them were cut."""
    angles, values, cut = [], [], 0
    with progress("exact values", len(texts)) as tell:
        for start in range(0, len(texts), _CHUNK):
            part, overlong = classifier.encoder.encode_marked(texts[start : start + _CHUNK])
            angles.append(part)
            values.append(classifier.backend.expectations(classifier.circuit, part))
            cut += int(overlong.sum())
            tell(len(part))
    exact = _joined(values)
    if exact.covariance is not None:
        raise InputError(f"classifier: found {exact.backend} with shots; expected an exact backend")
    return np.concatenate(angles), exact, cut


def _curve(
    backend: SamplingBackend, classifier: Classifier, angles: FloatArray, tell: Callable[[int], object]
) -> list[Expectations]:
    """What each number of `SHOTS` says of all rows."""
    found = []
    for place, shots in enumerate(SHOTS):

        def measured(some: FloatArray, shots: int = shots, taken: int = sum(SHOTS[:place])) -> Expectations:
            return backend.measure(classifier.circuit, some, shots, offset=taken).expectations(backend.name)

        found.append(_by_and_by(measured, angles, _TOGETHER, tell))
    return found


def _by_and_by(
    evaluate: Callable[[FloatArray], Expectations], angles: FloatArray, step: int, tell: Callable[[int], object]
) -> Expectations:
    """All rows, so many at a time for the sake of the bar."""
    parts = []
    for start in range(0, len(angles), step):
        parts.append(evaluate(angles[start : start + step]))
        tell(len(parts[-1]))
    return _joined(parts)


def _joined(parts: Sequence[Expectations]) -> Expectations:
    """The rows of all parts, one part after the other."""
    covariances = [part.covariance for part in parts if part.covariance is not None]
    confidences = [part.confidence for part in parts if part.confidence is not None]
    return Expectations(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.shots for part in parts]),
        parts[0].backend,
        np.concatenate(covariances) if covariances else None,
        np.concatenate(confidences) if confidences else None,
    )
