"""Columns of pandas, polars and Arrow in, and columns beside them out."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from students import LABELS

from qdinfer import AerBackend, Classifier, InputError, Predictions
from qdistill.train import train

TEXTS = ["sun rain", "goal match goal", "", "sun rain", "bank share star"]
FLOATS = [f"{kind}({label})" for kind in ("p", "se") for label in LABELS]
MAKERS: dict[str, Callable[[list[Any]], Any]] = {
    "pandas object": lambda values: pd.Series(values, dtype=object),
    "pandas str": lambda values: pd.Series(values, dtype="str"),
    "pandas string": lambda values: pd.Series(values, dtype="string"),
    "pandas string in Python": lambda values: pd.Series(values, dtype="string[python]"),
    "pandas Arrow": lambda values: pd.Series(values, dtype=pd.ArrowDtype(pa.string())),
    "pandas category": lambda values: pd.Series(values, dtype="category"),
    "pandas, own index": lambda values: pd.Series(values, index=range(90, 90 + len(values)), dtype=object),
    "pandas Index": pd.Index,
    "polars": pl.Series,
    "polars category": lambda values: pl.Series(values, dtype=pl.Categorical),
    "Arrow": pa.array,
    "Arrow large": lambda values: pa.array(values, pa.large_string()),
    "Arrow view": lambda values: pa.array(values, pa.string_view()),
    "Arrow chunked": lambda values: pa.chunked_array([values[:2], [], values[2:]], pa.string()),
    "Arrow dictionary": lambda values: pa.array(values, pa.string()).dictionary_encode(),
    "Arrow dictionary, chunked": lambda values: pa.chunked_array([values[:2], values[2:]]).dictionary_encode(),
    "a slice of Arrow": lambda values: pa.array(["rain", *values, "goal"])[1:-1],
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


# In


@makers
def test_a_column_is_texts(classifier: Classifier, make: Callable[[list[Any]], Any]) -> None:
    expected = classifier.predict(TEXTS).tolist()
    column = make(TEXTS)
    assert classifier.predict(column).tolist() == expected
    assert classifier.classify(column).labels.tolist() == expected
    parts = classifier.stream(column, chunk_size=2)
    assert [part.labels.tolist() for part in parts] == [expected[:2], expected[2:4], expected[4:]]
    assert classifier.score(column, make(expected)) == 1.0


@makers
def test_a_column_without_rows_is_no_texts(classifier: Classifier, make: Callable[[list[Any]], Any]) -> None:
    assert len(classifier.classify(make([]))) == 0


@makers
def test_a_missing_value_is_refused_with_its_position(classifier: Classifier, make: Callable[[list[Any]], Any]) -> None:
    with pytest.raises(InputError, match=r"^texts\[3\]: found (None|nan|NAType); expected str$"):
        classifier.classify(make(["sun", "rain", "", None, "goal"]))


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pd.Series(["sun", np.nan], dtype=object), r"texts\[1\]: found nan"),
        (pd.Series([1, 2]), r"texts\[0\]: found int"),
        (pd.Series([0.5]), r"texts\[0\]: found 0\.5"),
        (pd.Series(["sun", 3], dtype=object), r"texts\[1\]: found int"),
        (pd.Series(pd.to_datetime(["2024-01-01"])), r"texts\[0\]: found Timestamp"),
        (pl.Series([1.5]), r"texts\[0\]: found 1\.5"),
        (pl.Series([["sun"]]), r"texts\[0\]: found Series"),
        (pa.array([1]), r"texts\[0\]: found int"),
        (pa.array([b"sun"]), r"texts\[0\]: found bytes"),
        (pa.array([["sun"]]), r"texts\[0\]: found list"),
        (pa.chunked_array([["sun"] * 1500, [None]]), r"texts\[1500\]: found None"),
    ],
    ids=str,
)
def test_a_column_of_something_else_is_refused_with_its_position(
    classifier: Classifier, column: Any, found: str
) -> None:
    with pytest.raises(InputError, match=f"^{found}; expected str$"):
        classifier.classify(column)


FRAME = {"text": ["sun"], "label": ["weather"]}


@pytest.mark.parametrize(
    "table",
    [pd.DataFrame(FRAME), pl.DataFrame(FRAME), pl.LazyFrame(FRAME), pa.table(FRAME), pa.RecordBatch.from_pydict(FRAME)],
    ids=lambda table: f"{type(table).__module__}.{type(table).__name__}",
)
def test_a_table_is_refused_with_the_next_step(classifier: Classifier, table: Any) -> None:
    message = f"texts: found {type(table).__name__}, a table; expected one of its columns, such as table['text']"
    for call in (classifier.classify, classifier.stream, classifier.predict_proba):
        with pytest.raises(InputError) as caught:
            call(table)
        assert str(caught.value) == message


def test_a_large_arrow_column_is_not_made_pythons_at_once(classifier: Classifier) -> None:
    rows = 2_000_000
    column = pa.chunked_array([pa.repeat("sun rain", rows // 2)] * 2)
    tracemalloc.start()
    try:
        done = sum(map(len, itertools.islice(classifier.stream(column), 20)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done == 20 * 1024
    assert peak < 10 * 2**20  # a list of that many strings has 16 MB of pointers alone


def test_training_takes_columns_too() -> None:
    with pytest.raises(InputError, match=r"^unlabelled\[1\]: found None; expected str$"):
        train(pa.array(["sun", "rain"] * 2), ["a", "b"] * 2, unlabelled=pa.array(["goal", None]))
    with pytest.raises(InputError, match="^unlabelled: found 1 texts and no teacher"):
        train(pa.array(["sun", "rain"] * 2), ["a", "b"] * 2, unlabelled=pa.array(["goal"]))


# Out


@pytest.fixture(params=[TEXTS, []], ids=["rows", "no rows"])
def predictions(request: pytest.FixtureRequest, classifier: Classifier) -> Predictions:
    return classifier.classify(request.param, backend=AerBackend(shots=20, seed=1))


def test_types_are_tight_also_without_rows(predictions: Predictions) -> None:
    floats = dict.fromkeys(FLOATS, np.dtype(np.float64))
    kinds = {name: values.dtype for name, values in predictions.to_arrays().items()}
    assert kinds.pop("prediction").kind == "U"
    assert kinds == {"confidence": np.dtype(np.float64), "shots": np.dtype(np.int64)} | floats
    frame = predictions.to_pandas()
    assert frame.dtypes.to_dict() == {"prediction": pd.Series([], dtype="str").dtype} | kinds
    assert predictions.to_polars().schema == (
        {"prediction": pl.String, "confidence": pl.Float64, "shots": pl.Int64} | dict.fromkeys(FLOATS, pl.Float64)
    )
    fields = [("prediction", pa.string()), ("confidence", pa.float64()), ("shots", pa.int64())]
    assert predictions.to_arrow().schema == pa.schema(fields + [(name, pa.float64()) for name in FLOATS])


def test_all_forms_have_the_same_values(predictions: Predictions) -> None:
    columns = predictions.to_columns()
    assert predictions.to_pandas().to_dict("list") == columns
    assert predictions.to_polars().to_dict(as_series=False) == columns
    assert predictions.to_arrow().to_pydict() == columns
    assert {name: values.tolist() for name, values in predictions.to_arrays().items()} == columns


@pytest.mark.parametrize("index", [["x", "y", "z", "u", "v"], [7, 7, 7, 7, 7], pd.date_range("2024-01-01", periods=5)])
def test_predictions_join_the_frame_that_they_are_of(classifier: Classifier, index: Any) -> None:
    frame = pd.DataFrame({"text": TEXTS}, index=index)
    found = classifier.classify(frame["text"]).to_pandas(index=frame.index)
    assert found.index.equals(frame.index)
    joined = pd.concat([frame, found], axis=1)
    assert joined["text"].tolist() == TEXTS
    assert joined["prediction"].tolist() == classifier.predict(TEXTS).tolist()
    if frame.index.is_unique:
        pd.testing.assert_frame_equal(frame.join(found), joined)


@pytest.mark.parametrize("length", [0, 4, 6])
def test_an_index_of_another_length_is_refused(classifier: Classifier, length: int) -> None:
    with pytest.raises(InputError, match=f"^index: found {length} labels; expected 5, one a text$"):
        classifier.classify(TEXTS).to_pandas(index=range(length))
    with pytest.raises(InputError, match="^index: found 2 labels; expected 1, one a text$"):
        classifier.classify("sun").to_pandas(index=["x", "y"])


def test_predictions_stack_beside_a_polars_frame(classifier: Classifier) -> None:
    frame = pl.DataFrame({"text": TEXTS})
    joined = frame.hstack(classifier.classify(frame["text"]).to_polars())
    assert joined.columns[:2] == ["text", "prediction"]
    assert joined["prediction"].to_list() == classifier.predict(TEXTS).tolist()


def test_what_is_done_to_a_frame_does_not_change_the_predictions(classifier: Classifier) -> None:
    found = classifier.classify(TEXTS)
    frame = found.to_pandas()
    frame.loc[0, ["confidence", "p(sport)"]] = -1.0
    assert found.confidence[0] == 1.0
    assert (found.probabilities >= 0).all()
