"""What clients of ``/v1`` send and get, as JSON."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..errors import InputError
from .students import Answers, ServedStudent

__all__ = [
    "AnglesRequest",
    "AnglesResponse",
    "ClassifyRequest",
    "ClassifyResponse",
    "ErrorResponse",
    "ModelsResponse",
    "Seed",
    "Shots",
    "answered",
    "decode",
    "describe",
]

Shots = Annotated[int, Meta(ge=1, description="Measurements a text, on a simulator; without them values are exact.")]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Makes shots repeatable.")]
Texts = Annotated[list[str] | str, Meta(description="One text or many.")]
ModelName = Annotated[str, Meta(description="May be left out where the server has one model.")]


class ClassifyRequest(Struct, forbid_unknown_fields=True):
    """Texts to label."""

    texts: Texts
    model: ModelName | None = None
    shots: Shots | None = None
    seed: Seed | None = None


class AnglesRequest(Struct, forbid_unknown_fields=True):
    """Texts to encode."""

    texts: Texts
    model: ModelName | None = None


class TextPrediction(Struct):
    """One text's prediction; see `qdinfer.Prediction`."""

    label: str
    probabilities: dict[str, float]
    standard_errors: dict[str, float]
    confidence: Annotated[float, Meta(description="Lower bound of the chance that the label stands; 1 if exact.")]
    shots: Annotated[int, Meta(description="Measurements; 0 if exact.")]
    truncated: Annotated[bool, Meta(description="The text has more tokens than the student reads.")]


class ClassifyResponse(Struct):
    """Predictions in the order of the texts."""

    model: str
    backend: str
    classes: list[str]
    predictions: list[TextPrediction]


class AnglesResponse(Struct):
    """Rotation angles, in radians, in the order of the texts."""

    model: str
    inputs: Annotated[list[str], Meta(description="The circuit's inputs, which name the columns.")]
    angles: list[list[float]]


class Model(Struct):
    """What a student is."""

    name: str
    classes: list[str]
    qubits: int
    observables: list[str]
    max_tokens: Annotated[int, Meta(description="Longer texts are cut to so many tokens.")]
    sha256: str


class ModelsResponse(Struct):
    """The students of this server."""

    models: list[Model]


class Problem(Struct):
    """What went wrong."""

    code: str
    message: str


class ErrorResponse(Struct):
    """Any answer that is not 200."""

    error: Problem


Message = TypeVar("Message")


def decode(body: bytes, kind: type[Message]) -> Message:
    """The message of a body.

    Raises:
        InputError: it is no JSON, or not of that form.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(f"body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"body: found no valid JSON ({error}); expected {kind.__name__}") from error


def answered(student: ServedStudent, answers: Answers) -> ClassifyResponse:
    """Answers as they are sent."""
    classes = student.classes
    predictions = [
        TextPrediction(label, dict(zip(classes, shares, strict=True)), dict(zip(classes, errors, strict=True)), *rest)
        for label, shares, errors, *rest in zip(
            answers.labels,
            answers.probabilities,
            answers.standard_errors,
            answers.confidence,
            answers.shots,
            answers.truncated,
            strict=True,
        )
    ]
    return ClassifyResponse(student.name, answers.backend, classes, predictions)


def describe(student: ServedStudent) -> Model:
    """What is told of a student."""
    artifact, circuit = student.classifier.artifact, student.classifier.circuit
    return Model(
        student.name,
        student.classes,
        circuit.num_qubits,
        list(circuit.observables),
        artifact.manifest.encoder.max_tokens,
        artifact.sha256,
    )
