"""A student behind a real Ray Serve on this machine."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray_cluster import RAYS_OWN, ROOT, cluster, page_code, serve
from students import LABELS, tiny

from qdinfer import BackendError, Circuit, Classifier, ExactBackend, Expectations, InputError
from qdinfer.backends import Backend
from qdinfer.integrations.ray import StudentDeployment
from qdinfer.integrations.ray.deployment import MOST_BYTES, MOST_TEXTS
from qdinfer.serve import ServerSettings
from qdinfer.serve.messages import ClassifyResponse, TextPrediction

pytestmark = [pytest.mark.slow, *RAYS_OWN]

TEXTS = ["sun rain", "goal match", "bank share sun rain goal", ""]  # the third is longer than the student reads


@pytest.fixture(scope="module", autouse=True)
def address() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with cluster(4):
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()


def counting(folder: Path) -> Backend:
    """The exact values; notes each batch's size in the folder, and fails while that has a file `broken`, as it says."""
    exact = ExactBackend.from_artifact(tiny())

    class Counting:  # of this function, so that it is pickled by value: replicas cannot import a test
        def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
            if (folder / "broken").exists():
                raise ZeroDivisionError if (folder / "broken").read_text() else BackendError("out of order")
            if len(angles):
                (folder / f"{os.urandom(8).hex()}.size").write_text(str(len(angles)))
            return exact.expectations(circuit, angles)

    return Counting()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counting")


@pytest.fixture(scope="module")
def handle(address: str, folder: Path) -> Any:
    """Of the small student, which is sent to its replica; a batch waits long for others."""
    tuned = StudentDeployment.options(user_config={"max_batch_size": 16, "batch_wait_timeout_s": 0.2})
    return serve.run(tuned.bind(tiny(), backend=counting(folder)), name="tiny", route_prefix="/tiny")


@pytest.fixture(scope="module")
def url(address: str, handle: Any) -> str:
    return f"{address}/tiny/v1/classify"


def check(response: dict[str, Any], texts: list[str], classifier: Classifier) -> None:
    """What this process answers."""
    expected, cut = classifier.classify_marked(texts)
    assert tuple(response) == ClassifyResponse.__struct_fields__, "as qdinfer serve has it"
    assert (response["model"], response["backend"], response["classes"]) == ("tiny", "exact", list(LABELS))
    assert len(response["predictions"]) == len(texts)
    for found, wanted, truncated in zip(response["predictions"], expected, cut, strict=True):
        assert tuple(found) == TextPrediction.__struct_fields__
        assert found["label"] == wanted.label
        assert found["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-5)
        assert found["standard_errors"] == dict.fromkeys(LABELS, 0.0)
        assert (found["confidence"], found["shots"], found["truncated"]) == (1.0, 0, truncated)


def test_answers_over_http_are_those_of_this_process(url: str, classifier: Classifier) -> None:
    for sent in (TEXTS, [], ["sun"] * 40, "sun rain"):
        response = httpx.post(url, json={"texts": sent})
        assert response.status_code == 200
        check(response.json(), [sent] if isinstance(sent, str) else sent, classifier)


def test_a_handle_gives_the_same(handle: Any, classifier: Classifier) -> None:
    check(handle.classify.remote(TEXTS).result(), TEXTS, classifier)
    check(handle.classify.remote("sun rain").result(), ["sun rain"], classifier)
    with pytest.raises(InputError, match=r"texts\[1\]: found None; expected str"):
        handle.classify.remote(["sun", None]).result()


def test_requests_that_come_together_are_classified_together(url: str, folder: Path, classifier: Classifier) -> None:
    for file in folder.iterdir():
        file.unlink()
    texts = [f"{TEXTS[i % 4]} {TEXTS[i // 4 % 4]}" for i in range(40)]
    with ThreadPoolExecutor(40) as pool, httpx.Client(limits=httpx.Limits(max_connections=40), timeout=30) as client:
        responses = list(pool.map(lambda text: client.post(url, json={"texts": [text]}).json(), texts))
    for text, response in zip(texts, responses, strict=True):
        check(response, [text], classifier)
    sizes = [int(file.read_text()) for file in folder.iterdir()]
    assert sum(sizes) == 40
    assert len(sizes) <= 20
    assert max(sizes) <= 16


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "body: found no valid JSON (Input data was truncated); expected {"),
        ("{", "body: found no valid JSON (Input data was truncated); expected {"),
        ("[" * 100_000, "body: "),
        ('["sun"]', "body: Expected `object`, got `array`; expected {"),
        ("{}", "body: Object missing required field `texts`; expected {"),
        ('{"texts": ["sun"], "shots": 3}', "body: Object contains unknown field `shots`; expected {"),
        ('{"texts": 3}', "body: Expected `str | array`, got `int` - at `$.texts`; expected {"),
        ('{"texts": ["sun", null]}', "body: Expected `str`, got `null` - at `$.texts[1]`; expected {"),
        ('{"texts": ["\\ud800"]}', "body: found no valid JSON ("),
        (json.dumps({"texts": ["sun"] * (MOST_TEXTS + 1)}), "texts: found 1025; expected at most 1024 in one request"),
    ],
    ids=lambda value: value[:20],
)
def test_bad_input_is_told(body: str, message: str, url: str) -> None:
    response = httpx.post(url, content=body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.json()["error"]["code"] == "bad_input"
    assert response.json()["error"]["message"].startswith(message)


def test_other_paths_methods_and_sizes_are_refused_in_the_same_shape(url: str) -> None:
    for response, status, code in (
        (httpx.get(url), 405, "method_not_allowed"),
        (httpx.post(url + "/x", json={"texts": []}), 404, "not_found"),
        (httpx.post(url, json={"texts": ["x" * MOST_BYTES]}), 413, "too_large"),
    ):
        assert response.status_code == status
        assert response.json()["error"]["code"] == code


def test_a_backend_that_fails_is_told_and_the_replica_goes_on(url: str, folder: Path) -> None:
    for said, told in (("", "out of order"), ("other", "the replica failed; its log says why")):
        (folder / "broken").write_text(said)
        response = httpx.post(url, json={"texts": ["sun"]})
        assert response.status_code == 500
        assert response.json() == {"error": {"code": "failed", "message": told}}
    (folder / "broken").unlink()
    assert httpx.post(url, json={"texts": ["sun"]}).status_code == 200


def test_a_request_may_bring_what_it_may_bring_to_qdinfer_serve() -> None:
    assert (ServerSettings().max_texts, ServerSettings().max_bytes) == (MOST_TEXTS, MOST_BYTES)


def test_a_setting_that_there_is_not_is_refused() -> None:
    message = "^user_config: found 'batch'; expected max_batch_size or batch_wait_timeout_s$"
    with pytest.raises(InputError, match=message):
        StudentDeployment.func_or_class.reconfigure(None, {"batch": 3})


def test_the_page_can_be_followed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = page_code(1)
    assert "http://127.0.0.1:8000" in code
    found: dict[str, Any] = {}
    exec(code.replace("http://127.0.0.1:8000", address), found)
    assert found["answer"]["predictions"][0]["label"] == "sport"
    (deployment,) = serve.status().applications["default"].deployments.values()
    assert deployment.replica_states == {"RUNNING": 2}
