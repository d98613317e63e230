"""What a noise twin tells of the device that a student is trained for."""

from __future__ import annotations

import os

import numpy as np

from qdinfer.errors import InputError
from qdinfer.noise.twin import Twin

from .ansatz import ANSATZE
from .config import DeviceConfig, TrainConfig

__all__ = ["trained_for"]


def trained_for(config: TrainConfig, twin: str | os.PathLike[str], *, shots: int) -> TrainConfig:
    """The same training, for the device of a twin.

    A twin is that of one trained circuit, and training makes another. What is taken over depends little on the angles:
    the damping of each observable, and the device's readout, a + f·Z. So training sees a + f·damping·⟨Z⟩.

    Args:
        config: of the training.
        twin: file of the twin of a student with this kind of circuit.
        shots: measurements a text that the student is to be run with.

    Raises:
        ArtifactError: the file is no twin, or not a sound one.
        InputError: the twin has other observables; no shots.
        OSError: the file cannot be read.
    """
    found, ansatz = Twin.load(twin), ANSATZE[config.ansatz](config.num_qubits)
    spec = found.spec
    if spec.observables != ansatz.observables:
        raise InputError(
            f"{twin}: found the twin of a circuit with {len(spec.observables)} observables, "
            f"{', '.join(spec.observables[:2])}, …; expected one with Z on each of {config.num_qubits} qubits: that of "
            "a student with the same --ansatz"
        )
    if shots < 1:
        raise InputError(f"shots: found {shots}; expected at least 1")
    own = [spec.strings.index(label) for label in spec.observables]
    readout = found.measured[np.arange(len(own)), own]
    device = DeviceConfig(
        name=spec.noise.device,
        offsets=tuple(found.measured[:, -1].tolist()),
        slopes=tuple((readout * spec.damping).tolist()),
        shots=shots,
    )
    return config.model_copy(update={"device": device})
