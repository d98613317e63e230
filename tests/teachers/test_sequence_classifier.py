"""A classifier's softmax, its labels, and heads that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qdinfer.errors import InputError
from qdistill.teachers import SequenceClassifier

TEXTS = ["sea salt", "the oak was near a wave and the owl", "moss", "boat boat boat", "owl " * 60]
Make = Callable[..., Path]


def test_probabilities_are_the_softmax_of_the_logits(make_bert: Make) -> None:
    teacher = SequenceClassifier(make_bert(["sea", "wood", "sky"]), batch_size=2)
    assert teacher.labels == ("sea", "wood", "sky")
    found = teacher.probabilities(TEXTS)
    for row, text in zip(found, TEXTS, strict=True):
        ids = teacher._loaded.tokenizer(text, truncation=True, max_length=32, return_tensors="pt").input_ids
        with torch.inference_mode():
            wanted = torch.softmax(teacher._loaded.model(ids).logits[0].double(), 0).numpy()
        np.testing.assert_allclose(row, wanted, atol=1e-5)
    np.testing.assert_allclose(teacher.probabilities(TEXTS[::-1])[::-1], found, atol=1e-5)
    assert teacher.probabilities([]).shape == (0, 3)
    assert teacher.probabilities([""]).shape == (1, 3)


def test_labels_may_be_in_another_order(make_bert: Make) -> None:
    folder = make_bert(["sea", "wood", "sky"])
    plain, turned = SequenceClassifier(folder), SequenceClassifier(folder, labels=["sky", "sea", "wood"])
    np.testing.assert_allclose(turned.probabilities(TEXTS), plain.probabilities(TEXTS)[:, [2, 0, 1]], atol=1e-12)


def test_a_mapping_renames_and_joins(make_bert: Make) -> None:
    folder = make_bert(["1 star", "2 stars", "3 stars"])
    mapping = {"1 star": "bad", "2 stars": "bad", "3 stars": "good"}
    plain, joined = SequenceClassifier(folder), SequenceClassifier(folder, labels=["good", "bad"], mapping=mapping)
    rows = plain.probabilities(TEXTS)
    np.testing.assert_allclose(joined.probabilities(TEXTS), np.stack([rows[:, 2], rows[:, :2].sum(1)], 1), atol=1e-12)
    assert joined.identity["mapping"] == ["1 star -> bad", "2 stars -> bad", "3 stars -> good"]
    assert plain.identity != joined.identity
    assert str(folder.parent) not in str(joined.identity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labels": ["a", "b"]},
            r"found a classifier of \['sea', 'wood'\]; expected one of \['a', 'b'\], or a mapping",
        ),
        ({"labels": ["sea"]}, "expected two or more"),
        ({"mapping": {"sea": "a"}}, r"mapping: found \['sea'\]; expected each label of bert: \['sea', 'wood'\]"),
        ({"mapping": {"sea": "a", "wood": "a"}}, "expected two or more"),
        ({"batch_size": 0}, "batch_size: found 0"),
    ],
)
def test_labels_that_do_not_match(make_bert: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SequenceClassifier(make_bert(["sea", "wood"]), **options)


def test_a_head_is_never_made_up(make_bert: Make, llama: Path) -> None:
    with pytest.raises(InputError, match=r"no weights for classifier.*trained SequenceClassification head"):
        SequenceClassifier(make_bert(None))
    with pytest.raises(InputError, match=r"no weights for score.weight"):
        SequenceClassifier(llama)


def test_other_kinds_of_heads_are_refused(make_bert: Make) -> None:
    with pytest.raises(InputError, match="a model for multi_label_classification"):
        SequenceClassifier(make_bert(["sea", "wood"], problem_type="multi_label_classification"))


def test_a_mistyped_path_is_never_looked_up_elsewhere(no_network: list[Any]) -> None:
    with pytest.raises(InputError, match="no file or folder there"):
        SequenceClassifier("distilbert/sst2")
