"""A student among scikit-learn's own tools."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from interpreter import python
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from students import LABELS, WORDS, parts, tiny

from qdinfer import AerBackend, Artifact, ArtifactError, Classifier, InputError, TruncationWarning
from qdinfer.integrations.sklearn import QuantumStudentClassifier
from qdistill.export import export

TEXTS = [" ".join(WORDS[2 + (i * k) % 8] for k in range(1, 4)) for i in range(60)]
SORTED = sorted(LABELS)


@pytest.fixture(scope="module")
def labels() -> list[str]:
    """What the student says of the texts, but for every fifth."""
    found = Classifier(tiny()).predict(TEXTS).tolist()
    return [SORTED[(SORTED.index(label) + (i % 5 == 0)) % 3] for i, label in enumerate(found)]


@pytest.fixture
def estimator() -> QuantumStudentClassifier:
    return QuantumStudentClassifier(tiny())


# scikit-learn's own checks


@cache
def of_five_classes() -> Artifact:
    """Some of the checks have four."""
    rng = np.random.default_rng(4)
    labels, weights, bias = tuple("abcde"), rng.normal(0, 2, (5, 4)), rng.normal(0, 0.3, 5)
    return export(replace(parts(), labels=labels, weights=weights, bias=bias))[0]


class OnNumbers(QuantumStudentClassifier):
    """Says that it takes matrices of numbers, so that all of scikit-learn's checks are run."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class InWords(OnNumbers):
    """Takes matrices of numbers, and tells the student of their rows in words; so the checks come to the student."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any = None) -> InWords:
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        own, numbers = np.unique(y, return_inverse=True)
        super().fit(self._texts(X), np.array([*"abcde"])[numbers])
        self.own_ = np.pad(own, (0, 5 - len(own)), mode="edge")
        self.classes_ = own
        return self

    def predict(self, X: Any) -> Any:
        check_is_fitted(self)
        found = super().predict(self._texts(validate_data(self, X, reset=False)))
        return self.own_[["abcde".index(label) for label in found.tolist()]]

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        every = super().predict_proba(self._texts(validate_data(self, X, reset=False)))
        few = every[:, : len(self.classes_)]
        few[:, -1] += every[:, len(self.classes_) :].sum(axis=1)
        return few

    @staticmethod
    def _texts(X: Any) -> list[str]:
        return [" ".join(WORDS[2 + int(abs(value) * 3) % 8] for value in row[:4]) for row in X]


NUMBERS = "it fits a matrix of numbers, and the student takes texts"
WORDS_ABOUT_NUMBERS = "it expects certain words about a matrix of numbers, and the student says that it is no column"
EXPECTED = {
    "OnNumbers": dict.fromkeys(
        [
            "check_classifier_data_not_an_array",
            "check_classifiers_classes",
            "check_classifiers_one_label",
            "check_classifiers_train",
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_dtype_object",
            "check_estimator_sparse_tag",
            "check_estimators_dtypes",
            "check_estimators_fit_returns_self",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_pipeline_consistency",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
            "check_supervised_y_2d",
        ],
        NUMBERS,
    )
    | dict.fromkeys(
        [
            "check_classifiers_regression_target",
            "check_complex_data",
            "check_estimator_sparse_array",
            "check_estimator_sparse_matrix",
            "check_estimators_empty_data_messages",
            "check_estimators_nan_inf",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
        ],
        WORDS_ABOUT_NUMBERS,
    ),
    "InWords": {"check_classifiers_train": "it expects 83 % accuracy after training, and the student trains nothing"},
}


@pytest.mark.parametrize("kind", [OnNumbers, InWords])
def test_scikit_learns_checks_hold_but_those_that_are_known(kind: type[QuantumStudentClassifier]) -> None:
    known = EXPECTED[kind.__name__]
    results = check_estimator(kind(of_five_classes()), expected_failed_checks=known, on_fail=None, on_skip=None)
    assert len(results) > 50
    failed = [result for result in results if result["exception"] is not None and result["status"] != "skipped"]
    assert {result["check_name"] for result in failed} == set(known), "the checks that are known to fail, and no others"
    assert not {result["check_name"] for result in results if result["status"] == "passed"} & set(known)
    for result in failed if kind is OnNumbers else ():
        error, causes = result["exception"], []
        while error is not None:
            causes.append(str(error))
            error = error.__cause__ or error.__context__
        assert any(re.match(r"X: found \w+( \(\d+, \d+\))?; expected", cause) for cause in causes), result


def test_its_tags_say_that_it_takes_texts(estimator: QuantumStudentClassifier) -> None:
    """With them scikit-learn has one check that applies."""
    with pytest.warns(SkipTestWarning, match="Can't test estimator QuantumStudentClassifier which requires input"):
        results = check_estimator(estimator)
    assert [result["status"] for result in results] == ["passed"]


# An estimator


def test_nothing_is_read_before_fit(tmp_path: Path) -> None:
    path = tmp_path / "later"
    estimator = QuantumStudentClassifier(path, backend="aer", threads=1)
    assert estimator.get_params() == {"student": path, "backend": "aer", "threads": 1}
    copy = clone(estimator)
    with pytest.raises(FileNotFoundError, match="found nothing there"):
        copy.fit(TEXTS)
    tiny().save(path)
    assert copy.fit(TEXTS).classifier_.artifact.path == str(path)
    assert copy.set_params(student=tiny(), backend="exact").fit(TEXTS).classifier_.artifact is tiny()


def test_it_says_what_its_student_says(student_path: Path, labels: list[str]) -> None:
    classifier = Classifier.load(student_path)
    for student in (student_path, str(student_path), classifier.artifact):
        estimator = QuantumStudentClassifier(student, threads=1).fit(TEXTS, labels)
        assert estimator.predict(TEXTS).tolist() == classifier.predict(TEXTS).tolist()
        assert estimator.score(TEXTS, labels) == classifier.score(TEXTS, labels) == pytest.approx(0.8)


def test_classes_and_columns_are_in_alphabetical_order(
    estimator: QuantumStudentClassifier, classifier: Classifier, labels: list[str]
) -> None:
    estimator.fit(TEXTS)
    assert estimator.classes_.tolist() == SORTED != list(LABELS)
    found = estimator.predict_proba(TEXTS)
    for column, label in enumerate(SORTED):
        np.testing.assert_allclose(found[:, column], classifier.predict_proba(TEXTS)[:, LABELS.index(label)], atol=1e-6)
    assert estimator.classes_[found.argmax(axis=1)].tolist() == estimator.predict(TEXTS).tolist()
    picked = found[np.arange(len(TEXTS)), [SORTED.index(label) for label in labels]]
    assert log_loss(labels, found) == pytest.approx(-np.log(picked).mean())
    assert roc_auc_score(labels, found, multi_class="ovr") > 0.8


def test_before_fit_nothing_is_predicted(estimator: QuantumStudentClassifier) -> None:
    for call in (estimator.predict, estimator.predict_proba, check_is_fitted):
        with pytest.raises(NotFittedError):
            call(estimator if call is check_is_fitted else TEXTS)
    check_is_fitted(estimator.fit(TEXTS))


def test_no_labels_are_needed_and_no_texts_give_none(estimator: QuantumStudentClassifier) -> None:
    assert estimator.fit([]).predict([]).shape == (0,)
    assert estimator.predict_proba([]).shape == (0, 3)
    assert estimator.fit([], []) is estimator


@pytest.mark.parametrize("form", [pd.Series, pl.Series, pa.array, np.array, tuple, pd.Categorical])
def test_texts_and_labels_may_be_columns(
    estimator: QuantumStudentClassifier, labels: list[str], form: Callable[[list[str]], Any]
) -> None:
    estimator.fit(form(TEXTS), form(labels))
    assert estimator.predict(form(TEXTS)).tolist() == estimator.predict(TEXTS).tolist()


@pytest.mark.parametrize(
    ("texts", "given", "message"),
    [
        (["sun", None], None, "X[1]: found None; expected str"),
        ([1, 2], None, "X[0]: found int; expected str"),
        (pd.DataFrame({"text": ["sun"]}), None, "X: found DataFrame, a table; expected one of its columns, such as"),
        (["sun"], ["tennis"], "y: label 1: found 'tennis'; expected one of ['weather', 'sport', 'money']"),
        (["sun", "rain"], ["sport", None], "y[1]: found None; expected str"),
        (["sun"], ["sport"] * 2, "y: found 2 labels for 1 texts; expected as many"),
        (["sun"], [["sport"]], "y[0]: found list; expected str"),
        (["sun"], np.array([["sport"]]), "y: found ndarray (1, 1); expected one dimension"),
        (
            ["sun"],
            [0],
            "y: found numbers; expected labels, of ['weather', 'sport', 'money']. A meta-estimator that numb",
        ),
        (["sun"], np.array([0.5]), "y: found numbers; expected labels"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    estimator: QuantumStudentClassifier, texts: Any, given: Any, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        estimator.fit(texts, given)
    assert str(caught.value).startswith(message)
    assert not hasattr(estimator, "classifier_")


def test_a_student_that_cannot_be_used_says_so(student_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^backend: found 'quantum'"):
        QuantumStudentClassifier(student_path, backend="quantum").fit(TEXTS)
    with pytest.raises(InputError, match="^threads: found 0"):
        QuantumStudentClassifier(student_path, threads=0).fit(TEXTS)
    (student_path / "circuit.qasm").unlink()
    with pytest.raises(ArtifactError, match="circuit"):
        QuantumStudentClassifier(student_path).fit(TEXTS)


def test_texts_that_are_cut_are_warned_of(estimator: QuantumStudentClassifier) -> None:
    estimator.fit(TEXTS)
    with pytest.warns(TruncationWarning, match="1 of 1 texts have over 4 tokens"):
        estimator.predict(["sun rain goal match bank"])


@pytest.mark.parametrize("fitted", [False, True])
def test_it_is_pickled_and_dumped(
    estimator: QuantumStudentClassifier, student_path: Path, tmp_path: Path, fitted: bool
) -> None:
    for student in (tiny(), student_path):
        estimator = QuantumStudentClassifier(student)
        if fitted:
            estimator.fit(TEXTS)
        joblib.dump(estimator, tmp_path / "e.joblib")
        for copy in (pickle.loads(pickle.dumps(estimator)), joblib.load(tmp_path / "e.joblib")):
            assert hasattr(copy, "classifier_") is fitted
            assert copy.fit(TEXTS).predict(TEXTS).tolist() == estimator.fit(TEXTS).predict(TEXTS).tolist()


def test_its_repr_is_short() -> None:
    topic = Artifact.open(Path(__file__).parents[2] / "exported_models" / "topic-folded")
    text = repr(QuantumStudentClassifier(topic, backend=AerBackend(100, seed=1)))
    assert "Artifact(name='topic-folded'" in text
    assert "AerBackend(shots=100, seed=1, noise_model=None)" in text
    assert len(text) < 400


# Among others


def cleaned(texts: Any) -> list[str]:
    return [text.replace("<b>", "").strip() for text in texts]


def pipeline() -> Pipeline:
    return make_pipeline(FunctionTransformer(cleaned), QuantumStudentClassifier(tiny()))


def test_in_a_pipeline(labels: list[str]) -> None:
    tagged = [f" <b>{text} " for text in TEXTS]
    fitted = pipeline().fit(tagged, labels)
    assert fitted.score(tagged, labels) == pytest.approx(0.8)
    assert fitted.classes_.tolist() == SORTED
    frame = pd.DataFrame({"text": tagged, "label": labels}, index=range(5, 65))
    column = FunctionTransformer(lambda frame: frame["text"])
    assert make_pipeline(column, pipeline()).fit(frame, frame["label"]).score(frame, labels) == pytest.approx(0.8)


def test_cross_validation_measures_the_same_student_on_every_fold(labels: list[str]) -> None:
    folds = KFold(6)
    found = cross_val_score(pipeline(), TEXTS, labels, cv=folds)
    student = QuantumStudentClassifier(tiny()).fit(TEXTS)
    expected = [student.score([TEXTS[i] for i in rows], [labels[i] for i in rows]) for _, rows in folds.split(TEXTS)]
    assert found.tolist() == pytest.approx(expected)
    assert cross_val_predict(pipeline(), TEXTS, labels, cv=folds).tolist() == student.predict(TEXTS).tolist()


def test_folds_that_lack_a_class(labels: list[str]) -> None:
    ordered = sorted(zip(labels, TEXTS, strict=True))
    y, X = [label for label, _ in ordered], [text for _, text in ordered]
    scores = cross_val_score(QuantumStudentClassifier(tiny()), X, y, cv=KFold(3), error_score="raise")
    assert np.mean(scores) == pytest.approx(0.8, abs=0.05)
    losses = cross_val_score(
        QuantumStudentClassifier(tiny()), X, y, cv=KFold(3), scoring=lambda e, X, y: e.predict_proba(X).shape[1]
    )
    assert losses.tolist() == [3, 3, 3]


@pytest.mark.slow
def test_processes_of_their_own(student_path: Path, labels: list[str]) -> None:
    found = cross_val_score(QuantumStudentClassifier(student_path, threads=1), TEXTS, labels, cv=2, n_jobs=2)
    assert found.mean() == pytest.approx(0.8, abs=0.05)


def test_a_grid_search_over_shots(labels: list[str]) -> None:
    backends = [AerBackend(shots=1, seed=1), AerBackend(shots=500, seed=1)]
    search = GridSearchCV(pipeline(), {"quantumstudentclassifier__backend": backends}, cv=2).fit(TEXTS, labels)
    few, many = search.cv_results_["mean_test_score"]
    assert few < many
    assert repr(search.best_params_["quantumstudentclassifier__backend"]).startswith("AerBackend(shots=500, seed=1")
    assert search.predict(TEXTS).shape == (60,)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration_of_a_frozen_student(labels: list[str], method: str) -> None:
    student = QuantumStudentClassifier(tiny()).fit(TEXTS)
    calibrated = CalibratedClassifierCV(FrozenEstimator(student), method=method, cv=3).fit(TEXTS, labels)
    assert calibrated.classes_.tolist() == SORTED
    assert log_loss(labels, calibrated.predict_proba(TEXTS)) < log_loss(labels, student.predict_proba(TEXTS))
    assert (calibrated.predict(TEXTS) == np.array(labels)).mean() > 0.6


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration_with_folds(labels: list[str], ensemble: bool) -> None:
    given = FrozenEstimator(QuantumStudentClassifier(tiny()).fit(TEXTS)) if not ensemble else pipeline()
    calibrated = CalibratedClassifierCV(given, cv=3, ensemble=ensemble).fit(TEXTS, labels)
    assert len(calibrated.calibrated_classifiers_) == (3 if ensemble else 1)
    found = calibrated.predict_proba(TEXTS)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert log_loss(labels, found) < log_loss(labels, pipeline().fit(TEXTS).predict_proba(TEXTS))


@pytest.mark.filterwarnings("ignore:Number of classes in training fold:RuntimeWarning")
def test_what_stands_on_a_student_needs_all_its_classes(labels: list[str]) -> None:
    rows = [i for i, label in enumerate(labels) if label != "sport"]
    texts, fewer = [TEXTS[i] for i in rows], [labels[i] for i in rows]
    student = QuantumStudentClassifier(tiny()).fit(texts, fewer)
    for given in (student, FrozenEstimator(student)):
        with pytest.raises((ValueError, IndexError)):
            CalibratedClassifierCV(given, cv=2).fit(texts, fewer).predict(texts)


def others() -> list[tuple[str, Any]]:
    return [("words", make_pipeline(CountVectorizer(), MultinomialNB()))]


def test_what_numbers_the_labels_takes_a_frozen_student(labels: list[str]) -> None:
    plain = QuantumStudentClassifier(tiny())
    for meta in (VotingClassifier([("student", plain), *others()], voting="soft"), StackingClassifier([("s", plain)])):
        with pytest.raises(InputError, match=r"^y: found numbers; .* takes FrozenEstimator\(Quantum"):
            meta.fit(TEXTS, labels)
    frozen = FrozenEstimator(plain.fit(TEXTS))
    voting = VotingClassifier([("student", frozen), *others()], voting="soft").fit(TEXTS, labels)
    (words,) = (model for _, model in others())
    expected = (plain.predict_proba(TEXTS) + words.fit(TEXTS, labels).predict_proba(TEXTS)) / 2
    np.testing.assert_allclose(voting.predict_proba(TEXTS), expected)
    assert voting.predict(TEXTS).tolist() == voting.classes_[expected.argmax(axis=1)].tolist()
    stacking = StackingClassifier([("student", frozen), *others()], LogisticRegression(), cv=3).fit(TEXTS, labels)
    assert stacking.score(TEXTS, labels) > 0.6
    proba = cross_val_predict(frozen, TEXTS, labels, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba, plain.predict_proba(TEXTS))


def test_without_scikit_learn_the_extra_is_named() -> None:
    code = """
    try:
        import qdinfer.integrations.sklearn
    except ImportError as error:
        print(error)
    """
    assert (
        python(code, blocked=("sklearn",))
        == 'QuantumStudentClassifier needs an optional part: pip install "qdinfer[sklearn]"'
    )
