"""The files of a student, from its folder or .zip, before anything in them is looked at.

No link is followed and nothing is unpacked to disk; sizes and names are checked before content is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .errors import ArtifactError

if TYPE_CHECKING:  # slow to import, so where it is needed: a student in a folder opens without
    import zipfile

__all__ = ["HUB", "MANIFEST", "check_sizes", "read_file", "read_files"]

MANIFEST = "student.json"
HUB = "hf:"
"""What a reference to a student on the Hugging Face Hub begins with, see `hub`."""
MAX_FILES = 32
_MIB = 2**20
MAX_BYTES = {  # of each file
    MANIFEST: 4 * _MIB,
    "tokenizer.json": 64 * _MIB,
    "circuit.qasm": 1 * _MIB,
    "golden.json": 4 * _MIB,
    "README.md": 1 * _MIB,
}
MAX_OTHER_BYTES = 1024 * _MIB


def read_files(path: str) -> dict[str, bytes]:
    """The content of every file, by name.

    Raises:
        ArtifactError: too many or too large files, or what is no plain file.
        FileNotFoundError: there is nothing at that path.
    """
    if os.path.isdir(path):
        return _read_folder(path)
    if os.path.isfile(path):
        return _read_zip(path)
    if os.path.exists(path):
        raise ArtifactError(os.path.basename(path), "a special file", "a student's folder or .zip")
    raise FileNotFoundError(f"{path}: found nothing there; expected a student's folder or .zip")


def _read_folder(folder: str) -> dict[str, bytes]:
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                kind = "a symbolic link" if entry.is_symlink() else "a folder" if entry.is_dir() else "a special file"
                raise ArtifactError(entry.name, kind, "plain files only")
            sizes[entry.name] = status.st_size
    check_sizes(sizes)
    return {name: read_file(os.path.join(folder, name), size) for name, size in sizes.items()}


def read_file(path: str, size: int) -> bytes:
    """The content of one plain file.

    Raises:
        ArtifactError: it has another size.
        OSError: it is a link, or cannot be read.
    """
    # O_NOFOLLOW: the entry could have been replaced by a link since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ArtifactError(os.path.basename(path), "a file that changes while it is read", f"{size} bytes")
    return data


def _read_zip(path: str) -> dict[str, bytes]:
    import zipfile
    import zlib

    file = os.path.basename(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_count(len(entries))
            for entry in entries:
                _check_entry(file, entry)
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ArtifactError(file, f"two entries {twice!r}", "each name once")
            check_sizes({entry.filename: entry.file_size for entry in entries})
            return {entry.filename: _read_entry(archive, entry) for entry in entries}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
        OSError,
        OverflowError,
    ) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is an offset before the file's start
            raise
        raise ArtifactError(file, f"no readable .zip ({error})", "a student's folder or .zip") from error


def _check_entry(file: str, entry: zipfile.ZipInfo) -> None:
    import zipfile

    name = entry.filename
    mode = entry.external_attr >> 16
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ArtifactError(file, f"the entry {name!r}", "files at the archive's top, in no folder")
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise ArtifactError(file, f"the entry {name!r}, which is a link or special file", "plain files only")
    if entry.flag_bits & 1:
        raise ArtifactError(file, f"the entry {name!r}, which is encrypted", "plain files only")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArtifactError(file, f"the entry {name!r} with method {entry.compress_type}", "stored or deflated")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ArtifactError(entry.filename, f"{len(data)} bytes", f"{entry.file_size}, as the .zip declares")
    return data


def _check_count(count: int) -> None:
    if count > MAX_FILES:
        raise ArtifactError("the artifact", f"{count} files", f"at most {MAX_FILES}")


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Hold the files of a student against the limits, by their names and before they are read.

    Raises:
        ArtifactError: too many files, or too large ones.
    """
    _check_count(len(sizes))
    for name, size in sizes.items():
        limit = MAX_BYTES.get(name, MAX_OTHER_BYTES)
        if size > limit:
            raise ArtifactError(name, f"{size} bytes", f"at most {limit}")
    if sum(sizes.values()) > 2 * MAX_OTHER_BYTES:
        raise ArtifactError("the artifact", f"{sum(sizes.values())} bytes", f"at most {2 * MAX_OTHER_BYTES}")
