"""A small student's answers, exact and with shots."""

from __future__ import annotations

from dataclasses import dataclass

from students import LABELS

from qdinfer import AerBackend, Classifier, Predictions

WORDS = ("sun", "rain", "goal", "match", "bank", "share", "star", "code")


@dataclass(frozen=True)
class Answers:
    """64 texts, labels of which some are not the student's, and what it says of the texts."""

    texts: list[str]
    labels: list[str]
    exact: Predictions
    sampled: list[Predictions]


def answered(classifier: Classifier) -> Answers:
    """Exact, and with 400, 5 and 50 shots."""
    texts = [f"{one} {other}" for one in WORDS for other in WORDS]
    exact = classifier.classify(texts)
    labels = [LABELS[(LABELS.index(label) + (i % 5 == 0)) % 3] for i, label in enumerate(exact.labels.tolist())]
    sampled = [classifier.classify(texts, backend=AerBackend(shots, seed=shots)) for shots in (400, 5, 50)]
    return Answers(texts, labels, exact, sampled)
