"""Durable runs, while things go wrong: no text is lost, none is paid for twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from durable import QUICK, SMALL, SMALL_AT_STANDIN, TEXTS, Notes, check_paid_once, check_predictions
from durable import open_on_small as open_run
from ibm_standin import Limits as ServerLimits
from ibm_standin import StandIn

from qdinfer import BackendError, Classifier, InputError, JournalError
from qdinfer.backends.ibm_client import Patience

POST = {"method": "POST", "path": "^/jobs$"}

DEVICES = [SMALL_AT_STANDIN]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def finish(journal: Path, classifier: Classifier, server: StandIn, doubles: int = 0, **options: Any) -> Notes:
    """Run to the end, and check that all is there and paid for once."""
    notes = Notes()
    with open_run(journal, classifier, notes=notes, **options) as run:
        check_predictions(run.wait(), classifier)
    check_paid_once(server, doubles=doubles)
    return notes


@pytest.mark.parametrize(("status", "times"), [(502, 1), (504, 2)])
def test_server_error_after_the_creation(
    status: int, times: int, standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    """The client repeats the POST, and so makes doubles, of which it says nothing."""
    standin.fault("slow_queue", seconds=3, count=None)
    standin.fault("status", status=status, when="after", count=times, after=1, **POST)
    notes = finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4 + times
    assert sum(job.status == "Cancelled" for job in standin.jobs()) == times
    assert notes.has("is a double of")


def test_double_that_was_executed_is_written_down(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("status", status=502, when="after", **POST)
    finish(journal, classifier, standin, doubles=1)
    with open_run(journal, classifier) as run:
        jobs = run.journal.jobs()
    assert len(jobs) == 5
    assert sum(job.double for job in jobs) == 1
    assert all(job.usage is not None for job in jobs)


@pytest.mark.parametrize("when", ["before", "after"])
def test_connection_dropped_on_creation(when: str, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("drop", when=when, after=1, count=2, **POST)
    notes = finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4
    assert notes.has("waiting 0.3 s to see whether the job was created")


def test_creation_stalls(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("stall", seconds=3, when="after", **POST)
    patience = Patience(**(QUICK.__dict__ | {"call": 1.5}))
    notes = finish(journal, classifier, standin, patience=patience)
    assert len(standin.jobs()) == 4
    assert notes.has("no answer within 1.5 s")


@pytest.mark.parametrize("path", ["^/jobs/[^/]*$", "/results$", "/metrics$", "^/jobs$"])
def test_reading_stalls(path: str, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("stall", seconds=3, method="GET", path=path)
    patience = Patience(**(QUICK.__dict__ | {"call": 1.5}))
    notes = finish(journal, classifier, standin, patience=patience)
    assert notes.has("no answer within 1.5 s")


@pytest.mark.parametrize("kind", ["drop", "cut"])
@pytest.mark.parametrize("path", ["^/jobs/[^/]*$", "/results$", "/metrics$", "^/jobs$"])
def test_reading_fails(kind: str, path: str, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault(kind, method="GET", path=path, count=2)
    finish(journal, classifier, standin)


@pytest.mark.parametrize("retry_after", [None, 1])
def test_too_many_creations(retry_after: int | None, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("status", status=429, retry_after=retry_after, count=1 if retry_after else 3, **POST)
    notes = finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4
    assert notes.has("429")


@pytest.mark.parametrize("retry_after", [None, 1])
def test_too_many_questions(retry_after: int | None, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault(
        "status", status=429, retry_after=retry_after, count=1 if retry_after else 3, method="GET", path="^/jobs"
    )
    finish(journal, classifier, standin)


def test_limits_of_the_open_plan(serve: Any, classifier: Classifier, journal: Path) -> None:
    server = serve(limits=ServerLimits(pending_jobs=2))
    server.fault("slow_run", seconds=2.0, count=None)  # longer than any submission takes
    notes = finish(journal, classifier, server)
    assert notes.has("pending jobs")


def test_five_creations_a_minute_are_kept_to(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """Also by the next process, which counts those of the last."""
    patience = Patience(**(QUICK.__dict__ | {"jobs_per_minute": 2}))
    for _ in range(2):
        with open_run(journal, classifier, patience=patience) as run:
            for number, _progress in enumerate(run.steps()):
                if number == 8:
                    break
        assert len(standin.jobs()) == 2


def test_token_that_ran_out_is_made_anew(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("status", status=401, method="GET", path="^/jobs", after=3)
    finish(journal, classifier, standin)


def test_credentials_that_are_refused(
    standin: StandIn, classifier: Classifier, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "a-wrong-and-secret-token")
    with pytest.raises(BackendError, match="save the account anew") as caught:
        open_run(journal, classifier)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "stand-in-token")
    finish(journal, classifier, standin)


def test_no_credential_is_written_or_told(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("status", status=500, body="stand-in-token is not welcome", count=2, method="GET", path="^/jobs")
    notes = finish(journal, classifier, standin)
    assert not notes.has("stand-in-token")
    content = b"".join(path.read_bytes() for path in journal.parent.glob("run.db*"))
    assert b"stand-in-token" not in content
    assert TEXTS[0].encode() not in content


def test_job_that_fails_is_submitted_again(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("fail", reason="a fridge warmed up", count=2)
    notes = finish(journal, classifier, standin, doubles=2)
    assert len(standin.jobs()) == 6
    assert notes.has("a fridge warmed up")


def test_job_that_always_fails_ends_the_run_and_can_be_tried_later(
    standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    standin.fault("fail", reason="a fridge warmed up", count=3)
    with open_run(journal, classifier, TEXTS[:10]) as run:
        with pytest.raises(BackendError, match="failed, as did 2 before it: .*warmed up.*run the same command again"):
            run.wait()
        assert len(standin.jobs()) == 3
    with open_run(journal, classifier, TEXTS[:10]) as run:
        check_predictions(run.wait(), classifier, TEXTS[:10])


def test_job_that_runs_too_long_goes_on_in_halves(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("too_long", count=2)
    notes = Notes()
    with open_run(journal, classifier, notes=notes) as run:
        check_predictions(run.wait(), classifier)
    assert len(standin.jobs()) == 4 + 2 * 2
    assert notes.has("its 10 texts go on in two jobs")


def test_job_that_is_cancelled_stops_the_run(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("cancel", after=1)
    with open_run(journal, classifier) as run, pytest.raises(BackendError, match="was cancelled at the service"):
        run.wait()
    finish(journal, classifier, standin, doubles=1)


def test_session_that_closes(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("close_session", jobs=2)
    finish(journal, classifier, standin)
    assert len({job.session for job in standin.jobs()}) == 2


def test_device_that_is_paused(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.set_device(SMALL, "maintenance")
    notes = Notes()
    with open_run(journal, classifier, notes=notes) as run:
        for _ in run.steps(detach=True):
            pass
        assert not run.complete
        assert notes.has("maintenance")
    standin.set_device(SMALL, "active")
    finish(journal, classifier, standin)


def test_usage_limit(serve: Any, classifier: Classifier, journal: Path) -> None:
    server = serve(limits=ServerLimits(usage_seconds=3))
    with open_run(journal, classifier) as run, pytest.raises(BackendError, match="usage limit"):
        run.wait()
    server.limits = ServerLimits()
    finish(journal, classifier, server)


def test_server_that_restarts(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("slow_run", seconds=0.2, count=None)
    with open_run(journal, classifier) as run:
        steps = run.steps()
        next(steps)
        standin.stop()
        standin.start()
        for _ in steps:
            pass
        check_predictions(run.predictions(), classifier)
    check_paid_once(standin)


def test_service_that_is_away_ends_the_run_without_loss(
    standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    with open_run(journal, classifier) as run:
        next(run.steps())
        standin.stop()
        with pytest.raises(BackendError, match="8 times in a row; try again later: what was submitted is not lost"):
            run.wait()
    standin.start()
    finish(journal, classifier, standin)


def test_journal_that_is_lost(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """Jobs are found by the hash of what they measure."""
    with open_run(journal, classifier) as run:
        for _ in run.steps(detach=True):
            pass
    for path in journal.parent.glob("run.db*"):
        path.unlink()
    finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9])
def test_journal_that_is_cut_off(part: float, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        run.wait()
    content = journal.read_bytes()
    journal.write_bytes(content[: int(len(content) * part)])
    if part:
        with pytest.raises(JournalError, match="Move it away and run the same command again"):
            open_run(journal, classifier)
        journal.rename(journal.with_suffix(".broken"))
    finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4


def test_log_that_is_lost(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """The database without its write-ahead log, as a copy of the one file during a run would be."""
    with open_run(journal, classifier) as run:
        for _ in run.steps():
            pass
        copy = journal.with_name("copy.db")
        copy.write_bytes(journal.read_bytes())
    finish(copy, classifier, standin)
    assert len(standin.jobs()) == 4


def test_disk_that_is_full(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        next(run.steps())
        pages = run.journal._database.execute("PRAGMA page_count").fetchone()[0]
        run.journal._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OSError, match=r"database or disk is full\); make room"):
            run.wait()
    finish(journal, classifier, standin)


def test_journal_of_another_program(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    journal.write_text("text,label\nno,journal\n" * 100)
    with pytest.raises(JournalError, match="found no sound journal"):
        open_run(journal, classifier)
    assert journal.read_text().startswith("text,label")
    journal.unlink()
    with sqlite3.connect(journal) as database:
        database.execute("CREATE TABLE other (a)")
    database.close()
    with pytest.raises(JournalError, match="an SQLite file of another program"):
        open_run(journal, classifier)


def test_only_the_journal_is_left(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with pytest.raises(InputError, match="max_qpu_seconds"):
        open_run(journal, classifier, max_qpu_seconds=1)
    assert list(journal.parent.glob("run.db*")) == []
    finish(journal, classifier, standin)
    assert list(journal.parent.glob("run.db*")) == [journal]


def test_two_processes_on_one_journal(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier), pytest.raises(InputError, match="found another process writing to it"):
        open_run(journal, classifier)
    finish(journal, classifier, standin)


@pytest.mark.parametrize("kind", ["unreadable", "missing"])
def test_result_that_cannot_be_read(kind: str, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """It does not keep the others; measured once more only when it could not be read by two processes."""
    standin.fault(kind, after=1)
    with open_run(journal, classifier) as run:
        with pytest.raises(BackendError, match="result of job .* cannot be read .*; run the same command again; if it"):
            run.wait()
        assert run.progress().done == 3
    assert len(standin.jobs()) == 4
    with open_run(journal, classifier) as run:  # one that stops before its texts are submitted once more
        (chunk,) = run.journal.chunks("submitted")
        run._take_in(chunk.id, run.journal.chunk_jobs()[chunk.id])
        assert [chunk.id for chunk in run.journal.chunks("planned")] == [chunk.id]
    finish(journal, classifier, standin, doubles=1)
    assert len(standin.jobs()) == 5


@pytest.mark.parametrize("kind", ["unreadable", "missing"])
def test_second_process_measures_it_once_more(
    kind: str, standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    standin.fault(kind, after=1)
    with open_run(journal, classifier) as run, pytest.raises(BackendError, match="cannot be read"):
        run.wait()
    notes = finish(journal, classifier, standin, doubles=1)
    assert len(standin.jobs()) == 5
    assert notes.has("for the second time; its texts are submitted once more")
    finish(journal, classifier, standin, doubles=1)


def test_account_of_somebody_else(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        next(run.steps())
        own = run.journal.text("instance")
        run.journal.set_text("instance", "0" * 32)
    with open_run(journal, classifier) as run, pytest.raises(JournalError, match="a run in another instance of IBM"):
        run.wait()
    with open_run(journal, classifier) as run:
        run.journal.set_text("instance", own)
    finish(journal, classifier, standin)


def test_job_that_is_not_there_any_more(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """It is not asked for again in silence."""
    with open_run(journal, classifier) as run:
        next(run.steps())
    standin.reset()
    with open_run(journal, classifier) as run, pytest.raises(BackendError, match="found no job .* in this account"):
        run.wait()
    assert standin.jobs() == []


def test_refused_job_is_not_waited_for(serve: Any, classifier: Classifier, journal: Path) -> None:
    server = serve(limits=ServerLimits(executions_a_job=100))
    with open_run(journal, classifier) as run:
        with pytest.raises(BackendError, match="the job was refused: .*2000 executions"):
            run.wait()
        assert not run.journal.chunks("asked")
    server.limits = ServerLimits()
    finish(journal, classifier, server)


def test_key_in_a_reason_is_cut_out(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("fail", reason="boom stand-in-token boom")
    notes = finish(journal, classifier, standin, doubles=1)
    assert notes.has("boom … boom")
    assert b"stand-in-token" not in journal.read_bytes()


@pytest.mark.parametrize("answer", ["{}", "[]"])
@pytest.mark.parametrize("path", ["^/jobs/[^/]*$", "/metrics$", "^/jobs$"])
def test_answer_of_another_form(
    answer: str, path: str, standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    standin.fault("status", status=200, body=answer, method="GET", path=path, count=2)
    finish(journal, classifier, standin)


def test_answer_of_another_form_to_the_creation(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("status", status=200, body="{}", when="after", **POST)
    finish(journal, classifier, standin)
    assert len(standin.jobs()) == 4


def test_session_is_closed_whatever_ends_the_loop(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """It is charged by the clock."""
    with open_run(journal, classifier, mode="session") as run:
        for _ in run.steps():
            break
    assert [request["method"] for request in standin.requests].count("PATCH") == 1


def test_link_to_a_journal_is_the_journal(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    link = journal.with_name("link.db")
    link.symlink_to(journal)
    with open_run(journal, classifier), pytest.raises(InputError, match="found another process writing to it"):
        open_run(link, classifier)
