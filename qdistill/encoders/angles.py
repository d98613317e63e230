"""Angles from a transformer, as a PyTorch module and as an ONNX graph with int8 weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import nn

from ..quiet import quiet_export

__all__ = ["POOLINGS", "SCALINGS", "AngleTransformer", "export_onnx", "quantize_weights"]

_OPSET = 18
_QUANTIZED_SIZE = 4096  # smaller tensors stay as they are


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def _last(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return states[:, -1]


POOLINGS: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"mean": _mean, "last": _last}
)
"""(N, T, D) hidden states and (N, T) mask → (N, D)."""


def _tanh(z: torch.Tensor) -> torch.Tensor:
    return math.pi / 2 * (1 + torch.tanh(z))


def _minmax(z: torch.Tensor) -> torch.Tensor:
    low, high = z.amin(1, keepdim=True), z.amax(1, keepdim=True)
    return 10 * (z - low) / (high - low)


def _none(z: torch.Tensor) -> torch.Tensor:
    return z


SCALINGS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"tanh": _tanh, "minmax": _minmax, "none": _none}
)
"""(N, P) → (N, P) radians: π/2·(1 + tanh z), the paper's min-max over each row times 10, or z as it is."""


class AngleTransformer(nn.Module):
    """A transformer with a linear layer to P angles.

    Token ids first go through a table that maps the tokenizer's whole vocabulary to the rows that were kept, so that
    the tokenizer itself stays as it is: taking words out of a WordPiece vocabulary would change its segmentation.
    """

    kept: torch.Tensor
    center: torch.Tensor
    spread: torch.Tensor

    def __init__(
        self,
        body: Any,
        num_angles: int,
        *,
        kept: NDArray[np.int64],
        pooling: str = "mean",
        scaling: str = "tanh",
        width: int | None = None,
        pad_id: int = 0,
    ) -> None:
        """Put it together.

        Args:
            body: gives `last_hidden_state` (N, T, D) of `input_ids` and `attention_mask`.
            num_angles: P.
            kept: (V,) row of the body's embedding for each token id of the tokenizer.
            pooling: a key of `POOLINGS`.
            scaling: a key of `SCALINGS`.
            width: every row is padded or cut to so many tokens; None for no fixed width.
            pad_id: the token that it is padded with.
        """
        super().__init__()
        self.body = body
        self.projection = nn.Linear(int(body.config.hidden_size), num_angles)
        self.register_buffer("kept", torch.from_numpy(kept.astype(np.int32)))
        self.register_buffer("center", torch.zeros(self.projection.in_features))
        self.register_buffer("spread", torch.ones(self.projection.in_features))
        self._pooling, self._scaling, self._width = POOLINGS[pooling], SCALINGS[scaling], width
        self._pad_id = pad_id

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(N, D): the pooled hidden states."""
        if self._width is not None:
            unseen = torch.zeros((input_ids.shape[0], self._width), dtype=torch.int64)
            input_ids = torch.cat([input_ids, unseen + self._pad_id], 1)[:, : self._width]
            attention_mask = torch.cat([attention_mask, unseen], 1)[:, : self._width]
        rows = self.kept[input_ids].to(torch.int64)
        states = self.body(input_ids=rows, attention_mask=attention_mask).last_hidden_state
        return self._pooling(states, attention_mask)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(N, P) float32, radians."""
        return self.angles(self.features(input_ids, attention_mask))

    def standardize(self, features: torch.Tensor) -> None:
        """Let the linear layer see these (N, D) features with mean 0 and deviation 1."""
        self.center.copy_(features.mean(0))
        self.spread.copy_(features.std(0) + 1e-6)

    def angles(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D) pooled hidden states → (N, P) radians."""
        return self._scaling(self.projection((features - self.center) / self.spread))


def export_onnx(module: AngleTransformer) -> bytes:
    """The module as an ONNX graph: `input_ids`, `attention_mask` (N, T) int64 → `angles` (N, P) float32."""
    ids, mask = torch.full((2, 7), 3), torch.ones((2, 7), dtype=torch.int64)
    training = module.training
    module.eval()  # dropout would stay on in the graph
    try:
        with quiet_export():
            program = torch.onnx.export(
                module,
                (ids, mask),
                input_names=["input_ids", "attention_mask"],
                output_names=["angles"],
                dynamic_shapes={"input_ids": {0: "N", 1: "T"}, "attention_mask": {0: "N", 1: "T"}},
                opset_version=_OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        module.train(training)
    if program is None:
        raise TypeError("torch.onnx.export gave nothing; it does so only without dynamo")
    model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, model.graph, model):
        del part.metadata_props[:]  # where in the source a node comes from: half a megabyte
    content: bytes = model.SerializeToString()
    return content


def quantize_weights(model: bytes) -> bytes:
    """Store the large weights as int8, a scale for each row or column.

    The graph turns them back to float32 before each product and quantizes no activations for a whole batch, which would
    make an answer depend on the other texts. onnxruntime has to be told not to do so by itself: see docs/distill.md.
    """
    graph_model = onnx.load_from_string(model)
    graph = graph_model.graph
    kept, nodes = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.ndim != 2 or value.size < _QUANTIZED_SIZE:
            kept.append(tensor)
            continue
        axis = 0 if value.shape[0] > value.shape[1] * 2 else 1
        scale = np.abs(value).max(axis=1 - axis, keepdims=True) / 127
        scale[scale == 0] = 1
        small = np.round(value / scale).astype(np.int8)
        name = tensor.name
        kept += [
            numpy_helper.from_array(small, f"{name}_int8"),
            numpy_helper.from_array(scale.ravel().astype(np.float32), f"{name}_scale"),
        ]
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name], name=f"{name}_dequantize", axis=axis
            )
        )
    del graph.initializer[:]
    graph.initializer.extend(kept)
    ordinary = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *ordinary])
    onnx.checker.check_model(graph_model)
    content: bytes = graph_model.SerializeToString()
    return content
