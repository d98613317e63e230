"""What a run will cost, before anything is submitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..backends.base import MAX_SHOTS
from ..backends.isa import execution_seconds
from ..backends.runtime import RuntimeBackend
from ..circuit import Circuit
from ..errors import whole_number

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """What a run takes of a device.

    Attributes:
        device: its name.
        texts: how many.
        shots: of each text, over all rounds; twirled, a multiple of the randomizations in each.
        jobs: in how many jobs.
        executions: texts × shots, with those of the calibrations.
        execution_seconds: of one execution: repetition delay, initialization and circuit.
        seconds: of the quantum computer, for all jobs: 2 s each, and the executions
            (https://quantum.cloud.ibm.com/docs/guides/estimate-job-run-time).
    """

    device: str
    texts: int
    shots: int
    jobs: int
    executions: int
    execution_seconds: float
    seconds: float


def estimate(backend: RuntimeBackend, circuit: Circuit, texts: int, shots: int | Sequence[int]) -> Estimate:
    """Work out what a run will cost, from the device's own repetition delay and durations.

    Args:
        backend: the device and the settings.
        circuit: the trained circuit.
        texts: how many.
        shots: of each text; round by round, where they are a budget, as `AutoShots.rounds`.

    Raises:
        InputError: numbers out of range.
        BackendError: the device cannot run the circuit, does not tell its times, or cannot be reached.
    """
    texts = whole_number("texts", texts, 0, 2**40)
    rounds = shots if isinstance(shots, Sequence) else [shots]
    run = [backend.settings.shots(whole_number("shots", asked, 1, MAX_SHOTS)) for asked in rounds]
    prepared = backend.prepare(circuit)
    if math.isnan(prepared.seconds):
        execution_seconds(prepared.isa, backend.device())  # raises, with what is missing
    jobs = [(rows, each) for each in run for rows in _cut(texts, prepared.rows_per_job(each, backend.limits))]
    return Estimate(
        device=prepared.device,
        texts=texts,
        shots=sum(run),
        jobs=len(jobs),
        executions=sum(prepared.executions(rows, each) for rows, each in jobs),
        execution_seconds=prepared.seconds,
        seconds=sum(prepared.job_seconds(rows, each) for rows, each in jobs),
    )


def _cut(texts: int, most: int) -> list[int]:
    return [most] * (texts // most) + [texts % most] * bool(texts % most)
