"""Tables in and out: nothing is lost, and what is wrong is named with its line."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qdinfer import InputError
from qdinfer.tabular import Writer, column, open_output, read_table, table_format

utf8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_texts = st.text(max_size=20)
names = st.lists(utf8, min_size=1, max_size=4, unique=True)


def tables(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    """At least one row over the same columns."""
    return names.flatmap(lambda keys: st.lists(st.fixed_dictionaries(dict.fromkeys(keys, texts)), min_size=1))


def through_a_file(rows: list[dict[str, Any]], ending: str) -> tuple[bytes, list[dict[str, Any]]]:
    """What is in a file that the rows were written to, and the rows that are read from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{ending}"
        with open_output(str(path)) as target:
            writer = Writer(target, table_format(str(path)))
            for row in rows:
                writer.row(row)
        return path.read_bytes(), read(path)


def read(path: Path, *columns: str) -> list[dict[str, Any]]:
    return list(read_table(str(path), columns=columns))


def refusal(path: Path, *columns: str) -> str:
    """The message, after the path."""
    with pytest.raises(InputError) as caught:
        read(path, *columns)
    return str(caught.value).removeprefix(str(path))


def table(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# Round trips


@settings(deadline=None, max_examples=150)
@given(tables(utf8))
@example([{"text": ""}])
@example([{"text": 'a "b"\r\n, c\rd\ne'}, {"text": "\r"}])
@example([{"text": "\ufeffmarked", "": "nameless"}])
@example([{"\ufefftext": "a mark of its own"}])
def test_what_a_csv_was_written_from_is_read_back(rows: list[dict[str, str]]) -> None:
    content, found = through_a_file(rows, "csv")
    assert not content.endswith(b"\r\n")
    if not next(iter(rows[0])).startswith("\ufeff"):  # at the very start of a file it is the byte order mark
        assert found == rows


@settings(deadline=None, max_examples=150)
@given(tables(json_texts))
@example([{"text": "half a pair \ud83c", "other": "🌞"}])
def test_what_a_jsonl_was_written_from_is_read_back(rows: list[dict[str, str]]) -> None:
    assert through_a_file(rows, "jsonl")[1] == rows


def test_json_keeps_its_types() -> None:
    rows = [{"text": "sun", "id": 7, "score": 0.5, "tags": ["a"], "more": {"x": None}, "ok": True}, {"text": "rain"}]
    assert through_a_file(rows, "jsonl")[1] == rows


def test_letters_are_written_as_they_are() -> None:
    assert "été 太陽 🌞".encode() in through_a_file([{"text": "été 太陽 🌞"}], "jsonl")[0]
    assert "été 太陽 🌞".encode() in through_a_file([{"text": "été 太陽 🌞"}], "csv")[0]


# What is read


@pytest.mark.parametrize(
    "content",
    [
        b"text,label\nsun,a\nrain,b\n",
        b"text,label\r\nsun,a\r\nrain,b\r\n",
        b"\xef\xbb\xbftext,label\nsun,a\nrain,b",
        b'"text","label"\n"sun","a"\n"rain","b"\n',
        b"text,label\nsun,a\nrain,b\n\n\n",
    ],
    ids=["lf", "crlf", "mark", "quoted", "blank end"],
)
def test_csv_dialects(tmp_path: Path, content: bytes) -> None:
    rows = read_table(str(table(tmp_path, content)), columns=["text", "label"])
    assert list(rows) == [{"text": "sun", "label": "a"}, {"text": "rain", "label": "b"}]
    assert rows.columns == ["text", "label"]


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbf{"text": "sun"}\n{"text": "rain"}', b'\n{"text": "sun"}\r\n  \n{"text": "rain"}\r\n']
)
def test_jsonl_dialects(tmp_path: Path, content: bytes) -> None:
    assert read(table(tmp_path, content, "table.JSONL"), "text") == [{"text": "sun"}, {"text": "rain"}]


def test_only_a_header_gives_columns_and_no_rows(tmp_path: Path) -> None:
    rows = read_table(str(table(tmp_path, "id,text\n")), columns=["text"])
    assert list(rows) == []
    assert rows.columns == ["id", "text"]


def test_an_empty_jsonl_has_no_rows(tmp_path: Path) -> None:
    rows = read_table(str(table(tmp_path, "", "t.jsonl")), columns=["text"])
    assert list(rows) == []
    assert rows.columns is None


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "text\n" + "sun\n" * 100_000 + "a,b\n")
    rows = read_table(str(path), columns=["text"])
    assert [next(rows) for _ in range(3)] == [{"text": "sun"}] * 3


def test_a_column_of_a_table(tmp_path: Path) -> None:
    assert column(read(table(tmp_path, "id,text\n1,sun\n2,rain\n")), "text") == ["sun", "rain"]


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": found an empty file; expected a header line"),
        ("id,label\n1,a\n", " line 1: found columns ['id', 'label']; expected 'text'"),
        ("id,label\n", " line 1: found columns ['id', 'label']; expected 'text'"),
        ("text,a,text\n1,2,3\n", " line 1: found columns ['text', 'a', 'text']; expected each name once"),
        ("text,a\nsun,1\nrain\n", " line 3: found 1 cells; expected 2, one a column"),
        ('text,a\n"s\nun",1\nrain,2,3\n', " line 4: found 3 cells; expected 2, one a column"),
        ("text\nsun\n\nrain\n", ' line 3: found a blank line; expected a row (an empty text is "")'),
        ('text\n"sun\n', " line 2: found no valid csv (unexpected end of data)"),
        ('text\n"sun"x\n', " line 2: found no valid csv (',' expected after '\"')"),
        ("text\nsun\n" + "x" * 131073 + "\n", " line 3: found no valid csv (field larger than field limit (131072))"),
        (b"text\nsun\n\xff\n", " after line 0: found bytes that are not UTF-8 (invalid start byte)"),
        ("text\nsun\n".encode("utf-16"), " after line 0: found bytes that are not UTF-8 (invalid start byte)"),
        (b"text\n" + b"sun\n" * 9000 + b"\xff", " found bytes that are not UTF-8 (invalid start byte)"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(table(tmp_path, content), "text").endswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "sun"}\n{"text": 7}\n', " line 2: found 7 in 'text'; expected a text"),
        ('{"text": null}', " line 1: found None in 'text'; expected a text"),
        ('{"text": ["sun"]}', " line 1: found ['sun'] in 'text'; expected a text"),
        ('{"text": "sun"}\n\n{"id": 1}\n', " line 3: found columns ['id']; expected 'text'"),
        ('["text"]', " line 1: found list; expected a JSON object"),
        ("[" * 200_000, " line 1: found no valid JSON (maximum recursion depth exceeded"),
        ('{"text": "sun"}\n{"text": }', " line 2: found no valid JSON (Expecting value"),
        ('{"text": ' + "9" * 5000 + "}", " line 1: found no valid JSON (Exceeds the limit"),
        (b'{"text": "\xe9"}', " after line 0: found bytes that are not UTF-8"),
    ],
    ids=range(9),
)
def test_a_wrong_jsonl_is_named_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(table(tmp_path, content, "table.jsonl"), "text").startswith(message)


def test_no_such_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read(tmp_path / "none.csv")


# Formats


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("a.csv", None, "csv"),
        ("a.b.JSONL", None, "jsonl"),
        ("-", None, "csv"),
        ("-", "jsonl", "jsonl"),
        ("a.txt", "jsonl", "jsonl"),
        ("a.csv", "jsonl", "csv"),  # the name tells
    ],
)
def test_the_name_tells_the_format(name: str, given: str | None, expected: str) -> None:
    assert table_format(name, given) == expected


@pytest.mark.parametrize(("name", "ending"), [("a.parquet", "parquet"), ("folder.csv/a", ""), ("a", "")])
def test_a_name_that_does_not_tell_is_refused(name: str, ending: str) -> None:
    with pytest.raises(InputError) as caught:
        table_format(name)
    assert str(caught.value) == f"{name}: found the ending {ending!r}; expected .csv or .jsonl, or --format"


# What is written


def test_a_csv_row_with_other_columns_is_refused() -> None:
    writer = Writer(io.StringIO(), "csv")
    assert writer.columns is None
    writer.row({"a": 1, "b": 2})
    assert writer.columns == ["a", "b"]
    with pytest.raises(
        InputError, match=r"^found a row with columns \['a'\]; expected \['a', 'b'\], as in the first row$"
    ):
        writer.row({"a": 1})


def test_a_csv_row_may_have_its_columns_in_any_order() -> None:
    target = io.StringIO()
    writer = Writer(target, "csv")
    writer.row({"a": 1, "b": 2})
    writer.row({"b": 4, "a": 3})
    assert target.getvalue() == "a,b\n1,2\n3,4\n"


def test_a_jsonl_row_may_have_other_columns() -> None:
    target = io.StringIO()
    writer = Writer(target, "jsonl")
    writer.row({"a": 1})
    writer.row({"b": "x"})
    assert [json.loads(line) for line in target.getvalue().splitlines()] == [{"a": 1}, {"b": "x"}]


def test_a_header_alone_is_a_table() -> None:
    target = io.StringIO()
    Writer(target, "csv").header(["text", "prediction"])
    assert target.getvalue() == "text,prediction\n"


def failing(path: Path, old: str | None) -> None:
    """Write half a file, see that the old one is still there, and fail."""
    with open_output(str(path)) as target:
        target.write("half")
        assert (path.read_text() if path.exists() else None) == old
        raise RuntimeError("the writer failed")


@pytest.mark.parametrize("old", [None, "the old one"])
def test_output_is_whole_or_not_there(tmp_path: Path, old: str | None) -> None:
    path = tmp_path / "out.csv"
    if old is not None:
        path.write_text(old)
    before = list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="the writer failed"):
        failing(path, old)
    assert list(tmp_path.iterdir()) == before
    assert (path.read_text() if path.exists() else None) == old
    with open_output(str(path)) as target:
        target.write("whole")
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "whole"


def test_standard_output_stays_open(capsys: pytest.CaptureFixture[str]) -> None:
    with open_output("-") as target:
        target.write("été\n")
    sys.stdout.write("more\n")
    assert capsys.readouterr().out == "été\nmore\n"
