"""The end of a run before its time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, cast

from ..backends.ibm_client import Patience
from ..backends.ibm_jobs import JobService
from ..errors import JournalError
from .journal import Journal
from .plan import chunk_of

__all__ = ["cancel"]


def cancel(
    path: str | os.PathLike[str],
    *,
    patience: Patience | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> tuple[int, int]:
    """Cancel all jobs of a run that have not ended.

    Args:
        path: the run's journal.
        patience: how long to wait for the service.
        note: told, in one line, what is waited for, and what goes wrong and is tried again.

    Returns:
        How many were cancelled, and how many had ended before.

    Raises:
        JournalError: the journal is damaged.
        InputError: another process holds the journal.
        FileNotFoundError: there is none.
        BackendError: the service cannot be reached.
    """
    with Journal(path) as journal:
        if journal.empty:
            raise JournalError(f"{path}: found a journal in which no run was begun; expected one")
        mode = cast(Any, journal.identity["mode"])
        service = JobService(journal.text("device"), mode, patience=patience, note=note)
        _wait_for_asked(journal, service)
        known = {chunk.id for chunk in journal.chunks()}
        cancelled = ended = 0
        for state in service.find(journal.text("tag")):
            chunk = chunk_of(state.tags)
            after = state if state.final else service.cancel(state.id)
            if chunk not in known:
                continue
            stopped = after.status == "CANCELLED" and not state.final
            cancelled, ended = cancelled + stopped, ended + (not stopped)
            journal.note_job(chunk, state.id, after.status, reason=after.reason)
            seconds = service.usage(state.id)
            if seconds is not None:
                journal.note_usage(state.id, seconds)
            if stopped and journal.chunk_jobs().get(chunk) == state.id:
                journal.plan_again(chunk)
        if journal.text("session"):
            service.close_session(journal.text("session"))
            journal.set_text("session", "")
    return cancelled, ended


def _wait_for_asked(journal: Journal, service: JobService) -> None:
    """Wait until a job that was asked for by a process that died can be found."""
    asked = journal.asked()
    latest = max((asked[chunk.id] for chunk in journal.chunks("asked")), default=0.0)
    wait = min(service.patience.grace, latest + service.patience.grace - time.time())
    if wait > 0:
        service.note(f"waiting {wait:.0f} s for a job that may just have been asked for")
        time.sleep(wait)
