"""What a teacher is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from qdinfer.errors import InputError, TeacherError
from qdinfer.predictions import FloatArray

__all__ = ["Identity", "Teacher", "checked_labels", "checked_probabilities"]

Identity = Mapping[str, str | int | float | bool | list[str] | None]


class Teacher(Protocol):
    """Anything that tells the probability of each class of a text."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes, in the order of the columns."""
        ...

    @property
    def identity(self) -> Identity:
        """What it is, in plain values: kind, model, prompt and so on.

        Two teachers with the same identity give the same probabilities, up to rounding. Local folders and secrets
        are not in it.
        """
        ...

    @property
    def disk_bytes(self) -> int | None:
        """The size of the model's files, or None if they are elsewhere."""
        ...

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """The probabilities of each text's classes.

        Args:
            texts: N of them; what one gets depends on no other.

        Returns:
            (N, C) float64, rows sum to 1.

        Raises:
            InputError: a text is no str.
            TeacherError: the model failed, or could not be reached.
        """
        ...


def checked_labels(labels: Iterable[str], name: str = "labels") -> tuple[str, ...]:
    """The same labels, if they can be a teacher's.

    Raises:
        InputError: fewer than two, one twice, or one that is no name.
    """
    found = tuple(labels)
    for label in found:
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"{name}: found {label!r}; expected a name")
    if len(found) < 2 or len(set(found)) != len(found):
        raise InputError(f"{name}: found {list(found)}; expected two or more different ones")
    return found


def checked_probabilities(rows: FloatArray, texts: int, classes: int, name: str) -> FloatArray:
    """The same rows, if they are probabilities.

    Args:
        rows: should be (N, C), finite, not negative, each with the sum 1 ± 1e-6.
        texts: N.
        classes: C.
        name: the teacher's, for the message.

    Raises:
        TeacherError: they are not.
    """
    if rows.shape != (texts, classes):
        raise TeacherError(f"{name}: found probabilities of shape {rows.shape}; expected {(texts, classes)}")
    good = np.isfinite(rows).all(axis=1) & (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= 1e-6)
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        raise TeacherError(f"{name}: found {rows[first].tolist()} for text {first}; expected probabilities, with sum 1")
    return rows
