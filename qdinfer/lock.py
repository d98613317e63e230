"""One process at a time."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

__all__ = ["hold"]


def hold(descriptor: int, path: Path) -> None:
    """Hold an open file or folder against other processes that call this, until it is closed.

    Raises:
        InputError: another process holds it.
    """
    import fcntl  # not on Windows, where all else works

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"{path}: found another process writing to it; expected it alone; wait for it, or give another output"
        ) from error
