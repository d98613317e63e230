"""What compiling costs, and what running the compiled form costs, against qubits and depth.

``python -m benchmarks.compiling QUBITS DEPTH`` or ``… STUDENT`` compiles one circuit and prints a line of JSON: a
process for each circuit, so that its peak memory is its own and one that takes too long can be stopped.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qdinfer import Artifact, Circuit, CompileError, ExactBackend, compile_circuit
from qdinfer.backends.exact import BATCH
from qdistill.memory import peak_memory

from .results import Cell, Compiling, Setting
from .worker import seconds_of
from .workers import child_environment

__all__ = ["DEPTHS", "PACKAGES", "QUBITS", "line_circuit", "measure_compiling"]

PACKAGES = ("numpy", "onnx", "onnxruntime", "qiskit")
QUBITS = (5, 11, 20, 50, 100)
DEPTHS = (1, 2, 3, 4)
LIMIT = 120.0
_MEMORY = 8 * 2**30  # a circuit that is too large ends its own process, not the machine's others
_LEAST = 0.2  # seconds over which a text's time is the mean


def line_circuit(qubits: int, depth: int, seed: int = 0) -> Circuit:
    """RX of an input on each qubit; layers of RY, RZ and CZ between neighbours; a last RY. Random angles."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    random = np.random.default_rng(seed)
    circuit, names = QuantumCircuit(qubits), [f"theta_{q}" for q in range(qubits)]
    for qubit, name in enumerate(names):
        circuit.rx(Parameter(name), qubit)
    for _ in range(depth):
        for qubit in range(qubits):
            circuit.ry(random.uniform(-np.pi, np.pi), qubit)
            circuit.rz(random.uniform(-np.pi, np.pi), qubit)
        for qubit in range(qubits - 1):
            circuit.cz(qubit, qubit + 1)
    for qubit in range(qubits):
        circuit.ry(random.uniform(-np.pi, np.pi), qubit)
    return Circuit.from_qiskit(circuit, names)


def measure_compiling(
    setting: Setting,
    student: Path,
    *,
    qubits: Sequence[int] = QUBITS,
    depths: Sequence[int] = DEPTHS,
    limit: float = LIMIT,
    step: Callable[[], object] = lambda: None,
) -> Compiling:
    """Compile the student's circuit and all line circuits, each in a process of its own."""
    published = Circuit.from_artifact(Artifact.open(student))
    cells = [_cell(student.name, published.num_qubits, None, [str(student)], limit)]
    step()
    for count in qubits:
        for depth in depths:
            cells.append(_cell("line", count, depth, [str(count), str(depth)], limit))
            step()
    return Compiling(setting=setting, limit=limit, cells=cells)


def _cell(name: str, qubits: int, depth: int | None, arguments: Sequence[str], limit: float) -> Cell:
    command = [sys.executable, "-m", "benchmarks.compiling", *arguments]
    found: dict[str, Any]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=child_environment(), check=False
        )
    except subprocess.TimeoutExpired:
        found = {"ended": "stopped", "reason": f"not compiled within {limit:g} s"}
    else:
        if done.returncode == 0:
            found = json.loads(done.stdout.splitlines()[-1])
        else:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            found = {"ended": "died", "reason": f"its process ended with code {done.returncode}, saying {said}"}
    return Cell(name=name, qubits=qubits, depth=depth, **found)


def main(*arguments: str) -> None:
    """Compile one, and print what it took."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    if len(arguments) == 2:
        circuit = line_circuit(int(arguments[0]), int(arguments[1]))
    else:
        circuit = Circuit.from_artifact(Artifact.open(arguments[0]))
    compile_circuit(line_circuit(2, 1))  # what is imported is not counted
    start = time.perf_counter()
    try:
        compiled = compile_circuit(circuit)
    except CompileError as error:
        print(json.dumps({"ended": "refused", "reason": str(error)}))
        return
    seconds = time.perf_counter() - start
    engine = ExactBackend(compiled.graph, circuit.sha256)
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (BATCH, len(circuit.inputs))).astype(np.float32)

    def time_of(rows: int) -> float:
        engine.expectations(circuit, angles[:rows])
        return seconds_of(lambda: engine.expectations(circuit, angles[:rows]), _LEAST) / rows

    found = {
        "seconds": seconds,
        "size": len(compiled.graph),
        "multiply_adds": compiled.multiply_adds,
        "one": time_of(1),
        "many": time_of(BATCH),
        "memory": peak_memory(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
