"""The batch job: each file once, whole or not at all, and what is bad is told."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qdinfer import Classifier

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "exported_models" / "topic-folded"
COMMAND = [sys.executable, "-W", "error", str(ROOT / "examples" / "batch_job" / "label_folder.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ROWS = [
    ["1", "A late goal wins the cup", 'a "b",\nc'],
    ["2", "Shares slide after a warning", "été"],
    ["3", "", ""],
    ["4", "Two\r\nlines, and a lone\rreturn", " "],
]


def run(*words: object, code: int = 0) -> str:
    """What it logs."""
    command = [*COMMAND, *map(str, words)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def write(path: Path, rows: list[list[str]], header: tuple[str, ...] = ("id", "text", "note")) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *rows])


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    write(folder / "one.csv", ROWS)
    write(folder / "two.csv", ROWS[:2])
    return folder


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "new" / "outbox"


def test_every_row_gets_its_label(inbox: Path, outbox: Path) -> None:
    assert "2 files, 0 of them done before, 0 bad, 0 failed" in run(STUDENT, inbox, outbox)
    predictions = Classifier.load(STUDENT).classify([row[1] for row in ROWS])
    expected = [
        [*row, prediction.label, f"{prediction.probabilities[prediction.label]:.4f}"]
        for row, prediction in zip(ROWS, predictions, strict=True)
    ]
    assert read(outbox / "one.csv") == [["id", "text", "note", "prediction", "probability"], *expected]
    assert read(outbox / "two.csv")[1:] == expected[:2]
    assert not list(outbox.glob("*.tmp"))


def test_what_is_done_is_left_alone_until_something_changes(inbox: Path, outbox: Path, tmp_path: Path) -> None:
    run(STUDENT, inbox, outbox)
    before = (outbox / "one.csv").stat().st_mtime_ns
    assert "2 of them done before" in run(STUDENT, inbox, outbox)
    assert (outbox / "one.csv").stat().st_mtime_ns == before
    write(inbox / "one.csv", ROWS[:1])
    (outbox / "two.csv").unlink()
    write(inbox / "three.csv", ROWS)
    assert "3 files, 0 of them done before" in run(STUDENT, inbox, outbox)
    assert len(read(outbox / "one.csv")) == 2
    assert "0 of them done before" in run(STUDENT, inbox, outbox, "--text-column", "note")
    other = shutil.copytree(STUDENT.parent / "topic", tmp_path / "other")
    assert "0 of them done before" in run(other, inbox, outbox, "--text-column", "note")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found columns []; expected 'text' among them, once"),
        (b"id,note\n1,a\n", "found columns ['id', 'note']; expected 'text' among them, once"),
        (b"text,text\na,b\n", "found columns ['text', 'text']; expected 'text' among them, once"),
        (b"id,text\n1,a\n2\n", "line 3: found 1 cells; expected 2"),
        (b"id,text\n1,a\n\n2,b\n", "line 3: found 0 cells; expected 2"),
        (b"text\n\xff\n", "'utf-8' codec can't decode"),
        (b'text\n"a" b\n', "expected after"),
    ],
)
def test_a_bad_file_is_told_and_the_others_go_on(inbox: Path, outbox: Path, content: bytes, message: str) -> None:
    (inbox / "bad.csv").write_bytes(content)
    (inbox / ".hidden.csv").write_bytes(content)
    told = run(STUDENT, inbox, outbox, code=2)
    assert f"ERROR {inbox / 'bad.csv'}: " in told
    assert message in told
    assert "3 files, 0 of them done before, 1 bad, 0 failed" in told
    assert sorted(path.name for path in outbox.iterdir()) == [".one.csv.done", ".two.csv.done", "one.csv", "two.csv"]


def test_a_file_that_cannot_be_written_is_a_failure(inbox: Path, outbox: Path) -> None:
    (outbox / "one.csv").mkdir(parents=True)
    told = run(STUDENT, inbox, outbox, code=1)
    assert "1 failed" in told
    assert (outbox / "two.csv").is_file()
    assert not list(outbox.glob(".*.tmp"))


def test_nothing_begins_without_folder_and_student(inbox: Path, outbox: Path, tmp_path: Path) -> None:
    assert "found no folder; expected one with csv files" in run(STUDENT, tmp_path / "none", outbox, code=2)
    assert "found the folder of the input; expected another one" in run(STUDENT, inbox, inbox, code=2)
    assert "none: found nothing there" in run(tmp_path / "none", inbox, outbox, code=2)
    assert "found no student.json" in run(inbox, inbox, outbox, code=2)
    assert not outbox.exists()


def test_texts_that_are_cut_are_logged(inbox: Path, outbox: Path) -> None:
    write(inbox / "long.csv", [["1", "goal " * 1000, ""]])
    command = [word for word in COMMAND if word not in ("-W", "error")]
    done = subprocess.run(
        [*command, STUDENT, inbox, outbox], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "WARNING" in done.stderr
    assert "1 of 1 texts have over 512 tokens" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_job_leaves_no_half_file_and_is_gone_on_with(
    inbox: Path, outbox: Path, number: signal.Signals
) -> None:
    write(inbox / "two.csv", ROWS * 50_000)
    with subprocess.Popen([*COMMAND, STUDENT, inbox, outbox], env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 60
        while not list(outbox.glob(".two.csv.*.tmp")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert (outbox / "one.csv").is_file()
    assert not (outbox / "two.csv").exists()
    assert bool(list(outbox.glob(".*.tmp"))) == (number == signal.SIGKILL)
    write(inbox / "two.csv", ROWS)
    assert "2 files, 1 of them done before" in run(STUDENT, inbox, outbox)
    assert len(read(outbox / "two.csv")) == len(ROWS) + 1
