"""What a reference to a student on the Hub looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError
from ..reading import HUB

__all__ = ["Reference", "is_commit"]

_FORM = f"{HUB}ORG/NAME@REVISION"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/+-]{0,198}[A-Za-z0-9_+-])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Reference:
    """A student on the Hub.

    Attributes:
        repository: ``org/name``.
        revision: a branch, a tag or a commit.
    """

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"{HUB}{self.repository}@{self.revision}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read ``hf:org/name@revision``.

        Raises:
            InputError: it is none; without a revision, the message says how to name one.
        """
        repository, at, revision = text.removeprefix(HUB).partition("@")
        cls.check_repository(repository, text)
        if not at:
            raise InputError(
                f"{text}: found no revision; expected {_FORM}: a tag, a branch as in {text}@main, or best the full "
                f"commit, which nobody can change: `qdinfer inspect {text}@main` prints the commit of a branch"
            )
        cls.check_revision(revision, text)
        return cls(repository, revision)

    @staticmethod
    def check_repository(name: str, text: str) -> None:
        """Raise InputError unless it is the name of a repository; the text is what was given, for the message."""
        if not re.fullmatch(f"{_PART}/{_PART}", name) or "--" in name or ".." in name or len(name) > 96:
            raise InputError(
                f"{text}: found the repository {name!r}; expected ORG/NAME, of letters, digits, '-', '_' and '.'"
            )

    @staticmethod
    def check_revision(name: str, text: str) -> None:
        """Raise InputError unless it may name a branch, a tag or a commit; the text is what was given."""
        odd = any(part[:1] in ("", ".") or part.endswith((".", ".lock")) for part in name.split("/"))
        if odd or ".." in name or not _REVISION.fullmatch(name):
            raise InputError(f"{text}: found the revision {name!r}; expected a branch, a tag or a commit")

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit, and so always the same."""
        return is_commit(self.revision)


def is_commit(revision: str) -> bool:
    """Whether it is a full commit."""
    return _COMMIT.fullmatch(revision) is not None
