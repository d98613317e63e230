"""Stand in for the function's runtime: import the handler from its folder alone, call it, say what that took.

Run it as ``python -S -I invoke.py FOLDER < event.json``: without site-packages, without environment.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Print the answer to the event on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="what build.py made")
    folder = parser.parse_args().folder
    event = json.load(sys.stdin)
    start = time.perf_counter()
    sys.path.insert(0, folder)
    handler = importlib.import_module("handler").handler
    loaded = time.perf_counter()
    print(json.dumps(handler(event, None)))
    answered = time.perf_counter()
    handler(event, None)
    again = time.perf_counter()
    print(
        f"cold start {loaded - start:.2f} s, first answer {(answered - loaded) * 1e3:.1f} ms, "
        f"second {(again - answered) * 1e3:.1f} ms, {peak_megabytes():.0f} MB at most",
        file=sys.stderr,
    )


def peak_megabytes() -> float:
    """The most memory that was resident."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, where ru_maxrss counts what the process had been before it became this one
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    main()
