"""csv and jsonl, row by row."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ..atomic import replacing
from ..errors import InputError
from .blocks import ROWS, STDIO, Added, Block, Row, Rows

__all__ = ["TextWriter", "open_output", "text_blocks", "text_rows", "text_writer"]


def text_rows(name: str, wanted: Sequence[str], format: str) -> Iterator[Row]:
    """See `read_table`."""
    return _read(name, wanted, format, lambda columns: None)


def text_blocks(name: str, wanted: Sequence[str], format: str) -> Iterator[Rows]:
    """See `read_blocks`."""
    columns: list[str] = []
    rows = _read(name, wanted, format, columns.extend)
    first = list(islice(rows, ROWS))
    columns = columns or list(first[0] if first else wanted)  # jsonl has no header
    yield Rows(first, columns)
    while more := list(islice(rows, ROWS)):
        yield Rows(more, columns)


def _read(name: str, wanted: Sequence[str], format: str, tell: Callable[[list[str]], object]) -> Iterator[Row]:
    """The rows; the header of a csv is told before the first."""
    shown, stdin = ("standard input", True) if name == STDIO else (name, False)
    if stdin and sys.stdin is None:  # its number may be another file's by now
        raise InputError(f"{shown}: found it closed; expected a table")

    def check(line: int, columns: Sequence[str]) -> None:
        for column in wanted:
            if column not in columns:
                raise InputError(f"{shown} line {line}: found columns {list(columns)}; expected {column!r}")

    def start(header: list[str]) -> None:
        check(1, header)
        tell(header)

    with open(sys.stdin.fileno() if stdin else name, encoding="utf-8-sig", newline="", closefd=not stdin) as source:
        rows = _read_csv(source, shown, start) if format == "csv" else _read_jsonl(source, shown)
        line = 0
        try:
            for line, row in rows:
                check(line, list(row))
                for column in wanted:
                    if not isinstance(row[column], str):
                        raise InputError(f"{shown} line {line}: found {row[column]!r} in {column!r}; expected a text")
                yield row
        except UnicodeDecodeError as error:
            found = f"bytes that are not UTF-8 ({error.reason})"
            raise InputError(f"{shown} after line {line}: found {found}") from error


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


class TextWriter:
    """Writes rows as csv or jsonl."""

    def __init__(self, target: IO[str], format: str) -> None:
        """Write to an open text file."""
        self._target = target
        self._csv = csv.writer(_Lines(target)) if format == "csv" else None
        self._columns: list[str] | None = None

    def write(self, block: Block, added: Added) -> None:
        """Write a block, with columns added.

        Raises:
            InputError: it is a csv, and a row has other columns than the first; or jsonl, and a number is infinite.
        """
        rows = block.to_rows()
        if self._csv is not None and self._columns is None:
            self._columns = [*rows.columns, *added]
            self._csv.writerow(self._columns)
        for row in rows.beside(added):
            self._row(row)

    def _row(self, row: Mapping[str, Any]) -> None:
        if self._csv is None:
            try:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            except ValueError:  # as parquet and careless JSON have them
                line = json.dumps({name: _finite(name, value) for name, value in row.items()}, ensure_ascii=False)
            self._target.write(line + "\n")
            return
        columns = self._columns or []
        if row.keys() != set(columns):
            raise InputError(f"found a row with columns {list(row)}; expected {columns}, as in the first row")
        self._csv.writerow([row[name] for name in columns])


def _finite(name: str, value: Any) -> Any:
    """The same with null in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(name, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(name, each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            return None
        raise InputError(f"{name}: found {value}, which has no form in jsonl; expected finite numbers")
    return value


class _Lines:
    """Ends lines in LF for a csv writer that ends them in CRLF, and so puts a text with a lone CR in quotes."""

    def __init__(self, target: IO[str]) -> None:
        self._target = target

    def write(self, line: str) -> object:
        return self._target.write(line.removesuffix("\r\n") + "\n")


@contextmanager
def text_writer(name: str, format: str) -> Iterator[TextWriter]:
    """See `write_table`."""
    with open_output(name) as target:
        yield TextWriter(target, format)


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
