"""Measured bits to expectation values and their covariance: the one place where shots become numbers."""

from __future__ import annotations

import numpy as np

from ..predictions import BoolArray, FloatArray

__all__ = ["expectations_from_bits"]

_BLOCK = 2**24  # signs held at once, as float32: 64 MB


def expectations_from_bits(bits: BoolArray, masks: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Estimate the expectation values of Pauli-Z strings, and the covariance of the estimates.

    The values are sample means m. Their errors are judged by the posterior under a uniform prior: with S shots, the
    mean and the second moment E of the ±1 outcomes are shrunk by two imagined shots of a fair coin, m' = S·m/(S+2),
    E' = (S·E + 2·I)/(S+2), and the posterior has the covariance (E' − m'·m'ᵀ)/(S+3). For one observable this is the
    variance of Beta(k+1, S−k+1) (Gelman et al., Bayesian Data Analysis, section 2.4), scaled from [0, 1] to [−1, 1].
    The expected squared error of m is that plus (m − m')·(m − m')ᵀ, which matters below some 30 shots. The sample
    variance would be zero when all shots agree, and claim a certainty that S shots cannot give.

    Args:
        bits: (N, S, n) bool, qubit q in the last axis at q. S is at least 1.
        masks: (M, n) bool, which qubits have a Z in observable j.

    Returns:
        (N, M) values and (N, M, M) expected products of their errors.
    """
    n, shots, _ = bits.shape
    m = len(masks)
    values = np.empty((n, m))
    covariance = np.empty((n, m, m))
    weights = masks.T.astype(np.uint8)
    step = max(1, _BLOCK // (shots * m))
    for start in range(0, n, step):
        block = slice(start, start + step)
        parity = (bits[block].astype(np.uint8) @ weights) & 1
        signs = 1.0 - 2.0 * parity.astype(np.float32)  # sums of ±1 are exact in float32 up to 2²⁴ shots
        values[block] = signs.sum(axis=1).astype(np.float64) / shots
        second = np.matmul(signs.transpose(0, 2, 1), signs).astype(np.float64) / shots
        mean = values[block] * (shots / (shots + 2))
        moment = (shots * second + 2 * np.eye(m)) / (shots + 2)
        shrunk = values[block] - mean
        covariance[block] = (moment - mean[:, :, None] * mean[:, None, :]) / (shots + 3)
        covariance[block] += shrunk[:, :, None] * shrunk[:, None, :]
    return values, covariance
