"""`qdistill train`, from a csv to a student."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qdinfer import Artifact, Classifier, verify
from qdistill.cli import main

WORDS = {
    "sea": ["wave", "salt", "harbour", "fish", "tide", "boat", "gull"],
    "wood": ["oak", "leaf", "moss", "owl", "root", "bark", "fern"],
}
COMMON = ["the", "a", "was", "and", "near", "with"]


def table(path: Path, rows: int, seed: int) -> Path:
    rng = random.Random(seed)
    lines = ["text,label"]
    for i in range(rows):
        label = sorted(WORDS)[i % 2]
        lines.append(" ".join(rng.choices(COMMON, k=3) + rng.choices(WORDS[label], k=3)) + f",{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_train_gives_a_verified_student_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = table(tmp_path / "train.csv", 200, 0), table(tmp_path / "test.csv", 60, 1)
    for name in ("one", "two.zip"):
        options = ["--ansatz", "line", "--batch-size", "16", "--name", "shore", "--output", str(tmp_path / name)]
        assert main(["train", str(train), "--test", str(test), *options]) == 0
    assert "one: 0.0" in capsys.readouterr().out
    one, two = Artifact.open(tmp_path / "one"), Artifact.open(tmp_path / "two.zip")
    assert {name: data for name, data in one.files.items() if name != "README.md"} == {
        name: data for name, data in two.files.items() if name != "README.md"
    }, "the same seed gives the same student"
    assert verify(one).ok
    assert Classifier(one).predict(["a boat on the wave", "the owl in the oak"]).tolist() == ["sea", "wood"]
    provenance = one.manifest.provenance
    assert provenance.settings["ansatz"] == "line"
    assert provenance.metrics["test_texts"] == 60
    assert provenance.metrics["test_accuracy"] > 0.9
    assert provenance.data == "train.csv"
    assert provenance.command is not None
    assert str(tmp_path) not in provenance.command
    card = one.files["README.md"].decode()
    assert f"| test_accuracy | {provenance.metrics['test_accuracy']:.4g} |" in card
    assert "has not been seen to beat a classical layer" in card


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("a,sea\nb,sea\n", [], "expected at least two different ones"),
        ("a,sea\nb,sea\nc,wood\n", [], "only one text has the label 'wood'"),
        ("a,sea\nb,\n", [], "label: found ''"),
        ("a,sea\nb,wood\n" * 4, ["--epochs", "0"], "setting epochs: found 0"),
        ("a,sea\nb,wood\n" * 4, ["--name", "no/name"], "name"),
        ("a,sea\nb,wood\n" * 4, ["--encoder", "paper"], "--encoder paper: found no --transformer"),
        ("a,sea\nb,wood\n" * 4, ["--layers", "2"], "--encoder folded: found --layers, which it does not have"),
        ("a,sea\nb,wood\n" * 4, ["--alpha", "0.5"], "--alpha: found it without --teacher, on which it would act"),
        ("a,sea\nb,wood\n" * 4, ["--alpha", "2", "--teacher", "none.jsonl"], "setting alpha: found 2.0"),
        ("a,sea\nb,wood\n" * 4, ["--teacher", "none.jsonl"], "none.jsonl: No such file"),
        ("a,sea\nb,wood\n" * 4, ["--unlabelled", "train.csv"], "train.csv"),
        ("a,sea\nb,wood\n" * 4, ["--label-column", "class"], "expected 'class'"),
    ],
)
def test_what_cannot_be_trained_on_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, options: list[str], message: str
) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + rows)
    assert main(["train", str(tmp_path / "train.csv"), "--output", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


def test_a_label_that_only_the_test_has_is_found_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = table(tmp_path / "train.csv", 20, 0)
    (tmp_path / "test.csv").write_text("text,label\na,desert\n")
    command = ["train", str(train), "--test", str(tmp_path / "test.csv"), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "found the label 'desert'; expected one of ['sea', 'wood']" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_found_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = table(tmp_path / "train.csv", 20, 0)
    assert main(["train", str(train), "--output", str(tmp_path / "no" / "out")]) == 2
    assert "found no folder" in capsys.readouterr().err


def test_a_folder_that_is_no_student_is_found_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qdistill.recipe.train", lambda *_, **__: pytest.fail("it was trained"))
    train = table(tmp_path / "train.csv", 20, 0)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    assert main(["train", str(train), "--output", str(tmp_path / "thesis"), "--overwrite"]) == 2
    assert "found what is no student" in capsys.readouterr().err
    assert (tmp_path / "thesis" / "chapter.tex").exists()
