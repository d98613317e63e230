"""Two hundred thousand texts go through in the memory of a few chunks, and in order."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import qdinfer
from qdinfer import Classifier

TEXTS = ["sun rain", "goal match goal", "bank share star", "", "code", "rain code star", "unheard of"]  # a prime number
MANY = 200_000
SETTLED = 40_000
GROWTH = 20 * 2**20

pytestmark = pytest.mark.slow


def many() -> Iterator[str]:
    return itertools.islice(itertools.cycle(TEXTS), MANY)


def test_a_stream_keeps_order_in_constant_memory(classifier: Classifier) -> None:
    own = psutil.Process()
    known = classifier.predict(TEXTS)
    assert len(set(known.tolist())) > 1
    expected = itertools.cycle(known.tolist())
    done, settled = 0, 0
    for chunk in classifier.stream(many()):
        assert chunk.labels.tolist() == list(itertools.islice(expected, len(chunk)))
        done += len(chunk)
        if not settled and done >= SETTLED:
            settled = own.memory_info().rss
    assert done == MANY
    assert own.memory_info().rss - settled < GROWTH


def test_the_command_keeps_order_in_constant_memory(classifier: Classifier, student_path: Path) -> None:
    known = dict(zip(TEXTS, classifier.predict(TEXTS).tolist(), strict=True))
    child = subprocess.Popen(
        [sys.executable, "-m", "qdinfer", "predict", str(student_path), "--input", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1])},
        text=True,
    )

    def feed() -> None:
        assert child.stdin is not None
        with child.stdin:
            child.stdin.write("id,text\n")
            child.stdin.writelines(f"{i},{text}\n" for i, text in enumerate(many()))

    feeder = threading.Thread(target=feed)
    feeder.start()
    sizes = []
    try:
        assert child.stdout is not None
        assert next(child.stdout) == "id,text,prediction\n"
        for i, (line, text) in enumerate(zip(child.stdout, many(), strict=True)):
            assert line == f"{i},{text},{known[text]}\n"
            if i in (SETTLED, MANY - 20_000):  # near the end, while it still runs
                sizes.append(psutil.Process(child.pid).memory_info().rss)
        assert child.wait(30) == 0
    finally:
        child.kill()
        feeder.join()
        child.stdout.close()
    assert np.diff(sizes)[0] < GROWTH


def test_parquet_goes_through_in_bounded_memory(classifier: Classifier, student_path: Path, tmp_path: Path) -> None:
    """The peak does not grow with the rows, although all of them are one row group that no codec makes smaller."""
    known = dict(zip(TEXTS, classifier.predict(TEXTS).tolist(), strict=True))
    code = "import sys; from qdinfer.cli import main; main(sys.argv[1:]); print(open('/proc/self/status').read())"
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    peaks = []
    for rows in (MANY // 2, MANY):
        texts = list(itertools.islice(many(), rows))
        noise = os.urandom(300 * rows).hex()
        notes = [noise[i : i + 600] for i in range(0, len(noise), 600)]
        table = pa.table({"n": range(rows), "text": texts, "note": notes})
        pq.write_table(table, source, row_group_size=rows, use_dictionary=False)
        del noise, notes
        done = subprocess.run(
            [sys.executable, "-c", code, "predict", student_path, "--input", source, "--output", target],
            env=os.environ | {"PYTHONPATH": str(Path(qdinfer.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
        peaks.append(int(peak) * 1024)
        found = pq.read_table(target)
        assert found.drop_columns(["prediction"]).equals(table)
        assert found["prediction"].to_pylist() == [known[text] for text in texts]
        assert pq.read_metadata(target).num_row_groups > 1
    assert peaks[1] - peaks[0] < GROWTH, f"the file grew by {MANY // 2 * 600 / 2**20:.0f} MB"
