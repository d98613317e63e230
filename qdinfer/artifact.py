"""A student's folder or .zip, opened without trusting it and saved without losing anything.

Opening reads every file once, into memory, and checks in this order: sizes and paths, manifest, hashes, content.
Nothing is unpickled, executed or written; nothing is fetched, but for a reference to the Hugging Face Hub.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from .audit.graph import Port, audit_onnx, onnx_metadata
from .audit.qasm import audit_qasm
from .errors import ArtifactError, InputError
from .manifest import (
    FileRecord,
    FusedSpec,
    Golden,
    Manifest,
    circuit_sha256,
    fused_metadata,
    fused_source,
    parse_golden,
    parse_manifest,
)
from .reading import HUB, MANIFEST, read_files

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MANIFEST", "Artifact"]

REQUIRED = ("tokenizer.json", "encoder.onnx", "circuit.qasm", "golden.json", "README.md")


@dataclass(frozen=True)
class Artifact:
    """A student, checked and held in memory.

    Attributes:
        manifest: the content of ``student.json``.
        files: every other file's bytes, by name.
        path: where it was opened, with the commit if on the Hugging Face Hub; None for one made in memory.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    path: str | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Artifact:
        """Open a student.

        Args:
            path: its folder, or its .zip; or a str ``hf:org/name@revision``, for one on the Hugging Face Hub.

        Raises:
            ArtifactError: something in it is missing, superfluous, altered, unsafe or of a newer format.
            FileNotFoundError: there is nothing at that path.
            HubError: the Hub cannot be reached, or refuses.
            InputError: what begins with ``hf:`` is no reference, or there is no such repository or revision.
            MissingExtraError: a reference, without the extra ``hub``.
        """
        if isinstance(path, str) and path.startswith(HUB):
            from .hub import fetch  # imported for a reference alone: a path never leads to what could use the network

            files, place = fetch(path)
        else:
            place = os.fspath(path)
            files = read_files(place)
        if MANIFEST not in files:
            raise ArtifactError(place, f"no {MANIFEST}", "a student's folder or .zip")
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
            InputError: the files are no bytes by name, or the manifest is none.
        """
        if not isinstance(manifest, Manifest):
            raise InputError(f"manifest: found {type(manifest).__name__}; expected a Manifest")
        for name, data in files.items():
            if not isinstance(name, str) or not isinstance(data, bytes):
                raise InputError(f"files: found {name!r} with {type(data).__name__}; expected names with bytes")
        records = {name: FileRecord(size=len(data), sha256=_sha256(data)) for name, data in sorted(files.items())}
        changed = replace(manifest, files=records)  # unchecked, so it is read back as at opening
        return cls._checked(parse_manifest(changed.to_json()), files, None)

    @classmethod
    def _checked(cls, manifest: Manifest, files: Mapping[str, bytes], path: str | None) -> Artifact:
        _check_hashes(manifest, files)
        artifact = cls(manifest, MappingProxyType(dict(files)), path)
        _check_content(artifact)
        return artifact

    def __repr__(self) -> str:
        return f"Artifact(name={self.manifest.name!r}, path={self.path!r})"  # the files have millions of bytes

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
        from .saving import save_files

        return save_files(path, {MANIFEST: self.manifest.to_json(), **self.files}, overwrite=overwrite)


def _restore(manifest: Manifest, files: dict[str, bytes], path: str | None) -> Artifact:
    return Artifact(manifest, MappingProxyType(files), path)


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
        about, expected = onnx_metadata(files["fused.onnx"]), fused_metadata(manifest)
        if about != expected:
            raise ArtifactError("fused.onnx", f"the metadata {about}", f"{expected}")
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
