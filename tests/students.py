"""Small students for the tests, made from parts of known content."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qdinfer import Artifact, Circuit
from qdinfer.manifest import Provenance
from qdistill.export import Parts, export, with_provenance

WORDS = ["[PAD]", "[UNK]", "sun", "rain", "goal", "match", "bank", "share", "star", "code"]
LABELS = ("weather", "sport", "money")
GOLDEN = ("", "sun rain", "goal match goal", "bank share star code nothing", "rain")


def tokenizer_json(words: list[str] = WORDS) -> bytes:
    """Lower-case words, split at white space."""
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": None,
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "[UNK]"},
        }
    ).encode()


def encoder_onnx(num_angles: int, *, tokens: int = len(WORDS), seed: int = 1) -> bytes:
    """The masked sum of a row for each token, times 0.7, plus its own column's number: distinct for every input."""
    table = np.random.default_rng(seed).uniform(-1, 1, (tokens, num_angles)).astype(np.float32)
    bias = np.arange(num_angles, dtype=np.float32) / 4
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "tokens"], ["total"], keepdims=0),
        helper.make_node("Add", ["total", "bias"], ["angles"]),
    ]
    constants = {"table": table, "bias": bias, "tokens": np.array([1]), "last": np.array([2])}
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "T"]) for name in ("input_ids", "attention_mask")
    ]
    angles = helper.make_tensor_value_info("angles", TensorProto.FLOAT, ["N", num_angles])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "encoder", ids, [angles], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def entangled_circuit(num_qubits: int, *, layers: int = 2, seed: int = 2) -> Circuit:
    """RX(theta_i) on qubit i, then random rotations and a ring of CX."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(num_qubits)
    names = [f"theta_{q}" for q in range(num_qubits)]
    for q, name in enumerate(names):
        circuit.rx(Parameter(name), q)
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(rng.uniform(-3, 3), q)
            circuit.rz(rng.uniform(-3, 3), q)
        for q in range(num_qubits):
            circuit.cx(q, (q + 1) % num_qubits)
        circuit.rzz(rng.uniform(-3, 3), 0, num_qubits - 1)
    return Circuit.from_qiskit(circuit, names)


def dense_circuit(num_qubits: int, layers: int, angle: float) -> Circuit:
    """All qubits mixed, by angles so small that most terms are."""
    rng = np.random.default_rng(0)
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.rx(Parameter(f"t{q}"), q)
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(rng.normal(0, angle), q)
            circuit.rz(rng.normal(0, angle), q)
        for q in range(num_qubits - 1):
            circuit.cx(q, q + 1)
    return Circuit.from_qiskit(circuit, [f"t{q}" for q in range(num_qubits)], ["I" * (num_qubits - 3) + "ZII"])


def parts(num_qubits: int = 4, *, seed: int = 2, max_tokens: int = 4) -> Parts:
    """All parts of a small student."""
    circuit = entangled_circuit(num_qubits, seed=seed)
    rng = np.random.default_rng(seed)
    return Parts(
        name="tiny",
        labels=LABELS,
        tokenizer=tokenizer_json(),
        encoder=encoder_onnx(num_qubits),
        max_tokens=max_tokens,
        pad_id=0,
        circuit=circuit,
        weights=rng.normal(0, 2, (len(LABELS), num_qubits)),
        bias=rng.normal(0, 0.3, len(LABELS)),
        golden_texts=GOLDEN,
    )


@cache
def tiny(num_qubits: int = 4) -> Artifact:
    """A small student, compiled."""
    artifact, reason = export(parts(num_qubits))
    assert reason is None
    return with_provenance(artifact, Provenance(data="made up", license="Apache-2.0", command="none"))
