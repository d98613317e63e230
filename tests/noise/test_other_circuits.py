"""A noise file says which circuit runs on the device: it has to be the student's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from qiskit_aer.noise import NoiseModel, depolarizing_error
from students import entangled_circuit

from qdinfer import InputError
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise

CIRCUIT = entangled_circuit(3)
Rows = list[list[Any]]


def noise_with(change: Callable[[Rows], object]) -> DeviceNoise:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), ["sx", "x"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), "cx")
    noise = DeviceNoise.from_noise_model(model, CIRCUIT)
    isa = copy.deepcopy(noise.isa)
    change(isa["instructions"])
    return msgspec.structs.replace(noise, isa=isa)


def without_cx(rows: Rows) -> None:
    rows[:] = [row for row in rows if row[0] != "cx"]


def after_measurement(rows: Rows) -> None:
    rows.append(["rz", [0], [[0.3, {}]], []])


def negative(rows: Rows) -> None:
    rows.insert(0, ["rz", [-1], [[0.3, {}]], []])


def data_in_a_delay(rows: Rows) -> None:
    rows.insert(0, ["delay", [0], [[0.0, {CIRCUIT.inputs[0]: 1.0}]], []])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_cx, "whose expectation values without noise are off by"),
        (after_measurement, "after they were measured"),
        (negative, "found no circuit of a device"),
        (data_in_a_delay, "found no circuit of a device"),
    ],
)
def test_another_circuit_is_refused(change: Callable[[Rows], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile_twin(CIRCUIT, noise_with(change))


def test_the_students_own_is_not() -> None:
    assert compile_twin(CIRCUIT, noise_with(lambda rows: None)).spec.error < 1e-5
