"""huggingface_hub's client: what it is asked, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import HubError, InputError, QdinferError, require
from .reference import Reference, is_commit

__all__ = ["Listing", "client", "hub_errors", "listing"]

_NONSENSE = (LookupError, TypeError, ValueError)
"""What the client raises where an answer is not as it expects: it checks none."""
_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


def client() -> Any:
    """huggingface_hub's `HfApi`.

    Raises:
        MissingExtraError: it is not installed, or far too old.
    """
    require("huggingface_hub.errors", feature="the Hugging Face Hub", extra="hub")
    from huggingface_hub import HfApi

    return HfApi(library_name="qdinfer")


@dataclass(frozen=True)
class Listing:
    """What a repository has at a commit.

    Attributes:
        commit: its hash.
        private: whether the repository is.
        sizes: bytes of each file, by name.
        hashes: what tells the content of each file: SHA-256 of those in LFS, git's hash of all others.
    """

    commit: str
    private: bool
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]


def listing(api: Any, reference: Reference) -> Listing:
    """Ask the Hub what is there. To be called within `hub_errors`."""
    from huggingface_hub import constants

    info = api.model_info(
        reference.repository, revision=reference.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
    )
    if not is_commit(info.sha) or (reference.is_commit and info.sha != reference.revision):
        raise ValueError(f"commit {info.sha!r}")
    sizes = {file.rfilename: int(file.size) for file in info.siblings}
    hashes = {file.rfilename: file.blob_id if file.lfs is None else file.lfs.sha256 for file in info.siblings}
    return Listing(info.sha, bool(info.private), sizes, hashes)


@contextmanager
def hub_errors(place: str) -> Iterator[None]:
    """Turn what the client raises in the block into errors of ours; the place is what their messages begin with.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
        InputError: there is no such repository or revision.
    """
    from huggingface_hub import errors

    try:
        yield
    except QdinferError:
        raise
    except (OSError, RuntimeError, errors.HTTPError, *_NONSENSE) as error:  # HTTPError: of httpx, so no OSError
        raise _explained(place, error) from error


def _explained(place: str, error: BaseException) -> QdinferError:
    """The error in our words."""
    from huggingface_hub import constants, errors

    wrapped = (errors.LocalEntryNotFoundError, RuntimeError)
    while isinstance(error, wrapped) and error.__cause__ is not None:
        error = error.__cause__  # "not in the cache", "could not be sent": why, is in the cause
    if isinstance(error, OSError) and error.errno is not None:  # of the operating system: those of the net have none
        where = error.filename or constants.HF_HUB_CACHE
        return HubError(
            f"{place}: found that {where} cannot be used ({error.strerror}); expected a cache that can be written, "
            "with room: HF_HOME says where it is"
        )
    if isinstance(error, errors.GatedRepoError):
        return HubError(
            f"{place}: found a gated repository; expected access to it: ask for it on its page, and {_LOGIN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(f"{place}: found no such repository; expected an existing one; for a private one {_LOGIN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{place}: found no such revision; expected a branch, a tag or a commit of the repository")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"{place}: found HF_HUB_OFFLINE set, and not all in the cache; expected it unset, or all loaded before"
        )
    found = _short(getattr(error, "server_message", None) or error)
    match getattr(getattr(error, "response", None), "status_code", None):
        case 401 | 403 as status:
            return HubError(f"{place}: found status {status} ({found}); expected a login with that right: {_LOGIN}")
        case 412:
            return HubError(f"{place}: found that the branch moved meanwhile; expected nobody else there: try again")
        case 429:
            return HubError(f"{place}: found too many requests ({found}); expected fewer: wait, or {_LOGIN}")
        case int(status):
            later = ": try again later" if status >= 500 else ""
            return HubError(f"{place}: found status {status} ({found}); expected success{later}")
    if re.search("/xet-(read|write)-token", found):
        return HubError(
            f"{place}: found a failure of Xet, the newer store of large files ({found}); expected none: try again, or "
            "set HF_HUB_DISABLE_XET=1 where the Hub is one without Xet"
        )
    if isinstance(error, ValueError) and isinstance(error.__cause__, errors.HfHubHTTPError):
        return HubError(f"{place}: found a refusal ({found}); expected success")
    if isinstance(error, (*_NONSENSE, errors.FileMetadataError)):
        found = f"an answer of {constants.ENDPOINT} that is not the Hub's ({type(error).__name__}: {found})"
        return HubError(f"{place}: found {found}; expected one: is HF_ENDPOINT right, and no proxy in between?")
    if isinstance(error, OSError | errors.HTTPError):
        return HubError(
            f"{place}: found no answer of {constants.ENDPOINT} ({found}); expected a connection: try again, or set "
            "HF_HUB_OFFLINE=1 for a student that is in the cache"
        )
    return HubError(f"{place}: found that huggingface_hub failed ({type(error).__name__}: {found}); expected success")


def _short(said: object) -> str:
    text = re.sub(r"\?[^\s'\")]+", "", " ".join(str(said).split()))  # what follows a URL may be a signature, a secret
    text = text or type(said).__name__
    return text if len(text) <= 300 else text[:299] + "…"
