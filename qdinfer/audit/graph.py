"""ONNX files, looked through before onnxruntime sees them.

The base install has no ``onnx`` package, and onnxruntime would already follow a reference to external data while it
loads. So this reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding) just far enough to
answer: which IR and opset, which operators, any tensor that lives in another file, which inputs and outputs.
Field numbers are those of onnx.proto3. Whatever onnxruntime might read otherwise than this does is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import ArtifactError

__all__ = ["IR_VERSIONS", "OPSETS", "Port", "audit_onnx", "onnx_metadata"]

IR_VERSIONS = range(3, 11)
"""IR versions that every supported onnxruntime (1.20 and later) loads."""
OPSETS = range(7, 22)
"""Versions of the ONNX operator set that every supported onnxruntime runs."""
_DOMAINS = ("", "ai.onnx", "com.microsoft")  # the standard, its long name, and what is built into onnxruntime
_MAX_DEPTH = 32

_ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}

Field = tuple[int, "int | memoryview"]


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: as declared.
        dtype: ``"int64"``, ``"float32"``, …; ``"?"`` if it is no tensor.
        shape: one entry an axis: a number, or None where it is left open. None where no shape is declared.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = "?" if self.shape is None else ", ".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name}: {self.dtype} ({shape})"


def audit_onnx(file: str, data: bytes, inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
    """Look through an ONNX model.

    Args:
        file: its name, for messages.
        data: its bytes.
        inputs: what it must take. An axis given as None may be anything; a model may leave any axis open.
        outputs: what it must give, likewise.

    Raises:
        ArtifactError: not an ONNX model; IR or opset out of range; an operator from a foreign domain; a tensor in
            another file; inputs or outputs other than these.
    """
    if data[4:8] == b"ORTM":  # onnxruntime would take it for its own format, whatever else it is
        raise ArtifactError(file, "onnxruntime's own format", "an ONNX model")
    try:
        model = list(_fields(memoryview(data)))
        _check_versions(file, model)
        if _messages(model, 20):
            raise ArtifactError(file, "training graphs", "a model for inference only")
        graphs = [list(_fields(graph)) for graph in _messages(model, 7)]
        if not graphs:
            raise ArtifactError(file, "no graph", "an ONNX model")
        # Every occurrence counts: protobuf merges a field that is given twice.
        declared = {
            number: [_port(message) for graph in graphs for message in _messages(graph, number)] for number in (11, 12)
        }
        stored = {
            _text(_fields(tensor), 8) for graph in graphs for tensor in _messages(graph, 5)
        }  # before IR 4, initializers had to be listed as inputs too
        for graph in graphs:
            _check_graph(file, graph, 0)
        for function in _messages(model, 25):
            body = list(_fields(function))
            for node in _messages(body, 7):
                _check_node(file, node, 0)
            for attribute in _messages(body, 11):  # default values
                _check_attribute(file, attribute, 0)
    except (ValueError, IndexError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(file, f"bytes that are no protobuf message ({error})", "an ONNX model") from error
    _check_ports(file, "inputs", [port for port in declared[11] if port.name not in stored], inputs)
    _check_ports(file, "outputs", declared[12], outputs)


def onnx_metadata(data: bytes) -> dict[str, str]:
    """What an audited model says of itself, by key."""
    entries = [list(_fields(entry)) for entry in _messages(list(_fields(memoryview(data))), 14)]
    return {_text(entry, 1): _text(entry, 2) for entry in entries}


def _check_versions(file: str, model: list[Field]) -> None:
    ir = _number(model, 1)
    if ir not in IR_VERSIONS:
        raise ArtifactError(file, f"ONNX IR version {ir}", f"{IR_VERSIONS[0]} to {IR_VERSIONS[-1]}")
    for message in _messages(model, 8):
        opset = list(_fields(message))
        domain, version = _text(opset, 1), _number(opset, 2)
        if domain not in _DOMAINS:
            raise ArtifactError(file, f"operators of the domain {domain!r}", "standard operators only")
        if domain != "com.microsoft" and version not in OPSETS:
            raise ArtifactError(file, f"opset {version}", f"{OPSETS[0]} to {OPSETS[-1]}")


def _check_graph(file: str, graph: Iterable[Field], depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ArtifactError(file, f"graphs nested over {_MAX_DEPTH} deep", "a plain graph")
    for number, value in graph:
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            _check_node(file, value, depth)
        elif number == 5:
            _check_tensor(file, value)
        elif number == 15:
            _check_sparse(file, value)


def _check_node(file: str, node: memoryview, depth: int) -> None:
    for number, value in _fields(node):
        if number == 7 and isinstance(value, memoryview):
            domain = bytes(value).decode()
            if domain not in _DOMAINS:
                operator = _text(_fields(node), 4)
                raise ArtifactError(file, f"the custom operator {domain}::{operator}", "standard operators only")
        elif number == 4 and isinstance(value, memoryview) and bytes(value) == b"Loop":
            raise ArtifactError(file, "a Loop, which may never end", "operators that end")
        elif number == 5 and isinstance(value, memoryview):
            _check_attribute(file, value, depth)


def _check_attribute(file: str, attribute: memoryview, depth: int) -> None:
    for number, value in _fields(attribute):
        if not isinstance(value, memoryview):
            continue
        if number in (5, 10):
            _check_tensor(file, value)
        elif number in (6, 11):
            _check_graph(file, _fields(value), depth + 1)
        elif number in (22, 23):
            _check_sparse(file, value)


def _check_sparse(file: str, sparse: memoryview) -> None:
    for number, value in _fields(sparse):
        if number in (1, 2) and isinstance(value, memoryview):
            _check_tensor(file, value)


def _check_tensor(file: str, tensor: memoryview) -> None:
    fields = list(_fields(tensor))
    if _number(fields, 14) or _messages(fields, 13):
        raise ArtifactError(file, f"the tensor {_text(fields, 8)!r} in another file", "all data inside the model")


def _check_ports(file: str, kind: str, found: list[Port], expected: tuple[Port, ...]) -> None:
    if len(found) == len(expected):
        by_name = {port.name: port for port in found}
        if all(want.name in by_name and _fits(by_name[want.name], want) for want in expected):
            return
    raise ArtifactError(file, f"{kind} [{'; '.join(map(str, found)) or 'none'}]", f"[{'; '.join(map(str, expected))}]")


def _fits(found: Port, want: Port) -> bool:
    if found.dtype != want.dtype:
        return False
    if found.shape is None or want.shape is None:
        return True
    return len(found.shape) == len(want.shape) and all(
        a is None or b is None or a == b for a, b in zip(found.shape, want.shape, strict=True)
    )


def _port(value_info: memoryview) -> Port:
    fields = list(_fields(value_info))
    tensors = [tensor for kind in _messages(fields, 2) for tensor in _messages(list(_fields(kind)), 1)]
    if not tensors:
        return Port(_text(fields, 1), "?", None)
    tensor = list(_fields(tensors[-1]))
    shapes = _messages(tensor, 2)
    shape = None
    if shapes:
        axes = [list(_fields(axis)) for axis in _messages(list(_fields(shapes[-1])), 1)]
        shape = tuple(_number(axis, 1) if any(n == 1 for n, _ in axis) else None for axis in axes)
    element = _number(tensor, 1)
    return Port(_text(fields, 1), _ELEMENT_TYPES.get(element, f"type {element}"), shape)


def _messages(fields: list[Field], number: int) -> list[memoryview]:
    return [value for n, value in fields if n == number and isinstance(value, memoryview)]


def _number(fields: list[Field], number: int) -> int:
    values = [value for n, value in fields if n == number and isinstance(value, int)]
    return values[-1] if values else 0


def _text(fields: Iterator[Field] | list[Field], number: int) -> str:
    values = _messages(list(fields), number)
    return bytes(values[-1]).decode() if values else ""


def _fields(data: memoryview) -> Iterator[Field]:
    """The fields of a protobuf message: number and value, an int or the bytes of a length-delimited one."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if not 0 < number < 2**29:  # a larger one would be cut to 32 bits by protobuf, and be another field there
            raise ValueError(f"field number {number}")
        if wire_type == 0:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == 2:
            length, position = _varint(data, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if position + length > len(data):
            raise ValueError("it ends too early")
        yield number, data[position : position + length]
        position += length


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    if data[position] < 0x80:  # as nearly all are
        return data[position], position + 1
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of over 64 bits")
