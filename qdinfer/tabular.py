"""Tables of texts in and out, row by row: csv and jsonl.

A row is a dict from column to value. Files are read as UTF-8, with or without a byte order mark. A table is written
under a temporary name beside its own, and renamed when it is whole.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .atomic import replacing
from .errors import InputError

__all__ = ["FORMATS", "Table", "Writer", "column", "open_output", "read_table", "table_format"]

FORMATS = ("csv", "jsonl")
STDIO = "-"

Row = dict[str, Any]


def table_format(name: str, given: str | None = None) -> str:
    """The format of a file: what its ending says, or else the one that is given, or csv for standard input and output.

    Raises:
        InputError: none of them tells.
    """
    ending = Path(name).suffix.lower().removeprefix(".")
    if ending in FORMATS:
        return ending
    if given is None and name != STDIO:
        raise InputError(f"{name}: found the ending {ending!r}; expected .csv or .jsonl, or --format")
    return given or "csv"


class Table(Iterator[Row]):
    """The rows of a file, read as they are asked for.

    Attributes:
        columns: of a csv, once a row was asked for; None for jsonl, whose rows name their own.
    """

    def __init__(self, name: str, wanted: Sequence[str], format: str) -> None:
        """See `read_table`."""
        self.columns: list[str] | None = None
        self._name = "standard input" if name == STDIO else name
        self._wanted = wanted
        self._rows = self._read(name, format)

    def __next__(self) -> Row:
        return next(self._rows)

    def _read(self, name: str, format: str) -> Iterator[Row]:
        stdin = name == STDIO
        if stdin and sys.stdin is None:  # its number may be another file's by now
            raise InputError(f"{self._name}: found it closed; expected a table")
        with open(sys.stdin.fileno() if stdin else name, encoding="utf-8-sig", newline="", closefd=not stdin) as source:
            rows = _read_csv(source, self._name, self._start) if format == "csv" else _read_jsonl(source, self._name)
            line = 0
            try:
                for line, row in rows:
                    self._check(line, row)
                    yield row
            except UnicodeDecodeError as error:
                found = f"bytes that are not UTF-8 ({error.reason})"
                raise InputError(f"{self._name} after line {line}: found {found}") from error

    def _start(self, header: list[str]) -> None:
        self._check_columns(1, header)
        self.columns = header

    def _check(self, line: int, row: Row) -> None:
        self._check_columns(line, list(row))
        for wanted in self._wanted:
            if not isinstance(row[wanted], str):
                raise InputError(f"{self._name} line {line}: found {row[wanted]!r} in {wanted!r}; expected a text")

    def _check_columns(self, line: int, columns: list[str]) -> None:
        for wanted in self._wanted:
            if wanted not in columns:
                raise InputError(f"{self._name} line {line}: found columns {columns}; expected {wanted!r}")


def read_table(name: str, *, columns: Sequence[str], format: str | None = None) -> Table:
    """The rows of a file, read as they are asked for.

    Args:
        name: its path; ``-`` for standard input.
        columns: these must be there, as text, in every row.
        format: ``csv`` or ``jsonl``, where the name does not tell.

    Raises:
        InputError: no such column, a row of another width, a value that is no text, bytes that are not UTF-8;
            the message has the line. All but an unknown format are raised while reading.
        OSError: the file cannot be read.
    """
    return Table(name, columns, table_format(name, format))


def column(rows: Iterable[Row], name: str) -> list[str]:
    """One column of a table."""
    return [row[name] for row in rows]


class Writer:
    """Writes rows of equal columns in one format.

    Attributes:
        columns: of the first row or the header; None before it.
    """

    def __init__(self, target: IO[str], format: str) -> None:
        """Write to an open text file, as ``csv`` or ``jsonl``."""
        self._target = target
        self._csv = csv.writer(_Lines(target)) if format == "csv" else None
        self.columns: list[str] | None = None

    def header(self, columns: Sequence[str]) -> None:
        """Fix the columns; a csv gets its header line now, so that also a table without rows has one."""
        self.columns = list(columns)
        if self._csv is not None:
            self._csv.writerow(self.columns)

    def row(self, row: Mapping[str, Any]) -> None:
        """Write a row.

        Raises:
            InputError: the table is a csv, and the row has others than its columns.
        """
        if self.columns is None:
            self.header(list(row))
        if self._csv is None:
            self._target.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        columns = self.columns or []
        if row.keys() != set(columns):
            raise InputError(f"found a row with columns {list(row)}; expected {columns}, as in the first row")
        self._csv.writerow([row[name] for name in columns])


class _Lines:
    """Ends lines in LF for a csv writer that ends them in CRLF, and so puts a text with a lone CR in quotes."""

    def __init__(self, target: IO[str]) -> None:
        self._target = target

    def write(self, line: str) -> object:
        return self._target.write(line.removesuffix("\r\n") + "\n")


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
        # backslashreplace: JSON may hold half a surrogate pair, which UTF-8 cannot; escaped it is the same JSON.
        text = io.TextIOWrapper(binary, "utf-8", "backslashreplace", newline="", write_through=True)
        yield text
        text.detach()


def _read_csv(source: IO[str], shown: str, start: Callable[[list[str]], None]) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(source, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise InputError(f"{shown}: found an empty file; expected a header line")
        if len(set(header)) != len(header):
            raise InputError(f"{shown} line 1: found columns {header}; expected each name once")
        start(header)
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
        except (ValueError, RecursionError) as error:
            raise InputError(f"{shown} line {line}: found no valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{shown} line {line}: found {type(row).__name__}; expected a JSON object")
        yield line, row
