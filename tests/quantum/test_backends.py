"""Backends: they agree, their shots are honest, and noise is where it was put or refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError
from qiskit.primitives import StatevectorEstimator
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerError
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, pauli_error
from qiskit_aer.primitives import SamplerV2
from students import entangled_circuit, parts

from qdinfer import AerBackend, Artifact, Backend, BackendError, Circuit, ExactBackend, InputError, compile_circuit
from qdinfer.backends import aer, backend_for
from qdinfer.backends.base import SamplingBackend
from qdinfer.backends.exact import BATCH
from qdinfer.compiler import statevector_expectations
from qdistill.export import export


def random_angles(rows: int, columns: int = 4, seed: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, (rows, columns))


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    """Four qubits, with strings of one, two and four Z."""
    base = entangled_circuit(4)
    return Circuit(base.qasm, base.inputs, ("IIIZ", "ZIII", "IZZI", "ZZZZ"))


@pytest.fixture(scope="module")
def exact(circuit: Circuit) -> ExactBackend:
    return ExactBackend(compile_circuit(circuit).graph, circuit.sha256, threads=1)


class TestParity:
    def test_all_agree(self, circuit: Circuit, exact: ExactBackend) -> None:
        angles = random_angles(30)
        observables = [[SparsePauliOp(label)] for label in circuit.observables]
        pub = (circuit.to_qiskit(), observables, circuit.bindings(angles))
        reference = StatevectorEstimator().run([pub], precision=0.0).result()[0].data.evs.T
        for backend in (exact, AerBackend()):
            found = backend.expectations(circuit, angles)
            np.testing.assert_allclose(found.values, reference, atol=1e-5)
            assert found.values.shape == (30, 4)
            assert found.covariance is None
            assert not found.shots.any()
        np.testing.assert_allclose(AerBackend().expectations(circuit, angles).values, reference, atol=1e-12)

    def test_more_rows_than_one_run_takes(self, circuit: Circuit, exact: ExactBackend) -> None:
        angles = random_angles(2 * BATCH + 1)
        values = exact.expectations(circuit, angles).values
        some = [0, BATCH - 1, BATCH, 2 * BATCH]
        np.testing.assert_allclose(values[some], statevector_expectations(circuit, angles[some]), atol=1e-5)

    def test_twelve_inputs_by_name(self) -> None:
        original = QuantumCircuit(12)
        for i in range(12):
            original.ry(Parameter(f"theta_{i}"), i)
        wide = Circuit.from_qiskit(original, [f"theta_{i}" for i in range(12)])
        angles = random_angles(2, 12)
        np.testing.assert_allclose(AerBackend().expectations(wide, angles).values, np.cos(angles), atol=1e-12)
        sampled = AerBackend(4000, seed=1).expectations(wide, angles)
        assert np.abs((sampled.values - np.cos(angles)) / sampled.standard_errors).max() < 5

    def test_they_are_backends(self, exact: ExactBackend, student: Artifact) -> None:
        assert isinstance(exact, Backend)
        assert isinstance(AerBackend(), Backend)
        assert isinstance(backend_for("exact", student), ExactBackend)
        assert isinstance(backend_for("aer", student), AerBackend)
        assert backend_for(exact, student) is exact
        with pytest.raises(InputError, match=r"backend: found 'eaxct'; expected 'exact', 'aer', 'fake:DEVICE'"):
            backend_for("eaxct", student)


class TestControlledRotations:
    """https://github.com/Qiskit/qiskit-aer/issues/2403: raw Aer binds parameters of these wrongly."""

    @staticmethod
    def phase(gate: str) -> QuantumCircuit:
        circuit = QuantumCircuit(2)
        circuit.h([0, 1])
        getattr(circuit, gate)(Parameter("a"), 0, 1)
        circuit.h([0, 1])
        return circuit

    @pytest.mark.parametrize("gate", ["crx", "cry", "crz", "cp"])
    def test_from_qasm(self, gate: str) -> None:
        text = (
            'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\nqubit[2] q;\n'
            f"h q[0];\nry(0.4) q[1];\n{gate}(2*a + 0.1) q[0], q[1];\nh q[0];\nrx(0.3) q[1];\n"
        )
        circuit = Circuit.from_qasm3(text)
        angles = random_angles(6, 1)
        reference = np.empty((6, 2))
        for i, (a,) in enumerate(angles):
            state = QuantumCircuit(2)
            state.h(0)
            state.ry(0.4, 1)
            getattr(state, gate)(2 * a + 0.1, 0, 1)
            state.h(0)
            state.rx(0.3, 1)
            reference[i] = [Statevector(state).expectation_value(SparsePauliOp(label)).real for label in ("IZ", "ZI")]
        np.testing.assert_allclose(AerBackend().expectations(circuit, angles).values, reference, atol=1e-12)
        sampled = AerBackend(4000, seed=3).expectations(circuit, angles)
        assert np.abs((sampled.values - reference) / sampled.standard_errors).max() < 5

    @pytest.mark.parametrize("gate", ["cry", "crz", "cp"])
    def test_raw_aer_is_still_wrong(self, gate: str) -> None:
        """When this fails, Aer has been mended, and the lowering in AerBackend may be looked at again."""
        original, angles = self.phase(gate), np.array([[0.5], [1.5], [2.5]])
        measured = original.copy()
        measured.measure_all()
        data = SamplerV2(seed=1).run([(measured, {("a",): angles})], shots=4000).result()[0].data
        raw = 1 - 2 * data.meas.to_bool_array(order="little").mean(-2)
        circuit = Circuit.from_qiskit(original, ["a"])
        reference = statevector_expectations(circuit, angles)
        assert np.abs(raw - reference).max() > 0.2
        np.testing.assert_allclose(AerBackend().expectations(circuit, angles).values, reference, atol=1e-12)

    @pytest.mark.parametrize("gate", sorted(aer._GATES - {"id"}))
    def test_what_noise_models_may_use_is_bound_rightly(self, gate: str) -> None:
        """Parametrised with every gate that a circuit may be translated to, and raw Aer."""
        from qiskit.circuit.library import get_standard_gate_name_mapping

        kind = get_standard_gate_name_mapping()[gate]
        a = Parameter("a")
        original = QuantumCircuit(2)
        original.ry(a, 0)
        original.ry(0.7, 1)
        angles_of_gate = [2 * a + 0.3, a, 0.2 - a][: len(kind.params)]
        original.append(kind.base_class(*angles_of_gate), list(range(kind.num_qubits)))
        original.rx(0.4, [0, 1])
        measured = original.copy()
        measured.measure_all()
        angles = np.array([[0.5], [1.5], [2.5]])
        data = SamplerV2(seed=1).run([(measured, {("a",): angles})], shots=10_000).result()[0].data
        raw = 1 - 2 * data.meas.to_bool_array(order="little").mean(-2)
        reference = statevector_expectations(Circuit.from_qiskit(original, ["a"]), angles)
        np.testing.assert_allclose(raw, reference, atol=0.05)


def z_scores(circuit: Circuit, rows: int, shots: int, *, seed: int = 5, noise: NoiseModel | None = None) -> np.ndarray:
    angles = random_angles(rows)
    expected = AerBackend(noise_model=noise).expectations(circuit, angles).values
    found = AerBackend(shots, seed=seed, noise_model=noise).expectations(circuit, angles)
    assert found.covariance is not None
    assert (found.shots == shots).all()
    return (found.values - expected) / found.standard_errors


class TestShots:
    def test_errors_are_as_large_as_they_say(self, circuit: Circuit) -> None:
        z = z_scores(circuit, 300, 1000)
        assert z.std() == pytest.approx(1, abs=0.1)
        assert abs(z.mean()) < 0.15

    def test_the_same_seed_gives_the_same_bits(self, circuit: Circuit) -> None:
        angles = random_angles(5)
        one, again, other, fresh, unseeded = (
            AerBackend(200, seed=seed).expectations(circuit, angles).values for seed in (7, 7, 8, None, None)
        )
        np.testing.assert_array_equal(one, again)
        assert (one != other).mean() > 0.5
        assert (fresh != unseeded).mean() > 0.5

    def test_one_backend_called_twice(self, circuit: Circuit) -> None:
        backend, angles = AerBackend(200, seed=7), random_angles(5)
        first = backend.expectations(circuit, angles).values
        np.testing.assert_array_equal(first, backend.expectations(circuit, angles).values)
        assert (first[:4] != backend.expectations(circuit, angles[:4]).values).any(), "other rows, other bits"

    @pytest.mark.parametrize("seeds", [False, True], ids=["rows", "seeds"])
    def test_equal_angles_are_measured_independently(self, circuit: Circuit, seeds: bool) -> None:
        """Aer gives row i the seed + 2113 · i: seeds 0 and 2113 would then repeat each other's bits, one row later."""
        angles = np.repeat(random_angles(1), 200, axis=0)
        values = AerBackend(100, seed=0).expectations(circuit, angles).values
        if seeds:
            others = [AerBackend(100, seed=seed).expectations(circuit, angles).values for seed in (1, 2113)]
            pairs = [(values[lag:], other[: len(other) - lag]) for lag in range(3) for other in others]
        else:
            pairs = [(values[lag:], values[:-lag]) for lag in (1, 2)]
        for one, other in pairs:
            correlations = [np.corrcoef(one[:, j], other[:, j])[0, 1] for j in range(4)]
            assert np.abs(correlations).max() < 0.3
            assert (one == other).all(axis=1).mean() < 0.1

    def test_chunks_of_equal_rows_are_measured_independently(
        self, circuit: Circuit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aer, "_BITS", 100 * 50)
        angles = np.repeat(random_angles(1), 100, axis=0)
        values = AerBackend(100, seed=0).expectations(circuit, angles).values
        assert (values[:50] == values[50:]).all(axis=1).mean() < 0.1

    def test_chunks_keep_the_rows_in_order(self, circuit: Circuit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aer, "_BITS", 3000)
        z = z_scores(circuit, 10, 1000)
        assert np.abs(z).max() < 5

    def test_rounds_of_one_seed_are_independent_and_repeatable(self, circuit: Circuit) -> None:
        angles = np.repeat(random_angles(1), 200, axis=0)
        one, two = (AerBackend(1, seed=7) for _ in range(2))
        rounds = [one.measure(circuit, angles, 100, offset=offset) for offset in (0, 100, 200)]
        for offset, round_ in zip((200, 100, 0), reversed(rounds), strict=True):
            again = two.measure(circuit, angles, 100, offset=offset)
            np.testing.assert_array_equal(again.sums, round_.sums)
            np.testing.assert_array_equal(again.products, round_.products)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            sums, others = rounds[first].sums, rounds[second].sums
            assert (sums == others).all(axis=1).mean() < 0.1
            assert np.abs([np.corrcoef(sums[:, j], others[:, j])[0, 1] for j in range(4)]).max() < 0.3
        alone = AerBackend(100, seed=7).expectations(circuit, angles)
        np.testing.assert_array_equal(alone.values, rounds[0].expectations("aer").values)

    def test_rounds_add_up_to_the_values(self, circuit: Circuit) -> None:
        angles = random_angles(200)
        backend = AerBackend(noise_model=NoiseModel())
        assert isinstance(backend, SamplingBackend)
        total = backend.measure(circuit, angles, 200) + backend.measure(circuit, angles, 300, offset=200)
        found = total.expectations(backend.name)
        assert found.backend == "aer with noise"
        assert (found.shots == 500).all()
        z = (found.values - AerBackend(500, seed=1).expectations(circuit, angles).values) / found.standard_errors
        assert z.std() == pytest.approx(np.sqrt(2), abs=0.3)

    @pytest.mark.parametrize(("shots", "offset"), [(0, 0), (2**24 + 1, 0), (10, -1), (10, 0.5)])
    def test_bounds_of_a_round(self, circuit: Circuit, shots: int, offset: int) -> None:
        with pytest.raises(InputError, match=r"(shots|offset): found .*; expected a whole number from"):
            AerBackend().measure(circuit, random_angles(1), shots, offset=offset)

    @pytest.mark.parametrize("shots", [0, -1, 2**24 + 1])
    def test_bounds(self, shots: int) -> None:
        with pytest.raises(InputError, match=rf"shots: found {shots}; expected a whole number from 1 to 16777216"):
            AerBackend(shots)

    def test_one_shot_and_numpy_integers(self, circuit: Circuit) -> None:
        found = AerBackend(np.int64(1), seed=np.int64(3)).expectations(circuit, random_angles(2))
        assert set(np.abs(found.values).ravel().tolist()) == {1.0}
        assert (found.standard_errors > 0.3).all()

    @pytest.mark.parametrize(("shots", "seed"), [(None, 1), (10, -1), (10, 2**64)])
    def test_seeds(self, shots: int | None, seed: int) -> None:
        with pytest.raises(InputError, match=rf"seed: found {seed}( without shots)?; expected"):
            AerBackend(shots, seed=seed)


class TestEdges:
    @pytest.mark.parametrize("backend", [AerBackend(), AerBackend(10), AerBackend(noise_model=NoiseModel())])
    def test_no_rows(self, circuit: Circuit, exact: ExactBackend, backend: AerBackend) -> None:
        for one in (backend, exact):
            found = one.expectations(circuit, np.empty((0, 4)))
            assert found.values.shape == (0, 4)
            assert found.standard_errors.shape == (0, 4)

    @pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 5)])
    def test_wrong_shapes(self, circuit: Circuit, exact: ExactBackend, shape: tuple[int, ...]) -> None:
        for backend in (AerBackend(), AerBackend(10), exact):
            with pytest.raises(InputError, match=r"angles: found .*; expected numbers \(N, 4\)"):
                backend.expectations(circuit, np.zeros(shape))

    def test_nan(self, circuit: Circuit, exact: ExactBackend) -> None:
        angles = random_angles(2)
        angles[1, 3] = np.inf
        for backend in (AerBackend(), exact):
            with pytest.raises(InputError, match=r"angles\[1, 3\]: found inf"):
                backend.expectations(circuit, angles)

    def test_exact_with_another_circuit(self, exact: ExactBackend) -> None:
        other = entangled_circuit(4, seed=9)
        with pytest.raises(BackendError, match=rf"expected that of {other.sha256[:16]}…: compile it again"):
            exact.expectations(other, random_angles(1))

    def test_exact_without_compiled_graph(self) -> None:
        artifact, _ = export(parts())
        bare = Artifact.create(
            msgspec.structs.replace(artifact.manifest, compiled=None),
            {name: data for name, data in artifact.files.items() if name != "compiled.onnx"},
        )
        with pytest.raises(BackendError, match=r"found no compiled.onnx.*`qdinfer compile .*backend='aer'"):
            ExactBackend.from_artifact(bare)

    @pytest.mark.parametrize("error", [QiskitError("out of memory"), AerError("out of memory")])
    @pytest.mark.parametrize("shots", [None, 10])
    def test_errors_underneath_are_mapped(
        self, circuit: Circuit, error: Exception, shots: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("qiskit_aer.primitives.SamplerV2.run", fail)
        monkeypatch.setattr("qiskit_aer.primitives.EstimatorV2.run", fail)
        with pytest.raises(BackendError, match="aer: the simulation failed: out of memory") as caught:
            AerBackend(shots).expectations(circuit, random_angles(1))
        assert caught.value.__cause__ is error


def test_eight_threads_get_what_one_gets(circuit: Circuit, exact: ExactBackend) -> None:
    batches = [random_angles(5, seed=seed) for seed in range(16)]
    for backend in (exact, AerBackend(), AerBackend(50, seed=2)):
        fresh = AerBackend(50, seed=2) if getattr(backend, "_shots", None) else backend
        serial = [fresh.expectations(circuit, batch).values for batch in batches]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda batch, b=backend: b.expectations(circuit, batch).values, batches))
        for one, other in zip(serial, together, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-12)


def noise_on(*gates: str, strength: float = 0.05) -> NoiseModel:
    model = NoiseModel()
    for gate in gates:
        size = 2 if gate in ("cx", "cz", "ecr", "rzz", "swap", "crx") else 3 if gate == "ccx" else 1
        model.add_all_qubit_quantum_error(depolarizing_error(strength, size), gate)
    return model


class TestGateNoise:
    @pytest.mark.parametrize(
        "gates",
        [
            ("cx",),
            ("cz",),
            ("ecr",),
            ("sx",),
            ("rz",),
            ("u",),
            ("p",),
            ("u1", "u2", "u3"),
            ("cx", "sx", "x", "rz"),
            ("rzz",),
        ],
        ids="+".join,
    )
    def test_lowers_expectations_wherever_it_sits(self, circuit: Circuit, gates: tuple[str, ...]) -> None:
        angles = random_angles(20)
        ideal = AerBackend().expectations(circuit, angles).values
        noisy = AerBackend(noise_model=noise_on(*gates)).expectations(circuit, angles)
        assert noisy.backend == "aer with noise"
        assert np.abs(noisy.values).mean() < 0.97 * np.abs(ideal).mean()

    @pytest.mark.parametrize("gate", ["x", "id", "swap", "ccx", "crx", "mine"])
    def test_that_no_gate_would_have_is_refused(self, circuit: Circuit, gate: str) -> None:
        for backend in (AerBackend(noise_model=noise_on(gate)), AerBackend(10, noise_model=noise_on(gate, "measure"))):
            with pytest.raises(BackendError, match=rf"found noise on \['{gate}'\], and a circuit translated to .*"):
                backend.expectations(circuit, random_angles(1))

    def test_on_gates_that_a_circuit_has_no_need_of(self) -> None:
        original = QuantumCircuit(1)
        original.rx(Parameter("a"), 0)
        circuit = Circuit.from_qiskit(original, ["a"])
        found = AerBackend(noise_model=noise_on("cx")).expectations(circuit, np.array([[0.3]]))
        assert found.values == pytest.approx(np.cos(0.3))

    @pytest.mark.parametrize("gates", [("cx",), ("cz", "u"), ("sx", "ecr")], ids="+".join)
    def test_shots_agree_with_exact_values(self, circuit: Circuit, gates: tuple[str, ...]) -> None:
        z = z_scores(circuit, 40, 400, noise=noise_on(*gates))
        assert z.std() == pytest.approx(1, abs=0.25)
        assert abs(z.mean()) < 0.4

    def test_known_value(self) -> None:
        """Depolarizing by p after one sx or two: |⟨Z⟩| falls by 1 − p each time."""
        original = QuantumCircuit(1)
        original.ry(Parameter("a"), 0)
        circuit = Circuit.from_qiskit(original, ["a"])
        values = AerBackend(noise_model=noise_on("sx", strength=0.1)).expectations(circuit, np.array([[0.0]])).values
        assert values == pytest.approx(0.9**2)

    def test_of_a_whole_device(self, circuit: Circuit) -> None:
        noise = NoiseModel.from_backend(GenericBackendV2(4, seed=1))
        z = z_scores(circuit, 40, 1000, noise=noise)
        assert z.std() == pytest.approx(1, abs=0.25)
        assert abs(z.mean()) < 0.4


def readout(flip_0: float, flip_1: float) -> ReadoutError:
    return ReadoutError([[1 - flip_0, flip_0], [flip_1, 1 - flip_1]])


class TestReadoutNoise:
    def test_known_value(self) -> None:
        original = QuantumCircuit(2)
        original.ry(Parameter("a"), 0)
        circuit = Circuit.from_qiskit(original, ["a"], ["IZ", "ZI", "ZZ"])
        model = NoiseModel()
        model.add_all_qubit_readout_error(readout(0.1, 0.3))
        values = AerBackend(noise_model=model).expectations(circuit, np.array([[0.0], [np.pi]])).values
        np.testing.assert_allclose(values, [[0.8, 0.8, 0.64], [-0.4, 0.8, -0.32]], atol=1e-9)

    @pytest.mark.parametrize("where", ["everywhere", "some", "both"])
    def test_shots_agree_with_exact_values(self, circuit: Circuit, where: str) -> None:
        model = NoiseModel()
        if where != "everywhere":
            model.add_readout_error(readout(0.3, 0.1), [1])
            model.add_readout_error(readout(0.0, 0.25), [3])
        if where != "some":
            model.add_all_qubit_readout_error(readout(0.05, 0.2), warnings=False)
        z = z_scores(circuit, 100, 1000, noise=model)
        assert z.std() == pytest.approx(1, abs=0.15)
        assert abs(z.mean()) < 0.25
        ideal = AerBackend().expectations(circuit, random_angles(100)).values
        noisy = AerBackend(noise_model=model).expectations(circuit, random_angles(100)).values
        assert np.abs(ideal - noisy)[:, [2, 3]].max() > 0.1

    def test_together_with_gate_noise(self, circuit: Circuit) -> None:
        model = noise_on("cz", "sx")
        model.add_all_qubit_readout_error(readout(0.02, 0.1))
        z = z_scores(circuit, 40, 400, noise=model)
        assert z.std() == pytest.approx(1, abs=0.25)
        assert abs(z.mean()) < 0.4

    @pytest.mark.parametrize("general_first", [False, True])
    def test_an_error_on_a_qubit_counts_instead_of_the_general_one(self, general_first: bool) -> None:
        model = NoiseModel()
        steps = [
            lambda: model.add_readout_error(readout(0.3, 0.1), [0], warnings=False),
            lambda: model.add_all_qubit_readout_error(readout(0.1, 0.2), warnings=False),
        ]
        for step in reversed(steps) if general_first else steps:
            step()
        assert aer.readout_flips(model, 2) == [(pytest.approx(0.3), pytest.approx(0.1)), (0.1, 0.2)]
        assert aer.readout_flips(None, 1) == [(0.0, 0.0)]

    def test_quantum_error_on_measurement(self, circuit: Circuit) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(pauli_error([("X", 0.2), ("I", 0.8)]), "measure")
        with pytest.raises(BackendError, match=r"more than single-qubit readout error .* expected shots=…"):
            AerBackend(noise_model=model).expectations(circuit, random_angles(1))
        sampled = AerBackend(2000, seed=1, noise_model=model).expectations(circuit, random_angles(3))
        ideal = AerBackend().expectations(circuit, random_angles(3)).values
        factors = np.array([0.6, 0.6, 0.36, 0.6**4])
        assert np.abs((sampled.values - ideal * factors) / sampled.standard_errors).max() < 5

    def test_readout_error_on_two_qubits_together(self, circuit: Circuit) -> None:
        model = NoiseModel()
        model.add_readout_error(np.eye(4)[[0, 1, 3, 2]].tolist(), [0, 1])
        with pytest.raises(BackendError, match="more than single-qubit readout error"):
            AerBackend(noise_model=model).expectations(circuit, random_angles(1))


@pytest.mark.parametrize("number", [1.5, "10", True])
def test_numbers_that_are_none_are_refused(number: Any) -> None:
    for options in ({"shots": number}, {"shots": 10, "seed": number}):
        with pytest.raises(InputError, match="expected a whole number from"):
            AerBackend(**options)


def test_a_noise_model_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="noise_model: found str; expected an Aer NoiseModel"):
        AerBackend(noise_model="loud")  # type: ignore[arg-type]


def test_a_backend_survives_pickling(circuit: Circuit) -> None:
    backend = AerBackend(10, seed=1)
    angles = random_angles(3)
    first = backend.expectations(circuit, angles)
    again = pickle.loads(pickle.dumps(backend)).expectations(circuit, angles)
    assert (first.values == again.values).all()


def test_angles_whose_phase_float32_has_lost_are_refused(circuit: Circuit, exact: ExactBackend) -> None:
    with pytest.raises(InputError, match="expected radians up to 10000 either way"):
        exact.expectations(circuit, np.full((1, 4), 1e30))
