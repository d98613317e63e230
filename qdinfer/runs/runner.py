"""A durable run: submitted, watched and collected through its journal, by as many processes as it takes."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..backends.base import MAX_SHOTS
from ..backends.ibm_jobs import (
    JobState,
    RefusedError,
    SessionClosedError,
    Submission,
    TooManyJobsError,
    UnreadableError,
)
from ..backends.isa import NotIsaError, isa_from_json, isa_to_json
from ..backends.runtime import RuntimeBackend
from ..backends.sampling import Measured
from ..backends.sequential import label_confidence, open_rows
from ..backends.settings import Prepared
from ..errors import BackendError, InputError, JournalError, whole_number
from ..predictions import FloatArray, IntArray, Predictions
from ..texts import checked_texts, warn_truncated
from .journal import Journal
from .plan import AutoShots, Chunk, Identity, chunk_of, identify, plan_round, run_tag, split, text_hashes
from .progress import Progress, progress_of
from .results import check_same, measured_texts

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["Run"]

_FAILURES = 2  # of one chunk's jobs that are made good by another job, before the run stops
_OPEN = ("planned", "asked", "submitted")


class Run:
    """Texts, measured on an IBM device once and only once, whatever happens to this process.

    Opened again with the same journal, it goes on where it was. Everything that costs money is written down before it
    is asked for; jobs carry a tag that is the hash of what they measure, so that even with the journal lost, the same
    run finds them at the service instead of paying again.
    """

    def __init__(
        self,
        journal: Journal,
        classifier: Classifier,
        backend: RuntimeBackend,
        identity: Identity,
        shots: int | AutoShots,
        budget: float | None,
    ) -> None:
        """See `open`."""
        self.journal = journal
        self.backend = backend
        self._classifier = classifier
        self._identity = identity
        self._shots = shots
        self._budget = budget
        self._prepared: Prepared | None = None
        self._failures: Counter[str] = Counter()
        self._unreadable: dict[str, UnreadableError] = {}
        self._refusals = 0
        self._not_before = 0.0

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        classifier: Classifier,
        texts: str | Iterable[str],
        backend: RuntimeBackend,
        *,
        shots: int | AutoShots = 4096,
        name: str = "",
        max_qpu_seconds: float | None = None,
    ) -> Run:
        """Begin a run, or go on with it if its journal is there.

        Args:
            path: the journal, one file.
            classifier: the student.
            texts: one text or many. Only hashes and angles of them are written down.
            backend: the device, and how the circuit is run there.
            shots: of each text, or a budget.
            name: tells measurements of the same texts apart. With the same name, jobs that an earlier run left at the
                service are used again.
            max_qpu_seconds: refuse to submit what would bring the quantum computer's time above that.

        Raises:
            JournalError: the journal is damaged, or of another run; the message has the difference.
            InputError: something among the texts is not a text, another process holds the journal, or the estimate
                exceeds `max_qpu_seconds`.
            BackendError: the device cannot run this student, or cannot be reached.
        """
        if max_qpu_seconds is not None and (not isinstance(max_qpu_seconds, int | float) or not max_qpu_seconds >= 0):
            raise InputError(f"max_qpu_seconds: found {max_qpu_seconds!r}; expected seconds, from 0")
        shots = shots if isinstance(shots, AutoShots) else whole_number("shots", shots, 1, MAX_SHOTS)
        checked = checked_texts(texts)
        identity = identify(classifier.artifact, backend, shots, checked, name)
        hashes = text_hashes(checked)
        journal = Journal(path, new=True)
        try:
            run = cls(journal, classifier, backend, identity, shots, max_qpu_seconds)
            if journal.empty:
                run._begin(checked, hashes)
            else:
                check_same(journal, identity, hashes)
                backend.pin(journal.text("device"))
                spent = sum(chunk.seconds for chunk in journal.chunks("submitted"))
                run._check_budget(journal.chunks("planned", "asked"), used=run.progress().seconds_used + spent)
        except BaseException:
            journal.close()
            raise
        return run

    def _begin(self, texts: list[str], hashes: list[bytes]) -> None:
        classifier = self._classifier
        angles, cut = classifier.encoder.encode_marked(texts)
        warn_truncated(int(cut.sum()), len(texts), classifier.artifact.manifest.encoder.max_tokens, stacklevel=4)
        tag = run_tag(self._identity, hashes)
        if self.backend.name == "ibm:least_busy" and (device := self.backend.service.earlier_device(tag)):
            self.backend.pin(device)  # where a run of which the journal is lost has jobs
        self._prepared = prepared = self.backend.prepare(classifier.circuit)
        shots = self._shots.next_shots(0) if isinstance(self._shots, AutoShots) else self._shots
        chunks = plan_round(
            self._identity, prepared, self.backend, angles, np.arange(len(texts), dtype=np.int64), 0, shots
        )
        self._check_budget(chunks, used=0.0)
        about = {
            "device": prepared.device,
            "instance": self.backend.service.instance(),
            "circuit": isa_to_json(prepared.isa),
            "tag": tag,
        }
        self.journal.begin(self._identity, about, hashes, angles, chunks)
        self._tell_round(chunks)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal, and a session that is open. Jobs at the service go on."""
        try:
            self._leave_session()
        finally:
            self.journal.close()

    def wait(self) -> Predictions:
        """Submit and wait for whatever is left, and give the predictions. Raises as `steps` does."""
        for _ in self.steps():
            pass
        return self.predictions()

    def steps(self, *, detach: bool = False) -> Iterator[Progress]:
        """Do what is left, bit by bit, and tell after each bit how the run stands.

        Args:
            detach: submit all jobs of this round, and return without waiting for them.

        Raises:
            BackendError: the service refuses, or could not be reached for long; a job was cancelled, or failed three
                times. Nothing is lost: the same call goes on.
            InputError: the next round would exceed the budget.
            JournalError: the journal is damaged, or of another account.
            OSError: the journal cannot be written.
        """
        idle = 0
        if self.journal.chunks(*_OPEN):
            self._find_earlier()
        while True:
            changed = self._collect()
            if not self.journal.chunks(*_OPEN):
                if not self._plan_next_round():
                    break
                changed = True
            changed |= self._submit(everything=detach)
            yield self.progress()
            if self._unreadable and {c.id for c in self.journal.chunks(*_OPEN)} <= self._unreadable.keys():
                raise next(iter(self._unreadable.values()))
            if detach and not self.journal.chunks("planned", "asked"):
                self._close_session()
                return
            idle = 0 if changed else idle + 1
            if not changed:
                time.sleep(self.backend.patience.poll * min(10, idle))
        self._finish()
        yield self.progress()

    def _leave_session(self) -> None:
        """Close a session on the way out, in one attempt: it is charged by the clock as long as it is open."""
        if self.backend.settings.mode == "session" and self.journal.text("session"):
            try:
                self.backend.service.close_session(self.journal.text("session"), attempts=1)
            except BackendError as error:
                self.backend.note(f"{error}; the session is charged until it closes by itself")

    def progress(self) -> Progress:
        """How the run stands, from the journal alone."""
        return progress_of(self.journal)

    @property
    def complete(self) -> bool:
        """Whether all texts are measured, in as many rounds as they need."""
        return not self.journal.chunks(*_OPEN) and not len(self._open_texts()[0])

    def predictions(self) -> Predictions:
        """The predictions of all texts, in their order.

        Raises:
            JournalError: the run is not complete.
        """
        if not self.complete:
            raise JournalError(f"{self.journal.path}: found a run that is not complete; expected all texts measured")
        measured = self._measured()
        readout = self._classifier.readout
        expectations = measured.expectations(f"ibm:{self.journal.text('device')}")
        if isinstance(self._shots, AutoShots):
            expectations = replace(expectations, confidence=label_confidence(readout, measured))
        return readout.predict(expectations)

    @cached_property
    def _angles(self) -> FloatArray:
        return self.journal.angles

    @cached_property
    def _ready(self) -> Prepared:
        """The circuit on the device: the one that the run began with, as long as the device can run it."""
        circuit = self._classifier.circuit
        if self._prepared is not None:
            return self._prepared
        try:
            return self.backend.prepare(circuit, isa_from_json(self.journal.text("circuit")))
        except NotIsaError as error:
            self.backend.note(f"{error}; the circuit is transpiled anew for what is left")
            prepared = self.backend.prepare(circuit)
            self.journal.set_text("circuit", isa_to_json(prepared.isa))
            return prepared

    def _find_earlier(self) -> None:
        """Find jobs that the journal does not know: of a process that died, or of a run whose journal is lost."""
        service, journal = self.backend.service, self.journal
        if service.instance() != journal.text("instance"):
            raise JournalError(
                f"{journal.path}: found the journal of a run in another instance of IBM Quantum; expected the account "
                "and instance (QISKIT_IBM_INSTANCE) that it was begun with, where its jobs are"
            )
        asked = journal.asked()
        for when in sorted(asked.values()):
            service.remember_creation(when)
        open_chunks = journal.chunks("asked")
        if open_chunks:
            grace = self.backend.patience.grace
            still = min(grace, max(asked[chunk.id] for chunk in open_chunks) + grace - time.time())
            if still > 0:
                self.backend.note(f"waiting {still:.0f} s for a job that an earlier process may have asked for")
                time.sleep(still)
        without_job = {chunk.id for chunk in journal.chunks("planned", "asked")}
        known = {chunk.id for chunk in journal.chunks()}
        found: set[str] = set()
        ended = ("ERROR", "CANCELLED")
        over = {job.id for job in journal.jobs() if job.chunk not in without_job or job.status in ended or job.reason}
        for state in service.find(journal.text("tag"), over):
            chunk = chunk_of(state.tags)
            if chunk in without_job:
                journal.note_job(chunk, state.id, state.status, reason=state.reason)
                found.add(chunk)
            elif chunk not in known:
                self.backend.note(f"job {state.id} of an earlier run is cut otherwise, and not used")
        for chunk in found:
            self._adopt(chunk)

    def _adopt(self, chunk: str) -> None:
        submission = self.backend.service.settle(chunk, self._given_up(chunk))
        if submission is None:
            self.journal.plan_again(chunk)
        else:
            self._keep(chunk, submission)

    def _keep(self, chunk: str, submission: Submission) -> None:
        """Write down the job that counts, and its doubles."""
        self.journal.submitted(chunk, submission.job)
        for double in submission.doubles:
            self.journal.note_job(chunk, double.id, double.status, double=True)

    def _collect(self) -> bool:
        """Look at all jobs, and take in what has ended."""
        changed, problem = False, ""
        known = {job.id: job.status for job in self.journal.jobs()}
        chunks = {chunk.id: chunk for chunk in self.journal.chunks("submitted")}
        jobs = list(self.journal.chunk_jobs().items())
        some = self.backend.patience.pending  # jobs end about in their order, and each look is a request
        jobs = [(chunk, job) for chunk, job in jobs if chunk not in self._unreadable]
        for chunk, job in jobs[:some] + random.sample(jobs[some:], min(some, len(jobs[some:]))):
            state = self.backend.service.look(job)
            if not state.final and state.status == known[job]:
                continue
            changed = True
            if state.status == "DONE":
                self._take_in(chunk, job)
            else:
                self.journal.note_job(chunk, job, state.status, reason=state.reason)
            if state.final:
                self._note_usage(job)
            if state.status in ("ERROR", "CANCELLED"):
                problem = self._ended_badly(chunks[chunk], state) or problem
        if problem:
            raise BackendError(problem)
        return changed

    def _take_in(self, chunk: str, job: str) -> None:
        """Fetch a result, and write it down.

        One that cannot be read does not keep the others. It ends the run when there is nothing else to do; if the next
        process cannot read it either, its texts are measured once more.
        """
        try:
            bits = self.backend.service.fetch(job)
        except UnreadableError as error:
            earlier = any(known.id == job and known.reason for known in self.journal.jobs())
            self.journal.note_job(chunk, job, "DONE", reason=str(error))
            if earlier:
                self.journal.plan_again(chunk)
                self.backend.note(f"{error}, for the second time; its texts are submitted once more")
            else:
                hint = "run the same command again; if it cannot be read then either, its texts are submitted once more"
                self._unreadable[chunk] = UnreadableError(f"{error}; {hint}")
        else:
            self.journal.finish(chunk, job, self.backend.measured(self._classifier.circuit, bits))

    def _given_up(self, chunk: str) -> set[str]:
        """The jobs of a chunk that are done, with results that cannot be read."""
        return {job.id for job in self.journal.jobs() if job.chunk == chunk and job.status == "DONE" and job.reason}

    def _ended_badly(self, chunk: Chunk, state: JobState) -> str:
        """Plan the chunk again; what to tell the user, if that is for the user to decide."""
        where = f"{self.backend.name}: job {state.id}"
        if state.too_long and len(chunk.rows) > 1:
            halves = split(self._identity, self._ready, self._angles, chunk)
            self.journal.replace_chunk(chunk, halves)
            self.backend.note(f"{where} ran longer than it may; its {len(chunk.rows)} texts go on in two jobs")
            return ""
        self.journal.plan_again(chunk.id)
        self._failures[chunk.id] += 1
        again = "run the same command again to submit its texts once more"
        if state.status == "CANCELLED":
            return f"{where} was cancelled at the service; {again}"
        if self._failures[chunk.id] > _FAILURES:
            return f"{where} failed, as did {_FAILURES} before it: {state.reason}; {again}"
        self.backend.note(f"{where} failed ({state.reason}); its texts are submitted once more")
        return ""

    def _submit(self, *, everything: bool) -> bool:
        """Submit as many jobs as may be; whether there was one."""
        patience, service, journal = self.backend.patience, self.backend.service, self.journal
        submitted = False
        for chunk in journal.chunks("planned", "asked"):
            pending = len(journal.chunk_jobs())
            if not everything and pending >= patience.pending:
                break
            if time.monotonic() < self._not_before or service.submission_wait() > 0:
                break
            circuit = self._classifier.circuit
            rows = self.backend.pubs(self._ready, circuit, self._angles[chunk.rows], chunk.shots)
            options = self.backend.settings.sampler_options(chunk.shots, tags=[journal.text("tag"), chunk.id])
            session = self._session()
            journal.ask(chunk.id)
            try:
                given_up = self._given_up(chunk.id)
                submission = service.submit(rows, chunk.shots, options, chunk.id, session, given_up)
            except RefusedError:
                journal.plan_again(chunk.id)
                raise
            except SessionClosedError:
                journal.plan_again(chunk.id)
                journal.set_text("session", "")
                return True
            except TooManyJobsError as refused:
                journal.plan_again(chunk.id)
                self._refuse(refused, pending)
                break
            self._refusals = 0
            self._keep(chunk.id, submission)
            submitted = True
        return submitted

    def _refuse(self, refused: TooManyJobsError, pending: int) -> None:
        """Wait before the next submission; without end only while jobs of this run are pending."""
        patience = self.backend.patience
        self._refusals += not pending
        if self._refusals >= patience.attempts:
            raise refused
        wait = patience.delay(self._refusals + 1) if refused.wait is None else refused.wait
        self.backend.note(f"{refused}; trying again in {wait:.0f} s")
        self._not_before = time.monotonic() + wait

    def _session(self) -> str | None:
        if self.backend.settings.mode == "job":
            return None
        known = self.journal.text("session")
        if not known or not self.backend.service.accepts(known):
            known = self.backend.service.open_session() or ""
            self.journal.set_text("session", known)
        return known

    def _close_session(self) -> None:
        session = self.journal.text("session")
        if session:
            self.backend.service.close_session(session)
            self.journal.set_text("session", "")

    def _open_texts(self) -> tuple[IntArray, int]:
        """With a budget of shots, the texts that another round is for, and the shots that they have had."""
        none = np.empty(0, np.int64)
        if not isinstance(self._shots, AutoShots) or not self.journal.chunks():
            return none, 0
        measured = self._measured()
        is_open = open_rows(self._classifier.readout, measured, self._shots.confidence)
        is_open &= measured.shots < self._shots.max_shots
        return np.flatnonzero(is_open), int(measured.shots[is_open].max(initial=0))

    def _plan_next_round(self) -> bool:
        """Plan another round, if there is one."""
        rows, taken = self._open_texts()
        if not len(rows) or not isinstance(self._shots, AutoShots):
            return False
        shots = self._shots.next_shots(taken)
        number = self.journal.chunks()[-1].round + 1
        chunks = plan_round(self._identity, self._ready, self.backend, self._angles, rows, number, shots)
        self._check_budget(chunks, used=self.progress().seconds_used)
        self.journal.add_chunks(chunks)
        self._tell_round(chunks)
        return True

    def _tell_round(self, chunks: list[Chunk]) -> None:
        texts, seconds = sum(len(chunk.rows) for chunk in chunks), sum(chunk.seconds for chunk in chunks)
        if chunks:
            jobs = f"{len(chunks)} job{'s' if len(chunks) > 1 else ''}"
            self.backend.note(f"{texts} texts × {chunks[0].shots} shots, {jobs}, about {seconds:.1f} s of QPU")

    def _check_budget(self, chunks: list[Chunk], *, used: float) -> None:
        total = used + sum(chunk.seconds for chunk in chunks)
        if chunks and self._budget is not None and total > self._budget:
            raise InputError(
                f"max_qpu_seconds: found an estimate of {total:.0f} s of the quantum computer in {len(chunks)} jobs"
                f"{f', {used:.0f} s of it used already' if used else ''}; expected at most {self._budget:g}: nothing "
                f"{'more ' if used else ''}was submitted; take fewer texts or shots, or allow more"
            )

    def _measured(self) -> Measured:
        return measured_texts(self.journal, len(self._classifier.circuit.observables))

    def _finish(self) -> None:
        """Cancel doubles that came to light late, close the batch, ask once more for what was charged."""
        journal = self.journal
        if journal.text("finished") or not journal.chunks():
            return
        try:
            self._close_session()
            self._cancel_doubles()
            for job in journal.jobs():
                if job.usage is None:
                    state = self.backend.service.look(job.id)
                    journal.note_job(job.chunk, job.id, state.status, reason=state.reason)
                    self._note_usage(job.id)
        except BackendError as error:  # all is measured, and no trouble of the service shall keep it
            self.backend.note(f"the run is complete, but its end could not be seen to ({error})")
            return
        if all(job.usage is not None for job in journal.jobs()):
            journal.set_text("finished", "yes")

    def _cancel_doubles(self) -> None:
        known = {job.id for job in self.journal.jobs()}
        chunks = {chunk.id for chunk in self.journal.chunks()}
        for state in self.backend.service.find(self.journal.text("tag"), known):
            chunk = chunk_of(state.tags)
            if chunk in chunks:
                state = state if state.final else self.backend.service.cancel(state.id)
                self.journal.note_job(chunk, state.id, state.status, double=True)

    def _note_usage(self, job: str) -> None:
        """Write down what a job was charged for, if that can be told yet."""
        try:
            seconds = self.backend.service.usage(job)
        except BackendError as error:  # it is asked for once more at the end, and no result is lost for want of it
            self.backend.note(str(error))
            return
        if seconds is not None:
            self.journal.note_usage(job, seconds)
