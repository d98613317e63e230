"""Texts in, labels out: the whole flow."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from students import GOLDEN, LABELS, parts, tiny

from qdinfer import (
    AerBackend,
    Artifact,
    Backend,
    BackendError,
    Circuit,
    Classifier,
    Expectations,
    InputError,
    MissingExtraError,
    Prediction,
    TruncationWarning,
)
from qdinfer.compiler import statevector_expectations
from qdistill.export import export

TEXTS = ["sun rain", "goal match goal", "bank share star", "", "code"]


class Statevector:
    """The smallest backend: one method."""

    def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
        return Expectations(statevector_expectations(circuit, angles), np.zeros(len(angles), np.int64), "statevector")


class Fixed:
    """A backend that gives what it was told to."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, float)

    def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
        return Expectations(self.values, np.zeros(len(self.values), np.int64), "fixed")


def uncompiled() -> Artifact:
    """The small student without its compiled graph."""
    files = {name: data for name, data in tiny().files.items() if name != "compiled.onnx"}
    return Artifact.create(msgspec.structs.replace(tiny().manifest, compiled=None), files)


# predict, predict_proba, classes_, score


def test_predict_gives_a_label_for_each_text(classifier: Classifier) -> None:
    labels = classifier.predict(TEXTS)
    assert labels.shape == (5,)
    assert labels.dtype.kind == "U"
    np.testing.assert_array_equal(labels, classifier.classes_[classifier.predict_proba(TEXTS).argmax(axis=1)])
    assert len(set(labels.tolist())) > 1


def test_the_golden_labels_come_out(classifier: Classifier, student: Artifact) -> None:
    with pytest.warns(TruncationWarning):
        found = classifier.classify(GOLDEN)
    assert found.labels.tolist() == student.golden.labels
    np.testing.assert_allclose(found.probabilities, student.golden.probabilities, atol=1e-5)


def test_predict_proba_gives_probabilities(classifier: Classifier) -> None:
    probabilities = classifier.predict_proba(TEXTS)
    assert probabilities.shape == (5, 3)
    assert probabilities.dtype == np.float64
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_classes_are_the_manifests(classifier: Classifier) -> None:
    assert classifier.classes_.tolist() == list(LABELS)
    assert classifier.classes_.dtype.kind == "U"


def test_load_opens_a_folder_and_a_zip(student: Artifact, student_path: Path, tmp_path: Path) -> None:
    archive = student.save(tmp_path / "tiny.zip")
    expected = Classifier(student).predict_proba(TEXTS)
    for path in (student_path, str(student_path), archive):
        np.testing.assert_allclose(Classifier.load(path).predict_proba(TEXTS), expected, atol=1e-6)


def test_a_path_with_nothing_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found nothing there; expected a student's folder or \.zip$"):
        Classifier.load(tmp_path / "nobody/tiny")


def test_a_lone_string_is_one_text(classifier: Classifier) -> None:
    assert classifier.predict("sun rain").shape == (1,)
    assert classifier.predict("sun rain")[0] == classifier.predict(["sun rain"])[0]
    assert len(next(classifier.stream("sun rain"))) == 1


def test_no_texts_give_no_predictions(classifier: Classifier) -> None:
    for backend in (None, "aer", AerBackend(shots=10, seed=1), Statevector()):
        nothing = classifier.classify([], backend=backend)
        assert nothing.labels.shape == (0,)
        assert nothing.labels.dtype.kind == "U"
        assert nothing.probabilities.shape == nothing.standard_errors.shape == (0, 3)
        assert nothing.probabilities.dtype == np.float64
        assert nothing.confidence.shape == nothing.shots.shape == (0,)
        assert list(nothing) == nothing.to_dicts() == []
        assert set(map(len, nothing.to_columns().values())) == {0}
    assert list(classifier.stream([])) == []


def test_score_is_the_share_of_right_labels(classifier: Classifier) -> None:
    labels = classifier.predict(TEXTS).tolist()
    assert classifier.score(TEXTS, labels) == 1.0
    wrong = [LABELS[(LABELS.index(label) + 1) % 3] for label in labels]
    assert classifier.score(TEXTS, wrong[:2] + labels[2:]) == pytest.approx(0.6)
    assert classifier.score("sun rain", labels[0]) == 1.0
    assert classifier.score(np.array(TEXTS), np.array(labels)) == 1.0


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["sun"], ["sport", "sport"], "score: found 1 texts and 2 labels; expected as many, not 0"),
        ([], [], "score: found 0 texts and 0 labels; expected as many, not 0"),
        (["sun"], ["tennis"], "labels: found 'tennis'; expected one of ['weather', 'sport', 'money']"),
        (["sun"], [None], "labels[0]: found None; expected str"),
        ([None], ["sport"], "texts[0]: found None; expected str"),
        (["sun"], [1], "labels[0]: found int; expected str"),
        (["sun"], 1, "labels: found int; expected a str or an ordered collection of str"),
    ],
)
def test_score_refuses_what_it_cannot_count(classifier: Classifier, texts: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        classifier.score(texts, labels)
    assert str(caught.value) == message


@pytest.mark.parametrize("method", ["predict", "predict_proba", "classify"])
def test_a_cut_text_is_warned_of_where_the_caller_stands(classifier: Classifier, method: str) -> None:
    with pytest.warns(TruncationWarning) as caught:
        getattr(classifier, method)(["sun", "sun rain goal match bank"])
    assert [str(w.message) for w in caught] == ["1 of 2 texts have over 4 tokens; the student read the first 4 of each"]
    assert caught[0].filename == __file__


# Backends


def test_every_backend_gives_the_same_answer(classifier: Classifier) -> None:
    expected = classifier.predict_proba(TEXTS)
    for backend, name in (("aer", "aer"), (AerBackend(), "aer"), (Statevector(), "statevector")):
        found = classifier.classify(TEXTS, backend=backend)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
        assert found.backend == name
    assert classifier.classify(TEXTS).backend == "exact"  # the call's backend was for the call only


def test_the_backend_is_chosen_at_loading_by_name_or_object(student: Artifact) -> None:
    expected = Classifier(student).predict_proba(TEXTS)
    for backend in ("aer", AerBackend(), Statevector()):
        np.testing.assert_allclose(Classifier(student, backend=backend).predict_proba(TEXTS), expected, atol=1e-5)


def test_one_method_makes_a_backend() -> None:
    assert isinstance(Statevector(), Backend)
    assert not isinstance(object(), Backend)


@pytest.mark.parametrize("backend", ["ibm", "ibm:", "fake:", "", "Exact", object(), 3])
def test_an_unknown_backend_is_refused(classifier: Classifier, backend: Any) -> None:
    expected = (
        f"backend: found {backend!r}; expected 'exact', 'aer', 'fake:DEVICE', 'twin:DEVICE', 'ibm:DEVICE', "
        "'ibm:least_busy' or an object with an expectations() method"
    )
    for call in (
        lambda: classifier.classify(["sun"], backend=backend),
        lambda: classifier.stream(["sun"], backend=backend),
        lambda: Classifier(classifier.artifact, backend=backend),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == expected


def test_a_student_without_compiled_graph_says_what_to_do(tmp_path: Path) -> None:
    path = uncompiled().save(tmp_path / "plain")
    with pytest.raises(BackendError) as caught:
        Classifier.load(path)
    assert str(caught.value) == (
        "tiny: found no compiled.onnx, which the exact backend runs; "
        f"make it with `qdinfer compile {path}`, or use backend='aer', which is exact too"
    )
    expected = Classifier(tiny()).predict_proba(TEXTS)
    np.testing.assert_allclose(Classifier.load(path, backend="aer").predict_proba(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 4)), "fixed: found expectation values (2, 4), 8 of them finite; expected (1, 4), all finite"),
        (np.zeros((1, 3)), "fixed: found expectation values (1, 3), 3 of them finite; expected (1, 4), all finite"),
        ([[0, np.nan, 0, 0]], "fixed: found expectation values (1, 4), 3 of them finite; expected (1, 4), all finite"),
    ],
)
def test_a_backend_that_gives_nonsense_is_found_out(classifier: Classifier, values: Any, message: str) -> None:
    with pytest.raises(BackendError) as caught:
        classifier.classify(["sun"], backend=Fixed(values))
    assert str(caught.value) == message


def test_seeded_shots_repeat_and_have_error_bars(classifier: Classifier) -> None:
    first = classifier.classify(TEXTS, backend=AerBackend(shots=200, seed=7))
    again = classifier.classify(TEXTS, backend=AerBackend(shots=200, seed=7))
    other = classifier.classify(TEXTS, backend=AerBackend(shots=200, seed=8))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert (first.probabilities != other.probabilities).any()
    assert (first.standard_errors > 0).all()
    assert first.shots.tolist() == [200] * 5
    exact = classifier.predict_proba(TEXTS)
    assert (np.abs(first.probabilities - exact) < 6 * first.standard_errors + 0.02).all()


# Predictions


def test_predictions_have_all_columns(classifier: Classifier) -> None:
    found = classifier.classify(TEXTS)
    assert len(found) == 5
    assert found.classes.tolist() == list(LABELS)
    assert found.backend == "exact"
    assert found.shots.tolist() == [0] * 5
    assert found.confidence.tolist() == [1.0] * 5
    assert not found.standard_errors.any()
    assert found.expectations.values.shape == (5, 4)
    with pytest.raises(FrozenInstanceError):
        found.labels = found.classes  # type: ignore[misc]


def test_predictions_iterate_and_slice_into_rows(classifier: Classifier) -> None:
    found = classifier.classify(TEXTS, backend=AerBackend(shots=50, seed=2))
    rows = list(found)
    assert len(rows) == 5
    for i, row in enumerate(rows):
        assert row == Prediction(
            label=str(found.labels[i]),
            probabilities=dict(zip(LABELS, found.probabilities[i].tolist(), strict=True)),
            standard_errors=dict(zip(LABELS, found.standard_errors[i].tolist(), strict=True)),
            confidence=float(found.confidence[i]),
            shots=50,
        )
        assert type(row.label) is str
        assert {type(value) for value in row.probabilities.values()} == {float}
    assert found[-1] == rows[4]
    assert found[1:4] == rows[1:4]
    assert found[::-2] == rows[::-2]
    assert found[9:] == []
    with pytest.raises(IndexError):
        found[5]


def test_predictions_become_columns_and_dicts(classifier: Classifier) -> None:
    found = classifier.classify(TEXTS[:2])
    columns = found.to_columns()
    assert list(columns) == ["prediction", "confidence", "shots"] + [f"{k}({c})" for k in ("p", "se") for c in LABELS]
    assert columns["prediction"] == found.labels.tolist()
    assert columns["p(sport)"] == found.probabilities[:, 1].tolist()
    assert columns["se(money)"] == [0.0, 0.0]
    assert found.to_dicts() == [{name: values[i] for name, values in columns.items()} for i in range(2)]


@pytest.mark.parametrize(
    ("module", "method", "extra"),
    [("pandas", "to_pandas", "pandas"), ("polars", "to_polars", "polars"), ("pyarrow", "to_arrow", "parquet")],
)
def test_an_absent_table_library_is_named(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, module: str, method: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as caught:
        getattr(classifier.classify(["sun"]), method)()
    assert str(caught.value) == f'{method}() needs an optional part: pip install "qdinfer[{extra}]"'
    assert caught.value.extra == extra


# stream


def test_a_stream_comes_in_chunks_and_in_order(classifier: Classifier) -> None:
    texts = [text for _, text in zip(range(23), itertools.cycle(TEXTS), strict=False)]
    chunks = list(classifier.stream(iter(texts), chunk_size=5))
    assert [len(chunk) for chunk in chunks] == [5, 5, 5, 5, 3]
    found = np.concatenate([chunk.probabilities for chunk in chunks])
    np.testing.assert_allclose(found, classifier.predict_proba(texts), atol=1e-5)
    assert [len(chunk) for chunk in classifier.stream(texts)] == [23]


def test_a_stream_reads_no_more_than_the_chunk_that_it_works_on(classifier: Classifier) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "sun rain"

    stream = classifier.stream(endless(), chunk_size=4)
    assert read == 0
    for given in range(1, 4):
        next(stream)
        assert read == 4 * given


def test_a_stream_gives_all_chunks_before_an_error(classifier: Classifier) -> None:
    texts: list[Any] = ["sun"] * 10
    texts[7] = None
    stream = classifier.stream(texts, chunk_size=3)
    assert [len(next(stream)), len(next(stream))] == [3, 3]
    with pytest.raises(InputError, match=r"^texts\[7\]: found None; expected str$"):
        next(stream)


def test_a_stream_warns_once_at_its_end(classifier: Classifier) -> None:
    stream = classifier.stream(["sun", "sun rain goal match bank"] * 5, chunk_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            next(stream)
    with pytest.warns(TruncationWarning) as caught:
        assert next(stream, None) is None
    assert [str(w.message) for w in caught] == [
        "5 of 10 texts have over 4 tokens; the student read the first 4 of each"
    ]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_a_stream_without_chunks_is_refused_at_once(classifier: Classifier, chunk_size: int) -> None:
    with pytest.raises(
        InputError, match=f"^chunk_size: found {chunk_size}; expected a whole number from 1 to 2147483648$"
    ):
        classifier.stream(["sun"], chunk_size=chunk_size)


def test_what_cannot_be_streamed_is_refused_at_once(classifier: Classifier) -> None:
    with pytest.raises(InputError, match=r"^texts: found int; expected"):
        classifier.stream(3)  # type: ignore[arg-type]


def test_a_stream_takes_another_backend(classifier: Classifier) -> None:
    (chunk,) = classifier.stream(TEXTS, backend=AerBackend(shots=20, seed=1))
    assert chunk.backend == "aer"
    assert chunk.shots.tolist() == [20] * 5


# Threads


def test_one_classifier_serves_eight_threads(classifier: Classifier) -> None:
    lots = [[TEXTS[(i + j) % 5] for j in range(1 + i % 40)] for i in range(160)]
    expected = [classifier.predict_proba(texts) for texts in lots]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(classifier.predict_proba, lots))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_parts_are_the_flow(classifier: Classifier) -> None:
    angles = classifier.encoder.encode(TEXTS)
    expectations = classifier.backend.expectations(classifier.circuit, angles)
    np.testing.assert_allclose(
        classifier.readout.predict(expectations).probabilities, classifier.predict_proba(TEXTS), atol=1e-6
    )


def test_a_temperature_flattens_the_probabilities() -> None:
    warm, _ = export(replace(parts(), temperature=10.0))
    flat, sharp = Classifier(warm).predict_proba(TEXTS), Classifier(tiny()).predict_proba(TEXTS)
    assert (flat.max(axis=1) < sharp.max(axis=1)).all()
    np.testing.assert_array_equal(flat.argmax(axis=1), sharp.argmax(axis=1))
