"""Writing parquet: many blocks together are a row group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic import replacing
from ..errors import InputError
from .blocks import Added, Block, Rows
from .parquet_reading import ArrowRows

__all__ = ["ParquetWriter", "parquet_writer"]

_GROUP_ROWS = 2**17  # that are written together at the latest
_GROUP_BYTES = 2**25
_SPARK = b"org.apache.spark.sql.parquet.row.metadata"
"""Spark's own list of a file's columns, which it believes rather than the file: it would not see what is added."""


@contextmanager
def parquet_writer(name: str) -> Iterator[ParquetWriter]:
    """See `write_table`."""
    with replacing(Path(name)) as target, ExitStack() as stack:
        writer = ParquetWriter(target, name, stack)
        yield writer
        writer.flush()


class ParquetWriter:
    """Writes blocks as parquet.

    Blocks of parquet keep their types and metadata. The rows of a csv become texts. The rows of a jsonl get, column by
    column, the type that holds all values of the first row group, and become texts where these are all null.
    """

    def __init__(self, target: IO[bytes], name: str, stack: ExitStack) -> None:
        """Write to an open file, called so in messages; what is written is whole when the stack is closed."""
        self._target, self._name, self._stack = target, name, stack
        self._file: pq.ParquetWriter | None = None
        self._inferred = False
        self._forget()

    def _forget(self) -> None:
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    def write(self, block: Block, added: Added) -> None:
        """Write a block, with columns added.

        Raises:
            InputError: parquet cannot hold it, or not in the types of the rows before.
        """
        with self._holding():
            table = block.table if isinstance(block, ArrowRows) else self._arrow(block.to_rows())
            for column, values in added.items():
                table = table.append_column(column, pa.array(values))
            if self._inferred and self._file is not None:
                table = self._fitted(table, self._file.schema)
        self._waiting.append(table)
        self._rows += len(table)
        self._bytes += table.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            InputError: parquet cannot hold it.
        """
        if not self._waiting:
            return
        with self._holding():
            group = pa.concat_tables(self._waiting, promote_options="permissive").unify_dictionaries()
            self._forget()
            if self._file is None:
                group = self._settled(group)
                # Types nested too deeply for a reader would be written all the same; this raises.
                pa.ipc.read_schema(group.schema.serialize())
                self._file = self._stack.enter_context(pq.ParquetWriter(self._target, group.schema))
            self._file.write_table(group, row_group_size=max(1, len(group)))

    def _arrow(self, rows: Rows) -> pa.Table:
        self._inferred = True
        columns = {}
        for name in dict.fromkeys([*rows.columns, *(name for row in rows.rows for name in row)]):
            values = [row.get(name) for row in rows.rows]
            try:
                columns[name] = pa.array(values, None if values else pa.string())
            except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
                raise InputError(
                    f"{self._name}: found values in {name!r} that parquet cannot hold together ({error}); expected "
                    "values of one type, or jsonl as the format of the output"
                ) from error
        return pa.table(columns)

    def _settled(self, group: pa.Table) -> pa.Table:
        """The first row group, in the types of all that follow."""
        metadata = {key: value for key, value in (group.schema.metadata or {}).items() if key != _SPARK}
        if self._inferred:
            fields = [f.with_type(pa.string()) if pa.types.is_null(f.type) else f for f in group.schema]
            group = group.cast(pa.schema(fields))
        return group.replace_schema_metadata(metadata)

    def _fitted(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        """The table in the types of the first row group."""
        fitted = pa.concat_tables([schema.empty_table(), table], promote_options="permissive")
        known = {field.name: str(field.type) for field in schema}
        for field in fitted.schema:
            expected = known.get(field.name, "no such column")
            if str(field.type) != expected:
                raise InputError(
                    f"{self._name}: found {field.type} in {field.name!r}; expected {expected}, as in the rows that are "
                    "written already, or jsonl as the format of the output"
                )
        return fitted

    @contextmanager
    def _holding(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeEncodeError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise InputError(
                f"{self._name}: found what parquet cannot hold ({error}); expected jsonl as the format of the output"
            ) from error
