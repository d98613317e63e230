"""Transfer matrices against Qiskit's and Aer's own channels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import PTM, Operator, Pauli, SuperOp, average_gate_fidelity
from qiskit_aer.noise import depolarizing_error, pauli_error, thermal_relaxation_error
from qiskit_aer.noise.device import models

from qdinfer.noise.channels import (
    Real,
    depolarizing,
    joined,
    pauli_channel,
    pauli_probabilities,
    readout,
    relaxation,
    twirl,
)

STRINGS = ["".join(pair) for pair in np.array(np.meshgrid([*"IXYZ"], [*"IXYZ"], indexing="ij")).reshape(2, -1).T]
TIMES = st.floats(1e-6, 1e-3)
SECONDS = st.floats(0, 1e-4)
few = settings(max_examples=20, database=None)


def seen_backwards(channel: object) -> Real:
    """Qiskit's matrix of a channel in ours: transposed, and the first qubit first."""
    matrix = PTM(channel).data
    assert np.abs(matrix.imag).max() < 1e-12
    k = (len(matrix).bit_length() - 1) // 2
    axes = [*reversed(range(k)), *reversed(range(k, 2 * k))]
    return np.asarray(matrix.real.T.reshape((4,) * 2 * k).transpose(axes).reshape(4**k, 4**k))


@few
@given(t1=TIMES, ratio=st.floats(0.01, 2), seconds=SECONDS)
def test_relaxation_is_aers(t1: float, ratio: float, seconds: float) -> None:
    expected = seen_backwards(thermal_relaxation_error(t1, ratio * t1, seconds))
    np.testing.assert_allclose(relaxation(t1, ratio * t1, seconds), expected, atol=1e-9)


def test_a_qubit_that_does_not_relax_stays() -> None:
    np.testing.assert_array_equal(relaxation(math.inf, math.inf, 1.0), np.eye(4))


def test_coherence_that_outlives_the_states_counts_as_twice_their_time() -> None:
    np.testing.assert_array_equal(relaxation(1e-4, 1e-3, 1e-6), relaxation(1e-4, 2e-4, 1e-6))


@pytest.mark.parametrize("qubits", [1, 2])
@few
@given(times=st.tuples(*[st.tuples(TIMES, st.floats(0.01, 2))] * 2), seconds=SECONDS, error=st.floats(1e-6, 1))
def test_a_gate_has_the_noise_of_aers_device_model(
    qubits: int, times: tuple[tuple[float, float], ...], seconds: float, error: float
) -> None:
    times = times[:qubits]
    single = [relaxation(t1, ratio * t1, seconds) for t1, ratio in times]
    parameters = {q: (t1, ratio * t1, None) for q, (t1, ratio) in enumerate(times)}
    relax = models._device_thermal_relaxation_error(tuple(range(qubits)), seconds, parameters, 0)
    depolarize = models._device_depolarizing_error(tuple(range(qubits)), error, relax)
    expected = seen_backwards(models._combine_depol_and_relax_error(depolarize, relax))
    np.testing.assert_allclose(depolarizing(error, single) @ joined(single), expected, atol=1e-7)  # Aer rounds at 1e-8


@few
@given(t1=st.floats(1e-5, 1e-3), seconds=st.floats(0, 1e-5), error=st.floats(1e-4, 0.4), qubits=st.integers(1, 2))
def test_a_gate_is_as_bad_as_the_calibration_says(t1: float, seconds: float, error: float, qubits: int) -> None:
    single = [relaxation(t1, t1, seconds)] * qubits
    alone = 1 - average_fidelity(joined(single))
    found = 1 - average_fidelity(depolarizing(error, single) @ joined(single))
    assert found == pytest.approx(max(error, alone), abs=1e-12)


def average_fidelity(transfer: Real) -> float:
    d = math.isqrt(len(transfer))
    return float((np.trace(transfer) / d + 1) / (d + 1))


def test_average_fidelity_is_qiskits() -> None:
    channel = depolarizing_error(0.1, 2)
    assert average_fidelity(seen_backwards(channel)) == pytest.approx(average_gate_fidelity(SuperOp(channel)))


def test_depolarizing_comes_before_relaxation_in_time() -> None:
    """|0⟩ that is depolarized and then relaxes for long is |0⟩ again."""
    single = [relaxation(1e-6, 1e-6, 1e-5)]
    found = depolarizing(0.6, single) @ joined(single)
    assert found[[0, 3], 3].sum() > 0.999


@pytest.mark.parametrize("qubits", [1, 2])
def test_where_relaxation_leaves_nothing_nothing_is_depolarized(qubits: int) -> None:
    np.testing.assert_array_equal(depolarizing(1.0, [relaxation(1e-9, 1e-9, 1.0)] * qubits), np.eye(4**qubits))


@pytest.mark.parametrize("qubits", [1, 2])
def test_no_gate_is_worse_than_completely_depolarizing(qubits: int) -> None:
    found = depolarizing(1.0, [np.eye(4)] * qubits)
    np.testing.assert_allclose(found, depolarizing(2**qubits / (2**qubits + 1), [np.eye(4)] * qubits))
    assert min(pauli_probabilities(found).values()) >= 0


@few
@given(read_1_as_0=st.floats(0, 1), read_0_as_1=st.floats(0, 1), one=st.floats(0, 1))
def test_readout_flips_bits(read_1_as_0: float, read_0_as_1: float, one: float) -> None:
    read_as_1 = one * (1 - read_1_as_0) + (1 - one) * read_0_as_1
    constant, slope = readout(read_1_as_0, read_0_as_1)[[0, 3], 3]
    assert constant + slope * (1 - 2 * one) == pytest.approx(1 - 2 * read_as_1, abs=1e-12)


@few
@given(st.dictionaries(st.sampled_from(STRINGS[1:]), st.floats(0, 1 / 15), min_size=1))
def test_pauli_channels_are_aers_and_their_probabilities_come_back(probabilities: dict[str, float]) -> None:
    transfer = pauli_channel(probabilities)
    rest = 1 - sum(probabilities.values())
    terms = [("II", rest), *((pauli[::-1], p) for pauli, p in probabilities.items())]
    np.testing.assert_allclose(transfer, seen_backwards(pauli_error(terms)), atol=1e-12)
    found = pauli_probabilities(transfer)
    for pauli in STRINGS[1:]:
        assert found.get(pauli, 0.0) == pytest.approx(probabilities.get(pauli, 0.0), abs=2e-12)
    assert "II" not in found


@few
@given(probabilities=st.dictionaries(st.sampled_from([*"IXYZ"]), st.floats(0, 1 / 3), min_size=1))
def test_the_identity_has_what_the_others_leave(probabilities: dict[str, float]) -> None:
    others = {pauli: p for pauli, p in probabilities.items() if pauli != "I"}
    assume(others)
    np.testing.assert_array_equal(pauli_channel(probabilities), pauli_channel(others))


@few
@given(t1=TIMES, ratio=st.floats(0.01, 2), seconds=SECONDS, angle=st.floats(-1, 1))
def test_a_twirl_is_the_average_over_conjugation_by_paulis(
    t1: float, ratio: float, seconds: float, angle: float
) -> None:
    rotation = Operator([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    relaxing = SuperOp(thermal_relaxation_error(t1, ratio * t1, seconds))
    channel = relaxing.tensor(SuperOp(rotation)).compose(SuperOp(thermal_relaxation_error(t1, t1, seconds)), [0])
    paulis = [SuperOp(Pauli(string)) for string in STRINGS]
    average = SuperOp(sum(pauli.compose(channel).compose(pauli).data for pauli in paulis) / len(paulis))
    np.testing.assert_allclose(twirl(seen_backwards(channel)), seen_backwards(average), atol=1e-9)


def test_joined_channels_act_on_their_own_qubits() -> None:
    """The first is that of the first, slowest, letter."""
    one, other = relaxation(1e-4, 1e-4, 1e-5), pauli_channel({"X": 0.1})
    expected = SuperOp(pauli_error([("X", 0.1), ("I", 0.9)])).tensor(
        SuperOp(thermal_relaxation_error(1e-4, 1e-4, 1e-5))
    )
    np.testing.assert_allclose(joined([one, other]), seen_backwards(expected), atol=1e-12)
