"""The twin as a backend: shots with its means and covariances, readout mitigation, names, and its use by commands."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Run
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from students import entangled_circuit, tiny

from qdinfer import AdaptiveBackend, BackendError, Circuit, Classifier, InputError
from qdinfer.backends import backend_for
from qdinfer.backends.twin import TwinBackend, _drawn, twin_named
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import Twin
from qdinfer.predictions import FloatArray

CIRCUIT = Circuit.from_artifact(tiny())
CIRCUITS = {"singles": CIRCUIT, "products": Circuit(CIRCUIT.qasm, CIRCUIT.inputs, ("IIIZ", "IIZZ", "ZIIZ", "ZZZI"))}


def noisy(strength: float = 1.0) -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.002 * strength, 1), ["sx", "x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01 * strength, 2), "cx")
    model.add_all_qubit_readout_error(ReadoutError([[1 - 0.02 * strength, 0.02 * strength], [0.05, 0.95]]))
    return model


def twin_of(circuit: Circuit, *, pairs: bool = True, model: NoiseModel | None = None) -> Twin:
    return compile_twin(circuit, DeviceNoise.from_noise_model(model or noisy(), circuit), pairs=pairs)


@pytest.fixture(scope="module")
def twin() -> Twin:
    return twin_of(CIRCUIT)


def rows(number: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).uniform(-3, 3, (number, 4))


class TestShots:
    @pytest.mark.parametrize("name", CIRCUITS)
    def test_outcomes_have_the_means_and_covariances(self, name: str) -> None:
        circuit, shots, angles = CIRCUITS[name], 5000, rows(400)
        backend = TwinBackend(twin_of(circuit), shots=shots, seed=3)
        means, covariance = backend.moments(circuit, angles)
        measured = backend.measure(circuit, angles, shots)
        errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) / shots)
        z = (measured.values - means) / errors
        assert z.std() == pytest.approx(1, abs=0.1)  # of 1600 values, those of a row not independent
        assert abs(z.mean()) < 0.2
        one, other = np.triu_indices(4, 1)
        products = (covariance + means[:, :, None] * means[:, None])[:, one, other]
        pairs = measured.products[:, one, other] / shots
        z = (pairs - products) / np.sqrt((1 - products**2) / shots)
        assert z.std() == pytest.approx(1, abs=0.1)
        assert abs(z.mean()) < 0.2

    def test_error_bars_cover(self, twin: Twin) -> None:
        angles = rows(100)
        exact = TwinBackend(twin).expectations(CIRCUIT, angles)
        found = TwinBackend(twin, shots=4096, seed=5).expectations(CIRCUIT, angles)
        z = (found.values - exact.values) / found.standard_errors
        assert z.std() == pytest.approx(1, abs=0.1)
        assert (found.shots == 4096).all()
        assert (exact.shots == 0).all()

    def test_are_repeatable_with_a_seed(self, twin: Twin) -> None:
        angles = rows(5)
        one, other = (TwinBackend(twin, shots=100, seed=s).expectations(CIRCUIT, angles).values for s in (7, 7))
        np.testing.assert_array_equal(one, other)
        another = TwinBackend(twin, shots=100, seed=8).expectations(CIRCUIT, angles).values
        assert (one != another).any()

    def test_differ_without_a_seed(self, twin: Twin) -> None:
        backend = TwinBackend(twin, shots=1000)
        one, other = (backend.expectations(CIRCUIT, rows(5)).values for _ in range(2))
        assert (one != other).any()

    def test_rounds_are_independent(self, twin: Twin) -> None:
        backend, angles = TwinBackend(twin, shots=1, seed=2), rows(100)
        means, covariance = backend.moments(CIRCUIT, angles)
        rounds = [backend.measure(CIRCUIT, angles, 500, offset=offset).values for offset in (0, 500)]
        z = [(each - means) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) / 500) for each in rounds]
        assert abs(np.mean(z[0] * z[1])) < 4 / np.sqrt(z[0].size)
        np.testing.assert_array_equal(backend.measure(CIRCUIT, angles, 500, offset=500).values, rounds[1])

    def test_blocks_change_nothing_of_the_statistics(self, twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rows in several blocks, and a row in several."""
        angles = rows(60)
        means, covariance = TwinBackend(twin).moments(CIRCUIT, angles)
        for block in (4 * 1000 * 7, 4 * 300):
            monkeypatch.setattr("qdinfer.backends.twin._BITS", block)
            measured = TwinBackend(twin, shots=1, seed=1).measure(CIRCUIT, angles, 1000)
            assert (measured.shots == 1000).all()
            z = (measured.values - means) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2) / 1000)
            assert z.std() == pytest.approx(1, abs=0.12)  # of 240 values
            assert (np.diagonal(measured.products, axis1=1, axis2=2) == 1000).all()

    def test_what_is_sure_stays_sure(self) -> None:
        """Without noise and without rotation, every bit is 0; turned by π, every bit is 1."""
        circuit = Circuit(
            'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\nqubit[2] q;\nrx(a) q[0];\ncx q[0], q[1];\n',
            ("a",),
            ("IZ", "ZI", "ZZ"),
        )
        backend = TwinBackend(twin_of(circuit, model=NoiseModel()), shots=1, seed=0)
        measured = backend.measure(circuit, np.array([[0.0], [np.pi]]), 10_000)
        np.testing.assert_array_equal(measured.values, [[1, 1, 1], [-1, -1, 1]])

    def test_observables_that_always_agree_agree(self) -> None:
        qasm = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\nqubit[4] q;\nrx(a) q[0];\n'
        qasm += "cx q[0], q[1];\ncx q[1], q[2];\ncx q[2], q[3];\n"
        circuit = Circuit(qasm, ("a",), ("IIIZ", "IIZI", "IZII", "ZIII", "IIZZ"))
        backend = TwinBackend(twin_of(circuit, model=NoiseModel()), shots=1, seed=0)
        angles = np.linspace(0.3, 2.8, 40)[:, None]
        measured = backend.measure(circuit, angles, 10_000)
        np.testing.assert_allclose(measured.values[:, :4] - measured.values[:, :1], 0, atol=1e-3)
        np.testing.assert_allclose(measured.values[:, 4], 1, atol=1e-3)
        z = (measured.values[:, 0] - np.cos(angles[:, 0])) / np.sin(angles[:, 0]) * 100
        assert z.std() == pytest.approx(1, abs=0.35)  # of 40 values

    def test_means_stay_where_chances_are_cut_off(self) -> None:
        """Few of many outcomes that are possible: no chances linear in other outcomes make those alone."""
        random = np.random.default_rng(1)
        signs = 1 - 2 * np.indices((2,) * 4).reshape(4, -1).T
        chances = random.dirichlet(np.full(16, 0.1), 80)
        means = chances @ signs
        covariance = np.einsum("ns,sj,sk->njk", chances, signs, signs) - means[:, :, None] * means[:, None]
        variances = np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-4)
        z = (_drawn(means, covariance, 4096, random).values - means) / np.sqrt(variances / 4096)
        assert z.std() == pytest.approx(1, abs=0.15)  # of 320 values; 2.5 and more if the chances are only cut off

    def test_without_pairs_only_covariances_are_lost(self, twin: Twin) -> None:
        circuit, angles = CIRCUITS["products"], rows(80)
        means, _ = TwinBackend(twin_of(circuit)).moments(circuit, angles)
        measured = TwinBackend(twin_of(circuit, pairs=False), shots=1, seed=4).measure(circuit, angles, 10_000)
        z = (measured.values - means) * 100 / np.sqrt(1 - means**2)
        assert z.std() == pytest.approx(1, abs=0.1)

    def test_no_rows(self, twin: Twin) -> None:
        for backend in (
            TwinBackend(twin),
            TwinBackend(twin, shots=10),
            TwinBackend(twin, shots=9, mitigate_readout=True),
        ):
            assert backend.expectations(CIRCUIT, np.empty((0, 4))).values.shape == (0, 4)

    def test_adaptive_shots_on_top(self, twin: Twin) -> None:
        classifier = Classifier(tiny())
        angles = rows(60)
        exact = classifier.readout.predict(TwinBackend(twin).expectations(CIRCUIT, angles))
        adaptive = AdaptiveBackend(TwinBackend(twin, shots=1, seed=1), classifier.readout, confidence=0.99)
        found = classifier.readout.predict(adaptive.expectations(CIRCUIT, angles))
        assert found.backend == f"{twin.name}, adaptive"
        assert found.shots.min() < 200 < found.shots.max()
        wrong = (np.array(found.labels) != np.array(exact.labels)) & (found.confidence >= 0.99)
        assert wrong.sum() <= 3  # 0.6 are expected at most; 4 or more with a chance of 0.3 %


class TestMitigation:
    def test_divides_readout_out(self, twin: Twin) -> None:
        """What is left is the circuit read without error."""
        angles = rows(5)
        found = TwinBackend(twin, mitigate_readout=True).expectations(CIRCUIT, angles).values
        unread = TwinBackend(twin_of(CIRCUIT, model=_without_readout())).expectations(CIRCUIT, angles).values
        np.testing.assert_allclose(found, unread, atol=1e-6)
        np.testing.assert_allclose(TwinBackend(twin, mitigate_readout=True).factors, 1 - 0.02 - 0.05)

    @pytest.mark.parametrize("name", CIRCUITS)
    def test_error_bars_cover(self, name: str) -> None:
        """Each row with a calibration of its own, as jobs of one row have."""
        circuit = CIRCUITS[name]
        made = twin_of(circuit)
        angles = rows(120)
        exact = TwinBackend(made, mitigate_readout=True).expectations(circuit, angles).values
        z = []
        for i, row in enumerate(angles):
            one = TwinBackend(made, shots=2000, seed=i, mitigate_readout=True).expectations(circuit, row[None])
            z.append((one.values - exact[i]) / one.standard_errors)
        assert np.std(z) == pytest.approx(1, abs=0.1)

    def test_nothing_left_is_refused(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_readout_error(ReadoutError([[0.5, 0.5], [0.5, 0.5]]))
        with pytest.raises(BackendError, match="damps an observable by 0; expected more than 0"):
            TwinBackend(twin_of(CIRCUIT, model=model), mitigate_readout=True)


def _without_readout() -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.002, 1), ["sx", "x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), "cx")
    return model


class TestUse:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            pytest.param({"seed": 1}, "seed: found 1 without shots", id="seed alone"),
            pytest.param({"shots": 0}, "shots: found 0", id="no shots"),
            pytest.param({"shots": 10, "seed": -1}, "seed: found -1", id="seed"),
        ],
    )
    def test_options_are_checked(self, options: dict[str, Any], message: str, twin: Twin) -> None:
        with pytest.raises(InputError, match=re.escape(message)):
            TwinBackend(twin, **options)

    def test_another_circuit_is_refused(self, twin: Twin) -> None:
        with pytest.raises(BackendError, match=r"twin:noise model: found the twin of circuit [0-9a-f]{16}…; expected"):
            TwinBackend(twin).expectations(entangled_circuit(4, seed=11), rows(1))

    def test_survives_a_pickle(self, twin: Twin) -> None:
        backend = TwinBackend(twin, shots=50, seed=3, mitigate_readout=True)
        expected = backend.expectations(CIRCUIT, rows(4)).values
        again = pickle.loads(pickle.dumps(backend))
        np.testing.assert_array_equal(again.expectations(CIRCUIT, rows(4)).values, expected)

    def test_serves_many_threads(self, twin: Twin) -> None:
        backend, angles = TwinBackend(twin, shots=200, seed=3), rows(40)
        expected = [backend.expectations(CIRCUIT, row[None]).values for row in angles]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda row: backend.expectations(CIRCUIT, row[None]).values, angles))
        np.testing.assert_array_equal(found, expected)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            pytest.param("twin:", "backend: found 'twin:'; expected", id="nothing"),
            pytest.param("twin:Fez", "device: found 'Fez'; expected fake:DEVICE, ibm:DEVICE, a noise file", id="kind"),
            pytest.param("twin:fake:", "backend: found 'twin:fake:'; expected", id="no device"),
            pytest.param("twin:fake:Nowhere", "fake:Nowhere: found no such device", id="unknown"),
        ],
    )
    def test_other_names_are_refused(self, name: str, message: str) -> None:
        with pytest.raises(InputError, match=re.escape(message)):
            backend_for(name, tiny())

    @pytest.mark.parametrize("file", ["none.onnx", "none.json"])
    def test_a_file_that_is_not_there(self, file: str, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            backend_for(f"twin:{tmp_path / file}", tiny())

    def test_files_are_read(self, twin: Twin, tmp_path: Path) -> None:
        twin.save(tmp_path / "twin.onnx")
        twin.spec.noise.save(tmp_path / "noise.json")
        assert twin_named(str(tmp_path / "twin.onnx"), CIRCUIT) == twin
        assert twin_named(str(tmp_path / "noise.json"), CIRCUIT).spec == twin.spec

    def test_predict_with_a_device_and_with_its_file(self, run: Run, student_path: Path, tmp_path: Path) -> None:
        twin_named("fake:manila", CIRCUIT).save(tmp_path / "twin.onnx")
        words = ("predict", student_path, "sun rain", "--proba")
        by_device, _ = run(*words, "--backend", "twin:fake:manila")
        by_file, _ = run(*words, "--backend", f"twin:{tmp_path / 'twin.onnx'}")
        exact, _ = run(*words)
        assert by_device == by_file != exact

    def test_predict_with_no_such_device(self, run: Run, student_path: Path) -> None:
        assert "no such device" in run.error("predict", student_path, "sun", "--backend", "twin:fake:nowhere")
        _, err = run("predict", student_path, "sun", "--backend", "twin:", code=2)
        assert "found 'twin:'; expected exact, aer" in err
