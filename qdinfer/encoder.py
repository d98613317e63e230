"""Texts to angles: a tokenizer and one ONNX session."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .artifact import MANIFEST, Artifact
from .errors import ArtifactError, InputError, TruncationWarning
from .predictions import IntArray
from .session import OnnxSession

if TYPE_CHECKING:
    import tokenizers

__all__ = ["TextEncoder", "as_texts", "checked_texts"]

CHUNK = 1024
"""Texts that are tokenized, sorted by length and cut into batches together."""
BATCH_TOKENS = 8192
"""Tokens, padding included, that one run takes at most. It bounds onnxruntime's arena, which never shrinks."""


class TextEncoder:
    """Turns texts into rotation angles. Safe to use from many threads.

    Attributes:
        num_angles: P, how many angles a text gives.
        max_tokens: longer texts are cut to this many tokens.
    """

    def __init__(
        self,
        tokenizer: bytes,
        model: bytes,
        *,
        num_angles: int,
        max_tokens: int,
        pad_id: int = 0,
        threads: int | None = None,
    ) -> None:
        """Build it from the bytes of ``tokenizer.json`` and ``encoder.onnx``.

        Raises:
            ArtifactError: one of them is not what its name says, or no word fits beside the special tokens.
            InputError: threads is no positive number.
        """
        self.num_angles = num_angles
        self.max_tokens = max_tokens
        self._pad_id = pad_id
        self._tokenizer = _read_tokenizer(tokenizer, max_tokens, pad_id)
        self._session = OnnxSession("encoder.onnx", model, threads)

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, threads: int | None = None) -> TextEncoder:
        """The encoder of a student.

        Args:
            artifact: the student.
            threads: CPU threads for one call of the encoder; None for all that this process may use.
        """
        spec = artifact.manifest.encoder
        return cls(
            artifact.files["tokenizer.json"],
            artifact.files["encoder.onnx"],
            num_angles=len(artifact.manifest.circuit.inputs),
            max_tokens=spec.max_tokens,
            pad_id=spec.pad_id,
            threads=threads,
        )

    def encode(self, texts: str | Iterable[str]) -> NDArray[np.float32]:
        """The angles of each text.

        Args:
            texts: one text or many.

        Returns:
            (N, P) float32, radians, in the order of the texts.

        Raises:
            InputError: something among them is not a text.

        Warns:
            TruncationWarning: once a call, with the number of texts that were cut.
        """
        angles, cut = self.encode_counted(checked_texts(texts))
        warn_truncated(cut, len(angles), self.max_tokens, stacklevel=3)
        return angles

    def encode_counted(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], int]:
        """`encode` for texts that were checked, giving the number that were cut instead of warning of it."""
        angles = np.empty((len(texts), self.num_angles), np.float32)
        cut = 0
        for start in range(0, len(texts), CHUNK):
            rows, overlong = self._tokenize(texts[start : start + CHUNK])
            cut += overlong
            angles[start : start + CHUNK] = self.encode_tokens(rows)
        return angles, cut

    def encode_tokens(self, token_ids: Sequence[list[int]]) -> NDArray[np.float32]:
        """The angles (N, P) of texts that were tokenized, as by `token_ids`."""
        angles = np.empty((len(token_ids), self.num_angles), np.float32)
        for batch in _batches(token_ids):
            angles[batch] = self._run([token_ids[i] for i in batch])
        return angles

    def token_ids(self, texts: str | Iterable[str]) -> list[list[int]]:
        """Each text's token ids, truncated as the encoder reads them, not padded."""
        return self._tokenize(checked_texts(texts))[0]

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except Exception as error:  # tokenizers raises plain Exception
            found = f"a tokenizer that fails on a text ({error})"
            raise ArtifactError("tokenizer.json", found, "one that knows every text") from error
        return [encoding.ids for encoding in encodings], sum(bool(encoding.overflowing) for encoding in encodings)

    def _run(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(1, *map(len, rows))  # an empty text still is a row: all padding
        ids = np.full((len(rows), width), self._pad_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        angles = self._session.run({"input_ids": ids, "attention_mask": mask})
        if angles.shape != (len(rows), self.num_angles):
            raise ArtifactError("encoder.onnx", f"angles {angles.shape}", f"{(len(rows), self.num_angles)}")
        if not np.isfinite(angles).all():
            raise ArtifactError("encoder.onnx", "angles that are NaN or infinite", "finite angles")
        return angles


def checked_texts(texts: str | Iterable[str], name: str = "texts") -> list[str]:
    """One text or many as a list of texts. Raises as `as_texts` does."""
    return list(as_texts(texts, name))


def as_texts(texts: str | Iterable[str], name: str = "texts") -> Iterator[str]:
    """One text or many, checked as they come.

    Args:
        texts: one text or many.
        name: what they are, for messages.

    Raises:
        InputError: something is no text; the message has its position.
    """
    if isinstance(texts, str):
        texts = (texts,)
    if isinstance(texts, bytes | bytearray | Mapping | Set) or not isinstance(texts, Iterable):
        raise InputError(f"{name}: found {type(texts).__name__}; expected a str or an ordered collection of str")
    shape = getattr(texts, "shape", (0,))
    if len(shape) != 1:  # iterating would give a data frame's column names, and fail on an array of no dimension
        raise InputError(f"{name}: found {type(texts).__name__} {shape}; expected one dimension, such as one column")
    return _each(texts, name)


def _each(texts: Iterable[str], name: str) -> Iterator[str]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{name}[{i}]: found {_describe(text)}; expected str")
        if not text.isascii() and not _encodable(text):
            raise InputError(f"{name}[{i}]: found a lone surrogate, which no Unicode text has; expected str")
        yield text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _describe(value: object) -> str:
    return repr(value) if value is None or isinstance(value, float) else type(value).__name__


def warn_truncated(cut: int, total: int, max_tokens: int, *, stacklevel: int) -> None:
    """Say once that texts were cut, if any were, in the name of the line that is so far up."""
    if cut:
        warnings.warn(
            f"{cut} of {total} texts have over {max_tokens} tokens; the student read the first {max_tokens} of each",
            TruncationWarning,
            stacklevel=stacklevel,
        )


def _read_tokenizer(data: bytes, max_tokens: int, pad_id: int) -> tokenizers.Tokenizer:
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_str(data.decode())
    except Exception as error:  # tokenizers raises plain Exception
        raise ArtifactError("tokenizer.json", f"no tokenizer ({error})", "a Hugging Face tokenizers file") from error
    if pad_id >= max(1, tokenizer.get_vocab_size(with_added_tokens=True)):
        found = f"a pad_id of {pad_id}"
        raise ArtifactError(MANIFEST, found, f"one of the {tokenizer.get_vocab_size()} token ids of tokenizer.json")
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    if special >= max_tokens:  # tokenizers would then cut everything, or nothing at all
        found = f"{special} special tokens around each text"
        raise ArtifactError("tokenizer.json", found, f"fewer than the {max_tokens} tokens that the student reads")
    # Set once, here: changing them under threads raises "Already borrowed".
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _batches(rows: Sequence[list[int]]) -> Iterator[IntArray]:
    """Positions of the rows, shortest first, cut so that no batch has over `BATCH_TOKENS` tokens with its padding."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * max(1, lengths[order[end]]) <= BATCH_TOKENS:
            end += 1
        yield order[start:end]
        start = end
