"""Factored expectation values as an ONNX graph in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from .factor import Block
from .propagate import Real, Site

__all__ = ["build_graph"]

IR_VERSION = 8
OPSET = 17


def build_graph(blocks: Sequence[Block], num_inputs: int, num_observables: int) -> bytes:
    """The model that evaluates the blocks.

    Args:
        blocks: every observable in exactly one of them.
        num_inputs: P.
        num_observables: M.

    Returns:
        An ONNX model, ``angles`` (N, P) float32 → ``expectations`` (N, M) float32.
    """
    builder = _Builder()
    parts = [builder.block(f"b{i}", block) for i, block in enumerate(blocks)]
    order = [j for block in blocks for j in block.observables]
    joined = parts[0] if len(parts) == 1 else builder.node("Concat", parts, axis=1)
    if order != sorted(order):
        back = builder.constant("order", np.argsort(order))
        joined = builder.node("Gather", [joined, back], axis=1)
    builder.nodes.append(helper.make_node("Identity", [joined], ["expectations"], name="expectations"))
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


class _Builder:
    """Collects nodes and constants, and gives every value a name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        # Nodes without names of their own trip over each other in onnxruntime before 1.21, which fuses them.
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.float64 | np.int64]]) -> str:
        narrow = value.astype(np.float32) if value.dtype.kind == "f" else value.astype(np.int64)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(narrow), name))
        return name

    def block(self, name: str, block: Block) -> str:
        """(N, m) expectation values of a block's observables."""
        left = self.projected(f"{name}_left", block.left, block.left_basis)
        right = self.projected(f"{name}_right", block.right, block.right_basis)
        m, r, s = block.cores.shape
        cores = self.constant(f"{name}_cores", block.cores.transpose(1, 0, 2).reshape(r, m * s))
        mixed = self.node("MatMul", [left, cores])
        mixed = self.node("Reshape", [mixed, self.constant(f"{name}_shape", np.array([-1, m, s]))])
        right = self.node("Unsqueeze", [right, self.constant(f"{name}_axis", np.array([2]))])
        values = self.node("MatMul", [mixed, right])  # (N, m, 1)
        return self.node("Reshape", [values, self.constant(f"{name}_flat", np.array([-1, m]))])

    def projected(self, name: str, sites: Sequence[Site], basis: Real) -> str:
        """(N, r): the product features of the sites, on the basis."""
        columns = self.constant(f"{name}_inputs", np.array([site.input for site in sites], np.int64))
        angles = self.node("Gather", ["angles", columns], axis=1)
        if any(site.scale != 1.0 for site in sites):
            scales = self.constant(f"{name}_scales", np.array([site.scale for site in sites]))
            angles = self.node("Mul", [angles, scales])
        cosine, sine = self.node("Cos", [angles]), self.node("Sin", [angles])
        one = self.node("Sub", [cosine, cosine])
        one = self.node("Add", [one, self.constant(f"{name}_one", np.ones(1))])
        last = self.constant(f"{name}_last", np.array([2]))
        stacked = self.node("Concat", [self.node("Unsqueeze", [f, last]) for f in (one, cosine, sine)], axis=2)
        each = [
            self.node("Gather", [stacked, self.constant(f"{name}_{i}", np.array([i]))], axis=1)  # (N, 1, 3)
            for i in range(len(sites))
        ]
        product = each[0]
        for i, features in enumerate(each[1:], start=1):
            column = self.constant(f"{name}_column{i}", np.array([-1, 3**i, 1]))
            product = self.node("Mul", [self.node("Reshape", [product, column]), features])  # (N, 3^i, 3)
        row = self.constant(f"{name}_row", np.array([-1, 3 ** len(sites)]))
        product = self.node("Reshape", [product, row])
        return self.node("MatMul", [product, self.constant(f"{name}_basis", basis)])
