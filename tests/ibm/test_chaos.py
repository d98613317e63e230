"""Durable runs against a service where anything may go wrong at any time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from durable import QUICK, SMALL_AT_STANDIN, check_paid_once, check_predictions
from durable import open_on_small as open_run
from ibm_standin import StandIn

from qdinfer import BackendError, Classifier
from qdinfer.backends.ibm_client import Patience

PATIENCE = Patience(**(QUICK.__dict__ | {"call": 0.8, "submission": 2.0, "grace": 1.2, "attempts": 4}))
PATHS = ("^/jobs$", "^/jobs", "/results$", "/metrics$", "^/sessions", "^/backends", "^/instances", "")

DEVICES = [SMALL_AT_STANDIN]


def random_fault(rng: random.Random) -> dict[str, Any]:
    fault: dict[str, Any] = {
        "kind": rng.choice(["status", "status", "drop", "stall", "cut"]),
        "method": rng.choice(["POST", "GET", "GET", "PATCH"]),
        "path": rng.choice(PATHS),
        "after": rng.randrange(6),
        "count": rng.randrange(1, 4),
        "when": rng.choice(["before", "after"]),
    }
    if fault["kind"] == "status":
        fault["status"] = rng.choice([401, 429, 500, 502, 503, 504, 520])
    if fault["kind"] == "stall":
        fault["seconds"] = 1.0
    return fault


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_every_text_once_and_no_job_too_many(
    seed: int, standin: StandIn, classifier: Classifier, tmp_path: Path
) -> None:
    """Whatever faults there are; where the run gives up, the same call follows."""
    rng = random.Random(seed)
    standin.fault("slow_run", seconds=0.05, count=None)
    standin.fault("slow_queue", seconds=rng.choice([0.0, 0.3]), count=None)
    if rng.random() < 0.3:
        standin.fault("close_session", jobs=2)
    faults = [random_fault(rng) for _ in range(rng.randrange(1, 6))]
    for fault in faults:
        standin.fault(**fault)
    for _ in range(20):
        try:
            with open_run(tmp_path / "run.db", classifier, patience=PATIENCE) as run:
                predictions = run.wait()
        except BackendError:
            continue
        break
    check_predictions(predictions, classifier)
    repeated = sum(fault["method"] == "POST" and fault["when"] == "after" for fault in faults)
    check_paid_once(standin, doubles=3 * repeated)
