"""A language model behind an OpenAI-compatible completions endpoint, such as vLLM's or llama.cpp's server."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from qdinfer.errors import InputError, TeacherError
from qdinfer.predictions import FloatArray

from .base import Identity
from .prompt import CONTENT_FREE, TEMPLATE, Prompted, fill
from .transport import JsonClient, Retries

__all__ = ["Endpoint"]


class Endpoint(Prompted):
    """Probabilities from the most likely next tokens that a server tells.

    A token counts for the word that begins with it, spaces before it aside and case as it is; of several, the longest.
    A word without a token among them gets the smallest log probability that was told, so ask for many (`top`), and
    choose words that begin unlike each other. `Prompted` describes calibration.

    The address is not in the identity, as a server may move; so the name of the model must say which one it is.
    """

    def __init__(
        self,
        url: str,
        model: str,
        words: Mapping[str, str],
        *,
        template: str = TEMPLATE,
        calibrate: bool = False,
        content_free: Sequence[str] = CONTENT_FREE,
        top: int = 20,
        max_characters: int = 4000,
        concurrency: int = 4,
        key_env: str | None = None,
        retries: Retries | None = None,
    ) -> None:
        """Prepare; only calibration sends something.

        Args:
            url: of the server, such as ``http://localhost:8000``, with or without ``/v1`` or ``/v1/completions``.
            model: its name on the server; what tells it from other models.
            words: label → what the model would say.
            template: the prompt, with ``{text}`` once.
            calibrate: divide by the probabilities of content-free inputs.
            content_free: these.
            top: how many next tokens to ask for. OpenAI gives 5 at most; vLLM 20, unless it was started with more.
            max_characters: longer texts lose their end, for the server's tokens are not known here.
            concurrency: requests at one time.
            key_env: the environment variable with the API key; None for none. The key is in no file and no message.
            retries: when to give up.

        Raises:
            InputError: a value that cannot be used, or a variable that is not set.
            TeacherError: calibration failed.
        """
        super().__init__(words, template)
        for name, value in (("top", top), ("max_characters", max_characters), ("concurrency", concurrency)):
            if value < 1:
                raise InputError(f"{name}: found {value}; expected 1 or more")
        if not model:
            raise InputError("model: found no name; expected the model's name on the server")
        self._client = JsonClient(_completions(url), key=_key(key_env), retries=retries)
        self._model = model
        begins = [word.split()[0] for word in self._words.values()]
        if len(set(begins)) != len(begins):
            raise InputError(f"words: found {begins} as their beginnings; expected different ones: only those are told")
        self._top, self._max_characters, self._concurrency = top, max_characters, concurrency
        if calibrate:
            self._calibrate(content_free)

    @property
    def identity(self) -> Identity:
        """Model, prompt, words and calibration; neither address nor key."""
        return {
            "kind": "endpoint",
            "model": self._model,
            "template": self._template,
            "words": list(self._words.values()),
            "content_free": self._content_free or None,
            "top": self._top,
            "max_characters": self._max_characters,
        }

    @property
    def disk_bytes(self) -> None:
        """The model's files are the server's."""
        return None

    def _logits(self, texts: list[str]) -> FloatArray:
        """One request a text. Warns if for some texts no word was among the tokens."""
        if not texts:
            return np.zeros((0, len(self._words)))
        stop = threading.Event()
        pool = ThreadPoolExecutor(min(self._concurrency, len(texts)))
        try:
            told = list(pool.map(lambda text: self._top_tokens(text, stop), texts))
        except BaseException:
            stop.set()  # the others need not wait their turn out
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        found = [_word_logits(tokens, list(self._words.values())) for tokens in told]
        logits, lost = np.stack([row for row, _ in found]), np.array([hits == 0 for _, hits in found])
        if lost.any():
            warnings.warn(
                f"{self._model}: none of the words is among the {self._top} likeliest next tokens of {lost.sum()} of "
                f"{len(texts)} texts, which get equal probabilities; try other words or another template",
                stacklevel=3,
            )
        return np.where(lost[:, None], self._log_prior, logits)  # equal ones, calibrated or not

    def _top_tokens(self, text: str, stop: threading.Event) -> dict[str, float]:
        """Next token → log probability."""
        body = {
            "model": self._model,
            "prompt": fill(self._template, text[: self._max_characters]),
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": self._top,
        }
        return _parsed(self._client.post(body, stop=stop), self._client.url)


def _parsed(answer: Any, url: str) -> dict[str, float]:
    """The tokens of an answer in OpenAI's form for completions, or for chats, which llama.cpp uses here too."""
    try:
        told = answer["choices"][0]["logprobs"]
        if told.get("top_logprobs"):
            tokens = told["top_logprobs"][0]
        else:
            tokens = {entry["token"]: entry["logprob"] for entry in told["content"][0]["top_logprobs"]}
        found = {str(token): float(value) for token, value in tokens.items()}
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        keys = sorted(answer) if isinstance(answer, dict) else type(answer).__name__
        raise TeacherError(
            f"{url}: found an answer without top_logprobs ({keys}); expected choices[0].logprobs with them; start the "
            f"server with log probabilities, or use a model that gives them"
        ) from error
    finite = {token: value for token, value in found.items() if math.isfinite(value)}
    if not finite:
        raise TeacherError(f"{url}: found no finite log probability among {len(found)}; expected one a token")
    return finite


def _word_logits(tokens: Mapping[str, float], words: Sequence[str]) -> tuple[FloatArray, int]:
    """(C,) log probabilities of the words' first tokens, and how many of the words were found."""
    floor = min(tokens.values())
    logits, hits = np.full(len(words), floor), 0
    for i, word in enumerate(words):
        fitting = {token: value for token, value in tokens.items() if token.strip() and word.startswith(token.lstrip())}
        longest = max((len(token.lstrip()) for token in fitting), default=0)
        begins = word[:longest]
        if longest and not any(other.startswith(begins) for other in words if other != word):
            same = [value for token, value in fitting.items() if len(token.lstrip()) == longest]
            logits[i], hits = np.logaddexp.reduce(same), hits + 1  # with a space before it, and without
    return logits, hits


def _completions(url: str) -> str:
    base = url.rstrip("/").removesuffix("/completions").removesuffix("/v1")
    return f"{base}/v1/completions"


def _key(name: str | None) -> str | None:
    key = os.environ.get(name) if name is not None else None
    if name is not None and not key:
        raise InputError(f"{name}: found no such environment variable, or an empty one; expected the API key in it")
    return key
