"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["replacing"]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the path's place when the block ends well.

    It is written beside the path under a hidden temporary name, flushed to disk, and then renamed. If the block fails,
    the temporary file goes, and what was at the path stays. A pipe or a device is written to as it is.

    Raises:
        FileNotFoundError: there is no folder for it.
        OSError: it cannot be written.
    """
    import secrets

    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        with path.open("wb") as special:  # a pipe or a device cannot be replaced
            yield special
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: found no folder {path.parent}; expected an existing one")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    # os.open rather than tempfile, whose files only their owner may read: here the umask decides, as for any output.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
