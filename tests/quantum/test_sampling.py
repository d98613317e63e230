"""Bits to expectation values and their covariance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdinfer import Expectations, InputError
from qdinfer.backends import sampling
from qdinfer.backends.sampling import expectations_from_bits


def brute_force(bits: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, shot by shot, by imagining one more shot of each sign for the prior (see the function's docstring)."""
    n, shots, _ = bits.shape
    m = len(masks)
    values, covariance = np.empty((n, m)), np.empty((n, m, m))
    for i in range(n):
        signs = np.array([[(-1.0) ** int(shot[mask].sum()) for mask in masks] for shot in bits[i]])
        values[i] = signs.mean(axis=0)
        total = shots + 2
        mean = signs.sum(axis=0) / total
        second = sum((np.outer(sign, sign) for sign in signs), 2 * np.eye(m)) / total
        off = values[i] - mean
        covariance[i] = (second - np.outer(mean, mean)) / (shots + 3) + np.outer(off, off)
    return values, covariance


@st.composite
def measured(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, shots, qubits, m = (draw(st.integers(1, top)) for top in (4, 40, 5, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bits = rng.random((n, shots, qubits)) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    return bits, rng.random((m, qubits)) < 0.6


@given(measured())
@settings(max_examples=100, deadline=None, database=None)
def test_brute_force(case: tuple[np.ndarray, np.ndarray]) -> None:
    bits, masks = case
    values, covariance = expectations_from_bits(bits, masks)
    expected_values, expected_covariance = brute_force(bits, masks)
    np.testing.assert_allclose(values, expected_values, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-12)
    np.testing.assert_allclose(covariance, covariance.transpose(0, 2, 1), atol=1e-12)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9
    assert (np.diagonal(covariance, axis1=1, axis2=2) > 0).all()


@pytest.mark.parametrize("bit", [False, True])
@pytest.mark.parametrize("shots", [1, 10, 1000, 1_000_003])
def test_shots_that_all_agree_leave_an_error(bit: bool, shots: int) -> None:
    values, covariance = expectations_from_bits(np.full((1, shots, 2), bit), np.eye(2, dtype=bool))
    assert values.tolist() == [[1 - 2 * bit] * 2]
    # The Beta(S + 1, 1) posterior on [0, 1], scaled by two: its variance, and its mean's distance from ±1.
    variance, distance = (shots + 1) / ((shots + 2) ** 2 * (shots + 3)), 1 / (shots + 2)
    expected = 2 * np.sqrt(variance + distance**2)
    np.testing.assert_allclose(np.sqrt(np.diagonal(covariance[0])), expected, rtol=1e-9)


def test_strings_of_several_qubits_are_parities() -> None:
    bits = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]], dtype=bool)
    masks = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]], dtype=bool)
    values, _ = expectations_from_bits(bits, masks)
    assert values.tolist() == [[-0.5, 0.5, 0.0, 1.0]]


def test_many_qubits_do_not_overflow() -> None:
    """Up to 256 ones are counted in 8 bits, which wrap, but keep their parity."""
    bits = np.ones((1, 3, 256), dtype=bool)
    masks = np.tri(256, dtype=bool)[[0, 1, 254, 255]]
    values, _ = expectations_from_bits(bits, masks)
    assert values.tolist() == [[-1, 1, -1, 1]]


def test_correlated_observables_have_correlated_errors() -> None:
    bit = np.random.default_rng(0).random((1, 5000, 1)) < 0.3
    _, covariance = expectations_from_bits(np.concatenate([bit, bit, ~bit], axis=2), np.eye(3, dtype=bool))
    scale = np.sqrt(np.diagonal(covariance[0]))
    np.testing.assert_allclose(covariance[0] / np.outer(scale, scale), [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=2e-3)


def test_blocks_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    bits, masks = rng.random((7, 50, 3)) < 0.3, np.eye(3, dtype=bool)
    whole = expectations_from_bits(bits, masks)
    for block in (1, 2 * 50 * 3, 3 * 50 * 3):
        monkeypatch.setattr(sampling, "_BLOCK", block)
        for one, other in zip(whole, expectations_from_bits(bits, masks), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_no_rows() -> None:
    values, covariance = expectations_from_bits(np.empty((0, 10, 3), dtype=bool), np.eye(3, dtype=bool))
    assert values.shape == (0, 3)
    assert covariance.shape == (0, 3, 3)


@pytest.mark.parametrize("probability", [0.5, 0.2, 0.05])
def test_intervals_cover_as_often_as_they_say(probability: float) -> None:
    bits = np.random.default_rng(2).random((4000, 500, 1)) < probability
    values, covariance = expectations_from_bits(bits, np.ones((1, 1), dtype=bool))
    found = Expectations(values, np.full(4000, 500), "test", covariance)
    inside = np.abs(values - (1 - 2 * probability)) <= 1.96 * found.standard_errors
    assert 0.93 <= inside.mean() <= 0.97


def test_off_diagonal_covariance_is_that_of_repeated_experiments() -> None:
    rng = np.random.default_rng(3)
    first = rng.random((3000, 200)) < 0.3
    second = np.where(rng.random((3000, 200)) < 0.8, first, ~first)
    values, covariance = expectations_from_bits(
        np.stack([first, second], axis=2), np.array([[1, 0], [0, 1], [1, 1]]) > 0
    )
    np.testing.assert_allclose(np.cov(values.T), covariance.mean(axis=0), rtol=0.15, atol=1e-4)


class TestExpectations:
    @pytest.mark.parametrize(
        ("values", "shots", "covariance", "message"),
        [
            ((3,), (3,), None, r"found values \(3,\), shots \(3,\); expected \(N, M\) and \(N,\)"),
            ((3, 2), (2,), None, r"shots \(2,\)"),
            ((3, 2), (3,), (3, 2), r"found covariance \(3, 2\); expected \(3, 2, 2\)"),
            ((3, 2), (3,), (3, 3, 3), r"expected \(3, 2, 2\)"),
        ],
    )
    def test_shapes(
        self, values: tuple[int, ...], shots: tuple[int, ...], covariance: tuple[int, ...] | None, message: str
    ) -> None:
        with pytest.raises(InputError, match=message):
            Expectations(
                np.zeros(values),
                np.zeros(shots, np.int64),
                "test",
                None if covariance is None else np.zeros(covariance),
            )

    def test_exact_values_have_no_error(self) -> None:
        exact = Expectations(np.ones((2, 3)), np.zeros(2, np.int64), "test")
        assert exact.standard_errors.tolist() == [[0, 0, 0]] * 2
        assert len(exact) == 2
