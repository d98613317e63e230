"""An open loop of clients: requests are sent when their time has come, whether earlier ones are answered or not.

``python -m benchmarks.load HOST:PORT BODIES RATE SECONDS`` is the process that sends them; it prints a line of JSON.
Latencies count from the moment a request was due, so that a server which stalls is not spared the requests that would
have come meanwhile (Tene's "coordinated omission").
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        statuses: answers by status; "lost" for those that got none.
        latencies: seconds, of those that were answered 200.
        refused: seconds, of those that were answered 429.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


class _Clients:
    def __init__(self, address: str, bodies: list[bytes]) -> None:
        self.outcome = Outcome()
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        head = f"POST /v1/classify HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: "
        self._requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, number: int, due: float) -> None:
        """Send one request, and wait for its answer."""
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
            writer.write(self._requests[number % len(self._requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            self.outcome.statuses["lost"] += 1
            return
        status = head[9:12].decode()
        seconds = time.perf_counter() - due
        self.outcome.statuses[status] += 1
        if status == "200":
            self.outcome.latencies.append(seconds)
        elif status == "429":
            self.outcome.refused.append(seconds)
        self._idle.append((reader, writer))

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._idle:
            writer.close()


async def _run(address: str, bodies: list[bytes], rate: float, seconds: float) -> Outcome:
    clients = _Clients(address, bodies)
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(clients.send(number, due))
    clients.close()
    return clients.outcome


def main(address: str, bodies: str, rate: str, seconds: str) -> None:
    """Send, and print what became of it."""
    lines = Path(bodies).read_bytes().splitlines()
    outcome = uvloop.run(_run(address, lines, float(rate), float(seconds)))
    print(json.dumps(outcome.__dict__))


if __name__ == "__main__":
    main(*sys.argv[1:])
