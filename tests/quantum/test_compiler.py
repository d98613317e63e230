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
from students import dense_circuit, entangled_circuit, tiny

from qdinfer import (
    Artifact,
    BackendError,
    Circuit,
    CompileError,
    ExactBackend,
    InputError,
    compile_artifact,
    compile_circuit,
)
from qdinfer.compiler import check, propagate, statevector_expectations
from qdinfer.compiler.factor import Block, Stage, factor, harmonics
from qdinfer.compiler.propagate import Polynomial
from qdinfer.compiler.steps import Site, cut_in_time, steps_of
from qdinfer.compiler.timeline import train_in_time
from qdinfer.compiler.train import train_of

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


@settings(max_examples=60, database=None)
@given(data_circuits())
def test_compiled_equals_statevector(circuit: Circuit) -> None:
    assert largest_error(circuit, rows=4) < TOLERANCE


@settings(max_examples=15, database=None)
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


def polynomials_of(circuit: Circuit) -> list[Polynomial]:
    gates = circuit.to_qiskit()
    steps = steps_of(gates, circuit.inputs, in_time=cut_in_time(gates))
    return [
        propagate.expand(steps, mask, label)
        for mask, label in zip(circuit.observable_masks, circuit.observables, strict=True)
    ]


def test_polynomials_are_what_they_say() -> None:
    flat, single = polynomials_of(small("IZI", "IIZ"))
    assert flat.sites == ()
    assert flat.coefficients == pytest.approx([np.cos(0.4)])
    assert single.sites == (Site(place=0, number=0, input=0, scale=1.0),)
    assert single.features.tolist() == [[1]]  # of 1, cos, sin
    np.testing.assert_allclose(single.coefficients, [1])


@pytest.mark.parametrize(
    ("num_qubits", "layers", "shared"), [(1, 30, True), (1, 16, False), (2, 10, False), (3, 6, False), (4, 4, True)]
)
def test_data_in_many_layers(num_qubits: int, layers: int, shared: bool) -> None:
    """Many angles on few qubits are cut in time, where no rank is above the 4ⁿ Paulis of the qubits."""
    rng = np.random.default_rng(layers)
    circuit = QuantumCircuit(num_qubits)
    names = [f"t{i}" for i in range(num_qubits if shared else num_qubits * layers)]
    parameters = [Parameter(name) for name in names]
    for layer in range(layers):
        for q in range(num_qubits):
            circuit.rx(parameters[q if shared else layer * num_qubits + q], q)
            circuit.ry(rng.uniform(-3, 3), q)
            circuit.rz(rng.uniform(-3, 3), q)
        for q in range(num_qubits - 1):
            circuit.cz(q, q + 1)
    reuploading = Circuit.from_qiskit(circuit, names)
    gates = reuploading.to_qiskit()
    assert cut_in_time(gates)
    assert largest_error(reuploading, rows=4) < 2 * TOLERANCE
    steps = steps_of(gates, names, in_time=True)
    for mask, label in zip(reuploading.observable_masks, reuploading.observables, strict=True):
        train = train_in_time(steps, mask, label)
        assert max(core.shape[0] for core in train.left) <= 4**num_qubits


def test_in_time_without_data_and_with_idle_qubits() -> None:
    circuit = QuantumCircuit(3)
    a = Parameter("a")
    for _ in range(8):
        circuit.rx(a, 0)
        circuit.ry(0.3, 0)
    circuit.ry(0.4, 1)
    circuit.cx(1, 2)
    mixed = Circuit.from_qiskit(circuit, ["a"], ["IZI", "ZZZ", "IIZ"])
    assert cut_in_time(mixed.to_qiskit())
    assert largest_error(mixed) < TOLERANCE


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


@pytest.mark.parametrize("num_qubits", [5, 13, 18])
def test_lines_of_any_width(num_qubits: int) -> None:
    circuit = line(num_qubits, 1)
    blocks = factor([train_of(polynomial) for polynomial in polynomials_of(circuit)])
    members = [j for block in blocks for j in block.observables]
    assert sorted(members) == list(range(len(circuit.observables)))
    assert members != sorted(members), "the order is put back by nothing here"
    assert largest_error(circuit, rows=2) < TOLERANCE


@pytest.mark.slow
def test_a_hundred_qubits() -> None:
    circuit = line(100, 3)
    compiled = compile_circuit(circuit)
    assert len(compiled.graph) < 5e6
    assert compiled.spec.max_error < TOLERANCE
    angles = np.random.default_rng(1).uniform(-4, 4, (2, 100)).astype(np.float32)
    found = ExactBackend(compiled.graph, circuit.sha256).expectations(circuit, angles).values
    np.testing.assert_allclose(found, statevector_expectations(circuit, angles), atol=TOLERANCE)


def test_the_end_of_a_circuit_is_only_bookkeeping() -> None:
    """A ladder of CNOTs over 40 qubits makes one long string, and diagonal gates change nothing."""
    circuit = QuantumCircuit(40)
    inputs = [Parameter(f"t{q}") for q in range(40)]
    for q, angle in enumerate(inputs):
        circuit.rx(angle, q)
    for q in range(39):
        circuit.rzz(0.3 * q, q, q + 1)
        circuit.cx(q, q + 1)
        circuit.rz(0.1 * q, q)
    polynomials = polynomials_of(Circuit.from_qiskit(circuit, [p.name for p in inputs]))
    for q, polynomial in enumerate(polynomials):
        assert len(polynomial.sites) == q + 1
        assert polynomial.features.tolist() == [[1] * (q + 1)], "the cosines' product"
        np.testing.assert_allclose(polynomial.coefficients, [1.0])
        assert train_of(polynomial).left[0].shape == (1, 3, 1)


def evaluate(polynomial: Polynomial, angles: np.ndarray) -> float:
    phi = np.array([site.scale * angles[site.input] for site in polynomial.sites])
    features = np.stack([np.ones_like(phi), np.cos(phi), np.sin(phi)])
    return float(features[polynomial.features, np.arange(len(phi))].prod(axis=1) @ polynomial.coefficients)


def sweep(stages: tuple[Stage, ...], angles: np.ndarray) -> np.ndarray:
    swept = np.ones(1)
    for stage in stages:
        sums = harmonics(len(stage.sites))[0]
        phi = np.array([site.scale * angles[site.input] for site in stage.sites])
        swept = np.einsum("f,r,frs->s", np.cos(sums[:, :-1] @ phi + sums[:, -1]), swept, stage.matrix)
    return swept


def evaluate_block(block: Block, angles: np.ndarray) -> dict[int, float]:
    products = np.split(sweep(block.left, angles) * sweep(block.right, angles), np.cumsum(block.ranks)[:-1])
    return {j: float(part.sum()) for j, part in zip(block.observables, products, strict=True)}


def test_polynomials_trains_and_blocks_are_exact_in_float64() -> None:
    circuit = entangled_circuit(5, layers=3)
    angles = np.random.default_rng(5).uniform(-3, 3, (4, 5))
    polynomials = polynomials_of(circuit)
    expected = statevector_expectations(circuit, angles)
    np.testing.assert_allclose([[evaluate(p, row) for p in polynomials] for row in angles], expected, atol=1e-12)
    trains = [train_of(polynomial) for polynomial in polynomials]
    for polynomial, train in zip(polynomials, trains, strict=True):
        for cores in (train.left, tuple(core.transpose(2, 1, 0) for core in reversed(train.right))):
            whole = np.ones((1, 1))
            for core in cores:
                whole = np.tensordot(whole, core, axes=1).reshape(-1, core.shape[2])
            full = np.zeros((3,) * len(train.sites))
            full[tuple(polynomial.features.T)] = polynomial.coefficients
            np.testing.assert_allclose(whole.ravel(), full.ravel(), atol=1e-8)
    for row, values in zip(angles, expected, strict=True):
        found = {j: value for block in factor(trains) for j, value in evaluate_block(block, row).items()}
        np.testing.assert_allclose([found[j] for j in range(5)], values, atol=1e-7)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_products_of_features_are_sums_of_cosines(count: int) -> None:
    sums, products = harmonics(count)
    phi = np.random.default_rng(count).uniform(-9, 9, count)
    expected = np.ones(1)
    for angle in phi:
        expected = np.multiply.outer(expected, [1, np.cos(angle), np.sin(angle)]).ravel()
    np.testing.assert_allclose(np.cos(sums[:, :-1] @ phi + sums[:, -1]) @ products, expected, atol=1e-14)


def test_lists_and_arrays_of_terms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = entangled_circuit(4, layers=2)
    angles = np.random.default_rng(2).uniform(-3, 3, (3, 4))
    expected = statevector_expectations(circuit, angles)
    for full in (0.0, 1e9):  # an array never, or always
        monkeypatch.setattr(propagate, "_FULL", 1 / full if full else np.inf)
        found = [[evaluate(p, row) for p in polynomials_of(circuit)] for row in angles]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_sums_over_more_axes_than_a_word_has_room_for() -> None:
    letters = np.random.default_rng(0).integers(0, 4, (50, 70)).astype(np.uint8)
    twice = np.concatenate([letters, letters[::-1]])
    terms = propagate.Terms(tuple(range(70)), twice, np.r_[np.arange(50.0), np.arange(50.0)[::-1]]).merged()
    assert len(terms) == 49  # the first has the coefficient 0
    found = {tuple(row): value for row, value in zip(terms.letters.tolist(), terms.coefficients, strict=True)}
    assert found == {tuple(row): 2.0 * i for i, row in enumerate(letters.tolist()) if i}


def test_simple_observables_have_no_share_in_the_rounding_errors_of_others() -> None:
    """Beside a circuit that mixes 9 qubits, a lone qubit's cosine is as exact as by itself."""
    mixed = entangled_circuit(9, layers=3).to_qiskit()
    circuit = QuantumCircuit(10)
    circuit.compose(mixed, range(9), inplace=True)
    circuit.rx(Parameter("theta_9"), 9)
    names = [f"theta_{q}" for q in range(10)]
    together = Circuit.from_qiskit(circuit, names, ["Z" + "I" * 9, "Z" * 10, "I" * 9 + "Z"])
    angles = np.random.default_rng(4).uniform(-3, 3, (500, 10)).astype(np.float32)
    found = ExactBackend(compile_circuit(together).graph, together.sha256).expectations(together, angles).values
    assert np.abs(found[:, 0] - np.cos(angles[:, 9].astype(np.float64))).max() < 2e-7


def test_what_is_left_out_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagate, "MAX_TERMS", 150)
    monkeypatch.setattr(propagate, "MAX_ARRAY", 100)
    circuit = dense_circuit(7, 3, 0.1)
    with pytest.raises(
        CompileError, match=r"found \d+ terms, over \d qubits and \d data rotations; expected at most 150"
    ):
        compile_circuit(circuit)
    compiled = compile_circuit(circuit, max_error=0.05)
    assert 0 < compiled.spec.bound <= 0.05
    assert 1e-5 < compiled.spec.max_error <= compiled.spec.bound
    angles = np.random.default_rng(9).uniform(-4, 4, (50, 7)).astype(np.float32)
    found = ExactBackend(compiled.graph, circuit.sha256).expectations(circuit, angles).values
    assert np.abs(found - statevector_expectations(circuit, angles)).max() <= compiled.spec.bound


def test_nothing_is_left_out_of_what_fits() -> None:
    circuit = dense_circuit(6, 2, 0.3)
    assert compile_circuit(circuit, max_error=0.1).graph == compile_circuit(circuit).graph
    assert compile_circuit(circuit, max_error=0.1).spec.bound == 0


@pytest.mark.parametrize("max_error", [-0.1, 1.1, float("nan")])
def test_an_error_that_means_nothing(max_error: float) -> None:
    with pytest.raises(InputError, match="max_error: found .*; expected a number from 0 to 1"):
        compile_circuit(small("IIZ"), max_error=max_error)


def test_light_cones_leave_out_what_commutes() -> None:
    circuit = line(30, 2).to_qiskit()
    transfers = [check._transfer(instruction) for instruction in circuit.data]
    mask = np.arange(30) == 15
    inside, cone = check.light_cone(circuit, transfers, mask)
    assert cone == (13, 14, 15, 16, 17)
    used = [circuit.data[i].operation.name for i in sorted(inside)]
    assert used.count("cz") == 2 + 4
    assert used.count("rx") == 5


def published(seed: int = 0) -> Circuit:
    ansatz = pytest.importorskip("qdistill.ansatz").ANSATZE["qdllm"]()
    trained = np.random.default_rng(seed).uniform(-3, 3, ansatz.num_parameters)
    return Circuit.from_qiskit(ansatz.to_qiskit(trained), ansatz.inputs, ansatz.observables)


@pytest.mark.slow
def test_the_published_ansatz() -> None:
    circuit = published()
    counts = [len(polynomial.coefficients) for polynomial in polynomials_of(circuit)]
    assert counts == [69, 89, 153, 153, 153, 153, 2147, 3142, 60776, 83130, 1]
    assert largest_error(circuit) < TOLERANCE


class TestRefusals:
    def test_too_many_data_rotations(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qdinfer.compiler import timeline

        monkeypatch.setattr(timeline, "MAX_ARRAY", 100)
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
            match=r"observable IZ: found \d+ numbers to be known of 2 qubits between data rotations; expected at most "
            r"100. Run this circuit on backend='aer'",
        ):
            compile_circuit(Circuit.from_qiskit(circuit, ["a"]))

    def test_ranks_out_of_reach_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qdinfer.compiler import timeline

        monkeypatch.setattr(timeline, "MAX_RANK", 2)
        circuit = QuantumCircuit(1)
        for i in range(6):
            circuit.rx(Parameter(f"t{i}"), 0)
            circuit.ry(0.4, 0)
            circuit.rz(0.3, 0)
        with pytest.raises(CompileError, match="circuit: found an observable of rank 3; expected at most 2. Run this"):
            compile_circuit(Circuit.from_qiskit(circuit, [f"t{i}" for i in range(6)]))

    def test_too_many_qubits_mixed(self) -> None:
        with pytest.raises(
            CompileError, match=r"observable I+Z: found \d+ terms, over 1\d qubits .* run this circuit on backend='aer'"
        ):
            compile_circuit(entangled_circuit(18))

    def test_too_many_qubits(self) -> None:
        circuit = QuantumCircuit(21)
        for q in range(21):
            circuit.rx(Parameter(f"t{q}"), q)
        for q in range(20):
            circuit.cx(q, q + 1)
        with pytest.raises(
            CompileError,
            match="observable Z+: found a light cone of 21 qubits; expected at most 20, since every compiled",
        ):
            compile_circuit(Circuit.from_qiskit(circuit, [f"t{q}" for q in range(21)], ["Z" * 21]))

    @pytest.mark.parametrize(("name", "value"), [("MAX_RANK", 5), ("MAX_ENTRIES", 100)])
    def test_ranks_out_of_reach(self, monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
        from qdinfer.compiler import train

        monkeypatch.setattr(train, name, value)
        with pytest.raises(
            CompileError,
            match=r"circuit: found an observable with \d+ terms, of rank \d or more; expected at most \d+, and",
        ):
            compile_circuit(entangled_circuit(5, layers=3))

    def test_a_decomposition_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """LAPACK fails on some tall matrices, though not on what they are turned into; and it might on both."""
        decompose, tried = np.linalg.svd, []

        def fails_if_tall(matrix: np.ndarray, full_matrices: bool = True) -> object:
            tried.append(matrix.shape)
            if matrix.shape[0] > matrix.shape[1]:
                raise np.linalg.LinAlgError("SVD did not converge")
            return decompose(matrix, full_matrices=full_matrices)

        monkeypatch.setattr(np.linalg, "svd", fails_if_tall)
        assert largest_error(entangled_circuit(5)) < TOLERANCE
        assert any(rows > columns for rows, columns in tried)

        def fails(matrix: np.ndarray, full_matrices: bool = True) -> object:
            raise np.linalg.LinAlgError("SVD did not converge")

        monkeypatch.setattr(np.linalg, "svd", fails)
        with pytest.raises(
            CompileError, match=r"circuit: found coefficients whose decomposition fails \(SVD did not conv"
        ):
            compile_circuit(entangled_circuit(3))

    def test_a_form_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qdinfer.compiler.assembly._MAX_MULTIPLY_ADDS", 10)
        with pytest.raises(
            CompileError, match=r"circuit: found a compiled form of \d+ multiply-adds; expected at most 10"
        ):
            compile_circuit(entangled_circuit(3))

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
    circuit = small("IIZ", "IZI")
    blocks = factor([train_of(polynomial) for polynomial in polynomials_of(circuit)])
    sizes = sum(stage.matrix.size for block in blocks for stage in (*block.left, *block.right))
    assert compile_circuit(circuit).multiply_adds == sizes + sum(sum(block.ranks) for block in blocks)
