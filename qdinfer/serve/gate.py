"""What every request passes: the token, the clock, the log and, at the end, the door."""

from __future__ import annotations

import hmac
import logging
import time

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import access, now, route
from .metrics import Metrics
from .problems import problem

__all__ = ["Door", "Gate", "note"]

OPEN = ("/v2/health/", "/page/", "/docs", "/static-offline-docs/", "/openapi.json")
"""What needs no token: it tells nothing of texts or students. The page at ``/`` asks for the token itself."""


class Door:
    """Whether requests may still come in.

    Attributes:
        closing: set once; from then on an answer ends its connection, and the server is not ready.
    """

    def __init__(self) -> None:
        self.closing = False


def note(scope: Scope, **facts: str | int) -> None:
    """Add facts about a request to its line in the log."""
    scope.setdefault("qdinfer.facts", {}).update(facts)


class Gate:
    """An ASGI middleware, around all routes."""

    def __init__(self, app: ASGIApp, *, token: str | None, metrics: Metrics, door: Door) -> None:
        """Ask for that token, if any, and count in those metrics."""
        self._app = app
        self._token = None if token is None else token.encode()
        self._metrics = metrics
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; uvicorn, which has the scope as it came, sends no body
            scope = {**scope, "method": "GET"}
        start = time.perf_counter()
        status = 0  # the client went away before it was answered

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._door.closing:
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            if self._allowed(scope):
                await self._app(scope, receive, watched)
            else:
                message = "authorization: found no valid token; expected the header 'Authorization: Bearer TOKEN'"
                refusal = problem(scope["path"], 401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, watched)
        except Exception:
            status = 500  # answered further out
            raise
        finally:
            self._tell(scope, status, time.perf_counter() - start)

    def _allowed(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if self._token is None or path == "/" or path.startswith(OPEN):
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        where = route(scope)
        self._metrics.request(where, status, seconds)
        if access.isEnabledFor(logging.INFO):
            client = scope.get("client")
            line = {
                "time": now(),
                "method": scope["method"],
                "route": where,
                "status": status,
                "ms": round(seconds * 1000, 2),
                "client": client[0] if client else None,
                **scope.get("qdinfer.facts", {}),
            }
            access.info(msgspec.json.encode(line).decode())
