"""Repositories in memory: commits, branches, tags, and the blobs of large files."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LARGE = ("*.onnx", "*.bin", "*.safetensors")
"""What the Hub's own .gitattributes hands to LFS, as far as it matters here."""

Files = Mapping[str, bytes]


def git_sha(data: bytes) -> str:
    """A blob's name in git."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str, data: bytes) -> bool:
    """Whether a file is kept in LFS."""
    return any(fnmatch.fnmatch(path, pattern) for pattern in LARGE) or len(data) > 10 * 2**20


def pointer(data: bytes) -> bytes:
    """What git has in the place of a large file."""
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()


def etag(path: str, data: bytes) -> str:
    """What the Hub calls a file's content by: the hash in LFS, or git's."""
    return hashlib.sha256(data).hexdigest() if is_large(path, data) else git_sha(data)


@dataclass(frozen=True)
class Commit:
    """One commit, with all files."""

    sha: str
    parent: str | None
    message: str
    files: Files


@dataclass
class Repository:
    """A model repository. A new one has one commit, with its .gitattributes, as on the Hub.

    Attributes:
        name: with its organization.
        private: only for those who have a token.
        gated: everyone sees it, and nobody gets its files.
        commits: by their hash, in order.
        branches: name → hash.
        tags: name → hash.
    """

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE)
        self.commit({".gitattributes": attributes.encode()}, "initial commit")

    def commit(self, files: Files, message: str = "changed", *, branch: str = "main", keep: bool = True) -> str:
        """Put files into a branch, beside those that are there or in their place; its hash."""
        parent = self.branches.get(branch)
        before = self.commits[parent].files if parent is not None and keep else {}
        whole = {**before, **files}
        content = [self.name, str(parent), message, *(f"{path} {git_sha(whole[path])}" for path in sorted(whole))]
        sha = hashlib.sha1("\n".join(content).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, message, whole)
        self.branches[branch] = sha
        return sha

    @property
    def head(self) -> Commit:
        """Of the branch main."""
        return self.commits[self.branches["main"]]

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag or a hash."""
        return self.commits.get(self.branches.get(revision) or self.tags.get(revision) or revision)

    def about(self, commit: Commit, *, blobs: bool) -> dict[str, Any]:
        """What `/api/models` says."""
        siblings = [_sibling(path, data, blobs=blobs) for path, data in sorted(commit.files.items())]
        return {
            "_id": "0" * 24,
            "id": self.name,
            "modelId": self.name,
            "author": self.name.partition("/")[0],
            "sha": commit.sha,
            "private": self.private,
            "gated": "auto" if self.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }


def _sibling(path: str, data: bytes, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    if not is_large(path, data):
        return {"rfilename": path, "size": len(data), "blobId": git_sha(data)}
    small = pointer(data)
    lfs = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": len(small)}
    return {"rfilename": path, "size": len(data), "blobId": git_sha(small), "lfs": lfs}
