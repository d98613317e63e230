"""The commands of durable runs: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from durable import TEXTS
from ibm_standin import StandIn

import qdinfer
from qdinfer import Classifier
from qdinfer.cli import main

QUICK = ["--grace", "0.3", "--poll", "0.02", "--jobs-per-minute", "10000"]
Command = Callable[..., list[str]]


@pytest.fixture
def texts(tmp_path: Path, classifier: Classifier) -> Path:
    path = tmp_path / "texts.csv"
    labels = classifier.predict(TEXTS)
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, labels, strict=True)))
    return path


@pytest.fixture
def predict(student_path: Path, texts: Path, tmp_path: Path) -> Command:
    def command(*options: str, name: str = "predict", output: bool = True) -> list[str]:
        given = [name, str(student_path), "--input", str(texts), "--backend", "ibm:fake_fez", "--shots", "200"]
        given += ["--journal", str(tmp_path / "run.db"), "--max-executions", "2000", *QUICK]
        return given + ["--output", str(tmp_path / "labelled.csv")] * output + list(options)

    return command


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_predict_detach_and_collect(
    standin: StandIn, predict: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(predict("--detach")) == 0
    assert "4 queued" in (message := told(capsys)) or "running" in message
    assert f"run the same command again to collect them, or `qdinfer runs cancel {tmp_path / 'run.db'}`" in message
    assert not (tmp_path / "labelled.csv").exists()
    assert main(predict("--proba")) == 0
    assert "40 texts, 4 jobs done, 0 queued, 0 running, 0 to be submitted" in told(capsys)
    labelled = rows(tmp_path / "labelled.csv")
    assert [row["text"] for row in labelled] == TEXTS
    assert list(labelled[0]) == [
        *("text", "label", "prediction", "confidence"),
        *("p(weather)", "p(sport)", "p(money)", "se(weather)", "se(sport)", "se(money)"),
    ]
    assert sum(row["prediction"] == row["label"] for row in labelled) >= 37
    assert len(standin.jobs()) == 4


def test_evaluate(standin: StandIn, predict: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(predict(name="evaluate", output=False)) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny on ibm:fake_fez, 200 shots a text\naccuracy   ")
    assert main(predict("--json", name="evaluate", output=False)) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] >= 0.9
    assert len(standin.jobs()) == 4  # the second time, from the journal


def test_shots_as_a_budget(
    standin: StandIn, predict: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(predict("--shots", "auto", "--confidence", "0.9", "--max-shots", "512")) == 0
    labelled = rows(tmp_path / "labelled.csv")
    spent = [int(row["shots"]) for row in labelled]
    assert set(spent) <= {128, 256, 512}
    assert all(float(row["confidence"]) >= 0.9 or row["shots"] == "512" for row in labelled)
    assert f"{sum(spent)} shots, {sum(spent) / 40 / 512:.1%} of {40 * 512} fixed ones" in told(capsys)


def test_show(standin: StandIn, predict: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    standin.fault("fail", reason="a fridge warmed up")
    assert main(predict()) == 0
    capsys.readouterr()
    assert main(["runs", "show", str(tmp_path / "run.db")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny on ibm:fake_fez, 200 shots: 40 texts, 4 jobs done, 0 queued, 0 running, 0 to be")
    assert lines[1] == "1 ERROR, 4 DONE"
    assert len(lines) == 3 + 5
    assert "a fridge warmed up" in lines[3]
    assert main(["runs", "show", str(tmp_path / "run.db"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["complete"]
    assert [job["status"] for job in shown["jobs"]] == ["ERROR", "DONE", "DONE", "DONE", "DONE"]
    assert shown["progress"]["seconds_used"] == pytest.approx(sum(job["usage"] for job in shown["jobs"]))


def test_show_while_it_runs(
    standin: StandIn, predict: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.fault("slow_run", seconds=1, count=None)
    with subprocess.Popen([sys.executable, "-m", "qdinfer", *predict()], env=environment(), stderr=subprocess.DEVNULL):
        while not standin.jobs():
            time.sleep(0.02)
        time.sleep(0.1)
        assert main(["runs", "show", str(tmp_path / "run.db")]) == 0
        assert "40 texts, " in capsys.readouterr().out
        assert main(predict()) == 2
        assert "found another process writing to it; expected it alone" in told(capsys)
    assert len(rows(tmp_path / "labelled.csv")) == 40


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1])}


def test_ctrl_c_leaves_the_jobs(standin: StandIn, predict: Command, tmp_path: Path) -> None:
    standin.fault("slow_run", seconds=1, count=2)
    command = [sys.executable, "-m", "qdinfer", *predict()]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        while not standin.jobs():
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate()
    assert process.returncode == 130
    assert "jobs go on at the service: run the same command again" in message
    assert "Traceback" not in message
    assert main(predict()) == 0
    assert len(standin.jobs()) == 4


def test_cancel(standin: StandIn, predict: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    standin.fault("slow_queue", seconds=60, count=None)
    assert main(predict("--detach")) == 0
    assert main(["runs", "cancel", str(tmp_path / "run.db")]) == 0
    assert capsys.readouterr().out == "4 jobs cancelled; 0 had ended before\n"
    assert main(["runs", "show", str(tmp_path / "run.db"), "--json"]) == 0
    assert [job["usage"] for job in json.loads(capsys.readouterr().out)["jobs"]] == [0.0] * 4
    assert [job.status for job in standin.jobs()] == ["Cancelled"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shots", "300"], "with shots 200, expected 300. Give the same student, texts and settings"),
        (["--backend", "ibm:fake_torino"], "with backend 'ibm:fake_fez', expected 'ibm:fake_torino'"),
        (["--max-qpu-seconds", "-1"], "max_qpu_seconds: found -1.0; expected seconds, from 0"),
        (["--seed", "3"], "seed: found 3 for a real device"),
        (["--poll", "-1"], "poll: found -1.0; expected seconds, from 0"),
        (["--pending", "0"], "pending: found 0; expected a whole number from 1"),
        (["--max-executions", "20000000"], "executions: found 20000000; expected a whole number from 1 to 10000000"),
        (["--confidence", "0.9"], "--confidence and --max-shots: found without --shots auto"),
        (["--shots", "auto", "--confidence", "1.5"], "confidence: found 1.5; expected a number between 0 and 1"),
        (["--output", "nowhere/labelled.csv"], "nowhere/labelled.csv: found no folder"),
    ],
)
def test_refusals(
    options: list[str], message: str, standin: StandIn, predict: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(predict("--detach")) == 0
    capsys.readouterr()
    assert main(predict(*options)) == 2
    assert message in told(capsys)
    assert len(standin.jobs()) == 4


def test_journal_is_needed_and_only_for_ibm(
    standin: StandIn, student_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(student_path), "--input", str(texts)]
    assert main([*command, "--backend", "ibm:fake_fez"]) == 2
    assert "found no --journal; expected --journal FILE, so that nothing is lost" in told(capsys)
    assert main([*command, "--journal", "run.db"]) == 2
    assert "found with --backend exact; expected them with ibm:DEVICE" in told(capsys)
    assert standin.jobs() == []


def test_clash_of_columns_is_seen_before_anything_is_paid(
    standin: StandIn, predict: Command, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts.write_text("text,prediction\nsun,weather\n")
    assert main(predict()) == 2
    assert "found a column 'prediction' in the input" in told(capsys)
    assert standin.jobs() == []


@pytest.mark.parametrize("option", ["--output", "--input"])
def test_journal_is_a_file_of_its_own(
    option: str, standin: StandIn, predict: Command, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts.read_bytes()
    same = texts if option == "--input" else texts.with_name("labelled.csv")
    assert main(predict("--journal", str(same))) == 2
    assert f"found the file of {option}; expected one of its own" in told(capsys)
    assert texts.read_bytes() == before
    assert standin.jobs() == []


def test_text_that_fits_into_no_job(standin: StandIn, predict: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(predict("--shots", "3000")) == 2
    assert "found 3000 executions and 3 s for one text at 3000 shots; expected at most 2000" in told(capsys)


def test_unknown_device(standin: StandIn, predict: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(predict("--backend", "ibm:nowhere")) == 1
    message = told(capsys)
    assert "ibm:nowhere: found no such device; expected one of ['fake_fez']" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("shown", [["show"], ["cancel"]])
def test_journal_that_is_not_there(shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", *shown, str(tmp_path / "none.db")]) == 2
    assert "found no journal" in told(capsys)
    assert list(tmp_path.iterdir()) == []


def test_estimate(standin: StandIn, student_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["estimate", str(student_path), "--input", str(texts), "--backend", "ibm:fake_fez", "--shots", "1000"]
    assert main([*command, "--rate", "1.6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "40 texts × 1000 shots on fake_fez"
    assert lines[1].startswith("  executions   40000 in 1 job, 25")
    assert lines[3].endswith(", at 1.6 a second")
    assert main([*command, "--json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)
    assert cost["seconds"] == pytest.approx(2 + 40_000 * cost["execution_seconds"])
    assert "money" not in cost
    assert main([*command, "--shots", "auto"]) == 0
    out = capsys.readouterr().out
    assert "at least, 40 texts × 128 shots" in out
    assert "at most, 40 texts × 4096 shots" in out
    assert "in 6 jobs" in out
    assert standin.jobs() == []
    assert main([*command, "--rate", "nan"]) == 2
    assert "--rate: found nan; expected money for a second, from 0" in told(capsys)


def test_bar_on_a_terminal(standin: StandIn, predict: Command, tmp_path: Path) -> None:
    standin.fault("slow_run", seconds=0.2, count=None)
    terminal, other = os.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    command = [sys.executable, "-m", "qdinfer", *predict()]
    with subprocess.Popen(command, env=environment(), stderr=other):
        os.close(other)
        shown = b""
        while chunk := _read(terminal):
            shown += chunk
    os.close(terminal)
    assert "note: 40 texts × 200 shots, 4 jobs, about " in shown.decode()
    assert "of 4 jobs [" in shown.decode()
    assert "4 of 4 jobs [" in shown.decode()
    assert "s of QPU" in shown.decode()
    assert len(rows(tmp_path / "labelled.csv")) == 40


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
