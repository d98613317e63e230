"""Tables of texts in and out, a part at a time: csv, jsonl and parquet.

csv and jsonl are read as UTF-8, with or without a byte order mark. A table is written under a temporary name beside its
own, and renamed when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import InputError, require
from .blocks import STDIO, Added, Block, Row, Rows, Writer
from .text import open_output, text_blocks, text_rows, text_writer

__all__ = [
    "FORMATS",
    "STDIO",
    "Added",
    "Block",
    "Row",
    "Rows",
    "Writer",
    "column",
    "open_output",
    "read_blocks",
    "read_table",
    "table_format",
    "write_table",
]

FORMATS = ("csv", "jsonl", "parquet")


def table_format(name: str, given: str | None = None) -> str:
    """The format of a file: what its ending says, or else the one that is given, or csv for standard input and output.

    Raises:
        InputError: none of them tells, or it is parquet and no file.
        MissingExtraError: it is parquet, and pyarrow is not installed.
    """
    ending = Path(name).suffix.lower().removeprefix(".")
    kind = ending if ending in FORMATS else given
    if kind is None and name != STDIO:
        raise InputError(f"{name}: found the ending {ending!r}; expected .csv, .jsonl or .parquet, or --format")
    if kind == "parquet":
        if name == STDIO:
            found = "parquet, which is read from its end"
            raise InputError(f"standard input and output: found {found}; expected a file's name, or csv or jsonl")
        require("pyarrow.parquet", feature="parquet", extra="parquet")
    return kind or "csv"


def read_table(
    name: str, *, columns: Sequence[str], optional: Sequence[str] = (), format: str | None = None
) -> Iterator[Row]:
    """The rows of a file, read as they are asked for.

    Args:
        name: its path; ``-`` for standard input.
        columns: these must be there, as text, in every row.
        optional: these may be missing, and hold anything. What else is in the file may or may not be in the rows.
        format: ``csv``, ``jsonl`` or ``parquet``, where the name does not tell.

    Raises:
        InputError: no such column, a row of another width, a value that is no text, bytes that are not UTF-8, no sound
            parquet; the message has the line or row. All but an unknown format are raised while reading.
        MissingExtraError: it is parquet, and pyarrow is not installed.
        OSError: the file cannot be read.
    """
    kind = table_format(name, format)
    if kind == "parquet":
        from .parquet_reading import parquet_rows

        return parquet_rows(name, columns, optional)
    return text_rows(name, columns, kind)


def read_blocks(name: str, *, columns: Sequence[str], format: str | None = None, target: str) -> Iterator[Block]:
    """All columns of a file, some rows at a time; a file without rows gives one block without rows.

    Args:
        name: its path; ``-`` for standard input.
        columns: these must be there, as text, in every row.
        format: ``csv``, ``jsonl`` or ``parquet``, where the name does not tell.
        target: the format that the blocks are to be written in. Columns that it cannot hold are refused at the start.

    Raises:
        InputError: as by `read_table`, or a column that the target cannot hold.
        MissingExtraError: it is parquet, and pyarrow is not installed.
        OSError: the file cannot be read.
    """
    kind = table_format(name, format)
    if kind == "parquet":
        from .parquet_reading import parquet_blocks

        return parquet_blocks(name, columns, target)
    return text_blocks(name, columns, kind)


def write_table(name: str, format: str) -> AbstractContextManager[Writer]:
    """A table to write to, there under its name only when it is whole; ``-`` is standard output.

    Args:
        name: its path.
        format: what `table_format` says of it.

    Raises:
        OSError: it cannot be written.
    """
    if format == "parquet":
        from .parquet_writing import parquet_writer

        return parquet_writer(name)
    return text_writer(name, format)


def column(rows: Iterable[Row], name: str) -> list[str]:
    """One column of a table."""
    return [row[name] for row in rows]
