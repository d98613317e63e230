"""``python -m benchmarks.worker KIND NAME ARGUMENTS…``: one engine in a process of its own.

It reads requests from standard input, a line of JSON each, and answers each with a line: first ``"ready"``, then

    {"do": "time", "size": 64, "seconds": 0.05}     → seconds of one call, mean of as many as fit
    {"do": "answer", "size": 64}                    → what the call gives

Nothing is done between two requests, so that another process can be measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from qdinfer import TruncationWarning

from . import contenders, engines

__all__ = ["Prepare", "main"]

Prepare = Callable[[int], Callable[[], object]]
"""Size of a batch → the call that is timed; what it works on is made ready here."""

KINDS: dict[str, Callable[..., Prepare]] = {"circuit": engines.prepare, "texts": contenders.prepare}


def main(kind: str, name: str, *arguments: str) -> None:
    """Answer until standard input ends."""
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warnings.simplefilter("ignore", TruncationWarning)  # how many tokens each reads is a setting
    prepare = KINDS[kind](name, *arguments)
    calls: dict[int, Callable[[], object]] = {}
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        size = request["size"]
        if size not in calls:
            calls.clear()
            calls[size] = prepare(size)
        print(json.dumps(_answer(calls[size], request)), file=answers, flush=True)


def _answer(call: Callable[[], object], request: dict[str, Any]) -> object:
    if request["do"] == "time":
        return seconds_of(call, request["seconds"])
    found = call()
    return found.tolist() if isinstance(found, np.ndarray) else found


def seconds_of(call: Callable[[], object], least: float) -> float:
    """The time of one call; the mean of many where one is too short to time."""
    calls = 0
    start = time.perf_counter()
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= least:
            return elapsed / calls


if __name__ == "__main__":
    main(*sys.argv[1:])
