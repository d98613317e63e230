"""What the service refuses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ibm_standin.store import Query, Store, stamp


class RefusalError(Exception):
    """The service says no. The client looks at the status alone: the code in the body need not be the real one."""

    def __init__(self, status: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


@dataclass(frozen=True)
class Limits:
    """The limits of job creation; None is no limit.

    Attributes:
        creations_a_minute: jobs that may be created in 60 seconds.
        pending_jobs: jobs that may be queued or running.
        executions_a_job: shots × circuits.
        usage_seconds: of the instance, over all its jobs.
    """

    creations_a_minute: int | None = None
    pending_jobs: int | None = None
    executions_a_job: int | None = None
    usage_seconds: float | None = None

    def refusal(self, store: Store, executions: int) -> RefusalError | None:
        """Why a job of so many executions is not created now, if it is not. The usage is the service's to know."""
        recent = stamp(datetime.now(UTC) - timedelta(seconds=60))
        most = self.creations_a_minute
        if most is not None and store.count(Query(["created > ?"], [recent])) >= most:
            return RefusalError(429, 1202, f"Too many requests received: the limit is {most} per minute.", 60)
        most = self.pending_jobs
        if most is not None and store.count(Query(["status IN ('Queued', 'Running')"])) >= most:
            return RefusalError(429, 1251, f"You have reached the limit of {most} pending jobs.")
        most = self.executions_a_job
        if most is not None and executions > most:
            return RefusalError(400, 1252, f"found {executions} executions in the job, expected at most {most}")
        return None
