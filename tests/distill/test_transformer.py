"""Encoders on a transformer: a tiny random BERT, made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from bert import WORDS
from safetensors.torch import load_file, save_file

from qdinfer import Classifier, verify
from qdinfer.errors import InputError
from qdinfer.session import OnnxSession
from qdistill.config import TransformerConfig, make_config
from qdistill.encoders.angles import export_onnx, quantize_weights
from qdistill.encoders.base import pad_rows, tokenize
from qdistill.encoders.transformer import TransformerEncoder, transformer_tokenizer
from qdistill.export import export
from qdistill.recipe import student_parts
from qdistill.train import train

TEXTS = ["goal match team", "the bank", "a share price the bank", "goal", "team the a goal match"]


def made(bert: Path, **settings: Any) -> TransformerEncoder:
    config = TransformerConfig(path=str(bert), **({"max_tokens": 12} | settings))
    return TransformerEncoder(TEXTS, transformer_tokenizer(str(bert)), 3, config, seed=0, fitted=np.arange(len(TEXTS)))


Exported = Callable[..., tuple[TransformerEncoder, bytes]]


@pytest.fixture(scope="module")
def exported(bert: Path) -> Exported:
    """An encoder with these settings and its graph, made once: an export takes seconds."""

    @cache
    def once(**settings: Any) -> tuple[TransformerEncoder, bytes]:
        encoder = made(bert, **settings)
        return encoder, export_onnx(encoder.module)

    return once


def run(encoder: TransformerEncoder, texts: list[str], graph: bytes, width: int | None = None) -> np.ndarray:
    ids, mask = pad_rows(tokenize(encoder.tokenizer, texts, encoder.max_tokens), encoder.pad_id, width)
    return OnnxSession("encoder.onnx", graph, 1).run("angles", {"input_ids": ids, "attention_mask": mask})


CUT = {"layers": 2}
WHOLE = {"layers": None, "min_count": 0}
PAPER = {"frozen": True, "layers": None, "min_count": 0, "pooling": "last", "scaling": "minmax", "width": 10}


@pytest.mark.parametrize(
    "settings",
    [CUT, WHOLE, {"frozen": True, "standardize": True}, PAPER],
    ids=["contextual", "whole", "frozen", "paper"],
)
def test_exported_graph_gives_the_angles_of_training(exported: Exported, settings: dict[str, Any]) -> None:
    encoder, graph = exported(**settings)
    expected = encoder.angles(np.arange(len(TEXTS)))
    assert expected.shape == (5, 3)
    high = 10 if settings.get("scaling") == "minmax" else np.pi
    assert expected.min() >= 0
    assert expected.max() <= high
    found = run(encoder, TEXTS, graph)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(run(encoder, TEXTS, graph, 12), found, atol=1e-4)  # padding changes nothing
    np.testing.assert_allclose(run(encoder, TEXTS[:1], graph), found[:1], atol=1e-4)  # nor do the batch's other texts


def test_int8_weights_move_the_angles_little(exported: Exported) -> None:
    encoder, graph = exported(**CUT)
    np.testing.assert_allclose(run(encoder, TEXTS, quantize_weights(graph)), encoder.angles(np.arange(5)), atol=0.1)


def test_pruned_vocabulary_maps_lost_words_to_unknown(exported: Exported) -> None:
    encoder, graph = exported(**CUT)
    assert encoder.module.body.get_input_embeddings().num_embeddings == len(WORDS) - 1  # no text has the zebra
    np.testing.assert_allclose(run(encoder, ["the zebra"], graph), run(encoder, ["the quagga"], graph), atol=1e-6)
    whole, graph = exported(**WHOLE)
    assert np.abs(run(whole, ["the zebra"], graph) - run(whole, ["the quagga"], graph)).max() > 1e-3


def test_tokens_of_few_texts_can_be_pruned(exported: Exported) -> None:
    encoder, graph = exported(**CUT, min_count=2)  # "share" and "price" are in one text only
    assert encoder.module.body.get_input_embeddings().num_embeddings == len(WORDS) - 3
    np.testing.assert_allclose(run(encoder, ["the price"], graph), run(encoder, ["the zebra"], graph), atol=1e-6)


def test_the_graph_says_nothing_of_where_it_was_made(exported: Exported) -> None:
    graph = quantize_weights(exported(**CUT)[1])
    assert b"stack_trace" not in graph
    assert b".py" not in graph


def test_training_leaves_the_precision_of_matrix_products_as_it_was(bert: Path) -> None:
    before = torch.get_float32_matmul_precision()
    encoder = made(bert, layers=1)
    encoder.start(10)
    encoder.backward(np.ones_like(encoder.forward(np.arange(5))))
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_the_first_layers_are_kept(bert: Path) -> None:
    encoder = made(bert, layers=2, min_count=0)
    whole = transformers.AutoModel.from_pretrained(bert)
    ids, mask = pad_rows(tokenize(encoder.tokenizer, TEXTS, 12), 0)
    with torch.inference_mode():
        output = whole.eval()(torch.from_numpy(ids), torch.from_numpy(mask), output_hidden_states=True)
        states, own = output.hidden_states[2], encoder.module.eval()
        weights = torch.from_numpy(mask)[..., None]
        expected = own.angles((states * weights).sum(1) / weights.sum(1)).numpy()
    np.testing.assert_allclose(encoder.angles(np.arange(5)), expected, atol=1e-4)


def test_large_weights_are_int8_and_small_ones_are_not(exported: Exported) -> None:
    graph = onnx.load_from_string(quantize_weights(exported(**WHOLE)[1])).graph
    kinds = {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) >= 4096 and len(tensor.dims) == 2}
    assert kinds == {onnx.TensorProto.INT8}
    assert onnx.TensorProto.FLOAT in {tensor.data_type for tensor in graph.initializer}


def test_min_max_is_the_papers(bert: Path) -> None:
    angles = made(bert, **PAPER).angles(np.arange(5))
    np.testing.assert_allclose(angles.min(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(angles.max(axis=1), 10, atol=1e-5)


def test_a_step_goes_down_the_gradient_and_back(bert: Path) -> None:
    for frozen in (False, True):
        encoder = made(bert, frozen=frozen)
        encoder.start(100)
        rows = np.arange(5)
        kept, before = encoder.snapshot(), encoder.angles(rows)
        for _ in range(3):
            encoder.backward(np.ones_like(encoder.forward(rows)))  # the loss is the sum of all angles
        assert encoder.angles(rows).sum() < before.sum()
        encoder.restore(kept)
        np.testing.assert_allclose(encoder.angles(rows), before, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contextual", "frozen", "paper"])
def test_it_trains_exports_loads_and_verifies(bert: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    labels = ["sport", "money"] * 20
    words = {"sport": WORDS[4:7], "money": WORDS[7:10]}
    texts = [" ".join(rng.choice([*words[label], "the", "a"], 5)) for label in labels]
    fast = {"encoder_projection_rate": 3e-2, "encoder_max_tokens": 16}
    config = make_config(name, encoder_path=str(bert), num_qubits=3, epochs=10, patience=10, batch_size=8, **fast)
    student = train(texts, labels, config, progress=False)
    artifact, _ = export(student_parts("tiny", student, texts[:3]))
    assert verify(artifact).ok
    assert student.history[-1].train_loss < student.history[0].train_loss
    values = student.ansatz.expectations(student.head.circuit, student.encoder.angles(np.arange(len(texts))))
    logits = np.asarray(values @ student.head.weights.T + student.head.bias)
    predicted = [student.labels[i] for i in logits.argmax(axis=1)]
    assert Classifier(artifact).score(texts, predicted) > 0.9  # as trained, but for int8 weights


def test_what_cannot_be_loaded_is_named(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"found no tokenizer\.json there"):
        transformer_tokenizer(str(tmp_path / "half"))
    (tmp_path / "half" / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="found bytes that are not UTF-8; expected a tokenizer"):
        transformer_tokenizer(str(tmp_path / "half"))
    tokenizer = transformer_tokenizer(str(bert))
    for path, layers, message in (
        (tmp_path, 1, r"found no config\.json there; expected a local transformer's folder"),
        (bert, 9, "found 3 layers; expected at least 9"),
    ):
        with pytest.raises(InputError, match=message):
            TransformerEncoder(
                TEXTS, tokenizer, 3, TransformerConfig(path=str(path), layers=layers), seed=0, fitted=np.arange(5)
            )


def damaged(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "layer":
        tensors = {name: value for name, value in load_file(weights).items() if "layer.1." not in name}
        save_file(tensors, weights, metadata={"format": "pt"})
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 97}))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "found no transformer that can be loaded"),
        ("layer", "found no fitting weights for encoder.layer.1.*random ones teach nothing"),
        ("shape", "found no "),
    ],
)
def test_a_damaged_transformer_is_named(bert: Path, tmp_path: Path, how: str, message: str) -> None:
    folder = shutil.copytree(bert, tmp_path / "bert")
    damaged(folder, how)
    with pytest.raises(InputError, match=message):
        made(folder)


def test_texts_are_cut_to_the_positions_that_the_transformer_has(bert: Path) -> None:
    encoder = made(bert, max_tokens=500)
    assert encoder.max_tokens == 64


def test_a_tokenizer_that_does_not_fit_is_refused(bert: Path) -> None:
    tokenizer = transformer_tokenizer(str(bert))
    tokenizer.add_tokens(["quagga"])
    with pytest.raises(InputError, match="found token id 13 in its tokenizer; expected below 13"):
        TransformerEncoder(TEXTS, tokenizer, 3, TransformerConfig(path=str(bert)), seed=0, fitted=np.arange(5))
