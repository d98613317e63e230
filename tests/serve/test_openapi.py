"""The OpenAPI page: it describes every route, and the answers are as it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from serve.conftest import Ask
from serve.process import Served
from starlette.routing import Mount, Route
from students import tiny

from qdinfer import Classifier
from qdinfer.serve import create_app

JSON = "application/json"
UNDESCRIBED = re.compile(r"/|/page/.*|/docs.*|/openapi\.json|/static-offline-docs")
"""The pages for people."""


@pytest.fixture(scope="module")
def page(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", "/openapi.json").json()
    return found


def operations(page: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in page["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def contents(value: Any) -> Iterator[Any]:
    """All values within a value."""
    yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from contents(inner)


def test_every_route_is_described() -> None:
    app = create_app({"tiny": Classifier(tiny())})
    routes = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD" and not UNDESCRIBED.fullmatch(route.path)
    }
    described = {(path, method) for path, method, _ in operations(app.openapi())}
    assert described == routes
    assert len(routes) == 14
    assert [route.path for route in app.routes if isinstance(route, Mount)] == ["/static-offline-docs"]
    for student in app.state.server.students.values():
        student.close()


def test_the_page_is_sound(page: dict[str, Any]) -> None:
    assert page["openapi"].startswith("3.1.")
    assert page["info"]["title"] == "qdinfer"
    assert page["info"]["version"]
    names = set(page["components"]["schemas"])
    references = {value["$ref"] for value in contents(page) if isinstance(value, dict) and "$ref" in value}
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= names
    ids = [operation["operationId"] for _, _, operation in operations(page)]
    assert len(set(ids)) == len(ids)
    for path, method, operation in operations(page):
        assert operation["summary"]
        assert operation["tags"]
        declared = [(each["name"], each["in"], each["required"]) for each in operation.get("parameters", [])]
        assert declared == [(name, "path", True) for name in re.findall(r"{(\w+)}", path)]
        assert "200" in operation["responses"]
        assert ("requestBody" in operation) == (method == "post")
        assert all(response["description"] for response in operation["responses"].values())
    for schema in page["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    assert page["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def checked(page: dict[str, Any], content: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator(schema | {"components": page["components"]}).validate(content)


TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["sun"]}
REQUESTS: list[tuple[str, str, Any]] = [
    ("post", "/v1/classify", {"texts": ["sun", "sun rain goal match bank"]}),
    ("post", "/v1/classify", {"texts": "sun", "model": "tiny", "shots": 20, "seed": 3}),
    ("post", "/v1/classify", {"texts": "sun", "model": "none"}),
    ("post", "/v1/classify", {"texts": "sun", "seed": 3}),
    ("post", "/v1/classify", {"texts": ["a"] * 2000}),
    ("post", "/v1/angles", {"texts": ["sun"]}),
    ("post", "/v2/models/{model}/infer", {"inputs": [TENSOR], "id": "a"}),
    ("post", "/v2/models/{model}/infer", {"inputs": [TENSOR], "outputs": [{"name": "label"}]}),
    ("post", "/v2/models/{model}/infer", {"inputs": [TENSOR | {"shape": [7]}]}),
    ("post", "/v2/models/{model}/versions/{version}/infer", {"inputs": [TENSOR], "parameters": {"shots": 5}}),
    ("get", "/v1/models", None),
    ("get", "/v1/models/{model}/circuit", None),
    ("get", "/v2", None),
    ("get", "/v2/health/live", None),
    ("get", "/v2/health/ready", None),
    ("get", "/v2/models/{model}", None),
    ("get", "/v2/models/{model}/ready", None),
    ("get", "/v2/models/{model}/versions/{version}", None),
    ("get", "/v2/models/{model}/versions/{version}/ready", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=lambda value: str(value)[:50])
def test_answers_are_as_described(page: dict[str, Any], ask: Ask, method: str, path: str, body: Any) -> None:
    operation = page["paths"][path][method]
    if body is not None:
        checked(page, body, operation["requestBody"]["content"][JSON]["schema"])
    for model in ("tiny", "none") if "{model}" in path else ("tiny",):
        response = ask(method.upper(), path.format(model=model, version="1"), json=body)
        described = operation["responses"][str(response.status_code)]["content"][JSON]["schema"]
        assert response.headers["content-type"] == JSON
        checked(page, response.json(), described)
        if described != {"type": "object"}:
            with pytest.raises(Exception, match="required property"):
                checked(page, {}, described)


def test_metrics_are_described_as_text(page: dict[str, Any], ask: Ask) -> None:
    assert list(page["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert ask("GET", "/metrics").headers["content-type"].startswith("text/plain;")


def test_what_needs_a_token_says_so(page: dict[str, Any], guarded: Served) -> None:
    with guarded.client() as client:
        for path, method, operation in operations(page):
            response = client.request(method, path.format(model="tiny", version="1"))
            assert ("401" in operation["responses"]) == (response.status_code == 401), path
            if response.status_code == 401:
                described = operation["responses"]["401"]["content"][JSON]["schema"]
                checked(page, response.json(), described)


def test_the_docs_load_nothing_from_elsewhere(ask: Ask) -> None:
    html = ask("GET", "/docs").text
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", html)
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/static-offline-docs/")
        assert ask("GET", address).status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->", "", html, flags=re.DOTALL).replace("window.location.protocol + '//'", "")
