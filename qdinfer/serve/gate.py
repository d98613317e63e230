"""What every request passes: the token, the clock, the log and, at the end, the door."""

from __future__ import annotations

import hmac
import logging
import time
from datetime import UTC, datetime

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .messages import ErrorResponse, Problem
from .metrics import Metrics

__all__ = ["Door", "Gate", "note"]

OPEN = ("/v2/health/", "/page/", "/docs", "/openapi.json")
"""What needs no token: it tells nothing of texts or students. The page at ``/`` asks for the token itself."""

log = logging.getLogger("qdinfer.access")


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
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._metrics = metrics
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
                await _refusal()(scope, receive, watched)
        except Exception:
            status = 500  # answered further out
            raise
        finally:
            self._tell(scope, status, time.perf_counter() - start)

    def _allowed(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if self._expected is None or path == "/" or path.startswith(OPEN):
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._expected)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.request(route, status, seconds)
        if log.isEnabledFor(logging.INFO):
            client = scope.get("client")
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status,
                "ms": round(seconds * 1000, 2),
                "client": client[0] if client else None,
                **scope.get("qdinfer.facts", {}),
            }
            log.info(msgspec.json.encode(line).decode())


def _refusal() -> Response:
    problem = Problem("unauthorized", "authorization: found no valid token; expected the header 'Bearer TOKEN'")
    body = msgspec.json.encode(ErrorResponse(problem))
    return Response(body, 401, {"WWW-Authenticate": "Bearer"}, "application/json")
