"""Classifying from asyncio."""

from __future__ import annotations

import asyncio
import time
import warnings
from typing import Any

import numpy as np
import pytest
from students import tiny

from qdinfer import BackendError, Circuit, Classifier, ExactBackend, Expectations, InputError, TruncationWarning

TEXTS = ["sun rain", "goal match goal", "bank share star code", ""]


class SlowBackend:
    """The exact values, after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.exact = ExactBackend.from_artifact(tiny())

    def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
        time.sleep(self.seconds)
        return self.exact.expectations(circuit, angles)


class BrokenBackend:
    def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
        raise BackendError("out of order")


def test_answers_are_those_of_classify(classifier: Classifier) -> None:
    async def main() -> None:
        expected = classifier.classify(TEXTS)
        found = await asyncio.gather(*(classifier.aclassify(TEXTS[i % 4 :]) for i in range(40)))
        for i, predictions in enumerate(found):
            assert predictions.labels.tolist() == expected.labels.tolist()[i % 4 :]
            np.testing.assert_allclose(predictions.probabilities, expected.probabilities[i % 4 :], atol=1e-6)

    asyncio.run(main())


def test_the_loop_goes_on_meanwhile(classifier: Classifier) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        slow = [classifier.aclassify("sun", backend=SlowBackend(0.4)) for _ in range(3)]
        expected = classifier.predict("sun").tolist()
        assert [found.labels.tolist() for found in await asyncio.gather(*slow)] == [expected] * 3
        ticking.cancel()
        assert ticks >= 10

    asyncio.run(main())


def test_waiting_can_be_given_up(classifier: Classifier) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(classifier.aclassify("sun", backend=SlowBackend(0.3)), timeout=0.05)
        assert len(await classifier.aclassify("sun")) == 1

    asyncio.run(main())


def test_errors_and_warnings_arrive(classifier: Classifier) -> None:
    async def main() -> None:
        with pytest.raises(InputError, match=r"texts\[1\]: found None; expected str"):
            await classifier.aclassify(["sun", None])  # type: ignore[list-item]
        with pytest.raises(BackendError, match="out of order"):
            await classifier.aclassify("sun", backend=BrokenBackend())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await classifier.aclassify("sun " * 50)
        assert [(warning.category, warning.filename) for warning in caught] == [(TruncationWarning, __file__)]
        assert len(await classifier.aclassify([])) == 0

    asyncio.run(main())
