"""The journal by itself: what it holds, what it refuses."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qdinfer import Classifier, InputError, JournalError, RuntimeBackend, RuntimeSettings
from qdinfer.backends.sampling import Measured
from qdinfer.runs import AutoShots, Journal, Run
from qdinfer.runs.journal import FORMAT
from qdinfer.runs.plan import Chunk, chunk_of

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
HASHES = [bytes([i] * 16) for i in range(3)]
ANGLES = np.linspace(-3, 3, 6).reshape(3, 2).astype(np.float32)
CHUNKS = [Chunk("a", 0, np.array([0, 1]), 10, 2.5), Chunk("b", 0, np.array([2]), 10, 2.1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def begun(path: Path) -> Journal:
    journal = Journal(path, new=True)
    about = {"device": "fake_fez", "instance": "i", "circuit": "{}", "tag": "qdinfer-run-x"}
    journal.begin({"student": "tiny", "shots": 10}, about, HASHES, ANGLES, CHUNKS)
    return journal


def test_what_is_written_is_read(path: Path) -> None:
    begun(path).close()
    with Journal(path) as journal:
        assert not journal.empty
        assert journal.identity == {"student": "tiny", "shots": 10}
        assert journal.hashes == HASHES
        np.testing.assert_array_equal(journal.angles, ANGLES)
        assert [(c.id, c.round, c.rows.tolist(), c.shots, c.seconds) for c in journal.chunks()] == [
            ("a", 0, [0, 1], 10, 2.5),
            ("b", 0, [2], 10, 2.1),
        ]
        assert journal.text("device") == "fake_fez"
        assert journal.text("session") == ""


@st.composite
def results(draw: st.DrawFn) -> Measured:
    n, m = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bits = rng.random((n, draw(st.integers(1, 9)), m)) < 0.5
    measured = Measured.from_bits(bits, np.eye(m, dtype=bool))
    if draw(st.booleans()):
        measured = measured.mitigated(Measured.from_bits(rng.random((1, 4000, m)) < 0.05, np.eye(m, dtype=bool)))
    return measured


@given(results())
@settings(max_examples=25, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_results_come_back_bit_by_bit(tmp_path_factory: pytest.TempPathFactory, measured: Measured) -> None:
    with begun(tmp_path_factory.mktemp("journal") / "run.db") as journal:
        journal.ask("a")
        journal.submitted("a", "job")
        journal.finish("a", "job", measured)
        again = journal.result("a")
        for name in ("sums", "products", "shots", "factors", "factor_covariance"):
            np.testing.assert_array_equal(getattr(again, name), getattr(measured, name))
        assert [chunk.id for chunk in journal.chunks("done")] == ["a"]
        with pytest.raises(JournalError, match=r"found no sound journal \(no result of chunk b"):
            journal.result("b")


def test_a_step_is_whole_or_not_at_all(path: Path) -> None:
    with begun(path) as journal:
        another = Chunk("c", 1, np.array([0]), 10, 2.1)
        with pytest.raises(JournalError):
            journal.add_chunks([another, CHUNKS[0]])
        assert [chunk.id for chunk in journal.chunks("planned")] == ["a", "b"]
        journal.add_chunks([another])
        assert [chunk.id for chunk in journal.chunks("planned")] == ["a", "b", "c"]


def test_every_step_is_on_disk_before_the_next(path: Path) -> None:
    with begun(path) as journal:
        assert journal._database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert journal._database.execute("PRAGMA synchronous").fetchall() == [(2,)]


def test_newer_format_is_refused(path: Path) -> None:
    begun(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    with pytest.raises(JournalError, match=f"found a journal of format {FORMAT + 1}; expected at most {FORMAT}: upg"):
        Journal(path)


def test_looking_changes_nothing(path: Path) -> None:
    begun(path).close()
    before = path.read_bytes()
    with Journal(path, writing=False) as journal:
        assert len(journal.chunks()) == 2
        with pytest.raises(OSError, match="cannot be read or written"):
            journal.ask("a")
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.lock"))


def test_one_writer_and_any_number_of_readers(path: Path) -> None:
    with begun(path) as journal:
        with pytest.raises(InputError, match="found another process writing to it"):
            Journal(path)
        journal.ask("a")
        with Journal(path, writing=False) as reader:
            assert [chunk.id for chunk in reader.chunks("asked")] == ["a"]
    with Journal(path):
        pass


def test_places_where_no_journal_can_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found no journal; expected one that a run has written"):
        Journal(tmp_path / "run.db")
    with pytest.raises(FileNotFoundError, match="found no folder"):
        Journal(tmp_path / "nowhere" / "run.db", new=True)
    with pytest.raises(InputError, match="found no regular file; expected a journal or a new path"):
        Journal(tmp_path, new=True)


def test_file_of_somebody_else_stays(tmp_path: Path) -> None:
    """Also one that SQLite takes for an empty database."""
    path = tmp_path / "empty"
    path.touch()
    Journal(path, new=True).close()
    assert path.exists()


def test_chunk_of_tags() -> None:
    assert chunk_of(("mine", "qdinfer-run-1", "qdinfer-2")) == "qdinfer-2"
    assert chunk_of(("mine", "qdinfer-run-1")) == ""


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_stored_journal_gives_its_answers(number: int, tmp_path: Path) -> None:
    """One of every format, with nothing of the service at hand."""
    stored = ARTIFACTS / f"journal{number}.db"
    shutil.copy(stored, tmp_path / "run.db")
    classifier = Classifier.load(ARTIFACTS / "format1")
    texts = ["sun rain", "goal match goal", "bank share", "", "star code sun"]
    backend = RuntimeBackend("fake_fez", settings=RuntimeSettings(mitigate_readout=True))
    shots = AutoShots(confidence=0.99, max_shots=512, first_shots=64)
    with Run.open(tmp_path / "run.db", classifier, texts, backend, shots=shots) as run:
        predictions = run.wait()
        assert run.progress().complete
        assert run.progress().seconds_used > 0
    answers = json.loads(stored.with_suffix(".json").read_text())
    assert predictions.labels.tolist() == answers["labels"]
    assert predictions.shots.tolist() == answers["shots"]
    for name in ("probabilities", "standard_errors", "confidence"):
        np.testing.assert_allclose(getattr(predictions, name), answers[name], rtol=1e-9)


@given(st.data())
@settings(max_examples=150, database=None)
def test_changed_byte_never_gives_another_answer(data: st.DataObject) -> None:
    """Wherever it is: it is found, or what is read is what was written."""
    content = bytearray(_finished())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        path.write_bytes(content)
        try:
            found = _content(path)
        except (JournalError, OSError):
            return
    assert found == CONTENT


def _content(path: Path) -> list[object]:
    with Journal(path, writing=False) as journal:
        about = [journal.text(name) for name in ("device", "instance", "circuit", "tag")]
        chunks = [(c.id, c.round, c.rows.tolist(), c.shots, c.seconds) for c in journal.chunks("done")]
        result = journal.result("a")
        numbers = [result.sums.tolist(), result.products.tolist(), result.shots.tolist()]
        return [journal.identity, journal.hashes, journal.angles.tolist(), *about, chunks, numbers, journal.jobs()]


@cache
def _finished() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        with begun(path) as journal:
            bits = np.random.default_rng(1).random((2, 10, 2)) < 0.4
            journal.submitted("a", "job")
            journal.note_usage("job", 2.25)
            journal.finish("a", "job", Measured.from_bits(bits, np.eye(2, dtype=bool)))
        CONTENT[:] = _content(path)
        return path.read_bytes()


CONTENT: list[object] = []
