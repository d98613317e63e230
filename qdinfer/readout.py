"""Expectation values to logits, probabilities and labels, and the shot noise through all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .artifact import Artifact
from .errors import InputError
from .predictions import Expectations, FloatArray, IntArray, Predictions

__all__ = ["Readout", "softmax"]

_erfc = np.vectorize(math.erfc, otypes=[float])


class Readout:
    """The linear layer of a student, with softmax.

    Attributes:
        labels: the C classes.
        weights: (C, M) float64.
        bias: (C,) float64.
        temperature: divides the logits.
    """

    def __init__(self, labels: Sequence[str], weights: FloatArray, bias: FloatArray, temperature: float = 1.0) -> None:
        """Take over a trained layer.

        Args:
            labels: the C classes.
            weights: (C, M), one row a class, one column an observable.
            bias: (C,).
            temperature: divides the logits; positive.

        Raises:
            InputError: shapes that do not fit each other, or numbers that are not finite.
        """
        weights, bias = np.asarray(weights, np.float64), np.asarray(bias, np.float64)
        if weights.ndim != 2 or bias.shape != weights.shape[:1] or len(labels) != len(bias):
            raise InputError(
                f"readout: found weights {weights.shape}, bias {bias.shape} and {len(labels)} labels; "
                "expected (C, M), (C,) and C"
            )
        if not (np.isfinite(weights).all() and np.isfinite(bias).all() and 0 < temperature < math.inf):
            raise InputError("readout: found a number that is not finite, or no positive temperature")
        self.labels = tuple(labels)
        self.weights = weights
        self.bias = bias
        self.temperature = temperature
        self._classes = np.array(self.labels, dtype=np.str_)
        self._classes.setflags(write=False)  # every prediction has this very array

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Readout:
        """The readout of a student."""
        spec = artifact.manifest.readout
        return cls(artifact.manifest.labels, np.array(spec.weights), np.array(spec.bias), spec.temperature)

    def logits(self, values: FloatArray) -> FloatArray:
        """(weights · values + bias) / temperature.

        Args:
            values: (N, M) expectation values.

        Returns:
            (N, C) float64.
        """
        return (values @ self.weights.T + self.bias) / self.temperature

    def predict(self, expectations: Expectations) -> Predictions:
        """Probabilities and labels, with their errors from shot noise.

        With Σ the covariance of the expectation values, the logits have the covariance Λ = W·Σ·Wᵀ/T². The standard
        errors of the probabilities come from 2C points at ±√C times the columns of a square root of Λ around the
        logits, whose probabilities' root mean squared distance from those reported is taken (the unscented transform,
        Julier and Uhlmann 2004, doi:10.1109/JPROC.2003.823141). To first order that is the delta method; where the
        softmax bends within the error, the delta method would fail.

        The confidence is 1 − Σₖ Φ(−dₖ/σₖ) over the other classes k, where dₖ is the label's lead over k in logits and
        σₖ² = Λ_ll + Λ_kk − 2·Λ_lk: exact (for normal errors) with two classes, and by the union bound a lower bound
        with more. It is cut off at 0. Where the expectations bring a confidence of their own, from shots that were
        added until the label was sure, it is that one: this formula does not hold after repeated looks.

        Both rest on errors that are close to normal, as they are from about 100 shots on.

        Args:
            expectations: (N, M) values with their covariance.

        Raises:
            InputError: M is another than the weights have columns.
        """
        values = expectations.values
        if values.shape[1] != self.weights.shape[1]:
            raise InputError(f"readout: found {values.shape[1]} expectation values; expected {self.weights.shape[1]}")
        logits = self.logits(values)
        probabilities = softmax(logits)
        winners = logits.argmax(axis=1).astype(np.int64)
        if expectations.covariance is None:
            errors: FloatArray = np.zeros_like(probabilities)
            confidence: FloatArray = np.ones(len(values))
        else:
            scaled = self.weights / self.temperature
            covariance = scaled @ expectations.covariance @ scaled.T
            errors = _probability_errors(logits, probabilities, covariance)
            confidence = _confidence(logits, covariance, winners)
        if expectations.confidence is not None:
            confidence = expectations.confidence
        return Predictions(self._classes, self._classes[winners], probabilities, errors, confidence, expectations)


def softmax(logits: FloatArray) -> FloatArray:
    """(…, C) → (…, C), non-negative, with the sum 1 along the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-math.inf))
    probabilities: FloatArray = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


def _probability_errors(logits: FloatArray, probabilities: FloatArray, covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)  # not Cholesky: it may be singular
    columns = vectors * np.sqrt(np.maximum(values, 0.0) * values.shape[1])[:, None, :]
    steps = np.concatenate([columns, -columns], axis=2).transpose(0, 2, 1)  # (N, 2C, C)
    distances = softmax(logits[:, None, :] + steps) - probabilities[:, None, :]
    errors: FloatArray = np.sqrt(np.mean(distances**2, axis=1))
    return errors


def _confidence(logits: FloatArray, covariance: FloatArray, winners: IntArray) -> FloatArray:
    rows = np.arange(len(logits))
    lead = logits[rows, winners][:, None] - logits
    diagonal = np.diagonal(covariance, axis1=1, axis2=2)
    variance = diagonal[rows, winners][:, None] + diagonal - 2 * covariance[rows, winners]
    deviation = np.sqrt(np.maximum(variance, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(deviation > 0, lead / deviation, math.inf)  # no noise between two classes: the lead stands
    overtaken = 0.5 * _erfc(z / math.sqrt(2))
    overtaken[rows, winners] = 0.0
    confidence: FloatArray = np.maximum(0.0, 1.0 - overtaken.sum(axis=1))
    return confidence
