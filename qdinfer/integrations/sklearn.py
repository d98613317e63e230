"""A student as a scikit-learn classifier."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import Artifact
from ..backends import Backend
from ..classifier import Classifier
from ..errors import InputError, require
from ..evaluation import check_labels
from ..predictions import FloatArray, StrArray
from ..texts import checked_texts

if TYPE_CHECKING:
    from typing import Self

require("sklearn", feature="QuantumStudentClassifier", extra="sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402

__all__ = ["QuantumStudentClassifier"]


class QuantumStudentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A student for scikit-learn's pipelines, cross-validation and calibration.

    It comes trained: `fit` loads it and checks that it knows the labels it is given, and learns nothing. So all that a
    cross-validation fits is what stands around the student, such as a calibration.

    Texts are a column: a list, an array, a series of pandas or polars; never a matrix, so that there is no
    `n_features_in_`.

    Meta-estimators that number the labels before they fit (`VotingClassifier`, `StackingClassifier`, and
    `cross_val_predict` for probabilities) would ask for numbers that the student does not know. They take it frozen:
    ``FrozenEstimator(QuantumStudentClassifier("topic").fit(texts))``. Their labels must be all of the student's.

    Attributes:
        classifier_: the `Classifier`, after `fit`.
        classes_: (C,) str, after `fit`: the student's classes in alphabetical order, which scikit-learn's metrics take
            the columns of `predict_proba` to be in. `Classifier.classes_` has the student's own order.
    """

    def __init__(
        self,
        student: str | os.PathLike[str] | Artifact,
        *,
        backend: str | Backend = "exact",
        threads: int | None = None,
    ) -> None:
        """Nothing is read before `fit`.

        Args:
            student: its folder, .zip or reference, as `Classifier.load` takes it, or an `Artifact`.
            backend: evaluates the circuit: a name or an object, as `Classifier` takes it.
            threads: CPU threads for one call; None for all that this process may use.
        """
        self.student = student
        self.backend = backend
        self.threads = threads

    def fit(self, X: str | Iterable[str], y: Iterable[str] | None = None) -> Self:
        """Load the student. Nothing is trained.

        Args:
            X: N texts.
            y: N labels, all of which the student must know; None if there are none.

        Raises:
            InputError: something is no text or no label of the student's, or there are not as many.
            ArtifactError: and what else `Classifier.load` raises of a student that cannot be had or run.
        """
        texts = checked_texts(X, "X")
        artifact = self.student if isinstance(self.student, Artifact) else Artifact.open(self.student)
        classifier = Classifier(artifact, backend=self.backend, threads=self.threads)
        if y is not None:
            _check(y, len(texts), classifier.readout.labels)
        self.classifier_ = classifier
        self.classes_: StrArray = np.sort(classifier.classes_)
        return self

    def predict(self, X: str | Iterable[str]) -> StrArray:
        """The label of each text.

        Args:
            X: N texts.

        Returns:
            (N,) str.

        Raises:
            NotFittedError: before `fit`.
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.
        """
        check_is_fitted(self)
        return self.classifier_.predict(X)

    def predict_proba(self, X: str | Iterable[str]) -> FloatArray:
        """The probability of each class.

        Args:
            X: N texts.

        Returns:
            (N, C) float64, columns as in `classes_`.

        Raises:
            NotFittedError: before `fit`.
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.
        """
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)[:, np.argsort(self.classifier_.classes_)]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags


def _check(y: Iterable[str], texts: int, known: Sequence[str]) -> None:
    values = np.asarray(y)
    if values.size and values.dtype.kind in "biuf":
        raise InputError(
            f"y: found numbers; expected labels, of {list(known)}. A meta-estimator that numbers the labels takes "
            "FrozenEstimator(QuantumStudentClassifier(...).fit(texts))"
        )
    labels = checked_texts(y, "y")
    if len(labels) != texts:
        raise InputError(f"y: found {len(labels)} labels for {texts} texts; expected as many")
    check_labels(known, labels, "y: label")
