"""Students that were stored when their format was new: they open, verify and answer alike for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdinfer import Artifact, Classifier, verify
from qdinfer.manifest import FORMAT

STORED = Path(__file__).parents[1] / "artifacts"
FORMATS = range(1, FORMAT + 1)


def both(number: int) -> list[Path]:
    return [STORED / f"format{number}", STORED / f"format{number}.zip"]


@pytest.mark.parametrize("number", FORMATS)
def test_every_format_is_stored(number: int) -> None:
    for path in both(number):
        assert path.exists(), f"run tests/artifacts/make.py: format {number} has no {path.name}"
        assert Artifact.open(path).manifest.format == number
    folder, archive = (Artifact.open(path) for path in both(number))
    assert folder.sha256 == archive.sha256
    assert folder.files == archive.files


@pytest.mark.parametrize("path", [path for number in FORMATS for path in both(number)], ids=lambda path: path.name)
def test_it_verifies_and_answers_as_it_did(path: Path) -> None:
    result = verify(path)
    assert result.ok, result.first_drift
    assert result.backend == "exact"
    assert [stage.name for stage in result.stages] == ["tokenizer", "encoder", "circuit", "readout", "labels"]
    artifact = Artifact.open(path)
    golden = artifact.golden
    classifier = Classifier(artifact)
    with pytest.warns(UserWarning, match="1 of 5 texts have over 4 tokens"):
        predictions = classifier.classify(golden.texts)
    assert predictions.labels.tolist() == golden.labels
    # End to end: the encoder's tolerance goes through the circuit and the readout.
    np.testing.assert_allclose(predictions.expectations.values, golden.expectations, atol=1e-4)
    np.testing.assert_allclose(predictions.probabilities, golden.probabilities, atol=1e-4)


@pytest.mark.parametrize("number", FORMATS)
def test_it_is_written_again_byte_for_byte(number: int) -> None:
    # The identity of a student, `Artifact.sha256`, is the hash of these bytes.
    folder = STORED / f"format{number}"
    artifact = Artifact.open(folder)
    assert artifact.manifest.to_json() == (folder / "student.json").read_bytes()
    assert artifact.golden.to_json() == (folder / "golden.json").read_bytes()


def test_nothing_else_is_stored() -> None:
    names = {path.name for path in STORED.glob("format*")}
    assert names == {path.name for number in FORMATS for path in both(number)}


def test_format_1_as_it_was_released() -> None:
    artifact = Artifact.open(STORED / "format1")
    assert artifact.manifest.labels == ["weather", "sport", "money"]
    assert artifact.golden.texts == ["", "sun rain", "goal match goal", "bank share star code nothing", "rain"]
    assert len(set(artifact.golden.labels)) > 1  # or a student that always says the same would pass
    assert sorted(artifact.files) == [
        "README.md",
        "circuit.qasm",
        "compiled.onnx",
        "encoder.onnx",
        "golden.json",
        "tokenizer.json",
    ]
