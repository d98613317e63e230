"""From a circuit to the graph that the exact engine runs. Needs the extra ``compile``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from ..artifact import Artifact
from ..backends.exact import ExactBackend
from ..circuit import Circuit
from ..encoder import TextEncoder, fused_deviation
from ..errors import CompileError
from ..manifest import CompiledSpec, FusedSpec, fused_source
from ..readout import Readout
from .assembly import assemble, checked_error, require_compiler
from .check import SMALL, statevector_expectations
from .steps import cut_in_time, steps_of

__all__ = ["Compiled", "compile_artifact", "compile_circuit", "statevector_expectations"]

_CHECKED = 16
_CHECKED_WIDE = 2
"""Rows for a circuit of so many qubits that one takes seconds."""
_MAX_FUSED_ERROR = 1e-5  # what float32 may cost where onnxruntime puts operators together


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


def compile_circuit(circuit: Circuit, *, max_error: float = 0.0, progress: bool = False) -> Compiled:
    """Compile a circuit, and compare it with Qiskit's statevector at random angles.

    Args:
        circuit: data may enter anywhere, through rotations whose angles are sums of multiples of inputs. The size of
            the compiled form grows exponentially with the data rotations and qubits that an observable depends on, not
            with those of the circuit.
        max_error: allows terms to be left out that together change no expectation value by more, at any angles.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        CompileError: the circuit has no such form, or none of a reasonable size.
        InputError: max_error is no number from 0 to 1.
        MissingExtraError: onnx or qiskit is not installed.
    """
    require_compiler("compiling a circuit")
    gates = circuit.to_qiskit()
    in_time = cut_in_time(gates)
    steps = steps_of(gates, circuit.inputs, in_time=in_time)
    strings = list(zip(circuit.observables, circuit.observable_masks, strict=True))
    made = assemble(steps, strings, len(circuit.inputs), in_time=in_time, max_error=max_error, progress=progress)
    checked = _CHECKED if circuit.num_qubits <= SMALL else _CHECKED_WIDE
    error = checked_error(_largest_error(circuit, made.graph, checked), made.bound)
    spec = CompiledSpec(circuit_sha256=circuit.sha256, max_error=error, checked=checked, bound=made.bound)
    return Compiled(made.graph, spec, made.multiply_adds)


def compile_artifact(
    artifact: Artifact, *, max_error: float = 0.0, fused: bool = False, progress: bool = False
) -> Artifact:
    """The student with a ``compiled.onnx``, new or made anew.

    Args:
        artifact: the student.
        max_error: see `compile_circuit`.
        progress: show a bar on stderr, if that is a terminal.
        fused: make ``fused.onnx`` as well: the whole student, from token ids to probabilities, in one graph. It has the
            encoder's weights once more. A student that has one already gets it anew.

    Raises:
        CompileError: as `compile_circuit`; or the fused graph does not give the golden expectation values.
    """
    compiled = compile_circuit(Circuit.from_artifact(artifact), max_error=max_error, progress=progress)
    files = {**artifact.files, "compiled.onnx": compiled.graph}
    had_one = files.pop("fused.onnx", None) is not None
    result = Artifact.create(replace(artifact.manifest, compiled=compiled.spec, fused=UNSET), files)
    return _fused(result) if fused or had_one else result


def _fused(artifact: Artifact) -> Artifact:
    from .fuse import fuse_graphs

    files = {**artifact.files, "fused.onnx": fuse_graphs(artifact)}
    spec = FusedSpec(source_sha256=fused_source(artifact.manifest))
    fused = Artifact.create(replace(artifact.manifest, fused=spec), files)
    angles = TextEncoder.from_artifact(fused).encode_tokens(fused.golden.token_ids)
    expectations = ExactBackend.from_artifact(fused).expectations(Circuit.from_artifact(fused), angles)
    error = fused_deviation(fused, Readout.from_artifact(fused).predict(expectations))
    if not error <= _MAX_FUSED_ERROR:
        raise CompileError(f"fused.onnx: found that it is off by {error:.1e}; expected at most {_MAX_FUSED_ERROR}")
    return fused


def _largest_error(circuit: Circuit, graph: bytes, rows: int) -> float:
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (rows, len(circuit.inputs))).astype(np.float32)
    found = ExactBackend(graph, circuit.sha256).expectations(circuit, angles).values
    return float(np.abs(found - statevector_expectations(circuit, angles)).max())
