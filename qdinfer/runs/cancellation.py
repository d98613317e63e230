"""The end of a run before its time."""

from __future__ import annotations

import os
from typing import Any, cast

from ..backends.runtime import RuntimeBackend
from ..backends.settings import RuntimeSettings
from ..errors import JournalError
from .journal import Journal
from .plan import chunk_of

__all__ = ["cancel"]


def cancel(path: str | os.PathLike[str], backend: RuntimeBackend | None = None) -> tuple[int, int]:
    """Cancel all jobs of a run that have not ended.

    Args:
        path: the run's journal.
        backend: the device, with how long to wait for the service; None for the journal's.

    Returns:
        How many were cancelled, and how many had ended before.

    Raises:
        JournalError: the journal is damaged.
        InputError: another process holds the journal.
        BackendError: the service cannot be reached.
    """
    with Journal(path) as journal:
        if journal.empty:
            raise JournalError(f"{path}: found a journal in which no run was begun; expected one")
        mode = RuntimeSettings(mode=cast(Any, journal.identity["mode"]))
        service = (backend or RuntimeBackend(journal.text("device"), settings=mode)).service
        known = {chunk.id for chunk in journal.chunks()}
        cancelled = ended = 0
        for state in service.find(journal.text("tag")):
            chunk = chunk_of(state.tags)
            if state.final:
                ended += 1
                continue
            after = service.cancel(state.id)
            if chunk in known:
                journal.note_job(chunk, state.id, after.status, reason=after.reason)
            cancelled += after.status == "CANCELLED"
            ended += after.status != "CANCELLED"
            if after.status == "CANCELLED" and journal.chunk_jobs().get(chunk) == state.id:
                journal.plan_again(chunk)
        if journal.text("session"):
            service.close_session(journal.text("session"))
            journal.set_text("session", "")
    return cancelled, ended
