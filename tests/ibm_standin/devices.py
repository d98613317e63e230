"""The devices that the stand-in serves: qiskit-ibm-runtime's fake backends under their own names."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
from qiskit_ibm_runtime import fake_provider
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

NOISES = ("none", "readout", "full")
OVERHEAD_SECONDS = 2.0


def readout_errors(name: str, qubits: int) -> list[tuple[float, float]]:
    """Of each qubit p(1|0) and p(0|1), under `readout` noise: the same in every process, and unequal."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [(float(rng.uniform(0.02, 0.05)), float(rng.uniform(0.05, 0.1))) for _ in range(qubits)]


@dataclass(frozen=True)
class Device:
    """A fake backend, and the simulator that answers for it."""

    backend: FakeBackendV2
    noise: str

    @classmethod
    @cache
    def named(cls, name: str) -> Device:
        """The device written as `FakeFez` or `fake_fez`, with its noise behind a colon: `FakeFez:readout`; loaded once.

        Raises:
            ValueError: there is no such fake backend, or no such noise.
        """
        wanted, _, noise = name.partition(":")
        flat = wanted.replace("_", "").lower()
        classes = [item for item in vars(fake_provider).values() if isinstance(item, type)]
        found = [item for item in classes if issubclass(item, FakeBackendV2) and item.__name__.lower() == flat]
        if not found:
            raise ValueError(f"found no fake backend {wanted!r} in qiskit_ibm_runtime.fake_provider")
        if noise and noise not in NOISES:
            raise ValueError(f"found the noise {noise!r}, expected one of {', '.join(NOISES)}")
        return cls(found[0](), noise or "none")

    @property
    def name(self) -> str:
        """As the service lists it."""
        return str(self.backend.name)

    @property
    def qubits(self) -> int:
        """How many it has."""
        return int(self.configuration["n_qubits"])

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The provider's own file."""
        return {**self._file(self.backend.conf_filename), "backend_name": self.name}

    @cached_property
    def properties(self) -> dict[str, Any]:
        """The provider's own file."""
        return {**self._file(self.backend.props_filename), "backend_name": self.name}

    def _file(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((Path(self.backend.dirname) / name).read_text())
        return content

    @cached_property
    def simulator(self) -> AerSimulator:
        """Aer, with the noise that was chosen."""
        if self.noise == "full":
            return AerSimulator.from_backend(self.backend)
        if self.noise == "none":
            return AerSimulator()
        model = NoiseModel()
        for qubit, (up, down) in enumerate(readout_errors(self.name, self.qubits)):
            model.add_readout_error(ReadoutError([[1 - up, up], [down, 1 - down]]), [qubit])
        return AerSimulator(noise_model=model)

    def seconds(self, circuit: QuantumCircuit, rep_delay: float | None) -> float:
        """How long the device takes for one execution of a circuit."""
        delay = self.backend.configuration().default_rep_delay if rep_delay is None else rep_delay
        return float(delay) + float(circuit.estimate_duration(self.backend.target, unit="s"))
