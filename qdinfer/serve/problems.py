"""What goes wrong, as clients are told."""

from __future__ import annotations

import logging
import math

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..errors import InputError, MissingExtraError, QdinferError
from .batching import OverloadedError
from .body import TooLargeError, TooSlowError
from .messages import ErrorResponse, Problem
from .tensors import InferError

__all__ = ["UnknownModelError", "add_handlers"]

log = logging.getLogger("qdinfer.serve")


class UnknownModelError(InputError):
    """A request for a student that the server has not."""


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


async def _http(request: Request, error: Exception) -> Response:
    status, detail = getattr(error, "status_code", 500), getattr(error, "detail", "")
    found = f"{request.method} {request.url.path[:200]}"
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    return _problem(request, status, code, f"found {found}; expected another ({detail}); /docs has all addresses")


async def _any(request: Request, error: Exception) -> Response:
    status, code = next(((status, code) for kind, status, code in _ANSWERS if isinstance(error, kind)), (500, "failed"))
    if status == 500 and isinstance(error, QdinferError):  # what else there is, the server below logs
        log.error("%s %s failed", request.method, request.url.path[:200], exc_info=error)
    told = str(error) if isinstance(error, QdinferError | OverloadedError) else "the server failed; its log says why"
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return _problem(request, status, code, told, headers)


def _problem(request: Request, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    if request.url.path.startswith("/v2"):  # the protocol's form
        body = msgspec.json.encode(InferError(message))
    else:
        body = msgspec.json.encode(ErrorResponse(Problem(code, message)))
    return Response(body, status, headers, "application/json")
