"""Training: it learns, it repeats itself, and it refuses what it cannot train on."""

from typing import Any

import jax
import numpy as np
import pytest

from qdinfer.errors import InputError
from qdistill.encoders import tokenize, train_tokenizer
from qdistill.train import TrainConfig, TrainedStudent, train

WORDS = {"sport": ["goal", "match", "team"], "money": ["bank", "share", "price"]}
RNG = np.random.default_rng(0)
LABELS = ["sport", "money"] * 30
TEXTS = [" ".join(RNG.choice([*WORDS[label], "the", "a"], 6)) for label in LABELS]
TINY: dict[str, Any] = {"ansatz": "line", "num_qubits": 2, "batch_size": 8, "epochs": 4}


@pytest.fixture(scope="module")
def student() -> TrainedStudent:
    return train(TEXTS, LABELS, TrainConfig(**TINY), progress=False)


def predict(student: TrainedStudent, texts: list[str]) -> list[str]:
    ids, mask = tokenize(student.encoder.tokenizer, texts, student.config.max_tokens)
    angles = student.encoder.apply(student.encoder_params, ids, mask)
    expectations = np.asarray(student.ansatz.expectations(student.circuit_parameters, angles))
    best = (expectations @ student.weights.T + student.bias).argmax(axis=1)
    return [student.labels[i] for i in best]


def test_it_learns(student: TrainedStudent) -> None:
    assert student.labels == ("money", "sport")
    assert predict(student, ["goal team match", "the bank share"]) == ["sport", "money"]
    assert student.dev_accuracy > 0.8


def test_shapes(student: TrainedStudent) -> None:
    assert student.circuit_parameters.shape == (student.ansatz.num_parameters,)
    assert student.weights.shape == (2, 2)
    assert student.bias.shape == (2,)
    assert student.seconds > 0


def test_the_best_epoch_is_kept(student: TrainedStudent) -> None:
    assert 1 <= len(student.history) <= 4
    assert student.dev_accuracy == max(epoch.dev_accuracy for epoch in student.history)


def test_the_same_seed_gives_the_same_student(student: TrainedStudent) -> None:
    again = train(TEXTS, LABELS, TrainConfig(**TINY), progress=False)
    assert again.history == student.history
    same = jax.tree.map(np.array_equal, again.encoder_params, student.encoder_params)
    assert all(same.values())
    np.testing.assert_array_equal(again.circuit_parameters, student.circuit_parameters)
    other = train(TEXTS, LABELS, TrainConfig(**TINY, seed=1), progress=False)
    assert not np.array_equal(other.circuit_parameters, student.circuit_parameters)


def test_it_stops_when_dev_accuracy_stays() -> None:
    config = TrainConfig(**{**TINY, "epochs": 9, "encoder_rate": 1e-9, "circuit_rate": 1e-9})
    assert len(train(TEXTS, LABELS, config, progress=False).history) == 1 + config.patience


def test_a_given_tokenizer_is_used() -> None:
    tokenizer = train_tokenizer(["goal bank"], 10)
    config = TrainConfig(**{**TINY, "epochs": 1})
    student = train(TEXTS, LABELS, config, tokenizer=tokenizer, progress=False)
    assert student.encoder_params["table"].shape == (4, 2)


def test_fewer_texts_than_a_batch_and_a_text_without_tokens() -> None:
    config = TrainConfig(ansatz="line", num_qubits=2, epochs=1)
    student = train(["", "a", "b", "c"], ["x", "y", "x", "y"], config, progress=False)
    assert np.isfinite(student.history[0]).all()


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x"], "2 texts and 1 labels"),
        ([], [], "at least two"),
        (["a", "b"], ["x", "x"], r"\['x'\]; expected at least two"),
        (["a", "b", "c"], ["x", "x", "y"], "only one text has the label 'y'"),
        (["a", "b"], ["x", " "], "label 1 is ' '"),
        (["a", "b"], ["x", 3], "label 1 is 3"),
        (["a", None], ["x", "y"], "text 1 is None"),
    ],
)
def test_unusable_data_is_refused(texts: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(texts, labels, TrainConfig(**TINY), progress=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"ansatz": "ring"}, "ansatz is 'ring'; expected one of line, qdllm"),
        ({"encoder": "bert"}, "encoder is 'bert'; expected one of folded"),
        ({"epochs": 0}, "epochs is 0; expected a whole number, 1 or more"),
        ({"epochs": True}, "epochs is True"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"encoder_rate": 0}, "encoder_rate is 0; expected a number above 0"),
        ({"circuit_rate": float("nan")}, "circuit_rate is nan"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"token_dropout": 1}, "token_dropout is 1"),
        ({"dev_fraction": "half"}, "dev_fraction is 'half'"),
    ],
)
def test_unusable_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**setting)
