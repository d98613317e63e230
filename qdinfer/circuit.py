"""The trained circuit: OpenQASM 3 text, its data angles by name and in order, and what is measured.

The only module that parses or writes OpenQASM. Qiskit is imported where a circuit is first built, not before: the exact
engine needs only the text's hash.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .artifact import Artifact
from .audit.qasm import audit_qasm
from .errors import ArtifactError, CircuitError, InputError, require
from .manifest import circuit_sha256
from .predictions import BoolArray, FloatArray

if TYPE_CHECKING:
    from qiskit.circuit import Parameter, QuantumCircuit

__all__ = ["BASIS", "Circuit", "affine"]

BASIS = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "cx", "cz", "swap", "rxx", "ryy", "rzz")
"""What every circuit is lowered to. Aer's primitives bind parameters rightly in these, and wrongly, without a word, in
controlled rotations (https://github.com/Qiskit/qiskit-aer/issues/2403)."""

_DEFINITIONS = {  # of the gates of BASIS that stdgates.inc does not have
    "rxx": "gate rxx(phi) a, b { h a; h b; cx a, b; rz(phi) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(phi) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(phi) b; cx a, b; rx(-pi/2) a; rx(-pi/2) b; }",
    "rzz": "gate rzz(phi) a, b { cx a, b; rz(phi) b; cx a, b; }",
}
_FEATURE = "reading a circuit"
_LARGEST_ANGLE = 1e4  # beyond, float32 loses the phase
_DATA_GATE = re.compile(r"([a-z][a-z0-9]*):(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Circuit:
    """A circuit with P named data angles and M observables on its n qubits.

    Attributes:
        qasm: OpenQASM 3 text.
        inputs: (P,) names of its `input float[64]`, in the order of the angle columns. Binding is by name: through
            OpenQASM 3, Qiskit gives parameters back sorted by name, where ``theta_10`` comes before ``theta_2``.
        observables: (M,) Pauli-Z strings, one letter a qubit, qubit 0 rightmost.
    """

    qasm: str
    inputs: tuple[str, ...]
    observables: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.inputs)) != len(self.inputs):
            raise CircuitError(f"circuit: found inputs {self.inputs}; expected each name once")
        for label in self.observables:
            if not re.fullmatch("[IZ]+", label) or len(label) != self.num_qubits:
                raise CircuitError(
                    f"circuit: found observable {label!r}; expected {self.num_qubits} letters, each I or Z"
                )
        declared = self._summary.inputs
        if sorted(declared) != sorted(self.inputs):
            raise CircuitError(f"circuit: found inputs {sorted(declared)}; expected {sorted(self.inputs)}")

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Circuit:
        """The circuit of a student."""
        spec = artifact.manifest.circuit
        return cls(artifact.files["circuit.qasm"].decode(), tuple(spec.inputs), tuple(spec.observables))

    @classmethod
    def from_qiskit(
        cls, circuit: QuantumCircuit, inputs: Sequence[str], observables: Sequence[str] | None = None
    ) -> Circuit:
        """Take over a Qiskit circuit whose only parameters are the data angles.

        Args:
            circuit: may have gates of any kind, and measurements at its end, which are dropped.
            inputs: names of its parameters, in the order of the angle columns.
            observables: Pauli-Z strings; None for Z on each qubit, qubit 0 first.

        Raises:
            CircuitError: parameters other than the inputs, an input's name that OpenQASM 3 cannot have, a mid-circuit
                measurement, or no unitary.
        """
        lowered = _lower(circuit)
        _check_parameters(lowered, inputs)
        n = lowered.num_qubits
        labels = tuple(observables or ("I" * (n - 1 - q) + "Z" + "I" * q for q in range(n)))
        written = cls(_write(lowered, inputs), tuple(inputs), labels)
        written.to_qiskit()  # an input that is called like a gate, say, could not be read back
        return written

    @classmethod
    def from_qasm3(
        cls, text: str, inputs: Sequence[str] | None = None, observables: Sequence[str] | None = None
    ) -> Circuit:
        """Take over OpenQASM 3 written elsewhere.

        Args:
            text: straight-line OpenQASM 3 that declares its data angles as `input float[64]`.
            inputs: their names in the order of the angle columns; None for the order of declaration.
            observables: Pauli-Z strings; None for Z on each qubit, qubit 0 first.

        Raises:
            CircuitError: it cannot be read, or its inputs are others.
        """
        try:
            declared = audit_qasm("circuit", text.encode()).inputs
        except ArtifactError as error:
            raise CircuitError(str(error)) from error
        return cls.from_qiskit(_parse(text), inputs or declared, observables)

    @classmethod
    def from_qasm2(cls, text: str, data_gates: Sequence[str], observables: Sequence[str] | None = None) -> Circuit:
        """Take over OpenQASM 2, which cannot carry unbound angles: the data gates are named instead.

        Args:
            text: OpenQASM 2; it may include ``qelib1.inc`` and no other file.
            data_gates: for each angle column, the gate that it drives: ``"rx:3"`` is the first ``rx`` on qubit 3,
                ``"rx:3:1"`` the second. The angle written there is replaced by the input ``theta_0``, ``theta_1``, ….
            observables: Pauli-Z strings; None for Z on each qubit, qubit 0 first.

        Raises:
            CircuitError: it cannot be read, or has no such gate, or that gate has not exactly one angle.
        """
        require("qiskit", feature=_FEATURE, extra="aer")
        from qiskit import qasm2
        from qiskit.circuit import Parameter

        try:
            # No include path: qelib1.inc is built in, and no other file may be read.
            circuit = qasm2.loads(text, include_path=(), custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
        except qasm2.QASM2Error as error:
            raise CircuitError(f"circuit: found no OpenQASM 2 that Qiskit reads ({error.message})") from error
        names = [f"theta_{i}" for i in range(len(data_gates))]
        for name, gate in zip(names, data_gates, strict=True):
            position = _find_gate(circuit, gate)
            operation = circuit.data[position].operation
            circuit.data[position] = circuit.data[position].replace(operation=operation.base_class(Parameter(name)))
        return cls.from_qiskit(circuit, names, observables)

    @cached_property
    def _summary(self) -> Any:
        try:
            return audit_qasm("circuit.qasm", self.qasm.encode())
        except ArtifactError as error:
            raise CircuitError(str(error)) from error

    @property
    def num_qubits(self) -> int:
        """How many qubits it has."""
        count: int = self._summary.num_qubits
        return count

    @property
    def gate_counts(self) -> Counter[str]:
        """How often each gate is called."""
        counts: Counter[str] = self._summary.gates
        return counts

    @cached_property
    def sha256(self) -> str:
        """Identity: the hash of the text, the inputs' order and the observables. What is compiled is bound to it."""
        return circuit_sha256(self.qasm, self.inputs, self.observables)

    @cached_property
    def observable_masks(self) -> BoolArray:
        """(M, n) bool: whether observable j has a Z on qubit q."""
        return np.array([[letter == "Z" for letter in reversed(label)] for label in self.observables])

    def check_angles(self, angles: FloatArray) -> FloatArray:
        """The angles, if they are finite numbers of the right shape.

        Args:
            angles: (N, P), radians.

        Returns:
            The same as a numpy array.

        Raises:
            InputError: they are not, or they are beyond ±10⁴.
        """
        angles = np.asarray(angles)
        if angles.ndim != 2 or angles.shape[1] != len(self.inputs) or angles.dtype.kind not in "fiu":
            raise InputError(f"angles: found {angles.dtype} {angles.shape}; expected numbers (N, {len(self.inputs)})")
        if not np.isfinite(angles).all():
            row, column = np.argwhere(~np.isfinite(angles))[0]
            raise InputError(f"angles[{row}, {column}]: found {angles[row, column]}; expected a finite number")
        if np.abs(angles).max(initial=0) > _LARGEST_ANGLE:
            raise InputError(
                f"angles: found {np.abs(angles).max()}; expected radians up to {_LARGEST_ANGLE:g} either way"
            )
        return angles

    def to_qiskit(self) -> QuantumCircuit:
        """The circuit in the gates of `BASIS`, unbound and without measurements; a copy that is the caller's own.

        Raises:
            CircuitError: Qiskit cannot read it, or its parameters are not its inputs.
            MissingExtraError: Qiskit is not installed.
        """
        return self._lowered.copy()

    @cached_property
    def _lowered(self) -> QuantumCircuit:
        lowered = _lower(_parse(self.qasm))
        _check_parameters(lowered, self.inputs)
        return lowered

    def bindings(self, angles: FloatArray) -> dict[tuple[str, ...], FloatArray]:
        """The angles as the parameter part of a PUB: by name, never by position.

        Args:
            angles: (N, P), radians, columns in the order of `inputs`.

        Raises:
            InputError: as `check_angles`.
        """
        return {self.inputs: np.asarray(self.check_angles(angles), np.float64)}


def affine(angle: Any) -> tuple[dict[Parameter, float], float]:
    """A gate's angle, a number or an expression of Qiskit, as Σ aᵢ·θᵢ + b: the factors aᵢ by parameter, and b.

    Raises:
        CircuitError: it is not of that form.
    """
    if not hasattr(angle, "parameters"):
        return {}, float(angle)
    factors: dict[Parameter, float] = {}
    offset = math.nan
    try:
        for parameter in sorted(angle.parameters, key=lambda p: str(p.name)):
            factors[parameter] = float(angle.gradient(parameter))
        offset = float(angle.bind(dict.fromkeys(factors, 0.0)))
    except (TypeError, ArithmeticError):  # a slope that has parameters itself, or a division by zero
        pass
    if not np.isfinite([offset, *factors.values()]).all():
        raise CircuitError(f"circuit: found the angle {angle}; expected a sum of multiples of inputs")
    return {parameter: slope for parameter, slope in factors.items() if slope}, offset


def _parse(text: str) -> QuantumCircuit:
    require("qiskit", feature=_FEATURE, extra="aer")
    require("qiskit_qasm3_import", feature=_FEATURE, extra="aer")
    from openqasm3.parser import QASM3ParsingError
    from qiskit import qasm3
    from qiskit.exceptions import QiskitError

    try:
        return qasm3.loads(text)
    except (
        *(QiskitError, QASM3ParsingError),
        # The importer leaks these, e.g. for a qubit that is not there, a division by zero, or 1000 brackets.
        *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError),
    ) as error:
        raise CircuitError(
            f"circuit: found no OpenQASM 3 that Qiskit reads ({str(error) or 'a syntax error'})"
        ) from error


def _lower(circuit: QuantumCircuit) -> QuantumCircuit:
    """The same unitary in the gates of `BASIS`, without classical bits, barriers and final measurements."""
    from qiskit import QuantumCircuit, transpile
    from qiskit.exceptions import QiskitError

    plain = QuantumCircuit(circuit.num_qubits)
    _inline(circuit.remove_final_measurements(inplace=False), range(circuit.num_qubits), plain)
    try:
        return transpile(plain, basis_gates=list(BASIS), optimization_level=0)
    except QiskitError as error:
        raise CircuitError(f"circuit: found a gate that has no form in standard gates ({error})") from error


def _inline(source: QuantumCircuit, qubits: Sequence[int], target: QuantumCircuit) -> None:
    """Append the source gate by gate, defined gates replaced by their definitions.

    Qiskit's translation goes by name, so a definition that only borrows a standard gate's name would be misread.
    """
    for instruction in source.data:
        operation = instruction.operation
        places = [qubits[source.find_bit(qubit).index] for qubit in instruction.qubits]
        if operation.name == "barrier":
            continue
        if instruction.clbits or operation.name in ("reset", "initialize") or hasattr(operation, "blocks"):
            raise CircuitError(f"circuit: found {operation.name} inside it; expected gates, and measurement at the end")
        standard = _standard_gate(operation)
        if standard is not None:
            target.append(standard, places)
        elif operation.definition is not None:
            _inline(operation.definition, places, target)
        else:
            raise CircuitError(f"circuit: found {operation.name}, which has no definition; expected standard gates")


def _standard_gate(operation: Any) -> Any:
    """The standard gate that an operation is; None if it is another."""
    from qiskit.circuit.library import get_standard_gate_name_mapping
    from qiskit.quantum_info import Operator

    namesake = get_standard_gate_name_mapping().get(operation.name)
    if namesake is None:
        return None
    if operation.base_class is namesake.base_class:
        return operation
    if operation.definition is None or len(operation.params) != len(namesake.params):
        return None
    gate = namesake.base_class(*operation.params)  # e.g. rzz, which OpenQASM 3 text has to define
    free = {p for angle in operation.params if (found := getattr(angle, "parameters", None)) for p in found}
    values = {parameter: 0.7 + 0.3 * i for i, parameter in enumerate(sorted(free, key=lambda p: str(p.name)))}
    angles = [float(a.bind(values, allow_unknown_parameters=True)) if free else float(a) for a in operation.params]
    defined = operation.definition.assign_parameters(values, strict=False)
    if gate.num_qubits == defined.num_qubits and Operator(defined).equiv(Operator(namesake.base_class(*angles))):
        return gate
    return None


def _check_parameters(circuit: QuantumCircuit, inputs: Sequence[str]) -> None:
    found = {parameter.name for parameter in circuit.parameters}
    unbound, idle = sorted(found - set(inputs)), sorted(set(inputs) - found)
    if unbound:
        raise CircuitError(f"circuit: found the unbound parameters {unbound}; expected only the inputs {list(inputs)}")
    if idle:
        raise CircuitError(f"circuit: found the inputs {idle} driving no gate; expected each to be used")


def _find_gate(circuit: QuantumCircuit, data_gate: str) -> int:
    spec = _DATA_GATE.fullmatch(data_gate)
    if not spec:
        raise CircuitError(f"data gate {data_gate!r}: found no GATE:QUBIT or GATE:QUBIT:OCCURRENCE, such as rx:3")
    name, qubit, occurrence = spec[1], int(spec[2]), int(spec[3] or 0)
    matches = [
        i
        for i, instruction in enumerate(circuit.data)
        if instruction.operation.name == name and [circuit.find_bit(q).index for q in instruction.qubits] == [qubit]
    ]
    if len(matches) <= occurrence:
        raise CircuitError(f"data gate {data_gate!r}: found {len(matches)} {name} on qubit {qubit}; expected more")
    params = circuit.data[matches[occurrence]].operation.params
    if len(params) != 1 or hasattr(params[0], "parameters"):
        raise CircuitError(f"data gate {data_gate!r}: found angles {params}; expected one number, named once")
    return matches[occurrence]


def _write(circuit: QuantumCircuit, inputs: Sequence[str]) -> str:
    """A lowered circuit as OpenQASM 3. Qiskit's own exporters snap angles: π/3 + 1e-13 would become pi/3."""
    used = {instruction.operation.name for instruction in circuit.data}
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";']
    lines += [definition for name, definition in _DEFINITIONS.items() if name in used]
    lines += [f"input float[64] {name};" for name in inputs]
    lines += [f"qubit[{circuit.num_qubits}] q;"]
    for instruction in circuit.data:
        operation = instruction.operation
        angles = ", ".join(_angle(angle) for angle in operation.params)
        places = ", ".join(f"q[{circuit.find_bit(qubit).index}]" for qubit in instruction.qubits)
        lines.append(f"{operation.name}{f'({angles})' if angles else ''} {places};")
    return "\n".join(lines) + "\n"


def _angle(angle: Any) -> str:
    factors, offset = affine(angle)
    terms = [p.name if a == 1.0 else f"{a!r}*{p.name}" for p, a in factors.items()]
    if offset or not terms:
        terms.append(repr(offset))
    return " + ".join(terms)
