import numpy as np
from onnx import TensorProto, helper, numpy_helper

from qdinfer.session import OnnxSession


def int8_layer(weights: np.ndarray, scale: float) -> bytes:
    """float32 `x` (N, width) times weights that are stored as int8."""
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["weights"]),
            helper.make_node("MatMul", ["x", "weights"], ["y"]),
        ],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", weights.shape[1]])],
        [
            numpy_helper.from_array(weights, "stored"),
            numpy_helper.from_array(np.float32(scale), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def test_int8_weights_are_computed_with_in_float32() -> None:
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (64, 32)).astype(np.int8)
    x = random.normal(size=(8, 64)).astype(np.float32)
    found = OnnxSession("layer", int8_layer(weights, 0.01), 1).run("y", {"x": x})
    expected = x.astype(np.float64) @ (weights * 0.01)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # rounding x to a byte would cost 0.05
