"""Training: it learns, it repeats itself, and it refuses what it cannot train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pytest

from qdinfer import Classifier
from qdinfer.errors import InputError
from qdinfer.predictions import FloatArray
from qdistill.config import TrainConfig, make_config
from qdistill.encoders.folded import FoldedEncoder, train_tokenizer
from qdistill.export import export
from qdistill.recipe import student_parts
from qdistill.train import TrainedStudent, train

WORDS = {"sport": ["goal", "match", "team"], "money": ["bank", "share", "price"]}
RNG = np.random.default_rng(0)
LABELS = ["sport", "money"] * 30
TEXTS = [" ".join(RNG.choice([*WORDS[label], "the", "a"], 6)) for label in LABELS]


def tiny(**settings: Any) -> TrainConfig:
    return make_config("folded", **{"ansatz": "line", "num_qubits": 2, "batch_size": 8, "epochs": 4} | settings)


@pytest.fixture(scope="module")
def student() -> TrainedStudent:
    return train(TEXTS, LABELS, tiny(), progress=False)


class Oracle:
    """A teacher that knows every answer, and has been asked about some texts."""

    def lookup(self, texts: Sequence[str], labels: Sequence[str]) -> FloatArray:
        sport = np.array([any(word in text for word in WORDS["sport"]) for text in texts], float)
        columns = {"sport": sport, "money": 1 - sport}
        return np.stack([0.02 + 0.96 * columns[label] for label in labels], axis=1)


def test_it_learns_and_its_export_answers(student: TrainedStudent) -> None:
    assert student.labels == ("money", "sport")
    assert student.dev_accuracy > 0.8
    artifact, reason = export(student_parts("tiny", student, ["goal"]))
    assert reason is None
    assert Classifier(artifact).predict(["goal team match", "the bank share"]).tolist() == ["sport", "money"]


def test_shapes_and_count(student: TrainedStudent) -> None:
    circuit, weights, bias = student.head
    assert circuit.shape == (student.ansatz.num_parameters,)
    assert (weights.shape, bias.shape) == ((2, 2), (2,))
    assert isinstance(student.encoder, FoldedEncoder)
    assert student.num_parameters == circuit.size + 4 + 2 + (student.encoder.num_tokens + 1) * 2
    assert student.seconds > 0


def test_the_best_epoch_is_kept(student: TrainedStudent) -> None:
    assert 1 <= len(student.history) <= 4
    assert student.dev_accuracy == max(epoch.dev_accuracy for epoch in student.history)


def test_the_same_seed_gives_the_same_student(student: TrainedStudent) -> None:
    again = train(TEXTS, LABELS, tiny(), progress=False)
    assert again.history == student.history
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again.head, student.head)))
    assert again.encoder.to_onnx() == student.encoder.to_onnx()
    other = train(TEXTS, LABELS, tiny(seed=1), progress=False)
    assert not np.array_equal(other.head.circuit, student.head.circuit)


def test_it_stops_when_dev_accuracy_stays() -> None:
    config = tiny(epochs=9, encoder_rate=1e-9, circuit_rate=1e-9)
    assert len(train(TEXTS, LABELS, config, progress=False).history) == 1 + config.patience


def test_the_twin_has_no_circuit_and_learns_too() -> None:
    twin = train(TEXTS, LABELS, tiny(head="tanh"), progress=False)
    assert twin.head.circuit.size == 0
    assert twin.dev_accuracy > 0.8


def test_a_given_tokenizer_is_used() -> None:
    tokenizer = train_tokenizer(["goal bank"], 10)
    student = train(TEXTS, LABELS, tiny(epochs=1), tokenizer=tokenizer, progress=False)
    assert isinstance(student.encoder, FoldedEncoder)
    assert student.encoder.params["table"].shape == (4, 2)


def test_a_tokenizer_for_a_transformer_is_refused() -> None:
    config = make_config("contextual", encoder_path="nowhere")
    with pytest.raises(InputError, match="tokenizer: found one for a transformer, which has its own"):
        train(TEXTS, LABELS, config, tokenizer=train_tokenizer(["goal"], 10), progress=False)


def test_fewer_texts_than_a_batch_and_a_text_without_tokens() -> None:
    config = make_config("folded", ansatz="line", num_qubits=2, epochs=1)
    student = train(["", "a", "b", "c"], ["x", "y", "x", "y"], config, progress=False)
    assert np.isfinite(student.history[0]).all()


def test_a_teacher_tells_of_texts_without_labels() -> None:
    few, labels = TEXTS[:8], LABELS[:8]
    config = tiny(alpha=0.9, epochs=6, patience=6, dev_fraction=0.25)
    taught = train(few, labels, config, unlabelled=TEXTS[8:], teacher=Oracle(), progress=False)
    artifact, _ = export(student_parts("taught", taught, ["goal"]))
    assert Classifier(artifact).score(TEXTS[8:], LABELS[8:]) > 0.85


def test_unlabelled_texts_without_a_teacher_are_refused() -> None:
    with pytest.raises(InputError, match="unlabelled: found 1 texts and no teacher"):
        train(TEXTS, LABELS, tiny(), unlabelled=["more"], progress=False)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x"], "2 texts and 1 labels"),
        ([], [], "at least two"),
        (["a", "b"], ["x", "x"], r"\['x'\]; expected at least two"),
        (["a", "b", "c"], ["x", "x", "y"], "only one text has the label 'y'"),
        (["a", "b"], ["x", " "], "label 1 is ' '"),
        (["a", "b"], ["x", 3], "label 1 is 3"),
        (["a", None], ["x", "y"], r"texts\[1\]: found None"),
    ],
)
def test_unusable_data_is_refused(texts: list[Any], labels: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(texts, labels, tiny(), progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "bert"}, "encoder: found 'bert'; expected one of folded, frozen, contextual, paper"),
        ({"ansatz": "ring"}, "setting ansatz: found 'ring'; input should be 'qdllm' or 'line'"),
        ({"epochs": 0}, "setting epochs: found 0; input should be greater than or equal to 1"),
        ({"epochs": True}, "setting epochs: found True"),
        ({"batch_size": 2.5}, r"setting batch_size: found 2\.5"),
        ({"seed": -1}, "setting seed: found -1"),
        ({"encoder_rate": 0}, "setting encoder.rate: found 0"),
        ({"circuit_rate": float("nan")}, "setting circuit_rate: found nan"),
        ({"encoder_token_dropout": 1}, "setting encoder.token_dropout: found 1"),
        ({"dev_fraction": "half"}, "setting dev_fraction: found 'half'"),
        ({"encoder_layers": 3}, "setting encoder.layers: found 3; extra inputs are not permitted"),
        ({"encoder": "contextual"}, "setting encoder.path: found"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(**settings)


def test_settings_are_flat_and_without_folders() -> None:
    flat = make_config("contextual", encoder_path="/models/mini/", seed=3).flat()
    assert flat["encoder_path"] == "mini"
    assert flat["seed"] == 3
    assert all(isinstance(value, str | int | float | bool | None) for value in flat.values())
