"""The command: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import Run
from students import LABELS, dense_circuit, parts, tiny

import qdinfer
from qdinfer import Artifact, Classifier
from qdistill.export import export

COMMANDS = ["predict", "evaluate", "inspect", "verify", "compile", "report"]
ROWS = [
    {"id": "1", "text": "sun rain", "note": 'a "b",\nc'},
    {"id": "2", "text": "", "note": "été"},
    {"id": "3", "text": "goal", "note": ""},
]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1]), "PYTHONUNBUFFERED": ""}
COMMAND = [sys.executable, "-W", "error", "-m", "qdinfer"]


def as_csv(rows: list[dict[str, str]]) -> str:
    target = io.StringIO()
    writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue()


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def texts_csv(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    path.write_text(as_csv(ROWS), "utf-8")
    return path


@pytest.fixture
def plain_path(tmp_path: Path) -> Path:
    """The small student without its compiled graph."""
    files = {name: data for name, data in tiny().files.items() if name != "compiled.onnx"}
    manifest = msgspec.structs.replace(tiny().manifest, compiled=None)
    return Artifact.create(manifest, files).save(tmp_path / "plain")


def shell(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """One call of the command in a process of its own."""
    options = {"timeout": 60, "check": False, "env": ENVIRONMENT} | options
    return subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, encoding="utf-8", **options)


# predict


def test_predict_labels_texts(run: Run, student_path: Path, classifier: Classifier) -> None:
    texts = ["sun rain", "goal, match", ""]
    out, err = run("predict", student_path, *texts)
    labels = classifier.predict(texts).tolist()
    assert parsed(out) == [{"text": t, "prediction": p} for t, p in zip(texts, labels, strict=True)]
    assert err == ""


def test_predict_keeps_the_inputs_columns(
    run: Run, student_path: Path, texts_csv: Path, classifier: Classifier
) -> None:
    out, _ = run("predict", student_path, "--input", texts_csv)
    labels = classifier.predict([row["text"] for row in ROWS]).tolist()
    assert parsed(out) == [row | {"prediction": label} for row, label in zip(ROWS, labels, strict=True)]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_predict_writes_a_file_in_the_format_of_its_name(
    run: Run, student_path: Path, texts_csv: Path, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / f"labelled.{ending}"
    target.write_text("the old one")
    assert run("predict", student_path, "--input", texts_csv, "--output", target) == ("", "")
    text = target.read_text("utf-8")
    rows = parsed(text) if ending == "csv" else [json.loads(line) for line in text.splitlines()]
    assert [{k: v for k, v in row.items() if k != "prediction"} for row in rows] == ROWS
    assert {row["prediction"] for row in rows} <= set(LABELS)
    assert not list(tmp_path.glob(".*"))


def test_predict_may_write_over_its_input(run: Run, student_path: Path, texts_csv: Path) -> None:
    run("predict", student_path, "--input", texts_csv, "--output", texts_csv)
    assert [row["text"] for row in parsed(texts_csv.read_text("utf-8"))] == [row["text"] for row in ROWS]


def test_predict_reads_jsonl_with_any_values(run: Run, student_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    rows = [{"text": "sun", "n": 1, "tags": ["é", None]}, {"text": "rain", "half": "\ud83c"}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, _ = run("predict", student_path, "--input", source)
    found = [json.loads(line) for line in out.splitlines()]
    assert [{k: v for k, v in row.items() if k != "prediction"} for row in found] == rows
    assert '"é"' in out


def test_format_is_for_names_that_do_not_tell(run: Run, student_path: Path, texts_csv: Path) -> None:
    out, _ = run("predict", student_path, "--input", texts_csv, "--format", "jsonl")
    assert [json.loads(line)["text"] for line in out.splitlines()] == [row["text"] for row in ROWS]
    out, _ = run("predict", student_path, "sun", "--format", "jsonl")
    assert json.loads(out)["text"] == "sun"


def test_predict_takes_another_text_column(
    run: Run, student_path: Path, tmp_path: Path, classifier: Classifier
) -> None:
    source = tmp_path / "t.csv"
    source.write_text("text,body\nsun,goal match\n")
    out, _ = run("predict", student_path, "--input", source, "--text-column", "body")
    expected = str(classifier.predict("goal match")[0])
    assert parsed(out) == [{"text": "sun", "body": "goal match", "prediction": expected}]


def test_proba_adds_the_probabilities(run: Run, student_path: Path, classifier: Classifier) -> None:
    (row,) = parsed(run("predict", student_path, "goal", "--proba")[0])
    assert list(row) == ["text", "prediction", *(f"p({label})" for label in LABELS)]
    expected = classifier.predict_proba("goal")[0].tolist()
    assert [float(row[f"p({label})"]) for label in LABELS] == pytest.approx(expected, abs=1e-6)


def test_shots_are_repeatable_and_come_with_errors(run: Run, student_path: Path) -> None:
    words = ["predict", student_path, "goal", "sun", "--backend", "aer", "--shots", "100", "--proba", "--seed"]
    first, again, other = run(*words, 7)[0], run(*words, 7)[0], run(*words, 8)[0]
    assert first == again != other
    columns = ["p({})", "se({})"]
    assert list(parsed(first)[0]) == ["text", "prediction", "confidence"] + [
        column.format(label) for column in columns for label in LABELS
    ]
    row = parsed(first)[0]
    assert 0 <= float(row["confidence"]) <= 1
    assert all(float(row[f"se({label})"]) > 0 for label in LABELS)


def test_aer_without_shots_is_exact(run: Run, student_path: Path) -> None:
    aer, _ = run("predict", student_path, "goal", "sun", "--backend", "aer")
    assert aer == run("predict", student_path, "goal", "sun", "--threads", "1")[0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.csv", "id,text\n", "id,text,prediction\n"),
        ("none.jsonl", "", ""),
    ],
)
def test_a_table_without_rows_keeps_its_columns(
    run: Run, student_path: Path, tmp_path: Path, name: str, content: str, expected: str
) -> None:
    (tmp_path / name).write_text(content)
    assert run("predict", student_path, "--input", tmp_path / name) == (expected, "")


def test_truncation_is_a_note_of_one_line(run: Run, student_path: Path) -> None:
    out, err = run("predict", student_path, "sun rain goal match bank share", "sun")
    assert len(parsed(out)) == 2
    assert err == "qdinfer: note: 1 of 2 texts have over 4 tokens; the student read the first 4 of each\n"


# evaluate


@pytest.fixture
def labelled(tmp_path: Path, classifier: Classifier) -> tuple[Path, list[str], list[str]]:
    """A file of labelled texts, its labels, and those that the student gives."""
    texts = ["sun", "rain", "goal", "match goal", "bank", "share bank", "star", "code", "", "sun code"] * 3
    predicted = classifier.predict(texts).tolist()
    true = [LABELS[(LABELS.index(label) + (i % 4 == 0)) % 3] for i, label in enumerate(predicted)]
    path = tmp_path / "test.csv"
    path.write_text(as_csv([{"text": t, "label": y} for t, y in zip(texts, true, strict=True)]))
    return path, true, predicted


def test_evaluate_gives_numbers(run: Run, student_path: Path, labelled: tuple[Path, list[str], list[str]]) -> None:
    path, true, predicted = labelled
    out, err = run("evaluate", student_path, "--input", path, "--json")
    found = json.loads(out)
    pairs = list(zip(true, predicted, strict=True))
    assert err == ""
    assert found["student"] == "tiny"
    assert (found["backend"], found["shots"], found["texts"]) == ("exact", None, 30)
    assert found["accuracy"] == pytest.approx(22 / 30)
    assert found["accuracy_interval_95"] == pytest.approx([0.5555, 0.8582], abs=1e-4)  # R: prop.test(22, 30, correct=F)
    assert found["confusion"] == [[pairs.count((t, p)) for p in LABELS] for t in LABELS]


def test_evaluate_prints_a_table(run: Run, student_path: Path, labelled: tuple[Path, list[str], list[str]]) -> None:
    out, _ = run("evaluate", student_path, "--input", labelled[0])
    assert out.startswith(
        "tiny on exact, exact values\naccuracy   0.7333   95 % interval 0.5555 to 0.8582   30 texts\n"
    )
    assert "true / predicted" in out
    words = ["--backend", "aer", "--shots", "20", "--seed", "1"]
    assert run("evaluate", student_path, "--input", labelled[0], *words)[0].startswith("tiny on aer, 20 shots a text\n")


def test_evaluate_reads_other_columns(run: Run, student_path: Path, tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"q": "goal", "a": str(classifier.predict("goal")[0])}) + "\n")
    words = ["--text-column", "q", "--label-column", "a", "--json"]
    assert json.loads(run("evaluate", student_path, "--input", tmp_path / "t.jsonl", *words)[0])["accuracy"] == 1


def test_evaluate_refuses_an_unknown_label_before_the_work(
    run: Run, student_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "stream", lambda *_: pytest.fail("texts were classified"))
    (tmp_path / "t.csv").write_text("text,label\nsun,weather\ngoal,tennis\n")
    message = run.error("evaluate", student_path, "--input", tmp_path / "t.csv")
    assert message == f"{tmp_path / 't.csv'} row 2: found 'tennis'; expected one of ['weather', 'sport', 'money']"


def test_evaluate_needs_rows_and_columns(run: Run, student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n")
    assert run.error("evaluate", student_path, "--input", path) == f"{path}: found no rows; expected labelled texts"
    path.write_text("text,y\nsun,weather\n")
    assert run.error("evaluate", student_path, "--input", path).endswith(
        "found columns ['text', 'y']; expected 'label'"
    )


# inspect, verify, compile


def test_inspect_says_what_a_student_is(run: Run, student_path: Path, student: Artifact) -> None:
    out, _ = run("inspect", student_path)
    for expected in (
        "tiny\n",
        "weather, sport, money",
        f"sha256 {student.sha256}",
        "4 tokens a text",
        "theta_0",
        "8 cx",
    ):
        assert expected in out
    assert re.search(r"compiled +\d+\.\d+ MB, error \d\.\de-\d+ over 16 random rows", out)
    assert "┌" not in out
    assert "q_0: " in run("inspect", student_path, "--circuit")[0]


def test_inspect_of_a_strangers_student_cannot_drive_the_terminal(run: Run, tmp_path: Path) -> None:
    trick = "\x1b[2Jclear\x07 \u202etxt"
    provenance = msgspec.structs.replace(tiny().manifest.provenance, teacher=trick, metrics={trick: 1.0})
    manifest = msgspec.structs.replace(tiny().manifest, provenance=provenance)
    out, _ = run("inspect", Artifact.create(manifest, tiny().files).save(tmp_path / "t"))
    assert not {"\x1b", "\x07", "\u202e"} & set(out)
    assert out.count("\N{REPLACEMENT CHARACTER}[2Jclear") == 2


def test_verify_says_that_all_stages_hold(run: Run, student_path: Path) -> None:
    out, err = run("verify", student_path)
    lines = out.splitlines()
    assert lines[0] == "tiny on exact, 5 golden cases"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["tokenizer", "tokenizer.json"],
        ["encoder", "encoder.onnx"],
        ["circuit", "compiled.onnx"],
        ["readout", "student.json"],
        ["labels", "student.json"],
    ]
    assert all(line.endswith(" ok") for line in lines[1:])
    assert err == ""
    assert run("verify", student_path, "--backend", "aer")[0].startswith("tiny on aer, 5 golden cases\n")


def test_verify_names_the_stage_that_drifts(run: Run, student: Artifact, tmp_path: Path) -> None:
    golden = json.loads(student.files["golden.json"])
    golden["expectations"][1][2] += 0.25
    files = {**student.files, "golden.json": json.dumps(golden).encode()}
    path = Artifact.create(student.manifest, files).save(tmp_path / "drifting")
    out, err = run("verify", path, code=1)
    assert next(line.split()[0] for line in out.splitlines() if line.endswith("DRIFTS")) == "circuit"
    assert err == (
        "qdinfer: error: compiled.onnx: found that the circuit stage drifts first, by 0.25; expected at most 1e-05\n"
    )


def test_compile_makes_the_exact_engines_graph(run: Run, plain_path: Path, tmp_path: Path) -> None:
    out, _ = run("compile", plain_path, "--output", tmp_path / "fast.zip")
    assert re.fullmatch(r".*fast\.zip: compiled\.onnx \d\.\d\d MB, error \d\.\de-\d+ over 16 random rows\n", out)
    assert not (plain_path / "compiled.onnx").exists()
    run("predict", tmp_path / "fast.zip", "sun")
    assert run("compile", plain_path)[0].startswith(f"{plain_path}: compiled.onnx ")
    run("verify", plain_path)


def test_compile_fuses_the_whole_student(run: Run, plain_path: Path) -> None:
    out, _ = run("compile", plain_path, "--fused")
    assert re.search(r"plain: fused\.onnx \d\.\d\d MB\n$", out), out
    assert run("verify", plain_path)[0].splitlines()[-1].split()[:2] == ["fused", "fused.onnx"]
    assert re.search(r"\n  fused +0\.\d\d MB\n", run("inspect", plain_path)[0])
    assert "fused.onnx" in run("compile", plain_path)[0], "who has one gets it anew"
    run("verify", plain_path)


def test_compile_says_what_was_left_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdinfer.compiler import propagate

    monkeypatch.setattr(propagate, "MAX_TERMS", 150)
    monkeypatch.setattr(propagate, "MAX_ARRAY", 100)
    circuit = dense_circuit(7, 3, 0.1)
    dense = replace(parts(7), circuit=circuit, weights=np.ones((3, 1)))
    path = export(dense)[0].save(tmp_path / "dense")
    _, err = run("compile", path, code=2)
    assert re.search(r"found \d+ terms, over .*; expected at most 150. Allow a larger error, or run", err)
    out, _ = run("compile", path, "--max-error", "0.05")
    assert re.search(r"random rows; at most \d\.\de-\d+ at any angles, by terms left out\n", out), out
    assert re.search(r"over 16 random rows, at most \d\.\de-\d+ anywhere", run("inspect", path)[0])


# Failures


def broken(tmp_path: Path) -> Path:
    path = tiny().save(tmp_path / "broken")
    (path / "encoder.onnx").write_bytes(b"\x00" * len(tiny().files["encoder.onnx"]))
    return path


def test_a_path_with_nothing_there(run: Run, tmp_path: Path) -> None:
    for command in ("inspect", "verify", "compile"):
        message = run.error(command, tmp_path / "nobody")
        assert message == f"{tmp_path / 'nobody'}: found nothing there; expected a student's folder or .zip"
    assert "found nothing there" in run.error("predict", tmp_path / "nobody", "sun")


def test_no_such_input(run: Run, student_path: Path, tmp_path: Path) -> None:
    message = run.error("predict", student_path, "--input", tmp_path / "none.csv", "--output", tmp_path / "out.csv")
    assert message == f"{tmp_path / 'none.csv'}: No such file or directory"
    assert not list(tmp_path.glob("*out.csv*"))


def test_a_broken_student(run: Run, tmp_path: Path) -> None:
    message = run.error("predict", broken(tmp_path), "sun")
    assert re.fullmatch(r"encoder\.onnx: found SHA-256 \w{16}…; expected \w{16}…, as student\.json lists it", message)


def test_a_broken_csv_leaves_no_output(run: Run, student_path: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "t.csv", tmp_path / "out.csv"
    source.write_text("text,a\n" + "sun,1\n" * 3000 + "rain\n")
    target.write_text("the old one")
    message = run.error("predict", student_path, "--input", source, "--output", target)
    assert message == f"{source} line 3002: found 1 cells; expected 2, one a column"
    assert target.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "t.csv", "tiny"]


@pytest.mark.parametrize("words", [[], ["sun", "--input", "t.csv"]])
def test_texts_or_input(run: Run, student_path: Path, words: list[str]) -> None:
    message = run.error("predict", student_path, *words)
    found = "both TEXT and --input" if words else "neither TEXT nor --input"
    assert message == f"found {found}; expected one of them"


@pytest.mark.parametrize("option", ["--shots", "--seed"])
def test_shots_need_aer(run: Run, student_path: Path, option: str) -> None:
    message = run.error("predict", student_path, "sun", option, "5")
    found = "--shots and --seed: found the exact backend, which has no shots"
    assert message == f"{found}; expected --backend aer, fake:DEVICE or ibm:DEVICE"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backend", "aer", "--shots", "0"], "shots: found 0; expected a whole number from 1 to"),
        (["--backend", "aer", "--seed", "1"], "seed: found 1 without shots; expected"),
        (["--threads", "0"], "threads: found 0; expected a whole number from 1 to 256"),
        (["--output", "out.xlsx"], "out.xlsx: found the ending 'xlsx'; expected .csv, .jsonl or .parquet, or --format"),
    ],
)
def test_options_out_of_range(run: Run, student_path: Path, words: list[str], message: str) -> None:
    assert run.error("predict", student_path, "sun", *words).startswith(message)


def test_a_missing_compiled_graph(run: Run, plain_path: Path) -> None:
    message = run.error("predict", plain_path, "sun", code=1)
    assert f"make it with `qdinfer compile {plain_path}`, or use backend='aer'" in message


@pytest.mark.parametrize(
    ("column", "options"),
    [
        ("prediction", []),
        ("p(sport)", ["--proba"]),
        ("confidence", ["--backend", "aer", "--shots", "5"]),
    ],
)
@pytest.mark.parametrize("row", ["sun,x\n", ""])
def test_a_column_that_the_output_adds(
    run: Run, student_path: Path, tmp_path: Path, column: str, options: list[str], row: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"text,{column}\n{row}")
    message = run.error("predict", student_path, "--input", path, *options)
    assert message == f"found a column {column!r} in the input, which the output adds; expected another name"


def test_a_column_that_is_not_added_may_be_there(run: Run, student_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,confidence,p(sport)\nsun,x,y\n")
    assert list(parsed(run("predict", student_path, "--input", path)[0])[0])[-1] == "prediction"


def test_debug_shows_the_trace(run: Run, tmp_path: Path) -> None:
    _, err = run("inspect", tmp_path / "nobody", "--debug", code=2)
    assert err.startswith("Traceback (most recent call last):")
    assert err.splitlines()[-1].startswith("qdinfer: error: ")


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(run: Run, command: str) -> None:
    out, _ = run(command, "--help")
    assert f"\n  qdinfer {command} STUDENT" in out
    assert "--debug" in out
    assert max(map(len, out.splitlines())) <= 120


def test_help_and_version(run: Run) -> None:
    out, _ = run("--help")
    assert all(re.search(rf"^    {command}  ", out, re.MULTILINE) for command in COMMANDS)
    assert "\n  qdinfer predict STUDENT" in out
    assert run("--version") == (f"qdinfer {qdinfer.__version__}\n", "")


@pytest.mark.parametrize("words", [[], ["prdict"], ["predict"], ["predict", "s", "t", "--shots", "many"]])
def test_a_wrong_command_line_exits_with_2(run: Run, words: list[str]) -> None:
    out, err = run(*words, code=2)
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("qdinfer")
    assert ": error: " in line
    assert line.endswith(" (--help explains)")


# In processes of their own


def test_standard_input_to_standard_output(student_path: Path, classifier: Classifier) -> None:
    done = shell("predict", student_path, "--input", "-", input=as_csv(ROWS))
    assert (done.returncode, done.stderr) == (0, "")
    labels = classifier.predict([row["text"] for row in ROWS]).tolist()
    assert [row["prediction"] for row in parsed(done.stdout)] == labels
    assert parsed(done.stdout)[1]["note"] == "été"


def test_jsonl_from_standard_input_in_a_locale_without_utf8(student_path: Path) -> None:
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}
    source = '{"text": "été 太陽", "half": "\\ud83c"}\n'
    done = shell("predict", student_path, "--input", "-", "--format", "jsonl", input=source, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "été 太陽" in done.stdout
    assert json.loads(done.stdout)["half"] == "\ud83c"


def test_standard_input_is_named_in_errors(student_path: Path) -> None:
    done = shell("predict", student_path, "--input", "-", input="id\n1\n")
    assert done.returncode == 2
    assert done.stderr == "qdinfer: error: standard input line 1: found columns ['id']; expected 'text'\n"


def test_no_standard_input_at_all_is_an_error_of_one_line(student_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "predict", str(student_path), "--input", "-"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "qdinfer: error: standard input: found it closed; expected a table\n"


def test_bytes_that_are_no_text_on_the_command_line(student_path: Path) -> None:
    done = shell("predict", student_path, os.fsdecode(b"caf\xe9"))
    assert done.returncode == 2
    assert "texts[0]: found a lone surrogate" in done.stderr


def test_a_reader_that_goes_is_no_noise(student_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("text\n" + "sun rain goal\n" * 50_000)
    words = [*COMMAND, "predict", student_path, "--input", source]
    ours = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, text=True)
    assert ours.stdout is not None
    assert ours.stderr is not None
    assert ours.stdout.readline() == "text,prediction\n"
    ours.stdout.close()
    assert ours.stderr.read() == ""
    assert ours.wait(30) == 1
    ours.stderr.close()


def test_a_full_disk_is_an_error_of_one_line(student_path: Path) -> None:
    with open("/dev/full", "w") as full:
        words = [*COMMAND, "predict", str(student_path), "sun"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1
    assert done.stderr == "qdinfer: error: [Errno 28] No space left on device\n"


def running(student_path: Path, target: Path) -> subprocess.Popen[str]:
    """A prediction that waits for more input, after having read and written some."""
    words = [*COMMAND, "predict", str(student_path), "--input", "-", "--output", str(target)]
    child = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write("text\n" + "sun rain\n" * 20_000)
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size for path in target.parent.glob(f".{target.name}.*.tmp")):
        assert time.monotonic() < deadline, "nothing was written"
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.02)
    return child


@pytest.mark.parametrize(
    ("sent", "code", "litter", "said"),
    [
        (signal.SIGTERM, 143, 0, ""),
        (signal.SIGINT, 130, 0, "qdinfer: interrupted\n"),
        (signal.SIGKILL, -9, 1, ""),
    ],
)
def test_a_run_that_is_ended_leaves_the_old_file(
    student_path: Path, tmp_path: Path, sent: signal.Signals, code: int, litter: int, said: str
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("the old one")
    with running(student_path, target) as child:
        try:
            assert target.read_text() == "the old one"
            child.send_signal(sent)
            assert child.wait(30) == code
            assert child.stderr is not None
            assert child.stderr.read() == said
        finally:
            child.kill()
    assert target.read_text() == "the old one"
    assert len(list(tmp_path.glob(".*.tmp"))) == litter


def test_a_run_that_is_not_ended_replaces_the_old_file(student_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("the old one")
    with running(student_path, target) as child:
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")
    assert len(target.read_text().splitlines()) == 20_001


def test_sigterm_is_handled_as_before_afterwards(run: Run, student_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run("predict", student_path, "sun")
    assert signal.getsignal(signal.SIGTERM) is before
    run("inspect", "/nobody", code=2)
    assert signal.getsignal(signal.SIGTERM) is before


def on_a_terminal(words: list[str], *, stdout: int | None = None) -> str:
    """What the command prints where its stderr (and stdout, unless given) is a terminal."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    try:
        with subprocess.Popen(words, stdout=stdout or theirs, stderr=theirs, env=ENVIRONMENT) as child:
            os.close(theirs)
            printed = b""
            while True:
                try:
                    data = os.read(ours, 4096)
                except OSError:  # Linux says so when the last writer has gone
                    break
                if not data:
                    break
                printed += data
        assert child.returncode == 0, printed
    finally:
        os.close(ours)
    return printed.decode()


def test_a_terminal_shows_progress_where_it_shows_no_table(student_path: Path, texts_csv: Path, tmp_path: Path) -> None:
    words = [*COMMAND, "predict", str(student_path), "--input", str(texts_csv)]
    assert re.search(r"3 texts \[", on_a_terminal([*words, "--output", str(tmp_path / "out.csv")]))
    assert on_a_terminal([*words[:-2], "sun"]).splitlines()[0] == "text,prediction"
    with (tmp_path / "piped.csv").open("w") as piped:
        assert "3 texts [" in on_a_terminal(words, stdout=piped.fileno())
    assert "texts [" not in shell(*words[4:]).stderr
