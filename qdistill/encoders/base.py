"""What an encoder must do to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from qdinfer.errors import InputError

__all__ = ["Floats", "Ints", "TrainableEncoder", "load_tokenizer", "pad_rows", "tokenize"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


class TrainableEncoder(Protocol):
    """Turns texts that it was given once, by number, into angles, and learns from the angles' gradient.

    Attributes:
        tokenizer: without padding and truncation.
        max_tokens: longer texts are cut.
        pad_id: token id where the mask is 0.
        lengths: (N,) tokens that each text takes; a batch of equal ones is the cheapest.
    """

    tokenizer: Tokenizer
    max_tokens: int
    pad_id: int
    lengths: Ints

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        ...

    def start(self, steps: int) -> None:
        """Get ready for training that takes so many steps."""
        ...

    def forward(self, rows: Ints) -> Floats:
        """(B,) text numbers → (B, P) angles in radians, as training sees them."""
        ...

    def backward(self, gradient: Floats) -> None:
        """Take one step down the (B, P) gradient of the angles that `forward` gave last."""
        ...

    def angles(self, rows: Ints) -> Floats:
        """(N,) text numbers → (N, P) angles in radians, as the exported encoder gives them."""
        ...

    def snapshot(self) -> Any:
        """What was learnt so far, for `restore`."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to what was learnt then."""
        ...

    def to_onnx(self) -> bytes:
        """The encoder as an ONNX graph: `input_ids`, `attention_mask` (N, T) int64 → `angles` (N, P) float32."""
        ...


def load_tokenizer(content: str) -> Tokenizer:
    """Read the text of a tokenizer.json, and take its padding and truncation off.

    Raises:
        InputError: the tokenizers library cannot read it.
    """
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"not a tokenizer.json that tokenizers can read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """The token ids of each text, truncated as the runtime does it; the tokenizer is not changed."""
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(max_tokens)
    return [encoding.ids for encoding in cutting.encode_batch(list(texts))]


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> tuple[Ints, Ints]:
    """Rows of one width, as the runtime gives them to an encoder.

    Args:
        rows: token ids.
        pad_id: fills the shorter rows.
        width: of every row; None for what the longest needs, at least 1.

    Returns:
        Token ids and attention mask, (N, T) each.
    """
    width = width or max(1, *map(len, rows))
    ids = np.full((len(rows), width), pad_id, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask
