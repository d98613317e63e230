"""A web service with a student inside: POST /classify, GET /healthz."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from qdinfer import Classifier, InputError

STUDENT = os.environ.get("STUDENT", Path(__file__).parents[2] / "exported_models" / "topic-folded")


class Question(BaseModel):
    """What is asked."""

    texts: Annotated[list[str], Field(max_length=1000)]


class Answer(BaseModel):
    """What is said of one text."""

    label: str
    probabilities: dict[str, float]


class Health(BaseModel):
    """Which student answers."""

    student: str
    sha256: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Classifier]]:
    """Load the student once, before the first request. One thread a call: requests are what runs side by side."""
    yield {"classifier": Classifier.load(STUDENT, threads=1)}


app = FastAPI(title="A student", lifespan=lifespan)


@app.post("/classify")
async def classify(question: Question, request: Request) -> list[Answer]:
    """Label texts. The event loop goes on meanwhile."""
    predictions = await request.state.classifier.aclassify(question.texts)
    return [Answer(label=each.label, probabilities=each.probabilities) for each in predictions]


@app.get("/healthz")
async def healthz(request: Request) -> Health:
    """Say that the student is loaded, and which one it is."""
    artifact = request.state.classifier.artifact
    return Health(student=artifact.manifest.name, sha256=artifact.sha256)


@app.exception_handler(InputError)
async def input_error(_: Request, error: InputError) -> JSONResponse:
    """Texts that the student refuses."""
    return JSONResponse({"detail": str(error)}, status_code=422)


@app.exception_handler(RequestValidationError)
async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    """A body of another shape. FastAPI would send it back, which a private or broken text should not be."""
    broken = [{"loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
    code = 400 if any(each["type"] == "json_invalid" for each in error.errors()) else 422
    return JSONResponse({"detail": broken}, status_code=code)
