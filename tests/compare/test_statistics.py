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
    assert high - low > 0.1, "30 texts leave it open, even if all are right"


def test_one_training_has_wilsons_interval() -> None:
    marks = np.array([[True] * 70 + [False] * 30])
    assert mean_accuracy(marks)[1:] == pytest.approx(wilson_interval(70, 100))


def test_seeds_that_differ_widen_the_interval() -> None:
    same = np.array([[True] * 70 + [False] * 30] * 3)
    spread = np.array([[True] * k + [False] * (100 - k) for k in (60, 70, 80)])
    assert mean_accuracy(same)[1:] == pytest.approx(wilson_interval(70, 100))
    value, low, high = mean_accuracy(spread)
    seeds = 4.302652729911275 * 0.1 / np.sqrt(3)  # Student's t for two degrees of freedom
    alone = wilson_interval(70, 100)
    assert value - low == pytest.approx(np.hypot(0.7 - alone[0], seeds))
    assert high - value == pytest.approx(min(0.3, np.hypot(alone[1] - 0.7, seeds)))


@given(hits, hits)
def test_a_difference_turns_its_sign_with_its_sides(first: np.ndarray, second: np.ndarray) -> None:
    there, back = difference(first, second), difference(second, first)
    if len(first) == len(second):
        assert there == pytest.approx((-back.value, -back.high, -back.low))
    assert there.value == pytest.approx(first.mean() - second.mean())
    assert there.low < there.value < there.high


def test_two_that_agree_everywhere_are_not_known_to_be_equal() -> None:
    marks = np.array([[True, False] * 50])
    value, low, high = difference(marks, marks)
    assert value == 0
    assert 0.01 < high == -low < 0.05


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_hold_what_they_promise(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    covered, equal, trials = 0, 0, 1000
    for _ in range(trials):
        hard = rng.random(400) < 0.3  # texts that most trainings get wrong
        chance = np.clip(np.where(hard, 0.35, 0.92) + rng.normal(0, 0.02 if seeds > 1 else 0, (seeds, 1)), 0, 1)
        first, second = rng.random((seeds, 400)) < chance, rng.random((seeds, 400)) < chance
        _, low, high = mean_accuracy(first)
        covered += low <= 0.3 * 0.35 + 0.7 * 0.92 <= high
        gap = difference(first, second)
        equal += gap.low <= 0 <= gap.high
    assert 0.93 * trials <= covered
    assert 0.93 * trials <= equal
    assert seeds > 1 or max(covered, equal) <= 0.98 * trials, "with one seed they are not wider than need be"
