"""Accuracy, its interval, F1 and the confusion matrix."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdinfer import InputError
from qdinfer.evaluation import Evaluation, evaluate_labels, wilson_interval

LABELS = ("a", "b", "c")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60)


def evaluated(rows: list[tuple[str, str]]) -> Evaluation:
    return evaluate_labels(LABELS, [true for true, _ in rows], [found for _, found in rows])


@given(pairs)
def test_the_numbers_are_those_of_counting_one_by_one(rows: list[tuple[str, str]]) -> None:
    found = evaluated(rows)
    assert found.texts == len(rows)
    assert found.accuracy == pytest.approx(sum(t == p for t, p in rows) / len(rows))
    assert found.confusion.tolist() == [[rows.count((t, p)) for p in LABELS] for t in LABELS]
    scores = []
    for label in sorted({label for row in rows for label in row}):
        hits = rows.count((label, label))
        predicted, true = sum(p == label for _, p in rows), sum(t == label for t, _ in rows)
        precision, recall = hits / predicted if predicted else 0.0, hits / true if true else 0.0
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert found.macro_f1 == pytest.approx(sum(scores) / len(scores))


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # R: prop.test(hits, total, correct = FALSE)$conf.int; the last is Newcombe 1998, table I
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),
        (1, 1, 0.20654, 1.0),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_the_interval_has_its_known_values(hits: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(hits, total) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_solves_its_equation(counts: tuple[int, int]) -> None:
    hits, total = counts
    low, high = wilson_interval(hits, total)
    assert 0 <= low <= hits / total <= high <= 1
    for bound in {low, high} - {0.0, 1.0}:
        z = (hits / total - bound) / math.sqrt(bound * (1 - bound) / total)
        assert abs(z) == pytest.approx(1.959964, rel=1e-3)


def test_a_class_that_never_occurs_does_not_count() -> None:
    assert evaluated([("a", "a"), ("b", "b")]).macro_f1 == 1.0
    assert evaluated([("a", "a"), ("a", "c")]).macro_f1 == pytest.approx((2 / 3 + 0) / 2)


def test_the_dict_is_json_and_complete() -> None:
    found = evaluated([("a", "a"), ("a", "b"), ("c", "c"), ("b", "b")])
    assert json.loads(json.dumps(found.to_dict())) == {
        "texts": 4,
        "accuracy": 0.75,
        "accuracy_interval_95": list(found.interval),
        "macro_f1": pytest.approx((2 / 3 + 2 / 3 + 1) / 3),
        "labels": ["a", "b", "c"],
        "confusion": [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
    }


def test_the_text_is_a_table() -> None:
    assert evaluated([("a", "a"), ("a", "b"), ("c", "c"), ("b", "b")]).to_text().splitlines() == [
        "accuracy   0.7500   95 % interval 0.3006 to 0.9544   4 texts",
        "macro F1   0.7778",
        "",
        "true / predicted          a          b          c",
        "               a          1          1          0",
        "               b          0          1          0",
        "               c          0          0          1",
    ]


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([], [], "evaluate: found 0 true and 0 predicted labels; expected as many, not 0"),
        (["a"], ["a", "b"], "evaluate: found 1 true and 2 predicted labels; expected as many, not 0"),
        (["a", "d"], ["a", "a"], "label 2: found 'd'; expected one of ['a', 'b', 'c']"),
        (["A"], ["a"], "label 1: found 'A'; expected one of ['a', 'b', 'c']"),
    ],
)
def test_what_cannot_be_counted_is_refused(true: list[str], predicted: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate_labels(LABELS, true, predicted)
    assert str(caught.value) == message
