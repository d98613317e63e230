"""parquet in and out: types and metadata stay, memory is bounded, and what is wrong is named."""

from __future__ import annotations

import datetime
import decimal
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdinfer import Classifier, InputError, MissingExtraError
from qdinfer.cli import main
from qdinfer.tabular import Rows, parquet_writing, read_blocks, read_table, table_format, write_table
from qdistill.recipe import Labelled

NOW = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901)
EPOCH = "1970-01-01 00:00:00"
TEXTS = ["sun rain", "", "été"]
ORDERED = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), ["lo", "hi"], ordered=True)
PLAIN = {  # a column of three rows, and what it is in csv and jsonl
    "text": (pa.array(TEXTS), TEXTS),
    "with.dot": (pa.array([1, 2, None], pa.uint8()), [1, 2, None]),
    "with": (pa.array([True, None, False]), [True, None, False]),
    "float": (pa.array([0.1, 1e300, None]), [0.1, 1e300, None]),
    "half": (pa.array(np.array([1, 2.5, 3], np.float16)), [1.0, 2.5, 3.0]),
    "category": (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
    "ordered": (ORDERED, ["hi", "lo", None]),
    "nanoseconds": (pa.array([1, None, 2], pa.timestamp("ns")), [f"{EPOCH}.000000001", None, f"{EPOCH}.000000002"]),
    "zoned": (pa.array([NOW] * 3, pa.timestamp("us", "UTC")), ["2024-01-02 03:04:05.678901Z"] * 3),
    "date": (pa.array([NOW.date()] * 3), ["2024-01-02"] * 3),
    "time": (pa.array([NOW.time()] * 3), ["03:04:05.678901"] * 3),
    "decimal": (pa.array([decimal.Decimal("1.20")] * 3), ["1.20"] * 3),
    "large": (pa.array(TEXTS, pa.large_string()), TEXTS),
    "nothing": (pa.nulls(3), [None] * 3),
}
NESTED = {
    "list": (pa.array([[1, None], [], None]), [[1, None], [], None]),
    "large list": (pa.array([["é"]] * 3, pa.large_list(pa.large_string())), [["é"]] * 3),
    "fixed list": (pa.array([[1, 2]] * 3, pa.list_(pa.float32(), 2)), [[1.0, 2.0]] * 3),
    "categories": (pa.array([["x"]] * 3, pa.list_(pa.dictionary(pa.int8(), pa.string()))), [["x"]] * 3),
    "struct": (pa.array([{"x": 1, "y": {"z": [NOW.date()]}}] * 3), [{"x": 1, "y": {"z": ["2024-01-02"]}}] * 3),
    "map": (pa.array([[("k", 1)]] * 3, pa.map_(pa.string(), pa.int8())), [[["k", 1]]] * 3),
}
FORMLESS = {  # of no form but parquet's
    "duration": pa.array([datetime.timedelta(1)] * 3),
    "bytes": pa.array([b"\xff", None, b""]),
    "fixed bytes": pa.array([b"ab"] * 3, pa.binary(2)),
    "list of bytes": pa.array([[b"ab"]] * 3),
    "struct with bytes": pa.array([{"x": b"ab"}] * 3),
    "map to bytes": pa.array([[("k", b"ab")]] * 3, pa.map_(pa.string(), pa.binary())),
    "uuid": pa.array([b"0" * 16] * 3, pa.uuid()) if hasattr(pa, "uuid") else pa.array([b"0" * 16] * 3),
}


def everything() -> pa.Table:
    columns = {name: column for name, (column, _) in (PLAIN | NESTED).items()} | FORMLESS
    table = pa.table(columns).replace_schema_metadata({"owner": "me", "é": "ü"})
    text = pa.field("text", pa.string(), nullable=False, metadata={"language": "none"})
    return table.set_column(0, text, table["text"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    pq.write_table(everything(), path, row_group_size=2)
    return path


def copied(source: Path, target: Path, added: dict[str, Any] | None = None) -> Path:
    """The file in another format, with columns added."""
    kind = target.suffix[1:]
    with write_table(str(target), kind) as writer:
        start = 0
        for block in read_blocks(str(source), columns=["text"], target=kind):
            end = start + len(block)
            writer.write(block, {name: values[start:end] for name, values in (added or {}).items()})
            start = end
    return target


def refusal(*words: object, code: int = 2) -> str:
    """The one line that the command prints in its error."""
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(sys.stderr, "write", lines.append)
        assert main([str(word) for word in words]) == code
    text = "".join(lines)
    assert text.startswith("qdinfer: error: ")
    assert text.count("\n") == 1
    return text.removeprefix("qdinfer: error: ").removesuffix("\n")


# parquet to parquet


def test_other_columns_keep_types_values_and_metadata(source: Path, tmp_path: Path) -> None:
    before = pq.read_table(source)
    assert before.schema.metadata == {b"owner": b"me", "é".encode(): "ü".encode()}
    copy = pq.read_table(copied(source, tmp_path / "out.parquet"))
    assert copy.schema.equals(before.schema, check_metadata=True)
    assert copy.equals(before)


def test_added_columns_stand_after_the_others(source: Path, tmp_path: Path) -> None:
    added = {"prediction": np.array(["x", "yy", ""]), "shots": np.array([1, 2, 3]), "p": np.array([0.5, 0.25, 1.0])}
    copy = pq.read_table(copied(source, tmp_path / "out.parquet", added))
    assert copy.column_names == [*everything().column_names, *added]
    assert copy.drop_columns(list(added)).equals(pq.read_table(source))
    assert [copy.schema.field(name).type for name in added] == [pa.string(), pa.int64(), pa.float64()]
    assert copy.select(list(added)).to_pydict() == {name: values.tolist() for name, values in added.items()}


def test_sparks_list_of_columns_goes_since_it_would_lack_the_new_ones(tmp_path: Path) -> None:
    key = b"org.apache.spark.sql.parquet.row.metadata"
    table = pa.table({"text": ["sun"]}).replace_schema_metadata({key: "{}", "owner": "me"})
    pq.write_table(table, tmp_path / "in.parquet")
    copied(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").metadata == {b"owner": b"me"}


def test_predict_goes_from_a_frame_to_a_frame(student_path: Path, tmp_path: Path, classifier: Classifier) -> None:
    frame = pd.DataFrame(
        {"text": ["sun", "goal", "bank"], "when": pd.to_datetime(["2024-01-01"] * 3, utc=True), "n": [1, 2, 3]},
        index=pd.Index(["x", "y", "z"], name="key"),
    )
    frame["kind"] = frame["text"].astype("category")
    frame.to_parquet(tmp_path / "in.parquet")
    words = ["predict", student_path, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet"]
    assert main([str(word) for word in [*words, "--proba"]]) == 0
    found = pd.read_parquet(tmp_path / "out.parquet")
    expected = classifier.classify(frame["text"]).to_pandas(index=frame.index)
    added = ["prediction", "p(weather)", "p(sport)", "p(money)"]
    pd.testing.assert_frame_equal(found, frame.join(expected[added]))
    assert not list(tmp_path.glob(".*"))


def test_predict_takes_what_polars_writes(student_path: Path, tmp_path: Path, classifier: Classifier) -> None:
    frame = pl.DataFrame({"body": ["sun", "goal"], "n": [1, 2], "tags": [["a"], []]})
    frame.write_parquet(tmp_path / "in.parquet")
    words = ["predict", student_path, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out"]
    assert main([str(word) for word in [*words, "--text-column", "body", "--format", "parquet"]]) == 0
    found = pl.read_parquet(tmp_path / "out", memory_map=False)
    assert found["prediction"].to_list() == classifier.predict(frame["body"]).tolist()
    assert found.drop("prediction").equals(frame)


def test_predict_may_write_over_its_input(student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["sun"] * 3000, "n": range(3000)}), path)
    assert main(["predict", str(student_path), "--input", str(path), "--output", str(path)]) == 0
    found = pq.read_table(path)
    assert found.column_names == ["text", "n", "prediction"]
    assert found["n"].to_pylist() == list(range(3000))


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("group", [700, 10_000])
def test_rows_stay_in_order_whatever_the_row_groups(
    student_path: Path, tmp_path: Path, classifier: Classifier, rows: int, group: int
) -> None:
    words = ["sun", "goal", "bank", "rain goal", "share"]
    texts = [words[i % 5] for i in range(rows)]
    table = pa.table({"text": pa.array(texts, pa.string()).dictionary_encode(), "n": pa.array(range(rows), pa.int16())})
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, row_group_size=group)
    assert main(["predict", str(student_path), "--input", str(source), "--output", str(target)]) == 0
    found = pq.read_table(target)
    known = dict(zip(words, classifier.predict(words).tolist(), strict=True))
    assert found.schema == table.schema.append(pa.field("prediction", pa.string()))
    assert found.to_pydict() == table.to_pydict() | {"prediction": [known[text] for text in texts]}


def test_many_blocks_are_one_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"text": ["sun"] * 10_000}), tmp_path / "in.parquet", row_group_size=100)
    file = pq.read_metadata(copied(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    assert (file.num_row_groups, file.num_rows) == (1, 10_000)
    monkeypatch.setattr(parquet_writing, "_GROUP_ROWS", 4000)
    file = pq.read_metadata(copied(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    assert [file.row_group(i).num_rows for i in range(file.num_row_groups)] == [4000, 4000, 2000]
    monkeypatch.setattr(parquet_writing, "_GROUP_BYTES", 100)
    assert pq.read_metadata(copied(tmp_path / "in.parquet", tmp_path / "out.parquet")).num_row_groups == 100


@pytest.mark.parametrize(("distinct", "ordered"), [(9000, False), (600, False), (600, True), (10, True)])
def test_a_large_dictionary_is_not_written_again_and_again(tmp_path: Path, distinct: int, ordered: bool) -> None:
    """A batch of the reader's has the dictionary of its whole row group."""
    indices = pa.array([None if i % 11 == 0 else i % distinct for i in range(20_000)], pa.int16())
    values = pa.array([f"{i:0300d}" for i in range(distinct)], pa.large_string())
    table = pa.table(
        {"text": ["sun"] * 20_000, "kind": pa.DictionaryArray.from_arrays(indices, values, ordered=ordered)}
    )
    pq.write_table(table, tmp_path / "in.parquet")
    found = pq.read_table(copied(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    assert found.schema == pq.read_schema(tmp_path / "in.parquet")
    assert found["kind"].cast(pa.large_string()) == table["kind"].cast(pa.large_string())
    assert pq.read_metadata(tmp_path / "out.parquet").num_row_groups == 1
    assert (tmp_path / "out.parquet").stat().st_size < 1.5 * (tmp_path / "in.parquet").stat().st_size


def test_categories_that_no_row_has_are_kept(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["sun", "rain"]})
    frame["kind"] = pd.Categorical(["lo", "hi"], ["lo", "mid", "hi"], ordered=True)
    frame["team"] = pd.Categorical(["a", None], ["a", "b"])
    frame.to_parquet(tmp_path / "in.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(copied(tmp_path / "in.parquet", tmp_path / "out.parquet")), frame)


# parquet to csv and jsonl


def test_values_have_their_forms_in_jsonl(tmp_path: Path) -> None:
    both = PLAIN | NESTED
    pq.write_table(pa.table({name: column for name, (column, _) in both.items()}), tmp_path / "in.parquet")
    text = copied(tmp_path / "in.parquet", tmp_path / "out.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert {name: [row[name] for row in rows] for name in rows[0]} == {name: form for name, (_, form) in both.items()}


def test_values_have_their_forms_in_csv(tmp_path: Path) -> None:
    pq.write_table(pa.table({name: column for name, (column, _) in PLAIN.items()}), tmp_path / "in.parquet")
    rows = list(read_table(str(copied(tmp_path / "in.parquet", tmp_path / "out.csv")), columns=["text"]))
    for name, (_, form) in PLAIN.items():
        assert [row[name] for row in rows] == ["" if value is None else str(value) for value in form]


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "x": [float("nan"), 1.0], "deep": [[1.0, float("nan")], []]})
    pq.write_table(table, tmp_path / "in.parquet")
    lines = copied(tmp_path / "in.parquet", tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line, parse_constant=pytest.fail)["x"] for line in lines] == [None, 1.0]
    assert json.loads(lines[0])["deep"] == [1.0, None]
    pq.write_table(pa.table({"text": ["a"], "x": [float("inf")]}), tmp_path / "in.parquet")
    with pytest.raises(InputError, match="x: found inf, which has no form in jsonl; expected finite numbers"):
        copied(tmp_path / "in.parquet", tmp_path / "inf.jsonl")
    assert not (tmp_path / "inf.jsonl").exists()


@pytest.mark.parametrize("name", FORMLESS)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_what_has_no_form_is_refused_before_the_work(
    student_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ending: str
) -> None:
    monkeypatch.setattr(Classifier, "classify_marked", lambda *_, **__: pytest.fail("texts were classified"))
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": TEXTS, name: FORMLESS[name]}), path)
    kind = pq.read_schema(path).field(name).type
    message = refusal("predict", student_path, "--input", path, "--output", tmp_path / f"out.{ending}")
    assert message == (
        f"{path}: found {kind} in {name!r}, which has no form in {ending}; expected parquet as the format of the "
        "output, or an input without that column"
    )
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("name", NESTED)
def test_what_is_nested_has_no_form_in_csv(student_path: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": TEXTS, name: NESTED[name][0]}), path)
    message = refusal("predict", student_path, "--input", path)  # standard output is a csv
    assert message.endswith(
        f"in {name!r}, which has no form in csv; expected jsonl or parquet as the format of the output, or an input "
        "without that column"
    )


def test_standard_output_is_csv_or_jsonl(
    student_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], classifier: Classifier
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["sun"], "n": [1]}), path)
    label = classifier.predict("sun")[0]
    assert main(["predict", str(student_path), "--input", str(path)]) == 0
    assert capsys.readouterr().out == f"text,n,prediction\nsun,1,{label}\n"
    assert main(["predict", str(student_path), "--input", str(path), "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "sun", "n": 1, "prediction": label}
    for words in (
        ["--input", path, "--format", "parquet"],
        ["--input", "-", "--format", "parquet", "--output", "o.csv"],
    ):
        assert refusal("predict", student_path, *words) == (
            "standard input and output: found parquet, which is read from its end; "
            "expected a file's name, or csv or jsonl"
        )


# csv and jsonl to parquet


def test_a_csv_becomes_texts(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,sun\n,\n")
    found = pq.read_table(copied(tmp_path / "in.csv", tmp_path / "out.parquet"))
    assert found.schema == pa.schema([("id", pa.string()), ("text", pa.string())])
    assert found.to_pylist() == [{"id": "1", "text": "sun"}, {"id": "", "text": ""}]


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [("in.csv", "id,text\n", ["id", "text"]), ("in.jsonl", "", ["text"])],
)
def test_a_table_without_rows_still_has_columns(
    student_path: Path, tmp_path: Path, name: str, content: str, columns: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    words = ["--input", tmp_path / name, "--output", tmp_path / "out.parquet", "--proba"]
    assert main([str(word) for word in ["predict", student_path, *words]]) == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.num_rows == 0
    floats = [(f"p({label})", pa.float64()) for label in ("weather", "sport", "money")]
    assert found.schema == pa.schema(
        [*((column, pa.string()) for column in columns), ("prediction", pa.string()), *floats]
    )


def test_a_jsonl_gets_the_types_that_hold_all_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = 3000
    rows = [{"text": "sun", "n": i, "some": None, "deep": {"a": [i]}} for i in range(many)]
    rows[-1] |= {"n": 0.5, "some": "here", "more": True}
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = pq.read_table(copied(tmp_path / "in.jsonl", tmp_path / "out.parquet"))
    deep = pa.struct([("a", pa.list_(pa.field("element", pa.int64())))])
    types = {"text": pa.string(), "n": pa.float64(), "some": pa.string(), "deep": deep, "more": pa.bool_()}
    assert {field.name: field.type for field in found.schema} == types
    assert found["n"].to_pylist() == [*map(float, range(many - 1)), 0.5]
    assert found["more"].to_pylist() == [None] * (many - 1) + [True]
    assert found["deep"].to_pylist() == [{"a": [i]} for i in range(many)]


def test_a_column_of_nulls_becomes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writing, "_GROUP_ROWS", 1024)
    rows = [{"text": "sun", "some": None}] * 1024 + [{"text": "sun", "some": "late"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = pq.read_table(copied(tmp_path / "in.jsonl", tmp_path / "out.parquet"))
    assert found["some"].to_pylist() == [None] * 1024 + ["late"]


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ({"n": 0.5}, "found double in 'n'; expected int64, as in the rows that are written already, or jsonl as"),
        (
            {"more": 1},
            "found int64 in 'more'; expected no such column, as in the rows that are written already, or jsonl",
        ),
        (
            {"n": "one"},
            "found what parquet cannot hold (Unable to merge: Field n has incompatible types: int64 vs string)",
        ),
    ],
)
def test_a_late_row_of_another_type_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(parquet_writing, "_GROUP_ROWS", 1024)
    rows = [{"text": "sun", "n": 1}] * 1024 + [{"text": "sun", "n": 1} | late]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        copied(tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert str(caught.value).startswith(f"{tmp_path / 'out.parquet'}: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, "a"], "found values in 'x' that parquet cannot hold together (Could not convert 'a' with type str"),
        ([True, 1], "found values in 'x' that parquet cannot hold together (Could not convert 1 with type int"),
        ([{"a": 1}, [1]], "found values in 'x' that parquet cannot hold together ("),
        ([2**63], "found values in 'x' that parquet cannot hold together (Python int too large"),
        ([2**60 + 1, 0.5], "found values in 'x' that parquet cannot hold together (Integer value"),
        (["half \ud83c"], "found values in 'x' that parquet cannot hold together ('utf-8' codec can't encode"),
        ([{}], "found what parquet cannot hold (Cannot write struct type 'x' with no child field"),
    ],
    ids=range(7),
)
def test_values_that_parquet_has_no_type_for_are_refused(tmp_path: Path, values: list[Any], reason: str) -> None:
    rows = [{"text": "sun", "x": value} for value in values]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        copied(tmp_path / "in.jsonl", tmp_path / "out.parquet")
    assert str(caught.value).startswith(f"{tmp_path / 'out.parquet'}: {reason}")
    assert str(caught.value).endswith("jsonl as the format of the output")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_what_no_reader_could_open_is_not_written(tmp_path: Path) -> None:
    deep = '{"text": "sun", "x": ' + "[" * 400 + "1" + "]" * 400 + "}"
    (tmp_path / "in.jsonl").write_text(deep)
    with pytest.raises(InputError, match="found what parquet cannot hold \\(Invalid flatbuffers message"):
        copied(tmp_path / "in.jsonl", tmp_path / "out.parquet")
    (tmp_path / "in.jsonl").write_text(deep.replace("[" * 400, "[" * 40).replace("]" * 400, "]" * 40))
    copied(copied(tmp_path / "in.jsonl", tmp_path / "out.parquet"), tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == json.loads((tmp_path / "in.jsonl").read_text())


def test_a_column_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "sun", "half \\ud83c": 1}')
    with pytest.raises(InputError, match="found what parquet cannot hold \\('utf-8' codec"):
        copied(tmp_path / "in.jsonl", tmp_path / "out.parquet")


scalars = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)  # JSON knows neither
kinds = st.sampled_from([scalars, st.booleans(), st.integers(-(2**63), 2**63 - 1), numbers])
column_lists = kinds.flatmap(lambda kind: st.lists(st.none() | kind | st.none(), min_size=3, max_size=3))
tables = st.dictionaries(scalars.filter(lambda name: name != "text"), column_lists, max_size=4)


@settings(max_examples=60)
@given(tables)
def test_jsonl_through_parquet_is_the_same_jsonl(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("through")
    rows = [{"text": "sun"} | {name: values[i] for name, values in columns.items()} for i in range(3)]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    copied(copied(folder / "in.jsonl", folder / "t.parquet"), folder / "out.jsonl")
    assert list(read_table(str(folder / "out.jsonl"), columns=["text"])) == rows


# What is refused


def test_a_missing_text_is_named_with_its_row(student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    for encoded in (False, True):
        texts = pa.array(["sun"] * 2500 + [None, "rain", None])
        pq.write_table(pa.table({"text": texts.dictionary_encode() if encoded else texts}), path, row_group_size=1100)
        message = refusal("predict", student_path, "--input", path, "--output", tmp_path / "out.parquet")
        assert message == f"{path} row 2501: found None in 'text'; expected a text"
    pq.write_table(pa.table({"text": pa.nulls(2)}), path)
    assert refusal("predict", student_path, "--input", path) == f"{path} row 1: found None in 'text'; expected a text"
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": [1], "body": ["sun"]}), "found columns ['id', 'body']; expected 'text'"),
        (pa.table({"text": [1]}), "found int64 in 'text'; expected texts"),
        (pa.table({"text": [b"sun"]}), "found binary in 'text'; expected texts"),
        (pa.table({"text": [["sun"]]}), "found list<element: string> in 'text'; expected texts"),
        (
            pa.table([["a"], ["b"], [1]], ["text", "text", "n"]),
            "found columns ['text', 'text', 'n']; expected each name",
        ),
    ],
    ids=range(5),
)
def test_columns_that_cannot_be_used(student_path: Path, tmp_path: Path, table: pa.Table, message: str) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(table, path)
    assert refusal("predict", student_path, "--input", path).startswith(f"{path}: {message}")


@pytest.mark.parametrize("rows", [0, 2])
def test_a_column_that_the_output_adds(student_path: Path, tmp_path: Path, rows: int) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": pa.array(["sun"] * rows, pa.string()), "prediction": [1] * rows}), path)
    message = refusal("predict", student_path, "--input", path, "--output", tmp_path / "out.parquet")
    assert message == "found a column 'prediction' in the input, which the output adds; expected another name"
    assert not list(tmp_path.glob("*out*"))


def damaged() -> Iterator[tuple[str, bytes]]:
    sink = pa.BufferOutputStream()
    table = pa.table({"text": [f"text {i}" for i in range(5000)]})
    pq.write_table(table, sink, write_page_checksum=True, use_dictionary=False, compression="none")
    whole = sink.getvalue().to_pybytes()
    middle = whole.index(b"text 4321")
    yield "empty", b""
    yield "a csv", b"text\nsun\n" * 10
    yield "cut off", whole[:-1]
    yield "half", whole[: len(whole) // 2]
    yield "its end alone", whole[-2000:]
    yield "a hole", whole[:4000] + bytes(2000) + whole[6000:]
    yield "a word of one text", whole[:middle] + b"next" + whole[middle + 4 :]


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in damaged()])
def test_a_damaged_file_is_refused(student_path: Path, tmp_path: Path, content: bytes) -> None:
    path, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    path.write_bytes(content)
    target.write_text("the old one")
    message = refusal("predict", student_path, "--input", path, "--output", target)
    assert message.startswith(f"{path}: found no sound parquet (")
    assert target.read_text() == "the old one"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.parquet", "out.parquet", "tiny"]


def test_bytes_that_are_not_utf8_are_refused(student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    wrong = pa.array([b"sun", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": wrong}), path)
    assert "found no sound parquet (" in refusal("predict", student_path, "--input", path)
    pq.write_table(pa.table({"text": ["sun", "rain"], "note": wrong}), path)
    assert "found no sound parquet ('utf-8' codec" in refusal("predict", student_path, "--input", path)
    copied(path, tmp_path / "out.parquet")  # nobody reads it


def test_what_is_no_file_is_the_systems_error(student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    assert refusal("predict", student_path, "--input", path) == f"{path}: No such file or directory"
    words = ["--input", tmp_path, "--format", "parquet", "--output", tmp_path / "o.csv"]
    assert refusal("predict", student_path, *words) == f"{tmp_path}: Is a directory"
    os.mkfifo(tmp_path / "pipe.parquet")
    with os.fdopen(os.open(tmp_path / "pipe.parquet", os.O_RDWR)):  # or opening it would wait for a writer
        message = refusal("predict", student_path, "--input", tmp_path / "pipe.parquet")
    assert message.endswith("pipe.parquet: found a pipe; expected a file, since parquet is read from its end")
    pq.write_table(pa.table({"text": ["sun"]}), path)
    message = refusal("predict", student_path, "--input", path, "--output", tmp_path / "no" / "out.parquet")
    assert message == f"{tmp_path / 'no' / 'out.parquet'}: found no folder for it; expected an existing one"


def test_a_full_disk_is_the_systems_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["sun"]}), tmp_path / "in.parquet")
    (tmp_path / "out.parquet").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        copied(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert caught.value.errno == errno.ENOSPC


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    path.write_text("the old one")

    def fail() -> None:
        with write_table(str(path), "parquet") as writer:
            for _ in range(200):  # more than one row group
                writer.write(Rows([{"text": "sun" * 100}] * 1024, ["text"]), {})
            raise RuntimeError("the writer failed")

    with pytest.raises(RuntimeError, match="the writer failed"):
        fail()
    assert [each.name for each in tmp_path.iterdir()] == ["out.parquet"]
    assert path.read_text() == "the old one"


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    name = str(tmp_path / "t.parquet")
    for call in (
        lambda: read_table(name, columns=["text"]),
        lambda: read_blocks(name, columns=["text"], target="csv"),
        lambda: table_format(name),
        lambda: table_format(str(tmp_path / "t"), "parquet"),
    ):
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert str(caught.value) == 'parquet needs an optional part: pip install "qdinfer[parquet]"'


# Other commands


def test_evaluate_reads_parquet(
    student_path: Path, tmp_path: Path, classifier: Classifier, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["sun", "goal", "bank", "rain goal"] * 10
    labels = pa.array(classifier.predict(texts).tolist()).dictionary_encode()
    path = tmp_path / "test.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels, "vector": [[0.5] * 8] * 40}), path)
    assert main(["evaluate", str(student_path), "--input", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1
    pq.write_table(pa.table({"text": texts, "label": [1] * 40}), path)
    assert refusal("evaluate", student_path, "--input", path) == f"{path}: found int64 in 'label'; expected texts"


def test_estimate_counts_the_rows_of_parquet(
    student_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input", str(source), "--backend", "fake:FakeManilaV2", "--shots", "10"]
    assert main(["estimate", str(student_path), *words]) == 0
    assert capsys.readouterr().out.startswith("3 texts × 10 shots")


def test_training_texts_come_from_parquet(tmp_path: Path) -> None:
    path = str(tmp_path / "train.parquet")
    pq.write_table(pa.table({"t": ["sun", "goal"], "y": pa.array(["a", "b"]).dictionary_encode(), "n": [1, 2]}), path)
    assert Labelled.read(path, "t", "y") == Labelled(["sun", "goal"], ["a", "b"])
    with pytest.raises(InputError, match="expected 'label'$"):
        Labelled.read(path, "t", "label")


def test_rows_have_the_columns_that_were_asked_for(source: Path) -> None:
    rows = list(read_table(str(source), columns=["text"], optional=["with", "bytes", "none"]))
    assert rows[0] == {"text": "sun rain", "with": True, "bytes": b"\xff"}
    assert [row["text"] for row in rows] == TEXTS
    assert list(read_table(str(source), columns=["text"])) == [{"text": text} for text in TEXTS]


def test_standard_input_may_become_parquet(student_path: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b'{"text": "sun", "n": 1}\n')
    os.close(write)
    with os.fdopen(read) as stdin, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", stdin)
        words = ["--input", "-", "--output", str(tmp_path / "out.parquet"), "--format", "jsonl"]
        assert main(["predict", str(student_path), *words]) == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["text", "n", "prediction"]
