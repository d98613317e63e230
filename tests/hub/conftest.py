"""A Hub on this machine, and those who use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_endpoint import Client, Endpoint

from qdinfer import Artifact
from qdinfer.reading import MANIFEST


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An empty Hub."""
    with Endpoint() as running:
        yield running


@pytest.fixture
def new_client(endpoint: Endpoint, tmp_path: Path) -> Callable[[], Client]:
    """Makes users of it, each with an empty cache."""
    return lambda: Client(endpoint, tmp_path / f"home {len(list(tmp_path.iterdir()))}")


@pytest.fixture
def client(new_client: Callable[[], Client]) -> Client:
    """A user of it."""
    return new_client()


@pytest.fixture(scope="session")
def files(student: Artifact) -> dict[str, bytes]:
    """All files of the small student."""
    return {MANIFEST: student.manifest.to_json(), **student.files}


@pytest.fixture
def commit(endpoint: Endpoint, files: dict[str, bytes]) -> str:
    """The commit with the small student, on the branch main of org/tiny."""
    return endpoint.repository("org/tiny").commit(files)
