"""Tables in and out: nothing is lost, and what is wrong is named with its line."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qdinfer import InputError
from qdinfer.tabular import Rows, column, read_blocks, read_table, table_format, write_table

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
        with write_table(str(path), ending) as writer:
            for block in blocks_of(rows):
                writer.write(block, {})
        return path.read_bytes(), read(path)


def blocks_of(rows: list[dict[str, Any]]) -> list[Rows]:
    """The rows, two in a block."""
    return [Rows(rows[i : i + 2], list(rows[0])) for i in range(0, len(rows), 2)]


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


@settings(max_examples=150)
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


@settings(max_examples=150)
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


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbf{"text": "sun"}\n{"text": "rain"}', b'\n{"text": "sun"}\r\n  \n{"text": "rain"}\r\n']
)
def test_jsonl_dialects(tmp_path: Path, content: bytes) -> None:
    assert read(table(tmp_path, content, "table.JSONL"), "text") == [{"text": "sun"}, {"text": "rain"}]


@pytest.mark.parametrize(
    ("content", "name", "columns"),
    [("id,text\n", "t.csv", ["id", "text"]), ("", "t.jsonl", ["text"]), ("\n\n", "t.jsonl", ["text"])],
)
def test_a_table_without_rows_is_a_block_without_rows(
    tmp_path: Path, content: str, name: str, columns: list[str]
) -> None:
    path = str(table(tmp_path, content, name))
    assert list(read_table(path, columns=["text"])) == []
    assert list(read_blocks(path, columns=["text"], target="csv")) == [Rows([], columns)]


@pytest.mark.parametrize("rows", [1, 1023, 1024, 1025, 2048, 3000])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_blocks_are_the_rows(tmp_path: Path, rows: int, ending: str) -> None:
    lines = [f'{{"id": "{i}", "text": "sun"}}' for i in range(rows)]
    content = "\n".join(lines if ending == "jsonl" else ["id,text", *(f"{i},sun" for i in range(rows))])
    path = str(table(tmp_path, content, f"t.{ending}"))
    blocks = list(read_blocks(path, columns=["text"], target="csv"))
    assert [len(block) for block in blocks] == [1024] * (rows // 1024) + [rows % 1024] * (rows % 1024 > 0)
    assert [row for block in blocks for row in block.to_rows().rows] == list(read_table(path, columns=["text"]))
    assert blocks[-1].names() == {"id", "text"}
    assert blocks[0].texts("text") == ["sun"] * len(blocks[0])
    assert blocks[0][1:3].to_rows().rows == blocks[0].to_rows().rows[1:3]


def test_a_block_of_jsonl_names_the_columns_of_all_rows(tmp_path: Path) -> None:
    path = table(tmp_path, '{"text": "sun"}\n{"text": "rain", "prediction": 1}\n', "t.jsonl")
    (block,) = read_blocks(str(path), columns=["text"], target="csv")
    assert block.names() == {"text", "prediction"}
    assert block.to_rows().columns == ["text"]


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
        ("a.Parquet", None, "parquet"),
        ("a.parquet", "csv", "parquet"),
        ("a", "parquet", "parquet"),
    ],
)
def test_the_name_tells_the_format(name: str, given: str | None, expected: str) -> None:
    assert table_format(name, given) == expected


@pytest.mark.parametrize(("name", "ending"), [("a.xlsx", "xlsx"), ("folder.csv/a", ""), ("a", "")])
def test_a_name_that_does_not_tell_is_refused(name: str, ending: str) -> None:
    with pytest.raises(InputError) as caught:
        table_format(name)
    assert str(caught.value) == f"{name}: found the ending {ending!r}; expected .csv, .jsonl or .parquet, or --format"


def test_standard_input_and_output_are_no_parquet() -> None:
    with pytest.raises(InputError) as caught:
        table_format("-", "parquet")
    assert str(caught.value) == (
        "standard input and output: found parquet, which is read from its end; expected a file's name, or csv or jsonl"
    )


# What is written


def written(path: Path, *blocks: Rows, added: dict[str, Any] | None = None) -> str:
    """What is in the file after the blocks were written to it."""
    with write_table(str(path), table_format(str(path))) as writer:
        for block in blocks:
            writer.write(block, added or {})
    return path.read_text()


def test_a_csv_row_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^found a row with columns \['a'\]; expected \['a', 'b'\], as in the first row$"
    ):
        written(tmp_path / "t.csv", Rows([{"a": 1, "b": 2}, {"a": 1}], ["a", "b"]))
    assert not list(tmp_path.iterdir())


def test_a_csv_row_may_have_its_columns_in_any_order(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert written(tmp_path / "t.csv", *blocks_of(rows)) == "a,b\n1,2\n3,4\n"


def test_a_jsonl_row_may_have_other_columns(tmp_path: Path) -> None:
    text = written(tmp_path / "t.jsonl", Rows([{"a": 1}, {"b": "x"}], ["a"]))
    assert [json.loads(line) for line in text.splitlines()] == [{"a": 1}, {"b": "x"}]


def test_added_columns_stand_beside_the_rows(tmp_path: Path) -> None:
    block = Rows([{"text": "sun"}, {"text": "rain"}], ["text"])
    added = {"prediction": np.array(["weather", "sport"]), "p": np.array([0.1, 1.0]), "shots": np.array([3, 4])}
    assert written(tmp_path / "t.csv", block, added=added) == (
        "text,prediction,p,shots\nsun,weather,0.1,3\nrain,sport,1.0,4\n"
    )
    last = {name: values[1:] for name, values in added.items()}
    assert json.loads(written(tmp_path / "t.jsonl", block[1:], added=last)) == {
        "text": "rain",
        "prediction": "sport",
        "p": 1.0,
        "shots": 4,
    }


def test_a_header_alone_is_a_table(tmp_path: Path) -> None:
    added = {"prediction": np.empty(0, np.str_)}
    assert written(tmp_path / "t.csv", Rows([], ["text"]), added=added) == "text,prediction\n"
    assert written(tmp_path / "t.jsonl", Rows([], ["text"]), added=added) == ""


def failing(path: Path, old: str | None) -> None:
    """Write half a file, see that the old one is still there, and fail."""
    with write_table(str(path), "csv") as writer:
        writer.write(Rows([{"text": "half"}], ["text"]), {})
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
    assert written(path, Rows([{"text": "whole"}], ["text"])) == "text\nwhole\n"
    assert list(tmp_path.iterdir()) == [path]


def test_standard_output_stays_open(capsys: pytest.CaptureFixture[str]) -> None:
    with write_table("-", "jsonl") as writer:
        writer.write(Rows([{"text": "été"}], ["text"]), {})
    sys.stdout.write("more\n")
    assert capsys.readouterr().out == '{"text": "été"}\nmore\n'
