"""Compiled circuits with noise against Aer's density matrix and against an independent propagation of Paulis."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pauli_prop import propagate_through_circuit
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import BackendV2
from qiskit.quantum_info import DensityMatrix, Pauli, SparsePauliOp
from qiskit_aer.noise import NoiseModel, PauliLindbladError, ReadoutError, depolarizing_error, pauli_error
from qiskit_ibm_runtime.fake_provider import FakeGuadalupeV2, FakeManilaV2
from students import dense_circuit, entangled_circuit

from benchmarks.twin import aer_values, unread
from qdinfer import AerBackend, Circuit, CompileError, InputError
from qdinfer.backends.isa import to_isa
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler.noisy import compile_twin
from qdinfer.compiler.steps import cut_in_time
from qdinfer.noise import DeviceNoise
from qdinfer.noise.channels import readout
from qdinfer.noise.twin import masks_of, readout_map, strings_of
from qdinfer.predictions import FloatArray

TOLERANCE = 1e-6


def observed(circuit: Circuit, *labels: str) -> Circuit:
    return Circuit(circuit.qasm, circuit.inputs, labels)


def angles_of(circuit: Circuit, rows: int = 3, seed: int = 5) -> FloatArray:
    return np.random.default_rng(seed).uniform(-3, 3, (rows, len(circuit.inputs))).astype(np.float32).astype(np.float64)


def uploading_circuit(num_qubits: int = 4, layers: int = 6) -> Circuit:
    """Few qubits, and the same data again in every layer."""
    random = np.random.default_rng(3)
    circuit = QuantumCircuit(num_qubits)
    inputs = [Parameter(f"t{q}") for q in range(num_qubits)]
    for _ in range(layers):
        for q, each in enumerate(inputs):
            circuit.rx(each, q)
            circuit.ry(random.uniform(-3, 3), q)
        for q in range(num_qubits - 1):
            circuit.cx(q, q + 1)
    circuit.rzz(0.5 * inputs[0] + 0.2, 0, 1)
    labels = ["I" * (num_qubits - 1) + "Z", "ZZ" + "I" * (num_qubits - 2)]
    return Circuit.from_qiskit(circuit, [each.name for each in inputs], labels)


def pauli_noise() -> NoiseModel:
    """Errors that differ from gate to gate and from qubit to qubit, and readout that pulls to 0."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.002, 1), ["sx", "x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), "cx")
    model.add_quantum_error(pauli_error([("X", 0.02), ("Z", 0.01), ("I", 0.97)]), "sx", [1])
    model.add_quantum_error(pauli_error([("IX", 0.04), ("ZY", 0.01), ("II", 0.95)]), "cx", [0, 1])
    model.add_all_qubit_readout_error(ReadoutError([[0.99, 0.01], [0.06, 0.94]]))
    model.add_readout_error(ReadoutError([[0.9, 0.1], [0.03, 0.97]]), [1], warnings=False)
    return model


@pytest.fixture(scope="module")
def manila() -> tuple[BackendV2, NoiseModel]:
    backend = FakeManilaV2()
    return backend, NoiseModel.from_backend(backend)


class TestDevices:
    """The device's own noise, with relaxation while qubits wait."""

    @pytest.mark.parametrize("idling", [True, False])
    def test_as_it_is(self, idling: bool, manila: tuple[BackendV2, NoiseModel]) -> None:
        backend, model = manila
        circuit = observed(entangled_circuit(4), "IIIZ", "IIZI", "IZII", "ZIII", "ZIZI", "ZZZZ")
        noise = DeviceNoise.from_backend(backend, circuit, to_isa(circuit, backend), idling=idling)
        assert ("delay" in {row[0] for row in noise.isa["instructions"]}) == idling
        angles = angles_of(circuit)
        found = TwinBackend(unread(compile_twin(circuit, noise))).expectations(circuit, angles)
        np.testing.assert_allclose(found.values, aer_values(noise, circuit, angles, model=model), atol=TOLERANCE)

    def test_idling_is_noise(self, manila: tuple[BackendV2, NoiseModel]) -> None:
        """Else the test above could not tell whether it counts."""
        backend, model = manila
        circuit = entangled_circuit(4)
        isa, angles = to_isa(circuit, backend), angles_of(circuit)
        with_idling, without = (
            aer_values(DeviceNoise.from_backend(backend, circuit, isa, idling=idling), circuit, angles, model=model)
            for idling in (True, False)
        )
        assert np.abs(with_idling - without).max() > 1e-3

    def test_twirled(self, manila: tuple[BackendV2, NoiseModel]) -> None:
        backend, model = manila
        circuit = observed(entangled_circuit(4), "IIIZ", "ZIZI", "ZZZZ")
        noise = DeviceNoise.from_backend(backend, circuit, to_isa(circuit, backend))
        angles = angles_of(circuit)
        found = TwinBackend(unread(compile_twin(circuit, noise, twirled=True))).expectations(circuit, angles).values
        np.testing.assert_allclose(found, aer_values(noise, circuit, angles), atol=TOLERANCE)
        assert np.abs(found - aer_values(noise, circuit, angles, model=model)).max() > 1e-5  # twirling does something

    @pytest.mark.slow
    def test_six_qubits(self) -> None:
        backend = FakeGuadalupeV2()
        circuit = entangled_circuit(6, layers=1)
        noise = DeviceNoise.from_backend(backend, circuit, to_isa(circuit, backend))
        angles = angles_of(circuit, rows=2)
        found = TwinBackend(unread(compile_twin(circuit, noise, pairs=False))).expectations(circuit, angles).values
        model = NoiseModel.from_backend(backend)
        np.testing.assert_allclose(found, aer_values(noise, circuit, angles, model=model), atol=TOLERANCE)

    def test_qubits_that_routing_borrows(self, manila: tuple[BackendV2, NoiseModel]) -> None:
        """Far ends of a line of five: swaps go through the qubits between, which are not measured."""
        backend, model = manila
        qubits = QuantumCircuit(3)
        for q in range(3):
            qubits.rx(Parameter(f"t{q}"), q)
        for _ in range(2):
            qubits.cx(0, 1)
            qubits.cx(1, 2)
            qubits.cx(0, 2)
            qubits.ry(0.7, [0, 1, 2])
        circuit = Circuit.from_qiskit(qubits, ["t0", "t1", "t2"], ["IIZ", "IZI", "ZII", "ZZZ"])
        isa = to_isa(circuit, backend, initial_layout=[0, 2, 4])
        noise = DeviceNoise.from_backend(backend, circuit, isa)
        assert len(noise.qubits) > 3
        angles = angles_of(circuit)
        found = TwinBackend(unread(compile_twin(circuit, noise))).expectations(circuit, angles).values
        np.testing.assert_allclose(found, aer_values(noise, circuit, angles, model=model), atol=TOLERANCE)

    def test_data_again_and_again(self, manila: tuple[BackendV2, NoiseModel]) -> None:
        backend, model = manila
        circuit = uploading_circuit(3, 4)
        noise = DeviceNoise.from_backend(backend, circuit, to_isa(circuit, backend))
        assert cut_in_time(circuit.to_qiskit())
        angles = angles_of(circuit)
        found = TwinBackend(unread(compile_twin(circuit, noise, pairs=False))).expectations(circuit, angles).values
        np.testing.assert_allclose(found, aer_values(noise, circuit, angles, model=model), atol=TOLERANCE)


class TestNoiseModels:
    """Readout included, which `AerBackend` has in its values."""

    @pytest.mark.parametrize(
        "circuit",
        [
            pytest.param(observed(entangled_circuit(4), "IIIZ", "IIZZ", "ZIIZ", "ZZZI", "ZZZZ", "IIII"), id="weights"),
            pytest.param(uploading_circuit(3, 4), id="again and again"),
            pytest.param(entangled_circuit(6, layers=1), id="six"),
        ],
    )
    def test_values_are_aers(self, circuit: Circuit) -> None:
        model = pauli_noise()
        angles = angles_of(circuit)
        twin = compile_twin(circuit, DeviceNoise.from_noise_model(model, circuit))
        expected = AerBackend(noise_model=model).expectations(circuit, angles).values
        np.testing.assert_allclose(TwinBackend(twin).expectations(circuit, angles).values, expected, atol=TOLERANCE)
        assert twin.spec.error < TOLERANCE
        assert twin.spec.bound == 0

    def test_covariances_are_those_of_products(self) -> None:
        """An observable's product with another is an observable too, so Aer can tell."""
        circuit = observed(entangled_circuit(4), "IIIZ", "IIZZ", "ZIIZ", "ZZZI")
        products = observed(circuit, *(product(a, b) for a in circuit.observables for b in circuit.observables))
        model = pauli_noise()
        angles = angles_of(circuit)
        means, covariance = TwinBackend(compile_twin(circuit, DeviceNoise.from_noise_model(model, circuit))).moments(
            circuit, angles
        )
        expected = AerBackend(noise_model=model).expectations(products, angles).values.reshape(-1, 4, 4)
        np.testing.assert_allclose(covariance + means[:, :, None] * means[:, None], expected, atol=3 * TOLERANCE)

    def test_without_pairs_observables_are_independent(self) -> None:
        circuit = entangled_circuit(3)
        noise = DeviceNoise.from_noise_model(pauli_noise(), circuit)
        twin = compile_twin(circuit, noise, pairs=False)
        assert twin.pairs(symmetric=False) is None
        means, covariance = TwinBackend(twin).moments(circuit, angles_of(circuit))
        np.testing.assert_allclose(covariance, np.eye(3) * (1 - means**2)[:, None])

    def test_no_noise_is_the_ideal_circuit(self) -> None:
        circuit = entangled_circuit(4)
        twin = compile_twin(circuit, DeviceNoise.from_noise_model(NoiseModel(), circuit))
        angles = angles_of(circuit)
        expected = AerBackend().expectations(circuit, angles).values
        np.testing.assert_allclose(TwinBackend(twin).expectations(circuit, angles).values, expected, atol=TOLERANCE)
        np.testing.assert_allclose(twin.spec.damping, 1, atol=1e-5)

    def test_uniform_damping_is_told(self) -> None:
        """Depolarizing every qubit behind its only gate: by that much."""
        qubits = QuantumCircuit(2)
        qubits.rx(Parameter("a"), 0)
        qubits.rx(Parameter("b"), 1)
        circuit = Circuit.from_qiskit(qubits, ["a", "b"])
        model = NoiseModel()
        model.add_quantum_error(depolarizing_error(0.1, 1), "rx", [0])
        model.add_quantum_error(depolarizing_error(0.3, 1), "rx", [1])
        twin = compile_twin(circuit, DeviceNoise.from_noise_model(model, circuit))
        np.testing.assert_allclose(twin.spec.damping, [0.9, 0.7], atol=1e-5)


def product(one: str, other: str) -> str:
    return "".join("I" if a == b else "Z" for a, b in zip(one, other, strict=True))


@settings(max_examples=15, database=None)
@given(
    reading=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=3),
    masks=st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=3, unique=True),
    seed=st.integers(0, 2**32),
)
def test_readout_map_is_flipping_every_bit(
    reading: list[tuple[float, float]], masks: list[tuple[bool, ...]], seed: int
) -> None:
    """Of any distribution of bits, by brute force."""
    wanted = np.array(masks)
    chances = np.random.default_rng(seed).dirichlet(np.ones(8)).reshape(2, 2, 2)
    read = chances
    for q, (one_as_0, zero_as_1) in enumerate(reading):
        flips = np.array([[1 - zero_as_1, one_as_0], [zero_as_1, 1 - one_as_0]])
        read = np.moveaxis(np.tensordot(flips, read, axes=(1, q)), 0, q)
    strings = np.array(strings_of(wanted, pairs=False), np.bool_).reshape(-1, 3)

    def means(distribution: FloatArray, chosen: Any) -> list[float]:
        bits = np.indices((2, 2, 2)).reshape(3, -1)
        return [float((distribution.ravel() * (-1.0) ** bits[mask].sum(axis=0)).sum()) for mask in chosen]

    made = readout_map(wanted, strings, np.array([readout(*each)[[0, 3], 3] for each in reading]))
    np.testing.assert_allclose(made @ [*means(chances, strings), 1.0], means(read, wanted), atol=1e-12)


class TestAllowance:
    def test_what_is_left_out_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        circuit = dense_circuit(7, 3, 0.1)
        model = pauli_noise()
        noise, angles = DeviceNoise.from_noise_model(model, circuit), angles_of(circuit)
        whole = TwinBackend(compile_twin(circuit, noise, pairs=False)).expectations(circuit, angles).values
        monkeypatch.setattr("qdinfer.compiler.propagate.MAX_TERMS", 150)
        monkeypatch.setattr("qdinfer.compiler.propagate.MAX_ARRAY", 100)
        with pytest.raises(CompileError, match=r"found \d+ terms"):
            compile_twin(circuit, noise, pairs=False)
        twin = compile_twin(circuit, noise, pairs=False, max_error=0.5)
        found = TwinBackend(twin).expectations(circuit, angles).values
        assert 0 < twin.spec.bound <= 0.5
        assert 1e-6 < np.abs(found - whole).max() <= twin.spec.bound + 1e-6
        assert twin.spec.error <= twin.spec.bound + 1e-4

    @pytest.mark.parametrize("max_error", [-0.1, 1.1, float("nan")])
    def test_is_a_number_from_0_to_1(self, max_error: float) -> None:
        circuit = entangled_circuit(2)
        with pytest.raises(InputError, match="max_error: found .*; expected a number from 0 to 1"):
            compile_twin(circuit, DeviceNoise.from_noise_model(NoiseModel(), circuit), max_error=max_error)


class TestRefusals:
    NOISE = DeviceNoise.from_noise_model(pauli_noise(), entangled_circuit(3))

    def test_noise_of_another_circuit(self) -> None:
        with pytest.raises(InputError, match=r"noise of noise model: found that of circuit [0-9a-f]{16}…; expected"):
            compile_twin(entangled_circuit(3, seed=9), self.NOISE)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            pytest.param(["sdg", [0], [], []], "found nothing of sdg on qubits [0]", id="gate"),
            pytest.param(["sx", [0, 1], [], []], "found no circuit of a device", id="qubits"),
            pytest.param(["warp", [0], [], []], "found no circuit of a device", id="name"),
            pytest.param(["reset", [0], [], []], "found reset in its circuit; expected gates and delays", id="reset"),
            pytest.param(["rz", [0], [[0.0, {"other": 1.0}]], []], "and inputs ['other', 'theta_0'", id="input"),
            pytest.param(["measure", [3], [], [3]], "nothing of qubit 3", id="measured"),
        ],
    )
    def test_a_circuit_that_cannot_be(self, row: list[object], message: str) -> None:
        isa = json.loads(json.dumps(self.NOISE.isa))
        isa["instructions"].insert(0, row)
        isa["qubits"] = isa["bits"] = 4
        with pytest.raises(InputError, match=re.escape(message)):
            compile_twin(entangled_circuit(3), msgspec.structs.replace(self.NOISE, isa=isa))


@pytest.mark.filterwarnings("ignore:Casting complex values")  # inside pauli-prop
def test_is_what_pauli_prop_says() -> None:
    """Pauli-Lindblad noise behind every gate, at given angles, by an independent library."""
    circuit = observed(entangled_circuit(4), "IIIZ", "ZIII", "IZIZ", "ZZZZ")
    everywhere = {
        1: PauliLindbladError(["X", "Y", "Z"], [0.004, 0.001, 0.003]),
        2: PauliLindbladError(["IX", "ZI", "ZZ", "XY", "YX"], [0.01, 0.02, 0.004, 0.003, 0.005]),
    }
    model = NoiseModel()
    model.add_all_qubit_quantum_error(everywhere[1], ["sx", "x", "rz"])
    model.add_all_qubit_quantum_error(everywhere[2], "cx")
    angles = angles_of(circuit, rows=4)
    noise = DeviceNoise.from_noise_model(model, circuit)
    found = TwinBackend(compile_twin(circuit, noise)).expectations(circuit, angles).values
    expected = [[propagated(noise, circuit, row, label, everywhere) for label in circuit.observables] for row in angles]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert np.abs(found - AerBackend().expectations(circuit, angles).values).max() > 0.1


def propagated(
    noise: DeviceNoise, circuit: Circuit, row: FloatArray, label: str, everywhere: dict[int, PauliLindbladError]
) -> float:
    """The circuit as rotations and Clifford gates, bound to a row of angles, by pauli-prop."""
    values = dict(zip(circuit.inputs, row.tolist(), strict=True))
    bound = QuantumCircuit(circuit.num_qubits)
    for name, qubits, angles, _ in noise.isa["instructions"]:
        if name in ("barrier", "measure"):
            continue
        given = [offset + sum(factor * values[of] for of, factor in terms.items()) for offset, terms in angles]
        getattr(bound, name)(*given, *qubits)
        bound.append(everywhere[len(qubits)], qubits)
    seen, lost = propagate_through_circuit(
        SparsePauliOp(label), bound, max_terms=4**circuit.num_qubits, atol=0.0, frame="h"
    )
    assert lost == 0
    zero = DensityMatrix.from_label("0" * circuit.num_qubits)
    total = sum(coefficient * zero.expectation_value(Pauli(pauli)) for pauli, coefficient in seen.to_list())
    return float(np.real(total))


def test_strings_are_their_masks() -> None:
    np.testing.assert_array_equal(masks_of(["IIZ", "ZIZ"]), [[True, False, False], [True, False, True]])
