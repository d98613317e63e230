"""`qdistill compare`: what it trains, keeps and says."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from qdinfer import Artifact
from qdinfer.errors import InputError, QdinferError
from qdinfer.lock import hold
from qdistill.cli import main
from qdistill.compare import runner, worker
from qdistill.compare.contenders import CONTENDERS
from qdistill.compare.job import Job
from qdistill.compare.measurement import Measurement, digest, measure, read_results
from qdistill.compare.plot import figure, png
from qdistill.compare.report import Comparison
from qdistill.config import make_config
from qdistill.names import TITLES
from qdistill.teachers import label_texts

WORDS = {"sea": ["wave", "salt", "harbour", "fish", "tide"], "wood": ["oak", "leaf", "moss", "owl", "root"]}
OPTIONS = ["--ansatz", "line", "--epochs", "1", "--batch-size", "16"]


def table(path: Path, rows: int, seed: int) -> Path:
    rng = random.Random(seed)
    labels = [sorted(WORDS)[i % 2] for i in range(rows)]
    lines = [f"{' '.join(rng.choices(WORDS[label], k=3) + rng.choices(WORDS['sea'], k=1))},{label}" for label in labels]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return table(tmp_path / "train.csv", 60, 0)


@pytest.fixture
def test(tmp_path: Path) -> Path:
    return table(tmp_path / "test.csv", 30, 1)


class Known:
    """A teacher that knows the words."""

    labels = ("wood", "sea")
    identity = {"kind": "probe", "model": "known", "layer": 7}  # noqa: RUF012
    disk_bytes = 5_000_000

    def probabilities(self, texts: list[str]) -> list[list[float]]:
        import numpy as np

        share = np.array([sum(word in WORDS["wood"] for word in text.split()) / 4 for text in texts])
        return np.stack([share, 1 - share], axis=1)


def told(folder: Path, *tables: Path) -> Path:
    """What the teacher said of these tables."""
    texts = [line.split(",")[0] for path in tables for line in path.read_text().splitlines()[1:]]
    label_texts(Known(), texts, folder / "teacher.jsonl", setup_seconds=3.0)
    label_texts(Known(), ["one more text"], folder / "teacher.jsonl")
    return folder / "teacher.jsonl"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was trained, in this process in place of one of its own, and cheaply."""
    done: list[tuple[str, int]] = []

    def here(job: Job, contender: str, data: str) -> Measurement:
        done.append((contender, job.config.seed))
        return Measurement(
            contender=contender,
            seed=job.config.seed,
            correct=("110" if contender == "twin" else "111" if job.config.seed else "101") * 10,
            trained_parameters=1234,
            disk_bytes=2_500_000,
            peak_memory=300_000_000,
            training_seconds=12.3,
            milliseconds=0.0421,
            made_with="qdistill 9 on 7 cores",
        )

    monkeypatch.setattr(runner, "_in_own_process", here)
    return done


def compare(train: Path, test: Path, output: Path, *options: str) -> int:
    return main(["compare", str(train), "--test", str(test), "--output", str(output), *OPTIONS, *options])


@pytest.mark.slow
def test_a_comparison_of_real_trainings(
    train: Path, test: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train_one, made = runner._in_own_process, dict[str, Measurement]()

    def once(job: Job, contender: str, data: str) -> Measurement:
        """One process for each contender: with other seeds they would do the same for a minute more."""
        if contender not in made:
            made[contender] = train_one(job, contender, data)
        return made[contender].model_copy(update={"seed": job.config.seed})

    monkeypatch.setattr(runner, "_in_own_process", once)
    assert compare(train, test, tmp_path / "out") == 0
    out, err = capfd.readouterr()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.md",
        "comparison.png",
        "results.json",
    ]
    results = [*read_results(tmp_path / "out" / "results.json").values()]
    assert [(each.contender, each.seed) for each in results] == [
        ("student", 0), ("twin", 0), ("tfidf", 0), ("student", 1), ("twin", 1), ("student", 2), ("twin", 2)
    ]  # fmt: skip
    for each in results:
        assert len(each.correct) == 30
        assert each.peak_memory is not None
        assert each.peak_memory > 100e6
        assert each.milliseconds is not None
        assert 0 < each.milliseconds < 1000
    student, twin, bag = results[:3]
    assert student.trained_parameters is not None
    assert twin.trained_parameters is not None
    assert student.trained_parameters > twin.trained_parameters, "the circuit's angles"
    assert bag.correct.count("1") >= 25
    assert "7 of 7: twin, seed 2: accuracy" in err
    assert "| its classical twin |" in out
    assert "ircuit" in next(line for line in out.splitlines() if line.startswith("**"))
    # The student that the same options give is this one, and takes its card's table from here.
    options = ["--test", str(test), "--comparison", str(tmp_path / "out"), "--output", str(tmp_path / "student")]
    assert main(["train", str(train), *OPTIONS, *options]) == 0
    artifact = Artifact.open(tmp_path / "student")
    metrics = artifact.manifest.provenance.metrics
    assert metrics["test_accuracy"] == pytest.approx(student.correct.count("1") / 30)
    assert metrics["compare_student_trainings"] == 3
    assert "| its classical twin | 0." in artifact.files["README.md"].decode()


def test_what_was_trained_is_not_trained_again(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    assert compare(train, test, tmp_path / "out") == 0
    assert trained == [
        ("student", 0),
        ("twin", 0),
        ("tfidf", 0),
        *[(n, s) for s in (1, 2) for n in ("student", "twin")],
    ]
    trained.clear()
    assert compare(train, test, tmp_path / "out", "--seeds", "4") == 0
    assert trained == [("student", 3), ("twin", 3)]
    trained.clear()
    assert (
        compare(train, test, tmp_path / "out", "--temperature", "3", "--teacher", str(told(tmp_path, train, test))) == 0
    )
    assert ("tfidf", 0) not in trained, "which does not depend on it"
    assert len(trained) == 6
    trained.clear()
    train.write_text(train.read_text() + "wave oak,sea\n")
    assert compare(train, test, tmp_path / "out") == 0
    assert len(trained) == 7, "all of it, for other texts"


def test_a_training_that_fails_leaves_what_was_measured(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = runner._in_own_process

    def failing(job: Job, contender: str, data: str) -> Measurement:
        if contender == "tfidf":
            raise QdinferError("gone")
        return cheap(job, contender, data)

    monkeypatch.setattr(runner, "_in_own_process", failing)
    assert compare(train, test, tmp_path / "out") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]
    monkeypatch.setattr(runner, "_in_own_process", cheap)
    trained.clear()
    assert compare(train, test, tmp_path / "out") == 0
    assert trained[0] == ("tfidf", 0)


@pytest.mark.slow
def test_a_process_that_fails_says_so(train: Path, test: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = make_config("contextual", encoder_path="nowhere")
    job = Job(
        train=str(train), test=str(test), text_column="text", label_column="label", unlabelled=None, teacher=None,
        transformer="nowhere", config=config,
    )  # fmt: skip
    with pytest.raises(InputError, match="fine_tuned, seed 0: cannot be trained, see the message above"):
        runner._in_own_process(job, "fine_tuned", digest([*job.task().labelled, *job.test_texts()]))
    assert "nowhere" in capfd.readouterr().err


def test_the_page_says_what_was_measured(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = told(tmp_path, train, test)
    assert compare(train, test, tmp_path / "out", "--teacher", str(teacher), "--title", "Sea or $wood\\foo$") == 0
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert page.startswith("# Sea or $wood\\foo$\n")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    by_title = {row[0]: row[1:] for row in rows}
    assert [*by_title][2:] == [TITLES[name] for name in ("student", "twin", "tfidf", "teacher")]
    student = by_title["quantum student"]
    assert student[0].startswith("0.889 (")
    assert student[1] == ""
    assert student[2:] == ["1,234", "2.5", "300", "12", "0.04"]
    assert by_title["its classical twin"][1].startswith("+22.2 (")
    assert by_title["its teacher"][2] == "–"
    assert by_title["its teacher"][3] == "5.0"
    assert "- quantum student: 0.6667, 1.0000, 1.0000" in page
    assert f"qdistill compare train.csv --test test.csv --output out {' '.join(OPTIONS)}" in page
    assert str(tmp_path) not in page
    assert "training is loading and fitting it" in page
    assert "- qdistill 9 on 7 cores: quantum student, its classical twin, TF-IDF + logistic regression\n" in page
    assert "| its teacher |" in capsys.readouterr().out


def test_the_verdict_follows_the_numbers() -> None:
    def of(student: str, twin: str) -> str:
        found = {
            name: [Measurement(contender=name, seed=seed, correct=correct * 50) for seed in range(3)]
            for name, correct in (("student", student), ("twin", twin))
        }
        return Comparison.of(found).verdict()

    assert of("1110", "1110").startswith("The circuit is on par with its classical twin")
    assert "(+0.00 points, 95 % interval -0.98 to +0.98)" in of("1110", "1110")
    assert of("1111", "1110").startswith("The circuit is better than its classical twin")
    assert "(+25.00 points, 95 % interval +" in of("1111", "1110")
    assert of("1100", "1110").startswith("The circuit is worse than its classical twin")
    assert of("1" * 2, "10").startswith("The circuit is better")
    assert of("10" * 1, "01").startswith("No difference was found"), "too wide an interval is not on par"


def test_the_plot_has_a_row_for_each_and_is_a_png() -> None:
    found = {
        name: [Measurement(contender=name, seed=0, correct="1101", disk_bytes=10**6 * (1 + i), milliseconds=0.1)]
        for i, name in enumerate(["student", "twin", "tfidf"])
    }
    found["teacher"] = [Measurement(contender="teacher", seed=None, correct="1111")]
    comparison = Comparison.of(found)
    accuracy, disk, time = figure(comparison, "small").axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == [row.title for row in comparison.rows[::-1]]
    assert [text.get_text() for text in disk.texts] == ["not measured", "3", "2", "1"]
    assert [text.get_text() for text in time.texts] == ["not measured", "0.1", "0.1", "0.1"]
    assert png(comparison, "small").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "2"], "--seeds: found 2; expected at least 3"),
        (["--unlabelled", "test.csv"], "--unlabelled: found no --teacher"),
        (["--layers", "2"], "--encoder folded: found --layers"),
        (["--label-column", "class"], "expected 'class'"),
        (["--alpha", "0.4"], "--alpha: found it without --teacher"),
        (["--unlabelled", "-"], "found - for a table; expected a file"),
        (["--transformer", "nowhere"], "nowhere: found no config.json there"),
        (["--output", "train.csv"], "--output train.csv: found a file; expected a folder"),
        (["--output", "no/where"], "--output no/where: found no folder"),
    ],
)
def test_bad_options_are_named(
    train: Path, test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "train.csv", "--test", "test.csv", "--output", "out", *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.csv", "train.csv"]


@pytest.mark.parametrize(
    ("train_rows", "test_rows", "message"),
    [
        ("a,sea\nb,sea\n", "a,sea\n", "expected at least two different ones"),
        ("a,sea\nb,wood\nc,sea\nd,wood\n", "a,desert\n", "test.csv row 1: found 'desert'"),
        ("a,sea\nb,wood\nc,sea\nd,wood\n", "", "test.csv: found no texts"),
        ('a,"se\na"\nb,wood\nc,"se\na"\nd,wood\n', "b,wood\n", "label: found"),
    ],
)
def test_bad_texts_are_found_before_any_training(
    tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str],
    train_rows: str, test_rows: str, message: str,
) -> None:  # fmt: skip
    for name, rows in (("train", train_rows), ("test", test_rows)):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{rows}")
    assert compare(tmp_path / "train.csv", tmp_path / "test.csv", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not trained
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"format": 1, "results": {"a": {"contender": 3}}}', "[1]"])
def test_another_file_in_the_results_place_is_named(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str],
    content: str,
) -> None:  # fmt: skip
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(content)
    assert compare(train, test, tmp_path / "out") == 2
    assert "found no results of a comparison" in capsys.readouterr().err
    assert (tmp_path / "out" / "results.json").read_text() == content
    assert not trained


def test_a_newer_format_of_results_is_refused(
    train: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text(json.dumps({"format": 2, "results": {}}))
    assert compare(train, test, tmp_path / "out") == 2
    assert "found format 2; expected 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--seed", "3"],
            "found 3 seeds of this student and of those beside it; expected 3 or more, and more than 3, with",
        ),
        (["--epochs", "2"], "found 0 seeds of this student"),
    ],
)
def test_a_card_takes_no_other_students_comparison(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str],
    options: list[str], message: str,
) -> None:  # fmt: skip
    assert compare(train, test, tmp_path / "out") == 0
    command = ["train", str(train), "--test", str(test), *OPTIONS, "--comparison", str(tmp_path / "out"), *options]
    assert main([*command, "--output", str(tmp_path / "student")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "student").exists()


def test_a_contender_without_its_transformer_is_left_out_and_refused(train: Path, test: Path) -> None:
    job = Job(
        train=str(train), test=str(test), text_column="text", label_column="label", unlabelled=None, teacher=None,
        transformer=None, config=make_config("folded"),
    )  # fmt: skip
    for name in ("paper", "fine_tuned"):
        with pytest.raises(InputError, match=f"{name}: found no transformer to train"):
            measure(name, CONTENDERS[name], job.task(), job.test_texts())


def test_another_transformer_of_the_same_name_is_another_comparison(
    bert: Path, train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    other = shutil.copytree(bert, tmp_path / "bert")
    assert compare(train, test, tmp_path / "out", "--transformer", str(bert)) == 0
    assert [name for name, _ in trained].count("fine_tuned") == 3
    assert [name for name, _ in trained].count("paper") == 1
    trained.clear()
    assert compare(train, test, tmp_path / "out", "--transformer", str(other)) == 0
    assert not trained, "the same files elsewhere"
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    assert compare(train, test, tmp_path / "out", "--transformer", str(other)) == 0
    assert {name for name, _ in trained} == {"fine_tuned", "paper"}


def test_other_answers_of_the_same_teacher_are_another_comparison(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    teacher = told(tmp_path, train, test)
    assert compare(train, test, tmp_path / "out", "--teacher", str(teacher)) == 0
    trained.clear()
    teacher.write_text(teacher.read_text().replace("0.25", "0.26").replace("0.75", "0.74"))
    assert compare(train, test, tmp_path / "out", "--teacher", str(teacher)) == 0
    assert {name for name, _ in trained} == {"student", "twin"}


def test_texts_that_change_on_the_way_are_noticed(
    train: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job(
        train=str(train), test=str(test), text_column="text", label_column="label", unlabelled=None, teacher=None,
        transformer=None, config=make_config("folded"),
    )  # fmt: skip
    (tmp_path / "job.json").write_text(job.model_dump_json())
    before = digest([*job.task().labelled, *job.test_texts()])
    test.write_text(test.read_text() + "wave oak,sea\n")
    assert worker.main(str(tmp_path / "job.json"), "tfidf", before, str(tmp_path / "result.json")) == 2
    assert "found other texts than at the start" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()


def test_a_second_process_is_told(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    folder = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        hold(folder, tmp_path / "out")
        assert compare(train, test, tmp_path / "out") == 2
    finally:
        os.close(folder)
    assert "found another process writing to it" in capsys.readouterr().err
    assert compare(train, test, tmp_path / "out") == 0


def test_a_folder_of_something_else_is_left_alone(
    train: Path, test: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "student.json").write_text("{}")
    assert compare(train, test, tmp_path / "out") == 2
    assert "found other things in it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["student.json"]


def test_a_comparison_that_was_stopped_is_no_comparison(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(train, test, tmp_path / "out") == 0
    file = tmp_path / "out" / "results.json"
    content = json.loads(file.read_text())
    content["results"].popitem()
    file.write_text(json.dumps(content))
    command = ["train", str(train), "--test", str(test), *OPTIONS, "--comparison", str(tmp_path / "out")]
    assert main([*command, "--output", str(tmp_path / "student")]) == 2
    assert "found 2 seeds of this student" in capsys.readouterr().err
    file.unlink()
    assert main([*command, "--output", str(tmp_path / "student")]) == 2
    assert "results.json: found no file there" in capsys.readouterr().err


def test_paths_do_not_stand_on_the_page(
    train: Path, test: Path, tmp_path: Path, trained: list[tuple[str, int]]
) -> None:
    command = ["compare", str(train), f"--test={test.parent}//{test.name}", "--output", f"{tmp_path}/out/", *OPTIONS]
    assert main(command) == 0
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert str(tmp_path) not in page
    assert "qdistill compare train.csv --test=test.csv --output out" in page
