"""The FastAPI app, under the server that its README starts."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from qdinfer import Classifier

ROOT = Path(__file__).parents[2]
STUDENT = ROOT / "exported_models" / "topic-folded"


def start(**environment: str) -> subprocess.Popen[str]:
    """The command of the README, on a port that is free."""
    (line,) = re.findall(r"^uvicorn .*$", (ROOT / "examples" / "fastapi_app" / "README.md").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", *shlex.split(line), "--port", "0", "--no-access-log"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with start() as server:
        assert server.stderr is not None
        try:
            told = ""
            for line in server.stderr:
                told += line
                if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                    yield found[1]
                    break
            else:
                pytest.fail(told)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def student() -> Classifier:
    return Classifier.load(STUDENT)


def test_many_at_once_get_each_their_own_answer(url: str, student: Classifier) -> None:
    texts = [f"{number} {text}" for number in range(20) for text in ("goals in the cup final", "shares fell on Monday")]

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            return await asyncio.gather(*(client.post("/classify", json={"texts": [text]}) for text in texts))

    for text, response in zip(texts, asyncio.run(ask()), strict=True):
        assert response.status_code == 200
        (answer,) = response.json()
        expected = student.classify(text)[0]
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


def test_the_loop_goes_on_while_texts_are_classified(url: str) -> None:
    async def race() -> list[str]:
        done: list[str] = []

        async def ask(name: str, wait: float, **request: object) -> None:
            await asyncio.sleep(wait)
            (await client.request(url=f"/{name}", **request)).raise_for_status()  # type: ignore[arg-type]
            done.append(name)

        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            long = {"texts": ["a goal in the last minute of the final " * 80] * 1000}
            await asyncio.gather(ask("classify", 0, method="POST", json=long), ask("healthz", 0.1, method="GET"))
        return done

    assert asyncio.run(race()) == ["healthz", "classify"]


def test_health_names_the_student(url: str, student: Classifier) -> None:
    answer = httpx.get(f"{url}/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"student": "topic-folded", "sha256": student.artifact.sha256}


def test_no_texts_give_no_answers(url: str) -> None:
    answer = httpx.post(f"{url}/classify", json={"texts": []})
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ('{"texts": ["secret"', 400, "JSON decode error"),
        ("", 422, "Field required"),
        ('{"texts": "secret"}', 422, "valid list"),
        ('{"texts": ["secret", null]}', 422, "valid string"),
        (r'{"texts": ["secret \ud83c"]}', 422, "lone surrogate"),
        ('{"text": ["secret"]}', 422, "Field required"),
        ('{"texts": [' + '"secret",' * 1000 + '"secret"]}', 422, "at most 1000 items"),
        ("[" * 100_000, 400, "error parsing the body"),
    ],
)
def test_a_bad_body_is_told_and_not_sent_back(url: str, body: str, code: int, said: str) -> None:
    answer = httpx.post(f"{url}/classify", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == code
    assert said in answer.text
    assert "secret" not in answer.text


def test_without_its_student_it_does_not_start(tmp_path: Path) -> None:
    with start(STUDENT=str(tmp_path / "none")) as server:
        _, errors = server.communicate(timeout=60)
    assert server.returncode not in (0, None)
    assert "FileNotFoundError" in errors
