"""Every error that qdinfer and qdistill raise on purpose.

The tree:

    QdinferError
    ├── ArtifactError      (ValueError)   a student's file is missing, broken, tampered with or too new
    ├── InputError         (ValueError)   texts, angles, tables, options: what the caller handed in
    ├── CircuitError       (ValueError)   a circuit that cannot be read, bound or lowered
    │   └── CompileError                  … that is fine, but has no compiled form
    ├── BackendError       (RuntimeError) a backend is unknown, unusable here, or failed while it ran
    ├── JournalError       (ValueError)   a run's journal is damaged, in use, or of another run
    ├── HubError           (RuntimeError) the Hugging Face Hub could not be reached, refused, or answered nonsense
    ├── TeacherError       (RuntimeError) a teacher could not be loaded or reached, or gave no probabilities
    └── MissingExtraError  (ImportError)  an optional dependency is not installed

    TruncationWarning      (UserWarning)  texts were longer than the student reads

Messages name the thing, what was found and what was expected, and where there is one, the next step. Errors of the
libraries underneath arrive as one of these, with the original as ``__cause__``. Errors of the operating system
(``OSError``: no such file, no space) pass through unchanged.
"""

from __future__ import annotations

import importlib
import operator
from types import ModuleType

__all__ = [
    "ArtifactError",
    "BackendError",
    "CircuitError",
    "CompileError",
    "HubError",
    "InputError",
    "JournalError",
    "MissingExtraError",
    "QdinferError",
    "TeacherError",
    "TruncationWarning",
    "require",
    "whole_number",
]


class QdinferError(Exception):
    """The base of every error of this project."""


class ArtifactError(QdinferError, ValueError):
    """A student's folder or archive cannot be trusted or read.

    Attributes:
        file: the file inside the artifact (or the artifact itself) that is at fault.
        line: the line of that file, from 1, where it is a text.
        found: what was found there.
        expected: what a correct artifact has there.
    """

    def __init__(self, file: str, found: str, expected: str, line: int | None = None) -> None:
        super().__init__(file, found, expected, line)
        self.file = file
        self.line = line
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{where}: found {self.found}; expected {self.expected}"


class InputError(QdinferError, ValueError):
    """Texts, angles, labels, tables or options that cannot be used as they are."""


class CircuitError(QdinferError, ValueError):
    """A circuit that cannot be read, bound to its inputs or lowered to standard gates."""


class CompileError(CircuitError):
    """A valid circuit that has no compiled form, or none of a reasonable size."""


class BackendError(QdinferError, RuntimeError):
    """A backend that is unknown, cannot run this circuit, or failed while running it."""


class JournalError(QdinferError, ValueError):
    """The journal of a durable run that is damaged, in use by another process, or of another run."""


class HubError(QdinferError, RuntimeError):
    """The Hugging Face Hub could not be reached, refused what was asked, or answered nonsense."""


class TeacherError(QdinferError, RuntimeError):
    """A teacher that could not be loaded or reached, or whose answers are no probabilities."""


class MissingExtraError(QdinferError, ImportError):
    """An optional dependency is not installed; the message has the command that installs it.

    Attributes:
        feature: what needs it.
        extra: the name of the extra, as in ``pip install "qdinfer[EXTRA]"``.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature = feature
        self.extra = extra

    def __str__(self) -> str:
        return f'{self.feature} needs an optional part: pip install "qdinfer[{self.extra}]"'


class TruncationWarning(UserWarning):
    """Some texts have more tokens than the student reads; the rest of each was cut off."""


def require(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: its dotted name.
        feature: what needs it, as the message's first words.
        extra: the extra of this package that installs it.

    Raises:
        MissingExtraError: the module (or something that it imports) is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, extra) from error


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """The value, if it is a whole number (of Python or numpy) from low to high.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= operator.index(value) <= high:
        raise InputError(f"{name}: found {value!r}; expected a whole number from {low} to {high}")
    return operator.index(value)
