"""Servers: one for most tests, one with a token, one with narrow limits; and one in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve.process import MODELS, Served
from students import tiny

from qdinfer import Circuit, Classifier, ExactBackend, Expectations
from qdinfer.predictions import FloatArray
from qdinfer.serve import ServerSettings, create_app

TOKEN = "s3cret-Token_of-this.server"


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny().save(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="session")
def server(tiny_path: Path) -> Iterator[Served]:
    """Two students: `tiny` and `topic-folded`."""
    with Served(tiny_path, MODELS / "topic-folded") as served:
        yield served


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def guarded(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that asks for `TOKEN`."""
    path = tmp_path_factory.mktemp("token") / "token.txt"
    path.write_text(f"{TOKEN}\na comment\n")
    with Served(tiny_path, "--token-file", path) as served:
        yield served


@pytest.fixture(scope="session")
def narrow(tiny_path: Path) -> Iterator[Served]:
    """A server with low limits, whose deadline passes soon."""
    limits = ["--max-texts", 8, "--max-bytes", 2000, "--max-shots", 500, "--deadline", 0.5]
    with Served(tiny_path, *limits) as served:
        yield served


@pytest.fixture(scope="session")
def without_aer(tiny_path: Path) -> Iterator[Served]:
    """A server of an environment without Qiskit."""
    with Served(tiny_path, blocked=("qiskit", "qiskit_aer")) as served:
        yield served


@pytest.fixture(scope="session")
def folded() -> Classifier:
    return Classifier.load(MODELS / "topic-folded")


Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """A request to a server in this process, whose exceptions come out here: `ask("POST", "/v1/classify", json=…)`."""
    app = create_app({"tiny": Classifier(tiny())})
    with asyncio.Runner() as runner:
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url="http://here")

        def request(method: str, path: str, **options: Any) -> httpx.Response:
            return runner.run(client.request(method, path, **options))

        yield request
        runner.run(client.aclose())
        for student in app.state.server.students.values():
            student.close()


class Held:
    """A server in this process whose student answers only after `release`."""

    def __init__(self, runner: asyncio.Runner, **limits: Any) -> None:
        self._runner = runner
        self._entered, self._go = threading.Event(), threading.Event()
        self._go.set()  # for the answer at its start
        self.batches: list[int] = []
        self._engine = ExactBackend.from_artifact(tiny())
        self.app = create_app({"tiny": Classifier(tiny(), backend=self)}, ServerSettings(**limits))
        self._go.clear()
        self._entered.clear()
        self.batches.clear()
        self.student = self.app.state.server.students["tiny"]
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://here")

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """The exact ones, once they may be."""
        self.batches.append(len(angles))
        self._entered.set()
        assert self._go.wait(20)
        return self._engine.expectations(circuit, angles)

    def send(self, texts: list[str], **options: Any) -> asyncio.Task[httpx.Response]:
        """A request under way."""
        return asyncio.ensure_future(self.client.post("/v1/classify", json={"texts": texts, **options}))

    async def started(self) -> None:
        """Until a batch runs."""
        await asyncio.to_thread(self._entered.wait, 20)

    async def waits(self, texts: int) -> None:
        """Until so many texts wait for an exact answer."""
        async with asyncio.timeout(20):
            while self.student.waiting["exact"] != texts:
                await asyncio.sleep(0.001)

    def release(self) -> None:
        """Let all batches go on."""
        self._go.set()

    def run(self, steps: Coroutine[Any, Any, None]) -> None:
        """Run a test in the server's event loop."""
        self._runner.run(asyncio.wait_for(steps, 30))

    def close(self) -> None:
        """End the threads."""
        self.release()
        self._runner.run(self.client.aclose())
        self.student.close()


@pytest.fixture
def held(request: pytest.FixtureRequest) -> Iterator[Held]:
    """With limits, as parameters: `@pytest.mark.parametrize("held", [{"max_queue": 5}], indirect=True)`."""
    with asyncio.Runner() as runner:
        made = Held(runner, **getattr(request, "param", {}))
        yield made
        made.close()
