"""Texts to angles: order, batches, truncation, odd input, threads and processes."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from students import WORDS, encoder_onnx, tokenizer_json

from qdinfer import ArtifactError, BackendError, Classifier, InputError, TextEncoder, TruncationWarning
from qdinfer import encoder as module
from qdinfer.session import OnnxSession, available_cpus

WIDE = 10_000


def encoder(*, tokenizer: bytes | None = None, model: bytes | None = None, **options: Any) -> TextEncoder:
    settings = {"num_angles": 4, "max_tokens": WIDE} | options
    return TextEncoder(tokenizer or tokenizer_json(), model or encoder_onnx(4), **settings)


def changed(**parts: Any) -> bytes:
    """The small tokenizer with other parts."""
    return json.dumps(json.loads(tokenizer_json([*WORDS, "[CLS]", "[SEP]"])) | parts).encode()


def special_tokens() -> bytes:
    """[CLS] text [SEP], as BERT has it."""
    template = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    added = {name: {"id": name, "ids": [i], "tokens": [name]} for i, name in ((10, "[CLS]"), (11, "[SEP]"))}
    processor = {"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": added}
    return changed(post_processor=processor)


def constant_onnx(value: float) -> bytes:
    """An encoder whose four angles are all this value."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ids", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zeros"], ["none"]),
        helper.make_node("Add", ["none", "value"], ["angles"]),
    ]
    constants = {
        "axis": np.array([1]),
        "zeros": np.zeros(4, np.float32),
        "value": np.full(4, value, np.float32),
    }
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["N", "T"]) for n in ("input_ids", "attention_mask")]
    angles = helper.make_tensor_value_info("angles", TensorProto.FLOAT, ["N", 4])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "constant", ids, [angles], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


plain = encoder()
words = st.sampled_from([*WORDS[2:], "unheard", "SUN", "été", "太陽", "🌞", "."])
sentences = st.lists(words, max_size=9).map(" ".join)


# Order and batches


@settings(max_examples=40)
@given(st.lists(sentences | st.text(max_size=30), max_size=40))
def test_a_batch_gives_what_each_text_alone_gives(texts: list[str]) -> None:
    together = plain.encode(texts)
    assert together.shape == (len(texts), 4)
    assert together.dtype == np.float32
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(row, plain.encode(text)[0], atol=1e-5)


def test_order_is_kept_over_chunks_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "BATCH_TOKENS", 12)
    dice = random.Random(3)
    texts = [" ".join(dice.choices(WORDS[2:], k=dice.randrange(9))) for _ in range(60)]
    expected = np.concatenate([plain.encode(text) for text in texts])
    np.testing.assert_allclose(plain.encode(texts), expected, atol=1e-5)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray[Any, Any]]:
    """The masks of all runs from here on."""
    masks: list[np.ndarray[Any, Any]] = []
    run = OnnxSession.run

    def spy(self: OnnxSession, output: str, feeds: Any) -> Any:
        masks.append(feeds["attention_mask"])
        return run(self, output, feeds)

    monkeypatch.setattr(OnnxSession, "run", spy)
    return masks


def test_batches_are_bounded_and_hardly_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = recorded(monkeypatch)
    dice = random.Random(5)
    lengths = [1 if dice.random() < 0.9 else dice.randrange(100, 400) for _ in range(1500)]
    plain.encode([" ".join(["sun"] * length) for length in lengths])
    assert sum(len(mask) for mask in masks) == len(lengths)
    assert sum(int(mask.sum()) for mask in masks) == sum(lengths)
    assert max(mask.size for mask in masks) <= module.BATCH_TOKENS
    padded = sum(mask.size for mask in masks)
    unsorted = sum(max(lengths[i : i + 32]) * len(lengths[i : i + 32]) for i in range(0, len(lengths), 32))
    assert padded < 1.3 * sum(lengths)
    assert padded < unsorted / 3


def test_a_text_longer_than_a_batch_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = recorded(monkeypatch)
    monkeypatch.setattr(module, "BATCH_TOKENS", 8)
    plain.encode(["sun " * 20, "rain", "goal"])
    assert [mask.shape for mask in masks] == [(2, 1), (1, 20)]


def test_padding_has_the_manifests_token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = OnnxSession.run
    monkeypatch.setattr(
        OnnxSession, "run", lambda self, *given: seen.append(given[1]["input_ids"]) or run(self, *given)
    )
    encoder(pad_id=7).encode(["sun rain", "goal"])
    assert seen[0].tolist() == [[4, 7], [2, 3]]


# What the texts are


def test_empty_and_unknown_texts_have_angles() -> None:
    bias = np.arange(4, dtype=np.float32) / 4
    np.testing.assert_allclose(plain.encode(["", "   \n\t"]), [bias, bias], atol=1e-6)
    assert plain.token_ids(["zebra", "zebra yak"]) == [[1], [1, 1]]
    angles = plain.encode(["zebra", "yak"])
    np.testing.assert_array_equal(angles[0], angles[1])
    assert not np.allclose(angles[0], bias)


class Column:
    """Iterates like a pandas or polars column."""

    def __init__(self, values: list[str], shape: tuple[int, ...]) -> None:
        self.values, self.shape = values, shape

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)


@pytest.mark.parametrize(
    "texts",
    [
        ("sun", "rain goal"),
        np.array(["sun", "rain goal"]),
        np.array(["sun", "rain goal"], dtype=object),
        deque(["sun", "rain goal"]),
        (text for text in ("sun", "rain goal")),
        iter(["sun", "rain goal"]),
        Column(["sun", "rain goal"], (2,)),
    ],
    ids=["tuple", "numpy", "objects", "deque", "generator", "iterator", "series"],
)
def test_any_ordered_collection_will_do(texts: Any) -> None:
    np.testing.assert_array_equal(plain.encode(texts), plain.encode(["sun", "rain goal"]))


def test_a_lone_string_is_one_text() -> None:
    assert plain.encode("sun rain").shape == (1, 4)
    np.testing.assert_array_equal(plain.encode(np.str_("sun rain")), plain.encode(["sun rain"]))


def test_no_texts_give_no_angles() -> None:
    angles = plain.encode([])
    assert angles.shape == (0, 4)
    assert angles.dtype == np.float32


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (b"sun", "bytes"),
        (7, "int"),
        (["sun"], "list"),
        ({"text": "sun"}, "dict"),
        (np.float32("nan"), "float32"),
    ],
    ids=str,
)
def test_what_is_no_text_is_refused_with_its_position(bad: Any, found: str) -> None:
    with pytest.raises(InputError) as caught:
        plain.encode(["sun", "rain", bad, None])
    assert str(caught.value) == f"texts[2]: found {found}; expected str"


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        (b"sun", "bytes"),
        (bytearray(b"sun"), "bytearray"),
        (7, "int"),
        (1.5, "float"),
        (None, "NoneType"),
        ({"sun"}, "set"),
        (frozenset({"sun"}), "frozenset"),
        ({"text": "sun"}, "dict"),
    ],
)
def test_what_is_no_collection_of_texts_is_refused(bad: Any, found: str) -> None:
    with pytest.raises(InputError) as caught:
        plain.encode(bad)
    assert str(caught.value) == f"texts: found {found}; expected a str or an ordered collection of str"


@pytest.mark.parametrize("bad", [np.array("sun"), np.array([["sun"]]), Column(["text", "label"], (9, 2))])
def test_what_has_another_shape_than_a_column_is_refused(bad: Any) -> None:
    with pytest.raises(InputError, match=r"^texts: found \w+ \(.*\); expected one dimension, such as one column$"):
        plain.encode(bad)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InputError, match=r"^texts\[1\]: found a lone surrogate"):
        plain.encode(["sun", "rain \ud83c"])


# Truncation


def test_truncation_is_warned_of_once_with_the_count() -> None:
    short = encoder(max_tokens=2)
    texts = ["sun", "sun rain goal", "sun rain", "bank share star code"] * 1000
    with pytest.warns(TruncationWarning) as caught:
        angles = short.encode(texts)
    assert [str(w.message) for w in caught] == [
        "2000 of 4000 texts have over 2 tokens; the student read the first 2 of each"
    ]
    assert caught[0].filename == __file__
    np.testing.assert_allclose(angles[1], plain.encode("sun rain")[0], atol=1e-6)


def test_what_fits_exactly_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(max_tokens=2).encode(["sun rain", ""])


def test_the_manifest_overrides_the_tokenizers_own_padding_and_truncation() -> None:
    truncation = {"max_length": 1, "strategy": "LongestFirst", "stride": 0, "direction": "Left"}
    padding = {"strategy": {"Fixed": 6}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": 9, "pad_type_id": 0, "pad_token": "code"}
    own = encoder(tokenizer=changed(truncation=truncation, padding=padding), max_tokens=3)
    assert own.token_ids(["sun", "sun rain goal match"]) == [[2], [2, 3, 4]]


def test_special_tokens_stay_when_a_text_is_cut() -> None:
    bert = encoder(tokenizer=special_tokens(), model=encoder_onnx(4, tokens=12), max_tokens=4)
    assert bert.token_ids(["sun rain goal match", "sun", ""]) == [[10, 2, 3, 11], [10, 2, 11], [10, 11]]
    with pytest.warns(TruncationWarning, match=r"^1 of 3 texts have over 4 tokens"):
        bert.encode(["sun rain goal match", "sun rain", ""])


@pytest.mark.parametrize("max_tokens", [1, 2])
def test_a_limit_that_leaves_no_room_for_words_is_refused(max_tokens: int) -> None:
    with pytest.raises(ArtifactError) as caught:
        encoder(tokenizer=special_tokens(), max_tokens=max_tokens)
    assert str(caught.value) == (
        "tokenizer.json: found 2 special tokens around each text; "
        f"expected fewer than the {max_tokens} tokens that the student reads"
    )


# Broken parts


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_angles_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ArtifactError, match=r"^encoder\.onnx: found angles that are NaN or infinite; expected finite"):
        encoder(model=constant_onnx(value)).encode(["sun"])


def test_another_number_of_angles_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"^encoder\.onnx: found angles \(1, 4\); expected \(1, 3\)$"):
        encoder(num_angles=3).encode(["sun"])


def test_a_token_beyond_the_table_is_a_readable_error() -> None:
    with pytest.raises(BackendError, match=r"^encoder\.onnx: onnxruntime failed: .*out of data bounds") as caught:
        encoder(model=encoder_onnx(4, tokens=3)).encode(["sun code"])
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[1]"])
def test_what_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^tokenizer\.json: found no tokenizer \(.*expected a Hugging Face"):
        TextEncoder(data, encoder_onnx(4), num_angles=4, max_tokens=4)


def test_a_tokenizer_that_does_not_know_a_word_is_named() -> None:
    model = {"type": "WordLevel", "vocab": {"sun": 0}, "unk_token": "[UNK]"}
    with pytest.raises(ArtifactError, match=r"^tokenizer\.json: found a tokenizer that fails on a text \(.*\[UNK\]"):
        encoder(tokenizer=changed(model=model)).encode(["sun", "rain"])


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"^encoder\.onnx: found a model that onnxruntime .* cannot load"):
        encoder(model=b"\x00 not a model")


# Threads and processes


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_a_number_of_threads_that_makes_no_sense_is_refused(threads: Any) -> None:
    with pytest.raises(InputError) as caught:
        encoder(threads=threads)
    assert str(caught.value) == f"threads: found {threads!r}; expected a whole number from 1 to 256"


@pytest.mark.parametrize("threads", [1, 3, None])
def test_the_session_has_the_threads_that_were_asked_for(student: Any, threads: int | None) -> None:
    clf = Classifier(student, threads=threads)
    parts = [(clf.encoder, available_cpus()), (clf.backend, 1)]  # the compiled graph is too small for more than one
    for part, default in parts:
        options = part._session._session.get_session_options()  # type: ignore[attr-defined]
        assert options.intra_op_num_threads == (threads or default)
        assert options.inter_op_num_threads == 1


def test_available_cpus_are_this_processs_own() -> None:
    assert available_cpus() == len(os.sched_getaffinity(0))


def test_eight_threads_give_what_one_gives() -> None:
    short = encoder(max_tokens=3)
    dice = random.Random(7)
    lots = [[" ".join(dice.choices(WORDS[2:], k=dice.randrange(6))) for _ in range(50)] for _ in range(40)]
    expected = [short.encode_marked(texts) for texts in lots]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(short.encode_marked, lots * 3))
    for (angles, cut), (right, right_cut) in zip(found, expected * 3, strict=True):
        np.testing.assert_allclose(angles, right, atol=1e-5)
        assert cut.tolist() == right_cut.tolist()


def test_a_classifier_survives_a_pickle(classifier: Classifier) -> None:
    copy = pickle.loads(pickle.dumps(classifier))
    texts = ["sun", "goal match", ""]
    np.testing.assert_allclose(copy.predict_proba(texts), classifier.predict_proba(texts), atol=1e-6)
    assert copy.artifact.sha256 == classifier.artifact.sha256
    assert copy.artifact.files == classifier.artifact.files
    with pytest.raises(TypeError):
        copy.artifact.files["README.md"] = b""


FORK = """
import multiprocessing, os, sys
import numpy as np
from qdinfer import Classifier

clf = Classifier.load(sys.argv[1], threads=int(sys.argv[2]))
texts = ["sun rain", "goal", "bank share"] * 700
before = dict(os.environ)
right = clf.predict_proba(texts)  # so that all threads run before the fork
context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe(duplex=False)

def work():
    theirs.send((clf.encoder._session._session is None, clf.predict_proba(texts)))

child = context.Process(target=work, daemon=True)
child.start()
assert ours.poll(20), "the forked child hangs"
fresh, found = ours.recv()
child.join(20)
assert child.exitcode == 0, child.exitcode
assert fresh, "the parent's session would hang as soon as it gave work to the parent's threads"
np.testing.assert_allclose(found, right, atol=1e-5)
np.testing.assert_allclose(clf.predict_proba(texts), right, atol=1e-5)  # the parent's own still works
assert dict(os.environ) == before
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_predicts_and_does_not_hang(student_path: Path, threads: int) -> None:
    # In a process of its own: what else the test process has loaded may not survive a fork.
    command = [sys.executable, "-c", FORK, str(student_path), str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_the_environment_is_left_alone(student: Any) -> None:
    before = dict(os.environ)
    Classifier(student).predict(["sun"] * 3000)
    assert dict(os.environ) == before
    assert "TOKENIZERS_PARALLELISM" not in os.environ
