"""The OpenAPI page, from the messages themselves: FastAPI knows nothing of routes that read and write their own."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .drawing import DrawnCircuit
from .messages import AnglesRequest, AnglesResponse, ClassifyRequest, ClassifyResponse, ErrorResponse, ModelsResponse
from .tensors import InferError, InferRequest, InferResponse, ModelMetadata, ServerMetadata

__all__ = ["add_openapi"]

_MESSAGES = (
    *(AnglesRequest, AnglesResponse, ClassifyRequest, ClassifyResponse, DrawnCircuit, ErrorResponse, ModelsResponse),
    *(InferError, InferRequest, InferResponse, ModelMetadata, ServerMetadata),
)
_FAILURES = {
    400: "Bad input",
    401: "No valid token",
    404: "No such model",
    408: "The body came too slowly",
    413: "Too many texts or bytes",
    429: "Overloaded; Retry-After says for how long",
    501: "Qiskit is needed for it, and is not installed",
    503: "The server is about to end",
}
_READS = {
    "/metrics": ("", [401]),
    "/v1/models": ("ModelsResponse", [401]),
    "/v1/models/{model}/circuit": ("DrawnCircuit", [401, 404, 501]),
    "/v2": ("ServerMetadata", [401]),
    "/v2/health/live": ("", []),
    "/v2/health/ready": ("", [503]),
    "/v2/models/{model}": ("ModelMetadata", [401, 404]),
    "/v2/models/{model}/ready": ("", [401, 404]),
    "/v2/models/{model}/versions/{version}": ("ModelMetadata", [401, 404]),
    "/v2/models/{model}/versions/{version}/ready": ("", [401, 404]),
}
"""What GET answers, and how it fails."""
_INFER = "https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md"


def add_openapi(app: FastAPI) -> None:
    """Describe all routes, with their messages' schemas."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = msgspec.json.schema_components(_MESSAGES, ref_template="#/components/schemas/{name}")[1]
            token = {"type": "http", "scheme": "bearer"}
            page["components"] = {"schemas": schemas, "securitySchemes": {"token": token}}
            page["security"] = [{"token": []}, {}]
            for path, (response, failures) in _READS.items():
                page["paths"][path]["get"]["responses"] = _responses(path, response, failures)
            page["paths"] |= _posts()
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _posts() -> dict[str, Any]:
    infer = ("Label the texts of the BYTES tensor `text`", "InferRequest", "InferResponse")
    paths = {
        "/v1/classify": ("Label texts, with probabilities and error bars", "ClassifyRequest", "ClassifyResponse"),
        "/v1/angles": ("Encode texts: the angles that go into the circuit", "AnglesRequest", "AnglesResponse"),
        "/v2/models/{model}/infer": infer,
        "/v2/models/{model}/versions/{version}/infer": infer,
    }
    return {path: {"post": _post(path, *told)} for path, told in paths.items()}


def _post(path: str, summary: str, request: str, response: str) -> dict[str, Any]:
    inference = path.startswith("/v2")
    failures = [400, 401, 404, 408, 413, 429] + [501] * (path != "/v1/angles")
    operation: dict[str, Any] = {
        "tags": ["v2" if inference else "v1"],
        "summary": summary,
        "operationId": path.strip("/").translate(str.maketrans("/", "_", "{}")),
        "requestBody": {"required": True, "content": _content(request, binary=inference)},
        "responses": _responses(path, response, failures, binary=inference),
    }
    if inference:
        names = [name for name in ("model", "version") if f"{{{name}}}" in path]
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
        operation["externalDocs"] = {"url": _INFER}
    return operation


def _responses(path: str, schema: str, failures: list[int], *, binary: bool = False) -> dict[str, Any]:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    done = plain if path == "/metrics" else _content(schema, binary=binary)
    failure = _content("InferError" if path.startswith("/v2") else "ErrorResponse")
    responses = {str(code): {"description": _FAILURES[code], "content": failure} for code in failures}
    if "503" in responses:  # it tells the same, but false
        responses["503"]["content"] = done
    return {"200": {"description": "Done", "content": done}} | responses


def _content(schema: str, *, binary: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}}
    }
    if binary:  # the JSON, followed by tensors
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return content
