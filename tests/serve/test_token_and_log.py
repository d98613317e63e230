"""Who may use a server, and what it writes about those who did."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.conftest import TOKEN, Ask, Held
from serve.process import ENVIRONMENT, Served, command

SECRET = "Geheimtext 4711"
HEADERS = ("user-agent", "referer", "cookie", "x-forwarded-for", "forwarded", "x-request-id", "origin")
CLOSED = [
    ("POST", "/v1/classify"),
    ("POST", "/v1/angles"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny/circuit"),
    ("GET", "/v2"),
    ("GET", "/v2/models/tiny"),
    ("GET", "/v2/models/tiny/ready"),
    ("GET", "/v2/models/tiny/versions/1"),
    ("POST", "/v2/models/tiny/infer"),
    ("POST", "/v2/models/tiny/versions/1/infer"),
    ("GET", "/metrics"),
    ("GET", "/nope"),
    ("GET", "/v2/health"),
    ("GET", "//"),
]
OPEN = [
    "/",
    "/v2/health/live",
    "/v2/health/ready",
    "/page/page.js",
    "/page/circuit.js",
    "/page/page.css",
    "/page/icon.svg",
    "/docs",
    "/static-offline-docs/swagger-ui.css",
    "/static-offline-docs/swagger-ui-bundle.js",
    "/openapi.json",
]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer Bearer {TOKEN}",
        "Bearer \xfc",
    ],
)
def test_without_the_token_it_is_401(guarded: Served, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    with guarded.client() as client:
        for method, path in CLOSED:
            response = client.request(method, guarded.url + path, headers=headers, content=b"{}")
            assert response.status_code == 401, path
            assert response.headers["www-authenticate"] == "Bearer"
            told = "authorization: found no valid token; expected the header 'Authorization: Bearer TOKEN'"
            expected: Any = told if path.startswith("/v2") else {"code": "unauthorized", "message": told}
            assert response.json() == {"error": expected}


def test_with_the_token_all_is_open(guarded: Served) -> None:
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer "):
        with guarded.client(headers={"authorization": f"{scheme} {TOKEN}"}) as client:
            assert client.post("/v1/classify", json={"texts": "sun"}).status_code == 200
            assert client.get("/v1/models").status_code == 200
            assert client.get("/metrics").status_code == 200
            assert client.get("/nope").status_code == 404


@pytest.mark.parametrize("path", OPEN)
def test_what_tells_nothing_is_open(guarded: Served, path: str) -> None:
    with guarded.client() as client:
        assert client.get(path).status_code == 200


def test_no_way_leads_around_the_token(guarded: Served) -> None:
    """Paths that begin with an open one, and end elsewhere."""
    for path in (
        "/page/../v1/models",
        "/docs/../v1/models",
        "/v2/health/../models/tiny",
        "/page/%2e%2e/v1/models",
        "/static-offline-docs/../v1/models",
        "/static-offline-docs/..%2f..%2f..%2f..%2fetc/passwd",
        "/docs%2f..%2fv1%2fmodels",
        "/openapi.json/../v1/models",
    ):
        with socket.create_connection(("127.0.0.1", guarded.port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 401 ")), path


# The log


def lines_of(served: Served, since: int, count: int) -> list[dict[str, Any]]:
    """The next lines, once they are there; and that no more come."""
    end = time.monotonic() + 10
    while len(served.log(since)) < count and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    return served.log(since)


def test_a_request_is_a_line_of_json(server: Served) -> None:
    since = len(server.lines)
    with server.client() as client:
        client.post("/v1/classify", json={"texts": ["sun", "rain"], "model": "tiny"})
        client.get("/v2/health/live")
        client.get("/v2/models/tiny/versions/1/ready")
    first, second, third = lines_of(server, since, 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first.pop("time"))
    assert 0 < first.pop("ms") < 10_000
    assert first == {
        "method": "POST",
        "route": "/v1/classify",
        "status": 200,
        "client": "127.0.0.1",
        "model": "tiny",
        "texts": 2,
    }
    assert (second["method"], second["route"], second["status"]) == ("GET", "/v2/health/live", 200)
    assert "texts" not in second
    assert third["route"] == "/v2/models/{model}/versions/{version}/ready"


def test_no_line_has_a_text(server: Served) -> None:
    """Neither of good requests nor of bad ones, wherever the text stands."""
    since = len(server.lines)
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [SECRET]}
    sent: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/classify", {"json": {"texts": SECRET, "model": "tiny"}}),
        ("POST", "/v1/classify", {"json": {"texts": SECRET, "model": "tiny", "shots": 10}}),
        ("POST", "/v1/angles", {"json": {"texts": [SECRET], "model": "tiny"}}),
        ("POST", "/v1/classify", {"json": {"texts": [SECRET, 1]}}),
        ("POST", "/v1/classify", {"json": {"texts": "a", "model": SECRET}}),
        ("POST", "/v1/classify", {"json": {SECRET: "a"}}),
        ("POST", "/v1/classify", {"content": SECRET.encode()}),
        ("POST", "/v1/classify", {"json": {"texts": [SECRET] * 2000, "model": "tiny"}}),
        ("POST", "/v1/classify", {"content": gzip.compress(SECRET.encode()), "headers": {"content-encoding": "gzip"}}),
        ("POST", "/v1/classify", {"content": b"{}", "headers": {"content-encoding": SECRET}}),
        ("POST", "/v2/models/tiny/infer", {"json": {"inputs": [tensor], "id": SECRET}}),
        ("POST", "/v2/models/tiny/infer", {"json": {"inputs": [tensor | {"shape": [3]}]}}),
        ("POST", f"/v2/models/{SECRET}/infer", {"json": {"inputs": [tensor]}}),
        ("GET", f"/v2/models/tiny/versions/{SECRET}", {}),
        ("GET", f"/{SECRET}", {}),
        ("GET", f"/v1/classify?text={SECRET}", {}),
        ("GET", "/v1/models", {"headers": dict.fromkeys(HEADERS, SECRET)}),
    ]
    with server.client() as client:
        answers = [client.request(method, path, **options) for method, path, options in sent]
    assert {answer.status_code for answer in answers} == {200, 400, 404, 405, 413}
    log = lines_of(server, since, len(sent))
    assert [line["status"] for line in log] == [answer.status_code for answer in answers]
    text = "\n".join(server.lines[since:])
    assert "4711" not in text
    assert "Geheim" not in text


def test_the_token_is_nowhere(guarded: Served) -> None:
    with guarded.client() as client:
        for headers in ({"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Bearer {TOKEN}0"}):
            for path in ("/v1/models", "/nope", f"/{TOKEN}", "/openapi.json", "/", "/metrics"):
                response = client.get(path, headers=headers)
                assert TOKEN not in response.text.replace(f"GET /{TOKEN};", ""), "a client may hear what it said"
    assert TOKEN not in "\n".join(guarded.lines)


def test_one_line_a_request_under_load(server: Served) -> None:
    since = len(server.lines)

    async def load() -> None:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, limits=limits) as client:
            body = {"texts": "sun", "model": "tiny"}
            answers = await asyncio.gather(*(client.post("/v1/classify", json=body) for _ in range(200)))
            assert {answer.status_code for answer in answers} == {200}

    asyncio.run(load())
    assert len(lines_of(server, since, 200)) == 200


def test_a_failure_is_a_line_of_json_with_its_trace(
    held: Held, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from qdinfer import BackendError
    from qdinfer.serve import logs

    loggers = [logs.access, logs.trouble, logging.getLogger("uvicorn")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]

    def expectations(*_: object) -> Any:
        raise BackendError("the engine\nis on fire")

    monkeypatch.setattr(held, "expectations", expectations)
    monkeypatch.setattr(logging, "logThreads", True)
    monkeypatch.setattr(logging, "logProcesses", True)
    monkeypatch.setattr(logging, "logMultiprocessing", True)
    try:
        logs.log_to_stderr()

        async def steps() -> None:
            assert (await held.send([SECRET])).status_code == 500

        held.run(steps())
    finally:
        for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
    failure, request = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert (failure["level"], failure["message"]) == ("error", "/v1/classify failed")
    assert failure["trace"].startswith("Traceback (most recent call last):\n")
    assert failure["trace"].endswith("BackendError: the engine\nis on fire")
    assert SECRET not in failure["trace"]
    assert (request["route"], request["status"]) == ("/v1/classify", 500)


def test_an_application_without_the_command_writes_nothing(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever runs `create_app` elsewhere sets up logging himself."""
    assert ask("POST", "/v1/classify", json={"texts": "sun"}).status_code == 200
    assert capfd.readouterr() == ("", "")


def test_a_reader_of_the_log_that_goes_away_is_no_failure(tiny_path: Path) -> None:
    """As `qdinfer serve … 2>&1 | head -1` does."""
    process = subprocess.Popen(command(tiny_path, "--port", 0), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = process.stderr.readline().split(" on ")[-1].strip()
        process.stderr.close()
        with httpx.Client(base_url=url, trust_env=False) as client:
            for _ in range(20):
                assert client.post("/v1/classify", json={"texts": "sun"}).status_code == 200
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
