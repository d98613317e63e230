"""How much memory this process took at most."""

from __future__ import annotations

import re
import sys
from pathlib import Path

__all__ = ["peak_memory"]


def peak_memory() -> int:
    """The largest resident size so far, in bytes.

    On Linux it is read from the kernel's status file: `getrusage` counts what the parent had before this program
    started in its place.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text("ascii"))):
        return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in bytes there, else in kB
