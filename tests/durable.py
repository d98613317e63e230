"""What tests of durable runs share: a student, texts, patience that is short, and the check that matters."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ibm_standin import StandIn

from qdinfer import Classifier, Predictions
from qdinfer.backends.ibm_client import Patience
from qdinfer.backends.runtime import RuntimeBackend
from qdinfer.backends.settings import Limits, RuntimeSettings
from qdinfer.runs import Run

WORDS = ("sun", "rain", "goal", "match", "bank", "share", "star", "code")
TEXTS = [f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} {WORDS[i // 3 % 8]}" for i in range(40)]
SHOTS = 200
QUICK = Patience(
    call=10.0, first_delay=0.02, longest_delay=0.1, grace=0.3, poll=0.02, jobs_per_minute=10_000, pending=4
)


class Notes(list[str]):
    """What the user would have been told."""

    def has(self, text: str) -> bool:
        return any(text in note for note in self)


SMALL, SMALL_AT_STANDIN = "fake_lagos", "FakeLagosV2"
"""A device of 7 qubits, for runs where the device does not matter: the client reads it in a fraction of the time."""


def backend(notes: list[str] | None = None, *, device: str = "fake_fez", **options: Any) -> RuntimeBackend:
    """A device at the stand-in, 10 texts a job."""
    settings = {name: options.pop(name) for name in list(options) if name in RuntimeSettings.__dataclass_fields__}
    given = {"limits": Limits(executions=10 * SHOTS), "patience": QUICK} | options
    told = notes if notes is not None else Notes()
    return RuntimeBackend(device, settings=RuntimeSettings(**settings), note=told.append, **given)


def open_run(path: Path, classifier: Classifier, texts: list[str] = TEXTS, **options: Any) -> Run:
    notes = options.pop("notes", None)
    named = {name: options.pop(name) for name in ("name", "max_qpu_seconds") if name in options}
    shots = options.pop("shots", SHOTS)
    return Run.open(path, classifier, texts, backend(notes, **options), shots=shots, **named)


open_on_small = partial(open_run, device=SMALL)


def check_predictions(predictions: Predictions, classifier: Classifier, texts: list[str] = TEXTS) -> None:
    """Every text once, in its place, and right within shot noise."""
    exact = classifier.classify(texts).expectations.values
    found = predictions.expectations
    assert len(predictions) == len(texts)
    z = (found.values - exact) / found.standard_errors
    assert np.abs(z).max() < 5
    assert np.sqrt(np.mean(z**2)) < 1.3


def check_paid_once(server: StandIn, *, doubles: int = 0, chunks: int = 4) -> None:
    """No chunk was executed twice, but for doubles that the service made; and those are not left running."""
    jobs = server.jobs()
    executed = Counter(tag for job in jobs if job.runs for tag in job.tags if not tag.startswith("qdinfer-run-"))
    assert len(executed) == chunks
    assert sum(executed.values()) - chunks <= doubles
    assert all(job.final for job in jobs)
