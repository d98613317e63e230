"""Durable runs on IBM Quantum, while all goes well."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from durable import QUICK, SHOTS, TEXTS, Notes, check_paid_once, check_predictions, open_run
from ibm_standin import StandIn
from msgspec.structs import replace as with_fields

from qdinfer import Artifact, Classifier, InputError, JournalError
from qdinfer.backends.ibm_client import Patience
from qdinfer.runs import AutoShots, Run, cancel


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def detach(journal: Path, classifier: Classifier, **options: Any) -> None:
    with open_run(journal, classifier, **options) as run:
        for _ in run.steps(detach=True):
            pass
        assert not run.complete


@pytest.mark.parametrize("mode", ["batch", "session", "job"])
def test_every_mode_gives_every_text_once(mode: str, standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier, mode=mode) as run:
        predictions = run.wait()
        assert run.complete
    check_predictions(predictions, classifier)
    check_paid_once(standin)
    assert predictions.backend == "ibm:fake_fez"
    assert predictions.shots.tolist() == [SHOTS] * len(TEXTS)
    sessions = {job.session for job in standin.jobs()}
    assert len(sessions) == 1
    assert (sessions == {None}) == (mode == "job")
    closed = [request for request in standin.requests if request["method"] == "PATCH"]
    assert [request["path"] for request in closed] == [f"/sessions/{session}" for session in sessions - {None}]


def test_complete_run_needs_no_service(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        first = run.wait()
    standin.stop()
    with open_run(journal, classifier) as run:
        again = run.wait()
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    np.testing.assert_array_equal(first.standard_errors, again.standard_errors)


def test_next_process_goes_on(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        next(run.steps())
    with open_run(journal, classifier) as run:
        check_predictions(run.wait(), classifier)
    check_paid_once(standin)


def test_detached_run_is_collected_on_another_machine(
    standin: StandIn, student: Artifact, classifier: Classifier, journal: Path, tmp_path: Path
) -> None:
    """That is given the journal file, the student and the texts."""
    detach(journal, classifier)
    assert len(standin.jobs()) == 4
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(journal, elsewhere / "moved.db")
    with open_run(elsewhere / "moved.db", Classifier(student)) as run:
        check_predictions(run.wait(), classifier)
    check_paid_once(standin)


def test_student_may_be_compiled_in_between(
    standin: StandIn, student: Artifact, classifier: Classifier, journal: Path
) -> None:
    detach(journal, classifier)
    manifest = with_fields(student.manifest, compiled=None)
    plain = Artifact(manifest, {name: data for name, data in student.files.items() if name != "compiled.onnx"})
    with open_run(journal, Classifier(plain, backend="aer")) as run:
        check_predictions(run.wait(), classifier)


def test_progress_tells_what_is_done_and_charged(serve: Any, classifier: Classifier, journal: Path) -> None:
    server = serve(usage_delay=0.3)
    with open_run(journal, classifier) as run:
        seen = list(run.steps())
    assert seen[0].waiting + seen[0].queued + seen[0].running + seen[0].done == 4
    last = seen[-1]
    assert (last.texts, last.done, last.waiting, last.queued, last.running) == (40, 4, 0, 0, 0)
    assert last.complete
    charged = sum(job.usage_seconds for job in server.jobs())
    assert last.seconds_estimated == pytest.approx(charged, rel=0.01)
    time.sleep(0.4)
    with open_run(journal, classifier) as run:  # the usage that was pending is asked for again
        for _ in run.steps():
            pass
        assert run.progress().seconds_used == pytest.approx(charged, rel=1e-6)
        assert all(job.usage is not None for job in run.journal.jobs())


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"shots": 300}, "shots 200, expected 300"),
        ({"mitigate_readout": True}, "mitigate readout False, expected True"),
        ({"seed_transpiler": 3}, "seed transpiler 0, expected 3"),
        ({"name": "second"}, "name '', expected 'second'"),
        ({"texts": TEXTS[:-1]}, "number of texts 40, expected 39"),
        ({"texts": [*TEXTS[:7], "other", *TEXTS[8:]]}, "other texts in 1 places, the first at position 7"),
        ({"texts": TEXTS[::-1]}, "other texts in .* places, the first at position 0"),
        ({"shots": AutoShots(max_shots=512)}, "shots 200, expected 'auto'.*max_shots None, expected 512"),
    ],
)
def test_journal_of_another_run_is_refused(
    change: dict[str, Any], difference: str, standin: StandIn, classifier: Classifier, journal: Path
) -> None:
    detach(journal, classifier)
    with pytest.raises(JournalError, match=f"the journal of another run, with .*{difference}"):
        open_run(journal, classifier, **change)
    assert len(standin.jobs()) == 4


def test_journal_of_another_student_is_refused(
    standin: StandIn, student: Artifact, classifier: Classifier, journal: Path
) -> None:
    detach(journal, classifier)
    readout = with_fields(student.manifest.readout, temperature=2.0)
    other = Classifier(replace(student, manifest=with_fields(student.manifest, readout=readout)))
    with pytest.raises(JournalError, match=r"with readout '\w+', expected '\w+'\. Give the same student"):
        open_run(journal, other)


def test_another_name_measures_anew(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        first = run.wait()
    with open_run(journal.with_name("two.db"), classifier, name="second") as run:
        second = run.wait()
    assert len(standin.jobs()) == 8
    assert (first.expectations.values != second.expectations.values).any()


def test_same_name_is_not_paid_for_again(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier) as run:
        first = run.wait()
    with open_run(journal.with_name("two.db"), classifier) as run:
        second = run.wait()
    assert len(standin.jobs()) == 4
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_budget_refuses_before_anything_is_submitted(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    message = "found an estimate of 10 s of the quantum computer in 4 jobs; expected at most 9: nothing was submitted"
    with pytest.raises(InputError, match=message):
        open_run(journal, classifier, max_qpu_seconds=9)
    assert standin.jobs() == []
    one = Patience(**(QUICK.__dict__ | {"pending": 1}))
    with open_run(journal, classifier, max_qpu_seconds=11, patience=one) as run:
        next(run.steps())
    with pytest.raises(InputError, match=r"used already; expected at most 9: nothing more was submitted"):
        open_run(journal, classifier, max_qpu_seconds=9)
    with open_run(journal, classifier, max_qpu_seconds=11) as run:
        check_predictions(run.wait(), classifier)


def test_shots_as_a_budget(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    shots = AutoShots(confidence=0.95, max_shots=512, first_shots=32)
    with open_run(journal, classifier, shots=shots) as run:
        next(run.steps())
    with open_run(journal, classifier, shots=shots) as run:  # another process goes on with the same rounds
        predictions = run.wait()
        rounds = {chunk.round: chunk.shots for chunk in run.journal.chunks()}
    check_predictions(predictions, classifier)
    assert rounds == {0: 32, 1: 32, 2: 64, 3: 128, 4: 256}
    spent = predictions.shots
    assert set(spent.tolist()) <= {32, 64, 128, 256, 512}
    assert ((predictions.confidence >= 0.95) | (spent == 512)).all()
    assert spent.sum() == sum(job.executed for job in standin.jobs())
    assert spent.mean() < 400
    exact = classifier.predict(TEXTS)
    assert (predictions.labels == exact)[predictions.confidence >= 0.95].all()


def test_budget_stops_before_a_round_that_exceeds_it(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    shots = AutoShots(confidence=0.999, max_shots=4096, first_shots=32)
    with open_run(journal, classifier, shots=shots, max_qpu_seconds=3) as run:
        with pytest.raises(InputError, match="found an estimate of .* used already; expected at most 3"):
            run.wait()
        assert not run.complete
    assert len(standin.jobs()) == 1


@pytest.mark.slow
def test_mitigated_rounds_are_pooled(serve: Any, classifier: Classifier, journal: Path) -> None:
    serve(["FakeFez:readout"])
    shots = AutoShots(confidence=0.95, max_shots=256, first_shots=64)
    with open_run(journal, classifier, TEXTS[:8], shots=shots, mitigate_readout=True, limits=None) as run:
        check_predictions(run.wait(), classifier, TEXTS[:8])


def test_no_texts(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    with open_run(journal, classifier, []) as run:
        assert len(run.wait()) == 0
    assert standin.jobs() == []


def test_twice_the_same_text(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    texts = ["sun rain"] * 25
    with open_run(journal, classifier, texts) as run:
        check_predictions(run.wait(), classifier, texts)
    check_paid_once(standin, chunks=3)


def test_cancel(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    standin.fault("slow_queue", seconds=60, count=None, after=1)
    detach(journal, classifier)
    with open_run(journal, classifier) as run:
        for now in run.steps():
            if now.done:
                break
    assert cancel(journal, patience=QUICK) == (3, 1)
    assert sorted(job.status for job in standin.jobs()) == ["Cancelled"] * 3 + ["Completed"]
    standin.clear_faults()
    with open_run(journal, classifier) as run:
        check_predictions(run.wait(), classifier)
    assert len(standin.jobs()) == 7


def test_few_jobs_at_a_time(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    patience = Patience(**(QUICK.__dict__ | {"pending": 2}))
    standin.fault("slow_run", seconds=0.1, count=None)
    with open_run(journal, classifier, patience=patience) as run:
        assert max(now.queued + now.running for now in run.steps()) == 2


def test_least_busy_stays_on_its_device(serve: Any, classifier: Classifier, journal: Path) -> None:
    from qdinfer import RuntimeBackend

    server = serve(["FakeFez", "FakeTorino"])
    for _ in range(2):
        chosen = RuntimeBackend("least_busy", patience=QUICK)
        with Run.open(journal, classifier, TEXTS[:5], chosen, shots=SHOTS) as run:
            check_predictions(run.wait(), classifier, TEXTS[:5])
    assert len({job.device for job in server.jobs()}) == 1
    assert len(server.jobs()) == 1


def test_recalibrated_device_gets_a_new_circuit(standin: StandIn, classifier: Classifier, journal: Path) -> None:
    """The run goes on, with another circuit for what is left."""
    with open_run(journal, classifier) as run:
        circuit = json.loads(run.journal.text("circuit"))
        for row in circuit["instructions"]:
            row[0] = "ecr" if row[0] == "cz" else row[0]  # a gate that FakeFez does not have, or not any more
        run.journal.set_text("circuit", json.dumps(circuit))
    notes = Notes()
    with open_run(journal, classifier, notes=notes) as run:
        check_predictions(run.wait(), classifier)
        assert "ecr" not in run.journal.text("circuit")
    assert notes.has("found ecr on qubits")
    assert notes.has("the circuit is transpiled anew for what is left")
