"""What goes wrong, as clients are told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import InputError, MissingExtraError, QdinferError
from .batching import OverloadedError
from .body import TooLargeError, TooSlowError
from .logs import route, trouble
from .messages import ErrorResponse, Problem
from .tensors import InferError

__all__ = ["UnknownModelError", "add_handlers", "problem"]

_LONGEST = 1000
"""Letters of a message, which may quote what a client sent."""


class UnknownModelError(InputError):
    """A request for a student that the server has not."""


REFUSAL = 0.25
"""Seconds until one who came too much is told so. Told at once, clients that try again at once take all there is."""
_ANSWERS: list[tuple[type[Exception], int, str]] = [  # the first that fits
    (TooLargeError, 413, "too_large"),
    (TooSlowError, 408, "too_slow"),
    (OverloadedError, 429, "overloaded"),
    (MissingExtraError, 501, "not_installed"),
    (UnknownModelError, 404, "unknown_model"),
    (InputError, 400, "bad_input"),
]


def add_handlers(app: FastAPI) -> None:
    """Answer every error in the form of its protocol."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _any)
    app.add_exception_handler(OverloadedError, _any)
    app.add_exception_handler(QdinferError, _any)


def problem(path: str, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what is wrong, in the form of the path's protocol."""
    told = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
    if path == "/v2" or path.startswith("/v2/"):
        body = msgspec.json.encode(InferError(told))
    else:
        body = msgspec.json.encode(ErrorResponse(Problem(code, told)))
    return Response(body, status, headers, "application/json")


async def _http(request: Request, error: Exception) -> Response:
    """What Starlette finds wrong: no such address, or another method."""
    status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None) or {}
    path = request.scope["path"]
    expected = headers.get("Allow") or "an address of this server; /docs has them all"
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    return problem(path, status, code, f"found {request.method} {path}; expected {expected}", headers)


async def _any(request: Request, error: Exception) -> Response:
    status, code = next(((status, code) for kind, status, code in _ANSWERS if isinstance(error, kind)), (500, "failed"))
    if status == 500 and isinstance(error, QdinferError):  # what else there is, the server below logs
        trouble.error("%s failed", route(request.scope), exc_info=error)
    told = str(error) if isinstance(error, QdinferError | OverloadedError) else "the server failed; its log says why"
    headers = {}
    if isinstance(error, OverloadedError):
        await asyncio.sleep(REFUSAL)
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, TooSlowError):  # what is still to come would be taken for the next request
        headers["Connection"] = "close"
    return problem(request.scope["path"], status, code, told, headers)
