"""A student behind an AWS Lambda function: API Gateway (REST and HTTP), function URLs, or a direct call.

The body is ``{"texts": [...]}``; the answer has a label and probabilities for each text.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from qdinfer import Classifier, InputError

MOST_TEXTS = 1000
CLASSIFIER = Classifier.load(Path(__file__).parent / "student")  # once a container, at its cold start


def handler(event: Any, context: object) -> dict[str, Any]:
    """Answer one event. What is wrong with a request is its answer; what is wrong here is raised, and so logged."""
    request = event if isinstance(event, dict) else {}
    method = request.get("requestContext", {}).get("http", {}).get("method") or request.get("httpMethod")
    if method is None:  # called directly, such as by another function: no HTTP around it
        return classify(event)
    if method != "POST":
        return response(405, {"error": f"found {method}; expected POST"}, Allow="POST")
    try:
        return response(200, classify(body_of(event)))
    except InputError as error:
        return response(422, {"error": str(error)})
    except (ValueError, RecursionError) as error:
        return response(400, {"error": f"body: {error}"})


def classify(question: object) -> dict[str, Any]:
    """The answer to a question, before there is any HTTP."""
    texts = question.get("texts") if isinstance(question, dict) else None
    if not isinstance(texts, list) or len(texts) > MOST_TEXTS:
        found = f"{len(texts)} texts" if isinstance(texts, list) else type(texts).__name__
        raise InputError(f'texts: found {found}; expected {{"texts": [...]}} with at most {MOST_TEXTS}')
    predictions = CLASSIFIER.classify(texts)
    answers = [{"label": each.label, "probabilities": each.probabilities} for each in predictions]
    return {"student": CLASSIFIER.artifact.manifest.name, "predictions": answers}


def body_of(event: dict[str, Any]) -> object:
    """The body, which API Gateway may have put into base64.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is JSON of JSON of JSON, and so on.
    """
    body = event.get("body") or ""
    return json.loads(base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body)


def response(status: int, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    """An answer as API Gateway takes it."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **headers},
        "body": json.dumps(body),
    }
