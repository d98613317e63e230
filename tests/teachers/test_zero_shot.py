"""Label words as next tokens: the formula, the cut, the calibration, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qdinfer.errors import InputError
from qdistill.teachers import LanguageModel, ZeroShot
from qdistill.teachers.prompt import CONTENT_FREE, TEMPLATE, fill, fit

WORDS = {"water": "sea salt", "land": "wood"}
TEXTS = ["the wave was near", "oak and owl", "", "moss {text} {0}", "boat"]


@pytest.fixture(scope="module")
def model(llama: Path) -> LanguageModel:
    return LanguageModel.load(llama, batch_size=2)


def test_probabilities_are_the_softmax_over_first_tokens(model: LanguageModel) -> None:
    teacher = ZeroShot(model, WORDS)
    assert teacher.labels == ("water", "land")
    found = teacher.probabilities(TEXTS)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    for row, text in zip(found, TEXTS, strict=True):
        ids = model.loaded.tokenizer(f"{text}\nThe article above is about", return_tensors="pt").input_ids
        with torch.inference_mode():
            logits = model.loaded.model(ids).logits[0, -1]
        wanted = torch.softmax(logits[model.loaded.tokenizer.convert_tokens_to_ids(["sea", "wood"])].double(), 0)
        np.testing.assert_allclose(row, wanted.numpy(), atol=1e-5)


def test_a_text_is_answered_alone(model: LanguageModel, llama: Path) -> None:
    whole = ZeroShot(model, WORDS).probabilities(TEXTS)
    single = ZeroShot(LanguageModel.load(llama, batch_size=1), WORDS)
    np.testing.assert_allclose(np.concatenate([single.probabilities([t]) for t in TEXTS]), whole, atol=1e-5)
    np.testing.assert_allclose(single.probabilities(TEXTS[::-1])[::-1], whole, atol=1e-5)
    assert single.probabilities([]).shape == (0, 2)


def test_calibration_divides_by_content_free_answers(model: LanguageModel) -> None:
    plain, calibrated = ZeroShot(model, WORDS), ZeroShot(model, WORDS, calibrate=True)
    prior = plain.probabilities(CONTENT_FREE).mean(axis=0)
    wanted = plain.probabilities(TEXTS) / prior
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(calibrated.probabilities(TEXTS), wanted, atol=1e-9)
    one = ZeroShot(model, WORDS, calibrate=True, content_free=["N/A"])
    np.testing.assert_allclose(one.probabilities(["N/A"]), [[0.5, 0.5]], atol=1e-6)
    assert len({str(teacher.identity) for teacher in (plain, calibrated, one)}) == 3


def test_the_text_is_cut_and_not_the_prompt(llama: Path) -> None:
    model = LanguageModel.load(llama, max_tokens=8)
    end = model.tokens(fill(TEMPLATE, ""))
    assert len(end) == 5
    ids = fit(model, TEMPLATE, "sea salt wave boat gull wood")
    assert ids == [*model.tokens("sea salt wave"), *end]
    assert fit(model, TEMPLATE, "sea salt") == [*model.tokens("sea salt"), *end]
    teacher = ZeroShot(model, WORDS)
    rows = teacher.probabilities(["sea salt wave boat gull", "sea salt wave oak", "sea salt wave"])
    np.testing.assert_allclose(rows, rows[[0, 0, 0]], atol=1e-6)
    with pytest.raises(InputError, match="found 5 tokens without a text; expected at most 4"):
        ZeroShot(LanguageModel.load(llama, max_tokens=4), WORDS).probabilities(["sea " * 9])


def test_an_end_token_of_the_tokenizer_is_left_out(make_llama: Callable[..., Path]) -> None:
    folder = make_llama(eos_token="<unk>")
    model = LanguageModel.load(folder)
    model.tokens = lambda text: [*model.loaded.tokenizer(text).input_ids, 0]  # type: ignore[method-assign]
    assert fit(model, "{text} oak", "sea") == [2, 8]


def test_identity_has_what_decides(model: LanguageModel) -> None:
    teacher = ZeroShot(model, WORDS, template="{text} is")
    assert teacher.identity["words"] == ["sea salt", "wood"]
    assert teacher.identity["template"] == "{text} is"
    assert teacher.identity["kind"] == "zero-shot"
    assert teacher.identity["content_free"] is None


@pytest.mark.parametrize(
    ("words", "template", "message"),
    [
        (WORDS, "about", r"template: found \{text\} 0 times in 'about'"),
        (WORDS, "{text} {text}", r"found \{text\} 2 times"),
        ({"a": "sea salt", "b": "sea boat"}, TEMPLATE, "'sea salt' and 'sea boat', which begin with the same token"),
        ({"a": "zzz", "b": "yyy"}, TEMPLATE, "begin with the same token of llama"),
        ({"a": "sea", "b": "sea "}, TEMPLATE, "expected different ones"),
        ({"a": "sea", "b": " "}, TEMPLATE, "word of 'b': found an empty one"),
        ({"a": "sea"}, TEMPLATE, "expected two or more different ones"),
        ({"a": "sea", "": "oak"}, TEMPLATE, "labels: found ''; expected a name"),
    ],
)
def test_what_is_refused(model: LanguageModel, words: dict[str, str], template: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ZeroShot(model, words, template=template)


def test_words_that_melt_into_the_prompt_are_refused(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="without a space at its end"):
        ZeroShot(Melting(model), WORDS, template="{text} about ")  # type: ignore[arg-type]


class Melting:
    """A tokenizer as byte-level BPE is: a space at the end is a token, but becomes part of a word behind it."""

    def __init__(self, model: LanguageModel) -> None:
        self.loaded = model.loaded

    def tokens(self, text: str) -> list[int]:
        return [hash(part) for part in text.replace(" ", "| ").split("|")]


@pytest.mark.parametrize("texts", [["sea", 3], ["sea", None], [b"sea"]])
def test_only_texts_are_answered(model: LanguageModel, texts: list[str]) -> None:
    with pytest.raises(InputError, match="expected str"):
        ZeroShot(model, WORDS).probabilities(texts)
