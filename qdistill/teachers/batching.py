"""Token ids in padded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from qdinfer.errors import InputError, TeacherError, require

from .loading import Loaded, first_line

__all__ = ["checked_batch_size", "encode", "padded_batches", "running"]


def checked_batch_size(batch_size: int) -> int:
    """The same size, if there can be such batches.

    Raises:
        InputError: it is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size: found {batch_size}; expected 1 or more")
    return batch_size


def encode(loaded: Loaded, texts: Sequence[str]) -> list[list[int]]:
    """N lists of token ids, cut to what the model reads; an empty one becomes one padding token."""
    if not texts:
        return []
    ids = loaded.tokenizer(list(texts), truncation=True, max_length=loaded.max_tokens).input_ids
    return [row or [loaded.tokenizer.pad_token_id] for row in ids]


def padded_batches(
    loaded: Loaded, sequences: Sequence[Sequence[int]], batch_size: int
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Batches of sequences of like length, the longest first, so that too little memory shows early.

    Padded on the right, where no position and no causal layer sees it.

    Args:
        loaded: the model that they are for.
        sequences: N lists of token ids, none empty.
        batch_size: B.

    Yields:
        Row numbers (B), and `input_ids` and `attention_mask`, int64 tensors (B, T) on the model's device.
    """
    torch = require("torch", feature="a language model as teacher", extra="distill")
    order = sorted(range(len(sequences)), key=lambda row: -len(sequences[row]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids = np.full((len(rows), len(sequences[rows[0]])), loaded.tokenizer.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(sequences[row])] = sequences[row]
            mask[i, : len(sequences[row])] = 1
        arrays = {"input_ids": ids, "attention_mask": mask}
        yield rows, {name: torch.from_numpy(array).to(loaded.model.device) for name, array in arrays.items()}


@contextmanager
def running(loaded: Loaded) -> Iterator[None]:
    """Run a model without gradients.

    Raises:
        TeacherError: it failed, as it does without memory.
    """
    torch = require("torch", feature="a language model as teacher", extra="distill")
    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, MemoryError, IndexError) as error:
        found = f"that it does not run ({first_line(error)})"
        raise TeacherError(
            f"{loaded.name}: found {found}; expected answers; try a smaller batch size, or fewer tokens"
        ) from error
