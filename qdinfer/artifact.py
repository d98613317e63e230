"""A student's folder or .zip, opened without trusting it and saved without losing anything.

Opening reads every file once, into memory, and checks in this order: sizes and paths, manifest, hashes, content.
Nothing is unpickled, executed, fetched or written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from .atomic import replacing
from .audit.graph import Port, audit_onnx
from .audit.qasm import audit_qasm
from .errors import ArtifactError, InputError
from .manifest import (
    FileRecord,
    FusedSpec,
    Golden,
    Manifest,
    circuit_sha256,
    fused_source,
    parse_golden,
    parse_manifest,
)

if TYPE_CHECKING:  # slow to import, so where they are needed: a student in a folder opens without
    import zipfile

__all__ = ["Artifact", "check_destination"]

MANIFEST = "student.json"
REQUIRED = ("tokenizer.json", "encoder.onnx", "circuit.qasm", "golden.json", "README.md")
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


@dataclass(frozen=True)
class Artifact:
    """A student, checked and held in memory.

    Attributes:
        manifest: the content of ``student.json``.
        files: every other file's bytes, by name.
        path: where it was opened, for messages; None for one made in memory.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    path: Path | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Artifact:
        """Open a student.

        Args:
            path: its folder, or its .zip.

        Raises:
            ArtifactError: something in it is missing, superfluous, altered, unsafe or of a newer format.
            FileNotFoundError: there is nothing at that path.
        """
        place = Path(path)
        if place.is_dir():
            files = _read_folder(place)
        elif place.is_file():
            files = _read_zip(place)
        elif place.exists():
            raise ArtifactError(place.name, "a special file", "a student's folder or .zip")
        else:
            raise FileNotFoundError(f"{place}: found nothing there; expected a student's folder or .zip")
        if MANIFEST not in files:
            raise ArtifactError(str(place), f"no {MANIFEST}", "a student's folder or .zip")
        manifest = parse_manifest(files.pop(MANIFEST))
        return cls._checked(manifest, files, place)

    @classmethod
    def create(cls, manifest: Manifest, files: Mapping[str, bytes]) -> Artifact:
        """Make a student in memory, under the same checks as opening one.

        Args:
            manifest: its `files` is filled in anew from the bytes given here.
            files: every file but ``student.json``, by name.

        Raises:
            ArtifactError: it could not be opened again.
        """
        records = {name: FileRecord(size=len(data), sha256=_sha256(data)) for name, data in sorted(files.items())}
        changed = replace(manifest, files=records)  # unchecked, so it is read back as at opening
        return cls._checked(parse_manifest(changed.to_json()), files, None)

    @classmethod
    def _checked(cls, manifest: Manifest, files: Mapping[str, bytes], path: Path | None) -> Artifact:
        _check_hashes(manifest, files)
        artifact = cls(manifest, MappingProxyType(dict(files)), path)
        _check_content(artifact)
        return artifact

    def __reduce__(self) -> tuple[Any, ...]:
        # The view of the files that keeps callers from changing them cannot be pickled.
        return _restore, (self.manifest, dict(self.files), self.path)

    @cached_property
    def golden(self) -> Golden:
        """The golden cases."""
        return parse_golden(self.files["golden.json"], self.manifest)

    @cached_property
    def sha256(self) -> str:
        """The student's identity: the hash of its manifest, which holds the hash of every other file."""
        return _sha256(self.manifest.to_json())

    @property
    def size(self) -> int:
        """Bytes of all files, uncompressed."""
        return len(self.manifest.to_json()) + sum(map(len, self.files.values()))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the student to a folder, or to one .zip if the path ends so.

        It is written beside the path under a temporary name, flushed to disk, and then renamed, so that the path
        holds the whole student or what it held before.

        Args:
            path: where; its parent folder must exist.
            overwrite: replace a student that is already there, sound or not; nothing else is ever replaced.

        Returns:
            The path.

        Raises:
            InputError: there is something already, and it may not be replaced.
            FileNotFoundError: there is no folder for it.
        """
        place = Path(path)
        check_destination(place, overwrite=overwrite)
        content = {MANIFEST: self.manifest.to_json(), **self.files}
        if _is_zip(place):
            _save_zip(place, content)
        else:
            _save_folder(place, content)
        return place


def _restore(manifest: Manifest, files: dict[str, bytes], path: Path | None) -> Artifact:
    return Artifact(manifest, MappingProxyType(files), path)


def _read_folder(folder: Path) -> dict[str, bytes]:
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                kind = "a symbolic link" if entry.is_symlink() else "a folder" if entry.is_dir() else "a special file"
                raise ArtifactError(entry.name, kind, "plain files only")
            sizes[entry.name] = status.st_size
    _check_sizes(sizes)
    return {name: _read_file(folder / name, size) for name, size in sizes.items()}


def _read_file(path: Path, size: int) -> bytes:
    # O_NOFOLLOW: the entry could have been replaced by a link since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(size + 1)
    if len(data) != size:
        raise ArtifactError(path.name, "a file that changes while it is read", f"{size} bytes")
    return data


def _read_zip(path: Path) -> dict[str, bytes]:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_count(len(entries))
            for entry in entries:
                _check_entry(path, entry)
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ArtifactError(path.name, f"two entries {twice!r}", "each name once")
            _check_sizes({entry.filename: entry.file_size for entry in entries})
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
        raise ArtifactError(path.name, f"no readable .zip ({error})", "a student's folder or .zip") from error


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    import zipfile

    name = entry.filename
    mode = entry.external_attr >> 16
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ArtifactError(path.name, f"the entry {name!r}", "files at the archive's top, in no folder")
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise ArtifactError(path.name, f"the entry {name!r}, which is a link or special file", "plain files only")
    if entry.flag_bits & 1:
        raise ArtifactError(path.name, f"the entry {name!r}, which is encrypted", "plain files only")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArtifactError(path.name, f"the entry {name!r} with method {entry.compress_type}", "stored or deflated")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ArtifactError(entry.filename, f"{len(data)} bytes", f"{entry.file_size}, as the .zip declares")
    return data


def _check_count(count: int) -> None:
    if count > MAX_FILES:
        raise ArtifactError("the artifact", f"{count} files", f"at most {MAX_FILES}")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    _check_count(len(sizes))
    for name, size in sizes.items():
        limit = MAX_BYTES.get(name, MAX_OTHER_BYTES)
        if size > limit:
            raise ArtifactError(name, f"{size} bytes", f"at most {limit}")
    if sum(sizes.values()) > 2 * MAX_OTHER_BYTES:
        raise ArtifactError("the artifact", f"{sum(sizes.values())} bytes", f"at most {2 * MAX_OTHER_BYTES}")


def _check_hashes(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    for name in REQUIRED:
        if name not in manifest.files:
            raise ArtifactError(MANIFEST, f"no {name} under files", "every file of the format")
    for name in manifest.files:
        if name not in files:
            raise ArtifactError(name, "no such file", f"{manifest.files[name].size} bytes, as {MANIFEST} lists it")
    for name, data in files.items():
        record = manifest.files.get(name)
        if record is None:
            raise ArtifactError(name, "a file that is not part of the student", f"only what {MANIFEST} lists")
        if len(data) != record.size:
            raise ArtifactError(name, f"{len(data)} bytes", f"{record.size}, as {MANIFEST} lists it")
        digest = _sha256(data)
        if digest != record.sha256:
            raise ArtifactError(name, f"SHA-256 {digest[:16]}…", f"{record.sha256[:16]}…, as {MANIFEST} lists it")


def _check_content(artifact: Artifact) -> None:
    manifest, files = artifact.manifest, artifact.files
    angles, values = len(manifest.circuit.inputs), len(manifest.circuit.observables)
    audit_onnx(
        "encoder.onnx",
        files["encoder.onnx"],
        inputs=(Port("input_ids", "int64", (None, None)), Port("attention_mask", "int64", (None, None))),
        outputs=(Port("angles", "float32", (None, angles)),),
    )
    if "compiled.onnx" in files:
        audit_onnx(
            "compiled.onnx",
            files["compiled.onnx"],
            inputs=(Port("angles", "float32", (None, angles)),),
            outputs=(Port("expectations", "float32", (None, values)),),
        )
    if "fused.onnx" in files:
        audit_onnx(
            "fused.onnx",
            files["fused.onnx"],
            inputs=(Port("input_ids", "int64", (None, None)), Port("attention_mask", "int64", (None, None))),
            outputs=(
                Port("expectations", "float32", (None, values)),
                Port("probabilities", "float32", (None, len(manifest.labels))),
            ),
        )
    circuit = audit_qasm("circuit.qasm", files["circuit.qasm"])
    qubits = len(manifest.circuit.observables[0])
    if circuit.num_qubits != qubits:
        raise ArtifactError(
            "circuit.qasm", f"{circuit.num_qubits} qubits", f"{qubits}, as the observables have letters"
        )
    if sorted(circuit.inputs) != sorted(manifest.circuit.inputs):
        raise ArtifactError("circuit.qasm", f"inputs {sorted(circuit.inputs)}", f"{sorted(manifest.circuit.inputs)}")
    if manifest.compiled is not None:
        identity = circuit_sha256(files["circuit.qasm"].decode(), manifest.circuit.inputs, manifest.circuit.observables)
        if manifest.compiled.circuit_sha256 != identity:
            found = f"the compiled form of circuit {manifest.compiled.circuit_sha256[:16]}…"
            raise ArtifactError("compiled.onnx", found, f"that of {identity[:16]}…, circuit.qasm with its contract")
    if isinstance(manifest.fused, FusedSpec) and manifest.fused.source_sha256 != fused_source(manifest):
        found = f"a graph fused from {manifest.fused.source_sha256[:16]}…"
        raise ArtifactError("fused.onnx", found, f"{fused_source(manifest)[:16]}…, encoder, circuit and readout here")
    try:
        files["README.md"].decode()
    except UnicodeDecodeError as error:
        raise ArtifactError("README.md", "bytes that are not UTF-8", "a text") from error
    artifact.golden  # noqa: B018 - parsed here so that a broken one is found at opening


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
        files = _read_folder(place) if place.is_dir() else _read_zip(place)
        if MANIFEST not in files:
            raise ArtifactError(place.name, f"no {MANIFEST}", "a student")
        others = files.keys() - {MANIFEST} - parse_manifest(files[MANIFEST]).files.keys()
    except ArtifactError as error:
        raise InputError(f"{place}: found what is no student ({error}); expected a student or a new path") from error
    if others:
        raise InputError(f"{place}: found {sorted(others)[0]}, which is no part of a student; expected a new path")


def _save_zip(place: Path, content: Mapping[str, bytes]) -> None:
    import zipfile

    with replacing(place) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(name)  # no time in it: the same student gives the same bytes
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)


def _save_folder(place: Path, content: Mapping[str, bytes]) -> None:
    import secrets
    import shutil

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
    import shutil
    import tempfile

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
