"""Measured bits to expectation values and their covariance: the one place where shots become numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BackendError, InputError
from ..predictions import BoolArray, Expectations, FloatArray, IntArray

__all__ = ["Measured", "check_factors"]

_BLOCK = 2**24  # signs held at once, as float32: 64 MB. Also, what is summed in float32 stays exact below 2²⁴.
_CLEAR = 5.0  # standard errors that a damping factor must be above 0, for its reciprocal to be nearly normal


@dataclass(frozen=True)
class Measured:
    """What the shots of N rows left behind: sums over shots, which add up over rounds and jobs.

    A shot of a row gives each of the M observables (Pauli-Z strings) the outcome +1 or −1. Whatever is said about
    expectation values and their errors follows from these sums, so bits need not be kept.

    Where readout is twirled (each qubit flipped at random before measurement, and the bit flipped back after it), its
    errors damp observable j by a factor f_j and do nothing else, and the factors can be measured with the empty
    circuit, whose ideal expectation values are 1 (van den Berg, Minev and Temme 2022,
    doi:10.1103/PhysRevA.105.032620).

    Attributes:
        sums: (N, M) int64, sums of the outcomes.
        products: (N, M, M) int64, sums of the products of two outcomes.
        shots: (N,) int64, at least 1.
        factors: (N, M) float64, what readout error damps each observable by; None: not mitigated.
        factor_covariance: (N, M, M) float64, the covariance of the errors of `factors`, from the calibration's own
            shots. The rows of one job share one calibration, so these errors are common to them.

    Raises:
        InputError: shapes that do not fit each other, no shots, or factors without their covariance.
        BackendError: a factor that is less than five of its standard errors above 0: too bad a readout to mitigate.
    """

    sums: IntArray
    products: IntArray
    shots: IntArray
    factors: FloatArray | None = None
    factor_covariance: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.sums.ndim != 2:
            raise InputError(f"measured: found sums {self.sums.shape}; expected (N, M)")
        n, m = self.sums.shape
        expected = {"products": (n, m, m), "shots": (n,), "factors": (n, m), "factor_covariance": (n, m, m)}
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise InputError(f"measured: found {name} {array.shape}; expected {shape}")
        if (self.shots < 1).any():
            raise InputError(f"measured: found a row with {self.shots.min()} shots; expected at least 1")
        if (self.factors is None) != (self.factor_covariance is None):
            raise InputError("measured: found only one of factors and factor_covariance; expected both or neither")
        if self.factors is not None and self.factor_covariance is not None:
            check_factors(self.factors, self.factor_covariance)

    @property
    def values(self) -> FloatArray:
        """(N, M) float64, the estimated expectation values: means of the outcomes, over `factors` where there are."""
        means: FloatArray = self.sums / self.shots[:, None]
        return means if self.factors is None else means / self.factors

    @classmethod
    def from_bits(cls, bits: BoolArray, masks: BoolArray) -> Measured:
        """Count what was measured.

        Args:
            bits: (N, S, n) bool, qubit q in the last axis at q. S is at least 1.
            masks: (M, n) bool, which qubits have a Z in observable j.
        """
        n, shots, _ = bits.shape
        m = len(masks)
        sums, products = np.zeros((n, m), np.int64), np.zeros((n, m, m), np.int64)
        weights = masks.T.astype(np.uint8)
        rows, within = max(1, _BLOCK // (shots * m)), max(1, _BLOCK // m)  # one row may be too many shots for a block
        for row in range(0, n, rows):
            block = slice(row, row + rows)
            for shot in range(0, shots, within):
                parity = (bits[block, shot : shot + within].astype(np.uint8) @ weights) & 1
                signs = 1 - 2 * parity.astype(np.float32)
                sums[block] += signs.sum(axis=1).astype(np.int64)
                products[block] += np.matmul(signs.transpose(0, 2, 1), signs).astype(np.int64)
        return cls(sums, products, np.full(n, shots, np.int64))

    def mitigated(self, calibration: Measured) -> Measured:
        """The same shots, with what readout error damps them by.

        Args:
            calibration: one row: the empty circuit, measured in the same job through the same twirled readout. Its
                values are the factors of all rows.

        Raises:
            InputError: not one row, other observables, or one of the two is mitigated already.
            BackendError: too bad a readout, see the class.
        """
        n, m = self.sums.shape
        if calibration.sums.shape != (1, m):
            raise InputError(f"calibration: found sums {calibration.sums.shape}; expected {(1, m)}")
        if self.factors is not None or calibration.factors is not None:
            raise InputError("mitigated: found shots that are mitigated already; expected shots as they were measured")
        return Measured(
            self.sums,
            self.products,
            self.shots,
            np.broadcast_to(calibration.values, (n, m)),
            np.broadcast_to(_posterior(calibration), (n, m, m)),
        )

    def __add__(self, other: Measured) -> Measured:
        """The shots of both: two rounds of the same rows, in the same order.

        With mitigation, the sums of outcomes have the expectation m·(S₁·f₁ + S₂·f₂), so the factors are pooled with
        the shots as weights, and their covariances with the squares of these. That takes the two calibrations to be
        independent: each round is a job with a calibration of its own. For rounds that share one, add first and
        mitigate after.

        Raises:
            InputError: other shapes, or only one of the two is mitigated.
        """
        if self.sums.shape != other.sums.shape:
            raise InputError(f"measured: found sums {self.sums.shape} and {other.sums.shape}; expected equal shapes")
        shots = self.shots + other.shots
        sums, products = self.sums + other.sums, self.products + other.products
        _same_mitigation([self, other])
        if (
            self.factors is None
            or other.factors is None
            or self.factor_covariance is None
            or other.factor_covariance is None
        ):
            return Measured(sums, products, shots)
        one, two = (self.shots / shots)[:, None], (other.shots / shots)[:, None]
        factors = one * self.factors + two * other.factors
        one, two = one[:, :, None] ** 2, two[:, :, None] ** 2
        return Measured(sums, products, shots, factors, one * self.factor_covariance + two * other.factor_covariance)

    def take(self, rows: IntArray | BoolArray) -> Measured:
        """Some of the rows, by their indices, in that order, or by a mask (N,)."""
        return Measured(
            self.sums[rows],
            self.products[rows],
            self.shots[rows],
            None if self.factors is None else self.factors[rows],
            None if self.factor_covariance is None else self.factor_covariance[rows],
        )

    @staticmethod
    def concatenate(parts: Sequence[Measured]) -> Measured:
        """The rows of all parts, one part after the other.

        Raises:
            InputError: no parts, parts with different observables, or only some of them mitigated.
        """
        widths = sorted({part.sums.shape[1] for part in parts})
        if len(widths) != 1:
            raise InputError(f"measured: found parts with {widths} observables; expected one number, and a part")
        _same_mitigation(parts)
        factors = [part.factors for part in parts if part.factors is not None]
        covariances = [part.factor_covariance for part in parts if part.factor_covariance is not None]
        return Measured(
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.products for part in parts]),
            np.concatenate([part.shots for part in parts]),
            np.concatenate(factors) if factors else None,
            np.concatenate(covariances) if covariances else None,
        )

    def expectations(self, backend: str) -> Expectations:
        """Estimate the expectation values, and the covariance of the estimates.

        The values are sample means m. Their errors are judged by the posterior under a uniform prior: with S shots,
        the mean and the second moment E of the ±1 outcomes are shrunk by two imagined shots of a fair coin,
        m' = S·m/(S+2), E' = (S·E + 2·I)/(S+2), and the posterior has the covariance (E' − m'·m'ᵀ)/(S+3). For one
        observable this is the variance of Beta(k+1, S−k+1) (Gelman et al., Bayesian Data Analysis, section 2.4),
        scaled from [0, 1] to [−1, 1]. The expected squared error of m is that plus (m − m')·(m − m')ᵀ, which matters
        below some 30 shots. The sample variance would be zero when all shots agree, and claim a certainty that S
        shots cannot give.

        With factors f, r are the sample means and Σ their covariance of above; the values are m = r/f, which may
        leave [−1, 1], and the covariance is (Σ + (m·mᵀ)∘Λ) / (f·fᵀ), with Λ that of the factors: propagation of
        errors to first order.

        Args:
            backend: what measured, for people.
        """
        values, covariance = self.values, _posterior(self)
        if self.factors is not None and self.factor_covariance is not None:
            covariance += values[:, :, None] * values[:, None, :] * self.factor_covariance
            covariance /= self.factors[:, :, None] * self.factors[:, None, :]
        return Expectations(values, self.shots, backend, covariance)


def _posterior(measured: Measured) -> FloatArray:
    """(N, M, M) expected products of the errors of the sample means, see `Measured.expectations`."""
    shots = measured.shots[:, None]
    mean = measured.sums / (shots + 2)
    shrunk = measured.sums / shots - mean
    covariance: FloatArray = (measured.products + 2 * np.eye(measured.sums.shape[1])) / (shots + 2)[:, :, None]
    covariance -= mean[:, :, None] * mean[:, None, :]
    covariance /= (shots + 3)[:, :, None]
    covariance += shrunk[:, :, None] * shrunk[:, None, :]
    return covariance


def _same_mitigation(parts: Sequence[Measured]) -> None:
    if len({part.factors is None for part in parts}) > 1:
        raise InputError("measured: found shots with readout mitigation and shots without; expected one or the other")


def check_factors(factors: FloatArray, covariance: FloatArray) -> None:
    """See that damping factors (N, M), whose errors have the covariance (N, M, M), can be divided by.

    Raises:
        BackendError: one cannot, see `Measured`.
    """
    errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    unclear = np.argwhere(~(factors > _CLEAR * errors))
    if len(unclear):
        row, observable = unclear[0].tolist()
        raise BackendError(
            f"readout of observable {observable}: found a damping factor of {factors[row, observable]:.3g} ± "
            f"{errors[row, observable]:.2g}; expected at least {_CLEAR:g} standard errors above 0: calibrate with more "
            "shots, or choose qubits with a better readout"
        )
