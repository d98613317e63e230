"""Asking a teacher about many texts, in a way that survives a crash; the file is described in `store`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tqdm import tqdm

from qdinfer.errors import InputError
from qdinfer.lock import hold
from qdinfer.texts import checked_texts

from ..memory import peak_memory
from .base import Teacher, checked_probabilities
from .batching import checked_batch_size
from .store import FORMAT, Cost, TeacherLabels, parse, text_key

__all__ = ["label_texts"]


def label_texts(
    teacher: Teacher, texts: Sequence[str], path: str | Path, *, batch_size: int = 64, setup_seconds: float = 0.0
) -> TeacherLabels:
    """Ask a teacher about every text that the file does not have yet, and append the answers.

    Args:
        teacher: whom to ask.
        texts: the texts; repeated ones are asked about once.
        path: the file, which is made if it is not there.
        batch_size: texts between two writes: the most that a crash costs.
        setup_seconds: what it took to get the teacher ready, for the record.

    Returns:
        All that is in the file.

    Raises:
        InputError: the file is another teacher's, the message shows the difference; or another process writes to it.
        TeacherError: the teacher failed; what it said before is in the file.
        OSError: the file cannot be written.
    """
    checked_batch_size(batch_size)
    path, wanted = Path(path), {text_key(text): text for text in checked_texts(texts)}
    with _locked(path) as file:
        known = _continued(teacher, path, file)
        rows = dict(known.rows)
        waiting = sorted((item for item in wanted.items() if item[0] not in rows), key=lambda item: -len(item[1]))
        done, begin = len(wanted) - len(waiting), time.perf_counter()
        with tqdm(total=len(wanted), initial=done, unit=" texts", disable=None) as bar:
            for start in range(0, len(waiting), batch_size):
                batch = waiting[start : start + batch_size]
                found = teacher.probabilities([text for _, text in batch])
                answers = checked_probabilities(found, len(batch), len(known.labels), "teacher").tolist()
                lines = [{"sha256": key, "probabilities": row} for (key, _), row in zip(batch, answers, strict=True)]
                _append(file, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                rows |= {key: row for (key, _), row in zip(batch, answers, strict=True)}
                bar.update(len(batch))
        costs = known.costs
        if waiting:
            cost = Cost(
                texts=len(waiting),
                seconds=time.perf_counter() - begin,
                setup_seconds=setup_seconds,
                peak_memory=peak_memory(),
                disk_bytes=teacher.disk_bytes,
            )
            _append(file, json.dumps({"cost": cost.model_dump()}).encode() + b"\n")
            costs = (*costs, cost)
    return TeacherLabels(path, known.teacher, known.labels, rows, costs)


def _continued(teacher: Teacher, path: Path, file: IO[bytes]) -> TeacherLabels:
    """What is in the file so far, with a torn end taken off; a header if there is nothing."""
    identity = json.loads(json.dumps(dict(teacher.identity)))  # as it will be read: no tuples
    header = json.dumps({"format": FORMAT, "teacher": identity, "labels": list(teacher.labels)}).encode() + b"\n"
    data = file.read()
    if header.startswith(data):  # new, or cut short in its first line
        file.truncate(0)
        _append(file, header)
        return TeacherLabels(path, identity, teacher.labels, {})
    known = parse(path, data)
    mine, theirs = (
        {**who, "labels": list(names)} for who, names in ((identity, teacher.labels), (known.teacher, known.labels))
    )
    changed = [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
    if changed:
        differences = "; ".join(f"{name} {theirs.get(name)!r}, expected {mine.get(name)!r}" for name in changed)
        raise InputError(f"{path}: found another teacher's answers: {differences}; give another output file")
    file.truncate(data.rfind(b"\n") + 1)
    return known


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file to read and append, held against other processes until the block ends."""
    with path.open("a+b", buffering=0) as file:
        hold(file.fileno(), path)
        file.seek(0)
        yield file


def _append(file: IO[bytes], data: bytes) -> None:
    while data:  # an unbuffered write may stop early
        data = data[file.write(data) :]
    os.fsync(file.fileno())
