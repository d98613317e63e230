"""A language model as it is: how likely it goes on with each label's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qdinfer.encoder import checked_texts
from qdinfer.predictions import FloatArray
from qdinfer.readout import softmax

from .base import Identity
from .language_model import LanguageModel
from .prompt import CONTENT_FREE, TEMPLATE, checked_template, checked_words, first_tokens, fit

__all__ = ["ZeroShot"]


class ZeroShot:
    """Probabilities from the next-token logits of label words; needs no labelled text.

    Only the first token of a word is read, so first tokens have to differ.

    With calibration (contextual calibration, Zhao et al. 2021, arXiv 2102.09690, section 5) a text's probabilities p
    are divided by the mean probabilities q of content-free inputs and scaled to the sum 1: pᵢ/qᵢ / Σⱼ pⱼ/qⱼ. That is
    W = diag(q)⁻¹, b = 0 there, where a softmax follows; it changes no label, and would only flatten what is learned.
    See that it helps before you use it: with SmolLM2 and the default template it does not.
    """

    def __init__(
        self,
        model: LanguageModel,
        words: Mapping[str, str],
        *,
        template: str = TEMPLATE,
        calibrate: bool = False,
        content_free: Sequence[str] = CONTENT_FREE,
    ) -> None:
        """Ask a model with a prompt.

        Args:
            model: with a head for the next token.
            words: label → what the model would say, such as ``{"world": "politics"}``.
            template: the prompt, with ``{text}`` once. It should not end in a space.
            calibrate: divide by the probabilities of content-free inputs.
            content_free: these.

        Raises:
            InputError: a template without ``{text}``, words that begin with the same token, too few labels.
            TeacherError: the model failed.
        """
        self._model = model
        self._template = checked_template(template)
        self._words = checked_words(words)
        self._tokens = first_tokens(model, template, list(self._words.values()))
        self._content_free = checked_texts(content_free, "content_free") if calibrate else []
        self._prior: FloatArray | None = None
        if self._content_free:
            self._prior = self.probabilities(self._content_free).mean(axis=0)

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes, in the order of the words."""
        return tuple(self._words)

    @property
    def identity(self) -> Identity:
        """Model, prompt, words and calibration."""
        return {
            "kind": "zero-shot",
            **self._model.loaded.identity,
            "template": self._template,
            "words": list(self._words.values()),
            "content_free": self._content_free or None,
        }

    @property
    def disk_bytes(self) -> int | None:
        """The size of the model's files, or None if they are elsewhere."""
        return self._model.loaded.disk_bytes

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """(N, C) float64, rows sum to 1.

        Raises:
            InputError: a text is no str, or the template leaves no room for one.
            TeacherError: the model failed, or a logit is not finite.
        """
        prompts = [fit(self._model, self._template, text) for text in checked_texts(texts)]
        logits = self._model.next_token_logits(prompts, self._tokens)
        if self._prior is not None:
            logits = logits - np.log(np.maximum(self._prior, np.finfo(np.float64).tiny))
        return softmax(logits)
