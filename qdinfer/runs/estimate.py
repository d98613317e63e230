"""What a run will cost, before anything is submitted."""

from __future__ import annotations

import math
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
        shots: of each text; twirled, a multiple of the randomizations.
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


def estimate(backend: RuntimeBackend, circuit: Circuit, texts: int, shots: int) -> Estimate:
    """Work out what a run will cost, from the device's own repetition delay and durations.

    Args:
        backend: the device and the settings.
        circuit: the trained circuit.
        texts: how many.
        shots: of each.

    Raises:
        InputError: numbers out of range.
        BackendError: the device cannot run the circuit, does not tell its times, or cannot be reached.
    """
    texts = whole_number("texts", texts, 0, 2**40)
    shots = backend.settings.shots(whole_number("shots", shots, 1, MAX_SHOTS))
    prepared = backend.prepare(circuit)
    if math.isnan(prepared.seconds):
        execution_seconds(prepared.isa, backend.device())  # raises, with what is missing
    most = prepared.rows_per_job(shots, backend.limits)
    rows = [most] * (texts // most) + [texts % most] * bool(texts % most)
    return Estimate(
        device=prepared.device,
        texts=texts,
        shots=shots,
        jobs=len(rows),
        executions=sum(prepared.executions(n, shots) for n in rows),
        execution_seconds=prepared.seconds,
        seconds=sum(prepared.job_seconds(n, shots) for n in rows),
    )
