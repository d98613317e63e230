"""Calibration and agreement: the numbers behind the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdinfer import AerBackend, Classifier, Expectations, InputError, Predictions
from qdinfer.agreement import Agreement, compare
from qdinfer.calibration import BINS, Calibration, calibrate

CLASSES = ("a", "b", "c")
TEXTS = ["sun rain", "goal match goal", "bank share star", "", "code", "rain rain", "match", "share"]


def answers(probabilities: Any) -> Predictions:
    """Predictions with these probabilities."""
    given = np.asarray(probabilities, float)
    n, classes = len(given), np.array(CLASSES[: given.shape[1]])
    exact = Expectations(np.zeros((n, 1)), np.zeros(n, np.int64), "exact")
    return Predictions(classes, classes[given.argmax(axis=1)], given, np.zeros_like(given), np.ones(n), exact)


def binned(counts: list[int], hits: list[int], certainties: list[float]) -> Calibration:
    return Calibration(np.array(counts), np.array(hits), np.array(certainties))


# calibrate


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_that_of_counting_bin_by_bin(rows: list[tuple[float, bool]]) -> None:
    found = calibrate(answers([(p, 1 - p) for p, _ in rows]), ["a" if right else "b" for _, right in rows])
    expected = 0.0
    for place in range(BINS):
        inside = [(p, right) for p, right in rows if min(int(p * BINS), BINS - 1) == place]
        assert (found.counts[place], found.hits[place]) == (len(inside), sum(right for _, right in inside))
        if inside:
            certainty = math.fsum(p for p, _ in inside) / len(inside)
            assert found.certainties[place] == pytest.approx(certainty)
            expected += len(inside) / len(rows) * abs(found.hits[place] / len(inside) - certainty)
        else:
            assert math.isnan(found.certainties[place])
            assert np.isnan(found.intervals[place]).all()
    assert found.error == pytest.approx(expected)
    low, high = found.interval
    assert 0 <= low <= found.error <= high <= 1


def test_the_error_has_its_known_value() -> None:
    # By hand: 0.4·|1/2 − 0.65| + 0.6·|3/3 − 0.95| = 0.09
    certainties = [0.62, 0.68, 0.93, 0.95, 0.97]
    found = calibrate(answers([(p, 1 - p) for p in certainties]), ["a", "b", "a", "a", "a"])
    assert found.error == pytest.approx(0.09)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 3]


def test_certainty_1_is_in_the_last_bin() -> None:
    assert calibrate(answers([(1.0, 0.0)]), ["a"]).counts.tolist() == [0] * 9 + [1]


@pytest.mark.parametrize(("texts", "shift"), [(30, 0.0), (30, 0.3), (785, 0.0), (785, 0.1), (785, 0.3)])
def test_the_interval_covers_the_true_error(texts: int, shift: float) -> None:
    """At least 95 times of 100: so it says, and so it is, also where the true error is 0."""
    rng = np.random.default_rng(texts)
    covered = below = 0
    repeats = 100
    for _ in range(repeats):
        certainty = 0.5 + 0.5 * rng.beta(3, 1, texts)
        truth = np.maximum(certainty - shift, 0)
        place = np.minimum((certainty * BINS).astype(int), BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        hits = np.bincount(place[rng.random(texts) < truth], minlength=BINS)
        means = np.bincount(place, certainty, BINS) / np.maximum(counts, 1)
        found = Calibration(counts, hits, means)
        actual = np.sum(np.abs(np.bincount(place, truth, BINS) - counts * means)) / texts
        low, high = found.interval
        covered += low <= actual <= high
        below += found.error <= found.by_chance[1]
    assert covered >= 0.95 * repeats - 2 * math.sqrt(0.95 * 0.05 * repeats)
    if shift == 0:  # all probabilities are true
        assert abs(below - 0.95 * repeats) <= 4 * math.sqrt(0.95 * 0.05 * repeats)
    if (texts, shift) == (785, 0.3):
        assert below == 0


def test_chance_alone_makes_an_error() -> None:
    few, many = binned([10], [8], [0.8]), binned([1000], [800], [0.8])
    assert few.error == many.error == pytest.approx(0)
    assert few.by_chance[0] == pytest.approx(math.sqrt(2 / math.pi * 0.8 * 0.2 / 10), rel=0.1)  # E|N(0, σ)|
    assert many.by_chance[0] == pytest.approx(math.sqrt(2 / math.pi * 0.8 * 0.2 / 1000), rel=0.1)
    assert few.by_chance[0] < few.by_chance[1]
    assert many.interval[1] < few.interval[1]


def test_the_same_bins_give_the_same_numbers() -> None:
    one, other = (binned([20, 0, 30], [10, 0, 29], [0.4, math.nan, 0.9]) for _ in range(2))
    assert (one.interval, one.by_chance) == (other.interval, other.by_chance)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "calibrate: found 1 labels of 2 texts; expected as many, not 0"),
        ([], "calibrate: found 0 labels of 2 texts; expected as many, not 0"),
        (["a", "z"], "label 2: found 'z'; expected one of ['a', 'b']"),
        (["a", None], "labels[1]: found None; expected str"),
    ],
)
def test_calibrate_refuses_what_it_cannot_count(labels: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        calibrate(answers([(0.9, 0.1), (0.8, 0.2)]), labels)
    assert str(caught.value) == message


def test_no_texts_have_no_calibration() -> None:
    with pytest.raises(InputError, match=r"found 0 labels of 0 texts"):
        calibrate(answers(np.empty((0, 2))), [])


# compare


def agreement(right: list[tuple[bool, bool]], flipped: list[bool] | None = None) -> Agreement:
    pairs = np.array(right).T
    return Agreement(10.0, np.array(flipped or [a != b for a, b in right]), np.zeros((len(right), 2)), pairs)


def test_compare_counts_text_by_text(classifier: Classifier) -> None:
    exact = classifier.classify(TEXTS)
    noisy = classifier.classify(TEXTS, backend=AerBackend(shots=5, seed=3))
    labels = classifier.predict(TEXTS[::-1]).tolist()
    found = compare(exact, noisy, labels)
    flips = [a != b for a, b in zip(exact.labels, noisy.labels, strict=True)]
    assert found.texts == 8
    assert found.shots == 5
    assert found.flipped.tolist() == flips
    assert 0 < sum(flips) < 8, "or this test says little"
    assert found.flips[0] == sum(flips) / 8
    assert found.accuracy[0] == np.mean(noisy.labels == np.array(labels))
    assert found.exact_accuracy == np.mean(exact.labels == np.array(labels))
    assert found.difference[0] == pytest.approx(found.accuracy[0] - found.exact_accuracy)
    distance = noisy.expectations.values - exact.expectations.values
    np.testing.assert_allclose(found.z, distance / noisy.expectations.standard_errors)
    assert found.rms_z[0] == pytest.approx(math.sqrt(np.mean(found.z**2)))
    assert found.outside == np.mean(np.abs(found.z) > 1.959963984540054)


def test_shot_noise_alone_has_a_z_of_1(classifier: Classifier) -> None:
    words = ("sun", "rain", "goal", "match", "bank", "share", "star", "code")
    texts = [f"{one} {other} {third}" for one in words for other in words for third in words[:4]]
    found = compare(classifier.classify(texts), classifier.classify(texts, backend=AerBackend(shots=1000, seed=5)))
    value, low, high = found.rms_z
    assert low <= 1 <= high
    assert high - low < 0.2
    assert value == pytest.approx(1, abs=0.1)
    assert found.outside == pytest.approx(0.05, abs=0.03)


def test_two_noisy_answers_share_the_blame(classifier: Classifier) -> None:
    one, other = (classifier.classify(TEXTS, backend=AerBackend(shots=100, seed=seed)) for seed in (1, 2))
    errors = np.hypot(one.expectations.standard_errors, other.expectations.standard_errors)
    np.testing.assert_allclose(compare(one, other).z, (other.expectations.values - one.expectations.values) / errors)


def test_the_paired_difference_has_its_known_value() -> None:
    # Agresti and Min 2005, (gained − lost)/(N + 2) ± z·√(gained + lost + 1 − (gained − lost)²/(N + 2))/(N + 2)
    found = agreement([(True, True)] * 70 + [(False, True)] * 12 + [(True, False)] * 5 + [(False, False)] * 13)
    middle, half = 7 / 102, 1.959963984540054 * math.sqrt(18 - 49 / 102) / 102
    assert found.difference == pytest.approx((0.07, middle - half, middle + half))
    assert found.accuracy[0] == pytest.approx(0.82)
    assert found.exact_accuracy == pytest.approx(0.75)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_every_interval_holds_its_value(right: list[tuple[bool, bool]]) -> None:
    found = agreement(right)
    for value, low, high in (found.difference, found.accuracy, found.flips):
        assert -1 <= low <= value <= high <= 1
        assert high > low, "also where all texts agree"


def test_z_of_one_text_may_be_anything() -> None:
    assert Agreement(1.0, np.array([False]), np.array([[3.0, 4.0]]), None).rms_z == (math.sqrt(12.5), 0.0, math.inf)


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        ({}, ["weather"], "compare: found 1 labels of 8 texts; expected as many"),
        ({}, ["tennis"] * 8, "label 1: found 'tennis'; expected one of ['weather', 'sport', 'money']"),
        ({"classes": np.array(["x", "y", "z"])}, None, "expected one student's, of the same texts, not 0"),
    ],
)
def test_compare_refuses_what_does_not_fit(
    classifier: Classifier, change: dict[str, Any], labels: list[str] | None, message: str
) -> None:
    exact = classifier.classify(TEXTS)
    noisy = replace(classifier.classify(TEXTS, backend=AerBackend(shots=5, seed=3)), **change)
    with pytest.raises(InputError) as caught:
        compare(exact, noisy, labels)
    assert str(caught.value).endswith(message)


def test_compare_needs_texts_and_error_bars(classifier: Classifier) -> None:
    exact = classifier.classify(TEXTS)
    with pytest.raises(InputError, match=r"^compare: found exact without error bars; expected a backend with shots$"):
        compare(exact, exact)
    with pytest.raises(InputError, match=r"found expectation values \(8, 4\) and \(0, 4\)"):
        compare(exact, classifier.classify([]))
    with pytest.raises(InputError, match="not 0$"):
        compare(classifier.classify([]), classifier.classify([]))


def test_accuracy_needs_true_labels(classifier: Classifier) -> None:
    found = compare(classifier.classify(TEXTS), classifier.classify(TEXTS, backend=AerBackend(shots=5, seed=3)))
    for name in ("accuracy", "exact_accuracy", "difference"):
        with pytest.raises(InputError, match=r"^agreement: found no true labels; expected them in the comparison$"):
            getattr(found, name)
