"""The device's side: one worker runs the jobs in the order of their creation, as one QPU would."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from qiskit.exceptions import QiskitError

from ibm_standin.devices import OVERHEAD_SECONDS, Device
from ibm_standin.program import Data, Program, Step
from ibm_standin.store import JobRecord, Query, Store, now

RAN_TOO_LONG = 1305
_POLL_SECONDS = 0.02

# What the simulator and the client's own code raise on a program that they cannot run.
_FAILURES = (QiskitError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, Warning)


class _StoppedError(Exception):
    """The stand-in is being stopped: the job at hand stays as it is, to be run again."""


class Engine:
    """The worker."""

    def __init__(self, store: Store, devices: Mapping[str, Device], seed: int) -> None:
        self._store, self._devices, self._seed = store, devices, seed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stand-in engine")

    def start(self) -> None:
        """Go on where the file says that work was left: a job that was running has produced nothing, and runs anew."""
        self._store.rows("UPDATE jobs SET status = 'Queued', running = NULL WHERE status = 'Running'")
        self._thread.start()

    def stop(self) -> None:
        """Leave the job at hand as a killed server would, and end."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            job = self._begin()
            if job is None:
                self._stopping.wait(_POLL_SECONDS)
                continue
            try:
                self._run(job)
            except _StoppedError:
                return
            except _FAILURES as error:
                self._end(job, "Failed", reason=f"{type(error).__name__}: {error}", code=1010)

    def _begin(self) -> JobRecord | None:
        """The job whose turn it is, set running; None while there is none."""
        with self._store.transaction():
            for job in self._store.jobs(Query(["status = 'Queued'"])):
                if self._store.setting(f"device {job.device}", "active") != "active":
                    continue
                ready = datetime.fromisoformat(job.created) + timedelta(seconds=_seconds(job, "slow_queue"))
                if ready > datetime.now(UTC):
                    return None
                self._store.change_job(job.id, status="Running", running=now())
                return job
        return None

    def _run(self, job: JobRecord) -> None:
        start = datetime.now(UTC)
        program = Program(self._store.params(job.id), self._devices[job.device])
        steps = program.steps()
        pause = _seconds(job, "slow_run") / len(steps)
        limit = job.max_seconds
        too_long = "too_long" in job.faults or (limit is not None and job.estimated_seconds > limit)
        ending = too_long or {"fail", "cancel"} & job.faults.keys()
        done: list[Step] = []
        data: list[Data] = []
        for step in steps:
            if not ending:
                data.append(program.run(step, (self._seed, job.number)))
                done.append(step)
            if self._cancelled(job, pause):
                self._end(job, "Cancelled", done, reason="Job was cancelled by the user.")
                return
        if too_long:
            seconds = job.estimated_seconds if limit is None else min(limit, job.estimated_seconds)
            self._end(job, "Cancelled", reason="Ran too long", code=RAN_TOO_LONG, seconds=seconds)
        elif ending:
            kind, status = ("fail", "Failed") if "fail" in job.faults else ("cancel", "Cancelled")
            fault = job.faults[kind]
            reason = fault["reason"] or f"The stand-in was told to {kind} this job."
            self._end(job, status, reason=reason, code=fault["code"] or 1010)
        else:
            self._end(job, "Completed", done, result=program.result(steps, data, start, datetime.now(UTC)))

    def _cancelled(self, job: JobRecord, seconds: float) -> bool:
        """Wait; whether the user cancels the job meanwhile.

        Raises:
            _StoppedError: the stand-in is being stopped.
        """
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        while True:
            record = self._store.job(job.id)
            if record is None or record.cancelling:
                return True
            left = (until - datetime.now(UTC)).total_seconds()
            if self._stopping.wait(min(max(left, 0.0), _POLL_SECONDS)):
                raise _StoppedError
            if left <= 0:
                return False

    def _end(
        self,
        job: JobRecord,
        status: str,
        done: list[Step] | None = None,
        *,
        reason: str | None = None,
        code: int | None = None,
        seconds: float | None = None,
        result: str | None = None,
    ) -> None:
        """Write down a job's end, all at once: its result is there if and only if it is complete."""
        done = done or []
        if seconds is None:
            seconds = OVERHEAD_SECONDS + sum(step.seconds for step in done) if done else 0.0
        with self._store.transaction():
            record = self._store.job(job.id)
            if record is None:
                return
            if record.cancelling and status == "Completed":
                status, reason, result = "Cancelled", "Job was cancelled by the user.", None
            self._store.keep_result(job.id, result if status == "Completed" else reason)
            self._store.change_job(
                job.id,
                status=status,
                reason=reason,
                reason_code=code,
                finished=now(),
                executed=sum(step.executions for step in done),
                usage_seconds=seconds,
                runs=record.runs + 1,
            )


def _seconds(job: JobRecord, kind: str) -> float:
    return float(job.faults[kind]["seconds"]) if kind in job.faults else 0.0
