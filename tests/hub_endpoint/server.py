"""The endpoint as two servers on this machine: the Hub, and where it keeps large files."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from hub_endpoint.faults import Fault, Faults
from hub_endpoint.routes import TOKEN, Reply, Request, Routes
from hub_endpoint.store import Repository


@dataclass(frozen=True)
class Asked:
    """A request that arrived.

    Attributes:
        method: GET, …
        path: with the query.
        token: whether it came with a login.
        storage: whether it arrived at the second port.
    """

    method: str
    path: str
    token: bool
    storage: bool


class _Handler(BaseHTTPRequestHandler):
    """One request, with the fault that it was given. HTTP/1.0: a connection for each."""

    server: _Server
    timeout = 10

    def _handle(self) -> None:
        try:
            self._answer()
        except ConnectionError:
            self.close_connection = True  # the client did not wait

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self) -> None:
        endpoint = self.server.endpoint
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, url.path, url.query, headers, self._body())
        token = "authorization" in headers
        endpoint.asked.append(Asked(self.command, self.path, token, storage=self.server.storage))
        fault = endpoint.faults.of_request(self.command, self.path)
        kind = None if fault is None else fault.kind
        if fault is not None and kind == "meanwhile":
            fault.action()
        if kind == "stall":
            self.server.stopping.wait(30)
        if kind in ("drop", "stall"):
            return
        if fault is not None and kind == "status":
            self._send(Reply(fault.status, fault.headers, b"{}"), len(b"{}"))
            return
        reply = endpoint.routes.answer(request)
        if fault is not None and kind == "content":
            reply = replace(reply, body=fault.body)
        if kind == "wrong":
            reply = replace(reply, body=bytes(byte ^ 1 for byte in reply.body))
        reply = _ranged(reply, headers.get("range"))
        whole = len(reply.body)
        self._send(replace(reply, body=reply.body[: whole // 2]) if kind == "cut" else reply, whole)

    def _send(self, reply: Reply, length: int) -> None:
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(length), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: `Endpoint.asked` has it."""


def _ranged(reply: Reply, wanted: str | None) -> Reply:
    match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
    if reply.status != 200 or match is None:
        return reply
    start, size = int(match[1]), len(reply.body)
    headers = {**reply.headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"}
    return Reply(206, headers, reply.body[start:])


class _Server(ThreadingHTTPServer):
    """A port. Threads are waited for at the end, so that none is left open."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, endpoint: Endpoint, port: int, *, storage: bool) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.endpoint, self.storage = endpoint, storage
        self.stopping = threading.Event()


class Endpoint:
    """A Hub on 127.0.0.1, until the block ends. It goes on with the same repositories when it is started again.

    Attributes:
        routes: with the repositories and the large files.
        faults: what shall go wrong.
        asked: what was asked, in order.
        token: the login that it accepts.
    """

    token = TOKEN

    def __init__(self) -> None:
        self.routes, self.faults = Routes(), Faults()
        self.asked: list[Asked] = []
        self._ports = [0, 0]
        self._running: list[tuple[_Server, threading.Thread]] = []

    def start(self) -> Self:
        """Listen, at the same ports as before."""
        servers = [_Server(self, port, storage=bool(i)) for i, port in enumerate(self._ports)]
        self._ports = [server.server_port for server in servers]
        self.routes.url, self.routes.storage = (f"http://127.0.0.1:{port}" for port in self._ports)
        for server in servers:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="hub endpoint")
            thread.start()
            self._running.append((server, thread))
        return self

    def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        while self._running:
            server, thread = self._running.pop()
            server.stopping.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the Hub listens."""
        return self.routes.url

    def environment(self, home: Path) -> dict[str, str]:
        """The variables with which the client finds this endpoint, and nothing of the user's.

        Without HF_HUB_DISABLE_XET the newest client sends large files to Xet, without asking whether there is one.
        """
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def repository(self, name: str, **attributes: Any) -> Repository:
        """A new repository, with its first commit."""
        return self.routes.repositories.setdefault(name, Repository(name, **attributes))

    def fault(self, kind: str, **attributes: Any) -> None:
        """Add a rule, see `Fault`."""
        self.faults.rules.append(Fault(kind, **attributes))

    def reset(self) -> None:
        """Forget faults and requests."""
        self.faults.rules.clear()
        self.asked.clear()
