"""The processes that are measured, seen from the one that measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .results import BenchmarkError

__all__ = ["ROOT", "Worker", "child_environment", "in_turn"]

ROOT = Path(__file__).parents[1]
_SECONDS = 0.25  # a call that is shorter is repeated
_WARM = 0.5  # seconds of calls before the first that counts
_PATIENCE = 30.0  # for a process to end that was asked to


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: this checkout first, compiled Python kept, as where a package is installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join([str(ROOT), *([kept["PYTHONPATH"]] if "PYTHONPATH" in kept else [])])
    return {**kept, "PYTHONPATH": path, **(extra or {})}


class Worker:
    """One engine in a process of its own; it does nothing until it is asked."""

    def __init__(
        self, kind: str, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it, and wait until it is ready.

        Raises:
            BenchmarkError: it ended instead.
        """
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 it is open as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", kind, name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=child_environment(environment),
            text=True,
        )
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def warm(self, size: int) -> float:
        """Make a batch ready and run it for a while; the seconds that one call took."""
        return float(self._ask(do="time", size=size, seconds=_WARM))

    def seconds(self, size: int) -> float:
        """The time of one call with a batch."""
        return float(self._ask(do="time", size=size, seconds=_SECONDS))

    def answer(self, size: int) -> Any:
        """What one call with a batch gives."""
        return self._ask(do="answer", size=size)

    def _ask(self, **request: object) -> Any:
        stdin = self._process.stdin
        if stdin is None:
            raise TypeError("a worker has a pipe to its standard input")
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._read()

    def _read(self) -> Any:
        stdout = self._process.stdout
        if stdout is None:
            raise TypeError("a worker has a pipe from its standard output")
        line = stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _died(self) -> BenchmarkError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        return BenchmarkError(f"{self.name}: its process ended with code {code}; it said:\n{said or 'nothing'}")

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # it died before it read the last request, as was reported
                    continue
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # it may be in the middle of a long call
            self._process.kill()
        self.close()


def in_turn(
    askers: Mapping[str, Callable[[], float]], rounds: int, *, step: Callable[[], object]
) -> dict[str, list[float]]:
    """Ask each for its time, round by round; each round starts with another, so that none always comes first.

    Args:
        askers: name → asks for one time.
        rounds: how often each is asked.
        step: called after each time, for a progress bar.

    Returns:
        Name → one time a round, in the order of the rounds.
    """
    names = list(askers)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(askers[name]())
            step()
    return times
