"""`qdinfer report`: what it writes and prints, and how it fails."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from answers import Answers
from command import Run
from interpreter import python
from students import tiny

import qdinfer
from qdinfer import Artifact

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1])}


@pytest.fixture
def labelled(answers: Answers, tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    rows = zip(answers.texts, answers.labels, strict=True)
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def undated(page: str) -> str:
    text, count = re.subn(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "DATE", page)
    assert count == 1
    return text


def test_the_page_has_evaluates_numbers(run: Run, student_path: Path, labelled: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("the old one")
    out, err = run("report", student_path, "--input", labelled, "--output", target, "--shots", 20)
    page = target.read_text("utf-8")
    expected = json.loads(run("evaluate", student_path, "--input", labelled, "--json")[0])
    low, high = expected["accuracy_interval_95"]
    numbers = (
        f"{expected['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}) and macro F1 {expected['macro_f1']:.4f}"
    )
    assert f"Accuracy {numbers} on 64 texts of labelled.csv." in page
    for label, row in zip(expected["labels"], expected["confusion"], strict=True):
        cells = "".join(f'<td class="number">{count}</td>' for count in row)
        assert f'<tr><th scope="row" dir="auto">{label}</th>{cells}</tr>' in page
    assert out == (
        f"{target}: {target.stat().st_size / 1e6:.2f} MB; accuracy {expected['accuracy']:.4f}, 95 % interval "
        f"{low:.4f} to {high:.4f}, 64 texts\n"
    )
    assert err == ""
    assert f"sha256 {hashlib.sha256(labelled.read_bytes()).hexdigest()}" in page
    assert f"sha256 {Artifact.open(student_path).sha256}" in page
    assert "qdinfer report tiny --input labelled.csv --output page.html --shots 20" in page
    assert str(tmp_path) not in page, "where files lie is nobody's business"
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "labelled.csv", "page.html"}


@pytest.mark.slow
def test_the_same_command_writes_the_same_page(run: Run, student_path: Path, labelled: Path, tmp_path: Path) -> None:
    """In another process too, which hashes otherwise and has had no figure before."""
    words = ["report", str(student_path), "--input", str(labelled), "--noisy-texts", "9", "--seed", "5"]
    run(*words, "--output", tmp_path / "page.html")
    first = (tmp_path / "page.html").read_text("utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "qdinfer", *words, "--output=" + str(tmp_path / "page.html")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=ENVIRONMENT | {"PYTHONHASHSEED": "7"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    second = (tmp_path / "page.html").read_text("utf-8")
    assert undated(second).replace("--output=page.html", "--output page.html") == undated(first)
    assert "9 of the 64 texts, drawn with seed 5" in first


def test_standard_input_and_output_and_other_columns(
    run: Run, student_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"q": "sun rain goal match bank", "a": "sport"}) + "\n")
    words = ["--format", "jsonl", "--text-column", "q", "--label-column", "a"]
    with path.open() as source:
        monkeypatch.setattr("sys.stdin", source)
        out, err = run("report", student_path, "--input", "-", "--output", "-", *words)
    assert out.startswith("<!DOCTYPE html>")
    assert out.endswith("</html>\n")
    assert "on 1 text of standard input." in out
    assert "none: it was no file" in out
    assert "1 have over 4 tokens, of which the student read the first 4" in out
    assert err == "qdinfer: note: 1 of 1 texts have over 4 tokens; the student read the first 4 of each\n"


def test_a_student_without_compiled_graph_is_exact_on_aer(
    run: Run, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: data for name, data in tiny().files.items() if name != "compiled.onnx"}
    manifest = msgspec.structs.replace(tiny().manifest, compiled=None)
    path = Artifact.create(manifest, files).save(tmp_path / "plain")
    monkeypatch.setattr("qdinfer.report.page", lambda _, found, origin: f"exact on {found.exact.backend}")
    out, _ = run("report", path, "--input", labelled, "--output", tmp_path / "r.html")
    expected = json.loads(run("evaluate", path, "--input", labelled, "--backend", "aer", "--json")[0])
    assert f"accuracy {expected['accuracy']:.4f}" in out
    assert (tmp_path / "r.html").read_text() == "exact on aer"


@pytest.mark.slow
def test_a_fake_device_is_held_against_exact_values(
    run: Run, student_path: Path, labelled: Path, tmp_path: Path
) -> None:
    words = ["--backend", "fake:FakeManilaV2", "--shots", 200, "--noisy-texts", 3, "--output", tmp_path / "r.html"]
    run("report", student_path, "--input", labelled, *words)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "fake:fake_manila with 200 shots a text against exact values, on 3 of the 64 texts" in page
    assert "On all 64 texts, measured on Qiskit Aer without device noise" in page


# Failures


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\n", "{}: found no rows; expected labelled texts"),
        (
            "text,label\nsun,weather\ngoal,tennis\n",
            "{} row 2: found 'tennis'; expected one of ['weather', 'sport', 'money']",
        ),
        (
            "text,y\nsun,weather\n",
            "{} line 1: found columns ['text', 'y']; expected 'label', the column of true labels that a report is "
            "measured against; --label-column names another",
        ),
        ("label\nsport\n", "{} line 1: found columns ['label']; expected 'text'"),
        ("text,label\nsun\n", "{} line 2: found 1 cells; expected 2, one a column"),
    ],
)
def test_texts_without_labels_are_refused(
    run: Run, student_path: Path, tmp_path: Path, content: str, message: str
) -> None:
    path, target = tmp_path / "t.csv", tmp_path / "r.html"
    path.write_text(content)
    target.write_text("the old one")
    assert run.error("report", student_path, "--input", path, "--output", target) == message.format(path)
    assert target.read_text() == "the old one"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--output", "{folder}/none/r.html"],
            "{folder}/none/r.html: found no folder for it; expected an existing one",
        ),
        (["--output", "{folder}"], "{folder}: found a folder; expected a file's name, such as {folder}/report.html"),
        (["--output", "{folder}/../{name}/labelled.csv"], "found the file of --input; expected another"),
        (["--seed", "-1"], "--seed: found -1; expected a whole number from 0 to 2147483647"),
        (["--shots", "0"], "shots: found 0; expected a whole number from 1 to 16777216"),
        (["--noisy-texts", "0"], "--noisy-texts: found 0; expected a whole number from 1 to 2147483648"),
        (["--backend", "fake:FakeNobody"], "fake:FakeNobody: found no such device; expected one such as"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    run: Run, student_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr("qdinfer.report.measure", lambda *_, **__: pytest.fail("texts were classified"))
    content = labelled.read_text()
    given = [word.format(folder=labelled.parent, name=labelled.parent.name) for word in words]
    assert message.format(folder=labelled.parent) in run.error("report", student_path, "--input", labelled, *given)
    assert labelled.read_text() == content
    assert {path.name for path in labelled.parent.iterdir()} == {"tiny", "labelled.csv"}


def test_a_device_that_is_too_small_is_told_of_before_the_work(
    run: Run, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdinfer.report.measure", lambda *_, **__: pytest.fail("texts were classified"))
    large = tiny(6).save(tmp_path / "large")
    words = ["--backend", "fake:FakeManilaV2", "--output", tmp_path / "r.html"]
    message = run.error("report", large, "--input", labelled, *words, code=1)
    assert "6" in message
    assert "5" in message


@pytest.mark.parametrize("name", ["exact", "ibm:ibm_fez", "fake:", "nobody"])
def test_other_backends_are_refused_with_a_way_on(run: Run, student_path: Path, name: str) -> None:
    _, err = run("report", student_path, "--input", "none.csv", "--backend", name, code=2)
    assert f"found {name!r}; expected aer or fake:DEVICE" in err
    assert "qdinfer.figures.exact_against_noisy" in err


def test_an_interrupted_report_leaves_nothing(
    run: Run, student_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qdinfer.report.sections.certainty", interrupted)
    target = labelled.parent / "r.html"
    assert run("report", student_path, "--input", labelled, "--output", target, code=130)[1] == "qdinfer: interrupted\n"
    assert {path.name for path in labelled.parent.iterdir()} == {"tiny", "labelled.csv"}


@pytest.mark.parametrize("blocked", ["matplotlib", "pylatexenc", "qiskit_aer"])
def test_without_the_extra_its_install_is_named(student_path: Path, blocked: str) -> None:
    code = """
    import contextlib, io, sys
    from qdinfer.cli import main
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["report", sys.argv[1], "--input", "none.csv"])
    print(code, errors.getvalue())
    """
    message = '1 qdinfer: error: qdinfer report needs an optional part: pip install "qdinfer[report]"'
    assert python(code, str(student_path), blocked=(blocked,)) == message
