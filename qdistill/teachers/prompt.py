"""Prompts around texts, and label words as what may come next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from qdinfer.errors import InputError
from qdinfer.predictions import FloatArray
from qdinfer.readout import softmax
from qdinfer.texts import checked_texts

from .base import checked_labels
from .language_model import LanguageModel

__all__ = ["CONTENT_FREE", "TEMPLATE", "Prompted", "fill", "first_tokens", "fit"]

TEMPLATE = "{text}\nThe article above is about"
CONTENT_FREE = ("N/A", "", "[MASK]")  # Zhao et al. 2021, section 5
_TEXT = "{text}"


class Prompted(ABC):
    """A teacher that reads how likely each label's word comes after a prompt.

    With calibration (contextual calibration, Zhao et al. 2021, arXiv 2102.09690, section 5) a text's probabilities p
    are divided by the mean probabilities q of content-free inputs and scaled to the sum 1: pᵢ/qᵢ / Σⱼ pⱼ/qⱼ. That is
    W = diag(q)⁻¹, b = 0 there, where a softmax follows; it changes no label, and would only flatten what is learned.
    See that it helps before you use it: with SmolLM2 and the default template it does not.
    """

    def __init__(self, words: Mapping[str, str], template: str) -> None:
        """Take over label → word, and the prompt.

        Raises:
            InputError: a template without ``{text}``, too few labels, or words that are empty or alike.
        """
        self._template = _checked_template(template)
        self._words = _checked_words(words)
        self._content_free: list[str] = []
        self._log_prior: FloatArray = np.zeros(len(self._words))

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes, in the order of the words."""
        return tuple(self._words)

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """(N, C) float64, rows sum to 1.

        Raises:
            InputError: a text is no str, or the template leaves no room for one.
            TeacherError: the model failed, could not be reached, or gave what cannot be read.
        """
        return softmax(self._logits(checked_texts(texts)) - self._log_prior)

    @abstractmethod
    def _logits(self, texts: list[str]) -> FloatArray:
        """(N, C), up to a constant a row."""

    def _calibrate(self, content_free: Sequence[str]) -> None:
        """Ask about these inputs, and divide by what they get from now on."""
        self._content_free = checked_texts(content_free, "content_free")
        if self._content_free:
            prior = self.probabilities(self._content_free).mean(axis=0)
            self._log_prior = np.log(np.maximum(prior, np.finfo(np.float64).tiny))


def _checked_template(template: str) -> str:
    """The same template, if it has one place for the text.

    Raises:
        InputError: it has none, or several.
    """
    if (found := template.count(_TEXT)) != 1:
        raise InputError(f"template: found {_TEXT} {found} times in {template!r}; expected it once, for the text")
    return template


def _checked_words(words: Mapping[str, str]) -> dict[str, str]:
    """The same label words, stripped, if there are two or more of them.

    Raises:
        InputError: too few labels, or a word that is empty or another's.
    """
    checked_labels(words)
    stripped = {label: word.strip() for label, word in words.items()}
    for label, word in stripped.items():
        if not word:
            raise InputError(f"word of {label!r}: found an empty one; expected what the model would say")
    if len(set(stripped.values())) != len(stripped):
        raise InputError(f"words: found {list(stripped.values())}; expected different ones")
    return stripped


def fill(template: str, text: str) -> str:
    """The prompt of a text; braces in either mean nothing else."""
    return template.replace(_TEXT, text)


def first_tokens(model: LanguageModel, template: str, words: Sequence[str]) -> list[int]:
    """The first token of each word as it goes on from the prompt, behind a space unless the prompt ends in a line.

    Raises:
        InputError: two words begin with the same token, so that one next token cannot tell them apart, or a word
            changes the tokens before it.
    """
    start = fill(template, "text")
    before = prompt_tokens(model, start)
    found: dict[int, str] = {}
    for word in words:
        after = prompt_tokens(model, start + ("" if start[-1:].isspace() else " ") + word)
        if after[: len(before)] != before or len(after) == len(before):
            raise InputError(
                f"template: found an end that becomes one token with the word {word!r}; expected one without a space "
                f"at its end, after which the word begins a token"
            )
        token = after[len(before)]
        if token in found:
            raise InputError(
                f"words: found {found[token]!r} and {word!r}, which begin with the same token of {model.loaded.name}; "
                f"expected words whose first tokens differ"
            )
        found[token] = word
    return list(found)


def fit(model: LanguageModel, template: str, text: str) -> list[int]:
    """The tokens of a text's prompt; where they are too many, the text loses its end, and the prompt nothing.

    Raises:
        InputError: the template alone is too long.
    """
    limit = model.loaded.max_tokens
    ids = prompt_tokens(model, fill(template, text))
    if len(ids) <= limit:
        return ids or [model.loaded.tokenizer.pad_token_id]
    best = prompt_tokens(model, fill(template, ""))
    if len(best) > limit:
        raise InputError(f"template: found {len(best)} tokens without a text; expected at most {limit} (max_tokens)")
    fits, too_long = 0, len(text)  # characters; tokens grow with them, if not strictly
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        ids = prompt_tokens(model, fill(template, text[:middle]))
        if len(ids) <= limit:
            fits, best = middle, ids
        else:
            too_long = middle
    return best or [model.loaded.tokenizer.pad_token_id]


def prompt_tokens(model: LanguageModel, prompt: str) -> list[int]:
    """Its token ids, without an end-of-text that some tokenizers add, after which nothing goes on."""
    ids = model.tokens(prompt)
    tokenizer = model.loaded.tokenizer
    for end in (tokenizer.eos_token, tokenizer.sep_token):
        if end is not None and ids and ids[-1] == tokenizer.convert_tokens_to_ids(end) and not prompt.endswith(end):
            return ids[:-1]
    return ids
