"""`qdistill label`, with each kind of teacher."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import csv, parquet
from teachers.server import completion, serving

from qdinfer.cli import run_command
from qdistill.teachers import TeacherLabels
from qdistill.teachers.command import add_label_command

Make = Callable[..., Path]
SEA, WOOD = (
    ["salt wave the", "boat gull a", "wave was near", "gull salt"],
    ["oak leaf", "moss and owl", "the oak", "leaf owl"],
)


def run(*words: object) -> int:
    parser = argparse.ArgumentParser("qdistill")
    add_label_command(parser.add_subparsers(required=True))
    return run_command(parser, ["label", *map(str, words)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    rows = [f"{text},{label}" for label, texts in (("sea", SEA), ("wood", WOOD)) for text in texts]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    path = tmp_path / "more.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("salt near", "owl was near", "moss")))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_zero_shot(data: Path, output: Path, llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--teacher", "zero-shot", "--model", llama, "--output", output, "--calibrate", "--batch-size", "3"]
    words = ["--words", "sea=sea salt", "wood=wood", "--template", "the {text} is", "--max-tokens", "20"]
    assert run(data, *options, *words) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{output}: 8 texts of {data}, accuracy 0.")
    assert said.err == ""
    answers = TeacherLabels.load(output)
    assert answers.labels == ("sea", "wood")
    assert answers.lookup(SEA + WOOD, ["sea", "wood"]).shape == (8, 2)
    assert answers.teacher["template"] == "the {text} is"
    assert answers.teacher["max_tokens"] == 20
    assert str(llama) not in output.read_text()
    before = output.read_bytes()
    assert run(data, *options, *words) == 0
    assert output.read_bytes() == before
    assert run(data, *options, "--labels", "sea", "wood") == 2
    assert "found another teacher's answers" in capsys.readouterr().err


def test_probe_on_its_own_texts(data: Path, output: Path, llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--layers", "1", "2", "--folds", "4", "--seed", "3"]
    assert run(data, "--teacher", "probe", "--model", llama, "--output", output, *options) == 0
    assert f": 8 texts of {data}, accuracy" in capsys.readouterr().out
    identity = TeacherLabels.load(output).teacher
    assert (identity["folds"], identity["seed"]) == (4, 3)


def test_probe_on_other_texts(
    data: Path, unlabelled: Path, output: Path, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = tmp_path / "labelled.csv"
    labelled.write_text(data.read_text().replace("text,label", "body,topic"))
    columns = ["--text-column", "body", "--label-column", "topic"]
    options = ["--teacher", "probe", "--model", llama, "--output", output, "--labelled", labelled]
    assert run(unlabelled, *options, *columns) == 0
    assert capsys.readouterr().out == f"{output}: 3 texts of {unlabelled}\n"
    assert len(TeacherLabels.load(output).rows) == 3


def test_classifier(data: Path, output: Path, make_bert: Make, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--teacher", "classifier", "--model", make_bert(["LABEL_0", "LABEL_1"]), "--output", output]
    assert run(data, *options, "--words", "wood=LABEL_0", "sea=LABEL_1") == 0
    assert f": 8 texts of {data}, accuracy" in capsys.readouterr().out
    assert TeacherLabels.load(output).labels == ("wood", "sea")


def test_endpoint(
    data: Path, output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret-123")
    with serving() as server:
        server.reply = lambda _, body: completion({" sea": -1.0, " wood": -0.5 if body["prompt"] in WOOD else -2.0})
        options = ["--teacher", "endpoint", "--model", "tiny", "--endpoint", server.url, "--output", output]
        labels = ["--labels", "sea", "wood", "--template", "{text}", "--top", "7", "--api-key-env", "A_KEY"]
        assert run(data, *options, *labels) == 0
        assert server.requests[0][2]["logprobs"] == 7
        assert server.requests[0][1]["Authorization"] == "Bearer secret-123"
    said = capsys.readouterr()
    assert said.out == f"{output}: 8 texts of {data}, accuracy 1\n"
    assert "secret" not in output.read_text() + said.err


def test_texts_and_known_labels_come_from_parquet_too(
    data: Path, output: Path, make_bert: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    table = csv.read_csv(data)
    for name, expected in (("both", f"8 texts of {data.with_suffix('.parquet')}, accuracy"), ("text", "8 texts of")):
        kept = table if name == "both" else table.select(["text"])
        parquet.write_table(kept, data.with_suffix(".parquet"))
        options = ["--teacher", "classifier", "--model", make_bert(["sea", "wood"]), "--output", output]
        assert run(data.with_suffix(".parquet"), *options) == 0
        said = capsys.readouterr().out
        assert expected in said
        assert ("accuracy" in said) == (name == "both")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["zero-shot"], "neither --labels nor --words"),
        (["zero-shot", "--labels", "a", "b", "--words", "a=b"], "both --labels and --words"),
        (["zero-shot", "--words", "a"], "--words: found 'a'; expected LABEL=WORD"),
        (["zero-shot", "--words", "a=b", "a=c"], "expected each label once"),
        (
            ["zero-shot", "--labels", "a", "b", "--layers", "3"],
            "--layers: found it with --teacher zero-shot; expected it with probe",
        ),
        (["probe", "--calibrate"], "--calibrate: found it with --teacher probe; expected it with zero-shot, endpoint"),
        (["probe", "--words", "a=b"], "--words: found it with --teacher probe"),
        (["classifier", "--endpoint", "http://x"], "--endpoint: found it with --teacher classifier"),
        (["endpoint", "--labels", "a", "b"], "found no --endpoint"),
        (["endpoint", "--endpoint", "http://x"], "neither --labels nor --words"),
        (["endpoint", "--batch-size", "3"], "--batch-size: found it with --teacher endpoint"),
        (["zero-shot", "--labels", "a", "b"], "/no/model: found no file or folder there"),
        (
            ["zero-shot", "--labels", "a", "b", "--text-column", "body"],
            "found columns ['text', 'label']; expected 'body'",
        ),
        (["probe", "--label-column", "topic"], "expected 'topic'"),
    ],
)
def test_what_is_refused(
    data: Path, output: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(data, "--model", "/no/model", "--output", output, "--teacher", *options) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_failures_have_their_code(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common: list[Any] = ["--teacher", "endpoint", "--model", "tiny", "--labels", "a", "b", "--endpoint"]
    assert run(data, *common, "http://localhost:1", "--output", tmp_path / "no" / "out") == 2
    assert "found no folder" in capsys.readouterr().err
    with serving() as server:
        server.reply = lambda *_: (403, {}, b"no")
        assert run(data, *common, server.url, "--output", tmp_path / "out") == 1
    assert "qdistill: error: http://127.0.0.1" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    assert "qdistill label texts.csv --teacher probe" in capsys.readouterr().out
