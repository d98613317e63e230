"""The journal of a durable run: one SQLite file that knows, at any moment, what was asked for and what came back.

Format 1 (`PRAGMA user_version`). It holds no text and no credential: of the texts it has hashes and angles. Every
change is one transaction, on disk before the next step is taken (write-ahead log, synchronous full), so whatever stops
the process, the next one finds the last finished step. Every row has a seal, the hash of its other columns, without
which a damaged number would be a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.sampling import Measured
from ..errors import InputError, JournalError
from ..lock import hold
from ..predictions import FloatArray
from .plan import Chunk, Identity

__all__ = ["FORMAT", "Job", "Journal"]

FORMAT = 1
_APPLICATION = 0x71646A6E  # "qdjn"
_DISK = (
    "disk I/O",
    "is full",
    "readonly",
    "unable to open",
    "is locked",
)  # in SQLite's errors that are not the file's fault
_KEYS = {"run": "name", "chunk": "id", "job": "id"}

_TABLES = """
CREATE TABLE run (
    name TEXT PRIMARY KEY,     -- identity, device, instance, circuit, tag, hashes, angles; session; finished
    value BLOB NOT NULL,
    seal BLOB NOT NULL
);
CREATE TABLE chunk (
    id TEXT PRIMARY KEY,       -- the hash of its content and settings, and its job's tag
    round INTEGER NOT NULL,
    rows BLOB NOT NULL,        -- int64
    shots INTEGER NOT NULL,
    seconds REAL NOT NULL,     -- estimated, of the quantum computer
    state TEXT NOT NULL,       -- planned, asked, submitted, done, split
    asked REAL,                -- when its job was asked for, written before the request; seconds since 1970
    job TEXT,                  -- the job that counts
    seal BLOB NOT NULL
);
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    chunk TEXT NOT NULL,
    status TEXT NOT NULL,      -- as the service calls it
    double INTEGER NOT NULL,   -- made by the service beside the one that counts
    usage REAL,                -- seconds charged; NULL until the service has worked them out
    reason TEXT NOT NULL,
    seal BLOB NOT NULL
);
CREATE TABLE result (
    chunk TEXT PRIMARY KEY,
    sums BLOB NOT NULL,        -- int64, rows × observables
    products BLOB NOT NULL,    -- int64, rows × observables × observables
    shots BLOB NOT NULL,       -- int64, rows
    factors BLOB,              -- float64, observables: of the readout mitigation; one calibration serves the whole job
    factor_covariance BLOB,    -- float64, observables × observables
    seal BLOB NOT NULL
);
"""


@dataclass(frozen=True)
class Job:
    """A job as the journal has it. See the table's comments."""

    id: str
    chunk: str
    status: str
    double: bool
    usage: float | None
    reason: str


class Journal:
    """One run's journal, open. Close it, or use it in a `with` block."""

    def __init__(self, path: str | os.PathLike[str], *, writing: bool = True, new: bool = False) -> None:
        """Open a journal.

        Args:
            path: its file.
            writing: for a process that runs or ends the run, of which there may be one; else only to look.
            new: whether to make an empty one where there is none.

        Raises:
            JournalError: it is damaged, of a newer format, or no journal.
            InputError: another process is writing to it.
            FileNotFoundError: there is no journal, or no folder for one.
        """
        self.path = Path(path).resolve()  # a lock goes by the file, not by a link to it
        self.empty = True
        self._made = not self.path.exists()
        self._lock: int | None = None
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"{self.path}: found no regular file; expected a journal or a new path")
        if not new and not self.path.exists():
            raise FileNotFoundError(f"{self.path}: found no journal; expected one that a run has written")
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{self.path}: found no folder {self.path.absolute().parent}; expected one")
        if writing:
            self._hold()
        try:
            with self._reporting():
                self._database = sqlite3.connect(self._uri(writing), uri=True, isolation_level=None)
                self._open(writing)
        except BaseException:
            self._release()
            raise

    def _hold(self) -> None:
        """Hold a file beside the journal, not the journal: closing that would drop SQLite's own locks on it."""
        lock = Path(f"{self.path}.lock")
        while self._lock is None:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                hold(descriptor, self.path, "that run goes on there; stop it first (Ctrl-C), or wait")
                if lock.exists() and os.path.samestat(lock.stat(), os.fstat(descriptor)):
                    self._lock = descriptor  # else its last holder has removed it, and another may hold a new one
            finally:
                if self._lock is None:
                    os.close(descriptor)

    def _uri(self, writing: bool) -> str:
        uri = self.path.absolute().as_uri()
        if writing:
            return uri
        # Without a log, nobody is writing, and SQLite need not make the files beside it that it reads a log with.
        still = not Path(f"{self.path}-wal").exists()
        return f"{uri}?mode=ro{'&immutable=1' if still else ''}"

    def _open(self, writing: bool) -> None:
        if not writing:
            self._database.execute("PRAGMA query_only = ON")
        damage = self._database.execute("PRAGMA integrity_check(1)").fetchall()[0][0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        version = self._one("PRAGMA user_version")
        tables = self._one("SELECT count(*) FROM sqlite_master")
        if tables and self._one("PRAGMA application_id") != _APPLICATION:
            raise JournalError(
                f"{self.path}: found an SQLite file of another program; expected a journal or a new path"
            )
        if version > FORMAT:
            raise JournalError(
                f"{self.path}: found a journal of format {version}; expected at most {FORMAT}: upgrade qdinfer"
            )
        if writing:
            for setting in ("journal_mode = WAL", "synchronous = FULL"):
                self._database.execute(f"PRAGMA {setting}").fetchall()  # unread, an answer would lock the tables
        self.empty = not tables

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if any(word in str(error) for word in _DISK):
                raise OSError(
                    f"{self.path}: the journal cannot be read or written ({error}); make room or give it rights, and "
                    "run the same command again: what was written is safe"
                ) from error
            raise self._damaged(str(error)) from error
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, found: str) -> JournalError:
        return JournalError(
            f"{self.path}: found no sound journal ({found}); expected one that was not cut off or changed. Move it "
            "away and run the same command again: jobs that were submitted are found by their tags, not paid twice"
        )

    def _rows(self, table: str, condition: str = "", *values: str) -> list[tuple[Any, ...]]:
        """Rows of a table without their seals, in the order of their writing."""
        with self._reporting():
            rows = self._database.execute(f"SELECT * FROM {table} {condition} ORDER BY rowid", values).fetchall()
        for row in rows:
            if row[-1] != _seal(row[:-1]):
                raise self._damaged(f"a changed row in its table {table}")
        return [row[:-1] for row in rows]

    def _put(self, table: str, *values: Any) -> None:
        marks = ", ".join("?" * (len(values) + 1))
        self._database.execute(f"INSERT INTO {table} VALUES ({marks})", (*values, _seal(values)))

    def _change(self, table: str, key: str, **changes: Any) -> None:
        """Change some columns of the row with that key, the table's first column, and seal it anew."""
        (row,) = self._rows(table, f"WHERE {_KEYS[table]} = ?", key)
        names = [column[1] for column in self._database.execute(f"PRAGMA table_info({table})").fetchall()][:-1]
        values = tuple(changes.get(name, value) for name, value in zip(names, row, strict=True))
        assigned = ", ".join(f"{name} = ?" for name in names)
        update = f"UPDATE {table} SET {assigned}, seal = ? WHERE {_KEYS[table]} = ?"
        self._database.execute(update, (*values, _seal(values), key))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reporting():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Fold the write-ahead log into the one file, which may then be moved, and let other processes in."""
        try:
            if self._lock is not None and not self.empty:  # SQLite calls an empty log locked
                with self._reporting():
                    self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._database.close()
            if self._made and self.empty:  # no run was begun, so there is nothing to keep
                self.path.unlink(missing_ok=True)
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            Path(f"{self.path}.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def begin(
        self,
        identity: Identity,
        about: Mapping[str, str],
        hashes: Sequence[bytes],
        angles: FloatArray,
        chunks: Sequence[Chunk],
    ) -> None:
        """Write down a new run, whole or not at all; `about` has its device, instance, circuit and tag."""
        content: dict[str, str | bytes] = {
            "identity": json.dumps(identity),
            **about,
            "hashes": b"".join(hashes),
            "angles": np.ascontiguousarray(angles, "<f4").tobytes(),
        }
        with self._transaction() as database:
            for statement in _TABLES.split(";\n"):
                database.execute(statement)
            for name, value in content.items():
                self._put("run", name, value)
            self._insert(chunks)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {FORMAT}")
        self.empty = False

    @property
    def identity(self) -> Identity:
        """What run it is."""
        return dict(json.loads(self.text("identity")))

    @property
    def hashes(self) -> list[bytes]:
        """16 bytes for each text."""
        joined = bytes(self._value("hashes"))
        return [joined[i : i + 16] for i in range(0, len(joined), 16)]

    @property
    def angles(self) -> FloatArray:
        """(N, P) float32."""
        flat = np.frombuffer(bytes(self._value("angles")), "<f4")
        return flat.reshape(len(self.hashes), -1) if len(flat) else np.empty((0, 0), np.float32)

    def text(self, name: str) -> str:
        """A text about the run: identity, device, instance, circuit, tag, session, finished; or empty."""
        return str(self._value(name) or "")

    def _value(self, name: str) -> Any:
        rows = self._rows("run", "WHERE name = ?", name)
        return rows[0][1] if rows else b""

    def _one(self, query: str) -> int:
        return int(self._database.execute(query).fetchall()[0][0])

    def set_text(self, name: str, value: str) -> None:
        """Write down a text about the run: circuit, session or finished."""
        with self._transaction():
            if self._rows("run", "WHERE name = ?", name):
                self._change("run", name, value=value)
            else:
                self._put("run", name, value)

    def chunks(self, *states: str) -> list[Chunk]:
        """The chunks in any of these states (all, if none is named), in the order of rounds and texts."""
        found = [
            Chunk(i, number, np.frombuffer(rows, "<i8"), shots, seconds)
            for i, number, rows, shots, seconds, state, _, _ in self._rows("chunk")
            if not states or state in states
        ]
        return sorted(found, key=lambda chunk: chunk.round)

    def chunk_jobs(self) -> dict[str, str]:
        """The job of each chunk that has one and waits for it."""
        return {i: job for i, *_, state, _, job in self._rows("chunk") if state == "submitted"}

    def asked(self) -> dict[str, float]:
        """When the job of each chunk was last asked for, seconds since 1970, for all chunks that were."""
        return {i: asked for i, *_, asked, _ in self._rows("chunk") if asked is not None}

    def jobs(self) -> list[Job]:
        """All jobs, in the order that they were written down."""
        return [
            Job(i, chunk, status, bool(double), usage, reason)
            for i, chunk, status, double, usage, reason in self._rows("job")
        ]

    def add_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Write down another round."""
        with self._transaction():
            self._insert(chunks)

    def replace_chunk(self, chunk: Chunk, halves: Sequence[Chunk]) -> None:
        """Write down that a chunk is done in parts."""
        with self._transaction():
            self._change("chunk", chunk.id, state="split")
            self._insert(halves)

    def _insert(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            rows = np.ascontiguousarray(chunk.rows, "<i8").tobytes()
            self._put("chunk", chunk.id, chunk.round, rows, chunk.shots, chunk.seconds, "planned", None, None)

    def ask(self, chunk: str) -> None:
        """Write down that a job is about to be asked for. Before the request, so that none is ever forgotten."""
        with self._transaction():
            self._change("chunk", chunk, state="asked", asked=time.time())

    def submitted(self, chunk: str, job: str) -> None:
        """Write down the job that counts."""
        with self._transaction():
            self._note(chunk, job, {"status": "QUEUED"}, {})
            self._change("chunk", chunk, state="submitted", job=job)

    def plan_again(self, chunk: str) -> None:
        """Write down that a chunk has no job that counts."""
        with self._transaction():
            self._change("chunk", chunk, state="planned", job=None)

    def note_job(self, chunk: str, job: str, status: str, *, reason: str = "", double: bool = False) -> None:
        """Write down how a job stands."""
        now: dict[str, Any] = {"status": status, "reason": reason} | ({"double": 1} if double else {})
        with self._transaction():
            self._note(chunk, job, now, now)

    def _note(self, chunk: str, job: str, new: dict[str, Any], known: dict[str, Any]) -> None:
        """Change what is known of a job; write down a new one."""
        if not self._rows("job", "WHERE id = ?", job):
            self._put("job", job, chunk, new["status"], new.get("double", 0), None, new.get("reason", ""))
        elif known:
            self._change("job", job, **known)

    def note_usage(self, job: str, seconds: float) -> None:
        """Write down what a job was charged for."""
        with self._transaction():
            self._change("job", job, usage=seconds)

    def finish(self, chunk: str, job: str, measured: Measured) -> None:
        """Write down a job's result."""
        factors = covariance = None
        if measured.factors is not None and measured.factor_covariance is not None:  # the same for all rows of a job
            factors = np.ascontiguousarray(measured.factors[0], "<f8").tobytes()
            covariance = np.ascontiguousarray(measured.factor_covariance[0], "<f8").tobytes()
        counts = [np.ascontiguousarray(a, "<i8").tobytes() for a in (measured.sums, measured.products, measured.shots)]
        with self._transaction():
            self._put("result", chunk, *counts, factors, covariance)
            self._change("chunk", chunk, state="done", job=job)
            self._note(chunk, job, {"status": "DONE"}, {"status": "DONE", "reason": ""})

    def result(self, chunk: str) -> Measured:
        """A job's result.

        Raises:
            JournalError: there is none.
        """
        found = self._rows("result", "WHERE chunk = ?", chunk)
        if not found:
            raise self._damaged(f"no result of chunk {chunk}, which is said to be done")
        _, *counts, factors, covariance = found[0]
        sums, products, shots = (np.frombuffer(count, "<i8") for count in counts)
        n = len(shots)
        m = len(sums) // n
        measured = Measured(sums.reshape(n, m), products.reshape(n, m, m), shots)
        if factors is None:
            return measured
        return replace(
            measured,
            factors=np.broadcast_to(np.frombuffer(factors, "<f8"), (n, m)),
            factor_covariance=np.broadcast_to(np.frombuffer(covariance, "<f8").reshape(m, m), (n, m, m)),
        )


def _seal(values: Iterable[Any]) -> bytes:
    """The hash of a row's values, each with its length, so that none can run into the next."""
    seal = hashlib.sha256()
    for value in values:
        content = value if isinstance(value, bytes) else repr(value).encode()
        seal.update(len(content).to_bytes(8, "little") + content)
    return seal.digest()[:16]
