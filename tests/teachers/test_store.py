"""Answers in a file: resumed after a failure, repaired after a crash, never mixed with another teacher's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdinfer.errors import InputError, TeacherError
from qdistill.teachers import TeacherLabels, label_texts
from qdistill.teachers.store import text_key

TEXTS = [f"text {i} ünï {'x' * i}" for i in range(10)]


@dataclass
class Lengths:
    """A teacher whose answer is the text's length, and which can be told to fail."""

    labels: tuple[str, ...] = ("long", "short")
    identity: dict[str, Any] = field(default_factory=lambda: {"kind": "lengths", "words": ("a", "b"), "seed": 1})
    fail_after: float = float("inf")
    asked: list[str] = field(default_factory=list)
    disk_bytes: int | None = 1234

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        if len(self.asked) + len(texts) > self.fail_after:
            raise TeacherError("gone")
        self.asked += texts
        share = np.array([len(text) / 100 for text in texts])
        return np.stack([share, 1 - share], axis=1)


def without_costs(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines() if not line.startswith(b'{"cost"')]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "teacher.jsonl"


def test_answers_are_kept_and_looked_up(path: Path) -> None:
    teacher = Lengths()
    made = label_texts(teacher, [*TEXTS, TEXTS[3]], path, batch_size=4)
    assert sorted(teacher.asked) == sorted(TEXTS), "a repeated text is asked about once"
    read = TeacherLabels.load(path)
    assert read == made
    assert read.teacher == {"kind": "lengths", "words": ["a", "b"], "seed": 1}
    wanted = Lengths().probabilities(TEXTS)
    found = read.lookup(TEXTS, ["short", "long"])
    assert found.dtype == np.float64
    assert (found == wanted[:, ::-1]).all(), "bit for bit, columns as asked for"
    assert read.lookup([], ["long", "short"]).shape == (0, 2)
    header, *lines, cost = path.read_text().splitlines()
    assert json.loads(header) == {"format": 1, "teacher": read.teacher, "labels": ["long", "short"]}
    assert {json.loads(line)["sha256"] for line in lines} == set(map(text_key, TEXTS))
    assert "text 3" not in path.read_text()
    assert json.loads(cost)["cost"]["texts"] == 10


def test_a_failure_half_way_costs_one_batch(path: Path) -> None:
    first = Lengths(fail_after=6)
    with pytest.raises(TeacherError, match="gone"):
        label_texts(first, TEXTS, path, batch_size=3)
    assert len(first.asked) == 6
    assert len(TeacherLabels.load(path).rows) == 6
    second = Lengths()
    label_texts(second, TEXTS, path, batch_size=3)
    assert len(second.asked) == 4
    assert sorted(first.asked + second.asked) == sorted(TEXTS)
    once = path.with_name("once.jsonl")
    label_texts(Lengths(), TEXTS, once, batch_size=3)
    assert without_costs(path) == without_costs(once)
    third = Lengths()
    label_texts(third, TEXTS, path)
    assert third.asked == []


def test_what_labelling_took_is_kept_run_by_run(path: Path) -> None:
    label_texts(Lengths(), TEXTS[:3], path, setup_seconds=7.5)
    label_texts(Lengths(disk_bytes=None), TEXTS, path)
    label_texts(Lengths(), TEXTS, path)
    first, second = TeacherLabels.load(path).costs
    assert (first.texts, first.setup_seconds, first.disk_bytes) == (3, 7.5, 1234)
    assert (second.texts, second.setup_seconds, second.disk_bytes) == (7, 0.0, None)
    assert 0 < first.seconds < 60
    assert 10_000_000 < first.peak_memory <= second.peak_memory


def test_a_file_cut_anywhere_goes_on(path: Path) -> None:
    label_texts(Lengths(), TEXTS[:3], path)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        label_texts(Lengths(), TEXTS[:3], path)
        read = TeacherLabels.load(path)
        assert (read.lookup(TEXTS[:3], read.labels) == Lengths().probabilities(TEXTS[:3])).all()
        assert sorted(without_costs(path)) == sorted(line for line in whole.splitlines() if b"cost" not in line)


def test_a_torn_line_is_not_read(path: Path) -> None:
    label_texts(Lengths(), TEXTS[:3], path)
    with path.open("ab") as file:
        file.write(b'{"sha256": "abc", "prob')
    assert len(TeacherLabels.load(path).rows) == 3


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Lengths(identity={"kind": "lengths", "words": ["a", "b"], "seed": 2}), "seed 1, expected 2"),
        (
            Lengths(identity={"kind": "lengths", "words": ["a", "c"], "seed": 1}),
            r"words \['a', 'b'\], expected \['a', 'c'\]",
        ),
        (Lengths(identity={"kind": "lengths", "words": ["a", "b"]}), "seed 1, expected None"),
        (Lengths(labels=("short", "long")), r"labels \['long', 'short'\], expected \['short', 'long'\]"),
    ],
    ids=["seed", "words", "less", "labels"],
)
def test_another_teachers_file_is_left_alone(path: Path, other: Lengths, message: str) -> None:
    label_texts(Lengths(), TEXTS[:3], path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"another teacher's answers: {message}; give another output file"):
        label_texts(other, TEXTS, path)
    assert path.read_bytes() == before
    assert other.asked == []


def test_any_other_file_is_left_alone(path: Path) -> None:
    for content in (b"text,label\na,b\n", b"no line end", b"\x00\x01", b"\n", b'{"format": 1}\n'):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"line 1: found no header; expected a file made by `qdistill label`"):
            label_texts(Lengths(), TEXTS, path)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"junk", "line 2: found .*Invalid JSON"),
        (b'{"sha256": "a", "probabilities": [1.0]}', "line 2: found 1 probabilities; expected 2"),
        (b'{"sha256": "a", "probabilities": [1.0, NaN]}', "line 2: found"),
        (b'{"sha256": "a"}', "line 2: found probabilities Field required"),
    ],
)
def test_a_broken_line_is_named(path: Path, line: bytes, message: str) -> None:
    header = {"format": 1, "teacher": {"kind": "x"}, "labels": ["a", "b"]}
    path.write_bytes(json.dumps(header).encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=message):
        TeacherLabels.load(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    path.write_text('{"format": 2, "teacher": {}, "labels": ["a", "b"]}\n')
    with pytest.raises(InputError, match="found format 2; expected 1"):
        TeacherLabels.load(path)


def test_lookup_of_what_is_not_there(path: Path) -> None:
    answers = label_texts(Lengths(), TEXTS[:3], path)
    with pytest.raises(InputError, match=r"no probabilities for 7 of 10 texts, such as 'text 3 .*run `qdistill label`"):
        answers.lookup(TEXTS, ["long", "short"])
    with pytest.raises(InputError, match=r"a teacher of \['long', 'short'\]; expected one of \['a', 'b'\]"):
        answers.lookup(TEXTS[:3], ["b", "a"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.5]], r"shape \(1, 2\); expected \(2, 2\)"),
        ([[0.5, 0.5], [0.5, float("nan")]], "for text 1; expected probabilities"),
        ([[0.5, 0.6], [0.5, 0.5]], "for text 0"),
        ([[1.5, -0.5], [0.5, 0.5]], "for text 0"),
    ],
)
def test_answers_that_are_no_probabilities_are_not_kept(path: Path, rows: list[list[float]], message: str) -> None:
    teacher = Lengths()
    teacher.probabilities = lambda texts: np.array(rows)  # type: ignore[method-assign]
    with pytest.raises(TeacherError, match=message):
        label_texts(teacher, TEXTS[:2], path)
    assert TeacherLabels.load(path).rows == {}


@pytest.mark.parametrize("texts", [["a", None], ["a", 1.5], ["\ud800"]])
def test_only_texts_are_labelled(path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError):
        label_texts(Lengths(), texts, path)
    assert not path.exists()


def test_a_second_process_is_told(path: Path) -> None:
    label_texts(Lengths(), TEXTS[:1], path)
    program = (
        "import fcntl, sys\nfile = open(sys.argv[1], 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process writing to it"):
            label_texts(Lengths(), TEXTS, path)
        assert len(TeacherLabels.load(path).rows) == 1, "reading is no trouble"
        other.communicate()
    label_texts(Lengths(), TEXTS, path)


def test_every_batch_is_on_disk_before_the_next(path: Path) -> None:
    seen = []

    class Looking(Lengths):
        def probabilities(self, texts: Sequence[str]) -> np.ndarray:
            seen.append(len(TeacherLabels.load(path).rows))
            return super().probabilities(texts)

    label_texts(Looking(), TEXTS, path, batch_size=4)
    assert seen == [0, 4, 8]


def test_no_bar_where_there_is_no_terminal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_texts(Lengths(), TEXTS, path)
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        label_texts(Lengths(), TEXTS, tmp_path / "no" / "file.jsonl")
    with pytest.raises(InputError, match="batch_size: found 0"):
        label_texts(Lengths(), TEXTS, tmp_path / "file.jsonl", batch_size=0)
