"""The serverless function: what it answers, and what is deployed."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qdinfer import Classifier, InputError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "serverless"
STUDENT = ROOT / "exported_models" / "topic-folded"
TEXTS = ["A late goal wins the cup", "Shares slide after a warning"]
LIMIT = 262_144_000
"""Of AWS Lambda, in bytes: 250 MB of 1024 × 1024."""

Handler = Callable[[Any, object], dict[str, Any]]


@pytest.fixture(scope="module")
def handler(tmp_path_factory: pytest.TempPathFactory) -> Handler:
    """The handler, with a student beside it."""
    folder = tmp_path_factory.mktemp("function")
    shutil.copy(FOLDER / "handler.py", folder)
    shutil.copytree(STUDENT, folder / "student")
    spec = importlib.util.spec_from_file_location("serverless_handler", folder / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Handler = module.handler
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    predictions = Classifier.load(STUDENT).classify(TEXTS)
    answers = [{"label": each.label, "probabilities": each.probabilities} for each in predictions]
    return {"student": "topic-folded", "predictions": answers}


def http(body: str | None, method: str = "POST", **fields: object) -> dict[str, Any]:
    """An event of an HTTP API (payload 2.0) or a function URL, as AWS documents it."""
    request = {"http": {"method": method, "path": "/classify", "protocol": "HTTP/1.1"}, "stage": "$default"}
    return {"version": "2.0", "rawPath": "/classify", "requestContext": request, "body": body, **fields}


def rest(body: str | None, method: str = "POST", **fields: object) -> dict[str, Any]:
    """An event of a REST API (payload 1.0)."""
    request = {"resourcePath": "/classify", "stage": "prod"}
    return {"httpMethod": method, "path": "/classify", "requestContext": request, "body": body, **fields}


@pytest.mark.parametrize("event", [http, rest])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_request_is_answered(
    handler: Handler, expected: dict[str, Any], event: Callable[..., dict[str, Any]], encoded: bool
) -> None:
    body = json.dumps({"texts": TEXTS})
    body = base64.b64encode(body.encode()).decode() if encoded else body
    answer = handler(event(body, isBase64Encoded=encoded), None)
    assert answer["statusCode"] == 200
    assert answer["headers"] == {"Content-Type": "application/json"}
    assert json.loads(answer["body"]) == expected


def test_a_direct_call_has_no_http_around_it(handler: Handler, expected: dict[str, Any]) -> None:
    assert handler({"texts": TEXTS}, None) == expected
    with pytest.raises(InputError, match=r"^texts: found NoneType; expected \{\"texts\": \[...\]\} with at most 1000$"):
        handler({"source": "aws.events"}, None)
    with pytest.raises(InputError, match="expected"):
        handler(TEXTS, None)


@pytest.mark.parametrize("event", [http, rest])
@pytest.mark.parametrize(
    ("body", "code", "error"),
    [
        (None, 400, "body: Expecting value"),
        ("", 400, "body: Expecting value"),
        ("{", 400, "body: Expecting property name"),
        ("[" * 100_000, 400, "body: "),
        ("[]", 422, "texts: found NoneType; expected"),
        ('{"texts": "one"}', 422, "texts: found str; expected"),
        ('{"texts": ["one", 2]}', 422, "texts[1]: found int; expected str"),
        (r'{"texts": ["\ud83c"]}', 422, "texts[0]: found a lone surrogate"),
        (json.dumps({"texts": [""] * 1001}), 422, "texts: found 1001 texts; expected"),
    ],
)
def test_a_bad_request_is_told(
    handler: Handler, event: Callable[..., dict[str, Any]], body: str | None, code: int, error: str
) -> None:
    answer = handler(event(body), None)
    assert answer["statusCode"] == code
    assert json.loads(answer["body"])["error"].startswith(error)


def test_a_body_that_is_no_base64_is_told(handler: Handler) -> None:
    answer = handler(http("{}!", isBase64Encoded=True), None)
    assert answer["statusCode"] == 400


@pytest.mark.parametrize("event", [http, rest])
def test_another_method_is_told(handler: Handler, event: Callable[..., dict[str, Any]]) -> None:
    answer = handler(event(None, method="GET"), None)
    assert answer["statusCode"] == 405
    assert answer["headers"]["Allow"] == "POST"


def test_no_texts_give_no_answers(handler: Handler) -> None:
    assert json.loads(handler(http('{"texts": []}'), None)["body"])["predictions"] == []


def build(*words: object, code: int = 0) -> str:
    command = [sys.executable, str(FOLDER / "build.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_build_overwrites_nothing(tmp_path: Path) -> None:
    assert build(tmp_path, code=2) == f"build: {tmp_path}: found something there; expected a new path\n"
    assert "found no folder; expected a student's" in build(tmp_path / "new", "--student", tmp_path / "none", code=2)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_what_is_deployed_is_small_enough_and_runs_alone(tmp_path: Path, expected: dict[str, Any]) -> None:
    folder = tmp_path / "function"
    told = build(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"{size / 1e6:.1f} MB  in all" in told
    assert 50_000_000 < size < LIMIT
    assert not [name for name in ("torch", "qiskit", "jax", "transformers") if (folder / name).exists()]

    moved = folder.rename(tmp_path / "elsewhere")
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-S", "-I", str(FOLDER / "invoke.py"), str(moved)],
        input=json.dumps(http(json.dumps({"texts": TEXTS}))),
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Its onnxruntime may be newer than the tests' own.
    for found, wanted in zip(
        json.loads(json.loads(done.stdout)["body"])["predictions"], expected["predictions"], strict=True
    ):
        assert found["label"] == wanted["label"]
        assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-4)
    cold, peak = map(float, (done.stderr.split()[2], done.stderr.split()[-4]))
    assert cold < 10, done.stderr
    assert peak < 256, done.stderr
    after = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    assert after == before, "it writes nothing, as on Lambda it could not"
