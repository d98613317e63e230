"""The page at ``/``: files of this package and one route for the drawing. It loads nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec
from fastapi import FastAPI
from starlette.responses import Response

if TYPE_CHECKING:
    from .app import Server

__all__ = ["add_page"]

_ASSETS = {
    "/": ("index.html", "text/html"),
    "/page/page.js": ("page.js", "text/javascript"),
    "/page/circuit.js": ("circuit.js", "text/javascript"),
    "/page/page.css": ("page.css", "text/css"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_page(app: FastAPI, server: Server) -> None:
    """Add it, and what it asks for beside the routes that all clients have."""
    folder = files(__package__) / "assets"
    for path, (name, kind) in _ASSETS.items():
        _add_asset(app, path, (folder / name).read_bytes(), kind)

    @app.get("/v1/models/{model}/circuit", tags=["v1"])
    async def circuit(model: str) -> Response:
        """The circuit's gates, for drawing. Needs Qiskit."""
        student = server.student(model)
        content = msgspec.json.encode(await student.drawing())
        return Response(content, media_type="application/json")


def _add_asset(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    @app.get(path, include_in_schema=False)
    async def asset() -> Response:
        return Response(content, headers=_HEADERS, media_type=f"{kind}; charset=utf-8")
