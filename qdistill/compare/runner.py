"""All trainings of a comparison, one process after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qdinfer.errors import InputError, QdinferError
from qdinfer.evaluation import check_labels
from qdinfer.lock import hold
from qdinfer.predictions import FloatArray

from ..model_files import files_digest, transformer_files
from ..recipe import Labelled, check_names
from ..teachers import TeacherLabels
from ..train import class_numbers
from .contenders import CONTENDERS, Task
from .job import Job
from .measurement import Measurement, digest, read_results, texts_digest, write_results

__all__ = ["recorded", "run"]

_LEAST_SEEDS = 3


def run(
    job: Job, seeds: Sequence[int], results_file: Path, *, say: Callable[[str], None]
) -> Mapping[str, list[Measurement]]:
    """Train and measure what the results do not have yet, and add it to them one by one.

    Args:
        job: texts and settings.
        seeds: each trains all contenders, but for those that are trained once.
        results_file: made if it is not there, and its folder too.
        say: is told of every training that ended.

    Returns:
        Contender → its measurements, in the order of the table. One that the job has no transformer or teacher for is
        left out.

    Raises:
        InputError: texts, labels or settings that cannot be trained on, found before the first training; or another
            process writes to the folder.
        QdinferError: a training failed; what was measured before is in the results.
        OSError: a file cannot be read or written.
    """
    read = _Read.of(job)
    results_file.parent.mkdir(exist_ok=True)
    folder = os.open(results_file.parent, os.O_RDONLY)
    try:
        hold(folder, results_file.parent)
        results = read_results(results_file)
        plan = read.plan(seeds)
        for number, (key, (contender, its_job)) in enumerate(plan.items(), start=1):
            if key not in results:
                start = time.perf_counter()
                results[key] = _in_own_process(its_job, contender, read.data)
                write_results(results_file, results)
                accuracy = results[key].correct.count("1") / len(read.test.texts)
                seconds, seed = time.perf_counter() - start, its_job.config.seed
                say(f"{number} of {len(plan)}: {contender}, seed {seed}: accuracy {accuracy:.4f}, {seconds:.0f} s")
    finally:
        os.close(folder)
    return read.gathered(plan, results)


def recorded(job: Job, results_file: Path) -> Mapping[str, list[Measurement]]:
    """What a comparison has measured of this very student, seed included, and of those beside it.

    Raises:
        InputError: there is no comparison, it was made with other texts or settings, or it did not come to its end.
        OSError: a file cannot be read.
    """
    read = _Read.of(job)
    if not results_file.is_file():
        raise InputError(f"{results_file}: found no file there; expected what `qdistill compare` wrote")
    results = read_results(results_file)
    done = 0
    while read.plan(range(done + 1)).keys() <= results.keys():
        done += 1
    if not job.config.seed < done >= _LEAST_SEEDS:
        raise InputError(
            f"{results_file}: found {done} seeds of this student and of those beside it; expected {_LEAST_SEEDS} or "
            f"more, and more than {job.config.seed}, with the same texts and settings; `qdistill compare` makes them"
        )
    return read.gathered(read.plan(range(done)), results)


@dataclass(frozen=True)
class _Read:
    """A job with its files read, and found fit for training."""

    job: Job
    task: Task
    test: Labelled
    names: Sequence[str]  # the classes
    data: str  # digest of all labelled texts
    lesson: str  # digest of what the teacher said
    model: str | None  # digest of the transformer

    @classmethod
    def of(cls, job: Job) -> _Read:
        task, test = job.task(), job.test_texts()
        names, _ = class_numbers(*task.labelled)
        check_names("student", names)
        check_labels(names, test.labels, f"{job.test} row")
        if task.unlabelled and task.teacher is None:
            raise InputError("--unlabelled: found no --teacher; expected the file with what one said of these texts")
        lesson: list[object] = []
        if task.teacher is not None:
            texts = [*task.labelled.texts, *task.unlabelled]
            lesson = [texts, task.teacher.lookup(texts, names).tolist()]
            task.teacher.lookup(test.texts, names)
        model = None
        if job.transformer is not None:
            model = files_digest(transformer_files(job.transformer))
        return cls(job, task, test, names, texts_digest(task.labelled, test), digest(lesson), model)

    def plan(self, seeds: Sequence[int]) -> dict[str, tuple[str, Job]]:
        """The key of each training → contender and job. The key is the digest of everything that decides the result."""
        plan: dict[str, tuple[str, Job]] = {}
        for seed in seeds:
            its_job = self.job.with_seed(seed)
            for name, contender in CONTENDERS.items():
                settings = contender.settings(its_job.config, self.job.transformer)
                if settings is not None and not (contender.once and seed != seeds[0]):
                    decides: list[object] = [name, self.data, settings.flat()]
                    decides += [self.model] if settings.encoder.kind == "transformer" else []
                    decides += [self.lesson] if contender.taught else []
                    plan[digest(decides)] = name, its_job
        return plan

    def gathered(
        self, plan: Mapping[str, tuple[str, Job]], results: Mapping[str, Measurement]
    ) -> dict[str, list[Measurement]]:
        """Contender → its measurements, the student first."""
        found: dict[str, list[Measurement]] = {}
        for key, (contender, _) in plan.items():
            found.setdefault(contender, []).append(results[key])
        if self.task.teacher is not None:
            found["teacher"] = [_teacher(self.task.teacher, self.test, self.names)]
        return found


def _in_own_process(job: Job, contender: str, data: str) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(job.model_dump_json(), "utf-8")
        # -P: no module of the current folder stands in for one of ours
        command = [
            sys.executable,
            "-P",
            "-m",
            "qdistill.compare.worker",
            str(job_file),
            contender,
            data,
            str(result_file),
        ]
        code = subprocess.run(command, check=False).returncode
        if code == 0 and result_file.is_file():
            return Measurement.model_validate_json(result_file.read_bytes())
    what = f"{contender}, seed {job.config.seed}"
    if code == 2:
        raise InputError(f"{what}: cannot be trained, see the message above; what is measured so far is kept")
    ended = f"was killed by signal {-code}, as happens when memory runs out" if code < 0 else f"ended with code {code}"
    raise QdinferError(
        f"{what}: its process {ended}; what is measured so far is kept, and the same command goes on from there"
    )


def _teacher(teacher: TeacherLabels, test: Labelled, names: Sequence[str]) -> Measurement:
    """Its file, read as answers to the test texts, and what its longest run took: known texts cost a probe nothing."""
    answers: FloatArray = teacher.lookup(test.texts, names)
    cost = max(teacher.costs, key=lambda each: each.seconds, default=None)
    marks = [names[i] == label for i, label in zip(answers.argmax(axis=1), test.labels, strict=True)]
    return Measurement(
        contender="teacher",
        seed=None,
        correct="".join("1" if mark else "0" for mark in marks),
        disk_bytes=cost.disk_bytes if cost else None,
        peak_memory=cost.peak_memory if cost else None,
        training_seconds=cost.setup_seconds if cost else None,
        milliseconds=1000 * cost.seconds / cost.texts if cost else None,
        made_with=None,
    )
