"""A Ray Dataset, classified by workers of a real cluster of two nodes."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import os
import pickle
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
import ray
import ray.data
from ray_cluster import RAYS_OWN, ROOT, page_code, student_workers, two_nodes
from students import LABELS

from benchmarks import scaling
from benchmarks.results import BenchmarkError
from qdinfer import (
    AdaptiveBackend,
    AerBackend,
    Artifact,
    BackendError,
    Classifier,
    InputError,
    TruncationWarning,
)
from qdinfer.backends import Backend
from qdinfer.cli import main
from qdinfer.integrations.ray import classify_dataset
from qdinfer.integrations.ray.dataset import StudentWorker, _added, _texts

pytestmark = [pytest.mark.slow, *RAYS_OWN]

FOLDED = ROOT / "exported_models" / "topic-folded"
HEADLINES = (
    "Shares slide after the company warns of lower profits",
    "Researchers measure the smallest star with a new telescope",
    "Late header sends the home side through to the cup final",
    "Thousands flee as floods cut off villages",
    "Minister resigns over the price of a match",
)
WORDS = ("sun", "rain", "goal", "match", "bank", "share", "star", "code")
WORKERS = 2
CPUS = 2  # of each node


@pytest.fixture(scope="module", autouse=True)
def kill_node() -> Iterator[Callable[[], None]]:
    """The cluster, and what kills the node that is not ours."""
    with two_nodes(CPUS) as kill:
        yield kill


def table(rows: int) -> pa.Table:
    """Texts with an id, all of them in one block."""
    texts = [f"{WORDS[i % 8]} {WORDS[i // 8 % 8]}" for i in range(rows)]
    return pa.table({"id": range(rows), "text": texts})


def headlines(rows: int) -> pa.Table:
    """As `table`, for a student that knows more words."""
    return pa.table({"id": range(rows), "text": [f"{HEADLINES[i % 5]} {i}" for i in range(rows)]})


def by_id(dataset: Any) -> pd.DataFrame:
    return dataset.to_pandas().sort_values("id", ignore_index=True)


def check(found: pd.DataFrame, texts: list[str], classifier: Classifier) -> None:
    """Every row once, with the answer that this process gives."""
    expected = classifier.classify(texts)
    assert found["id"].tolist() == list(range(len(texts)))
    assert found["prediction"].tolist() == expected.labels.tolist()
    probabilities = found[[f"p({label})" for label in classifier.classes_]].to_numpy(float)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-5)


# What comes out


def test_answers_are_those_of_this_process_and_columns_stay_as_they_were(
    student: Artifact, classifier: Classifier
) -> None:
    rows = table(100)
    day = pa.array([datetime.date(2026, 1, 1)] * 99 + [None])
    given = rows.append_column("day", day).append_column("tags", pa.array([["a"], []] * 50))
    options = ray.data.DataContext.get_current().execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        dataset = classify_dataset(ray.data.from_arrow(given), student, proba=True, workers=WORKERS, batch_size=8)
        found = pa.concat_tables(ray.get(dataset.to_arrow_refs()))
    finally:
        options.preserve_order = before
    assert found.column_names == ["id", "text", "day", "tags", "prediction", *(f"p({label})" for label in LABELS)]
    assert found.select(given.column_names).equals(given), "also the order is kept, where Ray is told to"
    check(found.to_pandas(), rows["text"].to_pylist(), classifier)


def test_shots_bring_error_bars_and_a_seed_repeats_them_batch_by_batch(
    student: Artifact, classifier: Classifier
) -> None:
    backend, same = AerBackend(shots=100, seed=7), ["sun rain"] * 31
    texts = ["sun rain", *same, "rain goal", *same]  # two batches, which differ in their first text alone
    given = ray.data.from_arrow(pa.table({"id": range(64), "text": texts}))
    found = by_id(classify_dataset(given, student, proba=True, backend=backend, workers=WORKERS, batch_size=32))
    names = ["confidence", *(f"{kind}({label})" for kind in ("p", "se") for label in LABELS)]
    assert list(found.columns) == ["id", "text", "prediction", *names]
    for start in (0, 32):
        expected = classifier.classify(texts[start : start + 32], backend=backend).to_pandas()
        part = found[start : start + 32]
        assert part["prediction"].tolist() == expected["prediction"].tolist()
        np.testing.assert_allclose(part[names].to_numpy(float), expected[names].to_numpy(float), atol=1e-6)
    assert (found["se(sport)"] > 0).all()
    first, second = found["p(sport)"][1:32].to_numpy(float), found["p(sport)"][33:].to_numpy(float)
    assert len(set(first)) > 5, "equal texts have bits of their own"
    assert (first != second).sum() > 10, "so have equal places in different batches"


BACKENDS: dict[str, tuple[Any, list[str]]] = {
    "exact": ("exact", []),
    "exact on Aer": ("aer", ["--backend", "aer"]),
    "shots": (AerBackend(shots=20), ["--backend", "aer", "--shots", "20"]),
    "adaptive": (None, ["--backend", "aer", "--shots", "auto"]),
}


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("proba", [False, True])
def test_columns_are_those_that_the_command_writes(name: str, proba: bool, student_path: Path) -> None:
    classifier = Classifier.load(student_path)
    given, arguments = BACKENDS[name]
    backend: str | Backend = given or AdaptiveBackend(AerBackend(), classifier.readout)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        assert main(["predict", str(student_path), "sun", *arguments, *["--proba"] * proba]) == 0
    header = next(csv.reader(printed.getvalue().splitlines()))
    assert ["text", *_added(classifier.classify([], backend=backend), proba)] == header


def test_no_rows_give_no_rows(student: Artifact) -> None:
    for nothing in (ray.data.from_arrow(table(3)).limit(0), ray.data.from_arrow(table(0)), ray.data.from_items([])):
        assert classify_dataset(nothing, student).take_all() == []


def test_the_page_can_be_followed_although_workers_could_take_every_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    code = page_code(0).replace("/data/labelled", str(tmp_path / "labelled"))
    assert "workers=2" in code
    exec(code.replace("workers=2", f"workers={2 * CPUS}"), {})
    found = ray.data.read_parquet(str(tmp_path / "labelled")).to_pandas()
    expected = Classifier.load(ROOT / "exported_models" / "topic").classify(found["text"].tolist())
    assert len(found) == 12
    assert list(found) == ["text", "prediction", *(f"p({label})" for label in expected.classes)]
    assert found["prediction"].tolist() == expected.labels.tolist()


# What cannot be classified


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (pa.array(["sun", None]), "text[1]: found None; expected str (in a batch of 2 rows, of {'id': 1})"),
        (pa.array([1.5, 2.5]), "text[0]: found 1.5; expected str (in a batch of 2 rows, of {'id': 0})"),
        (pa.array([b"a", b"b"]), "text[0]: found bytes; expected str (in a batch of 2 rows, of {'id': 0})"),
        (pa.array([["a"], ["b"]]), "text[0]: found list; expected str (in a batch of 2 rows, of {'id': 0})"),
    ],
)
def test_the_message_has_the_column_the_place_and_the_row(texts: pa.Array, message: str) -> None:
    with pytest.raises(InputError) as caught:
        _texts(pa.table({"id": [0, 1], "text": texts}), "text")
    assert str(caught.value) == message


def test_a_row_of_text_alone_and_a_long_one_are_told_shortly() -> None:
    with pytest.raises(InputError) as caught:
        _texts(pa.table({"text": pa.array([None], pa.string())}), "text")
    assert str(caught.value) == "text[0]: found None; expected str (in a batch of 1 rows)"
    with pytest.raises(InputError) as caught:
        _texts(pa.table({"text": pa.array([None], pa.string()), "body": ["long " * 1000]}), "text")
    assert "'body': 'long long" in str(caught.value)
    assert len(str(caught.value)) < 150


def test_every_kind_of_text_column_is_read() -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        texts = pa.array(["sun", "", "sun"]).cast(kind)
        assert _texts(pa.table({"text": texts}), "text") == ["sun", "", "sun"]


def test_a_text_that_is_none_ends_the_run_with_its_row(student: Artifact) -> None:
    rows = [{"id": i, "text": None if i == 37 else "sun"} for i in range(60)]
    dataset = classify_dataset(ray.data.from_items(rows), student, workers=WORKERS, batch_size=20)
    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        dataset.materialize()
    assert "InputError: text[17]: found None; expected str (in a batch of 20 rows, of {'id': 37})" in str(caught.value)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"title": ["sun"]}, "text_column: found columns ['title']; expected 'text' among them"),
        (
            {"text": ["sun"], "p(sport)": [1.0]},
            "found a column 'p(sport)' in the dataset, which the result adds; expected another name",
        ),
    ],
)
def test_columns_that_only_a_worker_sees_are_checked_there(
    made: dict[str, list[Any]], message: str, student: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # as in a process of its own
    worker = StudentWorker(ray.put((student, "exact")), "text", ["prediction", "p(sport)"])
    with pytest.raises(InputError) as caught:
        worker(pa.table(made))
    assert str(caught.value) == message


def test_a_worker_tells_once_that_texts_are_cut(student: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    worker = StudentWorker(ray.put((student, "exact")), "text", ["prediction"])
    worker(pa.table({"text": ["sun", "rain"]}))
    with pytest.warns(
        TruncationWarning, match="^1 of 2 texts have over 4 tokens; the student read the first 4 of each$"
    ):
        worker(pa.table({"text": ["sun", "sun " * 5]}))
    worker(pa.table({"text": ["sun", "sun " * 6]}))  # a second warning would be an error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "title"}, "text_column: found columns ['id', 'text']; expected 'title' among them"),
        ({"workers": 0}, "workers: found 0; expected a whole number from 1 to 1048576"),
        ({"workers": 1.5}, "workers: found 1.5; expected a whole number from 1 to 1048576"),
        ({"batch_size": 0}, "batch_size: found 0; expected a whole number from 1 to 1048576"),
        ({"backend": "Exact"}, "backend: found 'Exact'; expected 'exact', 'aer', "),
        (
            {"backend": "ibm:ibm_fez"},
            "backend: found 'ibm:ibm_fez'; expected one that is computed here: Ray does a batch again when its worker "
            "dies, and would pay for it again; `qdinfer predict --journal` runs on a device and pays once",
        ),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, Any], message: str, student: Artifact) -> None:
    with pytest.raises(InputError) as caught:
        classify_dataset(ray.data.from_arrow(table(3)), student, **options)
    assert str(caught.value).startswith(message)


def test_a_result_that_would_hide_a_column_is_refused_at_once(student: Artifact) -> None:
    dataset = ray.data.from_arrow(table(3).append_column("prediction", pa.array([1, 2, 3])))
    message = "^found a column 'prediction' in the dataset, which the result adds; expected another name$"
    with pytest.raises(InputError, match=message):
        classify_dataset(dataset, student)


@pytest.mark.parametrize("error", [TypeError, pickle.PicklingError])
def test_a_backend_that_does_not_pickle_is_refused_at_once(error: type[Exception], student: Artifact) -> None:
    class Locked(AerBackend):
        def __getstate__(self) -> Any:
            raise error("cannot pickle it")

    with pytest.raises(InputError) as caught:
        classify_dataset(ray.data.from_arrow(table(3)), student, backend=Locked())
    message = "backend: found Locked, which cannot be sent to a worker (cannot pickle it); expected a name, or an "
    assert str(caught.value) == f"{message}object that pickles"


def test_other_things_than_a_dataset_and_a_student_are_refused(student: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^dataset: found list; expected a ray\.data\.Dataset$"):
        classify_dataset(["sun"], student)
    with pytest.raises(FileNotFoundError, match="found nothing there; expected a student's folder"):
        classify_dataset(ray.data.from_arrow(table(3)), tmp_path / "nobody")
    uncompiled = {name: data for name, data in student.files.items() if name != "compiled.onnx"}
    plain = Artifact.create(msgspec.structs.replace(student.manifest, compiled=None), uncompiled)
    with pytest.raises(BackendError, match="found no compiled"):
        classify_dataset(ray.data.from_arrow(table(3)), plain)


# What is measured


def test_the_benchmark_measures_whole_jobs(student_path: Path, classifier: Classifier) -> None:
    texts = table(64)["text"].to_pylist()
    job = scaling.Job(str(student_path), texts, classifier.predict(texts).tolist(), 16)
    seen: list[scaling.Seen] = []
    seconds = scaling.on_ray(job, WORKERS, seen)
    assert 0 < seen[0].first < seconds
    assert seen[0].rate > 64 / seconds
    assert 10e6 < seen[0].worker < 2e9
    assert 10e6 < seen[0].others < 20e9
    assert scaling.alone(job, 1) > 0
    rows = table(64).append_column("prediction", pa.array(job.labels))
    for wrong in ([rows, rows.slice(3, 1)], [rows.slice(1)]):
        with pytest.raises(BenchmarkError, match="expected each of 64 once"):
            scaling.check(job, wrong)
    with pytest.raises(BenchmarkError, match="found 0 of 64 labels to be those of one process"):
        scaling.check(job, [table(64).append_column("prediction", pa.array(["none"] * 64))])


# What is killed: last, since one node does not come back


def mapped_while(kill: Callable[[], object], rows: pa.Table, when: int, batch_size: int) -> pd.DataFrame:
    """The rows with their answers, in the order of their ids, from workers that are killed after so many batches."""
    dataset = classify_dataset(ray.data.from_arrow(rows), FOLDED, proba=True, workers=WORKERS, batch_size=batch_size)
    parts = []
    for number, part in enumerate(dataset.iter_batches(batch_size=None, batch_format="pyarrow")):
        parts.append(part)
        if number == when:
            kill()
    assert len(parts) > when + 5, "killed too late"
    return pa.concat_tables(parts).sort_by("id").to_pandas()


def test_a_worker_that_is_killed_costs_no_row() -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")  # shown if the test fails
    chance = random.Random(seed)
    before = {process.pid for process in student_workers()}  # of a test that failed on purpose; Ray ends them soon

    def kill() -> None:
        workers = [process for process in student_workers() if process.pid not in before]
        os.kill(chance.choice(workers).pid, signal.SIGKILL)

    rows = headlines(40_000)
    found = mapped_while(kill, rows, chance.randrange(60), 500)
    check(found, rows["text"].to_pylist(), Classifier.load(FOLDED))


def test_a_node_that_is_killed_with_its_workers_costs_no_row(kill_node: Callable[[], None]) -> None:
    rows = headlines(10_000)
    found = mapped_while(kill_node, rows, 20, 100)
    check(found, rows["text"].to_pylist(), Classifier.load(FOLDED))
    assert sum(node["Alive"] for node in ray.nodes()) == 1
