"""The compiled form against statevectors, and the messages of circuits that have none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from students import entangled_circuit, tiny

from qdinfer import Artifact, BackendError, Circuit, CompileError, ExactBackend, compile_artifact, compile_circuit
from qdinfer.compiler import statevector_expectations
from qdinfer.compiler.factor import MAX_SITES, factor
from qdinfer.compiler.propagate import Polynomial, expand

TOLERANCE = 2e-6
ROTATIONS = ("rx", "ry", "rz", "rxx", "ryy", "rzz")


def largest_error(circuit: Circuit, rows: int = 8, seed: int = 3) -> float:
    """Of the compiled form, at angles other than those that compile_circuit checks."""
    angles = np.random.default_rng(seed).uniform(-4, 4, (rows, len(circuit.inputs))).astype(np.float32)
    compiled = compile_circuit(circuit)
    found = ExactBackend(compiled.graph, circuit.sha256, threads=1).expectations(circuit, angles).values
    return float(np.abs(found - statevector_expectations(circuit, angles)).max())


@st.composite
def data_circuits(draw: st.DrawFn) -> Circuit:
    """Fixed gates and data rotations in any order, angles used once or often, scaled, shifted and summed."""
    num_qubits = draw(st.integers(1, 5))
    inputs = [Parameter(f"t{i}") for i in range(draw(st.integers(1, 4)))]
    qubits = st.integers(0, num_qubits - 1)
    number = st.floats(-3, 3)
    circuit = QuantumCircuit(num_qubits)
    kinds = ["fixed", "fixed", "data", "entangle"] if num_qubits > 1 else ["fixed", "data"]
    rotations = [name for name in ROTATIONS if num_qubits > 1 or len(name) == 2]

    def rotate(name: str, angle: object) -> None:
        places = draw(st.permutations(range(num_qubits)))[: len(name) - 1]
        getattr(circuit, name)(angle, *places)

    data = 0
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=14)):
        if kind == "fixed":
            getattr(circuit, draw(st.sampled_from(["h", "sx", "s", "t", "x"])))(draw(qubits))
            rotate(draw(st.sampled_from(rotations)), draw(number))
        elif kind == "entangle":
            getattr(circuit, draw(st.sampled_from(["cx", "cz", "swap"])))(*draw(st.permutations(range(num_qubits)))[:2])
        elif data < 4:
            data += 1
            one, other = draw(st.sampled_from(inputs)), draw(st.sampled_from(inputs))
            rotate(draw(st.sampled_from(rotations)), draw(st.sampled_from([one, 2 * one + 0.3, one - 0.5 * other])))
    for parameter in inputs:  # each is used
        circuit.rx(parameter, draw(qubits))
    circuit.ry(0.4, draw(qubits))
    labels = st.text("IZ", min_size=num_qubits, max_size=num_qubits)
    observables = draw(st.lists(labels, min_size=1, max_size=4))
    return Circuit.from_qiskit(circuit, [p.name for p in inputs], observables)


@settings(max_examples=60, deadline=None, database=None)
@given(data_circuits())
def test_compiled_equals_statevector(circuit: Circuit) -> None:
    assert largest_error(circuit, rows=4) < TOLERANCE


@settings(max_examples=15, deadline=None, database=None)
@given(data_circuits())
def test_the_reference_equals_another_reference(circuit: Circuit) -> None:
    angles = np.random.default_rng(1).uniform(-4, 4, (3, len(circuit.inputs)))
    observables = [[SparsePauliOp(label)] for label in circuit.observables]
    pub = (circuit.to_qiskit(), observables, circuit.bindings(angles))
    expected = StatevectorEstimator().run([pub], precision=0.0).result()[0].data.evs.T
    np.testing.assert_allclose(statevector_expectations(circuit, angles), expected, atol=1e-10)


def small(*observables: str) -> Circuit:
    """Data on qubit 0 of 3 only; qubits 1 and 2 are entangled with each other."""
    circuit = QuantumCircuit(3)
    circuit.rx(Parameter("a"), 0)
    circuit.ry(0.4, 1)
    circuit.cx(1, 2)
    return Circuit.from_qiskit(circuit, ["a"], observables)


@pytest.mark.parametrize(
    "observables", [["IZI"], ["III"], ["IIZ"], ["IZI", "IIZ", "III", "ZZI", "ZZZ"], ["ZIZ", "IZI"]]
)
def test_observables_without_data_or_with_one_rotation(observables: list[str]) -> None:
    assert largest_error(small(*observables)) < TOLERANCE


def test_an_observable_that_is_always_zero() -> None:
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("a"), 0)
    circuit.h(1)
    assert largest_error(Circuit.from_qiskit(circuit, ["a"], ["ZI"])) < TOLERANCE
    assert largest_error(Circuit.from_qiskit(circuit, ["a"], ["ZZ", "ZI", "IZ"])) < TOLERANCE


def test_polynomials_are_what_they_say() -> None:
    flat, single = expand(small("IZI", "IIZ"))
    assert flat.sites == ()
    assert flat.coefficients == pytest.approx(np.cos(0.4))
    assert [(site.input, site.scale) for site in single.sites] == [(0, 1.0)]
    np.testing.assert_allclose(single.coefficients, [0, 1, 0], atol=1e-15)  # 1, cos, sin


def test_one_angle_on_many_qubits_and_again_later() -> None:
    circuit = QuantumCircuit(4)
    a, b = Parameter("a"), Parameter("b")
    for layer in range(2):
        for q in range(4):
            circuit.ry(a if q % 2 else b, q)
            circuit.rz(0.3 * q + layer, q)
        for q in range(3):
            circuit.cx(q, q + 1)
    circuit.rzz(a * 0.5 + b - 1, 0, 3)
    circuit.ry(0.7, 0)
    assert largest_error(Circuit.from_qiskit(circuit, ["b", "a"])) < TOLERANCE


def line(num_qubits: int, layers: int) -> Circuit:
    rng = np.random.default_rng(num_qubits)
    circuit = QuantumCircuit(num_qubits)
    for q in range(num_qubits):
        circuit.rx(Parameter(f"t{q}"), q)
    for _ in range(layers):
        for q in range(num_qubits):
            circuit.ry(rng.uniform(-3, 3), q)
        for q in range(num_qubits - 1):
            circuit.cz(q, q + 1)
    for q in range(num_qubits):
        circuit.ry(rng.uniform(-3, 3), q)
    # Each observable is named by its highest qubit, downwards: the groups do not keep this order by themselves.
    labels = ["I" * i + "Z" + "I" * (num_qubits - 1 - i) for i in range(num_qubits)]
    ends = "Z" + "I" * (num_qubits - 2) + "Z"
    return Circuit.from_qiskit(circuit, [f"t{q}" for q in range(num_qubits)], [ends, *labels[::2], *labels[1::2]])


@pytest.mark.parametrize("num_qubits", [15, pytest.param(18, marks=pytest.mark.slow)])
def test_wide_circuits_are_compiled_in_groups(num_qubits: int) -> None:
    circuit = line(num_qubits, 1)
    blocks = factor(expand(circuit))
    assert len(blocks) > 1
    assert all(len(block.left) + len(block.right) <= MAX_SITES for block in blocks)
    members = [j for block in blocks for j in block.observables]
    assert sorted(members) == list(range(len(circuit.observables)))
    assert members != sorted(members), "the order is put back by nothing here"
    assert largest_error(circuit, rows=2) < TOLERANCE


def evaluate(polynomial: Polynomial, angles: np.ndarray) -> float:
    value = polynomial.coefficients
    for site in reversed(polynomial.sites):
        phi = site.scale * angles[site.input]
        value = value @ np.array([1, np.cos(phi), np.sin(phi)])
    return float(value)


def test_polynomials_and_factors_are_exact_in_float64() -> None:
    circuit = entangled_circuit(5, layers=3)
    angles = np.random.default_rng(5).uniform(-3, 3, (4, 5))
    polynomials = expand(circuit)
    found = [[evaluate(p, row) for p in polynomials] for row in angles]
    np.testing.assert_allclose(found, statevector_expectations(circuit, angles), atol=1e-12)
    (block,) = factor(polynomials)
    for j, polynomial in zip(block.observables, polynomials, strict=True):
        rebuilt = block.left_basis @ block.cores[j] @ block.right_basis.T
        np.testing.assert_allclose(rebuilt.ravel(), polynomial.coefficients.ravel(), atol=1e-8)


def published(seed: int = 0) -> Circuit:
    ansatz = pytest.importorskip("qdistill.ansatz").ANSATZE["qdllm"]()
    trained = np.random.default_rng(seed).uniform(-3, 3, ansatz.num_parameters)
    return Circuit.from_qiskit(ansatz.to_qiskit(trained), ansatz.inputs, ansatz.observables)


@pytest.mark.slow
def test_the_published_ansatz() -> None:
    circuit = published()
    counts = [int(np.count_nonzero(polynomial.coefficients)) for polynomial in expand(circuit)]
    assert counts == [69, 89, 153, 153, 153, 153, 2147, 3142, 60776, 83130, 1]
    assert largest_error(circuit) < TOLERANCE


class TestRefusals:
    def test_too_many_data_rotations(self) -> None:
        circuit = QuantumCircuit(2)
        a = Parameter("a")
        for _ in range(16):
            circuit.rx(a, 0)
            circuit.cx(0, 1)
            circuit.ry(0.3, 1)
            circuit.ry(0.2, 0)
            circuit.cx(1, 0)
        with pytest.raises(
            CompileError,
            match=r"observable IZ: found 2 qubits and 1\d data rotations mixed, \d+ terms; expected at most 16777216. "
            r"Run this circuit on backend='aer'",
        ):
            compile_circuit(Circuit.from_qiskit(circuit, ["a"]))

    def test_too_many_qubits_mixed(self) -> None:
        with pytest.raises(
            CompileError, match=r"observable I+Z: found 1\d qubits .* Run this circuit on backend='aer'"
        ):
            compile_circuit(entangled_circuit(18))

    def test_too_many_qubits(self) -> None:
        with pytest.raises(CompileError, match="found 21 qubits; expected at most 20, since every compiled form"):
            compile_circuit(line(21, 1))

    def test_an_error_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qdinfer import compiler

        monkeypatch.setattr(compiler, "_largest_error", lambda *_: 0.01)
        with pytest.raises(CompileError, match=r"found an error of 1.0e-02 in its compiled form; expected at most"):
            compile_circuit(small("IIZ"))


def test_compile_artifact_binds_to_the_circuit(student: Artifact) -> None:
    again = compile_artifact(student)
    assert again.manifest.compiled is not None
    circuit = Circuit.from_artifact(student)
    assert again.manifest.compiled.circuit_sha256 == circuit.sha256
    assert again.manifest.compiled.max_error < TOLERANCE
    assert again.files["compiled.onnx"] == tiny().files["compiled.onnx"], "compiling is repeatable"
    other = Circuit(circuit.qasm, circuit.inputs[::-1], circuit.observables)
    with pytest.raises(BackendError, match="found the compiled form of circuit"):
        ExactBackend.from_artifact(again).expectations(other, np.zeros((1, 4)))


def test_cost_counts_the_factors() -> None:
    (block,) = factor(expand(small("IIZ", "IZI")))
    assert block.cost == block.left_basis.size + block.right_basis.size + block.cores.size
    assert compile_circuit(small("IIZ", "IZI")).multiply_adds == block.cost
