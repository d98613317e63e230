"""What a teacher said, kept in a file, so that training never needs the teacher again.

The file is jsonl, format 1:

- first line: ``{"format": 1, "teacher": {identity}, "labels": [C names]}``;
- for each text ``{"sha256": of the text's UTF-8, "probabilities": [C numbers]}``; the texts are not in it;
- for each run that came to its end ``{"cost": {…}}``, see `Cost`.

Lines are only ever appended, and each batch is on disk before the next one is asked for, so that labelling goes on
where it stopped. A last line that a crash cut short is not read, and is taken off before the next is written. One
process writes at a time; see `qdistill.teachers.labelling`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from qdinfer.errors import InputError
from qdinfer.predictions import FloatArray
from qdinfer.texts import checked_texts

from .base import Identity

__all__ = ["FORMAT", "Cost", "TeacherLabels", "parse", "text_key"]

FORMAT = 1


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    format: int
    teacher: dict[str, str | int | float | bool | list[str] | None]
    labels: list[str]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    sha256: str
    probabilities: list[float]


class Cost(BaseModel):
    """What one run of labelling took.

    Attributes:
        texts: how many the teacher was asked about.
        seconds: for that.
        setup_seconds: before that, to load the model and fit what is to be fitted.
        peak_memory: of the process, in bytes.
        disk_bytes: of the model's files; None if they are elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    texts: int
    seconds: float
    setup_seconds: float
    peak_memory: int
    disk_bytes: int | None


class _CostLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    cost: Cost


@dataclass(frozen=True)
class TeacherLabels:
    """A teacher's probabilities, by text.

    Attributes:
        path: the file.
        teacher: the teacher's identity.
        labels: the C classes, in the order of the probabilities.
        rows: SHA-256 of a text → (C,) probabilities.
        costs: of the runs that came to their ends.
    """

    path: Path
    teacher: Identity
    labels: tuple[str, ...]
    rows: Mapping[str, list[float]] = field(repr=False)
    costs: tuple[Cost, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> TeacherLabels:
        """Read a file; also one that is being written.

        Raises:
            InputError: a line is not of the format; the message has its number.
            OSError: it cannot be read.
        """
        return parse(Path(path), Path(path).read_bytes())

    def lookup(self, texts: Sequence[str], labels: Sequence[str]) -> FloatArray:
        """The probabilities of these texts, columns in the order of these labels.

        Args:
            texts: N of them.
            labels: the teacher's C classes, in any order.

        Returns:
            (N, C) float64.

        Raises:
            InputError: a text was not labelled, or the teacher knows other classes.
        """
        if sorted(labels) != sorted(self.labels):
            raise InputError(f"{self.path}: found a teacher of {sorted(self.labels)}; expected one of {sorted(labels)}")
        keys = [text_key(text) for text in checked_texts(texts)]
        missing = [i for i, key in enumerate(keys) if key not in self.rows]
        if missing:
            raise InputError(
                f"{self.path}: found no probabilities for {len(missing)} of {len(keys)} texts, such as "
                f"{texts[missing[0]][:60]!r}; expected all; run `qdistill label` on them with the same output"
            )
        order = [self.labels.index(label) for label in labels]
        return np.array([self.rows[key] for key in keys], np.float64).reshape(-1, len(labels))[:, order]


def text_key(text: str) -> str:
    """The SHA-256 of a text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def parse(path: Path, data: bytes) -> TeacherLabels:
    """Read a file's content.

    Raises:
        InputError: a line is not of the format; the message has its number.
    """
    lines = data.split(b"\n")[:-1]  # what is behind the last line's end was cut short
    try:
        header = _Header.model_validate_json(lines[0] if lines else b"")
    except ValidationError as error:
        raise InputError(f"{path} line 1: found no header; expected a file made by `qdistill label`") from error
    if header.format != FORMAT:
        raise InputError(f"{path}: found format {header.format}; expected {FORMAT}; a newer qdinfer may read it")
    rows, costs = {}, []
    for number, text in enumerate(lines[1:], start=2):
        try:
            if text.startswith(b'{"cost"'):
                costs.append(_CostLine.model_validate_json(text).cost)
                continue
            line = _Line.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            found = f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
            raise InputError(
                f"{path} line {number}: found {found}; expected a text's probabilities, or a cost"
            ) from error
        if len(line.probabilities) != len(header.labels):
            found = f"{len(line.probabilities)} probabilities"
            raise InputError(f"{path} line {number}: found {found}; expected {len(header.labels)}, one a label")
        rows[line.sha256] = line.probabilities
    return TeacherLabels(path, header.teacher, tuple(header.labels), rows, tuple(costs))
