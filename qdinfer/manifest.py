"""The schema of ``student.json`` and ``golden.json``.

The number in ``format`` is the format's own and moves apart from the package's version:

    format 1   the first: one encoder, one circuit, one linear readout, golden cases, a hash for every file

A reader opens its own format and every older one, and refuses a newer one by its number. A field that an older reader
would have to understand in order to answer rightly raises the number; nothing is ever taken away from a number that was
released. Each format keeps a stored artifact under ``tests/artifacts``, which must open and verify for ever.

The classes are plain records: making one checks nothing, `parse_manifest` and `parse_golden` check all.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .errors import ArtifactError

__all__ = [
    "FORMAT",
    "CircuitSpec",
    "CompiledSpec",
    "EncoderSpec",
    "FileRecord",
    "FusedSpec",
    "Golden",
    "Manifest",
    "Provenance",
    "ReadoutSpec",
    "Tolerance",
    "circuit_sha256",
    "fused_metadata",
    "fused_source",
    "parse_golden",
    "parse_manifest",
]

FORMAT = 1
_MANIFEST = "student.json"
_GOLDEN = "golden.json"
_SCHEMA = f"the schema of format {FORMAT} (docs/format.md)"
R = TypeVar("R")

# Python's `$` also matches before a final newline, that of ECMA-262 (JSON Schema) does not; the lookahead forbids it.
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$(?!\n)")]
Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$(?!\n)")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$(?!\n)")]
PauliZ = Annotated[str, Meta(pattern=r"^[IZ]{1,256}$(?!\n)")]
Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$(?!\n)")]
Weights = Annotated[list[Annotated[float, Meta(ge=-1e6, le=1e6)]], Meta(min_length=1)]
Vector = Annotated[list[float], Meta(min_length=1)]
Matrix = list[Vector]
Tokens = list[Annotated[int, Meta(ge=0, lt=2**31)]]
Metrics = dict[str, float]
Settings = dict[str, str | int | float | bool | None]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all records share."""


class FileRecord(_Record, frozen=True, kw_only=True):
    """What a file of the artifact must be."""

    size: Annotated[int, Meta(ge=0, description="Bytes.")]
    sha256: Annotated[Sha256, Meta(description="SHA-256 of the content, in lower-case hexadecimal.")]


Files = dict[FileName, FileRecord]


class EncoderSpec(_Record, frozen=True, kw_only=True):
    """How texts become the input of ``encoder.onnx``.

    The graph takes ``input_ids`` and ``attention_mask``, both int64 (N, T), and gives ``angles``, float32 (N, P), in
    radians, column by column in the order of the circuit's inputs.
    """

    max_tokens: Annotated[int, Meta(ge=1, le=65536, description="Longer texts are cut to this many tokens.")]
    pad_id: Annotated[
        int, Meta(ge=0, lt=2**31, description="Token id that fills the shorter rows of a batch, where the mask is 0.")
    ]


class CircuitSpec(_Record, frozen=True, kw_only=True):
    """How angles are bound to ``circuit.qasm``, and what is measured."""

    inputs: Annotated[
        list[Identifier],
        Meta(
            min_length=1,
            max_length=1024,
            description="Names of the circuit's `input float[64]`, in the encoder's order.",
        ),
    ]
    observables: Annotated[
        list[PauliZ],
        Meta(
            min_length=1,
            max_length=1024,
            description="Pauli-Z strings, one letter a qubit, qubit 0 rightmost (Qiskit's order).",
        ),
    ]


class CompiledSpec(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """What ``compiled.onnx`` was made from, and how exact it is."""

    circuit_sha256: Annotated[Sha256, Meta(description="`Circuit.sha256` of the circuit that it was compiled from.")]
    max_error: Annotated[
        float,
        Meta(
            ge=0, description="Largest difference from the circuit's statevector, over `checked` rows of angles in ±π."
        ),
    ]
    checked: Annotated[int, Meta(ge=1, description="How many random angle rows were compared.")]
    bound: Annotated[
        float, Meta(ge=0, description="Upper bound of the error by terms that were left out; not given if none was.")
    ] = 0.0


class FusedSpec(_Record, frozen=True, kw_only=True):
    """What ``fused.onnx`` was made from: encoder, compiled circuit and readout in one graph."""

    source_sha256: Annotated[
        Sha256, Meta(description="`fused_source` of the files and the readout that it was made from.")
    ]


class ReadoutSpec(_Record, frozen=True, kw_only=True):
    """The linear layer: logits = (weights · expectations + bias) / temperature, then softmax."""

    weights: Annotated[
        list[Weights], Meta(min_length=2, description="(C, M): one row a label, one column an observable.")
    ]
    bias: Annotated[Weights, Meta(description="(C,)")]
    temperature: Annotated[
        float, Meta(ge=1e-6, le=1e6, description="Divides the logits; calibrates the probabilities.")
    ] = 1.0


class Provenance(_Record, frozen=True, kw_only=True):
    """Where the student comes from. Nothing here changes an answer."""

    teacher: Annotated[str | None, Meta(description="The model that it was distilled from, if any.")] = None
    data: Annotated[str | None, Meta(description="What it was trained on.")] = None
    license: Annotated[str | None, Meta(description="SPDX expression for the artifact, and what is inside it.")] = None
    command: Annotated[str | None, Meta(description="The command that made it.")] = None
    made_with: Annotated[str | None, Meta(description="Program and version that wrote the artifact.")] = None
    metrics: Annotated[Metrics, Meta(description="Measured numbers, by name.")] = msgspec.field(default_factory=dict)
    settings: Annotated[Settings, Meta(description="Training settings, by name.")] = msgspec.field(default_factory=dict)


class Manifest(_Record, frozen=True, kw_only=True):
    """``student.json``: everything about a student that is not in its other files."""

    format: Annotated[int, Meta(ge=1, le=FORMAT, description="The number of this format.")]
    name: Annotated[Name, Meta(description="Short name, fit for a file name.")]
    labels: Annotated[list[Label], Meta(min_length=2, description="The classes, in the order of the readout's rows.")]
    encoder: EncoderSpec
    circuit: CircuitSpec
    readout: ReadoutSpec
    compiled: Annotated[CompiledSpec | None, Meta(description="Present exactly if compiled.onnx is.")] = None
    # Left out rather than null where there is none: the files of older students stay what they are, byte by byte.
    fused: Annotated[FusedSpec | UnsetType, Meta(description="Present exactly if fused.onnx is.")] = UNSET
    provenance: Provenance = msgspec.field(default_factory=Provenance)
    files: Annotated[Files, Meta(description="Every other file of the artifact, by name.")]

    def to_json(self) -> bytes:
        """The bytes of ``student.json``: UTF-8, sorted as declared, one final newline.

        Raises:
            ArtifactError: a value that JSON has not.
        """
        for name, value in self.provenance.settings.items():  # as null, it would pass for a setting that is None
            if isinstance(value, float) and not math.isfinite(value):
                raise ArtifactError(_MANIFEST, f"provenance.settings.{name}: {value}", "a finite number")
        return _encode(self, _MANIFEST, indent=2)


class Tolerance(_Record, frozen=True, kw_only=True):
    """The largest difference from a golden value that still counts as the same answer."""

    angles: Annotated[float, Meta(gt=0, description="Radians.")] = 1e-3
    expectations: Annotated[float, Meta(gt=0)] = 1e-5
    probabilities: Annotated[float, Meta(gt=0)] = 1e-5


class Golden(_Record, frozen=True, kw_only=True):
    """``golden.json``: a few texts and what each stage makes of them, for `qdinfer.verify`."""

    texts: Annotated[list[str], Meta(min_length=1)]
    token_ids: Annotated[list[Tokens], Meta(description="(N, …): each text's tokens, truncated, not padded.")]
    angles: Annotated[Matrix, Meta(description="(N, P): what the encoder gives, in radians.")]
    expectations: Annotated[Matrix, Meta(description="(N, M): exact, for these angles.")]
    probabilities: Annotated[Matrix, Meta(description="(N, C): for these expectations.")]
    labels: Annotated[list[Label], Meta(description="(N,): the most probable class.")]
    tolerance: Tolerance = msgspec.field(default_factory=Tolerance)

    def to_json(self) -> bytes:
        """The bytes of ``golden.json``. Raises as `Manifest.to_json` does."""
        return _encode(self, _GOLDEN, indent=1)


def circuit_sha256(qasm: str, inputs: Sequence[str], observables: Sequence[str]) -> str:
    """A circuit's identity: the hash of its text, its inputs' order and its observables, as compact ASCII JSON."""
    content = json.dumps([qasm, list(inputs), list(observables)], separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def fused_metadata(manifest: Manifest) -> dict[str, str]:
    """What ``fused.onnx`` says of itself, so that it and ``tokenizer.json`` are all that is needed."""
    return {
        "labels": json.dumps(manifest.labels),
        "max_tokens": str(manifest.encoder.max_tokens),
        "pad_id": str(manifest.encoder.pad_id),
    }


def fused_source(manifest: Manifest) -> str:
    """The hash of all that a fused graph depends on: two graphs, its metadata and the readout."""
    graphs = [manifest.files[name].sha256 for name in ("encoder.onnx", "compiled.onnx")]
    content = [*graphs, fused_metadata(manifest), msgspec.to_builtins(manifest.readout)]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


class _FormatOnly(msgspec.Struct):
    format: int


def parse_manifest(data: bytes) -> Manifest:
    """Read ``student.json``.

    Raises:
        ArtifactError: not JSON, a newer format, or not of the schema; the first wrong field is named.
    """
    number = _decode(_FormatOnly, _MANIFEST, data).format
    if number > FORMAT:
        raise ArtifactError(
            _MANIFEST,
            f"format {number}",
            f"format {FORMAT} or older, which is what this version reads: pip install --upgrade qdinfer",
        )
    manifest = _decode(Manifest, _MANIFEST, data)
    fault = _fault_between_fields(manifest)
    if fault is not None:
        raise ArtifactError(_MANIFEST, fault, _SCHEMA)
    return manifest


def _fault_between_fields(manifest: Manifest) -> str | None:
    """What is wrong in a manifest whose fields are right one by one, if anything."""
    labels, circuit, readout = manifest.labels, manifest.circuit, manifest.readout
    if len(set(labels)) != len(labels):
        return "labels: a label is listed more than once"
    for field, values in (("inputs", circuit.inputs), ("observables", circuit.observables)):
        repeated = sorted(value for value, count in Counter(values).items() if count > 1)
        if repeated:
            return f"circuit.{field}: {', '.join(repeated)} is listed more than once"
    if len(set(map(len, circuit.observables))) != 1:
        return "circuit.observables: the observables differ in length; each needs one letter for every qubit"
    for observable in circuit.observables:
        if "Z" not in observable:
            return f"circuit.observables: {observable} has no Z, so it is 1 whatever the text"
    if len(readout.weights) != len(labels):
        return f"readout.weights has {len(readout.weights)} rows for {len(labels)} labels"
    for i, row in enumerate(readout.weights):
        if len(row) != len(circuit.observables):
            return f"readout.weights row {i} has {len(row)} columns for {len(circuit.observables)} observables"
    if len(readout.bias) != len(labels):
        return f"readout.bias has {len(readout.bias)} entries for {len(labels)} labels"
    if (manifest.compiled is None) != ("compiled.onnx" not in manifest.files):
        return "`compiled` and the file compiled.onnx must be there both or neither"
    if (manifest.fused is UNSET) != ("fused.onnx" not in manifest.files):
        return "`fused` and the file fused.onnx must be there both or neither"
    if manifest.fused is not UNSET and manifest.compiled is None:
        return "`fused` is there without `compiled`, which is part of it"
    return None


def parse_golden(data: bytes, manifest: Manifest) -> Golden:
    """Read ``golden.json`` and hold its shapes against the manifest.

    Raises:
        ArtifactError: not JSON, not of the schema, or made for other shapes or labels.
    """
    golden = _decode(Golden, _GOLDEN, data)
    columns = ("texts", "token_ids", "angles", "expectations", "probabilities", "labels")
    lengths = {column: len(getattr(golden, column)) for column in columns}
    if len(set(lengths.values())) != 1:
        raise ArtifactError(_GOLDEN, f"the columns differ in length: {lengths}", _SCHEMA)
    widths = {
        "angles": len(manifest.circuit.inputs),
        "expectations": len(manifest.circuit.observables),
        "probabilities": len(manifest.labels),
    }
    for column, width in widths.items():
        for i, row in enumerate(getattr(golden, column)):
            if len(row) != width:
                raise ArtifactError(_GOLDEN, f"{len(row)} values in {column}[{i}]", f"{width}")
    unknown = sorted(set(golden.labels) - set(manifest.labels))
    if unknown:
        raise ArtifactError(_GOLDEN, f"the label {unknown[0]!r}", f"one of {manifest.labels}")
    return golden


def _encode(record: _Record, file: str, *, indent: int) -> bytes:
    try:
        return msgspec.json.format(msgspec.json.encode(record), indent=indent) + b"\n"
    except UnicodeEncodeError as error:
        raise ArtifactError(file, f"a text that is not Unicode ({error})", "texts that UTF-8 has") from error
    except TypeError as error:
        raise ArtifactError(file, f"a value that JSON has not ({error})", _SCHEMA) from error


def _decode(kind: type[R], file: str, data: bytes) -> R:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise ArtifactError(file, _describe(str(error), _plain(file, data)), _SCHEMA) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(file, error) from error


def _plain(file: str, data: bytes) -> Any:
    """The content as dicts and lists. What is not of the schema may also be no JSON, further on."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(file, error) from error


def _no_json(file: str, error: Exception) -> ArtifactError:
    return ArtifactError(file, f"no valid JSON ({error})", "a UTF-8 JSON object")


_STEP = r"\.(\w+)|\[([0-9]{1,9})\]|\[\.\.\.\]"
_MAPPINGS: Mapping[str, Any] = {"files": Files, "metrics": Metrics, "settings": Settings}


def _describe(message: str, content: Any) -> str:
    """A message of msgspec with the field's path in front and its value behind.

    The message is like "Expected `int` >= 0 - at `$.files[...].size`" or "… - at `key` in `$.files`".
    """
    message = _short(message, 1000)  # which may have an unknown field's name, of any length
    place = re.fullmatch(rf"(.*) - at `(key` in `)?\$((?:{_STEP})*)`", message, re.DOTALL)
    if place is None:
        return _short(message, 300)
    path: list[str] = []
    value = content
    try:
        for name, index in re.findall(_STEP, place[3] + "[...]" * bool(place[2])):
            key = int(index) if index else name or _wrong_key(path[-1], value)
            path.append(_short(str(key), 100))
            value = value[key]
    except (LookupError, TypeError, AttributeError):  # no place at all: an unknown field is called like one
        return _short(message, 300)
    found = f"{'.'.join(path)}: {_short(place[1], 300)}"
    value = key if place[2] else value
    return found if isinstance(value, dict | list) else f"{found} (it is {_short(repr(value), 60)})"


def _wrong_key(field: str, entries: Mapping[str, Any]) -> str:
    """The key of the first entry that is not of the field's schema, which msgspec does not tell."""
    for key, entry in entries.items():
        try:
            msgspec.convert({key: entry}, _MAPPINGS[field])
        except msgspec.ValidationError:
            return key
    raise LookupError(field)


def _short(text: str, limit: int) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= limit else text[: limit - 3] + "…"
