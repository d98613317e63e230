"""Reading parquet, a record batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import InputError
from .blocks import ROWS, Row, Rows
from .plain_types import TEXTS, plain_field, plain_schema

__all__ = ["ArrowRows", "parquet_blocks", "parquet_rows"]

_BUFFER = 2**20  # bytes of each column that are read at a time
_DICTIONARY = 2**16  # bytes of a dictionary that every batch may bring anew


@dataclass(frozen=True)
class ArrowRows:
    """A block of rows as Arrow has them.

    Attributes:
        table: the rows.
        name: of the file that they are from, for messages.
    """

    table: pa.Table
    name: str

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, rows: slice) -> ArrowRows:
        return ArrowRows(self.table[rows], self.name)

    def names(self) -> set[str]:
        """See `Block.names`."""
        return set(self.table.column_names)

    def texts(self, column: str) -> list[str]:
        """See `Block.texts`."""
        texts: list[str] = self.table[column].cast(pa.string()).to_pylist()
        return texts

    def to_rows(self) -> Rows:
        """See `Block.to_rows`."""
        with _sound(self.name):
            plain = self.table.cast(plain_schema(self.table.schema))
            columns = [column.to_pylist() for column in plain.columns]
        names: list[str] = plain.column_names
        return Rows([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], names)


def parquet_rows(name: str, wanted: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    """See `read_table`. Other columns are not even read."""
    for block in _read(name, wanted, {*wanted, *optional}, None):
        yield from block.to_rows().rows


def parquet_blocks(name: str, wanted: Sequence[str], target: str) -> Iterator[ArrowRows]:
    """See `read_blocks`."""
    return _read(name, wanted, None, target)


def _read(name: str, wanted: Sequence[str], chosen: set[str] | None, target: str | None) -> Iterator[ArrowRows]:
    with open(name, "rb") as source, _sound(name):
        if not source.seekable():
            raise InputError(f"{name}: found a pipe; expected a file, since parquet is read from its end")
        # Buffered, for otherwise a column of a whole row group is held, which may be all of the file.
        file = pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
        schema = file.schema_arrow
        _check_columns(name, schema, wanted)
        if target in ("csv", "jsonl"):
            _check_target(name, schema, target)
        columns = [column for column in schema.names if chosen is None or column in chosen]
        row = 0
        for batch in _batches(file, columns):
            table = _with_small_dictionaries(pa.Table.from_batches([batch]).select(columns))
            for column in wanted:
                _check_texts(name, row, column, table[column])
            yield ArrowRows(table, name)
            row += len(table)
        if not row:
            yield ArrowRows(schema.empty_table().select(columns), name)


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):  # one by one: Arrow cannot join dictionaries inside of structs or lists
        yield from file.iter_batches(ROWS, row_groups=[group], columns=columns)


def _with_small_dictionaries(table: pa.Table) -> pa.Table:
    """The batch, where a column brings the dictionary of a whole row group, with a dictionary of its own values."""
    for i, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type) or field.type.ordered:
            continue
        column = table.column(i).chunk(0)
        if column.dictionary.nbytes > _DICTIONARY:
            own = column.dictionary_decode().dictionary_encode()
            own = pa.DictionaryArray.from_arrays(own.indices.cast(field.type.index_type), own.dictionary)
            table = table.set_column(i, field, own)
    return table


@contextmanager
def _sound(name: str) -> Iterator[None]:
    """Tell errors about what is in the file from those of the system."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{name}: found no sound parquet ({error})") from error


def _check_columns(name: str, schema: pa.Schema, wanted: Sequence[str]) -> None:
    if len(set(schema.names)) != len(schema.names):
        raise InputError(f"{name}: found columns {schema.names}; expected each name once")
    for column in wanted:
        if column not in schema.names:
            raise InputError(f"{name}: found columns {schema.names}; expected {column!r}")
        kind = schema.field(column).type
        values = kind.value_type if pa.types.is_dictionary(kind) else kind
        # A column without a single value may have no type.
        if not any(is_such(values) for is_such in (*TEXTS, pa.types.is_null)):
            raise InputError(f"{name}: found {kind} in {column!r}; expected texts")


def _check_target(name: str, schema: pa.Schema, target: str) -> None:
    for field in schema:
        plain = plain_field(field)
        if plain is None or (target == "csv" and pa.types.is_nested(plain.type)):
            formats = "parquet" if plain is None else "jsonl or parquet"
            raise InputError(
                f"{name}: found {field.type} in {field.name!r}, which has no form in {target}; "
                f"expected {formats} as the format of the output, or an input without that column"
            )


def _check_texts(name: str, before: int, column: str, values: pa.ChunkedArray) -> None:
    texts = values.cast(pa.string())
    if texts.null_count:
        row = before + texts.is_null().index(True).as_py() + 1
        raise InputError(f"{name} row {row}: found None in {column!r}; expected a text")
    texts.validate(full=True)  # that they are UTF-8
