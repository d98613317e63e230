"""A small student's workload."""

from __future__ import annotations

import pytest
from answers import WORDS
from students import LABELS

from qdinfer import Classifier
from qdinfer.forecast import Workload


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [f"{one} {other}" for one in WORDS for other in WORDS]


@pytest.fixture(scope="session")
def work(classifier: Classifier, texts: list[str]) -> Workload:
    """64 texts; four fifths of the labels are those that exact values give."""
    exact = classifier.predict(texts).tolist()
    labels = [LABELS[(LABELS.index(label) + (i % 5 == 0)) % 3] for i, label in enumerate(exact)]
    return Workload.of(classifier, texts, labels)
