"""The audit of ONNX files: what it lets through, and that nothing gets anything but an ArtifactError out of it."""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from students import encoder_onnx

from qdinfer import ArtifactError
from qdinfer.audit.graph import IR_VERSIONS, OPSETS, Port, audit_onnx

IDS = (Port("input_ids", "int64", (None, None)), Port("attention_mask", "int64", (None, None)))
ANGLES = (Port("angles", "float32", (None, 4)),)
X, Y = Port("x", "float32", (None, 2)), Port("y", "float32", (None, 2))
VALID = encoder_onnx(4)


def model(
    nodes: list[onnx.NodeProto] | None = None,
    *,
    rows: object = "N",
    columns: object = 2,
    initializers: list[onnx.TensorProto] | None = None,
    more_inputs: list[onnx.ValueInfoProto] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """x (N, 2) to y (N, 2)."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, columns]) for name in "xy"]
    graph = helper.make_graph(
        nodes or [helper.make_node("Relu", ["x"], ["y"])],
        "graph",
        [ports[0], *(more_inputs or [])],
        [ports[1]],
        initializers or [],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def accepted(proto: onnx.ModelProto) -> None:
    """The audit lets it through, and onnxruntime agrees that it is a model."""
    data = proto.SerializeToString()
    audit_onnx("m.onnx", data, (X,), (Y,))
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros((3, 2), np.float32)})[0].shape == (3, 2)


def refused(data: bytes) -> ArtifactError:
    with pytest.raises(ArtifactError) as error:
        audit_onnx("m.onnx", data, (X,), (Y,))
    assert error.value.file == "m.onnx"
    return error.value


def test_the_usual_model() -> None:
    audit_onnx("encoder.onnx", VALID, IDS, ANGLES)
    audit_onnx("encoder.onnx", VALID, IDS[::-1], ANGLES)  # ports go by name


@pytest.mark.parametrize("rows", ["N", None, 3])
@pytest.mark.parametrize("columns", ["M", None, 2])
def test_axes_may_stay_open(rows: object, columns: object) -> None:
    accepted(model(rows=rows, columns=columns))


def test_a_port_without_a_shape_is_open() -> None:
    proto = model()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    accepted(proto)


def test_an_axis_of_zero_is_not_open() -> None:
    assert "y: float32 (?, 0)" in refused(_with_width(0)).found


def _with_width(width: int) -> bytes:
    proto = model()
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = width
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("width", [1, 3, -1, 2**40])
def test_another_width_is_named(width: int) -> None:
    error = refused(_with_width(width))
    assert error.found == f"outputs [y: float32 (?, {width % 2**64})]"
    assert error.expected == "[y: float32 (?, 2)]"


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_listed_as_inputs(ir_version: int) -> None:
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    accepted(model(nodes, initializers=[weight], more_inputs=[info], opset=8, ir_version=ir_version))


def test_an_input_without_a_value_is_one_too_many() -> None:
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2])
    error = refused(model(more_inputs=[info]).SerializeToString())
    assert error.found == "inputs [x: float32 (?, 2); w: float32 (2, 2)]"


def test_control_flow_with_tensors_inside() -> None:
    branches = {}
    for name, value in {"then_branch": 1.0, "else_branch": -1.0}.items():
        factor = numpy_helper.from_array(np.array([value, value], np.float32), "factor")
        out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["N", 2])
        constant = helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(np.ones(2, np.float32)))
        product = helper.make_node("Mul", ["x", "factor"], ["product"])
        branches[name] = helper.make_graph(
            [constant, product, helper.make_node("Add", ["product", "shift"], ["inner"])], name, [], [out], [factor]
        )
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    accepted(model([helper.make_node("If", ["yes"], ["y"], **branches)], initializers=[yes]))


def test_a_sparse_constant() -> None:
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [5.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("at", TensorProto.INT64, [1], [1]), [2])
    constant = helper.make_node("Constant", [], ["shift"], sparse_value=sparse)
    accepted(model([constant, helper.make_node("Add", ["x", "shift"], ["y"])]))


def test_operators_that_onnxruntime_has_built_in() -> None:
    accepted(model([helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], domains=("com.microsoft",)))
    accepted(model([helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")]))


def test_every_declared_opset_and_ir_loads() -> None:
    for opset in OPSETS:
        accepted(model(opset=opset))
    for ir_version in IR_VERSIONS:
        accepted(model(opset=8, ir_version=ir_version))


def test_a_field_given_twice_counts_twice() -> None:
    # protobuf merges both graphs into one; so the second one's foreign operator is part of the model.
    second = onnx.ModelProto()
    second.graph.node.append(helper.make_node("Run", [], ["z"], domain="evil.ops"))
    assert refused(model().SerializeToString() + second.SerializeToString()).found == (
        "the custom operator evil.ops::Run"
    )


@pytest.mark.parametrize("number", [13, 14])
def test_a_field_number_that_protobuf_would_cut(number: int) -> None:
    # onnxruntime's protobuf keeps 32 bits of a tag: without its 33rd, this one is a tensor's external data.
    def varint(value: int) -> bytes:
        return (bytes([value & 127 | 128]) + varint(value >> 7)) if value > 127 else bytes([value])

    def field(tag: int, data: bytes) -> bytes:
        return varint(tag) + varint(len(data)) + data

    tensor = field(8 << 3 | 2, b"w") + varint(number << 3 | 2 | 1 << 32) + b"\x00"
    assert refused(model().SerializeToString() + field(7 << 3 | 2, field(5 << 3 | 2, tensor))).found == (
        f"bytes that are no protobuf message (field number {number + 2**29})"
    )


def test_onnxruntimes_own_format() -> None:
    # It goes by these bytes alone, so the rest may well be an ONNX model that passes.
    polyglot = b"\x12\x04\x00\x00ORTM"
    polyglot = polyglot[:1] + b"\x0a" + polyglot[2:] + bytes(4) + model().SerializeToString()
    assert onnx.load_from_string(polyglot).graph.node
    assert refused(polyglot).found == "onnxruntime's own format"


# --- anything --------------------------------------------------------------------------------------------------------


def audit(data: bytes) -> None:
    """Audit it, and let nothing out but an ArtifactError that says something."""
    start = time.monotonic()
    try:
        audit_onnx("encoder.onnx", data, IDS, ANGLES)
    except ArtifactError as error:
        assert error.file == "encoder.onnx"  # noqa: PT017 - either outcome will do
        assert error.found  # noqa: PT017
        assert error.expected  # noqa: PT017
    assert time.monotonic() - start < 60


@settings(max_examples=300)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x80" * 20)
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\x3a\x00")
@example(b"\x3b\x3c")
def test_arbitrary_bytes(data: bytes) -> None:
    audit(data)


@settings(max_examples=300)
@given(
    cut=st.integers(0, len(VALID)),
    changes=st.dictionaries(st.integers(0, len(VALID) - 1), st.integers(0, 255), max_size=4),
    inserted=st.binary(max_size=8),
    at=st.integers(0, len(VALID)),
)
def test_a_damaged_model(cut: int, changes: dict[int, int], inserted: bytes, at: int) -> None:
    data = bytearray(VALID)
    for position, byte in changes.items():
        data[position] = byte
    audit(bytes(data[:at] + inserted + data[at:]))
    audit(bytes(data[:cut]))


@pytest.mark.parametrize("end", range(0, len(VALID), 7))
def test_no_truncated_model_passes(end: int) -> None:
    with pytest.raises(ArtifactError):
        audit_onnx("encoder.onnx", VALID[:end], IDS, ANGLES)


def test_many_small_fields_take_linear_time() -> None:
    audit(b"\x08\x08" + b"\x30\x00" * 500_000)
    audit(b"\x08\x08" + b"\x3a\x00" * 200_000)
