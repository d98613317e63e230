"""Twins of made-up devices, for a small student."""

from __future__ import annotations

from functools import cache

from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from students import tiny

from qdinfer import Circuit
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import Twin


def noise(error: float, misread: float = 0.0, name: str = "made_up") -> DeviceNoise:
    """Depolarizing after every CX, and readout that errs more often for 1 than for 0."""
    model = NoiseModel(basis_gates=["rz", "sx", "x", "cx"])
    model.add_all_qubit_quantum_error(depolarizing_error(error, 2), ["cx"])
    if misread:
        model.add_all_qubit_readout_error(ReadoutError([[1 - misread, misread], [2 * misread, 1 - 2 * misread]]))
    return DeviceNoise.from_noise_model(model, Circuit.from_artifact(tiny()), name=name)


@cache
def twin(error: float, misread: float = 0.0, name: str = "made_up") -> Twin:
    return compile_twin(Circuit.from_artifact(tiny()), noise(error, misread, name))
