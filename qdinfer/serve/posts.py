"""Routes that take a body. They go past FastAPI's handling of parameters, which would take longer than a prediction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .body import read_body
from .settings import ServerSettings

__all__ = ["JSON", "Answered", "add_post"]

Headers = list[tuple[bytes, bytes]]
Answered = tuple[bytes, Headers]
"""An answer's body and headers."""

JSON: Headers = [(b"content-type", b"application/json")]


def add_post(
    app: FastAPI,
    paths: Sequence[str],
    settings: ServerSettings,
    handle: Callable[[Scope, bytes], Awaitable[Answered]],
) -> None:
    """Answer POST at these paths, before all others are looked at. What `handle` raises is answered as elsewhere."""
    for path in paths:
        app.router.routes.insert(0, Route(path, _Endpoint(path, settings, handle), methods=["POST"]))


class _Endpoint:
    """An ASGI application, which a route calls as it is."""

    def __init__(
        self, path: str, settings: ServerSettings, handle: Callable[[Scope, bytes], Awaitable[Answered]]
    ) -> None:
        self.path = path
        self._settings = settings
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # as FastAPI's routes do; the gate counts by its path
        body, headers = await self._handle(scope, await read_body(scope, receive, self._settings))
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})
