"""When a label has been measured well enough: a rule that may be asked after every round of shots.

A test that is made once has its level once; repeated until it says yes, it is wrong far more often. This rule is a
sequential test by e-processes (Ramdas et al. 2023, doi:10.1214/23-STS894), whose error is bounded over all looks
together, for any number of shots, without the assumption of normal errors.

Take the label l and a rival k. Each shot x, of outcomes ±1, gives l the lead d = (w_l − w_k)·(x/f) + b_l − b_k, with
f the damping factors (1 where readout is not mitigated); the mean of d is by how much l truly leads. It is never
below −c = b_l − b_k − Σⱼ |w_lj − w_kj|/fⱼ. If k is truly ahead, E[d] < 0, then for each λ in [0, 1) the product of
1 + λ·d/c over the shots is a supermartingale that starts at 1. It needs every single shot; but with
ψ(λ) = −log(1−λ) − λ,

    exp(λ·y − ψ(λ)·y²) ≤ 1 + λ·y    for y ≥ −1

(Fan, Grama and Liu 2015, doi:10.1214/EJP.v20-3496, lemma 4.1; Howard et al. 2021, doi:10.1214/20-AOS1991, use it for
empirical Bernstein bounds), so that exp(λ·Σd/c − ψ(λ)·Σd²/c²) stays below that product, whatever the order of the
shots, and follows from their sums. A mean over λ with fixed weights, E_lk, stays below a supermartingale, too, as
nobody knows the best λ beforehand.

By Ville's inequality, E_lk ever reaches (C−1)/α with a chance of at most α/(C−1) if k is truly ahead of l. The label
is declared when E_lk has reached that for all C−1 rivals. A wrong declaration is one of some label l, at some time, in
spite of the truly best class k*: E_lk* is then that large, which for the C−1 classes that may stand in for l has a
chance of at most α together.

With readout mitigation, all of this takes the calibration as exact, and the readout as the same in all rounds.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import InputError
from ..predictions import BoolArray, FloatArray
from ..readout import Readout
from .sampling import Measured

__all__ = ["label_confidence", "next_shots", "open_rows"]

# λ is best near E[d/c] / E[d²/c²]. Halves down from 0.6 are never far from it, and lighter weights for small λ suit
# dozens to thousands of shots. Finer grids, and squares centred elsewhere than at 0, save a twentieth of the shots.
_BETS = 0.6 * 0.5 ** np.arange(10)
_LOG_WEIGHTS = np.log(0.7 ** np.arange(10) / np.sum(0.7 ** np.arange(10)))
_PENALTIES = -np.log1p(-_BETS) - _BETS  # ψ(λ)


def label_confidence(readout: Readout, measured: Measured) -> FloatArray:
    """How sure it is that each row's label is that of infinitely many shots, however often this is asked.

    It is 1 − min(1, (C−1) / minₖ E_lk), with E_lk as at the head of this module. For every α, the chance that it is
    ever at least 1 − α, at any look, while the label is wrong, is at most α.

    Args:
        readout: the student's linear layer.
        measured: N rows of M observables, with all the shots taken so far.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: M is another than the weights have columns.
    """
    n, m = measured.sums.shape
    if readout.weights.shape[1] != m:
        raise InputError(f"readout: found {m} observables; expected {readout.weights.shape[1]}")
    winners = readout.logits(measured.values).argmax(axis=1)
    weights = readout.weights[winners][:, None, :] - readout.weights  # (N, C, M)
    offsets = readout.bias[winners][:, None] - readout.bias  # (N, C)
    if measured.factors is not None:
        weights = weights / measured.factors[:, None, :]
    sums = np.matmul(weights, measured.sums[:, :, None])[:, :, 0]
    squares = np.sum(np.matmul(weights, measured.products) * weights, axis=2)
    shots = measured.shots[:, None]
    leads = sums + shots * offsets  # Σd
    squares = squares + 2 * offsets * sums + shots * offsets**2  # Σd²
    lowest = np.abs(weights).sum(axis=2) - offsets  # c
    evidence = np.full(lowest.shape, math.inf)  # log E; where no shot can speak against the label, nothing is open
    unsure = lowest > 0
    evidence[unsure] = _log_evidence(leads[unsure] / lowest[unsure], squares[unsure] / lowest[unsure] ** 2)
    evidence[np.arange(n), winners] = math.inf
    rivals = len(readout.labels) - 1
    confidence: FloatArray = 1.0 - np.minimum(1.0, rivals * np.exp(-evidence.min(axis=1)))
    return confidence


def open_rows(readout: Readout, measured: Measured, confidence: float) -> BoolArray:
    """Which rows need more shots: (N,) bool, those whose `label_confidence` is below the one asked for."""
    return label_confidence(readout, measured) < confidence


def next_shots(taken: int, first: int, cap: int) -> int:
    """How many shots the next round takes of each row that is still open; 0 at the cap.

    Each round takes half of what was taken before. With twice as much as before, 8 instead of 13 rounds reach
    4096 shots from 32, and a text takes an eighth more shots.

    Args:
        taken: shots of the row so far.
        first: shots of the first round.
        cap: the most that a row may take.
    """
    return max(0, min(first if taken == 0 else max(1, taken // 2), cap - taken))


def _log_evidence(leads: FloatArray, squares: FloatArray) -> FloatArray:
    """The logarithm of E for (…,) sums of y = d/c and of y²."""
    exponents = _BETS * leads[..., None] - _PENALTIES * squares[..., None] + _LOG_WEIGHTS
    top = exponents.max(axis=-1)
    total: FloatArray = top + np.log(np.exp(exponents - top[..., None]).sum(axis=-1))
    return total
