"""The journal of a durable run: one SQLite file that knows, at any moment, what was asked for and what came back.

Format 1 (`PRAGMA user_version`). It holds no text and no credential: of the texts it has hashes and angles. Every
change is one transaction, on disk before the next step is taken (write-ahead log, synchronous full), so whatever stops
the process, the next one finds the last finished step.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.sampling import Measured
from ..errors import JournalError
from ..lock import hold
from ..predictions import FloatArray
from .plan import Chunk, Identity

__all__ = ["FORMAT", "Job", "Journal"]

FORMAT = 1
_APPLICATION = 0x71646A6E  # "qdjn"

_TABLES = """
CREATE TABLE run (
    name TEXT PRIMARY KEY,     -- identity, device, circuit (the ISA circuit), tag, hashes, angles; session; finished
    value BLOB NOT NULL
);
CREATE TABLE chunk (
    id TEXT PRIMARY KEY,       -- the hash of its content and settings, and its job's tag
    round INTEGER NOT NULL,
    rows BLOB NOT NULL,        -- int64
    shots INTEGER NOT NULL,
    seconds REAL NOT NULL,     -- estimated, of the quantum computer
    state TEXT NOT NULL,       -- planned, asked, submitted, done, split
    asked REAL,                -- when its job was asked for, written before the request; seconds since 1970
    job TEXT                   -- the job that counts
);
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    chunk TEXT NOT NULL,
    status TEXT NOT NULL,      -- as the service calls it
    double INTEGER NOT NULL,   -- made by the service beside the one that counts
    usage REAL,                -- seconds charged; NULL until the service has worked them out
    reason TEXT NOT NULL
);
CREATE TABLE result (
    chunk TEXT PRIMARY KEY,
    sums BLOB NOT NULL,        -- int64, rows × observables
    products BLOB NOT NULL,    -- int64, rows × observables × observables
    shots BLOB NOT NULL,       -- int64, rows
    factors BLOB,              -- float64, observables: of the readout mitigation; one calibration serves the whole job
    factor_covariance BLOB     -- float64, observables × observables
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
        self.path = Path(path)
        self.empty = True
        self._made = not self.path.exists()
        self._lock: int | None = None
        if not new and not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: found no journal; expected one that a run has written")
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{self.path}: found no folder {self.path.absolute().parent}; expected one")
        if writing:
            self._hold()
        try:
            self._database = sqlite3.connect(self._uri(writing), uri=True, isolation_level=None)
            with self._reporting():
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
        # Where nothing may be written, SQLite cannot make the files beside a journal that it reads with.
        still = not os.access(self.path.absolute().parent, os.W_OK)
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
        except sqlite3.OperationalError as error:
            raise JournalError(
                f"{self.path}: the journal cannot be read or written ({error}); make room or give it rights, and run "
                "the same command again: what was written is safe"
            ) from error
        except sqlite3.DatabaseError as error:
            raise JournalError(
                f"{self.path}: found no sound journal ({error}); expected one that was not cut off or changed. Move it "
                "away and run the same command again: jobs that were submitted are found by their tags, not paid twice"
            ) from error

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
        self, identity: Identity, device: str, isa: str, tag: str, hashes: Sequence[bytes], angles: FloatArray,
        chunks: Sequence[Chunk],
    ) -> None:  # fmt: skip
        """Write down a new run, whole or not at all."""
        content = {
            "identity": json.dumps(identity),
            "device": device,
            "circuit": isa,
            "tag": tag,
            "hashes": b"".join(hashes),
            "angles": np.ascontiguousarray(angles, "<f4").tobytes(),
        }
        with self._transaction() as database:
            for statement in _TABLES.split(";\n"):
                database.execute(statement)
            database.executemany("INSERT INTO run VALUES (?, ?)", content.items())
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
        """A text about the run: identity, device, circuit, tag, session or finished; empty where there is none."""
        return str(self._value(name) or "")

    def _value(self, name: str) -> Any:
        with self._reporting():
            row = self._database.execute("SELECT value FROM run WHERE name = ?", (name,)).fetchone()
        return row[0] if row else b""

    def _one(self, query: str) -> int:
        return int(self._database.execute(query).fetchall()[0][0])

    def set_text(self, name: str, value: str) -> None:
        """Write down a text about the run: circuit, session or finished."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", (name, value))

    def chunks(self, *states: str) -> list[Chunk]:
        """The chunks in any of these states (all, if none is named), in the order of rounds and texts."""
        wanted = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        query = f"SELECT id, round, rows, shots, seconds FROM chunk {wanted} ORDER BY round, rowid"
        with self._reporting():
            rows = self._database.execute(query, states).fetchall()
        return [Chunk(i, number, np.frombuffer(data, "<i8"), shots, sec) for i, number, data, shots, sec in rows]

    def chunk_jobs(self) -> dict[str, str]:
        """The job of each chunk that has one and waits for it."""
        with self._reporting():
            return dict(self._database.execute("SELECT id, job FROM chunk WHERE state = 'submitted'").fetchall())

    def asked(self) -> dict[str, float]:
        """When the job of each chunk was last asked for, seconds since 1970, for all chunks that were."""
        with self._reporting():
            return dict(self._database.execute("SELECT id, asked FROM chunk WHERE asked IS NOT NULL").fetchall())

    def jobs(self) -> list[Job]:
        """All jobs, in the order that they were written down."""
        query = "SELECT id, chunk, status, double, usage, reason FROM job ORDER BY rowid"
        with self._reporting():
            rows = self._database.execute(query).fetchall()
        return [Job(i, chunk, status, bool(double), usage, reason) for i, chunk, status, double, usage, reason in rows]

    def add_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Write down another round."""
        with self._transaction():
            self._insert(chunks)

    def replace_chunk(self, chunk: Chunk, halves: Sequence[Chunk]) -> None:
        """Write down that a chunk is done in parts."""
        with self._transaction() as database:
            database.execute("UPDATE chunk SET state = 'split' WHERE id = ?", (chunk.id,))
            self._insert(halves)

    def _insert(self, chunks: Sequence[Chunk]) -> None:
        rows = [(c.id, c.round, np.ascontiguousarray(c.rows, "<i8").tobytes(), c.shots, c.seconds) for c in chunks]
        self._database.executemany(
            "INSERT INTO chunk (id, round, rows, shots, seconds, state) VALUES (?, ?, ?, ?, ?, 'planned')", rows
        )

    def ask(self, chunk: str) -> None:
        """Write down that a job is about to be asked for. Before the request, so that none is ever forgotten."""
        with self._transaction() as database:
            database.execute("UPDATE chunk SET state = 'asked', asked = ? WHERE id = ?", (time.time(), chunk))

    def submitted(self, chunk: str, job: str) -> None:
        """Write down the job that counts."""
        with self._transaction() as database:
            self._put_job(chunk, job, "QUEUED")
            database.execute("UPDATE chunk SET state = 'submitted', job = ? WHERE id = ?", (job, chunk))

    def plan_again(self, chunk: str) -> None:
        """Write down that a chunk has no job that counts."""
        with self._transaction() as database:
            database.execute("UPDATE chunk SET state = 'planned', job = NULL WHERE id = ?", (chunk,))

    def note_job(self, chunk: str, job: str, status: str, *, reason: str = "", double: bool = False) -> None:
        """Write down how a job stands."""
        with self._transaction() as database:
            self._put_job(chunk, job, status)
            update = "UPDATE job SET status = ?, reason = ?, double = max(double, ?) WHERE id = ?"
            database.execute(update, (status, reason, int(double), job))

    def note_usage(self, job: str, seconds: float) -> None:
        """Write down what a job was charged for."""
        with self._transaction() as database:
            database.execute("UPDATE job SET usage = ? WHERE id = ?", (seconds, job))

    def _put_job(self, chunk: str, job: str, status: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO job VALUES (?, ?, ?, 0, NULL, '')", (job, chunk, status))

    def finish(self, chunk: str, job: str, measured: Measured) -> None:
        """Write down a job's result."""
        factors = covariance = None
        if measured.factors is not None and measured.factor_covariance is not None:  # the same for all rows of a job
            factors = np.ascontiguousarray(measured.factors[0], "<f8").tobytes()
            covariance = np.ascontiguousarray(measured.factor_covariance[0], "<f8").tobytes()
        counts = [np.ascontiguousarray(a, "<i8").tobytes() for a in (measured.sums, measured.products, measured.shots)]
        with self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO result VALUES (?, ?, ?, ?, ?, ?)", (chunk, *counts, factors, covariance)
            )
            database.execute("UPDATE chunk SET state = 'done', job = ? WHERE id = ?", (job, chunk))
            database.execute("UPDATE job SET status = 'DONE' WHERE id = ?", (job,))

    def result(self, chunk: str) -> Measured:
        """A job's result.

        Raises:
            JournalError: there is none.
        """
        query = "SELECT sums, products, shots, factors, factor_covariance FROM result WHERE chunk = ?"
        with self._reporting():
            row = self._database.execute(query, (chunk,)).fetchone()
        if row is None:
            raise JournalError(f"{self.path}: found no result of chunk {chunk}; expected one, as it is said to be done")
        shots = np.frombuffer(row[2], "<i8")
        n = len(shots)
        sums = np.frombuffer(row[0], "<i8").reshape(n, -1)
        m = sums.shape[1]
        products = np.frombuffer(row[1], "<i8").reshape(n, m, m)
        if row[3] is None:
            return Measured(sums, products, shots)
        factors = np.broadcast_to(np.frombuffer(row[3], "<f8"), (n, m))
        covariance = np.broadcast_to(np.frombuffer(row[4], "<f8").reshape(m, m), (n, m, m))
        return Measured(sums, products, shots, factors, covariance)
