"""The stand-in as a server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ibm_standin.devices import Device
from ibm_standin.engine import Engine
from ibm_standin.faults import Fault, Faults
from ibm_standin.limits import Limits
from ibm_standin.routes import PREFIX, Reply, Request, Routes
from ibm_standin.service import CRN, Service
from ibm_standin.store import JobRecord, Store

_DROPPED = Reply(0)


class _Handler(BaseHTTPRequestHandler):
    """One request, with the fault that it was given. HTTP/1.0: a connection for each."""

    server: _Server
    timeout = 10

    def _handle(self) -> None:
        try:
            self._answer()
        except ConnectionError:
            self.close_connection = True  # the client did not wait, or was killed

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request.of(self.command, self.path, dict(self.headers.items()), body)
        routes, faults = self.server.routes, self.server.faults
        administration = request.path.startswith("/standin/")
        fault = None if administration else faults.of_request(request.method, request.path)
        entry: dict[str, Any] = {"method": request.method, "path": request.path, "status": None}
        if not administration:
            routes.requests.append(entry)
        reply = self._spoilt(fault, "before") or routes.answer(request)
        reply = self._spoilt(fault, "after") or reply
        if reply is _DROPPED:
            return
        entry["status"] = reply.status
        self._send(reply, cut=fault is not None and fault.kind == "cut")

    def _spoilt(self, fault: Fault | None, when: str) -> Reply | None:
        """The answer in place of the service's, if the fault gives one; a stall is sat out here."""
        if fault is None or fault.when != when:
            return None
        if fault.kind == "stall":
            self.server.stopping.wait(fault.seconds)
        if fault.kind == "drop":
            return _DROPPED
        if fault.kind != "status":
            return None
        reply = Reply.error(fault.status, fault.code or fault.status, "The stand-in's fault.", fault.retry_after)
        return reply if fault.body is None else Reply(fault.status, fault.body, reply.headers)

    def _send(self, reply: Reply, *, cut: bool) -> None:
        body = reply.body
        if cut:
            body = body[: len(body) // 2]
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: `StandIn.requests` has it."""


class _Server(ThreadingHTTPServer):
    """The sockets. Threads are waited for at the end, so that none is left open."""

    daemon_threads = False
    request_queue_size = 64

    def __init__(self, port: int, routes: Routes, faults: Faults) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.routes, self.faults = routes, faults
        self.stopping = threading.Event()


class StandIn:
    """A server on 127.0.0.1, until the block ends. Its whole state is in a folder: another one there goes on with it.

    Args:
        folder: for the state.
        devices: names of fake backends, `FakeFez` or `fake_fez`; noise behind a colon: `FakeFez:readout`,
            `FakeFez:full`.
        port: 0 for a free one.
        token: the API key that is accepted.
        token_seconds: how long a bearer token is good for.
        usage_delay: seconds after a job's end until its usage is no more pending.
        limits: what is refused.
        seed: of the simulator. A job's bits depend on it and on how many jobs came before.
    """

    def __init__(
        self,
        folder: Path | str,
        devices: Sequence[str] = ("FakeFez",),
        *,
        port: int = 0,
        token: str = "stand-in-token",
        token_seconds: int = 3600,
        usage_delay: float = 0.0,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        self.folder = Path(folder)
        self.port = port
        self._devices = {device.name: device for device in map(Device.named, devices)}
        self._token, self._token_seconds = token, token_seconds
        self._usage_delay, self._limits, self._seed = usage_delay, limits or Limits(), seed
        self._faults = Faults()
        self._running = False

    def start(self) -> Self:
        """Open the folder, and serve."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._store = Store(self.folder / "stand-in.sqlite")
        self._service = Service(self._store, self._devices, self._faults, self._limits, self._usage_delay)
        self._routes = Routes(self._service, self._store, self._faults, self._token, self._token_seconds)
        self._server = _Server(self.port, self._routes, self._faults)
        self.port = self._server.server_port
        self._engine = Engine(self._store, self._devices, self._seed)
        self._engine.start()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="stand-in server")
        self._thread.start()
        self._running = True
        return self

    def stop(self) -> None:
        """Stop, as far as a client can see as if killed: what ran will run again after a restart."""
        if not self._running:
            return
        self._running = False
        self._server.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._engine.stop()
        self._store.close()

    def restart(self) -> None:
        """Stop, and start on the same folder and port. Faults that were not used are forgotten."""
        self.stop()
        self._faults.clear()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables with which the client finds this server, and no account or credentials of the user's.

        A saved account is not read while there is a token. Without USAGE_DATA_OPT_OUT the client looks through the
        whole call stack at each request, which is slow.
        """
        return {
            "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
            "QISKIT_IBM_TOKEN": self._token,
            "QISKIT_IBM_INSTANCE": CRN,
            "QISKIT_IBM_URL": self.url + PREFIX,
            "IAM_URL": self.url,
            "GLOBAL_SEARCH_URL": self.url,
            "GLOBAL_CATALOG_URL": self.url + "/api/v1",
            "IBM_CREDENTIALS_FILE": str(self.folder.absolute() / "no-credentials.env"),
            "USAGE_DATA_OPT_OUT": "True",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What was asked since the start: method, path without the prefix, and the status that was sent, if any."""
        return list(self._routes.requests)

    @property
    def limits(self) -> Limits:
        """What is refused. It can be set while the server runs."""
        return self._service.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = self._service.limits = limits

    def jobs(self) -> list[JobRecord]:
        """All jobs, in the order of their creation."""
        return self._store.jobs()

    def fault(self, kind: str, **attributes: Any) -> None:
        """Add a rule, see `Fault`."""
        self._faults.add(Fault(kind, **attributes))

    def clear_faults(self) -> None:
        """Forget the rules."""
        self._faults.clear()

    def set_device(self, name: str, status: str) -> None:
        """Make a device `active`, `paused` or in `maintenance`."""
        self._service.set_device(name, status)

    def close_session(self, identifier: str) -> None:
        """Close a session as the service does when its time is over."""
        self._service.sessions.close(identifier)

    def reset(self) -> None:
        """Forget jobs, sessions, the devices' states, faults and requests."""
        self._routes.reset()
