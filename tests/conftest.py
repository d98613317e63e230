"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from bert import save_bert
from command import Run
from hypothesis import settings
from students import tiny

from qdinfer import Artifact, Classifier

# No test asserts a time, and the first example may have to import a library.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def student() -> Artifact:
    """A compiled student of 4 qubits, in memory."""
    return tiny()


@pytest.fixture
def student_path(student: Artifact, tmp_path: Path) -> Path:
    """The same, as a folder of the test's own."""
    return student.save(tmp_path / "tiny")


@pytest.fixture(scope="session")
def classifier(student: Artifact) -> Classifier:
    """The same, ready to classify on the exact engine."""
    return Classifier(student)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny transformer, see `bert.WORDS`."""
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the command."""
    return Run(capsys)
