"""Where a device departs from its twin: what is found, and how often it is found where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from students import entangled_circuit

from qdinfer import InputError
from qdinfer.backends.sampling import Measured
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler import statevector_expectations
from qdinfer.compiler.noisy import compile_twin
from qdinfer.departure import AS_CALIBRATED, Departure, departure
from qdinfer.noise import DeviceNoise, QubitNoise
from qdinfer.noise.twin import Twin
from qdinfer.predictions import FloatArray

CIRCUIT = entangled_circuit(4)
TEXTS = 60
ANGLES = np.random.default_rng(5).uniform(-1.5, 1.5, (TEXTS, 4)).astype(np.float32)
EXACT = statevector_expectations(CIRCUIT, ANGLES)


@pytest.fixture(scope="module")
def noise() -> DeviceNoise:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), ["cx"])
    model.add_all_qubit_readout_error(ReadoutError([[0.98, 0.02], [0.05, 0.95]]))
    return DeviceNoise.from_noise_model(model, CIRCUIT)


@pytest.fixture(scope="module")
def twin(noise: DeviceNoise) -> Twin:
    return compile_twin(CIRCUIT, noise)


def read_as(noise: DeviceNoise, qubit: int, read_1_as_0: float, read_0_as_1: float) -> Twin:
    """The twin of a device that reads one qubit otherwise."""
    other = QubitNoise(qubit, read_1_as_0=read_1_as_0, read_0_as_1=read_0_as_1)
    qubits = tuple(other if each.qubit == qubit else each for each in noise.qubits)
    return compile_twin(CIRCUIT, msgspec.structs.replace(noise, qubits=qubits))


@dataclass(frozen=True)
class Device:
    """What answers, in jobs of 20 texts, and the twin that it is held against."""

    answers: Twin
    expected: Twin
    mitigated: bool = False

    def run(self, shots: int, seed: int) -> list[tuple[np.ndarray, Measured]]:
        backend = TwinBackend(self.answers, shots=shots, seed=seed, mitigate_readout=self.mitigated)
        parts = np.array_split(np.arange(TEXTS), 3)
        return [(rows, backend.measure(CIRCUIT, ANGLES[rows], shots)) for rows in parts]

    def judged(self, jobs: Sequence[tuple[np.ndarray, Measured]]) -> Departure:
        values, variances = self.moments
        return departure(jobs, EXACT, values, variances)

    @property
    def moments(self) -> tuple[FloatArray, FloatArray]:
        backend = TwinBackend(self.expected, mitigate_readout=self.mitigated)
        covariance = backend.moments(CIRCUIT, ANGLES)[1]
        return backend.expectations(CIRCUIT, ANGLES).values, np.diagonal(covariance, axis1=1, axis2=2)


@pytest.mark.slow
@pytest.mark.parametrize("mitigated", [False, True])
def test_a_device_that_is_its_twin_is_accused_in_one_run_of_twenty(twin: Twin, mitigated: bool) -> None:
    device = Device(twin, twin, mitigated)
    found = [device.judged(device.run(64, seed)) for seed in range(300)]
    accused = sum(each.departs for each in found)
    assert 4 <= accused <= 27  # 15 are expected: P(4 to 27) is 0.998
    off = np.array([each.slope - each.twin_slope for each in found]) / np.array([each.slope_error for each in found])
    assert np.mean(off) == pytest.approx(0, abs=0.15)
    assert np.std(off) == pytest.approx(1, abs=0.1)
    shift = np.array([each.shift / each.shift_error for each in found])
    assert np.std(shift) == pytest.approx(1, abs=0.1)
    assert np.mean([each.rms_z for each in found]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("flips", "verdict"),
    [
        ((0.12, 0.09), "more damped"),
        ((0.005, 0.0), "less damped, shifted to −1"),
        ((0.01, 0.06), "shifted to −1"),
        ((0.07, 0.0), "shifted to +1"),
    ],
)
def test_the_qubit_that_departs_is_named(
    flips: tuple[float, float], verdict: str, noise: DeviceNoise, twin: Twin
) -> None:
    device = Device(read_as(noise, 2, flips[0], flips[1]), twin)
    found = device.judged(device.run(4000, 1))
    assert found.departs
    # Observables are Z on each qubit, the first on qubit 0.
    assert found.verdicts == (AS_CALIBRATED, AS_CALIBRATED, verdict, AS_CALIBRATED)


def test_slope_and_shift_are_those_of_the_device(noise: DeviceNoise, twin: Twin) -> None:
    other = read_as(noise, 1, 0.10, 0.04)
    device = Device(other, twin)
    found = device.judged(device.run(4000, 2))
    # Readout maps ⟨Z⟩ to (1 − p10 − p01)·⟨Z⟩ + p10 − p01.
    assert found.slope[1] / found.twin_slope[1] == pytest.approx(0.86 / 0.93, abs=4 * found.slope_error[1])
    assert found.shift[1] == pytest.approx(0.06 - 0.03, abs=4 * found.shift_error[1])
    np.testing.assert_allclose(found.means[2], EXACT.mean(axis=0))


def test_values_that_are_off_by_no_line_are_scattered(twin: Twin) -> None:
    device = Device(twin, twin)
    values, variances = device.moments
    values[:, 3] += 0.1 * np.where(np.argsort(np.argsort(EXACT[:, 3])) % 2, 1, -1)
    found = departure(device.run(1000, 3), EXACT, values, variances)
    assert found.verdicts == (AS_CALIBRATED,) * 3 + ("scattered",)


def test_mitigated_readout_that_departs_is_divided_out(noise: DeviceNoise, twin: Twin) -> None:
    other = read_as(noise, 2, 0.12, 0.09)
    assert not Device(other, twin, mitigated=True).judged(Device(other, twin, mitigated=True).run(1000, 4)).departs


def test_error_of_a_calibration_is_common_to_the_texts_of_its_job(twin: Twin) -> None:
    device = Device(twin, twin, mitigated=True)
    rows, job = (
        np.arange(TEXTS),
        TwinBackend(twin, seed=1, shots=1, mitigate_readout=True).measure(CIRCUIT, ANGLES, 4000),
    )
    alone, values = device.judged([(rows, job)]), job.values
    shared = job.factor_covariance
    assert shared is not None
    # A factor that is off by 1 % makes all values, and so the slope, off by 1 %.
    relative = np.sqrt(np.diagonal(shared[0])) / job.factors[0]
    assert (alone.slope_error > 0.99 * np.abs(alone.slope) * relative).all()
    np.testing.assert_allclose(alone.measured, values)


def test_rounds_of_a_text_add_up(twin: Twin) -> None:
    device = Device(twin, twin)
    first, second = device.run(100, 1), device.run(300, 2)
    found = device.judged([*first, *second[1:]])
    assert found.shots.tolist() == [100] * 20 + [400] * 40
    one, other = first[1][1].sums[0], second[1][1].sums[0]
    np.testing.assert_allclose(found.measured[20], (one + other) / 400)


def test_what_tells_nothing_is_refused(twin: Twin) -> None:
    device = Device(twin, twin)
    jobs = device.run(50, 1)
    values, variances = device.moments
    with pytest.raises(InputError, match="found no shots of text 40"):
        departure(jobs[:2], EXACT, values, variances)
    with pytest.raises(InputError, match="found 2 texts; expected at least 3"):
        departure([(np.arange(2), jobs[0][1].take(np.arange(2)))], EXACT[:2], values[:2], variances[:2])
    flat = EXACT.copy()
    flat[:, 1] = 0.5
    with pytest.raises(InputError, match="found exact values of observable 1 that are all alike"):
        departure(jobs, flat, values, variances)
