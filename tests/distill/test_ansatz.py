"""The JAX function and the Qiskit circuit of an ansatz are one circuit, and the published one."""

from collections import Counter
from collections.abc import Callable

import jax
import numpy as np
import pytest
from qiskit.quantum_info import SparsePauliOp, Statevector

from qdinfer.errors import InputError
from qdistill.ansatz import ANSATZE, Ansatz, line, qdllm


def reference(ansatz: Ansatz, parameters: np.ndarray, angles: np.ndarray) -> np.ndarray:
    circuit = ansatz.to_qiskit(parameters)
    observables = [SparsePauliOp(label) for label in ansatz.observables]
    rows = []
    for row in angles:
        state = Statevector(circuit.assign_parameters(dict(zip(ansatz.inputs, row, strict=True))))
        rows.append([state.expectation_value(observable).real for observable in observables])
    return np.array(rows)


def compare(ansatz: Ansatz, rows: int) -> None:
    rng = np.random.default_rng(7)
    parameters = rng.uniform(-np.pi, np.pi, ansatz.num_parameters)
    angles = rng.uniform(-np.pi, np.pi, (rows, ansatz.num_inputs))
    found = jax.jit(ansatz.expectations)(parameters, angles)
    assert found.shape == (rows, ansatz.num_qubits)
    np.testing.assert_allclose(found, reference(ansatz, parameters, angles), atol=1e-5)


@pytest.mark.parametrize(
    "ansatz",
    [qdllm(4, 2), qdllm(3, 1), line(4, 2), line(2, 1)],
    ids=lambda a: f"{a.name}-{a.num_qubits}",
)
def test_jax_and_qiskit_agree(ansatz: Ansatz) -> None:
    compare(ansatz, rows=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSATZE)
def test_jax_and_qiskit_agree_on_eleven_qubits(name: str) -> None:
    compare(ANSATZE[name](), rows=5)


def test_qdllm_is_the_published_circuit() -> None:
    ansatz = qdllm()
    counts = Counter(gate.name for gate in ansatz.gates)
    assert counts == {"rx": 11, "ry": 60, "rzz": 18, "rz": 66, "cx": 34}
    assert (ansatz.num_parameters, ansatz.num_inputs) == (144, 11)
    names = [(gate.name, gate.qubits) for gate in ansatz.gates[11:15]]
    assert names == [("ry", (0,)), ("ry", (0,)), ("ry", (0,)), ("rzz", (1, 2))]
    pairs = [gate.qubits for gate in ansatz.gates if gate.name == "cx"]
    assert pairs[:5] == [(10, 0), (1, 2), (1, 0), (2, 3), (2, 1)]
    assert pairs[15:17] == [(8, 9), (8, 7)]
    assert pairs[:17] == pairs[17:]


def test_line_needs_thirty_neighbouring_pairs() -> None:
    ansatz = line()
    pairs = [gate.qubits for gate in ansatz.gates if gate.name == "cz"]
    assert len(pairs) == 30
    assert all(second - first == 1 for first, second in pairs)
    assert ansatz.num_parameters == 77


@pytest.mark.parametrize("name", ANSATZE)
def test_each_trained_angle_is_used_once_and_in_order(name: str) -> None:
    ansatz = ANSATZE[name]()
    used = [gate.trained for gate in ansatz.gates if gate.trained is not None]
    assert used == list(range(ansatz.num_parameters))


def test_names_follow_the_qubits() -> None:
    ansatz = line(3, 1)
    assert ansatz.inputs == ("theta_0", "theta_1", "theta_2")
    assert ansatz.observables == ("IIZ", "IZI", "ZII")
    assert {p.name for p in ansatz.to_qiskit(np.zeros(9)).parameters} == set(ansatz.inputs)


def test_gradients_reach_parameters_and_angles() -> None:
    ansatz = line(2, 1)
    rng = np.random.default_rng(1)
    parameters, angles = rng.normal(size=ansatz.num_parameters), rng.normal(size=(2, 2))
    gradient = jax.grad(lambda p, a: ansatz.expectations(p, a)[:, 0].sum(), (0, 1))
    by_parameter, by_angle = gradient(parameters, angles)
    step = 1e-6
    for i in range(ansatz.num_parameters):
        moved = parameters + step * np.eye(ansatz.num_parameters)[i]
        slope = (reference(ansatz, moved, angles) - reference(ansatz, parameters, angles))[:, 0]
        assert slope.sum() / step == pytest.approx(float(by_parameter[i]), abs=1e-3)
    assert np.abs(by_angle).max() > 0.01


def test_wrong_shapes_are_refused() -> None:
    ansatz = line(2, 1)
    with pytest.raises(InputError, match=r"shape \(3,\).*\(6,\)"):
        ansatz.to_qiskit(np.zeros(3))
    with pytest.raises(InputError, match=r"shape \(5, 3\).*\(N, 2\)"):
        ansatz.expectations(np.zeros(6), np.zeros((5, 3)))


@pytest.mark.parametrize(("make", "fewest"), [(qdllm, 3), (line, 2)])
def test_sizes_that_make_no_circuit_are_refused(make: Callable[[int, int], Ansatz], fewest: int) -> None:
    make(fewest, 1)
    with pytest.raises(InputError, match="qubits"):
        make(fewest - 1, 1)
    with pytest.raises(InputError, match="layers"):
        make(fewest, 0)
