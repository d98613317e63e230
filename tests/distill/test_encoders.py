"""The folded encoder: JAX and ONNX agree, and its tokenizer is the same every time."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest

from qdinfer.errors import InputError
from qdistill.encoders import (
    FoldedEncoder,
    Params,
    load_tokenizer,
    pad_id,
    tokenize,
    train_tokenizer,
)

TEXTS = ["Goals and goals!", "the café's shares", "a b a b c", ""]


@pytest.fixture
def encoder() -> FoldedEncoder:
    return FoldedEncoder(train_tokenizer(TEXTS, 50), num_angles=3)


@pytest.fixture
def params(encoder: FoldedEncoder) -> Params:
    table, bias = np.random.default_rng(3).normal(size=2), np.array([0.1, -0.2, 0.3])
    drawn = encoder.init(jax.random.key(1))["table"] * 100 + table[0]
    return {"table": drawn, "bias": jax.numpy.asarray(bias, jax.numpy.float32)}


def run(content: bytes, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (angles,) = session.run(["angles"], {"input_ids": ids, "attention_mask": mask})
    return np.asarray(angles)


def test_angles_are_the_stated_formula(encoder: FoldedEncoder, params: Params) -> None:
    ids, mask = tokenize(encoder.tokenizer, TEXTS, 10)
    table, bias = np.asarray(params["table"]), np.asarray(params["bias"])
    expected = []
    for text in TEXTS:
        tokens = encoder.tokenizer.encode(text).ids
        mean = table[tokens].mean(axis=0) if tokens else np.zeros(3)
        expected.append(np.pi / 2 * (1 + np.tanh(mean + bias)))
    np.testing.assert_allclose(encoder.apply(params, ids, mask), expected, atol=1e-5)


def test_onnx_equals_jax(encoder: FoldedEncoder, params: Params) -> None:
    ids, mask = tokenize(encoder.tokenizer, TEXTS, 10)
    found = run(encoder.to_onnx(params), ids, mask)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encoder.apply(params, ids, mask), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (2, 0), (0, 4)])
def test_onnx_takes_any_shape(encoder: FoldedEncoder, params: Params, shape: tuple[int, int]) -> None:
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    found = run(encoder.to_onnx(params), ids, mask)
    alone = np.pi / 2 * (1 + np.tanh(np.asarray(params["bias"])))
    np.testing.assert_allclose(found, np.tile(alone, (shape[0], 1)), atol=1e-6)


def test_onnx_keeps_to_the_artifact_format(encoder: FoldedEncoder, params: Params) -> None:
    model = onnx.load_from_string(encoder.to_onnx(params))
    assert 8 <= model.ir_version <= 10
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in model.graph.output] == ["angles"]
    assert len(encoder.to_onnx(params)) < 5000


def test_padding_changes_nothing(encoder: FoldedEncoder, params: Params) -> None:
    ids, mask = tokenize(encoder.tokenizer, TEXTS[:1], 10)
    wider = np.pad(ids, ((0, 0), (0, 3)), constant_values=1), np.pad(mask, ((0, 0), (0, 3)))
    np.testing.assert_allclose(encoder.apply(params, *wider), encoder.apply(params, ids, mask), atol=1e-6)


def test_training_a_tokenizer_is_repeatable() -> None:
    texts = [" ".join(f"w{(i * j) % 97}" for j in range(20)) for i in range(50)]
    first = train_tokenizer(texts, 60).to_str()
    assert all(train_tokenizer(texts, 60).to_str() == first for _ in range(3))


def test_the_most_frequent_words_are_kept() -> None:
    tokenizer = train_tokenizer(["b a", "a B c", "c c"], 5)
    assert set(tokenizer.get_vocab()) == {"[PAD]", "[UNK]", "c", "a", "b"}
    assert tokenizer.encode("C a").ids == [2, 3]
    assert tokenizer.padding is None
    assert tokenizer.truncation is None


@pytest.mark.parametrize("text", ["漢字", "\N{GRINNING FACE}", "\x00\ufffd", "new words"])
def test_unseen_characters_are_unknown_tokens(encoder: FoldedEncoder, text: str) -> None:
    assert set(encoder.tokenizer.encode(text).ids) <= {1}


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="vocab_size is 2"):
        train_tokenizer(TEXTS, 2)


def test_tokenize_cuts_and_fills() -> None:
    tokenizer = train_tokenizer(["a b c d"], 10)
    ids, mask = tokenize(tokenizer, ["a b c d", "d", ""], 3)
    assert ids.tolist() == [[2, 3, 4], [5, 0, 0], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert tokenizer.truncation is None


def test_only_empty_texts_are_one_column_wide() -> None:
    ids, mask = tokenize(train_tokenizer(["a"], 10), ["", ""], 3)
    assert ids.shape == mask.shape == (2, 1)
    assert not mask.any()


def test_an_existing_tokenizer_loses_padding_and_truncation() -> None:
    tokenizer = train_tokenizer(["a b"], 10)
    tokenizer.enable_padding(length=7)
    tokenizer.enable_truncation(1)
    loaded = load_tokenizer(tokenizer.to_str())
    assert loaded.encode("a b").ids == [2, 3]
    assert pad_id(loaded) == 0


def test_a_broken_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        load_tokenizer("{}")
