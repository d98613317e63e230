"""A trained student, from here or elsewhere, as an artifact: compiled, with golden cases and a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from qdinfer import __version__
from qdinfer.artifact import Artifact
from qdinfer.circuit import Circuit
from qdinfer.compiler import compile_circuit, statevector_expectations
from qdinfer.encoder import TextEncoder
from qdinfer.errors import CompileError, InputError
from qdinfer.manifest import (
    FORMAT,
    CircuitSpec,
    CompiledSpec,
    EncoderSpec,
    Golden,
    Manifest,
    Provenance,
    ReadoutSpec,
    parse_manifest,
)
from qdinfer.predictions import Expectations, FloatArray
from qdinfer.readout import Readout

from .card import model_card

__all__ = ["GOLDEN_TEXTS", "Parts", "export", "with_provenance"]

GOLDEN_TEXTS = (
    "",
    "Yes.",
    "The train to the coast leaves at half past nine from platform four.",
    "She won the match in three sets after nearly four hours on court.",
    "Shares fell sharply as the company warned of lower profits next year.",
    "I can't believe how good this was, we laughed the whole evening!!",
    "Der Zug fährt über die Brücke; 42 % of the seats are taken — naïve, isn't it?",
    "A longer text, in which one clause follows another, and another follows that, so that the encoder has more tokens "
    "to read than in the texts before it, and the padding of the batch is put to the test as well as the truncation.",
)
"""For the self-test where the maker gives no texts. Never taken from the training data, which may be private."""


@dataclass(frozen=True)
class Parts:
    """What a student consists of, before it is an artifact.

    Attributes:
        name: short, fit for a file name.
        labels: the C classes.
        tokenizer: the bytes of ``tokenizer.json``.
        encoder: the bytes of ``encoder.onnx``.
        max_tokens: longer texts are cut.
        pad_id: token id where the mask is 0.
        circuit: with P inputs and M observables.
        weights: (C, M) of the readout.
        bias: (C,) of the readout.
        golden_texts: a few texts for the self-test.
        temperature: of the readout.
    """

    name: str
    labels: Sequence[str]
    tokenizer: bytes
    encoder: bytes
    max_tokens: int
    pad_id: int
    circuit: Circuit
    weights: FloatArray
    bias: FloatArray
    golden_texts: Sequence[str]
    temperature: float = 1.0


def export(parts: Parts) -> tuple[Artifact, str | None]:
    """Make the artifact, without provenance.

    Args:
        parts: the student.

    Returns:
        The artifact, and why it has no compiled graph, or None if it has one.

    Raises:
        ArtifactError: the parts do not fit each other or the format.
        CircuitError: the circuit cannot be read, or its light cones are too wide for golden expectation values.
        InputError: no golden texts.
    """
    circuit = parts.circuit
    if not parts.golden_texts:
        raise InputError("export: found no golden texts; expected at least one")
    manifest = _manifest(parts)
    files = {
        "tokenizer.json": parts.tokenizer,
        "encoder.onnx": parts.encoder,
        "circuit.qasm": circuit.qasm.encode(),
    }
    compiled, reason = _compiled(circuit, files)
    files["golden.json"] = _golden(parts).to_json()
    files["README.md"] = b""
    return Artifact.create(replace(manifest, compiled=compiled), files), reason


def _manifest(parts: Parts) -> Manifest:
    """The manifest so far, without files; read as at opening."""
    circuit = parts.circuit
    draft = Manifest(
        format=FORMAT,
        name=parts.name,
        labels=list(parts.labels),
        encoder=EncoderSpec(max_tokens=parts.max_tokens, pad_id=parts.pad_id),
        circuit=CircuitSpec(inputs=list(circuit.inputs), observables=list(circuit.observables)),
        readout=ReadoutSpec(
            weights=np.asarray(parts.weights, np.float64).tolist(),
            bias=np.asarray(parts.bias, np.float64).tolist(),
            temperature=parts.temperature,
        ),
        files={},
    )
    return parse_manifest(draft.to_json())


def with_provenance(artifact: Artifact, provenance: Provenance) -> Artifact:
    """The student with this provenance, ``made_with`` filled in, and its model card written from it."""
    provenance = replace(provenance, made_with=f"qdistill {__version__}")
    manifest = replace(artifact.manifest, provenance=provenance)
    files = {**artifact.files, "README.md": model_card(manifest, Circuit.from_artifact(artifact)).encode()}
    return Artifact.create(manifest, files)


def _compiled(circuit: Circuit, files: dict[str, bytes]) -> tuple[CompiledSpec | None, str | None]:
    try:
        compiled = compile_circuit(circuit)
    except CompileError as error:
        return None, str(error)
    files["compiled.onnx"] = compiled.graph
    return compiled.spec, None


def _golden(parts: Parts) -> Golden:
    encoder = TextEncoder(
        parts.tokenizer,
        parts.encoder,
        num_angles=len(parts.circuit.inputs),
        max_tokens=parts.max_tokens,
        pad_id=parts.pad_id,
    )
    texts = list(parts.golden_texts)
    angles, _ = encoder.encode_marked(texts)
    values = statevector_expectations(parts.circuit, angles)
    readout = Readout(parts.labels, parts.weights, parts.bias, parts.temperature)
    predictions = readout.predict(Expectations(values, np.zeros(len(texts), np.int64), "statevector"))
    return Golden(
        texts=texts,
        token_ids=encoder.token_ids(texts),
        angles=angles.astype(np.float64).tolist(),
        expectations=values.tolist(),
        probabilities=predictions.probabilities.tolist(),
        labels=predictions.labels.tolist(),
    )
