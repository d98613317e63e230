"""``/v1``: the same answers as `Classifier` gives, over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector
from serve.process import MODELS, Served
from students import LABELS, tiny

from qdinfer import AerBackend, Classifier, Predictions

TEXTS = ["sun rain", "goal, match!", "", "bank share\nstar", "été ☂ 雨", "sun rain goal match bank"]
HEADLINES = ["Late header sends the home side through", "Shares slide as rates rise", "Storm cuts off villages"]


def classify(client: httpx.Client, texts: Any, **options: Any) -> dict[str, Any]:
    response = client.post("/v1/classify", json={"texts": texts, **options})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    return found


def check(found: dict[str, Any], expected: Predictions) -> None:
    assert found["classes"] == expected.classes.tolist()
    assert found["backend"] == expected.backend
    predictions = found["predictions"]
    assert len(predictions) == len(expected)
    for one, other in zip(predictions, expected, strict=True):
        assert one["label"] == other.label
        assert list(one["probabilities"]) == list(one["standard_errors"]) == found["classes"]
        assert one["probabilities"] == pytest.approx(other.probabilities, abs=1e-6)
        assert one["standard_errors"] == pytest.approx(other.standard_errors, abs=1e-6)
        assert one["confidence"] == pytest.approx(other.confidence, abs=1e-6)
        assert one["shots"] == other.shots


@pytest.mark.filterwarnings("ignore::qdinfer.TruncationWarning")
def test_answers_are_those_of_the_classifier(client: httpx.Client, classifier: Classifier, folded: Classifier) -> None:
    for name, own, texts in (("tiny", classifier, TEXTS), ("topic-folded", folded, HEADLINES)):
        found = classify(client, texts, model=name)
        assert found["model"] == name
        check(found, own.classify(texts))


def test_one_text_is_a_list_of_one(client: httpx.Client) -> None:
    assert classify(client, "sun", model="tiny") == classify(client, ["sun"], model="tiny")


def test_no_texts_get_no_predictions(client: httpx.Client) -> None:
    for options in ({}, {"shots": 10}):
        found = classify(client, [], model="tiny", **options)
        assert found["predictions"] == []
        assert found["classes"] == list(LABELS)
        assert client.post("/v1/angles", json={"texts": [], "model": "tiny"}).json()["angles"] == []


def test_cut_texts_are_told_of(client: httpx.Client) -> None:
    predictions = classify(client, ["sun rain goal match", "sun rain goal match bank"], model="tiny")["predictions"]
    assert [each["truncated"] for each in predictions] == [False, True]


def test_many_requests_at_once_get_their_own_answers(client: httpx.Client, folded: Classifier) -> None:
    texts = [f"{text} {i}" for i in range(40) for text in HEADLINES]
    together = classify(client, texts, model="topic-folded")
    check(together, folded.classify(texts))


def test_shots_are_those_of_aer_with_that_seed(client: httpx.Client, classifier: Classifier) -> None:
    texts = ["sun rain", "goal"]
    for seed in (7, 8):
        found = classify(client, texts, model="tiny", shots=300, seed=seed)
        check(found, classifier.classify(texts, backend=AerBackend(300, seed=seed)))
        assert all(0 < error < 0.1 for each in found["predictions"] for error in each["standard_errors"].values())
        assert all(each["confidence"] < 1 for each in found["predictions"])
    assert found == classify(client, texts, model="tiny", shots=300, seed=8)
    assert found != classify(client, texts, model="tiny", shots=300, seed=9)
    without = [classify(client, texts, model="tiny", shots=300)["predictions"] for _ in range(2)]
    assert without[0] != without[1]


def test_error_bars_are_of_the_size_of_the_errors(client: httpx.Client, classifier: Classifier) -> None:
    text, label = "bank share", LABELS[0]
    sampled = classify(client, [text] * 200, model="tiny", shots=400, seed=1)["predictions"]
    exact = classifier.classify(text)[0].probabilities[label]
    z = [(each["probabilities"][label] - exact) / each["standard_errors"][label] for each in sampled]
    assert 0.8 < np.std(z) < 1.2
    assert abs(np.mean(z)) < 0.4


def test_angles_are_those_of_the_encoder(client: httpx.Client, classifier: Classifier, folded: Classifier) -> None:
    for name, own, texts in (("tiny", classifier, TEXTS[:4]), ("topic-folded", folded, HEADLINES)):
        response = client.post("/v1/angles", json={"texts": texts, "model": name})
        assert response.status_code == 200
        found = response.json()
        assert found["model"] == name
        assert found["inputs"] == list(own.circuit.inputs)
        np.testing.assert_allclose(found["angles"], own.encoder.encode(texts), atol=1e-5)


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v2/health/ready", "/metrics"])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    got, told = client.get(path), client.head(path)
    assert told.status_code == got.status_code == 200
    assert told.headers["content-type"] == got.headers["content-type"]
    assert told.content == b""


def test_models_are_described(client: httpx.Client, folded: Classifier) -> None:
    small, large = client.get("/v1/models").json()["models"]
    assert small == {
        "name": "tiny",
        "classes": list(LABELS),
        "qubits": 4,
        "observables": list(tiny().manifest.circuit.observables),
        "max_tokens": 4,
        "sha256": tiny().sha256,
    }
    assert large["name"] == "topic-folded"
    assert large["classes"] == folded.classes_.tolist()
    assert large["sha256"] == folded.artifact.sha256


@pytest.mark.parametrize("name", ["tiny", "topic-folded"])
def test_the_drawn_gates_are_the_circuit(client: httpx.Client, name: str, folded: Classifier) -> None:
    circuit = folded.circuit if name == "topic-folded" else Classifier(tiny()).circuit
    found = client.get(f"/v1/models/{name}/circuit").json()
    assert found["inputs"] == list(circuit.inputs)
    parameters = {input: Parameter(input) for input in circuit.inputs}
    rebuilt = QuantumCircuit(found["qubits"])
    for gate in found["gates"]:
        angles = [
            sum((factor * parameters[input] for input, factor in angle["factors"].items()), start=angle["offset"])
            for angle in gate["angles"]
        ]
        getattr(rebuilt, gate["name"])(*angles, *gate["qubits"])
    original = circuit.to_qiskit()
    values = dict(zip(circuit.inputs, np.random.default_rng(0).uniform(-3, 3, len(circuit.inputs)), strict=True))
    bound = [each.assign_parameters({p: values[p.name] for p in each.parameters}) for each in (rebuilt, original)]
    assert len(found["gates"]) == len(original.data) > circuit.num_qubits
    assert Statevector(bound[0]).equiv(Statevector(bound[1]))


def test_first_requests_that_need_qiskit_at_once(tiny_path: Path) -> None:
    """As the page's are. Threads that begin to import Qiskit in different places would be in each other's way."""

    def circuit(name: str) -> httpx.Response:
        return httpx.get(f"{served.url}/v1/models/{name}/circuit", trust_env=False, timeout=60)

    def shots(name: str) -> httpx.Response:
        body = {"texts": "sun", "shots": 10, "model": name}
        return httpx.post(f"{served.url}/v1/classify", json=body, trust_env=False, timeout=60)

    with Served(tiny_path, MODELS / "topic-folded") as served, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(each, name) for each in (circuit, shots) for name in ("topic-folded", "tiny")]
        assert [each.result().status_code for each in asked] == [200] * 4


def test_one_student_needs_no_name(narrow: Served) -> None:
    with narrow.client() as client:
        assert classify(client, "sun")["model"] == "tiny"
        assert client.post("/v1/angles", json={"texts": "sun"}).json()["model"] == "tiny"
