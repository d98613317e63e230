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
def folded() -> Classifier:
    return Classifier.load(MODELS / "topic-folded")


@pytest.fixture(scope="module")
def texts(folded: Classifier) -> list[str]:
    """200 texts of words that the student knows, 3 to 40 words each."""
    vocabulary = sorted(json.loads(folded.artifact.files["tokenizer.json"])["model"]["vocab"])
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(vocabulary, size=rng.integers(3, 40))) for _ in range(200)]


@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
def test_student_verifies_on_both_engines(name: str) -> None:
    artifact = Artifact.open(MODELS / name)
    assert artifact.manifest.name == name
    for backend in ("exact", "aer"):
        report = verify(artifact, backend=backend)
        assert report.ok, report


@pytest.mark.parametrize("name", sorted(path.name for path in MODELS.iterdir() if path.is_dir()))
def test_student_is_written_again_byte_for_byte(name: str) -> None:
    artifact = Artifact.open(MODELS / name)
    assert artifact.manifest.to_json() == (MODELS / name / "student.json").read_bytes()
    assert artifact.golden.to_json() == (MODELS / name / "golden.json").read_bytes()


@pytest.mark.parametrize(("name", "least"), [("topic", 0.9), ("emotion", 0.8), ("hiding", 0.77)])
def test_a_contextual_student_is_good_small_and_documented(name: str, least: float) -> None:
    artifact = Artifact.open(MODELS / name)
    assert artifact.size <= 12_000_000
    provenance = artifact.manifest.provenance
    metrics = provenance.metrics
    assert metrics["test_accuracy"] >= least
    assert abs(metrics["compare_student_accuracy"] - metrics["compare_twin_accuracy"]) <= 0.015
    assert min(metrics["compare_student_trainings"], metrics["compare_twin_trainings"]) >= 3
    assert provenance.teacher is not None
    assert provenance.teacher.startswith("probe on SmolLM2-135M-Instruct")
    card = artifact.files["README.md"].decode()
    for said in (
        "| its classical twin | ",
        "| TF-IDF + logistic regression | ",
        "| transformer, fine-tuned whole | ",
        "| its teacher | ",
        "has not been seen to beat a classical layer",
        "all-MiniLM-L6-v2",
        f"qdistill train {name}_train.csv",
    ):
        assert said in card


def test_topic_folded_is_the_published_ansatz_and_small(folded: Classifier) -> None:
    assert folded.artifact.size < 5_000_000
    assert folded.circuit.gate_counts == {"rx": 11, "ry": 60, "rz": 66, "rzz": 18, "cx": 34}
    assert folded.artifact.manifest.provenance.metrics["test_accuracy"] >= 0.88


def test_exact_aer_and_statevector_estimator_agree(folded: Classifier, texts: list[str]) -> None:
    angles = folded.encoder.encode(texts)
    exact = folded.backend.expectations(folded.circuit, angles).values
    aer = AerBackend().expectations(folded.circuit, angles).values
    assert np.abs(exact - aer).max() < 1e-5
    few = angles[:20]  # it takes 90 ms a text
    observables = [[label] for label in folded.circuit.observables]
    pub = (folded.circuit.to_qiskit(), observables, folded.circuit.bindings(few))
    reference = np.asarray(StatevectorEstimator().run([pub], precision=0.0).result()[0].data.evs).T
    assert np.abs(exact[:20] - reference).max() < 1e-5


@pytest.mark.slow
def test_shots_flip_few_labels_and_their_errors_are_right(folded: Classifier, texts: list[str]) -> None:
    exact = folded.classify(texts)
    sampled = folded.classify(texts, backend=AerBackend(shots=1000, seed=11))
    difference = sampled.expectations.values - exact.expectations.values
    z = difference / sampled.expectations.standard_errors
    assert abs(z.std() - 1) < 0.1
    assert abs(z.mean()) < 0.1
    flipped = sampled.labels != exact.labels
    assert flipped.sum() <= 2 * (1 - sampled.confidence).sum() + 3, "more labels flip than their confidences allow"
    assert not flipped[sampled.confidence > 0.9999].any()


@pytest.mark.parametrize("name", ["topic", "topic-folded"])
def test_headlines_get_the_labels_that_a_reader_would_give(name: str) -> None:
    headlines = {
        "Late header sends the home side through to the cup semi-final after extra time": "sport",
        "Central bank keeps interest rates unchanged as inflation eases": "business",
        "New version of the free web browser closes three security holes": "sci_tech",
        "Peace talks resume after rebels and government agree to a truce": "world",
    }
    assert Classifier.load(MODELS / name).predict(list(headlines)).tolist() == list(headlines.values())


def test_emotion_gets_the_labels_that_a_reader_would_give() -> None:
    tweets = {
        "I love this so much, best day ever, thank you all!": "positive",
        "good morning everyone, the sun is shining": "positive",
        "my head hurts and I have to work all weekend": "negative",
        "so sad that my phone is broken, I hate this": "negative",
    }
    assert Classifier.load(MODELS / "emotion").predict(list(tweets)).tolist() == list(tweets.values())
