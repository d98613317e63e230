"""Which of Arrow's types have a form in csv and jsonl, and which."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["TEXTS", "plain_field", "plain_schema"]

TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_AS_THEY_ARE = (*TEXTS, pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
_AS_TEXTS = (pa.types.is_decimal, pa.types.is_date, pa.types.is_time, pa.types.is_timestamp)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns in types whose values are JSON's; a column that has none stays as it is."""
    return pa.schema([plain_field(field) or field for field in schema])


def plain_field(field: pa.Field) -> pa.Field | None:
    """The same field in a type whose values are JSON's; None if there is none, as for bytes."""
    kind = _plain(field.type)
    return None if kind is None else field.with_type(kind)


def _plain(kind: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_float16(kind):  # which some versions make numpy's numbers of
        return pa.float32()
    if any(is_such(kind) for is_such in _AS_THEY_ARE):
        return kind
    if any(is_such(kind) for is_such in _AS_TEXTS):
        return pa.string()
    if types.is_struct(kind):
        fields = [plain_field(kind.field(i)) for i in range(kind.num_fields)]
        return None if any(field is None for field in fields) else pa.struct(fields)
    if types.is_map(kind):  # as pairs of key and value
        key, item = plain_field(kind.key_field), plain_field(kind.item_field)
        return None if key is None or item is None else pa.map_(key, item)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        values = plain_field(kind.value_field)
        if values is None:
            return None
        if types.is_fixed_size_list(kind):
            return pa.list_(values, kind.list_size)
        return pa.large_list(values) if types.is_large_list(kind) else pa.list_(values)
    return None
