"""The schema of ``student.json`` and ``golden.json``.

The number in ``format`` is the format's own and moves apart from the package's version:

    format 1   the first: one encoder, one circuit, one linear readout, golden cases, a hash for every file

A reader opens its own format and every older one, and refuses a newer one by its number. A field that an older reader
would have to understand in order to answer rightly raises the number; nothing is ever taken away from a number that was
released. Each format keeps a stored artifact under ``tests/artifacts``, which must open and verify for ever.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from .errors import ArtifactError

__all__ = [
    "FORMAT",
    "CircuitSpec",
    "CompiledSpec",
    "EncoderSpec",
    "FileRecord",
    "Golden",
    "Manifest",
    "Provenance",
    "ReadoutSpec",
    "Tolerance",
    "circuit_sha256",
    "parse_golden",
    "parse_manifest",
]

FORMAT = 1

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]
PauliZ = Annotated[str, StringConstraints(pattern=r"^[IZ]{1,256}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
M = TypeVar("M", bound=BaseModel)
Weights = Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1), FailFast()]
# A list stops at its first wrong entry: pydantic keeps about a kilobyte for each, and a file may have millions.
Vector = Annotated[list[float], Field(min_length=1), FailFast()]
Matrix = Annotated[list[Vector], FailFast()]
Tokens = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], FailFast()]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FileRecord(_Model):
    """What a file of the artifact must be."""

    size: int = Field(ge=0, description="Bytes.")
    sha256: Sha256 = Field(description="SHA-256 of the content, in lower-case hexadecimal.")


class EncoderSpec(_Model):
    """How texts become the input of ``encoder.onnx``.

    The graph takes ``input_ids`` and ``attention_mask``, both int64 (N, T), and gives ``angles``, float32 (N, P), in
    radians, column by column in the order of the circuit's inputs.
    """

    max_tokens: int = Field(ge=1, le=65536, description="Longer texts are cut to this many tokens.")
    pad_id: int = Field(
        ge=0, lt=2**31, description="Token id that fills the shorter rows of a batch, where the mask is 0."
    )


class CircuitSpec(_Model):
    """How angles are bound to ``circuit.qasm``, and what is measured."""

    inputs: list[Identifier] = Field(
        min_length=1, max_length=1024, description="Names of the circuit's `input float[64]`, in the encoder's order."
    )
    observables: list[PauliZ] = Field(
        min_length=1,
        max_length=1024,
        description="Pauli-Z strings, one letter a qubit, qubit 0 rightmost (Qiskit's order).",
    )

    @field_validator("inputs", "observables")
    @classmethod
    def _unique(cls, value: list[str]) -> list[str]:
        repeated = sorted({item for item in value if value.count(item) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} is listed more than once")
        return value

    @field_validator("observables")
    @classmethod
    def _measurable(cls, value: list[str]) -> list[str]:
        if len({len(observable) for observable in value}) != 1:
            raise ValueError("the observables differ in length; each needs one letter for every qubit")
        for observable in value:
            if "Z" not in observable:
                raise ValueError(f"{observable} has no Z, so it is 1 whatever the text")
        return value


class CompiledSpec(_Model):
    """What ``compiled.onnx`` was made from, and how exact it is."""

    circuit_sha256: Sha256 = Field(description="`Circuit.sha256` of the circuit that it was compiled from.")
    max_error: float = Field(
        ge=0, description="Largest difference from the circuit's statevector, over `checked` random angle rows."
    )
    checked: int = Field(ge=1, description="How many random angle rows were compared.")


class ReadoutSpec(_Model):
    """The linear layer: logits = (weights · expectations + bias) / temperature, then softmax."""

    weights: Annotated[list[Weights], FailFast()] = Field(
        min_length=2, description="(C, M): one row a label, one column an observable."
    )
    bias: Weights = Field(description="(C,)")
    temperature: float = Field(
        default=1.0, ge=1e-6, le=1e6, description="Divides the logits; calibrates the probabilities."
    )


class Provenance(_Model):
    """Where the student comes from. Nothing here changes an answer."""

    teacher: str | None = Field(default=None, description="The model that it was distilled from, if any.")
    data: str | None = Field(default=None, description="What it was trained on.")
    license: str | None = Field(default=None, description="SPDX expression for the artifact, and what is inside it.")
    command: str | None = Field(default=None, description="The command that made it.")
    made_with: str | None = Field(default=None, description="Program and version that wrote the artifact.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Measured numbers, by name.")
    settings: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="Training settings, by name."
    )


class Manifest(_Model):
    """``student.json``: everything about a student that is not in its other files."""

    format: int = Field(ge=1, le=FORMAT, description="The number of this format.")
    name: Name = Field(description="Short name, fit for a file name.")
    labels: Annotated[list[Label], FailFast()] = Field(
        min_length=2, description="The classes, in the order of the readout's rows."
    )
    encoder: EncoderSpec
    circuit: CircuitSpec
    readout: ReadoutSpec
    compiled: CompiledSpec | None = Field(default=None, description="Present exactly if compiled.onnx is.")
    provenance: Provenance = Field(default_factory=Provenance)
    files: dict[FileName, FileRecord] = Field(description="Every other file of the artifact, by name.")

    @field_validator("labels")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("a label is listed more than once")
        return value

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        labels, observables = len(self.labels), len(self.circuit.observables)
        rows = len(self.readout.weights)
        if rows != labels:
            raise ValueError(f"readout.weights has {rows} rows for {labels} labels")
        for i, row in enumerate(self.readout.weights):
            if len(row) != observables:
                raise ValueError(f"readout.weights row {i} has {len(row)} columns for {observables} observables")
        if len(self.readout.bias) != labels:
            raise ValueError(f"readout.bias has {len(self.readout.bias)} entries for {labels} labels")
        if (self.compiled is None) != ("compiled.onnx" not in self.files):
            raise ValueError("`compiled` and the file compiled.onnx must be there both or neither")
        return self

    def to_json(self) -> bytes:
        """The bytes of ``student.json``: UTF-8, sorted as declared, one final newline."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class Tolerance(_Model):
    """The largest difference from a golden value that still counts as the same answer."""

    angles: float = Field(default=1e-3, gt=0, description="Radians.")
    expectations: float = Field(default=1e-5, gt=0)
    probabilities: float = Field(default=1e-5, gt=0)


class Golden(_Model):
    """``golden.json``: a few texts and what each stage makes of them, for `qdinfer.verify`."""

    texts: Annotated[list[str], FailFast()] = Field(min_length=1)
    token_ids: Annotated[list[Tokens], FailFast()] = Field(
        description="(N, …): each text's tokens, truncated, not padded."
    )
    angles: Matrix = Field(description="(N, P): what the encoder gives, in radians.")
    expectations: Matrix = Field(description="(N, M): exact, for these angles.")
    probabilities: Matrix = Field(description="(N, C): for these expectations.")
    labels: Annotated[list[Label], FailFast()] = Field(description="(N,): the most probable class.")
    tolerance: Tolerance = Field(default_factory=Tolerance)

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        lengths = {
            name: len(getattr(self, name))
            for name in ("texts", "token_ids", "angles", "expectations", "probabilities", "labels")
        }
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the columns differ in length: {lengths}")
        return self

    def to_json(self) -> bytes:
        """The bytes of ``golden.json``."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def circuit_sha256(qasm: str, inputs: Sequence[str], observables: Sequence[str]) -> str:
    """A circuit's identity: the hash of its text, its inputs' order and its observables, as compact ASCII JSON."""
    content = json.dumps([qasm, list(inputs), list(observables)], separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


class _FormatOnly(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    format: int


def parse_manifest(data: bytes) -> Manifest:
    """Read ``student.json``.

    Raises:
        ArtifactError: not JSON, a newer format, or not of the schema; every wrong field is named.
    """
    number = _parse(_FormatOnly, "student.json", data).format
    if number > FORMAT:
        raise ArtifactError(
            "student.json",
            f"format {number}",
            f"format {FORMAT} or older, which is what this version reads: pip install --upgrade qdinfer",
        )
    return _parse(Manifest, "student.json", data)


def parse_golden(data: bytes, manifest: Manifest) -> Golden:
    """Read ``golden.json`` and hold its shapes against the manifest.

    Raises:
        ArtifactError: not JSON, not of the schema, or made for other shapes or labels.
    """
    golden = _parse(Golden, "golden.json", data)
    widths = {
        "angles": len(manifest.circuit.inputs),
        "expectations": len(manifest.circuit.observables),
        "probabilities": len(manifest.labels),
    }
    for column, width in widths.items():
        for i, row in enumerate(getattr(golden, column)):
            if len(row) != width:
                raise ArtifactError("golden.json", f"{len(row)} values in {column}[{i}]", f"{width}")
    unknown = sorted(set(golden.labels) - set(manifest.labels))
    if unknown:
        raise ArtifactError("golden.json", f"the label {unknown[0]!r}", f"one of {manifest.labels}")
    return golden


def _parse(model: type[M], file: str, data: bytes) -> M:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = details[0]
        where = ".".join(str(part) for part in first["loc"])
        found = f"{where}: {first['msg']}" if where else first["msg"]
        if not where and first["type"] == "json_invalid":
            raise ArtifactError(file, f"no valid JSON ({first['msg']})", "a UTF-8 JSON object") from error
        if "input" in first and not isinstance(first["input"], dict | list):
            found += f" (it is {_short(first['input'])})"
        if len(details) > 1:
            found += f", and {len(details) - 1} more"
        raise ArtifactError(file, found, f"the schema of format {FORMAT} (docs/format.md)") from error


def _short(value: Any) -> str:
    text = re.sub(r"\s+", " ", repr(value))
    return text if len(text) <= 60 else text[:57] + "…"
