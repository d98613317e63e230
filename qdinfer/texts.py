"""What counts as a text."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Set

from .errors import InputError, TruncationWarning

__all__ = ["as_texts", "checked_texts", "warn_truncated"]


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
