"""Store a journal of the current format, for every later version to open: run once per format, never again.

    PYTHONPATH=.:tests python tests/artifacts/make_journal.py

It writes ``tests/artifacts/journalN.db``, a complete run of the student in ``tests/artifacts/format1`` on the stand-in,
with a budget of shots and readout mitigation, and what it answered beside it, and refuses to replace them.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from durable import QUICK
from ibm_standin import StandIn

from qdinfer import Classifier, RuntimeBackend, RuntimeSettings
from qdinfer.runs import AutoShots, Run
from qdinfer.runs.journal import FORMAT

HERE = Path(__file__).parent
TEXTS = ["sun rain", "goal match goal", "bank share", "", "star code sun"]
SHOTS = AutoShots(confidence=0.99, max_shots=512, first_shots=64)
SETTINGS = RuntimeSettings(mitigate_readout=True)

if __name__ == "__main__":
    path = HERE / f"journal{FORMAT}.db"
    if path.exists():
        raise SystemExit(f"{path}: found it already; a stored journal is never made again")
    classifier = Classifier.load(HERE / "format1")
    with StandIn(tempfile.mkdtemp(), ["FakeFez:readout"]) as server:
        os.environ.update(server.environment())
        backend = RuntimeBackend("fake_fez", settings=SETTINGS, patience=QUICK)
        with Run.open(path, classifier, TEXTS, backend, shots=SHOTS) as run:
            predictions = run.wait()
    answers = {
        "labels": predictions.labels.tolist(),
        "probabilities": predictions.probabilities.tolist(),
        "standard_errors": predictions.standard_errors.tolist(),
        "confidence": predictions.confidence.tolist(),
        "shots": predictions.shots.tolist(),
    }
    path.with_suffix(".json").write_text(json.dumps(answers, indent=1) + "\n")
