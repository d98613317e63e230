"""The page is made from the numbers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plot import pictures
from benchmarks.report import page
from benchmarks.results import (
    Cell,
    Circuits,
    Compiling,
    Contender,
    Engine,
    Results,
    Sample,
    Setting,
    Start,
    Startup,
    Streaming,
    Texts,
    Timing,
    read_results,
    write_results,
)
from qdinfer.errors import InputError

SETTING = Setting(
    cpu="a processor",
    cores=2,
    system="Linux x86_64",
    versions={"Python": "3.11", "numpy": "2.4"},
    load=0.25,
    command="python -m benchmarks --data FOLDER",
    rounds=3,
)


def contender(name: str, seconds: list[float], *, hits: int | None = None) -> Contender:
    return Contender(name=name, title=f"[{name}]", note="how", agrees="same", texts=100, seconds=seconds, hits=hits)


RESULTS = Results(
    circuits=Circuits(
        setting=SETTING,
        student="topic-folded",
        qubits=11,
        gates=189,
        checked_rows=8,
        engines=[
            Engine(name="ours", title="ours", note="so", difference=0.0, tolerance=1e-4),
            Engine(name="other", title="other", note="thus", difference=8e-7, tolerance=1e-4),
        ],
        timings=[
            Timing(engine="ours", batch=1, rows=1, seconds=[1e-4, 1e-4, 1e-4]),
            Timing(engine="other", batch=1, rows=1, seconds=[1e-2, 2e-2, 3e-2]),
            Timing(engine="ours", batch=1024, rows=1024, seconds=[1.024e-2, 1.024e-2, 1.024e-2]),
            Timing(engine="other", batch=1024, rows=64, seconds=[64e-2, 64e-2, 64e-2]),
        ],
        accuracy_rows=256,
        largest_error=1.25e-6,
        mean_error=1e-7,
    ),
    texts=Texts(
        setting=SETTING,
        test_texts=785,
        contenders=[
            contender("folded", [0.02, 0.02, 0.02], hits=701),
            contender("folded_tokenizer", [0.01, 0.01, 0.01]),
            contender("contextual", [0.4, 0.4, 0.4], hits=715),
            contender("contextual_encoder", [0.38, 0.38, 0.38]),
            contender("contextual_unsorted", [0.8, 1.0, 1.2], hits=715),
        ],
    ),
    startup=Startup(
        setting=SETTING,
        starts=[
            Start(student="topic", program="bare", seconds=[0.2, 0.2, 0.4], memory=[100_000_000] * 3),
            Start(student="topic", program="library", seconds=[0.3, 0.3, 0.6], memory=[130_000_000] * 3),
        ],
    ),
    compiling=Compiling(
        setting=SETTING,
        limit=120.0,
        cells=[
            Cell(name="topic-folded", qubits=11, depth=None, ended="refused", reason="it is too large"),
            Cell(
                name="line",
                qubits=5,
                depth=2,
                seconds=0.25,
                size=4000,
                multiply_adds=12345,
                one=5e-5,
                many=1e-6,
                memory=150_000_000,
            ),
        ],
    ),
    streaming=Streaming(
        setting=SETTING,
        student="topic-folded",
        texts=1000,
        seconds=0.5,
        samples=[Sample(texts=n, memory=m) for n, m in ((50, 90_000_000), (100, 99_500_000), (1000, 100_000_000))],
    ),
)


@pytest.mark.parametrize(
    "line",
    [
        "| ours: so |  | 100 µs (100 µs to 100 µs) | 10.0 µs (10.0 µs to 10.0 µs) |",
        (
            "| other: thus | 8e-07 | 20.0 ms (15.0 ms to 25.0 ms): **200 ×** (150 to 250) | "
            "10.0 ms (10.0 ms to 10.0 ms): **1,000 ×** (1,000 to 1,000) (with 64) |"
        ),
        "| [folded]: how | 100 | 5,000 (5,000 to 5,000) | 0.893 (0.869 to 0.913) | same |",
        "| [folded_tokenizer]: how | 100 | 10,000 (10,000 to 10,000) | – | same |",
        "- [folded] has 0.50 × (0.50 to 0.50) the throughput of its tokenizer alone.",
        "- [contextual] has 0.95 × (0.95 to 0.95) the throughput of its encoder alone on the same batches.",
        (
            "- [contextual] has 2.50 × (2.25 to 2.75) the throughput of the same parts with the texts in their own "
            "order, not sorted by length."
        ),
        (
            "| `topic` | `Classifier.load(path).predict(text)` | 300 ms (300 ms to 450 ms) | 1.50 × (1.50 to 1.50) | "
            "130 MB | 1.30 × (1.30 to 1.30) |"
        ),
        "| that of `topic-folded` | 11 |  | refused |  |  |  |  |  |",
        "| line | 5 | 2 | 250 ms | 4 kB | 12,345 | 50.0 µs | 1.00 µs | 150 MB |",
        "- refused: it is too large",
    ],
)
def test_page_has_the_line(line: str) -> None:
    assert line in page(RESULTS).splitlines()


def test_page_says_what_it_was_measured_with_and_what_it_does_not_say() -> None:
    written = page(RESULTS)
    assert "after 100 texts: 99.5 MB; at the end: 100.0 MB (+0.5 MB)" in written
    assert "2 cores of a processor, Linux x86_64, load 0.2 before; Python 3.11, numpy 2.4" in written
    assert "has not been seen to beat a classical layer of the same width" in written


def test_a_part_that_was_not_measured_is_left_out() -> None:
    written = page(Results(startup=RESULTS.startup))
    assert "## Starting" in written
    assert "## Compiling" not in written
    assert pictures(Results()) == {}


def test_pictures_are_drawn() -> None:
    drawn = pictures(RESULTS)
    assert sorted(drawn) == ["circuits.png", "compiling.png", "streaming.png", "texts.png"]
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    for name in drawn:
        assert f"(benchmarks/{name})" in page(RESULTS)


def test_results_survive_the_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert read_results(file) == Results()
    write_results(file, RESULTS)
    assert read_results(file) == RESULTS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected what `python -m benchmarks` wrote"),
        ('{"format": 1, "circuits": {"student": 3}}', "found circuits"),
        ('{"format": 2}', "found format 2; expected 1"),
    ],
)
def test_other_files_are_no_results(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_results(file)
