"""IBM's devices, and the fake ones, as a backend: the same answers within shot noise, and nothing paid in vain."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from durable import QUICK, TEXTS, Notes, backend
from ibm_standin import Limits as ServerLimits
from ibm_standin import StandIn
from ibm_standin.devices import Device
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorSampler
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_ibm_runtime import Batch, QiskitRuntimeService, Session
from qiskit_ibm_runtime.fake_provider import FakeFez, FakeManilaV2, FakePrague
from students import entangled_circuit

from qdinfer import (
    AerBackend,
    Artifact,
    BackendError,
    Circuit,
    Classifier,
    InputError,
    PrimitiveBackend,
    RuntimeBackend,
    RuntimeSettings,
    SamplingBackend,
    verify,
)
from qdinfer.backends import backend_for
from qdinfer.backends.ibm_jobs import JobService, Patience
from qdinfer.backends.runtime import device_named
from qdinfer.backends.settings import Limits
from qdinfer.runs.estimate import estimate

POST = {"method": "POST", "path": "^/jobs$"}


def random_angles(rows: int, columns: int = 4, seed: int = 11) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-3, 3, (rows, columns))


def exact(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    return AerBackend().expectations(circuit, angles).values


def check_shot_noise(found: Any, circuit: Circuit, angles: np.ndarray) -> None:
    z = (found.values - exact(circuit, angles)) / found.standard_errors
    assert np.abs(z).max() < 5
    assert abs(np.sqrt(np.mean(z**2)) - 1) < 5 / math.sqrt(2 * z.size)


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    """Four qubits, with strings of one, two and four Z."""
    base = entangled_circuit(4)
    return Circuit(base.qasm, base.inputs, ("IIIZ", "ZIII", "IZZI", "ZZZZ"))


@pytest.fixture(scope="module")
def silent() -> AerSimulator:
    """FakeManila's gates, wiring and durations, without noise."""
    return AerSimulator.from_backend(FakeManilaV2(), noise_model=None)


@pytest.fixture(scope="module")
def misreading() -> AerSimulator:
    """Nothing but readout error, as unequal as the stand-in's."""
    model = NoiseModel()
    for qubit in range(4):
        model.add_readout_error(ReadoutError([[0.97, 0.03], [0.05 + 0.01 * qubit, 0.95 - 0.01 * qubit]]), [qubit])
    return AerSimulator(noise_model=model)


SETTINGS = {
    "plain": RuntimeSettings(),
    "twirled": RuntimeSettings(twirl_gates=True),
    "mitigated": RuntimeSettings(mitigate_readout=True),
    "XX": RuntimeSettings(dynamical_decoupling="XX"),
    "XpXm": RuntimeSettings(dynamical_decoupling="XpXm"),
    "XY4": RuntimeSettings(dynamical_decoupling="XY4"),
    "everything": RuntimeSettings(
        twirl_gates=True, mitigate_readout=True, dynamical_decoupling="XY4", initial_layout=(4, 2, 3, 1)
    ),
}


class TestFake:
    @pytest.mark.parametrize("name", SETTINGS)
    def test_every_setting_is_right(self, name: str, circuit: Circuit, silent: AerSimulator) -> None:
        angles = random_angles(12)
        found = RuntimeBackend(silent, shots=1024, seed=1, settings=SETTINGS[name]).expectations(circuit, angles)
        check_shot_noise(found, circuit, angles)
        assert (found.shots == 1024).all()

    def test_a_noisy_device_is_right_within_its_noise(self, circuit: Circuit) -> None:
        angles = random_angles(6)
        found = RuntimeBackend(FakeManilaV2(), seed=1).expectations(circuit, angles)
        other = PrimitiveBackend(FakeManilaV2()).expectations(circuit, angles)
        z = (found.values - other.values) / np.hypot(found.standard_errors, other.standard_errors)
        assert np.abs(z).max() < 5
        assert 0.03 < np.abs(found.values - exact(circuit, angles)).max() < 0.45

    def test_eleven_inputs_are_bound_by_name(self) -> None:
        wide, angles = entangled_circuit(11, layers=1), random_angles(5, 11)
        device = AerSimulator.from_backend(FakeFez(), noise_model=None)
        for name in ("plain", "twirled"):
            found = RuntimeBackend(device, shots=256, settings=SETTINGS[name], seed=2).expectations(wide, angles)
            check_shot_noise(found, wide, angles)

    @pytest.mark.parametrize("shots", [1, 33, 100, 2049, 3000])
    def test_twirled_shots_are_those_that_are_run(self, shots: int, circuit: Circuit, silent: AerSimulator) -> None:
        settings = RuntimeSettings(twirl_gates=True)
        backend = RuntimeBackend(silent, shots=shots, settings=settings)
        found = backend.expectations(circuit, random_angles(1))
        assert found.shots.tolist() == [settings.shots(shots)]
        prepared = backend.prepare(circuit)
        bits = backend._sample_here(backend.pubs(prepared, circuit, random_angles(1), 64), 64, (1, 2))
        assert bits[0].shape == (1, 64, 4)

    @pytest.mark.parametrize("name", ["plain", "twirled"])
    def test_a_seed_repeats_and_rounds_do_not(self, name: str, circuit: Circuit, silent: AerSimulator) -> None:
        angles, settings = random_angles(5), SETTINGS[name]
        one, again, other, free = (
            RuntimeBackend(silent, shots=256, seed=seed, settings=settings).expectations(circuit, angles).values
            for seed in (3, 3, 4, None)
        )
        np.testing.assert_array_equal(one, again)
        backend = RuntimeBackend(silent, seed=3, settings=settings)
        np.testing.assert_array_equal(one, backend.measure(circuit, angles, 256).values)
        later = backend.measure(circuit, angles, 256, offset=256).values
        for different in (other, free, later, backend.measure(circuit, angles, 256, offset=2113).values):
            assert (one != different).mean() > 0.5

    def test_rounds_rows_and_jobs_are_independent(self, circuit: Circuit, silent: AerSimulator) -> None:
        """Equal angles, measured in two jobs and two rounds: what one row gets says nothing of any other."""
        angles = np.repeat(random_angles(1), 200, axis=0)
        backend = RuntimeBackend(silent, seed=0, limits=Limits(executions=100 * 100))
        first, second = (backend.measure(circuit, angles, 100, offset=offset).values for offset in (0, 100))
        pairs = [(first, second), (first[1:], second[:-1]), (first[:100], first[100:]), (first[1:], first[:-1])]
        for one, other in pairs:
            for j in range(4):
                assert abs(np.corrcoef(one[:, j], other[:, j])[0, 1]) < 0.4
            assert (one == other).all(axis=1).mean() < 0.1

    def test_calls_of_other_rows_are_independent(self, circuit: Circuit, silent: AerSimulator) -> None:
        """As the chunks of a stream are."""
        backend = RuntimeBackend(silent, seed=0)
        one, other = (np.repeat(random_angles(1) + shift, 200, axis=0) for shift in (0, 1e-6))
        found = [backend.measure(circuit, angles, 100).values for angles in (one, other)]
        for j in range(4):
            assert abs(np.corrcoef(found[0][:, j], found[1][:, j])[0, 1]) < 0.4

    def test_error_bars_of_mitigated_values(self, circuit: Circuit, misreading: AerSimulator) -> None:
        """Over many calibrations, with a readout that errs more often in one direction."""
        angles, z = random_angles(8), []
        for seed in range(5):
            backend = RuntimeBackend(misreading, shots=2048, seed=seed, settings=RuntimeSettings(mitigate_readout=True))
            found = backend.expectations(circuit, angles)
            z.append((found.values - exact(circuit, angles)) / found.standard_errors)
        assert 0.7 < np.sqrt(np.mean(np.square(z))) < 1.35
        assert abs(np.mean(z)) < 0.5

    def test_calibrations_differ_from_each_other(self, circuit: Circuit, misreading: AerSimulator) -> None:
        """Equal ones would be one measurement, sold as many."""
        backend = RuntimeBackend(misreading, seed=1, settings=RuntimeSettings(mitigate_readout=True))
        pubs = backend.pubs(backend.prepare(circuit), circuit, random_angles(1), 1024)
        assert pubs[1][1]["idle",].shape == (16, 1)
        _, calibration = backend._sample_here(pubs, 1024, (1, 2))
        assert calibration.shape == (1, 16 * 1024, 4)
        parts = (~calibration).reshape(16, -1, 4).mean(1)
        assert len(np.unique(parts, axis=0)) == 16
        expected = np.sqrt(0.94 * 0.06 / 1024)
        assert 0.4 * expected < parts.std(0).mean() < 2 * expected

    def test_a_text_more_than_a_job_takes(self, circuit: Circuit, silent: AerSimulator) -> None:
        angles = random_angles(25)
        found = RuntimeBackend(silent, shots=400, limits=Limits(executions=4000)).expectations(circuit, angles)
        check_shot_noise(found, circuit, angles)
        assert found.values.shape == (25, 4)

    def test_no_rows(self, circuit: Circuit) -> None:
        for name, settings in SETTINGS.items():
            found = RuntimeBackend(FakeManilaV2(), settings=settings).expectations(circuit, np.empty((0, 4)))
            assert found.values.shape == (0, 4), name

    def test_from_any_thread(self, circuit: Circuit, silent: AerSimulator) -> None:
        backend, angles = RuntimeBackend(silent, shots=400), random_angles(8)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda row: backend.expectations(circuit, row[None]).values[0], angles))
        assert np.abs(np.array(found) - exact(circuit, angles)).max() < 5 / math.sqrt(400)
        assert len(backend._prepared) == 1

    def test_a_device_that_does_not_tell_its_times(self, circuit: Circuit) -> None:
        assert RuntimeBackend(FakePrague(), shots=8).expectations(circuit, random_angles(1)).values.shape == (1, 4)

    def test_its_name_and_place(self, silent: AerSimulator) -> None:
        backend = RuntimeBackend(FakeManilaV2())
        assert isinstance(backend, SamplingBackend)
        assert (backend.name, backend.local) == ("fake:fake_manila", True)
        assert (RuntimeBackend("ibm_fez").name, RuntimeBackend("ibm_fez").local) == ("ibm:ibm_fez", False)
        with pytest.raises(BackendError, match="^fake:fake_manila: found a simulated device; expected one of IBM's"):
            _ = backend.service

    def test_a_simulation_that_fails(
        self, circuit: Circuit, silent: AerSimulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr("qiskit_ibm_runtime.executor_sampler.Sampler.run", fail)
        with pytest.raises(BackendError, match=r"^fake:aer_simulator.*: the simulation failed: out of memory$"):
            RuntimeBackend(silent).expectations(circuit, random_angles(1))

    @pytest.mark.parametrize(
        ("device", "options", "message"),
        [
            ("", {}, "device: found ''; expected a name, or a BackendV2"),
            (None, {}, "device: found None; expected a name, or a BackendV2"),
            (FakeManilaV2, {}, "device: found .*; expected a name, or a BackendV2"),
            ("ibm_fez", {"seed": 1}, "seed: found 1 for a real device; expected none"),
            ("ibm_fez", {"shots": 0}, "shots: found 0; expected a whole number from 1 to 16777216"),
            (FakeManilaV2(), {"seed": -1}, "seed: found -1; expected a whole number"),
        ],
    )
    def test_arguments(self, device: Any, options: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            RuntimeBackend(device, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "Batch"}, "mode: found 'Batch'; expected 'batch', 'session' or 'job'"),
            ({"dynamical_decoupling": "xx"}, "dynamical decoupling: found 'xx'; expected XX, XpXm or XY4"),
            ({"seed_transpiler": 2**32}, "seed_transpiler: found 4294967296; expected a whole number"),
            ({"initial_layout": (0, 0)}, r"initial layout: found \[0, 0\]; expected different qubits"),
        ],
    )
    def test_settings(self, options: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            RuntimeSettings(**options)

    @pytest.mark.parametrize(("shots", "offset"), [(0, 0), (2**24 + 1, 0), (1, -1), (1, 0.5)])
    def test_arguments_of_a_round(self, shots: int, offset: Any, circuit: Circuit) -> None:
        with pytest.raises(InputError, match="(shots|offset): found .*; expected a whole number"):
            RuntimeBackend(FakeManilaV2()).measure(circuit, random_angles(1), shots, offset=offset)

    def test_angles(self, circuit: Circuit) -> None:
        with pytest.raises(InputError, match="angles"):
            RuntimeBackend("ibm_fez").expectations(circuit, np.zeros((2, 3)))


class TestNames:
    @pytest.mark.parametrize("name", ["FakeFez", "fake_fez", "fez", "FEZ"])
    def test_of_a_fake_device(self, name: str) -> None:
        assert device_named(name).name == "fake_fez"

    @pytest.mark.parametrize("name", ["FakeManilaV2", "fake_manila", "manila", "FakeManila", "ManilaV2"])
    def test_of_an_older_one(self, name: str) -> None:
        assert device_named(name).name == "fake_manila"

    @pytest.mark.parametrize(
        ("name", "near"),
        [("FakeFes", "FakeFez"), ("tornio", "FakeTorino"), ("", "FakeFez"), ("7", "FakeFez")],
    )
    def test_near_misses(self, name: str, near: str) -> None:
        with pytest.raises(InputError, match=f"^fake:{name}: found no such device; expected one such as .*{near}"):
            device_named(name)

    @pytest.mark.parametrize("name", ["fake:FakeManila", "fake:manila"])
    def test_of_a_backend(self, name: str, student: Artifact) -> None:
        found = backend_for(name, student)
        assert isinstance(found, RuntimeBackend)
        assert found.name == "fake:fake_manila"

    def test_a_classifier_on_a_fake_device(self, student: Artifact, classifier: Classifier) -> None:
        texts = ["goal match goal", "rain"]
        found = Classifier(student, backend="fake:FakeManila").classify(texts)
        truth = classifier.classify(texts)
        assert found.expectations.backend == "fake:fake_manila"
        assert (found.expectations.shots == 4096).all()
        assert 0 < np.abs(found.expectations.values - truth.expectations.values).max() < 0.4
        again = classifier.classify(texts, backend="fake:FakeManila")
        assert again.probabilities.shape == truth.probabilities.shape

    @pytest.mark.parametrize("name", ["fake:FakeNothing", "fake:x y"])
    def test_of_no_device(self, name: str, student: Artifact) -> None:
        with pytest.raises(InputError, match=f"^{name}: found no such device; expected one such as "):
            Classifier(student, backend=name)

    def test_verification_wants_exact_values(self, student: Artifact) -> None:
        with pytest.raises(InputError, match="found a backend with shots; expected one that gives exact values"):
            verify(student, backend="fake:FakeManila")


class TestParity:
    def test_one_student_on_every_backend(self, standin: StandIn, student: Artifact, classifier: Classifier) -> None:
        """The same artifact and texts: exact, Aer, a primitive, a fake device and the service agree."""
        texts = TEXTS[:20]
        truth = classifier.classify(texts)
        np.testing.assert_allclose(
            classifier.classify(texts, backend="aer").expectations.values, truth.expectations.values, atol=1e-5
        )
        silent = AerSimulator.from_backend(FakeFez(), noise_model=None)
        sampling: list[SamplingBackend] = [
            AerBackend(4000, seed=1),
            PrimitiveBackend(StatevectorSampler(seed=np.random.default_rng(1)), shots=4000),
            PrimitiveBackend(silent, shots=4000),
            RuntimeBackend(silent, shots=4000, seed=1),
            RuntimeBackend("fake_fez", shots=4000, patience=QUICK),
        ]
        for each in sampling:
            found = classifier.classify(texts, backend=each)
            check = (found.expectations.values - truth.expectations.values) / found.expectations.standard_errors
            assert np.abs(check).max() < 5, each.name
            assert 0.7 < np.sqrt(np.mean(check**2)) < 1.3, each.name
            top = np.sort(truth.probabilities, axis=1)
            clear = top[:, -1] - top[:, -2] > 0.2
            assert clear.sum() > 5
            assert (found.labels == truth.labels)[clear].all(), each.name
        assert {job.device for job in standin.jobs()} == {"fake_fez"}


class TestService:
    @pytest.mark.parametrize("mode", ["batch", "session", "job"])
    def test_every_mode(self, mode: Any, standin: StandIn, circuit: Circuit) -> None:
        angles = random_angles(25)
        found = backend(mode=mode).measure(circuit, angles, 200).expectations("found")
        check_shot_noise(found, circuit, angles)
        jobs = standin.jobs()
        assert [job.executions for job in jobs] == [2000, 2000, 1000]
        sessions = {job.session for job in jobs}
        assert len(sessions) == 1
        if mode == "job":
            assert sessions == {None}
        else:
            check_closed(sessions, mode)

    @pytest.mark.parametrize("name", ["twirled", "mitigated", "XY4"])
    def test_what_is_run_is_what_was_estimated(self, name: str, standin: StandIn, circuit: Circuit) -> None:
        angles = random_angles(6)
        there = RuntimeBackend("fake_fez", settings=SETTINGS[name], patience=QUICK, limits=Limits(executions=60_000))
        expected = estimate(there, circuit, 6, 1000)
        found = there.measure(circuit, angles, 1000).expectations("found")
        check_shot_noise(found, circuit, angles)
        jobs = standin.jobs()
        assert (found.shots == expected.shots).all()
        assert len(jobs) == expected.jobs
        assert sum(job.executed for job in jobs) == expected.executions
        assert sum(job.usage_seconds for job in jobs) == pytest.approx(expected.seconds, rel=0.02)

    def test_readout_mitigation(self, serve: Any, circuit: Circuit) -> None:
        serve(["FakeFez:readout"])
        angles, errors = random_angles(6), {}
        for mitigated in (False, True):
            there = backend(mode="job", mitigate_readout=mitigated, limits=Limits())
            found = there.measure(circuit, angles, 32_768).expectations("found")
            errors[mitigated] = np.abs(found.values - exact(circuit, angles)).max()
        assert errors[False] > 0.1
        assert errors[True] < errors[False] / 3

    def test_doubles_that_the_service_makes(self, standin: StandIn, circuit: Circuit) -> None:
        standin.fault("slow_queue", seconds=1, count=None)
        standin.fault("status", status=502, when="after", **POST)
        notes, angles = Notes(), random_angles(20)
        check_shot_noise(backend(notes).measure(circuit, angles, 200).expectations("found"), circuit, angles)
        assert sorted(job.status for job in standin.jobs()) == ["Cancelled", "Completed", "Completed"]
        assert notes.has("is a double of")

    def test_a_job_that_fails(self, standin: StandIn, circuit: Circuit) -> None:
        """The others are cancelled: nobody would read them."""
        standin.fault("fail", reason="a fridge warmed up")
        standin.fault("slow_run", seconds=1, count=None, after=1)
        with pytest.raises(BackendError, match=r"^ibm:fake_fez: job \S+ ended as ERROR: .*a fridge warmed up"):
            backend().measure(circuit, random_angles(30), 200)
        jobs = standin.jobs()
        assert len(jobs) == 3
        assert all(job.status in ("Failed", "Cancelled") or job.cancelling for job in jobs)
        check_closed({job.session for job in jobs})

    def test_a_job_that_is_refused(self, standin: StandIn, circuit: Circuit) -> None:
        standin.fault("slow_run", seconds=2, count=None)
        standin.fault("status", status=400, after=1, **POST)
        with pytest.raises(BackendError, match="the job was refused"):
            backend(mode="session").measure(circuit, random_angles(30), 200)
        (job,) = standin.jobs()
        assert job.cancelling or job.status == "Cancelled"
        check_closed({job.session}, "session")

    def test_a_session_whose_time_is_up(self, standin: StandIn, circuit: Circuit) -> None:
        standin.fault("close_session", jobs=2)
        angles = random_angles(30)
        check_shot_noise(backend().measure(circuit, angles, 200).expectations("found"), circuit, angles)
        sessions = [job.session for job in standin.jobs()]
        assert len(sessions) == 3
        assert len(set(sessions)) == 2
        check_closed(set(sessions))

    def test_a_session_that_cannot_be_closed(self, standin: StandIn, circuit: Circuit) -> None:
        standin.fault("status", status=500, count=None, method="PATCH", path="^/sessions/")
        notes, angles = Notes(), random_angles(10)
        patience = Patience(**(QUICK.__dict__ | {"attempts": 2}))
        check_shot_noise(
            backend(notes, patience=patience).measure(circuit, angles, 200).expectations("found"), circuit, angles
        )
        assert notes.has("will close by itself")

    def test_limits_of_the_open_plan(self, serve: Any, circuit: Circuit) -> None:
        """As long as its own jobs are what is in the way, it waits for them."""
        server = serve(limits=ServerLimits(pending_jobs=2))
        server.fault("slow_run", seconds=0.3, count=None)
        patience = Patience(**(QUICK.__dict__ | {"attempts": 2}))
        angles = random_angles(50)
        found = backend(patience=patience).measure(circuit, angles, 200).expectations("found")
        check_shot_noise(found, circuit, angles)
        assert len(server.jobs()) == 5

    def test_too_many_jobs_of_others(self, serve: Any, circuit: Circuit) -> None:
        serve(limits=ServerLimits(pending_jobs=0))
        patience = Patience(**(QUICK.__dict__ | {"attempts": 3}))
        with pytest.raises(BackendError, match="reached the limit of 0 pending jobs"):
            backend(patience=patience).measure(circuit, random_angles(10), 200)

    def test_from_any_thread(self, standin: StandIn, circuit: Circuit, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client of the service is not for several threads at once, and is asked by one."""
        inside, busy = [], threading.Lock()
        called = JobService.call

        def call(self: JobService, what: str, function: Any) -> Any:
            inside.append(busy.acquire(blocking=False))
            try:
                return called(self, what, function)
            finally:
                if inside[-1]:
                    busy.release()

        monkeypatch.setattr(JobService, "call", call)
        there, angles = backend(mode="job"), random_angles(12).reshape(4, 3, 4)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda rows: there.measure(circuit, rows, 200).values, angles))
        assert np.abs(np.concatenate(found) - exact(circuit, angles.reshape(12, 4))).max() < 5 / math.sqrt(200)
        assert all(inside)
        assert len(standin.jobs()) == 4

    def test_the_least_busy_device_that_is_large_enough(self, serve: Any, circuit: Circuit) -> None:
        server = serve(["FakeManilaV2", "FakeFez"])
        there = RuntimeBackend("least_busy", shots=50, patience=QUICK)
        assert there.name == "ibm:least_busy"
        wide = entangled_circuit(6)
        assert there.expectations(wide, random_angles(1, 6)).backend == "ibm:fake_fez"
        there.expectations(circuit, random_angles(1))
        assert [job.device for job in server.jobs()] == ["fake_fez"] * 2

    def test_a_device_that_the_service_does_not_have(self, standin: StandIn, circuit: Circuit) -> None:
        with pytest.raises(BackendError, match=r"^ibm:ibm_nowhere: found no such device; expected one of \['fake"):
            RuntimeBackend("ibm_nowhere", patience=QUICK).expectations(circuit, random_angles(1))
        standin.set_device("fake_fez", "maintenance")
        with pytest.raises(BackendError, match="^ibm:least_busy: finding the device failed: No backend matches"):
            RuntimeBackend("least_busy", patience=QUICK).prepare(circuit)

    def test_the_services_own_handle_is_no_simulation(self, service: QiskitRuntimeService) -> None:
        with pytest.raises(InputError, match="found the service's own fake_fez; expected its name, 'fake_fez'"):
            RuntimeBackend(service.backend("fake_fez"))

    def test_a_classifier_by_name(self, standin: StandIn, student: Artifact, classifier: Classifier) -> None:
        texts = ["goal match goal", "rain"]
        for name in ("ibm:fake_fez", "ibm:least_busy"):
            found = Classifier(student, backend=name).classify(texts)
            z = found.expectations.values - classifier.classify(texts).expectations.values
            assert np.abs(z / found.expectations.standard_errors).max() < 5
            assert found.expectations.backend == "ibm:fake_fez"
        assert len(standin.jobs()) == 2

    def test_broken_qubits_are_avoided(self, serve: Any, circuit: Circuit, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client takes them out of the target."""
        serve()
        before = qubits_of(RuntimeBackend("fake_fez", patience=QUICK).prepare(circuit).isa)
        device, bad = Device.named("FakeFez"), min(before)
        qubits = [list(values) for values in device.properties["qubits"]]
        qubits[bad].append({"date": "2026-01-01T00:00:00+00:00", "name": "operational", "unit": "", "value": 0})
        monkeypatch.setitem(device.__dict__, "properties", {**device.properties, "qubits": qubits})
        serve()
        there = RuntimeBackend("fake_fez", patience=QUICK)
        after = qubits_of(there.prepare(circuit).isa)
        assert bad not in after
        assert len(after) == 4
        layout = RuntimeSettings(initial_layout=tuple(sorted(before)))
        with pytest.raises(BackendError, match=rf"^fake_fez: found qubits \[{bad}\] in the initial layout, which"):
            RuntimeBackend("fake_fez", settings=layout, patience=QUICK).prepare(circuit)


def qubits_of(isa: QuantumCircuit) -> set[int]:
    return {isa.find_bit(qubit).index for i in isa.data for qubit in i.qubits}


def check_closed(sessions: set[str | None], mode: str = "batch") -> None:
    service = QiskitRuntimeService()
    for session in sessions:
        assert session is not None
        details = (Batch if mode == "batch" else Session).from_id(session, service).details()
        assert details is not None
        assert not details["accepting_jobs"]
