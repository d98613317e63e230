"""A student behind Ray Serve. Imported where Ray Serve is needed, since the decorators need it at once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from ray import serve
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ...artifact import Artifact
from ...backends import Backend
from ...errors import InputError, QdinferError
from ...texts import checked_texts
from .worker import one_cpu_classifier

__all__ = ["MOST_BYTES", "MOST_TEXTS", "StudentDeployment"]

log = logging.getLogger("ray.serve")  # the one that Ray Serve writes to its files

MOST_TEXTS = 1024
MOST_BYTES = 2**20
"""What one request may bring, as to `qdinfer serve`."""
_BATCH = 128  # texts; and the requests that a replica takes at a time, so that single texts can fill a batch


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    texts: list[str] | str


def _http() -> Starlette:
    """What a replica answers over HTTP. Made in the replica: an app with its routes may not pickle."""
    handlers: Any = dict.fromkeys((QdinferError, HTTPException, Exception), _error)
    return Starlette(routes=[Route("/v1/classify", _classify, methods=["POST"])], exception_handlers=handlers)


async def _classify(request: Request) -> JSONResponse:
    student = serve.get_replica_context().servable_object
    return JSONResponse(await student.classify(_texts_of(await _body(request))))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"body: found over {MOST_BYTES} bytes; expected at most so many in one request")
    return bytes(body)


def _texts_of(body: bytes) -> list[str] | str:
    expected = 'expected {"texts": ["…", …]}'
    try:
        return msgspec.json.decode(body, type=_Request).texts
    except msgspec.ValidationError as error:
        raise InputError(f"body: {error}; {expected}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"body: found no valid JSON ({error}); {expected}") from error


def _error(request: Request, error: Exception) -> JSONResponse:
    """As `qdinfer serve` has them."""
    if isinstance(error, HTTPException):
        status, message = error.status_code, error.detail
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(status, "refused")
    elif isinstance(error, InputError):
        status, code, message = 400, "bad_input", str(error)
    else:
        told = isinstance(error, QdinferError)
        if told:  # what else there is, Ray Serve logs
            log.error("POST /v1/classify failed", exc_info=error)
        status, code, message = 500, "failed", str(error) if told else "the replica failed; its log says why"
    return JSONResponse({"error": {"code": code, "message": message}}, status)


@serve.deployment(name="student", ray_actor_options={"num_cpus": 1}, max_ongoing_requests=_BATCH)
@serve.ingress(_http)
class StudentDeployment:
    """A Ray Serve deployment of one student: ``POST /v1/classify``, and `classify` through a handle.

    Each replica loads the student once and takes one CPU. Texts that arrive at nearly the same time, in one request or
    in many, are classified together.

        serve.run(StudentDeployment.bind("exported_models/topic"))
        serve.run(StudentDeployment.options(num_replicas=4).bind("exported_models/topic"))
        serve.run(StudentDeployment.options(autoscaling_config={"max_replicas": 8}).bind("exported_models/topic"))

    ``user_config`` may have ``max_batch_size``, the most texts of a batch (default: 128), and ``batch_wait_timeout_s``,
    how long one that is not full waits for more (default: 0.01).
    """

    def __init__(self, student: str | os.PathLike[str] | Artifact, backend: str | Backend = "exact") -> None:
        """Load the student: what `bind` takes.

        Args:
            student: a folder or .zip that every node has under this path, or the student itself, which Ray Serve then
                keeps and hands to the replicas.
            backend: evaluates the circuit, as for `Classifier`; an object must pickle.

        Raises:
            FileNotFoundError: there is nothing at that path on the replica's node.
            ArtifactError: the student is not sound.
            BackendError: the backend cannot run it.
        """
        artifact = student if isinstance(student, Artifact) else Artifact.open(student)
        self._classifier = one_cpu_classifier(artifact, backend)
        nothing = self._classifier.classify([])
        self._about = {
            "model": artifact.manifest.name,
            "backend": nothing.backend,
            "classes": nothing.classes.tolist(),
        }

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Take over ``user_config``, as Ray Serve calls it at the start and after a change.

        Raises:
            InputError: it has something else.
        """
        unknown = sorted({*user_config} - {"max_batch_size", "batch_wait_timeout_s"})
        if unknown:
            raise InputError(f"user_config: found {unknown[0]!r}; expected max_batch_size or batch_wait_timeout_s")
        if "max_batch_size" in user_config:
            self._row.set_max_batch_size(user_config["max_batch_size"])
        if "batch_wait_timeout_s" in user_config:
            self._row.set_batch_wait_timeout_s(user_config["batch_wait_timeout_s"])

    async def classify(self, texts: str | list[str]) -> dict[str, Any]:
        """Labels and probabilities: the response of ``POST /v1/classify``.

        Args:
            texts: one text, or at most `MOST_TEXTS`.

        Returns:
            ``model``, ``backend``, ``classes``, and ``predictions``: for each text the fields of `Prediction`, and
            ``truncated``, whether it has more tokens than the student reads. As `qdinfer serve` answers.

        Raises:
            InputError: something among them is no text, or they are too many.
            BackendError: the backend failed.
        """
        checked = checked_texts(texts)
        if len(checked) > MOST_TEXTS:
            raise InputError(f"texts: found {len(checked)}; expected at most {MOST_TEXTS} in one request")
        return {**self._about, "predictions": await asyncio.gather(*map(self._row, checked))}

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=0.01)  # type: ignore[untyped-decorator]
    async def _row(self, texts: list[str]) -> list[dict[str, Any]]:
        """Is called with one text each time; Ray Serve gathers them."""
        predictions, cut = await asyncio.to_thread(self._classifier.classify_marked, texts)
        return [{**asdict(each), "truncated": long} for each, long in zip(predictions, cut.tolist(), strict=True)]
