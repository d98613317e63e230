"""All trainings of a comparison, one process after the other."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qdinfer.errors import InputError, QdinferError
from qdinfer.evaluation import check_labels
from qdinfer.predictions import FloatArray

from ..recipe import Labelled
from ..teachers import TeacherLabels
from ..train import class_numbers
from .contenders import CONTENDERS, Task
from .job import Job
from .measurement import Measurement, digest, read_results, write_results

__all__ = ["recorded", "run"]

_MOST_SEEDS = 100  # that are looked for in results


def run(
    job: Job, seeds: Sequence[int], results_file: Path, *, say: Callable[[str], None]
) -> Mapping[str, list[Measurement]]:
    """Train and measure what the results do not have yet, and add it to them one by one.

    Args:
        job: texts and settings.
        seeds: each trains every contender that depends on one.
        results_file: made if it is not there, and its folder too.
        say: is told of every training that ended.

    Returns:
        Contender → its measurements, in the order of the table. One that the job has no transformer or teacher for is
        left out.

    Raises:
        InputError: texts, labels or settings that cannot be trained on, found before the first training.
        QdinferError: a training failed; what was measured before is in the results.
    """
    task, test = job.task(), job.test_texts()
    names = _check(job, task, test)
    results = read_results(results_file)
    plan = _plan(job, task, test, seeds)
    results_file.parent.mkdir(exist_ok=True)
    for number, (key, (contender, its_job)) in enumerate(plan.items(), start=1):
        if key not in results:
            start = time.perf_counter()
            results[key] = _in_own_process(its_job, contender)
            write_results(results_file, results)
            accuracy = results[key].correct.count("1") / len(test.texts)
            seed = f", seed {its_job.config.seed}" if CONTENDERS[contender].seeded else ""
            seconds = time.perf_counter() - start
            say(f"{number} of {len(plan)}: {contender}{seed}: accuracy {accuracy:.4f}, {seconds:.0f} s")
    return _gathered(plan, results, task, test, names)


def recorded(job: Job, results_file: Path) -> Mapping[str, list[Measurement]]:
    """What a comparison has measured of this very student, seed included, and of those beside it.

    Raises:
        InputError: nothing: it was made with other texts or settings.
        OSError: a file cannot be read.
    """
    task, test = job.task(), job.test_texts()
    names = _check(job, task, test)
    results = read_results(results_file)
    plan = {key: value for key, value in _plan(job, task, test, range(_MOST_SEEDS)).items() if key in results}
    if ("student", job.config.seed) not in {(name, its_job.config.seed) for name, its_job in plan.values()}:
        raise InputError(
            f"{results_file}: found no training of this student; expected one with the same texts, settings and seed "
            f"{job.config.seed}, as `qdistill compare` makes it with the same options"
        )
    return _gathered(plan, results, task, test, names)


def _check(job: Job, task: Task, test: Labelled) -> Sequence[str]:
    """The classes, if all can be trained and measured."""
    names, _ = class_numbers(*task.labelled)
    check_labels(names, test.labels, f"{job.test} row")
    if task.unlabelled and task.teacher is None:
        raise InputError("--unlabelled: found no --teacher; expected the file with what one said of these texts")
    if task.teacher is not None:
        task.teacher.lookup([*task.labelled.texts, *task.unlabelled, *test.texts], names)
    return names


def _plan(job: Job, task: Task, test: Labelled, seeds: Sequence[int]) -> dict[str, tuple[str, Job]]:
    """The key of each training → contender and job. The key is the digest of everything that decides the result."""
    teacher = dict(task.teacher.teacher) if task.teacher else None
    data = digest([*task.labelled, *test, list(task.unlabelled), teacher])
    plan: dict[str, tuple[str, Job]] = {}
    for seed in seeds:
        its_job = job.with_seed(seed)
        for name, contender in CONTENDERS.items():
            settings = contender.settings(its_job.config, job.transformer)
            if settings is not None:
                decides = settings.flat() if contender.seeded else None
                plan.setdefault(digest([name, data, decides]), (name, its_job))
    return plan


def _gathered(
    plan: Mapping[str, tuple[str, Job]],
    results: Mapping[str, Measurement],
    task: Task,
    test: Labelled,
    names: Sequence[str],
) -> dict[str, list[Measurement]]:
    """Contender → its measurements, the student first."""
    found: dict[str, list[Measurement]] = {}
    for key, (contender, _) in plan.items():
        found.setdefault(contender, []).append(results[key])
    if task.teacher is not None:
        found["teacher"] = [_teacher(task.teacher, test, names)]
    return found


def _in_own_process(job: Job, contender: str) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(job.model_dump_json(), "utf-8")
        command = [sys.executable, "-m", "qdistill.compare.worker", str(job_file), contender, str(result_file)]
        done = subprocess.run(command, check=False)
        if done.returncode or not result_file.is_file():
            raise QdinferError(
                f"{contender}, seed {job.config.seed}: its process ended with code {done.returncode}; what is measured "
                "so far is kept: see the message above, and run the same command again"
            )
        return Measurement.model_validate_json(result_file.read_bytes())


def _teacher(teacher: TeacherLabels, test: Labelled, names: Sequence[str]) -> Measurement:
    """Its file, read as answers to the test texts; what it took, as in the file's last run."""
    answers: FloatArray = teacher.lookup(test.texts, names)
    cost = teacher.costs[-1] if teacher.costs else None
    return Measurement(
        contender="teacher",
        seed=None,
        correct="".join(
            str(int(names[i] == label)) for i, label in zip(answers.argmax(axis=1), test.labels, strict=True)
        ),
        disk_bytes=cost.disk_bytes if cost else None,
        peak_memory=cost.peak_memory if cost else None,
        training_seconds=cost.setup_seconds if cost else None,
        milliseconds=1000 * cost.seconds / cost.texts if cost else None,
    )
