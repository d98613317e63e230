"""One process at a time."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError

__all__ = ["hold"]


def hold(descriptor: int, path: Path, hint: str = "wait for it, or give another output") -> None:
    """Hold an open file or folder against other processes that call this, until it is closed.

    Args:
        descriptor: of the file or folder.
        path: what it stands for, for messages.
        hint: the next step where another process has it.

    Raises:
        InputError: another process holds it.
    """
    import fcntl  # not on Windows, where all else works

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(f"{path}: found another process writing to it; expected it alone; {hint}") from error
