"""More than the server can do: it says so at once, and keeps its word to those that it takes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from serve.process import MODELS, Served, answer, post

DEADLINE = 2.0
TEXTS = [f"shares slide after the central bank warns of a long match with inflation {i}" for i in range(20)]


@dataclass
class Load:
    """Clients that ask again as soon as they have an answer, or soon after they were refused.

    Attributes:
        answered: how many, by status.
        seconds: that each labelled request took.
        refused: seconds that each refusal took.
    """

    port: int
    answered: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    async def client(self, end: float) -> None:
        request = post("/v1/classify", {"texts": TEXTS})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while time.monotonic() < end:
            start = time.monotonic()
            writer.write(request)
            status, headers, body = await answer(reader)
            self.answered[status] += 1
            if status == 200:
                self.seconds.append(time.monotonic() - start)
                assert body.count(b'"label"') == len(TEXTS)
            else:
                self.refused.append(time.monotonic() - start)
                assert 1 <= int(headers["retry-after"]) <= DEADLINE
                assert json.loads(body)["error"]["code"] == "overloaded"
                await asyncio.sleep(0.1)  # much less than it was told
        writer.close()

    def run(self, clients: int, seconds: float) -> None:
        async def run() -> None:
            end = time.monotonic() + seconds
            await asyncio.gather(*(self.client(end) for _ in range(clients)))

        asyncio.run(run())


def attempt() -> str | None:
    """What was not as promised."""
    with Served(MODELS / "topic", "--deadline", DEADLINE) as served:
        usual = Load(served.port)
        usual.run(clients=3, seconds=1.0)
        assert usual.answered.keys() == {200}, "it was busy, but not overloaded"
        capacity = usual.answered[200]  # a second
        load = Load(served.port)
        load.run(clients=60, seconds=3.0)
        assert load.answered.keys() == {200, 429}
        with served.client() as client:
            assert client.post("/v1/classify", json={"texts": TEXTS}).status_code == 200
    late, quick = np.percentile(load.seconds, 99), np.median(load.refused)
    if late > DEADLINE or quick > DEADLINE / 4:
        return f"99 % of the answers took up to {late:.2f} s, and refusals {quick:.2f} s"
    if sum(load.answered.values()) < 2 * 3 * capacity or load.answered[200] < capacity:
        return f"{load.answered} with a capacity of {capacity} a second"
    return None


@pytest.mark.slow
def test_at_many_times_its_capacity() -> None:
    """60 clients ask `topic`, which labels a few hundred texts a second, for some thousand.

    Whatever else runs on this machine can spoil the times of a try, but not of three.
    """
    failures = []
    while (failure := attempt()) is not None:
        failures.append(failure)
        assert len(failures) < 3, failures
