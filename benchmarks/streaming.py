"""A long stream of texts through one process: how fast, and whether its memory grows.

``python -m benchmarks.streaming STUDENT DATA TEXTS`` is that process; it prints a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from qdinfer import Classifier, TruncationWarning

from .corpus import Corpus
from .results import BenchmarkError, Sample, Setting, Streaming
from .workers import child_environment

__all__ = ["PACKAGES", "TEXTS", "measure_streaming"]

PACKAGES = ("numpy", "onnxruntime", "tokenizers")
TEXTS = 1_000_000
_SAMPLES = 50


def measure_streaming(setting: Setting, student: Path, data: Path, *, texts: int = TEXTS) -> Streaming:
    """Stream so many texts, those of the data over and over.

    Raises:
        BenchmarkError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.streaming", str(student), str(data), str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"streaming: its process ended with code {done.returncode}; it said:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    samples = [Sample(texts=number, memory=memory) for number, memory in found["samples"]]
    return Streaming(setting=setting, student=student.name, texts=texts, seconds=found["seconds"], samples=samples)


def main(student: str, data: str, texts: str) -> None:
    """Stream, and look at this process's memory on the way."""
    import psutil

    total, own = int(texts), psutil.Process()
    corpus = Corpus.read(data).texts
    classifier = Classifier.load(student)
    warnings.simplefilter("ignore", TruncationWarning)
    samples: list[tuple[int, int]] = []
    done = 0
    start = time.perf_counter()
    for part in classifier.stream(itertools.islice(itertools.cycle(corpus), total)):
        done += len(part)
        if done >= total * (len(samples) + 1) / _SAMPLES or done == total:
            samples.append((done, own.memory_info().rss))
    seconds = time.perf_counter() - start
    if done != total:
        raise BenchmarkError(f"streaming: found {done} predictions; expected {total}")
    print(json.dumps({"seconds": seconds, "samples": samples}))


if __name__ == "__main__":
    main(*sys.argv[1:])
