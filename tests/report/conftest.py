"""Fixtures of the figures' and the report's tests."""

from __future__ import annotations

import pytest
from answers import Answers, answered

from qdinfer import Classifier


@pytest.fixture(scope="session")
def answers(classifier: Classifier) -> Answers:
    """The small student's answers, exact and with shots."""
    return answered(classifier)
