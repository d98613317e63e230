"""Any primitive and any device: the same expectation values, within shot noise and the device's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.exceptions import QiskitError
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_aer.primitives import SamplerV2 as AerSampler
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.fake_provider import FakeFez, FakeManilaV2
from students import entangled_circuit

from qdinfer import (
    AerBackend,
    Backend,
    BackendError,
    Circuit,
    Classifier,
    InputError,
    PrimitiveBackend,
    SamplingBackend,
)
from qdinfer.backends import primitive
from qdinfer.backends.isa import isa_to_json


def random_angles(rows: int, columns: int = 4, seed: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, (rows, columns))


def exact(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    return AerBackend().expectations(circuit, angles).values


def z_scores(backend: Backend, circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    found = backend.expectations(circuit, angles)
    return np.asarray((found.values - exact(circuit, angles)) / found.standard_errors)


def check_shot_noise(backend: Backend, circuit: Circuit, angles: np.ndarray) -> None:
    z = z_scores(backend, circuit, angles)
    assert np.abs(z).max() < 5
    assert abs(np.sqrt(np.mean(z**2)) - 1) < 5 / np.sqrt(2 * z.size)


class Counting(BaseSamplerV2):
    """A sampler that remembers what it was asked."""

    def __init__(self, sampler: BaseSamplerV2 | None = None) -> None:
        self.sampler = sampler or StatevectorSampler(seed=np.random.default_rng(1))
        self.jobs: list[tuple[list[Any], int | None]] = []

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        self.jobs.append((list(pubs), shots))
        return self.sampler.run(pubs, shots=shots)


class Changed(BaseSamplerV2):
    """A sampler whose answer is not what was asked for."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def run(self, pubs: Any, *, shots: int | None = None) -> Any:
        return self.change(list(pubs), shots)


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    """Four qubits, with strings of one, two and four Z, in which no qubit has a string of its own."""
    base = entangled_circuit(4)
    return Circuit(base.qasm, base.inputs, ("IIZI", "ZIIZ", "IZZI", "ZZZZ"))


@pytest.fixture(scope="module")
def wide() -> Circuit:
    """Eleven inputs, of which theta_10 comes before theta_2 by name, and two rows of wiring."""
    base = entangled_circuit(11, layers=1)
    return Circuit(base.qasm, base.inputs, (*base.observables, "Z" + "I" * 9 + "Z"))


@pytest.fixture
def manila() -> BackendV2:
    return FakeManilaV2()


@pytest.fixture(scope="module")
def silent_fez() -> AerSimulator:
    """FakeFez's gates and wiring, without noise."""
    return AerSimulator.from_backend(FakeFez(), noise_model=None, seed_simulator=5)


def silent(device: BackendV2) -> AerSimulator:
    return AerSimulator.from_backend(device, noise_model=None)


SAMPLERS = {
    "statevector": lambda: StatevectorSampler(seed=np.random.default_rng(3)),
    "aer sampler": lambda: AerSampler(seed=3),
    "aer simulator": lambda: AerSimulator(seed_simulator=3),
    "a device without noise": lambda: GenericBackendV2(12, seed=3, noise_info=False),
    "of IBM's client": lambda: Sampler(mode=silent(FakeManilaV2())),
}


@pytest.mark.filterwarnings("ignore:Qiskit backend .* has no QubitProperties")  # GenericBackendV2 without noise
class TestParity:
    @pytest.mark.parametrize("kind", SAMPLERS)
    def test_every_kind_of_primitive(self, kind: str, circuit: Circuit) -> None:
        check_shot_noise(PrimitiveBackend(SAMPLERS[kind](), shots=2000), circuit, random_angles(40))

    @pytest.mark.parametrize("kind", ["statevector", "aer sampler", "a device without noise"])
    def test_eleven_inputs_are_bound_by_name(self, kind: str, wide: Circuit) -> None:
        check_shot_noise(PrimitiveBackend(SAMPLERS[kind](), shots=500), wide, random_angles(12, 11))

    def test_gates_and_wiring_of_a_large_device(
        self, circuit: Circuit, wide: Circuit, silent_fez: AerSimulator
    ) -> None:
        backend = PrimitiveBackend(silent_fez, shots=500)
        check_shot_noise(backend, circuit, random_angles(20))
        check_shot_noise(backend, wide, random_angles(10, 11))
        assert set(backend._isa(wide).count_ops()) <= {"rz", "sx", "x", "cz", "barrier", "measure"}

    def test_a_noisy_device_is_right_within_its_noise(self, circuit: Circuit, manila: BackendV2) -> None:
        """Exactly what Aer gives for the same circuit with the same noise, and not far from the noiseless truth."""
        backend, angles = PrimitiveBackend(manila, shots=4000), random_angles(10)
        found = backend.expectations(circuit, angles)
        truth = exact(circuit, angles)
        assert 0.03 < np.abs(found.values - truth).max() < 0.45
        noisy = AerSampler(seed=1, options={"backend_options": {"noise_model": NoiseModel.from_backend(manila)}})
        pub = (backend._isa(circuit), circuit.bindings(angles))
        bits = noisy.run([pub], shots=4000).result()[0].data.meas.to_bool_array(order="little")
        parities = (bits.astype(int) @ circuit.observable_masks.T.astype(int)) % 2
        z = (found.values - (1 - 2 * parities).mean(1)) / (found.standard_errors * np.sqrt(2))
        assert np.abs(z).max() < 5

    def test_labels(self, classifier: Classifier) -> None:
        texts = ["sun rain", "goal match", "bank share", "code"]
        found = classifier.classify(
            texts, backend=PrimitiveBackend(StatevectorSampler(seed=np.random.default_rng(1)), shots=20_000)
        )
        assert found.labels.tolist() == classifier.predict(texts).tolist()
        assert found.expectations.backend == "StatevectorSampler"
        assert (found.expectations.shots == 20_000).all()

    def test_a_qubit_without_gates(self) -> None:
        original = QuantumCircuit(3)
        original.rx(Parameter("a"), 2)
        circuit = Circuit.from_qiskit(original, ["a"], ["ZII", "IIZ"])
        values = PrimitiveBackend(StatevectorSampler(seed=np.random.default_rng(1)), shots=4000).expectations(
            circuit, random_angles(5, 1)
        )
        assert (values.values[:, 1] == 1).all()
        assert np.abs(values.values[:, 0] - np.cos(random_angles(5, 1)[:, 0])).max() < 0.1

    def test_they_are_backends(self) -> None:
        assert isinstance(PrimitiveBackend(StatevectorSampler()), SamplingBackend)


class TestLayout:
    @pytest.mark.parametrize("layout", [None, (4, 3, 2, 1), (0, 1, 2, 3), [2, 0, 4, 3], np.array([3, 1, 0, 2])])
    def test_bit_q_is_qubit_q_wherever_it_lies(self, layout: Any, manila: BackendV2) -> None:
        original = QuantumCircuit(4)
        for q in range(4):
            original.rx(Parameter(f"t{q}"), q)
        original.cx(0, 3)  # no neighbours on a line in any of these layouts without a swap
        original.cx(1, 2)
        circuit = Circuit.from_qiskit(original, [f"t{q}" for q in range(4)])
        angles = np.pi * np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
        backend = PrimitiveBackend(silent(manila), shots=10, initial_layout=layout)
        bits = np.rint((1 - backend.expectations(circuit, angles).values) / 2).astype(int)
        states = ["0000", "1001", "0110", "0010", "0001", "1111"]
        assert ["".join(map(str, row)) for row in bits] == states

    def test_it_is_kept_to(self, circuit: Circuit, manila: BackendV2) -> None:
        isa = PrimitiveBackend(manila, initial_layout=[4, 2, 3, 1])._isa(circuit)
        assert isa.layout is not None
        assert isa.layout.initial_index_layout(filter_ancillas=True) == [4, 2, 3, 1]

    def test_the_seed_of_the_transpiler_makes_it_repeatable(self, circuit: Circuit, manila: BackendV2) -> None:
        one, again = (PrimitiveBackend(manila, seed_transpiler=5)._isa(circuit) for _ in range(2))
        assert isa_to_json(one) == isa_to_json(again)

    @pytest.mark.parametrize(
        ("layout", "message"),
        [
            ([0, 1, 2], r"initial layout: found \[0, 1, 2\]; expected 4 different qubits of the device's 5"),
            ([0, 1, 2, 5], r"initial layout: found \[0, 1, 2, 5\]; expected 4 different qubits of the device's 5"),
            ([0, 1, 2, 2], r"initial layout: found \[0, 1, 2, 2\]; expected different qubits"),
            ([0, 1, 2, -1], r"initial layout\[3\]: found -1; expected a whole number from 0 to 2147483647"),
            ([0, 1, 2, 1.5], r"initial layout\[3\]: found 1.5; expected a whole number"),
            ("0123", r"initial layout\[0\]: found '0'; expected a whole number"),
            ([], r"initial layout: found \[\]; expected different qubits"),
            (3, r"initial layout: found 3; expected the device's qubit for each of the circuit's"),
        ],
    )
    def test_one_that_is_none(self, layout: Any, message: str, circuit: Circuit, manila: BackendV2) -> None:
        with pytest.raises(InputError, match=message):
            PrimitiveBackend(manila, initial_layout=layout).expectations(circuit, random_angles(1))


class TestJobs:
    def test_one_pub_a_job_and_one_circuit_for_all(
        self, circuit: Circuit, manila: BackendV2, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = []
        monkeypatch.setattr(primitive, "to_isa", lambda *a, __=primitive.to_isa, **b: made.append(a) or __(*a, **b))
        monkeypatch.setattr(primitive, "_EXECUTIONS", 40 * 50)
        sampler = Counting(AerSampler(seed=1))
        backend = PrimitiveBackend(sampler, device=silent(manila), shots=50)
        for _ in range(2):
            check_shot_noise(backend, circuit, random_angles(100))
        assert len(made) == 1
        assert [len(pubs) for pubs, _ in sampler.jobs] == [1] * 6
        assert [len(next(iter(pubs[0][1].values()))) for pubs, _ in sampler.jobs] == 2 * [40, 40, 20]
        assert {shots for _, shots in sampler.jobs} == {50}
        backend.expectations(entangled_circuit(3), random_angles(1, 3))
        assert len(made) == 2

    def test_no_rows_are_no_job(self, circuit: Circuit) -> None:
        sampler = Counting()
        found = PrimitiveBackend(sampler).expectations(circuit, np.empty((0, 4)))
        assert (found.values.shape, found.shots.shape) == ((0, 4), (0,))
        assert not sampler.jobs

    def test_one_row_and_one_shot(self, circuit: Circuit) -> None:
        found = PrimitiveBackend(StatevectorSampler(seed=np.random.default_rng(1)), shots=1).expectations(
            circuit, random_angles(1)
        )
        assert (np.abs(found.values) == 1).all()
        assert (found.standard_errors > 0.5).all()

    def test_rounds_add_up(self, circuit: Circuit) -> None:
        backend, angles = PrimitiveBackend(StatevectorSampler(seed=np.random.default_rng(1))), random_angles(20)
        measured = backend.measure(circuit, angles, 300) + backend.measure(circuit, angles, 700, offset=300)
        found = measured.expectations("two rounds")
        z = (found.values - exact(circuit, angles)) / found.standard_errors
        assert (found.shots == 1000).all()
        assert 0.7 < np.sqrt(np.mean(z**2)) < 1.3

    def test_from_any_thread(self, circuit: Circuit, manila: BackendV2) -> None:
        backend, angles = PrimitiveBackend(silent(manila), shots=400), random_angles(12)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda row: backend.expectations(circuit, row[None]).values[0], angles))
        assert np.abs(np.array(found) - exact(circuit, angles)).max() < 5 / np.sqrt(400)


class TestErrors:
    def test_a_device_that_loses_an_instruction(self, circuit: Circuit, manila: BackendV2) -> None:
        backend = PrimitiveBackend(manila, shots=10, initial_layout=[0, 1, 2, 3])
        backend.expectations(circuit, random_angles(1))
        left = [[a, b] for a, b in manila.coupling_map if {a, b} != {1, 2}]
        manila._target = GenericBackendV2(5, ["cx", "rz", "sx", "x"], coupling_map=left, seed=1).target
        with pytest.raises(BackendError) as caught:
            backend.expectations(circuit, random_angles(1))
        assert str(caught.value) in [
            f"fake_manila: found cx on qubits {pair}, which it does not have; expected an ISA circuit, in "
            f"{sorted(manila.target.operation_names)} where it has them"
            for pair in [(1, 2), (2, 1)]
        ]

    def test_a_device_that_is_too_small(self, manila: BackendV2) -> None:
        with pytest.raises(BackendError, match=r"^fake_manila: found 5 qubits; expected 6, as the circuit has$"):
            PrimitiveBackend(manila).expectations(entangled_circuit(6), random_angles(1, 6))

    def test_a_device_that_cannot_entangle(self, circuit: Circuit) -> None:
        device = GenericBackendV2(4, ["rz", "sx", "x"], coupling_map=[[0, 1], [1, 2], [2, 3]], seed=1)
        with pytest.raises(BackendError, match="cannot be transpiled for it|expected an ISA circuit"):
            PrimitiveBackend(device).expectations(circuit, random_angles(1))

    @pytest.mark.parametrize("error", [QiskitError("no current"), RuntimeError("no current"), KeyError("no current")])
    def test_a_sampler_that_fails(self, error: Exception, circuit: Circuit) -> None:
        def fail(pubs: Any, shots: Any) -> None:
            raise error

        with pytest.raises(BackendError, match="^Changed: the sampler failed: .?no current.?$") as caught:
            PrimitiveBackend(Changed(fail)).expectations(circuit, random_angles(1))
        assert caught.value.__cause__ is error

    def test_a_sampler_that_leaves_rows_out(self, circuit: Circuit) -> None:
        def halve(pubs: list[Any], shots: int) -> Any:
            (isa, values), *_ = pubs
            return StatevectorSampler().run([(isa, {k: v[:1] for k, v in values.items()})], shots=shots)

        with pytest.raises(BackendError) as caught:
            PrimitiveBackend(Changed(halve), shots=7).expectations(circuit, random_angles(2))
        assert str(caught.value) == "Changed: found bits (1, 7, 4); expected (texts, shots, qubits) (2, 7, 4)"

    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            (("aer",), {}, "primitive: found str; expected a BaseSamplerV2 or a BackendV2"),
            ((StatevectorSampler,), {}, "primitive: found .*; expected a BaseSamplerV2 or a BackendV2"),
            ((StatevectorSampler(),), {"shots": 0}, "shots: found 0; expected a whole number from 1 to 16777216"),
            ((StatevectorSampler(),), {"shots": 1.5}, "shots: found 1.5; expected a whole number"),
            ((StatevectorSampler(),), {"seed_transpiler": -1}, "seed_transpiler: found -1; expected a whole number"),
            ((StatevectorSampler(),), {"device": "fez"}, "device: found str; expected a BackendV2"),
            (
                (StatevectorSampler(),),
                {"initial_layout": [0, 1, 2, 3]},
                "initial layout: found one without a device; expected device=… with it",
            ),
        ],
    )
    def test_arguments(self, arguments: Any, options: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            PrimitiveBackend(*arguments, **options)

    def test_two_devices(self, manila: BackendV2) -> None:
        with pytest.raises(InputError, match="found fake_manila beside the device fake_manila; expected one of them"):
            PrimitiveBackend(manila, device=manila)

    @pytest.mark.parametrize(("shots", "offset"), [(0, 0), (2**24 + 1, 0), (1, -1), (1, 0.5)])
    def test_arguments_of_a_round(self, shots: int, offset: int, circuit: Circuit) -> None:
        with pytest.raises(InputError, match="(shots|offset): found .*; expected a whole number"):
            PrimitiveBackend(StatevectorSampler()).measure(circuit, random_angles(1), shots, offset=offset)

    @pytest.mark.parametrize("angles", [np.zeros((2, 3)), np.zeros(4), np.full((1, 4), np.nan)])
    def test_angles(self, angles: np.ndarray, circuit: Circuit) -> None:
        with pytest.raises(InputError, match="angles"):
            PrimitiveBackend(StatevectorSampler()).expectations(circuit, angles)


class TestDevice:
    def test_a_sampler_tells_its_device(self, manila: BackendV2) -> None:
        assert PrimitiveBackend(BackendSamplerV2(backend=manila)).name == "fake_manila"
        assert PrimitiveBackend(Sampler(mode=manila)).name == "fake_manila"
        assert PrimitiveBackend(AerSampler()).name == "SamplerV2"
        assert PrimitiveBackend(AerSampler(), device=manila).name == "fake_manila"
