"""The end of a server: what it took is answered, and then it goes."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from serve.process import MODELS, Served, answer, post

HEADLINE = "late header sends the home side through to the final"


@dataclass
class Load:
    """Clients at full speed, on connections that they keep, or on new ones.

    Attributes:
        answered: how many, by status.
        lost: what happened to requests that were sent whole on an established connection, and not answered.
        refused: clients whose next connection was not taken.
    """

    port: int
    answered: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    refused: int = 0

    async def client(self, request: bytes, *, keep: bool) -> None:
        """Ask until a connection is refused."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                self.refused += 1
                return
            try:
                end = False
                while not end:
                    writer.write(request)
                    status, headers, body = await answer(reader)
                    assert body.count(b'"label"') == 1
                    self.answered[status] += 1
                    end = headers.get("connection") == "close" or not keep
            except (OSError, asyncio.IncompleteReadError) as error:
                self.lost.append(f"{keep=} {error!r}")
            finally:
                writer.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_every_request_is_answered(tiny_path: Path, number: signal.Signals) -> None:
    with Served(tiny_path) as served:
        load, request = Load(served.port), post("/v1/classify", {"texts": "sun"})

        async def steps() -> None:
            clients = [asyncio.create_task(load.client(request, keep=i % 2 == 0)) for i in range(40)]
            await asyncio.sleep(1)
            assert sum(load.answered.values()) > 40
            served.process.send_signal(number)
            async with asyncio.timeout(20):
                await asyncio.gather(*clients)

        asyncio.run(steps())
        assert load.lost == []
        assert load.answered.keys() == {200}
        assert load.refused == 40
        assert served.end() == 0
        requests = [line for line in served.log() if "route" in line]
        assert len(requests) == sum(load.answered.values())
        assert not [line for line in served.log() if "trace" in line]


def test_kept_connections_are_answered_once_more_and_told_that_it_is_the_last_time(tiny_path: Path) -> None:
    """A client that sends as the signal comes does not know of it."""

    async def steps(served: Served) -> None:
        request = post("/v1/classify", {"texts": "sun"})
        connections = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(10)]
        for end in (False, True):
            for _, writer in connections:
                writer.write(request)
            for reader, _ in connections:
                status, headers, _ = await answer(reader)
                assert (status, headers.get("connection")) == (200, "close" if end else None)
            if not end:
                served.process.terminate()
                await asyncio.to_thread(served.line, lambda line: "ending" in line)
        for reader, writer in connections:
            assert await reader.read() == b""
            writer.close()

    with Served(tiny_path) as served:
        asyncio.run(steps(served))
        assert served.end() == 0


@pytest.mark.slow
def test_a_long_batch_and_what_waits_behind_it_are_answered() -> None:
    """`topic` takes about a second for 300 texts, much longer than the last call."""
    texts = [f"{HEADLINE} {i}" for i in range(300)]
    with Served(MODELS / "topic") as served:
        answers: list[httpx.Response] = []

        def ask() -> None:
            with served.client() as client:
                answers.append(client.post("/v1/classify", json={"texts": texts}))

        with served.client() as other:
            assert other.get("/v2/health/ready").json() == {"ready": True}
            threads = [threading.Thread(target=ask) for _ in range(3)]
            for thread in threads:
                thread.start()
            while 'queue="exact"} 600.0' not in other.get("/metrics").text:
                time.sleep(0.01)
            start = time.monotonic()
            served.process.terminate()
            served.line(lambda line: "ending" in line)
            ready = other.get("/v2/health/ready")  # on a connection that is open
            assert (ready.status_code, ready.json()) == (503, {"ready": False})
            assert ready.headers["connection"] == "close"
            with pytest.raises(httpx.ConnectError):
                other.get("/v2/health/ready")
        for thread in threads:
            thread.join()
        assert served.process.wait(20) == 0
        assert time.monotonic() - start > 0.6
    assert [response.status_code for response in answers] == [200] * 3
    assert {len(response.json()["predictions"]) for response in answers} == {300}


SLOW = """
import time
import qdinfer.serve.server
from qdinfer.serve.students import ServedStudent
qdinfer.serve.server.SLACK = 0.4
compute = ServedStudent._compute
ServedStudent._compute = lambda *arguments: time.sleep(2 * (arguments[2] == ["long"])) or compute(*arguments)
"""
"""A text that takes 2 s, and 1 s (with two deadlines, rounded) as the limit for connections at the end."""


def test_work_that_takes_longer_than_the_limit_for_connections_is_finished(tiny_path: Path) -> None:
    with Served(tiny_path, "--deadline", 0.1, first=SLOW) as served, ThreadPoolExecutor(1) as pool:
        body = {"texts": "long"}
        asked = pool.submit(httpx.post, f"{served.url}/v1/classify", json=body, trust_env=False, timeout=30)
        time.sleep(0.3)
        start = time.monotonic()
        assert served.end() == 0
        assert time.monotonic() - start > 1.5
        assert asked.result().status_code == 200


def test_a_second_interrupt_ends_at_once() -> None:
    with Served(MODELS / "topic") as served:
        lost: list[Exception] = []

        def ask() -> None:
            with served.client() as client:
                try:
                    client.post("/v1/classify", json={"texts": [HEADLINE * 5] * 1000})
                except httpx.TransportError as error:
                    lost.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        with served.client() as client:
            while 'qdinfer_batch_texts_count{model="topic",queue="exact"} 1.0' in client.get("/metrics").text:
                time.sleep(0.01)
        time.sleep(0.3)
        served.process.send_signal(signal.SIGINT)
        served.line(lambda line: "ending when all is answered; another SIGINT ends at once" in line)
        assert served.process.poll() is None
        start = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(20) == 130
        assert time.monotonic() - start < 1
        thread.join()
        assert len(lost) == 1


def test_an_idle_server_ends_soon_and_says_nothing_of_trouble(tiny_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with Served(tiny_path) as served:
            with served.client() as client:
                assert client.get("/v2/health/live").status_code == 200
            start = time.monotonic()
            assert served.end(number) == 0
            assert time.monotonic() - start < 5
            assert [line["message"] for line in served.log() if "level" in line] == [
                "ending when all is answered; another SIGINT ends at once"
            ]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", served.port))


def test_idle_connections_do_not_keep_it(tiny_path: Path) -> None:
    """Neither one that is kept, nor one that sent nothing, half a head, or half a body."""
    with Served(tiny_path, "--deadline", 0.5) as served:
        connections = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
        connections[1].sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        connections[2].sendall(b"GET /v2 HT")
        connections[3].sendall(post("/v1/classify", {"texts": "sun"})[:-5])
        time.sleep(0.2)
        start = time.monotonic()
        assert served.end() == 0
        assert time.monotonic() - start < 5
        for connection in connections:
            connection.close()


def test_a_signal_while_it_starts_ends_it(tiny_path: Path) -> None:
    """Its address was just printed, and it may serve already or not."""
    with Served(tiny_path) as served:
        assert served.end() in (0, 128 + signal.SIGTERM)
        assert not [line for line in served.lines if "Traceback" in line]
