"""Expectation values to probabilities, with the shot noise through all of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdinfer import Artifact, Expectations, InputError, Readout

LABELS = ("red", "green", "blue")


def exactly(values: np.ndarray) -> Expectations:
    return Expectations(values, np.zeros(len(values), np.int64), "test")


def measured(values: np.ndarray, covariance: np.ndarray, shots: int = 1000) -> Expectations:
    return Expectations(values, np.full(len(values), shots), "test", covariance)


def random_readout(classes: int, m: int = 4, *, seed: int = 0, scale: float = 2.0, temperature: float = 1.0) -> Readout:
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(0, scale, (classes, m)), rng.normal(0, 0.2, classes)
    return Readout([f"c{i}" for i in range(classes)], weights, bias, temperature)


def random_noise(n: int, m: int = 4, *, seed: int = 1, scale: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.normal(0, scale, (n, m, m))
    return rng.uniform(-0.8, 0.8, (n, m)), root @ root.transpose(0, 2, 1)


def monte_carlo(readout: Readout, values: np.ndarray, covariance: np.ndarray, draws: int = 20_000) -> np.ndarray:
    """(draws, N, C) logits of repeated experiments."""
    rng = np.random.default_rng(7)
    drawn = [rng.multivariate_normal(v, c, draws) for v, c in zip(values, covariance, strict=True)]
    return readout.logits(np.stack(drawn, axis=1).reshape(-1, values.shape[1])).reshape(draws, len(values), -1)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_by_hand() -> None:
    readout = Readout(("no", "yes"), np.array([[0.0, 0.0], [2.0, 1.0]]), np.array([0.5, 0.0]), 2.0)
    predictions = readout.predict(exactly(np.array([[1.0, -0.5], [-1.0, 1.0]])))
    np.testing.assert_allclose(readout.logits(np.array([[1.0, -0.5]])), [[0.25, 0.75]])
    one = 1 / (1 + math.exp(-0.5))
    other = 1 / (1 + math.exp(0.75))
    np.testing.assert_allclose(predictions.probabilities, [[1 - one, one], [1 - other, other]])
    assert predictions.labels.tolist() == ["yes", "no"]
    assert predictions.classes.tolist() == ["no", "yes"]


@settings(max_examples=100, database=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=5), st.floats(0.01, 100))
def test_huge_logits_stay_finite(bias: list[float], temperature: float) -> None:
    readout = Readout([str(i) for i in range(len(bias))], np.zeros((len(bias), 1)), np.array(bias), temperature)
    predictions = readout.predict(measured(np.zeros((1, 1)), np.full((1, 1, 1), 0.01)))
    assert predictions.probabilities.sum() == pytest.approx(1)
    assert np.isfinite(predictions.probabilities).all()
    assert np.isfinite(predictions.standard_errors).all()
    assert ((predictions.confidence >= 0) & (predictions.confidence <= 1)).all()
    assert predictions.labels[0] == str(int(np.argmax(np.array(bias) / temperature)))


def test_temperature_divides_logits_and_nothing_else() -> None:
    values, covariance = random_noise(20)
    cold, hot = random_readout(3), random_readout(3, temperature=4.0)
    np.testing.assert_allclose(hot.logits(values), cold.logits(values) / 4)
    one, other = (readout.predict(measured(values, covariance)) for readout in (cold, hot))
    assert one.labels.tolist() == other.labels.tolist()
    assert (other.probabilities.max(axis=1) < one.probabilities.max(axis=1)).all()
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_standard_errors_against_monte_carlo(classes: int) -> None:
    values, covariance = random_noise(12, scale=0.02)
    readout = random_readout(classes, temperature=1.5)
    predictions = readout.predict(measured(values, covariance))
    spread = softmax(monte_carlo(readout, values, covariance)).std(axis=0)
    seen = predictions.probabilities > 0.02  # to first order, the tails are not normal
    np.testing.assert_allclose(predictions.standard_errors[seen], spread[seen], rtol=0.1)
    np.testing.assert_allclose(predictions.standard_errors, spread, atol=0.01)


def phi(z: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z])


def test_confidence_of_two_classes_is_the_normal_probability() -> None:
    values, covariance = random_noise(30, scale=0.3)
    readout = random_readout(2)
    difference = readout.weights[1] - readout.weights[0]
    lead = values @ difference + readout.bias[1] - readout.bias[0]
    deviation = np.sqrt(np.einsum("i,nij,j->n", difference, covariance, difference))
    predictions = readout.predict(measured(values, covariance))
    np.testing.assert_allclose(predictions.confidence, phi(np.abs(lead) / deviation), atol=1e-12)
    assert predictions.confidence.min() < 0.9, "nothing was uncertain here"


@pytest.mark.parametrize("classes", [3, 4, 6])
def test_confidence_of_more_classes_is_a_lower_bound(classes: int) -> None:
    values, covariance = random_noise(60, scale=0.15)
    readout = random_readout(classes)
    predictions = readout.predict(measured(values, covariance))
    logits = monte_carlo(readout, values, covariance)
    winners = readout.logits(values).argmax(axis=1)
    chance = (logits.argmax(axis=2) == winners).mean(axis=0)
    assert (predictions.confidence <= chance + 4 * np.sqrt(0.25 / len(logits))).all()
    sure = chance > 0.95
    assert sure.any()
    np.testing.assert_allclose(predictions.confidence[sure], chance[sure], atol=0.05)  # a bound that says something


def test_exact_values_are_certain() -> None:
    predictions = random_readout(3).predict(exactly(random_noise(5)[0]))
    assert predictions.confidence.tolist() == [1.0] * 5
    assert not predictions.standard_errors.any()
    assert predictions.shots.tolist() == [0] * 5


def test_without_noise_between_the_classes_the_lead_stands() -> None:
    values, _ = random_noise(3)
    predictions = random_readout(3).predict(measured(values, np.zeros((3, 4, 4))))
    assert predictions.confidence.tolist() == [1.0] * 3


@pytest.mark.parametrize("noisy", [False, True])
def test_ties_go_to_the_first(noisy: bool) -> None:
    readout = Readout(LABELS, np.array([[0.0], [1.0], [1.0]]), np.zeros(3))
    values = np.array([[0.5], [-0.5], [0.0]])
    covariance = np.full((3, 1, 1), 0.01)
    predictions = readout.predict(measured(values, covariance) if noisy else exactly(values))
    assert predictions.labels.tolist() == ["green", "red", "red"]
    if noisy:  # green and blue have the same weights, so shots cannot part them; red is parted by chance
        assert predictions.confidence[0] == pytest.approx(phi(np.array([5.0]))[0])
        assert predictions.confidence[2] == 0.0


def test_two_noisy_classes_that_tie_are_even() -> None:
    readout = Readout(("a", "b"), np.array([[1.0], [-1.0]]), np.zeros(2))
    assert readout.predict(measured(np.zeros((1, 1)), np.full((1, 1, 1), 0.01))).confidence.tolist() == [0.5]


@pytest.mark.parametrize("noisy", [False, True])
def test_no_rows(noisy: bool) -> None:
    values = np.empty((0, 4))
    predictions = random_readout(3).predict(measured(values, np.empty((0, 4, 4))) if noisy else exactly(values))
    assert predictions.probabilities.shape == predictions.standard_errors.shape == (0, 3)
    assert predictions.labels.shape == predictions.confidence.shape == (0,)
    assert list(predictions) == predictions.to_dicts() == []


@pytest.mark.parametrize(
    ("labels", "weights", "bias"),
    [(3, (3,), 3), (3, (2, 4), 3), (3, (2, 4), 2), (2, (3, 4), 3), (3, (3, 4), 2)],
)
def test_shapes(labels: int, weights: tuple[int, ...], bias: int) -> None:
    with pytest.raises(InputError, match=r"readout: found weights .*; expected \(C, M\), \(C,\) and C"):
        Readout(LABELS[:labels], np.zeros(weights), np.zeros(bias))


@pytest.mark.parametrize(("weight", "bias", "temperature"), [(np.nan, 0, 1), (0, np.inf, 1), (0, 0, 0), (0, 0, np.nan)])
def test_numbers(weight: float, bias: float, temperature: float) -> None:
    with pytest.raises(InputError, match="found a number that is not finite, or no positive temperature"):
        Readout(("a", "b"), np.full((2, 1), weight), np.full(2, bias), temperature)


def test_other_observables_than_weights() -> None:
    with pytest.raises(InputError, match="readout: found 5 expectation values; expected 4"):
        random_readout(3).predict(exactly(np.zeros((2, 5))))


def test_from_artifact(student: Artifact) -> None:
    readout = Readout.from_artifact(student)
    assert list(readout.labels) == student.manifest.labels
    assert readout.weights.shape == (3, 4)
    assert readout.temperature == 1.0


class TestRows:
    def test_rows_slices_and_columns_say_the_same(self) -> None:
        values, covariance = random_noise(3)
        predictions = random_readout(3).predict(measured(values, covariance))
        rows = list(predictions)
        assert rows == predictions[:] == [predictions[i] for i in range(3)]
        assert predictions[-1] == rows[2]
        assert predictions[::-1] == rows[::-1]
        for i, (row, flat) in enumerate(zip(rows, predictions.to_dicts(), strict=True)):
            assert flat["prediction"] == row.label == predictions.labels[i]
            assert flat["p(c1)"] == row.probabilities["c1"] == predictions.probabilities[i, 1]
            assert flat["se(c2)"] == row.standard_errors["c2"] == predictions.standard_errors[i, 2]
            assert flat["confidence"] == row.confidence
            assert flat["shots"] == row.shots == 1000
        with pytest.raises(IndexError):
            predictions[3]
