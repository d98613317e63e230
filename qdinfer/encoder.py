"""Texts to angles, or at once to expectation values: a tokenizer and one ONNX session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .artifact import MANIFEST, Artifact
from .errors import ArtifactError
from .predictions import BoolArray, IntArray, Predictions
from .session import OnnxSession
from .texts import checked_texts, warn_truncated

if TYPE_CHECKING:
    import tokenizers
    from numpy.typing import NDArray

__all__ = ["FusedStudent", "TextEncoder", "TextGraph", "batches", "fused_deviation"]

CHUNK = 1024
"""Texts that are tokenized, sorted by length and cut into batches together."""
BATCH_TOKENS = 2048
"""Tokens, padding included, that one run takes at most. It bounds onnxruntime's arena, which never shrinks."""


class TextGraph:
    """A tokenizer and one ONNX graph over token ids: texts to rows of numbers. Safe to use from many threads.

    Attributes:
        max_tokens: longer texts are cut to this many tokens.
    """

    def __init__(
        self,
        tokenizer: bytes,
        model: bytes,
        *,
        file: str,
        output: str,
        width: int,
        max_tokens: int,
        pad_id: int = 0,
        threads: int | None = None,
    ) -> None:
        """Build it.

        Args:
            tokenizer: the bytes of ``tokenizer.json``.
            model: the bytes of the graph, from ``input_ids`` and ``attention_mask``.
            file: the graph's name, for messages.
            output: the name of the output that is taken: finite numbers, a row a text.
            width: how many numbers a row has.
            max_tokens: longer texts are cut to this many tokens.
            pad_id: fills shorter rows.
            threads: CPU threads for one call of the graph; None for all that this process may use.

        Raises:
            ArtifactError: the tokenizer or the graph cannot be loaded, or no word fits beside the special tokens.
            InputError: threads is no positive number.
        """
        self.max_tokens = max_tokens
        self._file = file
        self._output = output
        self._width = width
        self._pad_id = pad_id
        self._tokenizer = _read_tokenizer(tokenizer, max_tokens, pad_id)
        self._session = OnnxSession(file, model, threads)

    def encode_marked(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], BoolArray]:
        """The row of each text, for texts that were checked, and (N,) which of them were cut."""
        values = np.empty((len(texts), self._width), np.float32)
        cut = np.empty(len(texts), np.bool_)
        for start, (rows, overlong) in zip(range(0, len(texts), CHUNK), self._tokenized(texts), strict=True):
            cut[start : start + CHUNK] = overlong
            values[start : start + CHUNK] = self.encode_tokens(rows)
        return values, cut

    def encode_tokens(self, token_ids: Sequence[list[int]]) -> NDArray[np.float32]:
        """The row of each text that was tokenized, as by `token_ids`."""
        values = np.empty((len(token_ids), self._width), np.float32)
        for batch in batches(token_ids):
            values[batch] = self._run([token_ids[i] for i in batch])
        return values

    def token_ids(self, texts: str | Iterable[str]) -> list[list[int]]:
        """Each text's token ids, truncated as the graph reads them, not padded."""
        return self._tokenize(checked_texts(texts))[0]

    def _tokenized(self, texts: Sequence[str]) -> Iterator[tuple[list[list[int]], list[bool]]]:
        """Chunk by chunk. The next one is tokenized, outside of Python's lock, while this one is worked on."""
        if len(texts) <= CHUNK:
            if texts:
                yield self._tokenize(texts)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as worker:
            waiting = worker.submit(self._tokenize, texts[:CHUNK])
            for start in range(CHUNK, len(texts), CHUNK):
                ready = waiting.result()
                waiting = worker.submit(self._tokenize, texts[start : start + CHUNK])
                yield ready
            yield waiting.result()

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[bool]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except Exception as error:  # tokenizers raises plain Exception
            found = f"a tokenizer that fails on a text ({error})"
            raise ArtifactError("tokenizer.json", found, "one that knows every text") from error
        return [encoding.ids for encoding in encodings], [bool(encoding.overflowing) for encoding in encodings]

    def _run(self, rows: list[list[int]]) -> NDArray[np.float32]:
        width = max(1, *map(len, rows))  # an empty text still is a row: all padding
        ids = np.full((len(rows), width), self._pad_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        values = self._session.run(self._output, {"input_ids": ids, "attention_mask": mask})
        if values.shape != (len(rows), self._width):
            raise ArtifactError(self._file, f"{self._output} {values.shape}", f"{(len(rows), self._width)}")
        if not np.isfinite(values).all():
            raise ArtifactError(self._file, f"{self._output} that are NaN or infinite", f"finite {self._output}")
        return values


class TextEncoder(TextGraph):
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
        """Build it.

        Args:
            tokenizer: the bytes of ``tokenizer.json``.
            model: the bytes of ``encoder.onnx``.
            num_angles: P, how many angles a text gives.
            max_tokens: longer texts are cut to this many tokens.
            pad_id: fills shorter rows.
            threads: CPU threads for one call of the encoder; None for all that this process may use.

        Raises:
            ArtifactError: one of them is not what its name says, or no word fits beside the special tokens.
            InputError: threads is no positive number.
        """
        self.num_angles = num_angles
        super().__init__(
            tokenizer,
            model,
            file="encoder.onnx",
            output="angles",
            width=num_angles,
            max_tokens=max_tokens,
            pad_id=pad_id,
            threads=threads,
        )

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
        angles, cut = self.encode_marked(checked_texts(texts))
        warn_truncated(int(cut.sum()), len(angles), self.max_tokens, stacklevel=3)
        return angles


class FusedStudent(TextGraph):
    """Turns texts into expectation values in one session: encoder and compiled circuit in one graph."""

    @classmethod
    def from_artifact(
        cls,
        artifact: Artifact,
        *,
        output: Literal["expectations", "probabilities"] = "expectations",
        threads: int | None = None,
    ) -> FusedStudent:
        """That of a student which has a ``fused.onnx``.

        Args:
            artifact: the student.
            output: which of the graph's outputs is taken.
            threads: CPU threads for one call; None for all that this process may use.
        """
        manifest = artifact.manifest
        return cls(
            artifact.files["tokenizer.json"],
            artifact.files["fused.onnx"],
            file="fused.onnx",
            output=output,
            width=len(manifest.circuit.observables if output == "expectations" else manifest.labels),
            max_tokens=manifest.encoder.max_tokens,
            pad_id=manifest.encoder.pad_id,
            threads=threads,
        )


def fused_deviation(artifact: Artifact, parts: Predictions) -> float:
    """The largest difference of what ``fused.onnx`` makes of the golden tokens from what its parts make of them."""
    tokens = artifact.golden.token_ids
    expectations = FusedStudent.from_artifact(artifact).encode_tokens(tokens)
    probabilities = FusedStudent.from_artifact(artifact, output="probabilities").encode_tokens(tokens)
    differences = (expectations - parts.expectations.values, probabilities - parts.probabilities)
    return max(float(np.abs(difference).max()) for difference in differences)


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


def batches(rows: Sequence[list[int]]) -> Iterator[IntArray]:
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
