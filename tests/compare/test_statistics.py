"""Intervals of accuracies and of their differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qdinfer.evaluation import wilson_interval
from qdistill.compare.statistics import difference, mean_accuracy

hits = st.integers(1, 4).flatmap(lambda s: arrays(np.bool_, (s, 30)))


@given(hits)
def test_an_interval_is_around_its_value_and_within_what_can_be(marks: np.ndarray) -> None:
    value, low, high = mean_accuracy(marks)
    assert value == pytest.approx(marks.mean())
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.04, "30 texts leave it open, even if all are right"


def test_one_training_has_wilsons_interval() -> None:
    marks = np.array([[True] * 70 + [False] * 30])
    assert mean_accuracy(marks)[1:] == pytest.approx(wilson_interval(70, 100))


def test_seeds_that_differ_widen_the_interval() -> None:
    same = np.array([[True] * 70 + [False] * 30] * 3)
    spread = np.array([[True] * k + [False] * (100 - k) for k in (60, 70, 80)])
    assert mean_accuracy(same)[1:] == pytest.approx(wilson_interval(70, 100), abs=2e-3)
    narrow, wide = mean_accuracy(same), mean_accuracy(spread)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_seeds_that_are_right_on_different_texts_narrow_it() -> None:
    """As if there were more texts, and never more than S·N."""
    marks = np.array([[text % 3 != seed for text in range(300)] for seed in range(3)])
    value, low, high = mean_accuracy(marks)
    alone, all_texts = wilson_interval(value * 300, 300), wilson_interval(value * 900, 900)
    assert all_texts[1] - all_texts[0] <= high - low + 1e-9 < alone[1] - alone[0]


@given(st.integers(1, 4).flatmap(lambda s: st.tuples(*[arrays(np.bool_, (s, 30))] * 2)))
def test_a_difference_turns_its_sign_with_its_sides(both: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = both
    there, back = difference(first, second), difference(second, first)
    assert there == pytest.approx((-back.value, -back.high, -back.low))
    assert there.value == pytest.approx(first.mean() - second.mean())
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.low < there.high


def test_a_tie_of_seeds_and_chance_does_not_depend_on_the_side() -> None:
    """Where the seeds differ by just as much as chance, rounding decided."""
    first, second = np.ones((2, 3, 30), np.bool_)
    second[2, 6] = False
    there, back = difference(first, second), difference(second, first)
    assert there == pytest.approx((-back.value, -back.high, -back.low))


def test_two_that_agree_everywhere_are_not_known_to_be_equal() -> None:
    marks = np.array([[True, False] * 50])
    value, low, high = difference(marks, marks)
    assert value == 0
    assert 0.01 < high == -low < 0.05


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 0.02)])
def test_intervals_hold_what_they_promise_and_not_much_more(seeds: int, spread: float) -> None:
    rng = np.random.default_rng(seeds)
    covered, equal, trials = 0, 0, 500
    truth = 0.3 * 0.35 + 0.7 * 0.92
    for _ in range(trials):
        hard = rng.random(300) < 0.3  # texts that most trainings get wrong

        def trainings(hard: np.ndarray = hard) -> np.ndarray:
            chance = np.where(hard, 0.35, 0.92) + rng.normal(0, spread, (seeds, 1))
            return rng.random((seeds, 300)) < np.clip(chance, 0, 1)

        first, second = trainings(), trainings()
        _, low, high = mean_accuracy(first)
        covered += low <= truth <= high
        gap = difference(first, second)
        equal += gap.low <= 0 <= gap.high
    assert 0.92 * trials <= covered <= 0.985 * trials
    assert 0.90 * trials <= equal <= 0.99 * trials
