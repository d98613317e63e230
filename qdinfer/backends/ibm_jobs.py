"""Jobs at IBM's service: submitted for certain, found again, watched, fetched and cancelled.

One submission may create several jobs, as IBM's client repeats a POST on 5xx without an idempotency key
(https://github.com/Qiskit/qiskit-ibm-runtime/issues/1114), or one job of which no answer tells. So each has a tag of
its own: where the outcome is unknown, the job is looked up by it before it is asked for again, and of several jobs with
one tag one is kept.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BackendError
from ..predictions import BoolArray
from .ibm_client import Call, IbmClient, NoAnswerError, Patience, client_errors
from .isa import MEASURED

if TYPE_CHECKING:
    from qiskit.providers import BackendV2

__all__ = [
    "JobService",
    "JobState",
    "RefusedError",
    "SessionClosedError",
    "Submission",
    "TooManyJobsError",
    "UnreadableError",
]

_UNREAD = (ValueError, TypeError, LookupError, AttributeError)  # what the client raises over a broken result
_FINAL = ("DONE", "ERROR", "CANCELLED")
_WORTH = ("DONE", "RUNNING", "QUEUED", "INITIALIZING")  # which of several jobs with one tag to keep: the furthest


@dataclass(frozen=True)
class JobState:
    """What the service says of a job.

    Attributes:
        id: the job's.
        status: ``QUEUED``, ``RUNNING``, ``DONE``, ``ERROR`` or ``CANCELLED`` (``INITIALIZING`` before all).
        tags: what it was submitted with.
        created: when, as the service writes it.
        reason: why it ended in error; empty otherwise.
        too_long: whether that was because it ran longer than it may.
    """

    id: str
    status: str
    tags: tuple[str, ...] = ()
    created: str = ""
    reason: str = ""
    too_long: bool = False

    @property
    def final(self) -> bool:
        """Whether it will not change any more."""
        return self.status in _FINAL


@dataclass(frozen=True)
class Submission:
    """What a submission left at the service: the job that is kept, and doubles, cancelled if they could be."""

    job: str
    doubles: tuple[JobState, ...] = ()


class SessionClosedError(BackendError):
    """The session or batch takes no more jobs; a new one does."""


class RefusedError(BackendError):
    """The service refuses the job, and has not created it."""


class UnreadableError(BackendError):
    """The job is done, but what it gives as its result cannot be read."""


class TooManyJobsError(BackendError):
    """The service takes no more jobs for now.

    Attributes:
        wait: seconds after which it may, as it says; None: it does not say.
    """

    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


class JobService(IbmClient):
    """One device at IBM's service, through the client and its saved or environment credentials.

    Not for several threads at once.
    """

    def __init__(
        self,
        device: str,
        mode: str = "job",
        *,
        patience: Patience | None = None,
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            device: its name, or ``"least_busy"``.
            mode: ``"batch"``, ``"session"`` or ``"job"``.
            patience: how long to wait, and how often to try.
            note: told what goes wrong and is tried again, in one line.

        Raises:
            MissingExtraError: IBM's client is not installed.
        """
        super().__init__(device, patience or Patience(), note)
        self._mode = mode
        self._backend: Any = None
        self._jobs: dict[str, Any] = {}
        self._sessions: dict[str, Any] = {}
        self._created: deque[float] = deque()

    def backend(self, min_qubits: int = 1) -> BackendV2:
        """The device, asked for once; for ``"least_busy"``, the one of so many qubits with the shortest queue.

        Raises:
            BackendError: there is none, or the service cannot be reached.
        """
        return self.call("finding the device", lambda: self._found(min_qubits))

    def _found(self, min_qubits: int = 1) -> Any:
        if self._backend is None:
            service = self.connected()
            if self._device == "least_busy":
                self._backend = service.least_busy(operational=True, simulator=False, min_num_qubits=min_qubits)
                self._device = self._backend.name  # a run stays on one device
            else:
                self._backend = self._named(service)
            status = self._backend.status()
            if not status.operational or status.status_msg != "active":
                self.note(f"{self._device}: the device is {status.status_msg}; jobs wait until it runs again")
        return self._backend

    def _named(self, service: Any) -> Any:
        from qiskit.providers.exceptions import QiskitBackendNotFoundError

        try:
            return service.backend(self._device)
        except QiskitBackendNotFoundError as error:
            names = sorted(backend.name for backend in service.backends())
            if not names or self._device in names:  # it passes over devices of which it could not read everything
                raise NoAnswerError("the client could not read the devices") from error
            raise BackendError(f"ibm:{self._device}: found no such device; expected one of {names}") from error

    def instance(self) -> str:
        """Which instance of the service the device is asked in, as a hash of its CRN."""
        crn = self.call("finding the instance", lambda: str(self._found()._instance))
        return hashlib.sha256(crn.encode()).hexdigest()[:32]

    def earlier_device(self, tag: str) -> str | None:
        """The device that jobs with that tag are on; None: there are none."""

        def look() -> str | None:
            jobs = self.connected().jobs(job_tags=[tag], limit=1)
            return str(jobs[0].backend().name) if jobs else None

        return self.call(f"looking for jobs tagged {tag}", look)

    def submission_wait(self) -> float:
        """Seconds until another job may be created."""
        now = time.time()
        while self._created and self._created[0] <= now - 60.0:
            self._created.popleft()
        if len(self._created) < self.patience.jobs_per_minute:
            return 0.0
        return min(60.0, self._created[0] + 60.0 - now)  # a clock may have been put back

    def remember_creation(self, when: float) -> None:
        """Count a job that was created at that time, in seconds since the epoch, by an earlier process."""
        self._created.append(when)

    def submit(
        self,
        pubs: Sequence[Any],
        shots: int,
        options: Any,
        tag: str,
        session: str | None,
        ignoring: Collection[str] = (),
    ) -> Submission:
        """Create one job, for certain: exactly one job with that tag goes on.

        Args:
            pubs: what to sample.
            shots: of each row.
            options: `SamplerOptions` of the client; its job tags must have the tag.
            tag: found with no other submission.
            session: the id of a session or batch; None: outside of any.
            ignoring: jobs with that tag that count for nothing.

        Raises:
            SessionClosedError: the session takes no more jobs.
            TooManyJobsError: not now.
            RefusedError: the service refuses the job.
            BackendError: it cannot be reached.
        """
        from qiskit_ibm_runtime.executor_sampler import Sampler

        def create() -> Any:
            mode = self._found() if session is None else self._session(session)
            return Sampler(mode=mode, options=options).run(pubs, shots=shots)

        for attempt in range(1, self.patience.attempts + 1):
            time.sleep(self.submission_wait())
            self.remember_creation(time.time())
            try:
                submission = self._created_job(create, tag, ignoring)
            except client_errors() as error:
                fault = self.read(error)
            else:
                return submission
            if fault.status == 401 and attempt == 1:  # a token that has run out
                self.pause(attempt, "submitting the job", fault)
                continue
            if fault.status == 429:
                raise TooManyJobsError(f"ibm:{self._device}: {fault.text}", fault.retry_after)
            if not fault.passing:
                if session is not None and fault.status != 401 and not self.accepts(session):
                    raise SessionClosedError(f"{self._device}: session {session} takes no more jobs")
                raise RefusedError(str(self.refused("the job was refused", fault)))
            self.pause(attempt, "submitting the job", fault)
            # The job may be there all the same, or may still come to be.
            self.note(f"{self._device}: waiting {self.patience.grace:g} s to see whether the job was created")
            time.sleep(self.patience.grace)
            found = self.settle(tag, ignoring)
            if found is not None:
                return found
        raise self.refused("the job could not be submitted", fault)

    def _created_job(self, create: Callable[[], Any], tag: str, ignoring: Collection[str]) -> Submission:
        """The job that a call creates; found by its tag, if the answer takes long but the job is there."""
        call = Call(create, self.tell)
        until = time.monotonic() + self.patience.submission
        while not call.wait(min(self.patience.call, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                raise NoAnswerError(f"no answer within {self.patience.submission:g} s")
            self.note(f"{self._device}: no answer within {self.patience.call:g} s; looking for the job by its tag")
            self.forget()  # that connection is busy
            found = self.settle(tag, ignoring)
            if found is not None:
                return found
        job = call.outcome()
        self._jobs[job.job_id()] = job
        return self.settle(tag, ignoring) or Submission(job.job_id())

    def settle(self, tag: str, ignoring: Collection[str] = ()) -> Submission | None:
        """Find the jobs with that tag; keep the one that is furthest, cancel the others. None: there is none."""
        alive = [state for state in self.find(tag, ignoring) if state.status in _WORTH]
        if not alive:
            return None
        kept, *others = sorted(alive, key=lambda state: (_WORTH.index(state.status), state.created))
        doubles = tuple(state if state.final else self.cancel(state.id) for state in others)
        for state in doubles:
            end = "cancelled" if state.status == "CANCELLED" else f"{state.status}, too late to be cancelled"
            self.note(f"{self._device}: job {state.id} is a double of {kept.id}, made by the service; {end}")
        return Submission(kept.id, doubles)

    def find(self, tag: str, known: Collection[str] = ()) -> list[JobState]:
        """All jobs with that tag, whatever became of them, but for those that are known by their ids."""
        found = self.call(f"looking for jobs tagged {tag}", lambda: self._list(tag))
        for job in found:
            self._jobs.setdefault(job.job_id(), job)
        return [self.look(job.job_id()) for job in found if job.job_id() not in known]

    def _list(self, tag: str) -> list[Any]:
        # Of the device's own instance: without it, the client asks the one that it used last.
        instance = self._found()._instance
        return list(self.connected().jobs(job_tags=[tag], limit=None, instance=instance))

    def look(self, job: str) -> JobState:
        """What the service says of a job."""
        return self.call(f"looking at job {job}", lambda: self._state(job))

    def _state(self, job: str) -> JobState:
        from qiskit.exceptions import QiskitError
        from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError, RuntimeJobMaxTimeoutError, RuntimeJobNotFound

        try:
            handle = self._job(job)
        except RuntimeJobNotFound as error:
            raise BackendError(
                f"ibm:{self._device}: found no job {job} in this account; expected the account that submitted it. If "
                "the job was deleted there, move the journal away and run the same command again: all others are found"
            ) from error
        status, reason, too_long = str(handle.status()), "", False
        if status == "ERROR":
            try:
                handle.result()
            except (RuntimeJobFailureError, RuntimeJobMaxTimeoutError) as error:
                reason, too_long = self.redacted(str(error.message)), isinstance(error, RuntimeJobMaxTimeoutError)
            except QiskitError as error:
                if self.read(error).passing:
                    raise
                reason = self.redacted(str(error.message))
        created = handle.creation_date
        return JobState(job, status, tuple(handle.tags or ()), created.isoformat() if created else "", reason, too_long)

    def fetch(self, job: str) -> list[BoolArray]:
        """The bits of a job that is done, for each PUB (…, shots, n), qubit q of the circuit at q.

        Raises:
            UnreadableError: there are none, or they cannot be read, however often it is tried.
            BackendError: the service cannot be reached.
        """
        from qiskit.exceptions import QiskitError

        what = f"ibm:{self._device}: the result of job {job} cannot be read"

        def read() -> list[BoolArray]:
            try:
                return [pub.data[MEASURED].to_bool_array(order="little") for pub in self._job(job).result()]
            except _UNREAD as error:  # also half an answer, with which the client goes on
                raise UnreadableError(f"{what} ({error!r})") from error
            except QiskitError as error:
                if self.read(error).passing:
                    raise
                raise UnreadableError(f"{what} ({error})") from error

        for attempt in range(1, self.patience.attempts + 1):
            try:
                return self.call(f"fetching job {job}", read)
            except UnreadableError as error:
                unreadable = error
                self._jobs.pop(job, None)
                time.sleep(self.patience.delay(attempt))
        raise unreadable

    def usage(self, job: str) -> float | None:
        """The seconds of a quantum computer that a job is charged for; None until the service has worked them out."""

        def ask() -> float | None:
            usage = self._job(job).metrics().get("usage") or {}
            seconds = usage.get("qpu_charge_time_seconds")
            return None if usage.get("status", "pending") == "pending" or seconds is None else float(seconds)

        return self.call(f"asking for the usage of job {job}", ask)

    def cancel(self, job: str) -> JobState:
        """Cancel a job, if it has not ended; how it stands then."""
        from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError

        def cancel() -> None:
            with suppress(RuntimeInvalidStateError):  # it has ended before
                self._job(job).cancel()
            self._jobs.pop(job)  # the client would go on to call it cancelled, whatever it was

        self.call(f"cancelling job {job}", cancel)
        return self.look(job)

    def open_session(self) -> str | None:
        """A new batch or session; None in job mode. It costs nothing as long as no job runs in it."""
        if self._mode == "job":
            return None
        opened = self.call(f"opening a {self._mode}", lambda: self._kind()(backend=self._found()))
        self._sessions[opened.session_id] = opened
        return str(opened.session_id)

    def _kind(self) -> Any:
        from qiskit_ibm_runtime import Batch, Session

        return Batch if self._mode == "batch" else Session

    def close_session(self, session: str, *, attempts: int | None = None) -> None:
        """Let a session take no more jobs; those in it go on."""
        self.call(f"closing session {session}", lambda: self._session(session).close(), attempts)
        self._sessions.pop(session, None)

    def accepts(self, session: str) -> bool:
        """Whether a session takes more jobs."""
        details = self.call(f"looking at session {session}", lambda: self._session(session).details())
        return bool(details and details["accepting_jobs"] and details["state"] != "closed")

    def _session(self, session: str) -> Any:
        if session not in self._sessions:
            self._sessions[session] = self._kind().from_id(session, self.connected())
        return self._sessions[session]

    def _job(self, job: str) -> Any:
        if job not in self._jobs:
            self._jobs[job] = self.connected().job(job)
        return self._jobs[job]

    def forget(self) -> None:
        """Make the next call on a new connection."""
        super().forget()
        self._backend = None
        self._jobs.clear()
        self._sessions.clear()
