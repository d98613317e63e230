"""The Open Inference Protocol, version 2: what KServe, Triton and their clients speak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Scope

from .. import __version__
from .body import header
from .posts import JSON, Answered, add_post
from .problems import UnknownModelError
from .tensors import HEADER_LENGTH, Parameters, ServerMetadata, check_outputs, metadata, pack, request_texts, unpack

if TYPE_CHECKING:
    from .app import Server
    from .students import ServedStudent

__all__ = ["add_inference"]

_MODEL = "/v2/models/{model}"
_VERSION = "/versions/{version}"


def add_inference(app: FastAPI, server: Server) -> None:
    """Add the protocol's routes; each that names a model also takes its version, which is 1."""

    @app.get("/v2", tags=["v2"])
    async def about() -> Response:
        """What this server is."""
        return _json(ServerMetadata("qdinfer", __version__, ["binary_tensor_data"]))

    @app.get("/v2/health/live", tags=["v2"])
    async def live() -> Response:
        """200 as long as the server runs."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=["v2"])
    async def ready() -> Response:
        """200 while it takes requests, 503 when it is about to end."""
        closing = server.door.closing
        return _json({"ready": not closing}, 503 if closing else 200)

    @app.get(f"{_MODEL}/ready", tags=["v2"])
    async def model_ready(model: str) -> Response:
        """200 if there is such a model."""
        return _json({"name": _student(server, model).name, "ready": True})

    @app.get(f"{_MODEL}{_VERSION}/ready", tags=["v2"])
    async def version_ready(model: str, version: str) -> Response:
        """200 if there is such a version of such a model."""
        return _json({"name": _student(server, model, version).name, "ready": True})

    @app.get(_MODEL, tags=["v2"])
    async def model_metadata(model: str) -> Response:
        """A model's inputs and outputs."""
        return _json(metadata(_student(server, model)))

    @app.get(f"{_MODEL}{_VERSION}", tags=["v2"])
    async def version_metadata(model: str, version: str) -> Response:
        """The inputs and outputs of a version of a model."""
        return _json(metadata(_student(server, model, version)))

    async def infer(scope: Scope, body: bytes) -> Answered:
        student = _student(server, **scope["path_params"])
        asked, binary = unpack(body, header(scope, HEADER_LENGTH))
        texts = server.check_texts(request_texts(asked, binary))
        check_outputs(student, asked)
        parameters = asked.parameters or Parameters()
        answers = await server.classify(scope, student, texts, parameters.shots, parameters.seed)
        packed, json_length = pack(student, asked, answers)
        if json_length is None:
            return packed, JSON
        return packed, [(b"content-type", b"application/octet-stream"), (HEADER_LENGTH, str(json_length).encode())]

    add_post(app, [f"{_MODEL}/infer", f"{_MODEL}{_VERSION}/infer"], server.settings, infer)


def _student(server: Server, model: str, version: str = "1") -> ServedStudent:
    student = server.student(model)
    if version != "1":
        raise UnknownModelError(f"model {model!r}: found version {version!r}; expected '1'")
    return student


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
