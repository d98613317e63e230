"""The twin against sampled density matrices of Aer: it lies as far from them as shots do, and no further."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from students import entangled_circuit

from qdinfer import AerBackend, Artifact, Circuit
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise
from qdinfer.predictions import FloatArray

MODELS = Path(__file__).parents[2] / "exported_models"
SHOTS = 100_000
LEAST = 250
"""z-scores, so that the standard error of their standard deviation is under 0.05 and 1 ± 0.1 can fail."""


def pauli_noise() -> NoiseModel:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.001, 1), ["sx", "x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.008, 2), "cx")
    model.add_all_qubit_readout_error(ReadoutError([[0.99, 0.01], [0.03, 0.97]]))
    return model


def z_scores(circuit: Circuit, angles: FloatArray, *, seed: int = 1, wrong: float = 1.0) -> FloatArray:
    """(N, M + M(M − 1)/2) the shots' means, and if the twin knows them those of products of two, against the twin's.

    Over the standard deviations that the twin gives them.
    """
    model = pauli_noise()
    twin = compile_twin(circuit, DeviceNoise.from_noise_model(model, circuit))
    means, covariance = TwinBackend(twin).moments(circuit, angles)
    products = covariance + means[:, :, None] * means[:, None]
    # More shots than Aer has amplitudes, so it draws them from a density matrix.
    measured = AerBackend(seed=seed, shots=SHOTS, noise_model=model).measure(circuit, angles, SHOTS)
    one, other = np.triu_indices(means.shape[1], 1)
    known = len(one) if twin.spec.pairs else 0
    expected = wrong * np.hstack([means, products[:, one[:known], other[:known]]])
    found = np.hstack([measured.sums, measured.products[:, one[:known], other[:known]]]) / SHOTS
    return (found - expected) / np.sqrt((1 - expected**2) / SHOTS)


def angles_of(circuit: Circuit, rows: int) -> FloatArray:
    return np.random.default_rng(2).uniform(-3, 3, (rows, len(circuit.inputs)))


@pytest.mark.slow
@pytest.mark.parametrize("num_qubits", [4, 8])
def test_small_circuits(num_qubits: int) -> None:
    circuit = entangled_circuit(num_qubits)
    z = z_scores(circuit, angles_of(circuit, -(-LEAST // num_qubits)))
    own = z[:, :num_qubits]
    assert own.size >= LEAST
    assert own.std() == pytest.approx(1, abs=0.1)
    assert z.std() == pytest.approx(1, abs=0.1)
    assert abs(own.mean()) < 0.3


@pytest.mark.slow
def test_a_twin_that_is_off_by_one_in_a_hundred_would_be_seen() -> None:
    circuit = entangled_circuit(4)
    assert z_scores(circuit, angles_of(circuit, LEAST // 4), wrong=0.99)[:, :4].std() > 1.1


@pytest.mark.slow
def test_published_students() -> None:
    """Few texts, for Aer takes long; with the products of two observables they are values enough."""
    z = []
    for name, rows in (("topic", 4), ("topic-folded", 2)):
        circuit = Circuit.from_artifact(Artifact.open(MODELS / name))
        z.append(z_scores(circuit, angles_of(circuit, rows)).ravel())
    joined = np.concatenate(z)
    assert len(joined) >= LEAST
    assert joined.std() == pytest.approx(1, abs=0.1)
