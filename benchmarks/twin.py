"""Hold noise twins against Aer's density matrix at the noise of fake devices, for one student and a few texts.

    python -m benchmarks.twin exported_models/topic topic_test.csv --device FakeFez --device FakeTorino

Aer simulates the circuit as it runs on the device, with the delays in which qubits wait and the device's own noise
model, before readout. For the twirled twin, the twirled errors are written into Aer's circuit one by one: the mean over
randomized circuits would take as many times longer as there are circuits. The last column adds readout: Aer's noise
model takes its error to be symmetric, the twin has the two rates that the device reports.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from qdinfer import Artifact, Circuit, TextEncoder
from qdinfer.backends.aer import readout_flips
from qdinfer.backends.isa import isa_from_json, to_isa
from qdinfer.backends.runtime import device_named
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise, QubitNoise
from qdinfer.noise.channels import pauli_probabilities
from qdinfer.noise.twin import Twin
from qdinfer.predictions import FloatArray
from qdinfer.tabular import column, read_table

from .worker import seconds_of

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction
    from qiskit_aer.noise import NoiseModel

__all__ = ["DEVICES", "aer_values", "unread"]

DEVICES = ("FakeFez", "FakeTorino", "FakeSherbrooke", "FakeMarrakesh", "FakeBrisbane")
_LEAST = 0.2  # seconds over which a text's time is the mean
_TITLE = "device         noise    compiled s   twin µs   Aer s      ratio  largest   rms       largest, read"


def main() -> None:
    """Measure and print, a line a device and kind of noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("texts", help="csv or jsonl with a column `text`")
    parser.add_argument("--device", action="append", metavar="NAME", help=f"default: {', '.join(DEVICES)}")
    parser.add_argument("--aer-texts", type=int, default=2, metavar="N", help="that Aer simulates (default: 2)")
    arguments = parser.parse_args()
    artifact = Artifact.open(arguments.student)
    circuit = Circuit.from_artifact(artifact)
    texts = column(read_table(arguments.texts, columns=["text"]), "text")
    angles = TextEncoder.from_artifact(artifact).encode(texts)
    print(f"{arguments.student}, {len(texts)} texts, {arguments.aer_texts} of them on Aer; times are those of a text")
    print(_TITLE, flush=True)
    for name in arguments.device or DEVICES:
        _measure(name, circuit, angles, arguments.aer_texts)


def _measure(name: str, circuit: Circuit, angles: FloatArray, few: int) -> None:
    from qiskit_aer.noise import NoiseModel

    backend = device_named(name)
    noise = DeviceNoise.from_backend(backend, circuit, to_isa(circuit, backend))
    model = NoiseModel.from_backend(backend)
    flips = np.array(readout_flips(model, backend.num_qubits))[list(noise.measured)]
    symmetric = np.where(circuit.observable_masks, 1 - flips.sum(axis=1), 1.0).prod(axis=1)
    for twirled in (False, True):
        start = time.perf_counter()
        twin = compile_twin(circuit, noise, twirled=twirled)
        compiled = time.perf_counter() - start
        found = TwinBackend(twin)
        own = seconds_of(partial(found.expectations, circuit, angles), _LEAST) / len(angles)
        start = time.perf_counter()
        expected = aer_values(noise, circuit, angles[:few], model=None if twirled else model)
        aer = (time.perf_counter() - start) / few
        differences = TwinBackend(unread(twin)).expectations(circuit, angles[:few]).values - expected
        read = found.expectations(circuit, angles[:few]).values - symmetric * expected
        print(
            f"{name:<14} {'twirled' if twirled else 'as it is'} {compiled:>10.1f} {own * 1e6:>9.1f} {aer:>7.1f} "
            f"{aer / own:>10.0f}  {np.abs(differences).max():.1e}  {np.sqrt((differences**2).mean()):.1e}  "
            f"{np.abs(read).max():.1e}",
            flush=True,
        )


def unread(twin: Twin) -> Twin:
    """The same twin on a device that reads without error."""
    qubits = tuple(QubitNoise(each.qubit, each.t1, each.t2) for each in twin.spec.noise.qubits)
    noise = msgspec.structs.replace(twin.spec.noise, qubits=qubits)
    return Twin(twin.graph, msgspec.structs.replace(twin.spec, noise=noise))


def aer_values(
    noise: DeviceNoise, circuit: Circuit, angles: FloatArray, *, model: NoiseModel | None = None
) -> FloatArray:
    """(N, M): the expectation values before readout, by Aer's density matrix.

    Args:
        noise: has the circuit as it runs on the device.
        circuit: the trained circuit.
        angles: (N, P).
        model: the noise; None for the twirled errors of `noise`, each behind its gate.
    """
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer.primitives import EstimatorV2

    isa = isa_from_json(json.dumps(noise.isa))
    gates = isa.copy_empty_like()
    for instruction in isa.data:
        if instruction.operation.name in ("measure", "barrier"):
            continue
        if model is not None or instruction.operation.name != "delay":
            gates.append(instruction)
        if model is None:
            _append_twirled(gates, instruction, noise)
    options = {"method": "density_matrix"} | ({} if model is None else {"noise_model": model})
    # save_expectation_value itself errs on circuits of many idle qubits; the estimator does not.
    estimator = EstimatorV2(options={"backend_options": options})
    observables = []
    for mask in circuit.observable_masks:
        places = [noise.measured[qubit] for qubit in np.flatnonzero(mask)]
        terms = [("Z" * len(places), places, 1.0)]
        observables.append([SparsePauliOp.from_sparse_list(terms, num_qubits=isa.num_qubits)])
    order = [circuit.inputs.index(parameter.name) for parameter in gates.parameters]
    result = estimator.run([(gates, observables, angles[:, order])], precision=0.0).result()
    values: FloatArray = np.asarray(result[0].data.evs).T
    return values


def _append_twirled(gates: QuantumCircuit, instruction: CircuitInstruction, noise: DeviceNoise) -> None:
    from qiskit_aer.noise import pauli_error

    operation = instruction.operation
    qubits = [gates.find_bit(qubit).index for qubit in instruction.qubits]
    seconds = operation.duration if operation.name == "delay" else 0.0
    paulis = pauli_probabilities(noise.after(operation.name, qubits, seconds, twirled=True))
    if paulis:
        none = ("I" * len(qubits), 1 - sum(paulis.values()))
        backwards = [(pauli[::-1], chance) for pauli, chance in paulis.items()]  # Qiskit's first qubit is the last
        gates.append(pauli_error([none, *backwards]).to_instruction(), qubits)


if __name__ == "__main__":
    main()
