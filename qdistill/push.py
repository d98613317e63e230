"""A student put on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qdinfer.artifact import MANIFEST, Artifact
from qdinfer.errors import ArtifactError, HubError, InputError
from qdinfer.hub import Listing, Reference, client, hub_errors, listing
from qdinfer.verification import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Pushed", "push"]

_OPTIONAL = ("compiled.onnx", "fused.onnx")


@dataclass(frozen=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        reference: ``hf:org/name@commit``, which loads exactly this student.
        changed: files that were added, replaced or deleted; none if all was there already.
    """

    reference: str
    changed: tuple[str, ...]


def push(
    student: Artifact,
    repository: str,
    *,
    revision: str = "main",
    private: bool = False,
    message: str | None = None,
    tag: str | None = None,
) -> Pushed:
    """Put a student on the Hub, in one commit.

    Files of the repository that are no student's stay as they are. What the branch has is looked at before and after:
    if somebody else commits meanwhile, or the repository swallows a file, it is an error.

    Args:
        student: its golden cases are recomputed first.
        repository: ``org/name``; made if there is none.
        revision: the branch; made from main if there is none.
        private: if it is made, only for those who may; if it is there, it must be.
        message: of the commit.
        tag: a name for the commit, which must be new, or its own already.

    Raises:
        ArtifactError: a golden case does not hold.
        HubError: the Hub cannot be reached, or refuses.
        InputError: a name that cannot be one; a public repository where a private one is wanted; a tag that is taken.
        MissingExtraError: huggingface_hub is not installed; or the student is not compiled, and Aer is not.
    """
    target = Reference(repository, revision)
    Reference.check_repository(repository, repository)
    Reference.check_revision(revision, str(target))
    if tag is not None:
        Reference.check_revision(tag, f"--tag {tag}")
    if target.is_commit:
        raise InputError(f"{target}: found a commit; expected a branch, which can move on")
    _check_golden(student)
    api = client()
    files = {MANIFEST: student.manifest.to_json(), **student.files}
    with hub_errors(str(target)):
        before, tags = _opened(api, target, private)
        changed = _changed(files, before)
        if tag in tags and (changed or tags[tag] != before.commit):  # known before anything is sent
            raise InputError(
                f"--tag {tag}: found it at commit {tags[tag]}; expected a new name: a tag stays where it is"
            )
        commit = before.commit
        if changed:
            about = message or f"{student.manifest.name}, sha256 {student.sha256}"
            commit = _commit(api, target, files, changed, commit, about)
        if tag is not None and tag not in tags:
            api.create_tag(repository, tag=tag, revision=commit)
    return Pushed(str(Reference(repository, commit)), changed)


def _check_golden(student: Artifact) -> None:
    drift = verify(student).first_drift
    if drift is not None:
        raise ArtifactError(
            drift.file,
            f"that the {drift.name} stage drifts by {drift.deviation:.2g} in the golden cases",
            f"at most {drift.tolerance:g}; `qdinfer verify` has all stages",
        )


def _opened(api: Any, target: Reference, private: bool) -> tuple[Listing, dict[str, str]]:
    """The branch as it is, in a repository that is there now, and the commits of the repository's tags."""
    api.create_repo(target.repository, private=private or None, exist_ok=True)
    refs = api.list_repo_refs(target.repository)
    known = target.revision in {branch.name for branch in refs.branches}
    before = listing(api, target if known else Reference(target.repository, "main"))
    if private and not before.private:
        raise InputError(
            f"{target}: found a public repository; expected a private one: make it so in its settings, or do without "
            "--private"
        )
    if not known:
        api.create_branch(target.repository, branch=target.revision, revision=before.commit)
    return before, {tag.name: tag.target_commit for tag in refs.tags}


def _changed(files: Mapping[str, bytes], there: Listing) -> tuple[str, ...]:
    """The files that are not there as they should be, and those of another student that should not be there."""
    wrong = [name for name, data in files.items() if there.hashes.get(name) not in _hashes(data)]
    return tuple(sorted(wrong + [name for name in _OPTIONAL if name in there.hashes and name not in files]))


def _hashes(data: bytes) -> tuple[str, str]:
    """What the Hub may tell the content by: SHA-256 in LFS, or else git's hash."""
    return hashlib.sha256(data).hexdigest(), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _commit(
    api: Any, target: Reference, files: Mapping[str, bytes], changed: tuple[str, ...], parent: str, message: str
) -> str:
    """Make the commit, see that it has all files, and give its hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [
        CommitOperationAdd(name, files[name]) if name in files else CommitOperationDelete(name) for name in changed
    ]
    done = api.create_commit(
        target.repository, operations, commit_message=message, revision=target.revision, parent_commit=parent
    )
    made = Reference(target.repository, str(done.oid))
    lost = _changed(files, listing(api, made))
    if lost:
        raise HubError(
            f"{made}: found that the Hub left {', '.join(lost)} as it was; expected all files: does the repository's "
            ".gitignore name it?"
        )
    return made.revision
