"""The OpenAPI page, from the messages themselves: FastAPI knows nothing of routes that read their bodies alone."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .messages import AnglesRequest, AnglesResponse, ClassifyRequest, ClassifyResponse, ErrorResponse, ModelsResponse
from .tensors import InferError, InferRequest, InferResponse

__all__ = ["add_openapi"]

_MESSAGES = (
    *(AnglesRequest, AnglesResponse, ClassifyRequest, ClassifyResponse, ErrorResponse, ModelsResponse),
    *(InferError, InferRequest, InferResponse),
)
_FAILURES = {
    400: "Bad input",
    401: "No valid token",
    404: "No such model",
    408: "The body came too slowly",
    413: "Too many texts or bytes",
    429: "Overloaded; Retry-After says for how long",
    501: "Shots are asked for, and there is no simulator",
}
_INFER = "https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md"


def add_openapi(app: FastAPI) -> None:
    """Describe all routes, with their messages' schemas."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            components = page.setdefault("components", {})
            schemas = msgspec.json.schema_components(_MESSAGES, ref_template="#/components/schemas/{name}")[1]
            components.setdefault("schemas", {}).update(schemas)
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            page["security"] = [{"token": []}, {}]
            page["paths"] |= _posts()
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _posts() -> dict[str, Any]:
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/v1/classify": {
            "post": _post("v1", "Label texts, with probabilities and error bars", "ClassifyRequest", "ClassifyResponse")
        },
        "/v1/angles": {
            "post": _post("v1", "Encode texts: the angles that go into the circuit", "AnglesRequest", "AnglesResponse")
        },
        "/v2/models/{model}/infer": {
            "post": _post("v2", "Label the texts of the BYTES tensor `text`", "InferRequest", "InferResponse")
            | {"parameters": [model], "externalDocs": {"url": _INFER}}
        },
    }


def _post(tag: str, summary: str, request: str, response: str) -> dict[str, Any]:
    failure = _content("InferError" if tag == "v2" else "ErrorResponse")
    responses = {"200": {"description": "Done", "content": _content(response)}}
    responses |= {str(code): {"description": told, "content": failure} for code, told in _FAILURES.items()}
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": summary.split(",")[0].split(":")[0].lower().replace(" ", "_").replace("`", ""),
        "requestBody": {"required": True, "content": _content(request)},
        "responses": responses,
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
