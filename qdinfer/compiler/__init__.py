"""From a circuit to the graph that the exact engine runs. Needs the extra ``compile``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from ..artifact import Artifact
from ..circuit import Circuit
from ..errors import CompileError, require
from ..manifest import CompiledSpec
from ..predictions import FloatArray

if TYPE_CHECKING:
    from .factor import Block

__all__ = ["Compiled", "compile_artifact", "compile_circuit", "statevector_expectations"]

_CHECKED = 16
_MAX_CHECKED_QUBITS = 20
_MAX_ERROR = 1e-4  # far above what float32 costs, far below what would change a label


@dataclass(frozen=True)
class Compiled:
    """A compiled circuit.

    Attributes:
        graph: the bytes of ``compiled.onnx``.
        spec: what it was compiled from, and its measured error.
        multiply_adds: work for one row of angles.
    """

    graph: bytes
    spec: CompiledSpec
    multiply_adds: int


def compile_circuit(circuit: Circuit) -> Compiled:
    """Compile a circuit, and compare it with Qiskit's statevector at random angles.

    Args:
        circuit: data may enter anywhere, through rotations whose angles are sums of multiples of inputs. The size of
            the compiled form is exponential in the data rotations that an observable depends on.

    Raises:
        CompileError: the circuit has no such form, or none of a reasonable size.
        MissingExtraError: onnx or qiskit is not installed.
    """
    for module in ("qiskit", "onnx"):
        require(module, feature="compiling a circuit", extra="compile")
    from .factor import factor
    from .graph import build_graph
    from .propagate import expand

    if circuit.num_qubits > _MAX_CHECKED_QUBITS:
        raise CompileError(
            f"circuit: found {circuit.num_qubits} qubits; expected at most {_MAX_CHECKED_QUBITS}, "
            "since every compiled form is compared with a statevector"
        )
    blocks: list[Block] = factor(expand(circuit))
    graph = build_graph(blocks, len(circuit.inputs), len(circuit.observables))
    error = _largest_error(circuit, graph)
    if error > _MAX_ERROR:
        raise CompileError(
            f"circuit: found an error of {error:.1e} in its compiled form; expected at most {_MAX_ERROR}"
        )
    spec = CompiledSpec(circuit_sha256=circuit.sha256, max_error=error, checked=_CHECKED)
    return Compiled(graph, spec, sum(block.cost for block in blocks))


def compile_artifact(artifact: Artifact) -> Artifact:
    """The student with a ``compiled.onnx``, new or made anew. Raises as `compile_circuit` does."""
    compiled = compile_circuit(Circuit.from_artifact(artifact))
    files = {**artifact.files, "compiled.onnx": compiled.graph}
    return Artifact.create(replace(artifact.manifest, compiled=compiled.spec), files)


def statevector_expectations(circuit: Circuit, angles: FloatArray) -> FloatArray:
    """Expectation values by Qiskit's statevector, a row at a time: slow, and the reference for all else.

    Args:
        circuit: of at most 20 qubits or so.
        angles: (N, P), radians.

    Returns:
        (N, M) float64.
    """
    from qiskit.quantum_info import Statevector

    unbound = circuit.to_qiskit()
    states = np.arange(2**circuit.num_qubits)[:, None] >> np.arange(circuit.num_qubits) & 1
    signs = 1 - 2 * ((states @ circuit.observable_masks.T) & 1)
    values = np.empty((len(angles), len(circuit.observables)))
    for i, row in enumerate(circuit.check_angles(angles)):
        bound = unbound.assign_parameters(dict(zip(circuit.inputs, map(float, row), strict=True)))
        values[i] = np.abs(Statevector(bound).data) ** 2 @ signs
    return values


def _largest_error(circuit: Circuit, graph: bytes) -> float:
    from ..backends.exact import ExactBackend

    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (_CHECKED, len(circuit.inputs))).astype(np.float32)
    found = ExactBackend(graph, circuit.sha256).expectations(circuit, angles).values
    return float(np.abs(found - statevector_expectations(circuit, angles)).max())
