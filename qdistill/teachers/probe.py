"""A linear probe: logistic regression on one hidden layer of a language model."""

from __future__ import annotations

import hashlib
import json
from collections import ChainMap
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from qdinfer.errors import InputError, require
from qdinfer.predictions import FloatArray, IntArray
from qdinfer.texts import checked_texts

from .base import Identity, checked_labels
from .language_model import LanguageModel

__all__ = ["Probe"]

_STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # scikit-learn's C, of features that are standardised
_DEV_FOLDS = 5  # one of so many parts of the texts chooses layer and strength …
_FEW = 2000  # … and below so many texts, all of them do: one alone would choose by luck


class _Regression(Protocol):
    def fit(self, features: FloatArray, classes: IntArray) -> object: ...
    def predict_proba(self, features: FloatArray) -> FloatArray: ...


class Probe:
    """Probabilities from a layer's mean hidden state; needs labelled texts.

    Layer and regularisation are those with the lowest log loss on a dev part or, below 2000 texts, cross-validated.
    The texts that it was fitted on get their probabilities from fits that did not see them (cross-fitting), for a
    teacher that knows its texts' labels by heart has nothing to add to them; all others get the fit on everything.

    Attributes:
        labels: the C classes, sorted.
        layer: the layer that was chosen, from 1; later ones are not run.
        strength: scikit-learn's C that was chosen.
        dev_losses: layer → its lowest mean log loss on the dev part.
        dev_accuracies: layer → the accuracy with that.
    """

    def __init__(self, model: LanguageModel, *, folds: int = 5, seed: int = 0) -> None:
        """Prepare a probe; `fit` makes it a teacher.

        Args:
            model: it needs no head.
            folds: into how many parts cross-fitting divides the texts, 2 or more.
            seed: of dev part and folds.

        Raises:
            InputError: fewer than two folds.
            MissingExtraError: scikit-learn is not installed.
        """
        if folds < 2:
            raise InputError(f"folds: found {folds}; expected 2 or more")
        require("sklearn", feature="a probe as teacher", extra="distill")
        self._model, self._folds, self._seed = model, folds, seed
        self.labels: tuple[str, ...] = ()
        self.layer, self.strength = 0, 0.0
        self.dev_losses: dict[int, float] = {}
        self.dev_accuracies: dict[int, float] = {}
        self._data = ""
        self._known: dict[str, FloatArray] = {}
        self._full: _Regression | None = None

    def fit(self, texts: Sequence[str], labels: Sequence[str], *, layers: Sequence[int] | None = None) -> Probe:
        """Choose a layer, and fit on it.

        Args:
            texts: N of them; one that comes again is always in the same fold.
            labels: N names.
            layers: the candidates, from 1; every fourth and the last one without it.

        Returns:
            Itself.

        Raises:
            InputError: texts and labels that do not match, a label of fewer than two different texts, no such layer.
            TeacherError: the model failed.
        """
        texts, classes = checked_texts(texts), self._classes(texts, labels)
        count = self._model.num_layers
        candidates = sorted(set(range(4, count + 1, 4)) | {count} if layers is None else set(layers))
        if not candidates:
            raise InputError("layers: found none; expected one or more")
        states = self._model.hidden_states(texts, candidates, progress=True)
        self._choose(states, classes, _folds(texts, classes, _DEV_FOLDS, self._seed))
        features = states[self.layer]
        folds = _folds(texts, classes, self._folds, self._seed + 1)
        rows = np.zeros((len(texts), len(self.labels)))
        for fold in range(int(folds.max()) + 1):
            seen = folds != fold
            rows[~seen] = _regression(self.strength, features[seen], classes[seen]).predict_proba(features[~seen])
        self._known = dict(zip(texts, rows, strict=True))
        self._full = _regression(self.strength, features, classes)
        content = json.dumps([texts, list(labels)]).encode()
        self._data = hashlib.sha256(content).hexdigest()
        return self

    @property
    def identity(self) -> Identity:
        """Model, layer, regularisation, folds, seed, and the digest of the texts and labels that it was fitted on."""
        model = self._model.loaded.identity
        fitted: dict[str, Any] = {"layer": self.layer, "strength": self.strength, "fitted_on": self._data}
        return {"kind": "probe", **model, "pooling": "mean", **fitted, "folds": self._folds, "seed": self._seed}

    @property
    def disk_bytes(self) -> int | None:
        """The size of the model's files, or None if they are elsewhere."""
        return self._model.loaded.disk_bytes

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """(N, C) float64, rows sum to 1; cross-fitted for texts that it was fitted on.

        Raises:
            InputError: a text is no str, or `fit` was not called.
            TeacherError: the model failed.
        """
        if self._full is None:
            raise InputError("probe: found one that was not fitted; expected fit(texts, labels) first")
        texts = checked_texts(texts)
        new = sorted({text for text in texts if text not in self._known})
        answers: dict[str, FloatArray] = {}
        if new:
            features = self._model.hidden_states(new, [self.layer])[self.layer]
            answers = dict(zip(new, self._full.predict_proba(features), strict=True))
        known = ChainMap(answers, self._known)
        rows = np.array([known[text] for text in texts], np.float64).reshape(-1, len(self.labels))
        return np.asarray(rows / rows.sum(axis=1, keepdims=True))

    def _classes(self, texts: Sequence[str], labels: Sequence[str]) -> IntArray:
        """(N,) class numbers."""
        if len(texts) != len(labels):
            raise InputError(f"labels: found {len(labels)} for {len(texts)} texts; expected one a text")
        self.labels = checked_labels(sorted(set(labels)))
        for label in self.labels:
            different = len({text for text, given in zip(texts, labels, strict=True) if given == label})
            if different < 2:
                raise InputError(f"labels: found {label!r} on one text only; expected two or more different texts")
        return np.array([self.labels.index(label) for label in labels], np.int64)

    def _choose(self, states: dict[int, FloatArray], classes: IntArray, folds: IntArray) -> None:
        """Layer and strength of the lowest log loss on fold 0 or, of few texts, all folds, each fitted on the rest."""
        parts = range(int(folds.max()) + 1 if len(classes) < _FEW else 1)
        dev, best = np.isin(folds, parts), np.inf
        true = classes[dev]
        for layer, features in states.items():
            self.dev_losses[layer] = np.inf
            for strength in _STRENGTHS:
                rows = np.zeros((len(classes), len(self.labels)))
                for part in parts:
                    seen = folds != part
                    fitted = _regression(strength, features[seen], classes[seen])
                    rows[~seen] = fitted.predict_proba(features[~seen])
                found = rows[dev]
                loss = float(-np.log(np.maximum(found[np.arange(len(found)), true], 1e-12)).mean())
                if loss < self.dev_losses[layer]:
                    self.dev_losses[layer] = loss
                    self.dev_accuracies[layer] = float((found.argmax(axis=1) == true).mean())
                if loss < best:
                    best, self.layer, self.strength = loss, layer, strength


def _regression(strength: float, features: FloatArray, classes: IntArray) -> _Regression:
    """Standardise, then fit logistic regression (lbfgs, L2); both are deterministic."""
    linear, preprocessing, pipeline = (
        require(f"sklearn.{module}", feature="a probe as teacher", extra="distill")
        for module in ("linear_model", "preprocessing", "pipeline")
    )
    model: _Regression = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear.LogisticRegression(C=strength, max_iter=1000)
    )
    model.fit(features, classes)
    return model


def _folds(texts: Sequence[str], classes: IntArray, count: int, seed: int) -> IntArray:
    """(N,) fold numbers: each class spread evenly, equal texts together.

    Raises:
        InputError: a label that is only on texts of one fold, which happens if all of them have another label too.
    """
    first = dict(zip(reversed(texts), reversed(classes.tolist()), strict=True))
    rng = np.random.default_rng(seed)
    fold: dict[str, int] = {}
    for number in sorted(set(first.values())):
        members = sorted(text for text, given in first.items() if given == number)
        for place, i in enumerate(rng.permutation(len(members))):
            fold[members[i]] = place % count
    folds = np.array([fold[text] for text in texts], np.int64)
    for number in range(int(classes.max()) + 1):
        if len(set(folds[classes == number].tolist())) < 2:
            raise InputError(
                f"labels: found class {number} only on texts with another label; expected one label a text"
            )
    return folds
