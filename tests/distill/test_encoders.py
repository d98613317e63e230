"""The folded encoder: JAX and ONNX agree, and its tokenizer is the same every time."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime
import pytest

from qdinfer.errors import InputError
from qdistill.config import FoldedConfig
from qdistill.encoders.base import load_tokenizer, pad_rows, tokenize
from qdistill.encoders.folded import FoldedEncoder, train_tokenizer

TEXTS = ["Goals and goals!", "the café's shares", "a b a b c", ""]


def folded(texts: list[str] = TEXTS, *, bigrams: int = 0, seed: int = 0) -> FoldedEncoder:
    config = FoldedConfig(bigrams=bigrams, token_dropout=0.0)
    encoder = FoldedEncoder(texts, train_tokenizer(TEXTS, 50), 3, config, seed)
    encoder.params = {name: array * 100 + 0.1 for name, array in encoder.params.items()}
    return encoder


def run(content: bytes, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (angles,) = session.run(["angles"], {"input_ids": ids, "attention_mask": mask})
    return np.asarray(angles)


@pytest.mark.parametrize("bigrams", [0, 7])
def test_angles_are_the_stated_formula(bigrams: int) -> None:
    encoder = folded(bigrams=bigrams)
    params = {name: np.asarray(array) for name, array in encoder.params.items()}
    expected = []
    for text in TEXTS:
        tokens = encoder.tokenizer.encode(text).ids
        total = params["table"][tokens].sum(axis=0) if tokens else np.zeros(3)
        for first, second in pairwise(tokens):
            if bigrams:
                total = total + params["pairs"][(first * 31_337 + second) % bigrams]
        expected.append(np.pi / 2 * (1 + np.tanh(total / max(1, len(tokens)) + params["bias"])))
    np.testing.assert_allclose(encoder.angles(np.arange(4)), expected, atol=1e-5)


@pytest.mark.parametrize("bigrams", [0, 7])
@pytest.mark.parametrize("width", [1, 2, 5, 12])
def test_onnx_equals_jax_at_any_width(bigrams: int, width: int) -> None:
    encoder = folded(bigrams=bigrams)
    ids, mask = pad_rows(tokenize(encoder.tokenizer, TEXTS, width), 0, width)
    found = run(encoder.to_onnx(), ids, mask)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encoder.apply(encoder.params, ids, mask), atol=1e-5)


def test_a_step_goes_down_the_gradient() -> None:
    encoder = folded()
    encoder.start(10)
    rows = np.arange(4)
    before = encoder.forward(rows)
    encoder.backward(np.ones_like(before))  # the loss is the sum of all angles
    assert encoder.forward(rows).sum() < before.sum()


def test_a_snapshot_is_restored() -> None:
    encoder = folded()
    encoder.start(10)
    kept, before = encoder.snapshot(), encoder.angles(np.arange(4))
    encoder.forward(np.arange(4))
    encoder.backward(np.ones_like(before))
    assert not np.array_equal(encoder.angles(np.arange(4)), before)
    encoder.restore(kept)
    np.testing.assert_array_equal(encoder.angles(np.arange(4)), before)


def test_dropout_hides_tokens_while_training_only() -> None:
    config = FoldedConfig(token_dropout=0.9)
    encoder = FoldedEncoder(TEXTS, train_tokenizer(TEXTS, 50), 3, config, 0)
    encoder.start(10)
    rows = np.arange(4)
    assert not np.array_equal(encoder.forward(rows), encoder.forward(rows))
    np.testing.assert_array_equal(encoder.angles(rows), encoder.angles(rows))


def test_tokenizer_is_the_same_in_another_process() -> None:
    code = f"from qdistill.encoders.folded import train_tokenizer; print(train_tokenizer({TEXTS!r}, 50).to_str())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == train_tokenizer(TEXTS, 50).to_str()


def test_tokenizer_knows_unknown_words_case_and_accents() -> None:
    tokenizer = train_tokenizer(TEXTS, 50)
    assert tokenizer.encode("GOALS cafe").ids == tokenizer.encode("goals café").ids
    assert tokenizer.encode("zebra 太陽 \u2028").tokens[0] == "[UNK]"


def test_vocabulary_is_bounded_and_keeps_the_most_frequent() -> None:
    assert set(train_tokenizer(["a a a b b c"], 4).get_vocab()) == {"[PAD]", "[UNK]", "a", "b"}


def test_loaded_tokenizer_loses_its_padding_and_truncation() -> None:
    tokenizer = train_tokenizer(TEXTS, 50)
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(2)
    loaded = load_tokenizer(tokenizer.to_str())
    assert len(loaded.encode("a b a b c").ids) == 5


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_what_is_no_tokenizer_is_refused(content: Any) -> None:
    with pytest.raises(InputError, match=r"not a tokenizer\.json that tokenizers can read"):
        load_tokenizer(content)
