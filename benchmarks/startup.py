"""How long a process takes to its first label, and what memory, beside the least that is possible."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .results import BenchmarkError, Setting, Start, Startup
from .workers import ROOT, child_environment, in_turn

__all__ = ["PACKAGES", "PROGRAMS", "launch", "measure_startup"]

PACKAGES = ("msgspec", "numpy", "onnxruntime", "tokenizers")
TEXT = "Central bank keeps interest rates unchanged"
_LIBRARY = "import sys; from qdinfer import Classifier; print(Classifier.load(sys.argv[1]).predict(sys.argv[2])[0])"
PROGRAMS: Mapping[str, tuple[Sequence[str], int]] = MappingProxyType(
    {
        "bare": ((str(ROOT / "benchmarks" / "bare.py"),), 1),
        "library": (("-c", _LIBRARY), 1),
        "command": (("-m", "qdinfer", "predict"), 2),  # the first line has the names of the columns
    }
)
"""Name → what Python is given, before the student and the text, and the line of its output that has the label."""


def measure_startup(
    setting: Setting, students: Mapping[str, Path], *, step: Callable[[], object] = lambda: None
) -> Startup:
    """Start each program with each student, in turn, so many times as the setting has rounds.

    Raises:
        BenchmarkError: one fails, or says another label than the bare program.
    """
    starts = []
    for name, student in students.items():
        memory: dict[str, list[int]] = {program: [] for program in PROGRAMS}
        expected = launch("bare", student)["label"]

        def ask(program: str, student: Path = student, expected: str = expected, memory: Any = memory) -> float:
            found = launch(program, student)
            if found["label"] != expected:
                raise BenchmarkError(f"{program} with {student}: found {found['label']!r}; expected {expected!r}")
            memory[program].append(found["memory"])
            return float(found["seconds"])

        for program in PROGRAMS:  # the files come into the system's cache
            ask(program)
            memory[program].clear()
        times = in_turn({program: partial(ask, program) for program in PROGRAMS}, setting.rounds, step=step)
        starts += [
            Start(student=name, program=program, seconds=times[program], memory=memory[program]) for program in PROGRAMS
        ]
    return Startup(setting=setting, starts=starts)


def launch(program: str, student: Path) -> dict[str, Any]:
    """One start: the ``label`` that was printed, ``seconds`` until then, and peak ``memory``.

    Raises:
        BenchmarkError: the program failed.
    """
    given, lines = PROGRAMS[program]
    command = [sys.executable, *given, str(student), TEXT]
    launcher = [sys.executable, "-S", str(ROOT / "benchmarks" / "launch.py"), str(lines), *command]
    done = subprocess.run(launcher, capture_output=True, text=True, env=child_environment(), check=False)
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"code": done.returncode}
    if found["code"] != 0:
        raise BenchmarkError(f"{program} with {student}: ended with code {found['code']}; it said:\n{done.stderr}")
    return {**found, "label": found["line"].rpartition(",")[2]}
