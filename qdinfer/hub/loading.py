"""A student's files from the Hub, by way of the client's cache.

A branch or a tag becomes a commit first, and every file comes from that one commit; a commit that is whole in the cache
is read without asking anybody. Only the files of the student are fetched: ``student.json``, then what it lists, each
after a look at its size.
"""

from __future__ import annotations

import hashlib
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import ArtifactError
from ..manifest import Manifest, parse_manifest
from ..reading import MANIFEST, check_sizes, read_file
from .client import Listing, client, hub_errors, listing
from .reference import Reference

__all__ = ["fetch"]


def fetch(text: str) -> tuple[dict[str, bytes], str]:
    """The files of a student on the Hub, by name, and its reference with the commit that they are of.

    Raises:
        ArtifactError: something in it is missing, of another size than ``student.json`` lists, or damaged in the cache.
        HubError: the Hub cannot be reached, or refuses; or the cache cannot be written.
        InputError: no reference, or no such repository or revision.
        MissingExtraError: huggingface_hub is not installed.
    """
    given = Reference.parse(text)
    api = client()
    with hub_errors(text):
        listed: Listing | None = None
        if given.is_commit:
            commit = given.revision
        elif (known := _known_offline(given)) is not None:
            commit = known
        else:
            listed = listing(api, given)
            commit = listed.commit
        pinned = Reference(given.repository, commit)
        files = _cached(pinned)
        if files is None:
            files = _download(api, pinned, listed or listing(api, pinned))
        if not given.is_commit:
            _remember(given, commit, files[MANIFEST])
        check_sizes({name: path.stat().st_size for name, path in files.items()})
        return {name: _read(name, path) for name, path in files.items()}, str(pinned)


def _known_offline(reference: Reference) -> str | None:
    """The commit that a branch or tag had when it was last asked for, if the Hub is not to be asked."""
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        return None
    path = _cached_path(reference, MANIFEST)
    return None if path is None else path.parent.name


def _remember(given: Reference, commit: str, manifest: Path) -> None:
    """Note the commit of a branch or tag in the cache, where the client looks for it when it is offline.

    The cache is as its documentation says: ``REPOSITORY/snapshots/COMMIT/FILE`` and ``REPOSITORY/refs/REVISION``.
    """
    note = manifest.parents[2] / "refs" / given.revision
    with suppress(OSError):  # nothing but working offline hangs on it, and the cache may be for reading only
        if note.is_file() and note.read_bytes() == commit.encode():
            return
        note.parent.mkdir(parents=True, exist_ok=True)
        with replacing(note) as file:
            file.write(commit.encode())


def _cached_path(reference: Reference, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(reference.repository, name, revision=reference.revision)
    return Path(path) if isinstance(path, str) else None


def _cached(pinned: Reference) -> dict[str, Path] | None:
    """Where the files of a commit are in the cache; None if not all are."""
    manifest = _cached_path(pinned, MANIFEST)
    if manifest is None:
        return None
    paths = {name: _cached_path(pinned, name) for name in _manifest(manifest).files}
    whole = {name: path for name, path in paths.items() if path is not None}
    return {MANIFEST: manifest, **whole} if len(whole) == len(paths) else None


def _download(api: Any, pinned: Reference, listed: Listing) -> dict[str, Path]:
    """Bring the files of a commit into the cache."""

    def download(name: str) -> Path:
        return Path(api.hf_hub_download(pinned.repository, name, revision=pinned.revision))

    if MANIFEST not in listed.sizes:
        raise ArtifactError(str(pinned), f"no {MANIFEST} at its top", "a student, as `qdistill push` publishes one")
    check_sizes({MANIFEST: listed.sizes[MANIFEST]})
    paths = {MANIFEST: download(MANIFEST)}
    records = _manifest(paths[MANIFEST]).files
    for name, record in records.items():
        found = f"{listed.sizes[name]} bytes" if name in listed.sizes else "no such file"
        if listed.sizes.get(name) != record.size:
            raise ArtifactError(name, f"{found} in {pinned}", f"{record.size} bytes, as {MANIFEST} lists it")
    check_sizes({MANIFEST: listed.sizes[MANIFEST], **{name: record.size for name, record in records.items()}})
    return paths | {name: download(name) for name in records}


def _manifest(path: Path) -> Manifest:
    return parse_manifest(_read(MANIFEST, path))


def _read(name: str, path: Path) -> bytes:
    """The content of a file in the cache, if it is what the Hub calls it by.

    In the cache, files are links to blobs, which have the hash of their content as a name. Whatever is there is read
    under the limits of any file. Where links cannot be made, or a mirror calls its files otherwise, the hashes in the
    manifest remain.
    """
    blob = path.readlink().name if path.is_symlink() else ""
    real = path.resolve()
    status = real.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(
            name, f"a folder or special file in the cache ({real})", "a file: delete it, and load again"
        )
    check_sizes({name: status.st_size})
    data = read_file(str(real), status.st_size)
    if not _is_intact(blob, data):
        found = f"content that is not what the Hub has, in the cache ({real})"
        raise ArtifactError(name, found, f"content with the hash {blob}: delete that file, and load again")
    return data


def _is_intact(blob: str, data: bytes) -> bool:
    """Whether the content has the hash that it is called by: SHA-256 from LFS, git's or a mirror's SHA-1 else."""
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return hashlib.sha256(data).hexdigest() == blob
    if re.fullmatch(r"[0-9a-f]{40}", blob):
        return blob in (hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), hashlib.sha1(data).hexdigest())
    return True
