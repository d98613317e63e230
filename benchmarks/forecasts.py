"""Hold forecasts against runs that are made afterwards, sampled by Aer at the same noise, with a student of few qubits.

    python -m benchmarks.forecasts topic_train.csv topic_test.csv

The student is trained here. Each device's forecast comes first, from its twin. Then Aer simulates the circuit as it
runs on the device, with the delays in which qubits wait, by a density matrix, and samples it: the gates' noise is that
of Aer's own device model, the readout's that of the two rates the device reports.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import numpy as np

from qdinfer import Classifier, TruncationWarning
from qdinfer.backends.isa import isa_from_json, to_isa
from qdinfer.backends.runtime import device_named
from qdinfer.backends.sampling import Measured
from qdinfer.compiler.noisy import compile_twin
from qdinfer.forecast import Workload, forecast
from qdinfer.noise import DeviceNoise
from qdinfer.predictions import FloatArray
from qdinfer.tabular import read_table

from .results import BenchmarkError
from .twin import DEVICES

__all__ = ["sampled"]


def main() -> None:
    """Measure and print, a line a device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="csv or jsonl with the columns `text` and `label`")
    parser.add_argument("test", help="the same")
    parser.add_argument("--qubits", type=int, default=5, metavar="N", help="of the student (default: 5)")
    parser.add_argument("--device", nargs="+", default=DEVICES, metavar="NAME", help=f"default: {' '.join(DEVICES)}")
    parser.add_argument("--texts", type=int, default=200, metavar="N", help="the first N (default: 200)")
    parser.add_argument("--shots", type=int, default=256, metavar="N", help="of a text (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of Aer (default: 0)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", TruncationWarning)
    classifier = _student(*_labelled(arguments.train), arguments.qubits)
    texts, labels = (each[: arguments.texts] for each in _labelled(arguments.test))
    work = Workload.of(classifier, texts, labels)
    print(f"{arguments.qubits} qubits, {len(work)} texts × {arguments.shots} shots, exactly {work.exact_accuracy:.4f}")
    print(f"{'device':<16} {'forecast':>8}  {'95 % of runs':<16}  {'Aer':>6}  {'inside':<6}  Aer s a text")
    inside = 0
    for name in arguments.device:
        device = device_named(name)
        noise = DeviceNoise.from_backend(device, work.circuit, to_isa(work.circuit, device))
        told = forecast(work, compile_twin(work.circuit, noise), shots=arguments.shots).accuracy
        if told is None:  # which it is not, with labels
            raise BenchmarkError(f"{name}: found a forecast without accuracy; expected one")
        start = time.perf_counter()
        found = sampled(noise, name, classifier, work.angles, arguments.shots, arguments.seed)
        seconds = (time.perf_counter() - start) / len(work)
        accuracy = float(np.mean(classifier.readout.predict(found.expectations(name)).labels == np.array(labels)))
        within = told.low <= accuracy <= told.high
        inside += within
        interval, verdict = f"{told.low:.4f} to {told.high:.4f}", "yes" if within else "no"
        print(f"{name:<16} {told.mean:>8.4f}  {interval}  {accuracy:>6.4f}  {verdict:<6}  {seconds:.3f}", flush=True)
    print(f"{inside} of {len(arguments.device)} inside")


def _labelled(path: str) -> tuple[list[str], list[str]]:
    rows = list(read_table(path, columns=["text", "label"]))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def _student(texts: list[str], labels: list[str], qubits: int) -> Classifier:
    from qdistill.config import make_config
    from qdistill.export import export
    from qdistill.recipe import student_parts
    from qdistill.train import train

    config = make_config("folded", num_qubits=qubits, ansatz="line", epochs=5)
    artifact, _ = export(student_parts("small", train(texts, labels, config), texts[:3]))
    return Classifier(artifact)


def sampled(
    noise: DeviceNoise, name: str, classifier: Classifier, angles: FloatArray, shots: int, seed: int
) -> Measured:
    """What Aer measures of the circuit of a noise file, at the noise of the fake device of that name."""
    from qiskit_aer.noise import NoiseModel, ReadoutError
    from qiskit_aer.primitives import SamplerV2

    circuit = classifier.circuit
    model = NoiseModel.from_backend(device_named(name), readout_error=False)
    for qubit in noise.qubits:
        one, zero = qubit.read_1_as_0, qubit.read_0_as_1
        model.add_readout_error(ReadoutError([[1 - zero, zero], [one, 1 - one]]), [qubit.qubit])
    isa = isa_from_json(json.dumps(noise.isa))
    sampler = SamplerV2(seed=seed, options={"backend_options": {"method": "density_matrix", "noise_model": model}})
    order = [circuit.inputs.index(parameter.name) for parameter in isa.parameters]
    result = sampler.run([(isa, np.asarray(angles, np.float64)[:, order])], shots=shots).result()
    bits = result[0].data.meas.to_bool_array(order="little")
    return Measured.from_bits(bits, circuit.observable_masks)


if __name__ == "__main__":
    main()
