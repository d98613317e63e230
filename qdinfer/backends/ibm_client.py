"""IBM's client, made patient: every call has a deadline, and what can be repeated is.

The client has no read timeout, repeats some requests and not others, and carries the reason of a failure in different
places of its exceptions.
"""

from __future__ import annotations

import math
import random
import re
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..errors import BackendError, InputError, require, whole_number

__all__ = ["Call", "Fault", "IbmClient", "NoAnswerError", "Patience", "client_errors"]

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait for the service, and how often to try.

    Attributes:
        call: seconds that one call of the client may take.
        submission: seconds that the creation of a job may take. The client gives up after 900 s; until then the job
            may still come to be, so it is only looked for, not asked for again.
        attempts: how often a call is tried before giving up.
        first_delay: seconds before the second attempt; doubled for each that follows, and made random.
        longest_delay: seconds that it grows to.
        grace: seconds after which a job that was asked for must be visible by its tag, if it exists.
        poll: seconds between two looks at jobs that wait or run; grows to ten times that while nothing changes.
        jobs_per_minute: job creations in any minute (IBM documents 5 for each user).
        pending: jobs of a run that wait or run at a time, unless all are to be submitted at once.
    """

    call: float = 120.0
    submission: float = 900.0
    attempts: int = 8
    first_delay: float = 1.0
    longest_delay: float = 60.0
    grace: float = 60.0
    poll: float = 2.0
    jobs_per_minute: int = 5
    pending: int = 5

    def __post_init__(self) -> None:
        for name in ("call", "submission", "first_delay", "longest_delay", "grace", "poll"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"{name}: found {value!r}; expected seconds, from 0")
        for name in ("attempts", "jobs_per_minute", "pending"):
            whole_number(name, getattr(self, name), 1, 2**31)

    def delay(self, attempt: int) -> float:
        """Seconds before attempt number `attempt` (from 1): exponential, half of it random, so that clients spread."""
        longest = min(self.longest_delay, self.first_delay * 2.0 ** (attempt - 1))
        return longest * (0.5 + random.random() / 2)


class NoAnswerError(Exception):
    """The client did not come back."""


@dataclass(frozen=True)
class Fault:
    """An error of the client, read. `status` is the HTTP status; -1: no answer came."""

    status: int
    text: str
    retry_after: float | None

    @property
    def passing(self) -> bool:
        """Whether trying again may help."""
        return self.status in (-1, 408, 425, 429) or self.status >= 500


class IbmClient:
    """The client of one device, through its saved or environment credentials.

    Not for several threads at once.
    """

    def __init__(self, device: str, patience: Patience, note: Callable[[str], object]) -> None:
        """Nothing is sent yet.

        Raises:
            MissingExtraError: IBM's client is not installed.
        """
        require("qiskit_ibm_runtime", feature="running on IBM Quantum", extra="ibm")
        self.patience = patience
        self.note = note
        self._device = device
        self._service: Any = None
        self._token = ""
        self._told: set[str] = set()

    def connected(self) -> Any:
        """IBM's client, made when it is first needed."""
        from qiskit_ibm_runtime import QiskitRuntimeService

        if self._service is None:
            self._service = QiskitRuntimeService()
            self._token = str((self._service.active_account() or {}).get("token") or "")
        return self._service

    def call(self, what: str, function: Callable[[], T], attempts: int | None = None) -> T:
        """Call the client; again, with delays, where that can help. Only for what may be done twice."""
        last = self.patience.attempts if attempts is None else attempts
        for attempt in range(1, last + 1):
            try:
                return self.timed(function)
            except client_errors() as error:
                fault = self.read(error)
            if attempt == last or not (fault.passing or (fault.status == 401 and attempt == 1)):
                break
            self.pause(attempt, what, fault)
        raise self.refused(f"{what} failed", fault)

    def pause(self, attempt: int, what: str, fault: Fault) -> None:
        """Wait before the next attempt, and say so."""
        seconds = self.patience.delay(attempt) if fault.retry_after is None else fault.retry_after
        self.note(f"{self._device}: {what} failed ({fault.text}); trying again in {seconds:.0f} s")
        if fault.status in (-1, 401):  # a connection that is dead or hangs, a token that has run out
            self.forget()
        time.sleep(seconds)

    def forget(self) -> None:
        """Make the next call on a new connection."""
        self._service = None

    def timed(self, function: Callable[[], T]) -> T:
        """Call the client, and leave it behind when it takes too long."""
        call = Call(function, self.tell)
        if not call.wait(self.patience.call):
            raise NoAnswerError(f"no answer within {self.patience.call:g} s")
        return call.outcome()

    def tell(self, text: str) -> None:
        """Pass the client's warnings on, of a usage limit, say, each once."""
        if text not in self._told:
            self._told.add(text)
            self.note(self.redacted(text))

    def read(self, error: Exception) -> Fault:
        """What went wrong, from the client's exceptions, which carry the status in different places."""
        from qiskit.exceptions import QiskitError
        from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError
        from requests import RequestException

        if isinstance(error, NoAnswerError):
            return Fault(-1, str(error), None)
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
            return Fault(401, "the credentials were not accepted", None)
        reached = any(isinstance(e, RequestException) for e in chain) or codes
        if status == -1 and not reached and isinstance(error, QiskitError):
            status = 400  # the client itself says no: a device that is not there, options that do not fit
        waits = [response.headers.get("Retry-After", "") for response in responses]
        wait = next((float(w) for w in waits if w.isdigit()), None)
        text = re.sub(r" for url: \S+", "", str(getattr(error, "message", "") or error))
        return Fault(status, " ".join(self.redacted(text).split())[:300], wait)

    def redacted(self, text: str) -> str:
        """A text without the API key, should it be in there."""
        return text.replace(self._token, "…") if self._token else text

    def refused(self, what: str, fault: Fault) -> BackendError:
        """The error that ends it, with the next step."""
        if fault.passing:
            hint = f", {self.patience.attempts} times in a row; try again later: what was submitted is not lost"
        elif fault.status == 401 or self._service is None:  # the client could not even be made
            hint = (
                "; save the account anew with QiskitRuntimeService.save_account(…, overwrite=True), or set "
                "QISKIT_IBM_TOKEN and QISKIT_IBM_INSTANCE"
            )
        else:
            hint = ""
        return BackendError(f"ibm:{self._device}: {what}: {fault.text}{hint}")


class Call(Generic[T]):
    """A call in a thread of its own, since the client waits for an answer for ever."""

    def __init__(self, function: Callable[[], T], tell: Callable[[str], object]) -> None:
        self._function = function
        self._tell = tell
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True, name="qdinfer-ibm")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again by outcome()
            self._errors.append(error)

    def wait(self, seconds: float) -> bool:
        """Whether it is done, after so many seconds at most."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("always", UserWarning)
            self._thread.join(seconds)
        for warning in caught:
            self._tell(str(warning.message))
        return not self._thread.is_alive()

    def outcome(self) -> T:
        """What it returned; raises what it raised.

        Raises:
            NoAnswerError: the client failed over an answer of another form than it expects.
        """
        if self._errors:
            error = self._errors[0]
            if isinstance(error, LookupError | TypeError | AttributeError):
                raise NoAnswerError(f"the answer could not be read ({error!r})") from error
            raise error
        return self._results[0]


def client_errors() -> tuple[type[Exception], ...]:
    """What IBM's client raises: Qiskit's errors, its HTTP library's, ValueError for an answer that it cannot read."""
    from qiskit.exceptions import QiskitError
    from requests import RequestException

    return QiskitError, RequestException, ValueError, NoAnswerError
