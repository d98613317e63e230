"""A circuit compiled with the noise of a device: its twin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..backends.isa import isa_from_json
from ..circuit import Circuit
from ..errors import InputError, JournalError
from ..noise import DeviceNoise
from ..noise.twin import FORMAT, KEY, Twin, TwinSpec, label_of, strings_of
from ..predictions import BoolArray, FloatArray
from ..session import OnnxSession
from .assembly import Assembled, assemble, checked_error, require_compiler
from .check import SMALL, statevector_expectations
from .propagate import expand
from .steps import Real, Step, cut_in_time, steps_of

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["compile_twin"]

_DENSE = 30_000
"""Multiply-adds of the observables alone, above which their products would take minutes to compile."""
_CHECKED = 4
_PROBED = 64
"""Rows at which a circuit of few qubits is held against the ideal one."""
_CONSTANT = 1e-9
_SAME = 1e-4  # far above rounding, far below any gate that is missing


def compile_twin(
    circuit: Circuit,
    noise: DeviceNoise,
    *,
    twirled: bool = False,
    pairs: bool | None = None,
    max_error: float = 0.0,
    progress: bool = False,
) -> Twin:
    """Compile a circuit with noise, and compare the graph with a propagation at random angles.

    Every gate becomes its transfer matrix times that of the noise behind it, so that the circuit with noise is as
    large, compiled, as the one without.

    Args:
        circuit: the trained circuit.
        noise: the device's, for this circuit.
        twirled: whether relaxation is Pauli-twirled, as randomized gates make it: it damps then, and pulls nothing to
            |0⟩.
        pairs: compile the products of two observables as well, for the covariance of shots, which takes about twenty
            times as long. None: unless the observables alone are dense, as where data goes around a ring.
        max_error: see `compile_circuit`.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        CompileError: the circuit has no such form, or none of a reasonable size.
        InputError: the noise is that of another circuit, or has one that cannot be read; max_error is no number from
            0 to 1.
        MissingExtraError: onnx or qiskit is not installed.
    """
    require_compiler("compiling a twin")
    from .graph import described

    if noise.circuit_sha256 != circuit.sha256:
        raise InputError(
            f"noise of {noise.device}: found that of circuit {noise.circuit_sha256[:16]}…; expected that of "
            f"{circuit.sha256[:16]}…"
        )
    placed = _placed(noise, circuit, twirled)
    in_time = cut_in_time(placed.gates)
    steps = steps_of(placed.gates, circuit.inputs, in_time=in_time, noise=placed.noise)
    spare = np.zeros(placed.gates.num_qubits - circuit.num_qubits, np.bool_)

    rows = _PROBED if circuit.num_qubits <= SMALL else _CHECKED
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, (rows, len(circuit.inputs))).astype(np.float32)
    ideal = statevector_expectations(circuit, angles)

    def compiled(pairs: bool) -> tuple[Assembled, list[tuple[str, BoolArray]]]:
        masks = strings_of(circuit.observable_masks, pairs=pairs)
        strings = [(label_of(mask), np.concatenate([mask, spare])) for mask in masks]
        size = len(circuit.inputs)
        return assemble(steps, strings, size, in_time=in_time, max_error=max_error, progress=progress), strings

    made, strings = compiled(bool(pairs))
    if pairs is None and made.multiply_adds <= _DENSE:
        pairs = True
        made, strings = compiled(pairs)
    _check_circuit(noise, steps_of(placed.gates, circuit.inputs, in_time=in_time), strings, angles, ideal, circuit)
    found = OnnxSession("twin", made.graph, 1).run("expectations", {"angles": angles})
    error = checked_error(_largest_error(steps, strings, angles[:_CHECKED], found), made.bound)
    labels = [label for label, _ in strings]
    columns = dict(zip(labels, found.T, strict=True)) | {"I" * circuit.num_qubits: np.ones(rows)}
    own = np.stack([columns[label] for label in circuit.observables], axis=1)
    spec = TwinSpec(
        format=FORMAT,
        noise=noise,
        observables=circuit.observables,
        strings=tuple(labels),
        pairs=bool(pairs),
        twirled=twirled,
        error=error,
        checked=_CHECKED,
        bound=made.bound,
        damping=tuple(_slopes(own, ideal)),
    )
    return Twin(described(made.graph, {KEY: msgspec.json.encode(spec).decode()}), spec)


@dataclass(frozen=True)
class _Placed:
    """The ISA circuit without measurements, its qubits numbered as the bits that they are measured into.

    Attributes:
        gates: qubits that are not measured come last.
        noise: what follows each instruction.
    """

    gates: QuantumCircuit
    noise: list[Real]


def _placed(noise: DeviceNoise, circuit: Circuit, twirled: bool) -> _Placed:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Delay, Gate
    from qiskit.circuit.library import IGate

    try:
        isa = isa_from_json(json.dumps(noise.isa))
    except JournalError as error:
        raise InputError(f"noise of {noise.device}: {error}") from error
    used = {parameter.name for parameter in isa.parameters}  # some may have cancelled out
    if len(noise.measured) != circuit.num_qubits or not used <= {*circuit.inputs}:
        raise InputError(
            f"noise of {noise.device}: found a circuit of {len(noise.measured)} qubits and inputs {sorted(used)}; "
            f"expected {circuit.num_qubits} and {sorted(circuit.inputs)}"
        )
    places = {place: bit for bit, place in enumerate(noise.measured)}
    for known in noise.qubits:
        places.setdefault(known.qubit, len(places))
    gates = QuantumCircuit(len(places))
    follows = []
    read: set[int] = set()
    for instruction in isa.data:
        operation = instruction.operation
        qubits = [isa.find_bit(qubit).index for qubit in instruction.qubits]
        if operation.name in ("measure", "barrier"):
            read.update(qubits if operation.name == "measure" else ())
            continue
        if read & {*qubits}:
            raise InputError(
                f"noise of {noise.device}: found {operation.name} on qubits {qubits} after they were measured; "
                "expected measurements at the end"
            )
        if not isinstance(operation, Gate | Delay):
            raise InputError(
                f"noise of {noise.device}: found {operation.name} in its circuit; expected gates and delays"
            )
        seconds = operation.duration if operation.name == "delay" else 0.0
        follows.append(noise.after(operation.name, qubits, seconds, twirled=twirled))
        gates.append(IGate() if operation.name == "delay" else operation, [places[qubit] for qubit in qubits])
    return _Placed(gates, follows)


def _check_circuit(
    noise: DeviceNoise,
    steps: Sequence[Step],
    strings: Sequence[tuple[str, BoolArray]],
    angles: FloatArray,
    ideal: FloatArray,
    circuit: Circuit,
) -> None:
    """See that the ISA circuit without its noise is the student's: a noise file may come from anywhere."""
    own = [next(each for each in strings if each[0] == label) for label in circuit.observables if "Z" in label]
    wanted = [value for label, value in zip(circuit.observables, ideal[0], strict=True) if "Z" in label]
    off = _largest_error(steps, own, angles[:1], np.array([wanted]))
    if not off <= _SAME:
        raise InputError(
            f"noise of {noise.device}: found a circuit whose expectation values without noise are off by {off:.1e}; "
            "expected the student's circuit"
        )


def _largest_error(
    steps: Sequence[Step], strings: Sequence[tuple[str, BoolArray]], angles: FloatArray, found: FloatArray
) -> float:
    """How far the graph is from a propagation at given angles, which knows neither features nor trains."""
    largest = 0.0
    for row, values in zip(angles, found, strict=False):
        fixed = [_at(step, row) for step in steps]
        for (label, mask), value in zip(strings, values, strict=True):
            largest = max(largest, abs(float(value) - float(expand(fixed, mask, label).coefficients.sum())))
    return largest


def _at(step: Step, angles: FloatArray) -> Step:
    if step.site is None:
        return step
    angle = step.site.scale * float(angles[step.site.input])
    features = np.array([1.0, np.cos(angle), np.sin(angle)])
    return Step(step.qubits, np.tensordot(features, step.transfer, axes=1)[None])


def _slopes(found: FloatArray, ideal: FloatArray) -> list[float]:
    """(M,) of the found values over the ideal ones; 1 for one that never changes."""
    spread = ideal - ideal.mean(axis=0)
    norms = (spread**2).sum(axis=0)
    products = (spread * found).sum(axis=0)
    return [float(p / n) if n > _CONSTANT else 1.0 for p, n in zip(products, norms, strict=True)]
