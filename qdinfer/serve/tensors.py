"""Requests and answers of the Open Inference Protocol, version 2, in JSON and in Triton's binary form.

Sources: the protocol, https://github.com/kserve/open-inference-protocol; the binary form,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md: the JSON is followed
by the tensors that are not in it, the header ``Inference-Header-Content-Length`` says where it ends, and an element of
a BYTES tensor is its length, four bytes with the lowest first, and its bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from ..errors import InputError
from .messages import Seed, Shots, decode
from .students import Answers, ServedStudent

__all__ = [
    "HEADER_LENGTH",
    "InferError",
    "InferRequest",
    "InferResponse",
    "ModelMetadata",
    "Parameters",
    "ServerMetadata",
    "check_outputs",
    "metadata",
    "pack",
    "request_texts",
    "unpack",
]

HEADER_LENGTH = b"inference-header-content-length"
INPUT = "text"


class InputTensor(Struct):
    """A tensor that a client sends; without data in a binary body."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class OutputWish(Struct):
    """A tensor that a client asks for."""

    name: str
    parameters: dict[str, Any] | None = None


class Parameters(Struct):
    """What a request may say besides; other parameters are other servers', and have no meaning here."""

    shots: Shots | None = None
    seed: Seed | None = None
    binary_data_output: bool = False


class InferRequest(Struct):
    """Texts to classify, as the tensor ``text``."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputWish] | None = None


class OutputTensor(Struct, omit_defaults=True):
    """A tensor of an answer; without data if it follows the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferResponse(Struct, omit_defaults=True):
    """Answers, in the order of the texts."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None


class InferError(Struct):
    """Any answer that is not 200."""

    error: str


class TensorMetadata(Struct):
    """A tensor's type; -1 in its shape is the number of texts."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """What goes into a model, and what comes out."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Struct):
    """What a server is."""

    name: str
    version: str
    extensions: list[str]


def metadata(student: ServedStudent) -> ModelMetadata:
    """What the protocol tells of a model."""
    outputs = [TensorMetadata(*output) for output in _outputs(student)]
    return ModelMetadata(student.name, ["1"], "qdinfer", [TensorMetadata(INPUT, "BYTES", [-1])], outputs)


def _outputs(student: ServedStudent) -> list[tuple[str, str, list[int]]]:
    classes = len(student.classes)
    return [
        ("label", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, classes]),
        ("standard_errors", "FP64", [-1, classes]),
        ("confidence", "FP64", [-1]),
        ("shots", "INT64", [-1]),
        ("truncated", "BOOL", [-1]),
        ("classes", "BYTES", [classes]),
    ]


def unpack(body: bytes, header_length: str | None) -> tuple[InferRequest, bytes]:
    """The request, and the binary tensors behind it.

    Raises:
        InputError: no such request.
    """
    if header_length is None:
        return decode(body, InferRequest), b""
    if not (header_length.isdecimal() and len(header_length) < 20 and int(header_length) <= len(body)):
        raise InputError(
            f"{HEADER_LENGTH.decode()}: found {header_length!r}; expected at most the body's {len(body)} bytes"
        )
    end = int(header_length)
    return decode(body[:end], InferRequest), body[end:]


def request_texts(request: InferRequest, binary: bytes) -> list[str]:
    """The texts of a request.

    Raises:
        InputError: other inputs than one BYTES tensor ``text`` of shape (N,) or (N, 1), or other data than it says.
    """
    names = [tensor.name for tensor in request.inputs]
    if names != [INPUT]:
        raise InputError(f"inputs: found {names}; expected [{INPUT!r}]")
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        raise InputError(f"inputs[0].datatype: found {tensor.datatype!r}; expected 'BYTES'")
    if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ([], [1]) or tensor.shape[0] < 0:
        raise InputError(f"inputs[0].shape: found {tensor.shape}; expected [N] or [N, 1]")
    parameters = tensor.parameters or {}
    unknown = sorted(name for name in parameters if name.startswith("shared_memory"))
    if unknown:
        raise InputError(f"inputs[0].parameters: found {unknown[0]!r}; expected the data in the request")
    length = parameters.get("binary_data_size")
    if length is None and not binary:
        texts = _flat(tensor.data)
    elif length == len(binary) and tensor.data is None:
        texts = _split(binary)
    else:
        raise InputError(
            f"inputs[0]: found binary_data_size {length!r}; expected {len(binary)}, all binary data, and no other"
        )
    if len(texts) != tensor.shape[0]:
        raise InputError(f"inputs[0]: found {len(texts)} texts; expected {tensor.shape[0]}, as its shape says")
    return texts


def _flat(data: list[Any] | None) -> list[Any]:
    if data is None:
        raise InputError("inputs[0].data: found none; expected a list of texts, or binary data")
    return [item for row in data for item in (row if isinstance(row, list) else (row,))]


def _split(binary: bytes) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(binary):
        start = place + 4
        place = start + int.from_bytes(binary[place:start], "little")
        if place > len(binary) or start > len(binary):
            raise InputError(f"inputs[0]: found binary data that end within text {len(texts)}; expected all of it")
        try:
            texts.append(binary[start:place].decode())
        except UnicodeDecodeError as error:
            raise InputError(f"texts[{len(texts)}]: found bytes that are not UTF-8 ({error.reason})") from error
    return texts


def pack(student: ServedStudent, request: InferRequest, answers: Answers) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON if binary tensors follow.

    Raises:
        InputError: an output is asked for that there is none of.
    """
    shapes = {name: (datatype, shape) for name, datatype, shape in _outputs(student)}
    wishes = {wish.name: wish.parameters or {} for wish in request.outputs or ()} or {name: {} for name in shapes}
    binary = request.parameters is not None and request.parameters.binary_data_output
    columns: dict[str, list[Any]] = {
        "label": answers.labels,
        "probabilities": answers.probabilities,
        "standard_errors": answers.standard_errors,
        "confidence": answers.confidence,
        "shots": answers.shots,
        "truncated": answers.truncated,
        "classes": student.classes,
    }
    tensors, tail = [], []
    for name, parameters in wishes.items():
        datatype, shape = shapes[name]
        rows = len(columns[name])
        tensor = OutputTensor(name, datatype, [rows, *shape[1:]])
        if parameters.get("binary_data", binary):
            tail.append(_binary(datatype, columns[name]))
            tensor.parameters = {"binary_data_size": len(tail[-1])}
        else:
            tensor.data = np.ravel(columns[name]).tolist() if len(shape) > 1 else columns[name]
        tensors.append(tensor)
    body = msgspec.json.encode(InferResponse(student.name, "1", tensors, request.id))
    return (b"".join([body, *tail]), len(body)) if tail else (body, None)


def check_outputs(student: ServedStudent, request: InferRequest) -> None:
    """See that what is asked for is there, before the work.

    Raises:
        InputError: it is not.
    """
    names = [name for name, _, _ in _outputs(student)]
    for wish in request.outputs or ():
        if wish.name not in names:
            raise InputError(f"outputs: found {wish.name!r}; expected some of {names}")
        for parameter, value in (wish.parameters or {}).items():
            if parameter.startswith(("shared_memory", "classification")):
                raise InputError(f"outputs: found {parameter!r} of {wish.name!r}; expected data in the answer alone")
            if parameter == "binary_data" and not isinstance(value, bool):
                raise InputError(f"outputs: found binary_data {value!r} of {wish.name!r}; expected true or false")


_TYPES = {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}


def _binary(datatype: str, column: list[Any]) -> bytes:
    if datatype == "BYTES":
        encoded = [text.encode() for text in column]
        return b"".join(struct.pack("<I", len(data)) + data for data in encoded)
    return np.array(column, _TYPES[datatype]).tobytes()
