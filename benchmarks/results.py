"""What was measured, part by part, and the file that keeps it: the page is made from this and nothing else."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdinfer.atomic import replacing
from qdinfer.errors import InputError, MissingExtraError, QdinferError
from qdinfer.session import available_cpus

__all__ = [
    "BenchmarkError",
    "Cell",
    "Circuits",
    "Compiling",
    "Contender",
    "Engine",
    "Results",
    "Sample",
    "Setting",
    "Start",
    "Startup",
    "Streaming",
    "Texts",
    "Timing",
    "read_results",
    "setting",
    "write_results",
]

FORMAT = 1


class BenchmarkError(QdinferError, RuntimeError):
    """A process that was measured died, or one that computes something else than the others."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Setting(_Model):
    """What one part was measured on and with."""

    cpu: str
    cores: int = Field(description="that the processes could use")
    system: str
    versions: dict[str, str] = Field(description="of Python and the packages")
    load: float = Field(description="processes that were running in the minute before, on average: 0 is quiet")
    command: str
    rounds: int = Field(description="how often each was timed")


class Engine(_Model):
    """One way to evaluate the circuit, and how far its values are from ours."""

    name: str
    title: str
    note: str
    difference: float = Field(description="the largest between its values and ours")
    tolerance: float = Field(description="what the difference may be")


class Timing(_Model):
    """One engine at one batch size."""

    engine: str
    batch: int
    rows: int = Field(description="of one call: fewer than the batch where that would take too long")
    seconds: list[float] = Field(description="of one call, one a round")

    @property
    def a_text(self) -> list[float]:
        """Seconds a text, one a round."""
        return [each / self.rows for each in self.seconds]


class Circuits(_Model):
    """All engines on one circuit."""

    setting: Setting
    student: str
    qubits: int
    gates: int
    checked_rows: int
    engines: list[Engine]
    timings: list[Timing]
    accuracy_rows: int
    largest_error: float = Field(description="of the exact engine against a statevector")
    mean_error: float


class Contender(_Model):
    """One way from texts to labels, or a part of that way."""

    name: str
    title: str
    note: str
    agrees: str = Field(description="with ours, in words; empty where it is another classifier")
    texts: int = Field(description="of one call")
    seconds: list[float] = Field(description="of one call, one a round")
    hits: int | None = Field(description="test texts whose label it finds; None where it gives no labels")

    @property
    def a_text(self) -> list[float]:
        """Seconds a text, one a round."""
        return [each / self.texts for each in self.seconds]


class Texts(_Model):
    """All contenders on the same texts."""

    setting: Setting
    test_texts: int
    contenders: list[Contender]


class Start(_Model):
    """One program, from its start to the first label."""

    student: str
    program: str
    seconds: list[float] = Field(description="one a round")
    memory: list[int] = Field(description="peak resident bytes, one a round")


class Startup(_Model):
    """All programs with all students."""

    setting: Setting
    starts: list[Start]


class Cell(_Model):
    """One circuit, compiled and run; of one that has no compiled form only the reason."""

    name: str
    qubits: int
    depth: int | None = Field(description="layers; None for the published circuit")
    ended: str | None = Field(None, description="refused, stopped or died, if it was not compiled")
    reason: str | None = None
    seconds: float | None = Field(None, description="of compiling")
    size: int | None = Field(None, description="bytes of the compiled form")
    multiply_adds: int | None = None
    one: float | None = Field(None, description="seconds for one text by itself")
    many: float | None = Field(None, description="seconds a text, 1024 at a time")
    memory: int | None = Field(None, description="peak resident bytes of the process")


class Compiling(_Model):
    """All circuits that were compiled."""

    setting: Setting
    limit: float = Field(description="seconds after which compiling was stopped")
    cells: list[Cell]


class Sample(_Model):
    """The process in the middle of a stream."""

    texts: int
    memory: int = Field(description="resident bytes")


class Streaming(_Model):
    """A long stream of texts through one process."""

    setting: Setting
    student: str
    texts: int
    seconds: float
    samples: list[Sample]


class Results(_Model):
    """All parts; None is one that was not measured."""

    format: int = FORMAT
    circuits: Circuits | None = None
    texts: Texts | None = None
    startup: Startup | None = None
    compiling: Compiling | None = None
    streaming: Streaming | None = None


def setting(command: str, rounds: int, packages: Sequence[str]) -> Setting:
    """This machine, and the versions of these packages.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    versions = {"Python": platform.python_version()}
    for name in ("qdinfer", *packages):
        try:
            versions[name] = version(name)
        except PackageNotFoundError as error:
            raise MissingExtraError(f"a benchmark with {name}", "bench") from error
    return Setting(
        cpu=_cpu(),
        cores=available_cpus(),
        system=f"{platform.system()} {os.uname().machine}",
        versions=versions,
        load=os.getloadavg()[0],
        command=command,
        rounds=rounds,
    )


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_results(path: Path) -> Results:
    """What was measured so far; nothing if there is no file.

    Raises:
        InputError: it is not such a file.
    """
    if not path.exists():
        return Results()
    try:
        found = Results.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path}: found {where}: {first['msg']}; expected what `python -m benchmarks` wrote"
        ) from error
    if found.format != FORMAT:
        raise InputError(f"{path}: found format {found.format}; expected {FORMAT}")
    return found


def write_results(path: Path, results: Results) -> None:
    """Replace the file by this."""
    with replacing(path) as file:
        file.write(json.dumps(results.model_dump(), indent=1).encode() + b"\n")
