"""Throughput of a student on Ray against workers, beside one process, for a file of texts.

    python -m benchmarks.scaling exported_models/topic topic_test.csv
    python -m benchmarks.scaling exported_models/topic-folded topic_test.csv --texts 200000

The cluster is this machine. A whole job is from a table in memory to the last row that came back, the start of the
workers included; its end is what comes after as many batches as there are workers, when all are at work. All are asked
in turn, round by round; a ratio is that of one round. Medians, with the quartiles in brackets. Memory is what is a
process's own, without what it shares with others.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from qdinfer import Classifier, TruncationWarning
from qdinfer.integrations.ray import classify_dataset
from qdinfer.tabular import column, read_table

from .results import BenchmarkError, setting
from .statistics import ratios, spread
from .workers import in_turn

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Job", "Seen", "alone", "check", "main", "on_ray"]

PACKAGES = ("onnxruntime", "tokenizers", "ray", "pyarrow")
_AGREE = 0.999  # share of labels that must be those of one process: near a tie, another batch may change one


class Job(NamedTuple):
    """What is done in every round."""

    student: str
    texts: Sequence[str]
    labels: Sequence[str]
    batch_size: int


class Seen(NamedTuple):
    """What was noticed of a job on Ray.

    Attributes:
        rate: texts a second, when all workers were at work.
        first: seconds to the first batch.
        worker: bytes of the largest worker.
        others: bytes of all of Ray's other processes.
    """

    rate: float
    first: float
    worker: int
    others: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("file", help="csv or jsonl with a column `text`, used over and over")
    parser.add_argument("--texts", type=int, default=4096, metavar="N", help="of one job (default: 4096)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="(default: 1 2)")
    parser.add_argument("--batch-size", type=int, default=128, metavar="N", help="(default: 128)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: 5)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", TruncationWarning)
    found = column(read_table(arguments.file, columns=["text"]), "text")
    labels = Classifier.load(arguments.student).predict(found).tolist()
    texts, labels = (list(itertools.islice(itertools.cycle(each), arguments.texts)) for each in (found, labels))
    job = Job(arguments.student, texts, labels, arguments.batch_size)
    about = setting("", arguments.rounds, PACKAGES)
    seen: dict[str, list[Seen]] = {}
    askers: dict[str, Callable[[], float]] = {
        "one process, 1 thread": partial(alone, job, 1),
        f"one process, {about.cores} threads": partial(alone, job, None),
    }
    for workers in arguments.workers:
        name = f"Ray, {workers} worker{'s' * (workers > 1)}"
        askers[name] = partial(on_ray, job, workers, seen.setdefault(name, []))
    _start_ray(max(arguments.workers) + 1)
    with tqdm(total=arguments.rounds * len(askers), disable=None) as bar:
        times = in_turn(askers, arguments.rounds, step=partial(bar.update, 1))
    print(f"{arguments.student}: {len(texts)} texts, {job.batch_size} a batch, {arguments.rounds} rounds")
    _print_table(times, seen, len(texts))
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    print(f"{about.cores} cores of {about.cpu}, load {about.load:.1f} before; {versions}")


def _start_ray(cpus: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False


def alone(job: Job, threads: int | None) -> float:
    """Seconds, with the student loaded before."""
    classifier = Classifier.load(job.student, threads=threads)
    classifier.predict(job.texts[: job.batch_size])
    before = os.environ.pop("TOKENIZERS_PARALLELISM", None)
    if threads == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        start = time.perf_counter()
        for _ in classifier.stream(job.texts, chunk_size=job.batch_size):
            pass
        return time.perf_counter() - start
    finally:
        os.environ.pop("TOKENIZERS_PARALLELISM", None)
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def on_ray(job: Job, workers: int, seen: list[Seen]) -> float:
    """Seconds, with the cluster started before."""
    import pyarrow
    import ray.data

    table = pyarrow.table({"id": range(len(job.texts)), "text": job.texts})
    parts: list[pyarrow.Table] = []
    arrivals: list[float] = []
    memory = (0, 0)
    start = time.perf_counter()
    dataset = ray.data.from_arrow(table)
    labelled = classify_dataset(dataset, job.student, workers=workers, batch_size=job.batch_size)
    for part in labelled.iter_batches(batch_size=None, batch_format="pyarrow"):
        parts.append(part)
        arrivals.append(time.perf_counter() - start)
        if sum(map(len, parts)) <= len(job.texts) / 2:
            memory = _memory()
    check(job, parts)
    rows = sum(map(len, parts[workers:]))
    seen.append(Seen(rows / (arrivals[-1] - arrivals[workers - 1]), arrivals[0], *memory))
    return arrivals[-1]


def _memory() -> tuple[int, int]:
    """Of the largest worker, and of all of Ray's other processes."""
    import psutil

    sizes = {True: [0], False: [0]}
    for process in psutil.Process().children(recursive=True):
        try:
            sizes["StudentWorker" in " ".join(process.cmdline())].append(process.memory_full_info().uss)
        except psutil.Error:  # it ended meanwhile
            continue
    return max(sizes[True]), sum(sizes[False])


def check(job: Job, parts: Sequence[pyarrow.Table]) -> None:
    """See that every row came back once, with its label."""
    import pyarrow

    found = pyarrow.concat_tables(parts).sort_by("id")
    if found["id"].to_pylist() != list(range(len(job.texts))):
        raise BenchmarkError(f"found {len(found)} rows; expected each of {len(job.texts)} once")
    same = sum(map(str.__eq__, found["prediction"].to_pylist(), job.labels))
    if same < _AGREE * len(job.texts):
        raise BenchmarkError(f"found {same} of {len(job.texts)} labels to be those of one process; expected nearly all")


def _print_table(times: dict[str, list[float]], seen: dict[str, list[Seen]], texts: int) -> None:
    whole = {name: [texts / each for each in seconds] for name, seconds in times.items()}
    end = {name: [each.rate for each in seen[name]] if name in seen else rates for name, rates in whole.items()}
    base = next(iter(seen))
    print(f"{'':<23} {'texts a second, whole job':>43} {'and at its end':>43}  first batch  a worker  rest of Ray")
    for name in times:
        line = f"{name:<23} {_beside(whole, name, base):>43} {_beside(end, name, base):>43}"
        if name in seen:
            first = spread([each.first for each in seen[name]]).median
            worker, others = (max(each[i] for each in seen[name]) / 1e6 for i in (2, 3))
            line += f" {first:>10.1f} s {worker:>6.0f} MB {others:>9.0f} MB"
        print(line)


def _beside(rates: dict[str, list[float]], name: str, base: str) -> str:
    rate = spread(rates[name])
    shown = f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})"
    if name == base:
        return f"{shown:<21} {'':<20}"
    ratio = ratios(rates[name], rates[base])
    return f"{shown:<21} {f'{ratio.median:.2f} × ({ratio.low:.2f} to {ratio.high:.2f})':<20}"


if __name__ == "__main__":
    main()
