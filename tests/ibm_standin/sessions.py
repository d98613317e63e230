"""Sessions and batches: which jobs they take, and what they say of themselves."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from ibm_standin.store import Query, Store, now

MAX_TTL_SECONDS = 8 * 3600
IDLE_SECONDS = 60


class Sessions:
    """The sessions in a store. A batch is a session whose mode is `batch`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, device: str, mode: str, max_ttl: int | None, jobs: int | None) -> str:
        """A new one; it closes by itself after so many jobs, if that is given."""
        identifier = str(uuid.uuid4())
        self._store.rows(
            "INSERT INTO sessions (id, device, mode, max_ttl, created, jobs_left) VALUES (?, ?, ?, ?, ?, ?)",
            identifier,
            device,
            mode,
            max_ttl or MAX_TTL_SECONDS,
            now(),
            jobs,
        )
        return identifier

    def take_job(self, identifier: str) -> bool:
        """Whether the session takes one more job, which is counted."""
        with self._store.transaction():
            details = self.details(identifier)
            if details is None or not details["accepting_jobs"]:
                return False
            self._store.rows("UPDATE sessions SET jobs_left = jobs_left - 1 WHERE id = ?", identifier)
            if self._store.rows("SELECT 1 FROM sessions WHERE id = ? AND jobs_left = 0", identifier):
                self.close(identifier)
        return True

    def close(self, identifier: str) -> None:
        """Take no more jobs; those that are queued still run."""
        self._store.rows("UPDATE sessions SET accepting = 0, closed = ? WHERE id = ? AND accepting", now(), identifier)

    def details(self, identifier: str) -> dict[str, Any] | None:
        """What GET /sessions/{id} answers; None if there is none of this id."""
        with self._store.transaction():
            found = self._store.rows("SELECT * FROM sessions WHERE id = ?", identifier)
            jobs = self._store.jobs(Query(["session = ?"], [identifier]))
        if not found:
            return None
        row = found[0]
        started = min((job.running for job in jobs if job.running), default=None)
        ended = max((job.finished for job in jobs if job.finished), default=None)
        expired = started is not None and _seconds_since(started) > row["max_ttl"]
        accepting = bool(row["accepting"]) and not expired
        pending = any(not job.final for job in jobs)
        state = "closed" if not accepting and not pending else "open" if started is None else "active"
        if row["mode"] == "batch":
            elapsed = sum(job.usage_seconds for job in jobs)
        else:
            elapsed = _seconds_since(started) - _seconds_since(ended) if started and ended else 0.0
        return {
            "id": row["id"],
            "backend_name": row["device"],
            "mode": row["mode"],
            "state": state,
            "accepting_jobs": accepting,
            "interactive_ttl": IDLE_SECONDS,
            "active_ttl": IDLE_SECONDS,
            "max_ttl": row["max_ttl"],
            "started_at": started,
            "activated_at": started,
            "closed_at": row["closed"] if state == "closed" else None,
            "last_job_started": max((job.running for job in jobs if job.running), default=None),
            "last_job_completed": ended,
            "elapsed_time": elapsed,
            "timestamps": [{"status": "open", "timestamp": row["created"]}],
        }


def _seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
