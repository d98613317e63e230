"""What counts as a text."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import TYPE_CHECKING

from .errors import InputError, TruncationWarning

if TYPE_CHECKING:
    import pyarrow

__all__ = ["as_texts", "checked_texts", "warn_truncated"]

_PART = 1024  # values of an Arrow column that are Python's at a time


def checked_texts(texts: str | Iterable[str], name: str = "texts") -> list[str]:
    """One text or many as a list of texts. Raises as `as_texts` does."""
    return list(as_texts(texts, name))


def as_texts(texts: str | Iterable[str], name: str = "texts") -> Iterator[str]:
    """One text or many, checked as they come.

    Args:
        texts: one text or many: also a column of pandas or polars (a series), or of Arrow (an array, chunked or not),
            of which only a part is made Python's at a time.
        name: what they are, for messages.

    Raises:
        InputError: something is no text; the message has its position.
    """
    if isinstance(texts, str):
        texts = (texts,)
    kind = type(texts)
    if hasattr(kind, "columns") or hasattr(kind, "schema"):  # iterating over a data frame would give its columns' names
        raise InputError(f"{name}: found {kind.__name__}, a table; expected one of its columns, such as table['text']")
    if isinstance(texts, bytes | bytearray | Mapping | Set) or not isinstance(texts, Iterable):
        raise InputError(f"{name}: found {kind.__name__}; expected a str or an ordered collection of str")
    shape = getattr(texts, "shape", (0,))
    if len(shape) != 1:  # iterating over an array of no dimension would fail
        raise InputError(f"{name}: found {kind.__name__} {shape}; expected one dimension, such as one column")
    return _each(_arrow_values(texts) if hasattr(kind, "to_pylist") else texts, name)


def _arrow_values(column: pyarrow.Array | pyarrow.ChunkedArray) -> Iterator[str]:
    """Iterating over the column itself would give Arrow's scalars, and slowly."""
    for start in range(0, len(column), _PART):
        yield from column[start : start + _PART].to_pylist()


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
