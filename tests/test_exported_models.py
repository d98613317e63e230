"""The students in exported_models, as a user gets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qiskit.primitives import StatevectorEstimator

from qdinfer import AerBackend, Artifact, Classifier, verify

MODELS = Path(__file__).parents[1] / "exported_models"


@pytest.fixture(scope="module")
def topic() -> Classifier:
    return Classifier.load(MODELS / "topic")


@pytest.fixture(scope="module")
def texts(topic: Classifier) -> list[str]:
    """200 texts of words that the student knows, 3 to 40 words each."""
    vocabulary = sorted(json.loads(topic.artifact.files["tokenizer.json"])["model"]["vocab"])
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(vocabulary, size=rng.integers(3, 40))) for _ in range(200)]


@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
def test_student_verifies_on_both_engines(name: str) -> None:
    artifact = Artifact.open(MODELS / name)
    assert artifact.manifest.name == name
    for backend in ("exact", "aer"):
        report = verify(artifact, backend=backend)
        assert report.ok, report


def test_topic_is_the_published_ansatz_and_small(topic: Classifier) -> None:
    assert topic.artifact.size < 5_000_000
    assert topic.circuit.gate_counts == {"rx": 11, "ry": 60, "rz": 66, "rzz": 18, "cx": 34}
    assert topic.artifact.manifest.provenance.metrics["test_accuracy"] >= 0.88


def test_exact_aer_and_statevector_estimator_agree(topic: Classifier, texts: list[str]) -> None:
    angles = topic.encoder.encode(texts)
    exact = topic.backend.expectations(topic.circuit, angles).values
    aer = AerBackend().expectations(topic.circuit, angles).values
    assert np.abs(exact - aer).max() < 1e-5
    few = angles[:20]  # it takes 90 ms a text
    observables = [[label] for label in topic.circuit.observables]
    pub = (topic.circuit.to_qiskit(), observables, topic.circuit.bindings(few))
    reference = np.asarray(StatevectorEstimator().run([pub], precision=0.0).result()[0].data.evs).T
    assert np.abs(exact[:20] - reference).max() < 1e-5


@pytest.mark.slow
def test_shots_flip_few_labels_and_their_errors_are_right(topic: Classifier, texts: list[str]) -> None:
    exact = topic.classify(texts)
    sampled = topic.classify(texts, backend=AerBackend(shots=1000, seed=11))
    difference = sampled.expectations.values - exact.expectations.values
    z = difference / sampled.expectations.standard_errors
    assert abs(z.std() - 1) < 0.1
    assert abs(z.mean()) < 0.1
    flipped = sampled.labels != exact.labels
    assert flipped.sum() <= 2 * (1 - sampled.confidence).sum() + 3, "more labels flip than their confidences allow"
    assert not flipped[sampled.confidence > 0.9999].any()


def test_headlines_get_the_labels_that_a_reader_would_give(topic: Classifier) -> None:
    headlines = {
        "Late header sends the home side through to the cup semi-final after extra time": "sport",
        "Central bank keeps interest rates unchanged as inflation eases": "business",
        "New version of the free web browser closes three security holes": "sci_tech",
        "Peace talks resume after rebels and government agree to a truce": "world",
    }
    assert topic.predict(list(headlines)).tolist() == list(headlines.values())
