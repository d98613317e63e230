"""A student's files written to a folder or .zip, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from .atomic import replacing
from .errors import ArtifactError, InputError
from .manifest import parse_manifest
from .reading import MANIFEST, read_files

__all__ = ["check_destination", "save_files"]


def save_files(path: str | os.PathLike[str], content: Mapping[str, bytes], *, overwrite: bool) -> Path:
    """See `Artifact.save`."""
    place = Path(path)
    check_destination(place, overwrite=overwrite)
    if _is_zip(place):
        _save_zip(place, content)
    else:
        _save_folder(place, content)
    return place


def _is_zip(place: Path) -> bool:
    return place.suffix.lower() == ".zip"


def check_destination(place: Path, *, overwrite: bool) -> None:
    """Find out whether a student may be saved there, which a caller may want to know before its work.

    Raises:
        InputError: there is something already, and it may not be replaced.
        FileNotFoundError: there is no folder for it.
    """
    if not place.absolute().parent.is_dir():
        raise FileNotFoundError(f"{place}: found no folder {place.absolute().parent}; expected an existing one")
    if place.exists() or place.is_symlink():
        if not overwrite:
            raise InputError(f"{place}: found something there already; expected a new path, or to overwrite it")
        _check_replaceable(place)


def _check_replaceable(place: Path) -> None:
    """Raise InputError unless all that is there is a student of the kind that shall replace it, or an empty folder."""
    if place.is_dir() == _is_zip(place):
        raise InputError(f"{place}: found {'a folder' if place.is_dir() else 'a file'}; expected the other kind")
    if place.is_dir() and not any(place.iterdir()):
        return
    try:
        files = read_files(str(place))
        if MANIFEST not in files:
            raise ArtifactError(place.name, f"no {MANIFEST}", "a student")
        others = files.keys() - {MANIFEST} - parse_manifest(files[MANIFEST]).files.keys()
    except ArtifactError as error:
        raise InputError(f"{place}: found what is no student ({error}); expected a student or a new path") from error
    if others:
        raise InputError(f"{place}: found {sorted(others)[0]}, which is no part of a student; expected a new path")


def _save_zip(place: Path, content: Mapping[str, bytes]) -> None:
    with replacing(place) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(name)  # no time in it: the same student gives the same bytes
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)


def _save_folder(place: Path, content: Mapping[str, bytes]) -> None:
    temporary = place.parent / f".{place.name}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir()  # rather than tempfile's, which only their owner may read: the umask decides
    try:
        for name, data in content.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if place.exists():
            _swap_folder(temporary, place)
        else:
            temporary.rename(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap_folder(new: Path, place: Path) -> None:
    # No portable call swaps two folders, so the old one steps aside, and returns if the new one cannot land.
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.old.", dir=place.parent))
    old = aside / place.name
    try:
        place.rename(old)
        new.rename(place)
    except BaseException:
        if os.path.lexists(old):
            old.rename(place)
        aside.rmdir()
        raise
    shutil.rmtree(aside)
