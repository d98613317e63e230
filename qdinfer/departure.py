"""Where measured expectation values depart from those that a noise twin expects, observable by observable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .backends.sampling import Measured
from .errors import InputError
from .evaluation import Z95
from .predictions import FloatArray, IntArray

__all__ = ["AS_CALIBRATED", "LEVEL", "Departure", "departure"]

AS_CALIBRATED = "as calibrated"
LEVEL = 0.05
"""The chance that a device which is exactly its twin is said to depart anywhere."""
_FEWEST = 3  # texts: a line through two fits always
_FLAT = 1e-6


@dataclass(frozen=True)
class Departure:
    """N texts and M observables, measured, exact, and as a noise twin expects them.

    For each observable two lines are fitted over the exact values, of the measured values and of the twin's, with the
    same weights: one over the variance that the twin's shots have. The slope is what is left of the exact values, so
    the difference of the slopes is damping, and that of the heights at the exact value 0 is a shift. Both together are
    tested by χ² with 2 degrees of freedom, and the scatter around the line by χ² with N − 2; that makes 2·M tests,
    which are corrected for their number by Holm's method (1979, https://www.jstor.org/stable/4615733).

    Attributes:
        measured: (N, M) float64; with readout mitigation, its factors divided out.
        errors: (N, M) standard errors of them if the device were its twin.
        exact: (N, M).
        twin: (N, M) those of infinitely many shots of the twin, mitigated likewise.
        shots: (N,) int64.
        slope, slope_error: (M,) of the measured values over the exact ones.
        twin_slope: (M,) of the twin's.
        shift, shift_error: (M,) measured − twin, where the exact value is 0.
        line_p: (M,) corrected p-value of slope and shift.
        scatter_p: (M,) corrected p-value of the scatter around the line.
        verdicts: M, ``"as calibrated"``, or what departs: ``"more damped"`` or ``"less damped"``, ``"shifted to +1"``
            or ``"shifted to −1"``, ``"scattered"`` (in some way that is no line).
    """

    measured: FloatArray
    errors: FloatArray
    exact: FloatArray
    twin: FloatArray
    shots: IntArray
    slope: FloatArray
    slope_error: FloatArray
    twin_slope: FloatArray
    shift: FloatArray
    shift_error: FloatArray
    line_p: FloatArray
    scatter_p: FloatArray
    verdicts: tuple[str, ...]

    @property
    def means(self) -> FloatArray:
        """(3, M): the means over texts, by their shots: measured, twin, exact."""
        values = (self.measured, self.twin, self.exact)
        return np.array([np.average(each, axis=0, weights=self.shots) for each in values])

    @property
    def rms_z(self) -> FloatArray:
        """(M,) root mean square over texts of (measured − twin) / standard error: about 1 if shot noise is all."""
        z = (self.measured - self.twin) / self.errors
        rms: FloatArray = np.sqrt(np.mean(z**2, axis=0))
        return rms

    @property
    def departs(self) -> bool:
        """Whether any observable is not as calibrated."""
        return any(verdict != AS_CALIBRATED for verdict in self.verdicts)


def departure(
    jobs: Sequence[tuple[IntArray, Measured]], exact: FloatArray, twin: FloatArray, variances: FloatArray
) -> Departure:
    """Hold measured expectation values against a twin.

    Args:
        jobs: the texts (n,) of each job, and what it measured of them. Rounds of one text add up. With readout
            mitigation the rows of a job share its calibration, whose error is counted once for all of them.
        exact: (N, M).
        twin: (N, M) expectation values, see `TwinBackend.expectations`.
        variances: (N, M) of one shot of the twin, the diagonal of what `TwinBackend.moments` gives.

    Raises:
        InputError: fewer than 3 texts, one that was not measured, or exact values that are all alike.
    """
    _check(jobs, exact)
    pooled = _Pooled(jobs, exact.shape)
    # No value is so sure that not one of its shots might be another.
    each = np.maximum(variances, 1 / pooled.shots) / pooled.shots
    variance = (each / pooled.factors**2) + pooled.calibration_variance(twin)
    weights = 1 / variance
    middle = (weights * exact).sum(axis=0) / weights.sum(axis=0)
    along = weights * (exact - middle)
    along /= (along * (exact - middle)).sum(axis=0)
    lines = np.stack([along, weights / weights.sum(axis=0) - middle * along])  # a slope, and a height at 0
    off = pooled.values - twin
    found = (lines * off).sum(axis=1)
    covariance = pooled.covariance(lines, each, twin)
    seen = _errors(pooled.covariance(lines, pooled.variances, pooled.values))
    line_p = np.exp(-np.einsum("im,mij,jm->m", found, np.linalg.inv(covariance), found) / 2)
    rest = ((off - found[0] * exact - found[1]) ** 2 * weights).sum(axis=0)
    fourth = (4 / np.maximum(variances, 1 / pooled.shots) - 6) / pooled.shots  # excess kurtosis of a mean of shots
    scatter_p = _upper_tail(rest, len(exact) - 2, (2 + fourth).sum(axis=0))
    line_p, scatter_p = _holm(np.stack([line_p, scatter_p]))
    z = found / _errors(covariance)
    return Departure(
        measured=pooled.values,
        errors=np.sqrt(variance),
        exact=exact,
        twin=twin,
        shots=pooled.shots[:, 0],
        slope=(along * pooled.values).sum(axis=0),
        slope_error=seen[0],
        twin_slope=(along * twin).sum(axis=0),
        shift=found[1],
        shift_error=seen[1],
        line_p=line_p,
        scatter_p=scatter_p,
        verdicts=tuple(
            _verdict(*both, line=one <= LEVEL, scatter=other <= LEVEL)
            for both, one, other in zip(z.T.tolist(), line_p.tolist(), scatter_p.tolist(), strict=True)
        ),
    )


class _Pooled:
    """All jobs' shots, a row a text.

    Attributes:
        shots: (N, 1) int64.
        values: (N, M).
        factors: (N, M), of the readout mitigation; 1 without.
        variances: (N, M) of a mean of shots, from the shots themselves and two imagined ones of a fair coin.
    """

    def __init__(self, jobs: Sequence[tuple[IntArray, Measured]], shape: tuple[int, ...]) -> None:
        self._jobs = jobs
        sums, factors, self.shots = np.zeros(shape, np.int64), np.zeros(shape), np.zeros((shape[0], 1), np.int64)
        for rows, job in jobs:
            shots = job.shots[:, None]
            sums[rows] += job.sums
            self.shots[rows] += shots
            factors[rows] += shots * (1 if job.factors is None else job.factors)
        self.factors = factors / self.shots
        self.values: FloatArray = sums / self.shots / self.factors
        self.variances: FloatArray = (1 - (sums / (self.shots + 2)) ** 2) / self.shots

    def _calibrations(self, values: FloatArray) -> list[tuple[IntArray, FloatArray, FloatArray]]:
        """Of each calibration the texts, what an error of its factors does to their values, and its variance (M,)."""
        return [
            (rows, values[rows] / self.factors[rows] * job.shots[:, None] / self.shots[rows], np.diagonal(error[0]))
            for rows, job in self._jobs
            if (error := job.factor_covariance) is not None
        ]

    def calibration_variance(self, values: FloatArray) -> FloatArray:
        """(N, M): what calibrations add to the variance of each value."""
        total = np.zeros_like(values)
        for rows, effect, variance in self._calibrations(values):
            total[rows] += effect**2 * variance
        return total

    def covariance(self, lines: FloatArray, variances: FloatArray, values: FloatArray) -> FloatArray:
        """(M, K, K): of K linear functions (K, N, M) of the values, from shots with these variances of a mean."""
        total: FloatArray = np.einsum("inm,jnm,nm->mij", lines, lines, variances / self.factors**2)
        for rows, effect, variance in self._calibrations(values):
            common = (lines[:, rows] * effect).sum(axis=1)
            total += np.einsum("im,jm,m->mij", common, common, variance)
        return total


def _check(jobs: Sequence[tuple[IntArray, Measured]], exact: FloatArray) -> None:
    if len(exact) < _FEWEST:
        raise InputError(f"departure: found {len(exact)} texts; expected at least {_FEWEST}, to fit a line")
    missing = np.setdiff1d(np.arange(len(exact)), np.concatenate([rows for rows, _ in jobs]) if jobs else [])
    if len(missing):
        raise InputError(f"departure: found no shots of text {missing[0]}; expected some of each")
    flat = np.flatnonzero(np.ptp(exact, axis=0) < _FLAT)
    if len(flat):
        raise InputError(
            f"departure: found exact values of observable {flat[0]} that are all alike; expected different ones, which "
            "tell damping from a shift"
        )


def _errors(covariance: FloatArray) -> FloatArray:
    """(K, M) standard errors, of (M, K, K) covariances."""
    errors: FloatArray = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    return errors


def _upper_tail(x: FloatArray, mean: float, variance: FloatArray) -> FloatArray:
    """The chance of more than x, which is about χ² distributed but for its variance (Wilson and Hilferty 1931)."""
    small = variance / (9 * mean**2)
    z = (np.cbrt(x / mean) - (1 - small)) / np.sqrt(small)
    return np.array([math.erfc(each / math.sqrt(2)) / 2 for each in z.tolist()])


def _holm(p: FloatArray) -> FloatArray:
    """Corrected p-values: those of the tests that a level is held for if it is compared with each."""
    order = np.argsort(p, axis=None)
    steps = np.maximum.accumulate(p.ravel()[order] * np.arange(p.size, 0, -1))
    corrected: FloatArray = np.empty(p.size)
    corrected[order] = np.minimum(1.0, steps)
    return corrected.reshape(p.shape)


def _verdict(damping: float, shift: float, *, line: bool, scatter: bool) -> str:
    """What departs, from z of damping and shift; of a line that departs, at least the clearer of the two."""
    words = []
    if line and abs(damping) >= min(Z95, abs(shift)):
        words.append("more damped" if damping < 0 else "less damped")
    if line and abs(shift) >= min(Z95, abs(damping)):
        words.append("shifted to +1" if shift > 0 else "shifted to −1")
    if scatter:
        words.append("scattered")
    return ", ".join(words) or AS_CALIBRATED
