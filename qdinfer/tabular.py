"""Tables of texts in and out, row by row: csv and jsonl.

A row is a dict from column to value. Files are read as UTF-8, with or without a byte order mark. A table is written
under a temporary name beside its own, and renamed when it is whole.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .atomic import replacing
from .errors import InputError

__all__ = ["FORMATS", "Writer", "column", "open_output", "read_table", "table_format"]

FORMATS = ("csv", "jsonl")
STDIO = "-"

Row = dict[str, Any]


def table_format(name: str, given: str | None = None) -> str:
    """The format of a file: the one that is given, or what its ending says; csv for standard input and output.

    Raises:
        InputError: neither tells.
    """
    if given is not None:
        return given
    ending = Path(name).suffix.lower().removeprefix(".")
    if name == STDIO:
        return "csv"
    if ending not in FORMATS:
        raise InputError(f"{name}: found the ending {ending!r}; expected .csv or .jsonl, or --format")
    return ending


def read_table(name: str, *, columns: Sequence[str], format: str | None = None) -> Iterator[Row]:
    """The rows of a file, read as they are asked for.

    Args:
        name: its path; ``-`` for standard input.
        columns: these must be there, as text, in every row.
        format: ``csv`` or ``jsonl``; None to go by the name.

    Raises:
        InputError: no such column, a row of another width, a value that is no text, bytes that are not UTF-8;
            the message has the line.
        OSError: the file cannot be read.
    """
    kind = table_format(name, format)
    shown = "standard input" if name == STDIO else name
    stdin = name == STDIO
    with open(sys.stdin.fileno() if stdin else name, encoding="utf-8-sig", newline="", closefd=not stdin) as source:
        rows = _read_csv(source, shown) if kind == "csv" else _read_jsonl(source, shown)
        line = 0
        try:
            for line, row in rows:
                for wanted in columns:
                    if wanted not in row:
                        raise InputError(f"{shown} line {line}: found columns {list(row)}; expected {wanted!r}")
                    if not isinstance(row[wanted], str):
                        raise InputError(f"{shown} line {line}: found {row[wanted]!r} in {wanted!r}; expected a text")
                yield row
        except UnicodeDecodeError as error:
            raise InputError(f"{shown} after line {line}: found bytes that are not UTF-8 ({error.reason})") from error


def column(rows: Iterable[Row], name: str) -> list[str]:
    """One column of a table."""
    return [row[name] for row in rows]


class Writer:
    """Writes rows of equal columns in one format."""

    def __init__(self, target: IO[str], format: str) -> None:
        """Write to an open text file, as ``csv`` or ``jsonl``."""
        self._target = target
        self._csv = csv.writer(target, lineterminator="\n") if format == "csv" else None
        self._columns: list[str] | None = None

    def header(self, columns: Sequence[str]) -> None:
        """Fix the columns; a csv gets its header line now, so that also a table without rows has one."""
        self._columns = list(columns)
        if self._csv is not None:
            self._csv.writerow(self._columns)

    def row(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Raises:
            InputError: its columns differ from the first row's.
        """
        if self._columns is None:
            self.header(list(row))
        if list(row) != self._columns and self._csv is not None:
            raise InputError(f"found a row with columns {list(row)}; expected {self._columns}, as in the first row")
        if self._csv is not None:
            self._csv.writerow(row.values())
        else:
            self._target.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def open_output(name: str) -> Iterator[IO[str]]:
    """A text file to write to, there under its name only when it is whole; ``-`` is standard output.

    Raises:
        OSError: it cannot be written.
    """
    if name == STDIO:
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(Path(name)) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
        yield text
        text.detach()


def _read_csv(source: IO[str], shown: str) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(source, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise InputError(f"{shown}: found an empty file; expected a header line")
        if len(set(header)) != len(header):
            raise InputError(f"{shown} line 1: found columns {header}; expected each name once")
        blank = None
        for cells in reader:
            if not cells:
                blank = reader.line_num  # harmless at the end of a file, an ambiguous row anywhere else
                continue
            if blank is not None:
                raise InputError(f'{shown} line {blank}: found a blank line; expected a row (an empty text is "")')
            if len(cells) != len(header):
                raise InputError(
                    f"{shown} line {reader.line_num}: found {len(cells)} cells; expected {len(header)}, one a column"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{shown} line {reader.line_num}: found no valid csv ({error})") from error


def _read_jsonl(source: IO[str], shown: str) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(source, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise InputError(f"{shown} line {line}: found no valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{shown} line {line}: found {type(row).__name__}; expected a JSON object")
        yield line, row
