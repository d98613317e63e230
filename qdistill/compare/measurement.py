"""What is measured of one contender and seed, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdinfer import __version__
from qdinfer.atomic import replacing
from qdinfer.errors import InputError
from qdinfer.session import available_cpus

from ..memory import peak_memory
from .contenders import Contender, Task
from .statistics import Hits

if TYPE_CHECKING:
    from ..recipe import Labelled

__all__ = ["FORMAT", "Measurement", "digest", "hits", "measure", "read_results", "texts_digest", "write_results"]

FORMAT = 1
_PASSES = 3  # over the test texts, for the time of one


class Measurement(BaseModel):
    """One training, measured on the test texts. None is what was not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    contender: str
    seed: int | None = Field(description="None for the teacher, which is not trained here")
    correct: str = Field(pattern="^[01]+$", description="1 for each test text whose label was found, else 0")
    trained_parameters: int | None = None
    disk_bytes: int | None = None
    peak_memory: int | None = Field(None, description="bytes, of the process that trained and then labelled")
    training_seconds: float | None = Field(None, description="from the texts to what can be deployed")
    milliseconds: float | None = Field(None, description="a text, all test texts at once")
    made_with: str | None = Field(None, description="programs, their versions, and what they ran on")


def measure(name: str, contender: Contender, task: Task, test: Labelled) -> Measurement:
    """Train and measure in this process.

    Raises:
        InputError: texts or settings that it cannot be trained with.
    """
    settings = contender.settings(task.config, task.transformer)
    if settings is None:
        raise InputError(f"{name}: found no transformer to train; expected its folder")
    start = time.perf_counter()
    fitted = contender.fit(task, settings)
    seconds = time.perf_counter() - start
    found = list(fitted.predict(test.texts))
    return Measurement(
        contender=name,
        seed=task.config.seed,
        correct="".join(str(int(a == b)) for a, b in zip(found, test.labels, strict=True)),
        trained_parameters=fitted.trained_parameters,
        disk_bytes=fitted.disk_bytes,
        milliseconds=1000 * _seconds(fitted.predict, test.texts) / len(test.texts),
        training_seconds=seconds,
        peak_memory=peak_memory(),
        made_with=_made_with(),
    )


def _made_with() -> str:
    names = ("jax", "torch", "onnxruntime", "scikit-learn")
    packages = [f"{name} {found}" for name in names if (found := _version(name))]
    cores = f"{available_cpus()} core" + "s" * (available_cpus() > 1)
    python = f"Python {platform.python_version()}"
    return ", ".join([f"qdistill {__version__}", python, *packages, f"on {cores} ({platform.machine()})"])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # not all contenders need all
        return None


def hits(measurements: Sequence[Measurement]) -> Hits:
    """(S, N) from S measurements on the same texts."""
    return np.array([[mark == "1" for mark in each.correct] for each in measurements])


def digest(value: object) -> str:
    """The SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def texts_digest(labelled: Labelled, test: Labelled) -> str:
    """What tells these texts and labels from others."""
    return digest([*labelled, *test])


def read_results(path: Path) -> dict[str, Measurement]:
    """What was measured so far, by its key; nothing if there is no file.

    Raises:
        InputError: it is not such a file.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        number = content["format"]
        if number == FORMAT:
            return {key: Measurement.model_validate(value) for key, value in content["results"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise InputError(f"{path}: found no results of a comparison; expected what `qdistill compare` wrote") from error
    raise InputError(f"{path}: found format {number}; expected {FORMAT}; a newer qdistill may read it")


def write_results(path: Path, results: Mapping[str, Measurement]) -> None:
    """Replace the file by this."""
    content = {"format": FORMAT, "results": {key: value.model_dump() for key, value in results.items()}}
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def _seconds(predict: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """The median of a few passes."""
    times = []
    for _ in range(_PASSES):
        start = time.perf_counter()
        predict(texts)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
