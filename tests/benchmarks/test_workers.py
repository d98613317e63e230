"""Rounds are in turn, and a process that dies is reported with what it said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import startup
from benchmarks.compiling import measure_compiling
from benchmarks.results import BenchmarkError, Setting, setting
from benchmarks.startup import launch
from benchmarks.statistics import ratios, spread
from benchmarks.streaming import measure_streaming
from benchmarks.workers import Worker, in_turn
from qdinfer.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
FOLDED = ROOT / "exported_models" / "topic-folded"


@pytest.fixture
def once() -> Setting:
    return setting("none", 1, ["numpy"])


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(MissingExtraError, match=r'with no-such needs an optional part: pip install "qdinfer\[bench\]"'):
        setting("none", 1, ["no-such"])


def test_medians_and_quartiles() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == (3, 2, 4)
    assert spread([7.0]) == (7, 7, 7)
    assert spread([1.0, 2.0, 3.0]).scaled(10) == (20, 15, 25)
    with pytest.raises(ValueError, match="found no values"):
        spread([])


def test_ratios_are_those_of_the_rounds() -> None:
    fast, slow = [1.0, 10.0, 1.0], [3.0, 30.0, 4.0]  # the second round was disturbed
    assert ratios(slow, fast) == (3, 3, 3.5)
    with pytest.raises(ValueError, match="zip"):
        ratios(slow, fast[:2])


def test_all_are_asked_in_every_round_and_each_comes_first() -> None:
    asked: list[str] = []
    steps: list[int] = []

    def asker(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    times = in_turn({name: lambda name=name: asker(name) for name in "abc"}, 3, step=lambda: steps.append(1))
    assert asked == [*"abc", *"bca", *"cab"]
    assert times == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}
    assert len(steps) == 9


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)ours: its process ended with code 1; it said:.*nowhere"):
        Worker("circuit", "ours", [str(tmp_path / "nowhere"), "angles.npy"])


def test_a_worker_that_dies_says_why(tmp_path: Path) -> None:
    np.save(tmp_path / "angles.npy", np.zeros((2, 11), np.float32))
    with Worker("circuit", "ours", [str(FOLDED), str(tmp_path / "angles.npy")]) as worker:
        assert np.shape(worker.answer(2)) == (2, 11)
        with pytest.raises(BenchmarkError, match=r"(?s)ended with code 1; it said:.*found 2 rows; expected at least 3"):
            worker.answer(3)
        with pytest.raises(BenchmarkError, match="ended with code 1"):
            worker.answer(2)


@pytest.mark.parametrize("program", startup.PROGRAMS)
def test_programs_say_the_same_label(program: str) -> None:
    found = launch(program, FOLDED)
    assert found["label"] == "business"
    assert found["seconds"] > 0
    assert found["memory"] > 20e6


def test_a_program_that_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)library with .*: ended with code 1; it said:.*nowhere"):
        launch("library", tmp_path / "nowhere")


def test_a_stream_that_fails_is_reported(once: Setting, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"(?s)streaming: its process ended with code 1.*topic_test.csv"):
        measure_streaming(once, FOLDED, tmp_path, texts=10)


@pytest.mark.slow
def test_circuits_that_take_too_long_or_die_have_a_reason(once: Setting) -> None:
    found = measure_compiling(once, FOLDED, qubits=[], depths=[], limit=0.01)
    assert [(each.name, each.ended) for each in found.cells] == [("topic-folded", "stopped")]
    assert found.cells[0].reason == "not compiled within 0.01 s"
    died = measure_compiling(once, FOLDED, qubits=[0], depths=[1], limit=60).cells[1]
    assert died.ended == "died"
    assert died.reason is not None
    assert "ended with code 1" in died.reason
