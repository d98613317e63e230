"""The application: its routes, and what stands around them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import msgspec
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.responses import Response
from starlette.types import Scope

from .. import __version__
from ..classifier import Classifier
from ..errors import InputError
from ..texts import checked_texts
from .body import TooLargeError
from .gate import Door, Gate, note
from .inference import add_inference
from .messages import AnglesRequest, AnglesResponse, ClassifyRequest, ModelsResponse, answered, decode, describe
from .metrics import CONTENT_TYPE, Metrics
from .openapi import add_openapi
from .page import add_page
from .posts import JSON, Answered, add_post
from .problems import UnknownModelError, add_handlers
from .settings import ServerSettings
from .students import Answers, ServedStudent

__all__ = ["Server", "create_app"]

MOST_MEASUREMENTS = 1_000_000
"""Texts × shots of one request: some seconds' work with 11 qubits."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Server:
    """What the routes of one application share.

    Attributes:
        students: by name.
        settings: the limits.
        metrics: the counters.
        door: whether requests may still come in.
    """

    def __init__(self, classifiers: Mapping[str, Classifier], settings: ServerSettings) -> None:
        """Put the students behind their queues.

        Raises:
            InputError: there are none, or a name does not fit into an address.
            Exception: as `ServedStudent`.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.door = Door()
        if not classifiers:
            raise InputError("students: found none; expected one or more")
        for name in classifiers:
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"students: found the name {name!r}; expected up to 64 letters, digits, '.', '_' and '-', as in "
                    "NAME=PATH"
                )
        self.students = {
            name: ServedStudent(name, classifier, settings, partial(self.metrics.batch, name))
            for name, classifier in classifiers.items()
        }
        self.metrics.watch(self.students.values())

    @property
    def busy(self) -> bool:
        """Whether a student has something to do."""
        return any(student.busy for student in self.students.values())

    def student(self, name: str | None) -> ServedStudent:
        """The one of that name; the only one, if no name is given.

        Raises:
            UnknownModelError: there is none, or no name and several.
        """
        if name is None and len(self.students) == 1:
            return next(iter(self.students.values()))
        if name not in self.students:
            found = "none" if name is None else repr(name)
            raise UnknownModelError(f"model: found {found}; expected one of {list(self.students)}")
        return self.students[name]

    def check_texts(self, texts: str | list[str]) -> list[str]:
        """They, as a list.

        Raises:
            TooLargeError: they are more than `settings.max_texts`.
            InputError: one is no text.
        """
        checked = checked_texts(texts)
        if len(checked) > self.settings.max_texts:
            raise TooLargeError(f"texts: found {len(checked)}; expected at most {self.settings.max_texts} in a request")
        return checked

    async def classify(
        self, scope: Scope, student: ServedStudent, texts: list[str], shots: int | None, seed: int | None
    ) -> Answers:
        """The answers for checked texts, counted, and told of in the log.

        Raises:
            InputError: more shots than `settings.max_shots`, or a seed without shots.
            Exception: as `ServedStudent.classify`.
        """
        if shots is not None and shots > self.settings.max_shots:
            raise InputError(f"shots: found {shots}; expected at most {self.settings.max_shots}")
        if shots is not None and shots * len(texts) > MOST_MEASUREMENTS:
            raise TooLargeError(
                f"texts × shots: found {len(texts)} × {shots}; expected at most {MOST_MEASUREMENTS} in a request"
            )
        if seed is not None and shots is None:
            raise InputError(f"seed: found {seed} without shots; expected shots, or no seed for exact values")
        note(scope, model=student.name, texts=len(texts))
        answers = await student.classify(texts, shots, seed)
        self.metrics.texts(student.name, len(texts), sum(answers.truncated))
        return answers


def create_app(classifiers: Mapping[str, Classifier], settings: ServerSettings | None = None) -> FastAPI:
    """The application, for any ASGI server that runs it in one process and one event loop.

    Args:
        classifiers: name in addresses → student.
        settings: the limits; None for the defaults.

    Raises:
        InputError: there are no students, or a name does not fit into an address.
        ArtifactError: a student cannot answer.
        BackendError: the same.
    """
    server = Server(classifiers, settings or ServerSettings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for student in server.students.values():
            student.close()

    app: FastAPI = FastAPIOffline(
        title="qdinfer",
        version=__version__,
        description="Quantum students: small text classifiers, distilled from an LLM.",
        redoc_url=None,
        redirect_slashes=False,  # the address to go to would be made from a header
        lifespan=lifespan,
    )
    app.state.server = server
    app.add_middleware(Gate, token=server.settings.token, metrics=server.metrics, door=server.door)
    add_handlers(app)
    _add_routes(app, server)
    add_inference(app, server)
    add_page(app, server)
    add_openapi(app)
    return app


def _add_routes(app: FastAPI, server: Server) -> None:
    async def classify(scope: Scope, body: bytes) -> Answered:
        asked = decode(body, ClassifyRequest)
        student, texts = server.student(asked.model), server.check_texts(asked.texts)
        answers = await server.classify(scope, student, texts, asked.shots, asked.seed)
        return msgspec.json.encode(answered(student, answers)), JSON

    async def angles(scope: Scope, body: bytes) -> Answered:
        asked = decode(body, AnglesRequest)
        student, texts = server.student(asked.model), server.check_texts(asked.texts)
        note(scope, model=student.name, texts=len(texts))
        inputs = list(student.classifier.circuit.inputs)
        return msgspec.json.encode(AnglesResponse(student.name, inputs, await student.angles(texts))), JSON

    add_post(app, ["/v1/classify"], server.settings, classify)
    add_post(app, ["/v1/angles"], server.settings, angles)

    @app.get("/v1/models", tags=["v1"])
    async def models() -> Response:
        """The students of this server."""
        described = ModelsResponse([describe(student) for student in server.students.values()])
        return Response(msgspec.json.encode(described), media_type="application/json")

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Counters, for Prometheus."""
        return Response(server.metrics.page(), media_type=CONTENT_TYPE)
