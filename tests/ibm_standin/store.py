"""The stand-in's memory: one SQLite file. Every change is committed before its method returns."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FINAL = ("Completed", "Failed", "Cancelled")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, tags TEXT NOT NULL, created TEXT NOT NULL,
    program TEXT NOT NULL, device TEXT NOT NULL, session TEXT, private INTEGER NOT NULL, max_seconds REAL,
    shots INTEGER NOT NULL, circuits INTEGER NOT NULL, estimated_seconds REAL NOT NULL, faults TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'Queued', reason TEXT, reason_code INTEGER, running TEXT, finished TEXT,
    runs INTEGER NOT NULL DEFAULT 0, executed INTEGER NOT NULL DEFAULT 0, usage_seconds REAL NOT NULL DEFAULT 0,
    cancelling INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS payloads (id TEXT PRIMARY KEY, params TEXT, result TEXT);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, device TEXT NOT NULL, mode TEXT NOT NULL, max_ttl INTEGER NOT NULL, created TEXT NOT NULL,
    accepting INTEGER NOT NULL DEFAULT 1, closed TEXT, jobs_left INTEGER);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def now() -> str:
    """This moment as the service writes it. All such texts sort by time."""
    return stamp(datetime.now(UTC))


def stamp(moment: datetime) -> str:
    """A moment as the service writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class JobRecord:
    """All that is known of a job but its program and its result.

    Attributes:
        number: jobs are counted, and run, in the order of their creation.
        shots: of each circuit.
        circuits: how many bound circuits the job has; shots × circuits are its executions.
        executed: executions that were done.
        runs: how many times the job ran to an end: never more than once.
        usage_seconds: what the job is charged for.
        faults: what was to go wrong with it, as `Fault` has it.
    """

    number: int
    id: str
    tags: tuple[str, ...]
    created: str
    program: str
    device: str
    session: str | None
    private: bool
    max_seconds: float | None
    shots: int
    circuits: int
    estimated_seconds: float
    faults: dict[str, dict[str, Any]]
    status: str
    reason: str | None
    reason_code: int | None
    running: str | None
    finished: str | None
    runs: int
    executed: int
    usage_seconds: float
    cancelling: bool

    @property
    def executions(self) -> int:
        """How many times the device is to run a circuit."""
        return self.shots * self.circuits

    @property
    def final(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status in FINAL


@dataclass(frozen=True)
class Query:
    """Which jobs are asked for: the conditions of `service.jobs`, all of which must hold."""

    conditions: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def add(self, condition: str, *values: str) -> None:
        """One more condition, in SQL."""
        self.conditions.append(condition)
        self.values.extend(values)

    @property
    def where(self) -> str:
        """The conditions as a clause."""
        return " WHERE " + " AND ".join(self.conditions or ["1"])


class Store:
    """The file. Threads share one connection, one at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.executescript("PRAGMA journal_mode=WAL;" + _SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else meanwhile; committed when the outermost block ends."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """What a statement gives; its change, if it is one, is committed."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def clear(self) -> None:
        """Forget jobs, sessions and settings."""
        with self.transaction():
            for table in ("jobs", "payloads", "sessions", "settings"):
                self.rows(f"DELETE FROM {table}")

    def setting(self, key: str, default: Any = None) -> Any:
        """A value that was kept."""
        found = self.rows("SELECT value FROM settings WHERE key = ?", key)
        return json.loads(found[0]["value"]) if found else default

    def keep(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.rows("INSERT OR REPLACE INTO settings VALUES (?, ?)", key, json.dumps(value))

    def add_job(self, params: str, **columns: Any) -> JobRecord:
        """A new job, queued."""
        columns = {**columns, "created": now()}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        with self.transaction():
            self.rows(f"INSERT INTO jobs ({names}) VALUES ({marks})", *columns.values())
            self.rows("INSERT INTO payloads VALUES (?, ?, NULL)", columns["id"], params)
            return self.jobs(Query(["id = ?"], [columns["id"]]))[0]

    def job(self, identifier: str) -> JobRecord | None:
        """The job with this id."""
        return next(iter(self.jobs(Query(["id = ?"], [identifier]))), None)

    def jobs(
        self, query: Query | None = None, *, ascending: bool = True, limit: int = -1, offset: int = 0
    ) -> list[JobRecord]:
        """Jobs in the order of their creation, or in the other."""
        query = query or Query()
        order = f" ORDER BY number {'ASC' if ascending else 'DESC'} LIMIT ? OFFSET ?"
        found = self.rows("SELECT * FROM jobs" + query.where + order, *query.values, limit, offset)
        return [_record(row) for row in found]

    def count(self, query: Query) -> int:
        """How many jobs there are, whatever the page's size."""
        return int(self.rows("SELECT COUNT(*) AS n FROM jobs" + query.where, *query.values)[0]["n"])

    def change_job(self, identifier: str, **columns: Any) -> None:
        """Set some of a job's columns."""
        names = ", ".join(f"{name} = ?" for name in columns)
        self.rows(f"UPDATE jobs SET {names} WHERE id = ?", *columns.values(), identifier)

    def delete_job(self, identifier: str) -> None:
        """Forget a job."""
        with self.transaction():
            self.rows("DELETE FROM jobs WHERE id = ?", identifier)
            self.rows("DELETE FROM payloads WHERE id = ?", identifier)

    def params(self, identifier: str) -> str:
        """A job's program, as it came."""
        return str(self.rows("SELECT params FROM payloads WHERE id = ?", identifier)[0]["params"])

    def result(self, identifier: str) -> str | None:
        """A job's result, as it is sent."""
        found: str | None = self.rows("SELECT result FROM payloads WHERE id = ?", identifier)[0]["result"]
        return found

    def keep_result(self, identifier: str, result: str | None) -> None:
        """Keep a job's result, or None to forget it."""
        self.rows("UPDATE payloads SET result = ? WHERE id = ?", result, identifier)


def _record(row: sqlite3.Row) -> JobRecord:
    """A row as its dataclass."""
    values = dict(row)
    values["tags"] = tuple(json.loads(values["tags"]))
    values["faults"] = json.loads(values["faults"])
    values["private"] = bool(values["private"])
    values["cancelling"] = bool(values["cancelling"])
    return JobRecord(**values)
