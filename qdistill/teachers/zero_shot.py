"""A language model as it is: how likely it goes on with each label's word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qdinfer.predictions import FloatArray

from .base import Identity
from .language_model import LanguageModel
from .prompt import CONTENT_FREE, TEMPLATE, Prompted, first_tokens, fit

__all__ = ["ZeroShot"]


class ZeroShot(Prompted):
    """Probabilities from the next-token logits of label words; needs no labelled text.

    Only the first token of a word is read, so first tokens have to differ. `Prompted` describes calibration.
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
        super().__init__(words, template)
        self._model = model
        self._tokens = first_tokens(model, template, list(self._words.values()))
        if calibrate:
            self._calibrate(content_free)

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

    def _logits(self, texts: list[str]) -> FloatArray:
        prompts = [fit(self._model, self._template, text) for text in texts]
        return self._model.next_token_logits(prompts, self._tokens)
