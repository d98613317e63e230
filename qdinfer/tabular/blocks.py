"""What tables are made of, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

__all__ = ["ROWS", "STDIO", "Added", "Block", "Row", "Rows", "Writer"]

STDIO = "-"
ROWS = 1024  # in a block, at most

Row = dict[str, Any]
"""From column to value."""
Added = Mapping[str, np.ndarray[Any, Any]]
"""Columns that go beside those of a block."""


class Block(Protocol):
    """Some consecutive rows of a table."""

    def __len__(self) -> int:
        """How many rows."""

    def __getitem__(self, rows: slice) -> Block:
        """Some of them."""

    def names(self) -> set[str]:
        """The columns of all rows."""

    def texts(self, column: str) -> Sequence[str]:
        """One of the columns that were asked for when the table was opened."""

    def to_rows(self) -> Rows:
        """The same as values that csv and jsonl can hold."""


class Writer(Protocol):
    """Writes blocks in one format."""

    def write(self, block: Block, added: Added) -> None:
        """Write a block, with columns added.

        Raises:
            InputError: the format, or this table in it, cannot hold the block.
            OSError: it cannot be written.
        """


@dataclass(frozen=True)
class Rows:
    """A block of rows as Python's values.

    Attributes:
        rows: each names its own columns.
        columns: of the table, or of its first row; they are there also without rows.
    """

    rows: list[Row]
    columns: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(self.rows[rows], self.columns)

    def names(self) -> set[str]:
        """See `Block.names`."""
        return {*self.columns}.union(*self.rows)

    def texts(self, column: str) -> list[str]:
        """See `Block.texts`."""
        return [row[column] for row in self.rows]

    def to_rows(self) -> Rows:
        """See `Block.to_rows`."""
        return self

    def beside(self, added: Added) -> Iterator[Row]:
        """The rows, with columns added."""
        values = zip(*(column.tolist() for column in added.values()), strict=True) if added else ((),) * len(self)
        return (row | dict(zip(added, more, strict=True)) for row, more in zip(self.rows, values, strict=True))
