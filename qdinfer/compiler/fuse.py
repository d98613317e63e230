"""Encoder, compiled circuit and readout as one ONNX graph, which any onnxruntime runs."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, checker, compose, helper, load_from_string, numpy_helper

from ..artifact import Artifact
from ..errors import CompileError
from ..manifest import fused_metadata

__all__ = ["fuse_graphs"]

_OLDEST_OPSET = 13
"""From this version on, all operators of the compiled graph mean what they do in its own."""


def fuse_graphs(artifact: Artifact) -> bytes:
    """The graph of a student that has a compiled circuit.

    Returns:
        An ONNX model, ``input_ids`` and ``attention_mask`` (N, T) int64 → ``expectations`` (N, M) float32 and
        ``probabilities`` (N, C) float32. Its metadata has the labels, the token that pads and the longest row.

    Raises:
        CompileError: the encoder is of an older operator set.
    """
    encoder = load_from_string(artifact.files["encoder.onnx"])
    circuit = load_from_string(artifact.files["compiled.onnx"])
    version = next(opset.version for opset in encoder.opset_import if opset.domain in ("", "ai.onnx"))
    if version < _OLDEST_OPSET:
        raise CompileError(
            f"encoder.onnx: found opset {version}; expected at least {_OLDEST_OPSET}, to be fused with the circuit"
        )
    _set_versions(encoder, encoder.ir_version, version)
    _set_versions(circuit, encoder.ir_version, version)
    try:
        # Whatever names the encoder has inside, they are no others' then.
        encoder = compose.add_prefix(encoder, "encoder_")
        circuit = compose.add_prefix(circuit, "circuit_")
        model = compose.merge_models(encoder, circuit, io_map=[("encoder_angles", "circuit_angles")])
        _name_inputs(model)
        _add_readout(model, artifact, "circuit_expectations")
        checker.check_model(model)
    except (ValueError, checker.ValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CompileError(f"encoder.onnx: found a graph that cannot be fused with the circuit ({reason})") from error
    content: bytes = model.SerializeToString()
    return content


def _set_versions(model: ModelProto, ir_version: int, opset: int) -> None:
    """Name the versions that the model is to be read by, the standard operators' under their short name."""
    others = [each for each in model.opset_import if each.domain not in ("", "ai.onnx")]
    model.ir_version = ir_version
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", opset), *others])


def _name_inputs(model: ModelProto) -> None:
    """Give the inputs their names back, and hand them on to those that the prefix made of them."""
    for port in model.graph.input:
        inner, port.name = port.name, port.name.removeprefix("encoder_")
        model.graph.node.insert(0, helper.make_node("Identity", [port.name], [inner], name=f"{inner}_given"))


def _add_readout(model: ModelProto, artifact: Artifact, expectations: str) -> None:
    """Append the linear layer and the softmax, and name the outputs."""
    manifest, graph = artifact.manifest, model.graph
    readout = manifest.readout
    constants = {
        "readout_weights": np.array(readout.weights).T / readout.temperature,
        "readout_bias": np.array(readout.bias) / readout.temperature,
    }
    graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), name) for name, v in constants.items())
    graph.node.append(helper.make_node("Identity", [expectations], ["expectations"], name="expectations"))
    graph.node.append(helper.make_node("Gemm", ["expectations", *constants], ["readout_logits"], name="readout_logits"))
    graph.node.append(helper.make_node("Softmax", ["readout_logits"], ["probabilities"], name="probabilities", axis=1))
    del graph.output[:]
    for name, width in (("expectations", len(manifest.circuit.observables)), ("probabilities", len(manifest.labels))):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]))
    helper.set_model_props(model, fused_metadata(manifest))
