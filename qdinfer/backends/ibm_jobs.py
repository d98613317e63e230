"""Jobs at IBM's service: submitted for certain, found again, watched, fetched and cancelled.

What IBM's client leaves open is closed here, for it has no read timeout, retries some requests and not others, and may
create several jobs in one submission (it repeats a POST on 5xx without an idempotency key, see
https://github.com/Qiskit/qiskit-ibm-runtime/issues/1114):

- every call has a deadline, after which the connection is dropped and made anew;
- calls that change nothing are repeated, with growing, random delays;
- a submission whose outcome is unknown is looked up by its tag before it is made again, and of several jobs with one
  tag one is kept.
"""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BackendError, require
from ..predictions import BoolArray
from .isa import MEASURED

if TYPE_CHECKING:
    from qiskit.providers import BackendV2

__all__ = ["JobService", "JobState", "Patience", "SessionClosedError", "Submission", "TooManyJobsError"]

T = TypeVar("T")

_FINAL = ("DONE", "ERROR", "CANCELLED")
_WORTH = ("DONE", "RUNNING", "QUEUED", "INITIALIZING")  # which of several jobs with one tag to keep: the furthest


@dataclass(frozen=True)
class Patience:
    """How long to wait for the service, and how often to try.

    Attributes:
        call: seconds that one call of the client may take.
        attempts: how often a call is tried before giving up.
        first_delay: seconds before the second attempt; doubled for each that follows, and made random.
        longest_delay: seconds that it grows to.
        grace: seconds after which a job that was asked for must be visible by its tag, if it exists.
        poll: seconds between two looks at jobs that wait or run; grows to ten times that while nothing changes.
        jobs_per_minute: job creations in any minute (IBM documents 5 for each user).
        pending: jobs of a run that wait or run at a time, unless all are to be submitted at once.
    """

    call: float = 120.0
    attempts: int = 8
    first_delay: float = 1.0
    longest_delay: float = 60.0
    grace: float = 60.0
    poll: float = 2.0
    jobs_per_minute: int = 5
    pending: int = 5

    def delay(self, attempt: int) -> float:
        """Seconds before attempt number `attempt` (from 1): exponential, half of it random, so that clients spread."""
        longest = min(self.longest_delay, self.first_delay * 2.0 ** (attempt - 1))
        return longest * (0.5 + random.random() / 2)


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


class TooManyJobsError(BackendError):
    """The service takes no more jobs for now.

    Attributes:
        wait: seconds after which it may, as it says; None: it does not say.
    """

    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.wait = wait


class _TimeoutError(Exception):
    """The client did not come back."""


@dataclass(frozen=True)
class _Fault:
    """An error of the client, read. `status` is the HTTP status; -1: no answer came."""

    status: int
    text: str
    retry_after: float | None

    @property
    def passing(self) -> bool:
        return self.status in (-1, 408, 425, 429) or self.status >= 500


class JobService:
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
        require("qiskit_ibm_runtime", feature="running on IBM Quantum", extra="ibm")
        self.patience = patience or Patience()
        self.note = note
        self._device = device
        self._mode = mode
        self._service: Any = None
        self._backend: Any = None
        self._jobs: dict[str, Any] = {}
        self._sessions: dict[str, Any] = {}
        self._created: deque[float] = deque()
        self._token = ""
        self._told: set[str] = set()

    def backend(self, min_qubits: int = 1) -> BackendV2:
        """The device, asked for once; for ``"least_busy"``, the one of so many qubits with the shortest queue.

        Raises:
            BackendError: there is none, or the service cannot be reached.
        """
        return self._call("finding the device", lambda: self._found(min_qubits))

    def _found(self, min_qubits: int = 1) -> Any:
        if self._backend is None:
            service = self._connected()
            if self._device == "least_busy":
                self._backend = service.least_busy(operational=True, simulator=False, min_num_qubits=min_qubits)
                self._device = self._backend.name  # a run stays on one device
            else:
                self._backend = service.backend(self._device)
            status = self._backend.status()
            if not status.operational or status.status_msg != "active":
                self.note(f"{self._device}: the device is {status.status_msg}; jobs wait until it runs again")
        return self._backend

    def submission_wait(self) -> float:
        """Seconds until another job may be created."""
        now = time.time()
        while self._created and self._created[0] <= now - 60.0:
            self._created.popleft()
        if len(self._created) < self.patience.jobs_per_minute:
            return 0.0
        return self._created[0] + 60.0 - now

    def remember_creation(self, when: float) -> None:
        """Count a job that was created at that time, in seconds since the epoch, by an earlier process."""
        self._created.append(when)

    def submit(self, pubs: Sequence[Any], shots: int, options: Any, tag: str, session: str | None) -> Submission:
        """Create one job, for certain: exactly one job with that tag goes on.

        Args:
            pubs: what to sample.
            shots: of each row.
            options: `SamplerOptions` of the client; its job tags must have the tag.
            tag: found with no other submission.
            session: the id of a session or batch; None: outside of any.

        Raises:
            SessionClosedError: the session takes no more jobs.
            TooManyJobsError: not now.
            BackendError: the service refuses the job, or cannot be reached.
        """
        from qiskit_ibm_runtime.executor_sampler import Sampler

        def create() -> Any:
            mode = self._found() if session is None else self._session(session)
            return Sampler(mode=mode, options=options).run(pubs, shots=shots)

        for attempt in range(1, self.patience.attempts + 1):
            time.sleep(self.submission_wait())
            self.remember_creation(time.time())
            try:
                job = self._timed(create)
            except _client_errors() as error:
                fault = self._read(error)
            else:
                self._jobs[job.job_id()] = job
                return self.settle(tag) or Submission(job.job_id())
            if session is not None and not fault.passing and not self._accepts(session):
                raise SessionClosedError(f"{self._device}: session {session} takes no more jobs")
            if fault.status == 429:
                raise TooManyJobsError(f"ibm:{self._device}: {fault.text}", fault.retry_after)
            if not fault.passing:
                raise self._refused("the job was refused", fault)
            self._pause(attempt, "submitting the job", fault)
            # The job may be there all the same, or may still come to be.
            self.note(f"{self._device}: waiting {self.patience.grace:g} s to see whether the job was created")
            time.sleep(self.patience.grace)
            found = self.settle(tag)
            if found is not None:
                return found
        raise self._refused("the job could not be submitted", fault)

    def settle(self, tag: str) -> Submission | None:
        """Find the jobs with that tag; keep the one that is furthest, cancel the others. None: there is none."""
        alive = [state for state in self.find(tag) if state.status in _WORTH]
        if not alive:
            return None
        kept, *doubles = sorted(alive, key=lambda state: (_WORTH.index(state.status), state.created))
        for state in doubles:
            self.note(f"{self._device}: job {state.id} is a double of {kept.id}, made by the service; cancelled")
            self.cancel(state.id)
        return Submission(kept.id, tuple(doubles))

    def find(self, tag: str) -> list[JobState]:
        """All jobs with that tag, whatever became of them."""
        found = self._call(f"looking for jobs tagged {tag}", lambda: self._list(tag))
        for job in found:
            self._jobs.setdefault(job.job_id(), job)
        return [self.look(job.job_id()) for job in found]

    def _list(self, tag: str) -> list[Any]:
        # Of the device's own instance: without it, the client asks the one that it used last.
        instance = self._found()._instance
        return list(self._connected().jobs(job_tags=[tag], limit=None, instance=instance))

    def look(self, job: str) -> JobState:
        """What the service says of a job."""
        return self._call(f"looking at job {job}", lambda: self._state(job))

    def _state(self, job: str) -> JobState:
        from qiskit.exceptions import QiskitError
        from qiskit_ibm_runtime.exceptions import RuntimeJobFailureError, RuntimeJobMaxTimeoutError, RuntimeJobNotFound

        try:
            handle = self._job(job)
        except RuntimeJobNotFound:
            return JobState(job, "ERROR", reason="the service knows no such job")
        status, reason, too_long = str(handle.status()), "", False
        if status == "ERROR":
            try:
                handle.result()
            except (RuntimeJobFailureError, RuntimeJobMaxTimeoutError) as error:
                reason, too_long = str(error.message), isinstance(error, RuntimeJobMaxTimeoutError)
            except QiskitError as error:
                if self._read(error).passing:
                    raise
                reason = str(error.message)
        created = handle.creation_date
        return JobState(job, status, tuple(handle.tags or ()), created.isoformat() if created else "", reason, too_long)

    def fetch(self, job: str) -> list[BoolArray]:
        """The bits of a job that is done, for each PUB (…, shots, n), qubit q of the circuit at q.

        Raises:
            BackendError: there are none, or they cannot be read.
        """

        def read() -> list[BoolArray]:
            try:
                return [pub.data[MEASURED].to_bool_array(order="little") for pub in self._job(job).result()]
            except (TypeError, LookupError, AttributeError) as error:  # the client goes on with half an answer
                raise ValueError(f"found no measured bits in register {MEASURED!r}") from error

        return self._call(f"fetching job {job}", read)

    def usage(self, job: str) -> float | None:
        """The seconds of a quantum computer that a job is charged for; None until the service has worked them out."""
        usage = self._call(f"asking for the usage of job {job}", lambda: self._job(job).metrics()).get("usage") or {}
        seconds = usage.get("qpu_charge_time_seconds")
        return None if usage.get("status", "pending") == "pending" or seconds is None else float(seconds)

    def cancel(self, job: str) -> JobState:
        """Cancel a job, if it has not ended; how it stands then."""
        from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError

        def cancel() -> None:
            with suppress(RuntimeInvalidStateError):  # it has ended before
                self._job(job).cancel()
            self._jobs.pop(job)  # the client would go on to call it cancelled, whatever it was

        self._call(f"cancelling job {job}", cancel)
        return self.look(job)

    def open_session(self) -> str | None:
        """A new batch or session; None in job mode. It costs nothing as long as no job runs in it."""
        if self._mode == "job":
            return None
        opened = self._call(f"opening a {self._mode}", lambda: self._kind()(backend=self._found()))
        self._sessions[opened.session_id] = opened
        return str(opened.session_id)

    def _kind(self) -> Any:
        from qiskit_ibm_runtime import Batch, Session

        return Batch if self._mode == "batch" else Session

    def close_session(self, session: str) -> None:
        """Let a session take no more jobs; those in it go on."""
        self._call(f"closing session {session}", lambda: self._session(session).close())
        self._sessions.pop(session, None)

    def accepts(self, session: str) -> bool:
        """Whether a session takes more jobs."""
        return self._call(f"looking at session {session}", lambda: self._accepts(session))

    def _accepts(self, session: str) -> bool:
        details = self._session(session).details()
        return bool(details and details["accepting_jobs"] and details["state"] != "closed")

    def _session(self, session: str) -> Any:
        if session not in self._sessions:
            self._sessions[session] = self._kind().from_id(session, self._connected())
        return self._sessions[session]

    def _job(self, job: str) -> Any:
        if job not in self._jobs:
            self._jobs[job] = self._connected().job(job)
        return self._jobs[job]

    def _connected(self) -> Any:
        from qiskit_ibm_runtime import QiskitRuntimeService

        if self._service is None:
            self._service = QiskitRuntimeService()
            self._token = str((self._service.active_account() or {}).get("token") or "")
        return self._service

    def _call(self, what: str, function: Callable[[], T]) -> T:
        """Call the client; again, with delays, where that can help and does no harm."""
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return self._timed(function)
            except _client_errors() as error:
                fault = self._read(error)
            if not fault.passing and not (fault.status == 401 and attempt == 1):
                break
            self._pause(attempt, what, fault)
        raise self._refused(f"{what} failed", fault)

    def _pause(self, attempt: int, what: str, fault: _Fault) -> None:
        seconds = self.patience.delay(attempt) if fault.retry_after is None else fault.retry_after
        self.note(f"{self._device}: {what} failed ({fault.text}); trying again in {seconds:.0f} s")
        if fault.status in (-1, 401):  # a connection that is dead or hangs, a token that has run out
            self._forget()
        time.sleep(seconds)

    def _forget(self) -> None:
        self._service = self._backend = None
        self._jobs.clear()
        self._sessions.clear()

    def _timed(self, function: Callable[[], T]) -> T:
        """Call in a thread, and leave it behind when it takes too long: the client waits for an answer for ever."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True, name="qdinfer-ibm")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("always", UserWarning)
            thread.start()
            thread.join(self.patience.call)
        for text in {str(warning.message) for warning in caught} - self._told:  # of a usage limit, a paused device
            self._told.add(text)
            self.note(self._redacted(text))
        if thread.is_alive():
            raise _TimeoutError
        if errors:
            raise errors[0]
        return results[0]

    def _read(self, error: Exception) -> _Fault:
        """What went wrong, from the client's exceptions, which carry the status in different places."""
        from qiskit.exceptions import QiskitError
        from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError
        from requests import RequestException

        if isinstance(error, _TimeoutError):
            return _Fault(-1, f"no answer within {self.patience.call:g} s", None)
        chain: list[BaseException] = []
        link: BaseException | None = error
        while link is not None and link not in chain:
            chain.append(link)
            link = link.__cause__ or link.__context__
        responses = [r for e in chain if (r := getattr(e, "response", None)) is not None]
        codes = [code for e in chain if isinstance(code := getattr(e, "status_code", None), int)]
        codes += [response.status_code for response in responses]
        status = max((code for code in codes if code > 0), default=-1)
        if any(isinstance(e, IBMNotAuthorizedError) for e in chain):
            return _Fault(401, "the credentials were not accepted", None)
        reached = any(isinstance(e, RequestException) for e in chain) or codes
        if status == -1 and not reached and isinstance(error, QiskitError):
            status = 400  # the client itself says no: a device that is not there, options that do not fit
        waits = [response.headers.get("Retry-After", "") for response in responses]
        wait = next((float(w) for w in waits if w.isdigit()), None)
        text = str(getattr(error, "message", "") or error)
        return _Fault(status, " ".join(self._redacted(text).split())[:300], wait)

    def _redacted(self, text: str) -> str:
        return text.replace(self._token, "…") if self._token else text

    def _refused(self, what: str, fault: _Fault) -> BackendError:
        if fault.status == 401 or self._service is None:
            hint = (
                "; save the account anew with QiskitRuntimeService.save_account(…, overwrite=True), or set "
                "QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE"
            )
        elif fault.passing:
            hint = f", {self.patience.attempts} times in a row; try again later: what was submitted is not lost"
        else:
            hint = ""
        return BackendError(f"ibm:{self._device}: {what}: {fault.text}{hint}")


def _client_errors() -> tuple[type[Exception], ...]:
    """What IBM's client raises: Qiskit's errors, its HTTP library's, ValueError for an answer that it cannot read."""
    from qiskit.exceptions import QiskitError
    from requests import RequestException

    return QiskitError, RequestException, ValueError, _TimeoutError
