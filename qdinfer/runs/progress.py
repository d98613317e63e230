"""How a run stands, from its journal alone."""

from __future__ import annotations

from dataclasses import dataclass

from .journal import Journal

__all__ = ["Progress", "progress_of"]


@dataclass(frozen=True)
class Progress:
    """How a run stands.

    Attributes:
        texts: of the run.
        round: 0; with `AutoShots`, the number of the last round.
        waiting: chunks of texts without a job.
        queued: jobs in the service's queue.
        running: jobs on the quantum computer.
        done: chunks whose results are in the journal.
        seconds_used: of the quantum computer, as charged; what is not charged yet counts as estimated.
        seconds_estimated: of all jobs that are planned, estimated before they ran.
    """

    texts: int
    round: int
    waiting: int
    queued: int
    running: int
    done: int
    seconds_used: float
    seconds_estimated: float

    @property
    def complete(self) -> bool:
        """Whether nothing is left to submit or to wait for in this round."""
        return not (self.waiting or self.queued or self.running)


def progress_of(journal: Journal) -> Progress:
    """How the run of a journal stands."""
    jobs = {job.id: job for job in journal.jobs()}
    of_chunk = {chunk: jobs[job].status for chunk, job in journal.chunk_jobs().items() if job in jobs}
    everything = [chunk for chunk in journal.chunks() if chunk.id not in {c.id for c in journal.chunks("split")}]
    estimates = {chunk.id: chunk.seconds for chunk in journal.chunks()}
    used = 0.0
    for job in jobs.values():
        if job.usage is not None:
            used += job.usage
        elif job.status in ("DONE", "ERROR", "CANCELLED"):  # what ran of it is charged
            used += estimates.get(job.chunk, 0.0)
    running = sum(status == "RUNNING" for status in of_chunk.values())
    return Progress(
        texts=len(journal.hashes),
        round=max((chunk.round for chunk in everything), default=0),
        waiting=len(journal.chunks("planned", "asked")),
        queued=len(of_chunk) - running,
        running=running,
        done=len(journal.chunks("done")),
        seconds_used=used,
        seconds_estimated=sum(chunk.seconds for chunk in everything),
    )
