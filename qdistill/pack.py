"""Students that were trained elsewhere, taken over from their files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdinfer.circuit import Circuit
from qdinfer.errors import InputError

from .export import Parts

__all__ = ["read_circuit", "read_parts"]


class _Readout(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    labels: list[str] = Field(min_length=2)
    weights: list[list[float]] = Field(min_length=2)
    bias: list[float]
    temperature: float = 1.0
    observables: list[str] | None = None


def read_circuit(
    path: Path, *, inputs: Sequence[str], data_gates: Sequence[str], observables: Sequence[str] | None
) -> Circuit:
    """Read OpenQASM 2 or 3 from a file.

    Args:
        path: the text.
        inputs: OpenQASM 3: names of the data angles in the encoder's order; empty for the order of declaration.
        data_gates: OpenQASM 2: the gate that each data angle drives, see `Circuit.from_qasm2`.
        observables: Pauli-Z strings; None for Z on each qubit, qubit 0 first.

    Raises:
        InputError: the options are the other version's, or the file is neither.
        CircuitError: it cannot be read.
        OSError: the file cannot be read.
    """
    text = _text(path)
    version = re.match(r"(?:\s|//[^\n]*\n|/\*.*?\*/)*OPENQASM\s+([0-9]+)", text, re.DOTALL)
    if version is None or version[1] not in "23":
        raise InputError(f"{path}: found no `OPENQASM 2.0;` or `OPENQASM 3.0;` at its start")
    if version[1] == "2":
        if inputs or not data_gates:
            raise InputError(f"{path}: found OpenQASM 2, which has no inputs; expected --data-gates and no --inputs")
        return Circuit.from_qasm2(text, data_gates, observables)
    if data_gates:
        raise InputError(f"{path}: found --data-gates with OpenQASM 3; expected its data angles as `input float[64]`")
    return Circuit.from_qasm3(text, inputs or None, observables)


def read_parts(
    *,
    name: str,
    tokenizer: Path,
    encoder: Path,
    circuit: Path,
    readout: Path,
    inputs: Sequence[str],
    data_gates: Sequence[str],
    golden_texts: Sequence[str],
    max_tokens: int,
    pad_id: int,
) -> Parts:
    """Put a student together from files.

    Args:
        name: short, fit for a file name.
        tokenizer: a Hugging Face ``tokenizer.json``.
        encoder: an ONNX graph, `input_ids` and `attention_mask` (N, T) int64 → `angles` (N, P) float32, radians.
        circuit: OpenQASM 2 or 3 with the same P data angles, see `read_circuit`.
        readout: JSON with ``labels`` (C), ``weights`` (C, M), ``bias`` (C) and, if wanted, ``temperature`` (1)
            and ``observables`` (M Pauli-Z strings; Z on each qubit).
        inputs: see `read_circuit`.
        data_gates: see `read_circuit`.
        golden_texts: a few texts for the self-test.
        max_tokens: longer texts are cut.
        pad_id: token id where the mask is 0.

    Raises:
        InputError: the readout is not of that form, or does not fit the circuit.
        CircuitError: the circuit cannot be read.
        OSError: a file cannot be read.
    """
    layer = _readout(readout)
    read = read_circuit(circuit, inputs=inputs, data_gates=data_gates, observables=layer.observables)
    shapes = {len(row) for row in layer.weights}
    if shapes != {len(read.observables)} or not len(layer.weights) == len(layer.bias) == len(layer.labels):
        raise InputError(
            f"{readout}: found {len(layer.weights)} rows of {sorted(shapes)} weights, {len(layer.bias)} biases and "
            f"{len(layer.labels)} labels; expected as many of each, and {len(read.observables)} weights a row"
        )
    return Parts(
        name=name,
        labels=layer.labels,
        tokenizer=tokenizer.read_bytes(),
        encoder=encoder.read_bytes(),
        max_tokens=max_tokens,
        pad_id=pad_id,
        circuit=read,
        weights=np.array(layer.weights),
        bias=np.array(layer.bias),
        golden_texts=golden_texts,
        temperature=layer.temperature,
    )


def _readout(path: Path) -> _Readout:
    text = _text(path)
    try:
        content: Any = json.loads(text)
        return _Readout.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: found {where}: {first['msg']}; expected labels, weights and bias") from error
    except ValueError as error:
        raise InputError(f"{path}: found no valid JSON ({error}); expected labels, weights and bias") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found bytes that are not UTF-8; expected a text") from error
