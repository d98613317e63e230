"""A real server in a process of its own, started as users start it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from interpreter import BLOCK

import qdinfer

ROOT = Path(qdinfer.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
MODELS = ROOT / "exported_models"


def command(*words: object, blocked: tuple[str, ...] = (), first: str = "") -> list[str]:
    """The command, where modules are blocked as if they were not installed, and some code runs first."""
    main = "import sys\nfrom qdinfer.cli import main\nsys.exit(main(sys.argv[1:]))"
    start = ["-c", f"{BLOCK.format(blocked=blocked)}\n{first}\n{main}"] if blocked or first else ["-m", "qdinfer"]
    return [sys.executable, "-W", "error", *start, "serve", *map(str, words)]


class Served:
    """``qdinfer serve`` on a free port, and what it writes to stderr.

    Attributes:
        url: its address.
        lines: of stderr, so far.
    """

    def __init__(self, *words: object, blocked: tuple[str, ...] = (), first: str = "") -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command(*words, "--port", 0, blocked=blocked, first=first),
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            first = self.line(lambda line: line.startswith("qdinfer: serving "), seconds=60)
        except AssertionError:
            self.process.kill()
            self.end()
            raise
        self.url = first.split(" on ")[-1]
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    def line(self, wanted: Callable[[str], bool], *, since: int = 0, seconds: float = 10) -> str:
        """The first such line, which may be still to come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.lines[since:]:
                if wanted(line):
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(f"no such line in {self.lines[since:]}, exit code {self.process.poll()}")

    def log(self, since: int = 0) -> list[dict[str, Any]]:
        """The lines of JSON. That there are no others but the command's own is checked here."""
        lines = [line for line in self.lines[since:] if not line.startswith("qdinfer: ")]
        return [json.loads(line) for line in lines]

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client of this server, which takes no proxy from the environment."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=30, **options)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal if it still runs, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
            assert self.process.stderr is not None
            self.process.stderr.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def post(path: str, content: object) -> bytes:
    """A whole request, for a client that shall take little time itself."""
    body = json.dumps(content).encode()
    return b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(body)) + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
