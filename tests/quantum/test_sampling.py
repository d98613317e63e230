"""Bits to expectation values and their covariance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdinfer import BackendError, Expectations, InputError
from qdinfer.backends import sampling
from qdinfer.backends.sampling import Measured


def estimated(measured: Measured) -> tuple[np.ndarray, np.ndarray]:
    found = measured.expectations("test")
    assert found.covariance is not None
    return found.values, found.covariance


def expectations_from_bits(bits: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return estimated(Measured.from_bits(bits, masks))


def brute_force(bits: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, shot by shot, by imagining one more shot of each sign for the prior (see the method's docstring)."""
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
@settings(max_examples=100, database=None)
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
    for block in (1, 20 * 3, 2 * 50 * 3, 3 * 50 * 3):
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


def coins(shots: int, *, rows: int = 3, m: int = 2, seed: int = 4) -> Measured:
    bits = np.random.default_rng(seed).random((rows, shots, m)) < 0.2
    return Measured.from_bits(bits, np.eye(m, dtype=bool))


def assert_equal(one: Measured, other: Measured) -> None:
    for name in ("sums", "products", "shots", "factors", "factor_covariance"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None)
        if left is not None:
            np.testing.assert_allclose(left, right, rtol=1e-12)


class TestSums:
    @given(measured(), st.integers(0, 40), st.integers(0, 4))
    @settings(max_examples=100, database=None)
    def test_add_up_over_shots_and_rows(
        self, case: tuple[np.ndarray, np.ndarray], cut_shots: int, cut_rows: int
    ) -> None:
        bits, masks = case
        whole = Measured.from_bits(bits, masks)
        assert whole.sums.dtype == whole.products.dtype == whole.shots.dtype == np.int64
        if 0 < cut_shots < bits.shape[1]:
            first, second = (Measured.from_bits(part, masks) for part in np.split(bits, [cut_shots], axis=1))
            assert_equal(first + second, whole)
            assert_equal(second + first, whole)
        parts = [Measured.from_bits(part, masks) for part in np.split(bits, [cut_rows])]
        assert_equal(Measured.concatenate(parts), whole)
        order = np.random.default_rng(0).permutation(len(bits))
        assert_equal(whole.take(order), Measured.from_bits(bits[order], masks))
        assert_equal(whole.take(order > 0), Measured.from_bits(bits[order > 0], masks))

    def test_rows_of_different_shots(self) -> None:
        both = Measured.concatenate([coins(10), coins(500)])
        values, covariance = estimated(both)
        for found, rows in ((coins(10), slice(0, 3)), (coins(500), slice(3, 6))):
            for one, other in zip(estimated(found), (values[rows], covariance[rows]), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12)
        assert both.expectations("test").shots.tolist() == [10] * 3 + [500] * 3

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"sums": np.zeros(3, np.int64)}, r"found sums \(3,\); expected \(N, M\)"),
            ({"products": np.zeros((3, 2), np.int64)}, r"found products \(3, 2\); expected \(3, 2, 2\)"),
            ({"shots": np.ones(2, np.int64)}, r"found shots \(2,\); expected \(3,\)"),
            ({"shots": np.zeros(3, np.int64)}, "found a row with 0 shots; expected at least 1"),
            ({"factors": np.ones((3, 2))}, "expected both or neither"),
            ({"factors": np.ones((1, 2)), "factor_covariance": np.zeros((3, 2, 2))}, r"found factors \(1, 2\)"),
        ],
    )
    def test_shapes(self, change: dict[str, np.ndarray], message: str) -> None:
        with pytest.raises(InputError, match=message):
            dataclasses.replace(coins(10), **change)

    def test_only_what_belongs_together_is_joined(self) -> None:
        plain = coins(100)
        mitigated = plain.mitigated(coins(1000, rows=1))
        for join in (lambda a, b: a + b, lambda a, b: Measured.concatenate([a, b])):
            with pytest.raises(InputError, match="with readout mitigation and shots without"):
                join(plain, mitigated)
            with pytest.raises(InputError, match="observables|equal shapes"):
                join(plain, coins(100, m=3))
        with pytest.raises(InputError, match=r"found parts with \[\] observables"):
            Measured.concatenate([])


class TestMitigation:
    def test_the_formula(self) -> None:
        plain, calibration = coins(400), coins(1000, rows=1)
        factors, spread = estimated(calibration)
        raw, noise = estimated(plain)
        values, covariance = estimated(plain.mitigated(calibration))
        np.testing.assert_allclose(values, raw / factors, rtol=1e-12)
        expected = [
            (n + np.outer(v, v) * spread[0]) / np.outer(factors[0], factors[0])
            for n, v in zip(noise, values, strict=True)
        ]
        np.testing.assert_allclose(covariance, expected, rtol=1e-12)

    def test_rounds_pool_their_factors(self) -> None:
        one = coins(100).mitigated(coins(1000, rows=1, seed=1))
        two = coins(300, seed=5).mitigated(coins(1000, rows=1, seed=2))
        both = one + two
        np.testing.assert_allclose(both.factors, one.factors / 4 + two.factors * 3 / 4)
        np.testing.assert_allclose(both.factor_covariance, one.factor_covariance / 16 + two.factor_covariance * 9 / 16)
        assert_equal(Measured.concatenate([one, two]).take(np.arange(3, 6)), two)

    @pytest.mark.parametrize("rounds", [1, 3])
    def test_errors_are_as_large_as_they_say(self, rounds: int) -> None:
        """A calibration of few shots, so that its own error counts, drawn anew for each row."""
        rng = np.random.default_rng(6)
        rows, probability, flip, masks = 3000, np.array([0.1, 0.45]), 0.1, np.array([[1, 0], [0, 1], [1, 1]]) > 0
        parts = []
        for shots in (400, 100, 900)[:rounds]:
            bits = (rng.random((rows, shots, 2)) < probability) ^ (rng.random((rows, shots, 2)) < flip)
            empty = Measured.from_bits(rng.random((rows, 300, 2)) < flip, masks)
            damped = Measured.from_bits(bits, masks)
            parts.append(
                Measured.concatenate([damped.take(row).mitigated(empty.take(row)) for row in np.arange(rows)[:, None]])
            )
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        found = total.expectations("test")
        single = 1 - 2 * probability
        z = (found.values - np.append(single, single.prod())) / found.standard_errors
        assert z.std(axis=0) == pytest.approx([1, 1, 1], abs=0.06)
        np.testing.assert_allclose(np.corrcoef(z.T), _mean_correlation(found), atol=0.07)

    def test_the_largest_error_falls(self) -> None:
        """Readout that flips 2 % to 8 % of the bits, twirled: without mitigation, every value is damped."""
        rng = np.random.default_rng(8)
        masks = np.concatenate([np.eye(5, dtype=bool), np.ones((1, 5), dtype=bool)])
        probability, flips = rng.uniform(0.02, 0.4, (20, 1, 5)), np.linspace(0.02, 0.08, 5)
        bits = (rng.random((20, 40_000, 5)) < probability) ^ (rng.random((20, 40_000, 5)) < flips)
        raw = Measured.from_bits(bits, masks)
        empty = Measured.from_bits(rng.random((1, 40_000, 5)) < flips, masks)
        single = 1 - 2 * probability[:, 0]
        true = np.concatenate([single, single.prod(axis=1, keepdims=True)], axis=1)
        before = np.abs(estimated(raw)[0] - true).max()
        after = np.abs(estimated(raw.mitigated(empty))[0] - true).max()
        assert before > 0.1
        assert after < before / 3

    def test_too_bad_a_readout_is_refused(self) -> None:
        bits = np.random.default_rng(9).random((1, 100, 3)) < [0.02, 0.45, 0.02]
        with pytest.raises(BackendError, match=r"readout of observable 1: found a damping factor of .* ± .*; expected"):
            coins(50, m=3).mitigated(Measured.from_bits(bits, np.eye(3, dtype=bool)))

    def test_calibrations_that_do_not_fit(self) -> None:
        plain, calibration = coins(50), coins(100, rows=1)
        with pytest.raises(InputError, match=r"calibration: found sums \(2, 2\); expected \(1, 2\)"):
            plain.mitigated(coins(100, rows=2))
        with pytest.raises(InputError, match="mitigated already"):
            plain.mitigated(calibration).mitigated(calibration)


def _mean_correlation(found: Expectations) -> np.ndarray:
    assert found.covariance is not None
    mean = found.covariance.mean(axis=0)
    scale = np.sqrt(np.diagonal(mean))
    return mean / np.outer(scale, scale)


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
