"""Factored expectation values as an ONNX graph in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from .factor import Block, Stage, harmonics

__all__ = ["IR_VERSION", "OPSET", "build_graph", "described"]

IR_VERSION = 8
OPSET = 17


def build_graph(blocks: Sequence[Block], num_inputs: int, num_observables: int) -> bytes:
    """The model that evaluates the blocks.

    One product and one cosine give the features of all stages. A stage then is an outer product and a matrix product;
    the products of what comes from the left and from the right are added up, observable by observable, by a last one.

    Args:
        blocks: every observable in exactly one of them.
        num_inputs: P.
        num_observables: M.

    Returns:
        An ONNX model, ``angles`` (N, P) float32 → ``expectations`` (N, M) float32.
    """
    builder = _Builder()
    stages = [stage for block in blocks for side in (block.left, block.right) for stage in side]
    features = iter(builder.features(stages, num_inputs))
    products = []
    for block in blocks:
        left, right = (builder.sweep(side, features) for side in (block.left, block.right))
        products.append(builder.node("Mul", [left, right]))
    owners = np.repeat(
        [j for block in blocks for j in block.observables], [rank for block in blocks for rank in block.ranks]
    )
    joined = products[0] if len(products) == 1 else builder.node("Concat", products, axis=1)
    summing = builder.constant((owners[:, None] == np.arange(num_observables)).astype(np.float32))
    builder.nodes.append(helper.make_node("MatMul", [joined, summing], ["expectations"], name="expectations"))
    graph = helper.make_graph(
        builder.nodes,
        "expectations",
        [helper.make_tensor_value_info("angles", TensorProto.FLOAT, ["N", num_inputs])],
        [helper.make_tensor_value_info("expectations", TensorProto.FLOAT, ["N", num_observables])],
        builder.constants,
    )
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="qdinfer"
    )
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def described(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    """The model with entries in its metadata."""
    model = ModelProto.FromString(graph)
    helper.set_model_props(model, dict(metadata))
    content: bytes = model.SerializeToString()
    return content


class _Builder:
    """Collects nodes and constants, and gives every value a name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names: dict[bytes, str] = {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        # Nodes without names of their own trip over each other in onnxruntime before 1.21, which fuses them.
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: NDArray[np.floating[Any]] | Sequence[int]) -> str:
        """A constant: float32 for an array, int64 for a list of sizes, once for all that are equal."""
        array = value.astype(np.float32) if isinstance(value, np.ndarray) else np.array(value, np.int64)
        tensor = numpy_helper.from_array(np.ascontiguousarray(array))
        content = tensor.SerializeToString()
        if content not in self._names:
            tensor.name = self._names[content] = f"c{len(self.constants)}"
            self.constants.append(tensor)
        return self._names[content]

    def features(self, stages: Sequence[Stage], num_inputs: int) -> list[str]:
        """For each stage (N, 3ᵗ), the cosines that its products of features are sums of."""
        factors, shifts, sizes = [], [], []
        for stage in stages:
            sums, _ = harmonics(len(stage.sites))
            factor = np.zeros((num_inputs, len(sums)))
            for site, column in zip(stage.sites, sums.T, strict=False):
                factor[site.input] += site.scale * column
            factors.append(factor)
            shifts.append(sums[:, -1])
            sizes.append(len(sums))
        constants = [self.constant(np.concatenate(factors, axis=1)), self.constant(np.concatenate(shifts))]
        cosines = self.node("Cos", [self.node("Gemm", ["angles", *constants])])
        names = [f"f{i}" for i in range(len(stages))]
        self.nodes.append(helper.make_node("Split", [cosines, self.constant(sizes)], names, name="features", axis=1))
        return names

    def sweep(self, stages: Sequence[Stage], features: Any) -> str:
        """(N, Σr): what the stages of one side give."""
        swept = ""
        for stage in stages:
            own = next(features)
            if swept:
                # The few features are the outer axis: onnxruntime multiplies long inner rows fastest.
                column = self.node("Unsqueeze", [own, self.constant([2])])
                row = self.node("Unsqueeze", [swept, self.constant([1])])
                size = stage.matrix.shape[0] * stage.matrix.shape[1]
                own = self.node("Reshape", [self.node("Mul", [column, row]), self.constant([0, size])])
            swept = self.node("MatMul", [own, self.constant(stage.matrix.reshape(-1, stage.matrix.shape[2]))])
        return swept
