"""A run whose process is killed, again and again."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durable import TEXTS
from ibm_standin import StandIn

import qdinfer

KILLS = 50
CHUNKS = 20
NURSERY = """
import json, os, signal, sys, time
import onnxruntime, qdinfer.runs, qiskit_ibm_runtime.executor_sampler, qiskit_qasm3_import, tokenizers
from qdinfer.cli import main
for line in sys.stdin:
    delay, arguments = json.loads(line)
    child = os.fork()
    if not child:
        sys.stderr = open(os.devnull, "w")
        os._exit(main(arguments))
    started = time.monotonic()
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < started + delay:
        time.sleep(0.002)
    if not ended[0]:
        os.kill(child, signal.SIGKILL)
        ended = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(ended[1]), flush=True)
"""
"""A process that has imported all that is slow to import, and forks one that runs a command and is killed.

Each command is a process of its own, with nothing of the last one's but the files."""


@pytest.fixture
def run_for(standin: StandIn) -> Iterator[Any]:
    """Run a command for so many seconds, then kill it; its exit code."""
    environment = os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        to, answers = nursery.stdin, nursery.stdout

        def run(arguments: list[str], seconds: float) -> int:
            to.write(json.dumps([seconds, arguments]) + "\n")
            to.flush()
            return int(answers.readline())

        yield run
        to.close()


@pytest.mark.slow
def test_killed_at_fifty_random_moments(run_for: Any, standin: StandIn, student_path: Path, tmp_path: Path) -> None:
    """Each time, the same command follows: no text lost, none twice, none paid for twice."""
    standin.fault("slow_run", seconds=0.3, count=None)
    texts = tmp_path / "texts.csv"
    texts.write_text("id,text\n" + "".join(f"{i},{text}\n" for i, text in enumerate(TEXTS)))
    rng = random.Random(1)
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        output = tmp_path / f"labelled{runs}.csv"
        command = ["predict", str(student_path), "--input", str(texts), "--output", str(output), "--shots", "50"]
        command += ["--backend", "ibm:fake_fez", "--journal", str(tmp_path / f"{runs}.db"), "--run-name", str(runs)]
        command += ["--max-executions", "100", "--jobs-per-minute", "100000", "--grace", "0.4", "--poll", "0.05"]
        while (code := run_for(command, rng.uniform(0.0, 1.2) if kills < KILLS else 60.0)) == -9:
            kills += 1
            assert not output.exists() or len(output.read_text().splitlines()) == 1 + len(TEXTS)
        assert code == 0
        with output.open() as file:
            rows = list(csv.DictReader(file))
        assert [row["id"] for row in rows] == [str(i) for i in range(len(TEXTS))]
        assert [row["text"] for row in rows] == TEXTS
        assert all(row["prediction"] for row in rows)
        jobs = standin.jobs()
        assert len(jobs) == CHUNKS * runs
        assert all(job.runs == 1 for job in jobs)
        assert sum(job.executed for job in jobs) == runs * len(TEXTS) * 50
    assert kills == KILLS
