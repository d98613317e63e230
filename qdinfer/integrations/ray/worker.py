"""What every worker of Ray's has: the student, loaded once, on one CPU."""

from __future__ import annotations

import os

from ...artifact import Artifact
from ...backends import Backend
from ...classifier import Classifier

__all__ = ["one_cpu_classifier"]


def one_cpu_classifier(artifact: Artifact, backend: str | Backend) -> Classifier:
    """The student for a process that Ray gave one CPU.

    Ray counts CPUs, but holds nobody to them. Workers that each start a thread on every core get into each other's way,
    and two of them are hardly faster than one.
    """
    # The tokenizer has no other setting, and looks at it in each call. The process is this worker's alone.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return Classifier(artifact, backend=backend, threads=1)
