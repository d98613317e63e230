"""A circuit in a device's own gates, on its own qubits and measured: the ISA circuit of the primitives.

The only module that transpiles for a device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..circuit import Circuit, affine
from ..errors import BackendError, InputError, JournalError, whole_number

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.providers import BackendV2
    from qiskit.transpiler import Target

__all__ = [
    "IDLE",
    "MEASURED",
    "NotIsaError",
    "calibration_circuit",
    "check_isa",
    "checked_layout",
    "control_instructions",
    "execution_seconds",
    "isa_from_json",
    "isa_to_json",
    "scheduled",
    "to_isa",
]

MEASURED = "meas"
"""The classical register: bit q is qubit q of the circuit, wherever the transpiler put it."""

_MOST = 100_000  # qubits and bits of a circuit that is read: each costs memory

IDLE = "idle"
"""The input of a calibration circuit."""

_CONTROL = {"barrier": 0, "rz": 1, "delay": 1, "measure": 10, "reset": 17}
_CONTROL_GATES = {1: 2, 2: 5}  # by the number of qubits
_CONTROL_INIT = 50


class NotIsaError(BackendError):
    """The device does not have what the circuit needs, or not any more."""


def to_isa(
    circuit: Circuit, backend: BackendV2, *, seed: int = 0, initial_layout: Sequence[int] | None = None
) -> QuantumCircuit:
    """Transpile for a device, at optimization level 3, with measurement of all qubits.

    Args:
        circuit: the trained circuit; its inputs stay unbound.
        backend: the device.
        seed: of the transpiler: the same seed and calibration give the same circuit.
        initial_layout: the device's qubit for each of the circuit's; None: the transpiler chooses.

    Raises:
        BackendError: the device is too small, or cannot run the circuit.
        InputError: a layout that the device does not have.
    """
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import generate_preset_pass_manager

    measured = circuit.to_qiskit()
    measured.measure_all()
    size = backend.num_qubits
    if size is not None and size < circuit.num_qubits:
        raise BackendError(f"{backend.name}: found {size} qubits; expected {circuit.num_qubits}, as the circuit has")
    layout = checked_layout(initial_layout)
    if layout is not None and (len(layout) != circuit.num_qubits or (size is not None and max(layout) >= size)):
        raise InputError(
            f"initial layout: found {list(layout)}; expected {circuit.num_qubits} different qubits of the device's "
            f"{'own' if size is None else size}"
        )
    broken = [q for q in layout or () if not backend.target.instruction_supported("measure", (q,))]
    if broken:
        raise BackendError(f"{backend.name}: found qubits {broken} in the initial layout, which it cannot measure now")
    try:
        manager = generate_preset_pass_manager(
            backend=backend,
            optimization_level=3,
            seed_transpiler=seed,
            initial_layout=None if layout is None else list(layout),
        )
        isa = manager.run(measured)
    except (QiskitError, LookupError, TypeError) as error:  # the transpiler leaks these, where couplings are missing
        reason = getattr(error, "message", error)
        raise BackendError(f"{backend.name}: the circuit cannot be transpiled for it ({reason})") from error
    check_isa(isa, backend.target, backend.name)
    return isa


def checked_layout(layout: Sequence[int] | None) -> tuple[int, ...] | None:
    """The layout as plain numbers, if it is one of any circuit and device.

    Raises:
        InputError: it is no sequence of different whole numbers from 0.
    """
    if layout is None:
        return None
    if not hasattr(layout, "__len__"):
        raise InputError(f"initial layout: found {layout!r}; expected the device's qubit for each of the circuit's")
    numbers = tuple(whole_number(f"initial layout[{q}]", place, 0, 2**31 - 1) for q, place in enumerate(layout))
    if not numbers or len(set(numbers)) != len(numbers):
        raise InputError(f"initial layout: found {list(numbers)}; expected different qubits")
    return numbers


def check_isa(isa: QuantumCircuit, target: Target, name: str) -> None:
    """See that a device has every instruction of a circuit, on those very qubits.

    The client-side primitives do not look, and a device's calibration can change between two jobs.

    Raises:
        NotIsaError: it has not.
    """
    for instruction in isa.data:
        operation = instruction.operation
        qubits = tuple(isa.find_bit(qubit).index for qubit in instruction.qubits)
        if operation.name != "barrier" and not target.instruction_supported(operation.name, qubits):
            raise NotIsaError(
                f"{name}: found {operation.name} on qubits {qubits}, which it does not have; "
                f"expected an ISA circuit, in {sorted(target.operation_names)} where it has them"
            )


def scheduled(isa: QuantumCircuit, backend: BackendV2) -> QuantumCircuit:
    """The circuit with a delay, in seconds, wherever a qubit waits, each gate as late as it can be.

    A qubit waits from its first gate on: before that it is in |0⟩, where nothing happens to it.

    Raises:
        BackendError: the device does not tell how long an instruction takes.
    """
    from qiskit.circuit import Delay
    from qiskit.exceptions import QiskitError
    from qiskit.transpiler import PassManager
    from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay, TimeUnitConversion

    target = backend.target
    passes = [TimeUnitConversion(target=target), ALAPScheduleAnalysis(target=target), PadDelay(target=target)]
    try:
        padded = PassManager(passes).run(isa)
    except QiskitError as error:
        raise BackendError(f"{backend.name}: the circuit cannot be scheduled ({error.message})") from error
    begun: set[Any] = set()
    ended: set[Any] = set()
    kept: QuantumCircuit = isa.copy_empty_like()
    for instruction in padded.data:
        operation, qubits = instruction.operation, set(instruction.qubits)
        if isinstance(operation, Delay):
            if qubits <= begun - ended:
                seconds = operation.duration * (target.dt if operation.unit == "dt" else 1)
                kept.delay(seconds, instruction.qubits[0], unit="s")
            continue
        begun |= qubits if operation.name != "barrier" else set()
        ended |= qubits if operation.name == "measure" else set()
        kept.append(instruction)
    return kept


def calibration_circuit(isa: QuantumCircuit) -> QuantumCircuit:
    """The measurements of a circuit alone: what they read from qubits in state 0 tells their error.

    It has an input `IDLE`, an RZ on each qubit before its measurement, which changes nothing of what is measured and
    takes no time: with it, any number of repetitions is one PUB of many rows, as large as one.
    """
    from qiskit.circuit import Parameter

    empty: QuantumCircuit = isa.copy_empty_like()
    empty.global_phase = 0
    idle = Parameter(IDLE)
    measurements = [instruction for instruction in isa.data if instruction.operation.name == "measure"]
    for instruction in measurements:
        empty.rz(idle, instruction.qubits)
    for instruction in measurements:
        empty.append(instruction)
    return empty


def execution_seconds(isa: QuantumCircuit, backend: BackendV2) -> float:
    """How long one shot of one row takes: repetition delay, initialization and circuit.

    From the device itself, after the estimate that IBM documents for the Sampler: (repetition delay + length of the
    circuit + initialization) for each execution
    (https://quantum.cloud.ibm.com/docs/guides/estimate-job-run-time).

    Raises:
        BackendError: the device does not tell its repetition delay, or an instruction's duration.
    """
    from qiskit.exceptions import QiskitError

    configuration = backend.configuration() if hasattr(backend, "configuration") else None
    delay = getattr(configuration, "default_rep_delay", None)
    if delay is None:
        raise BackendError(
            f"{backend.name}: found no default_rep_delay in its configuration; expected one, without which the time "
            "of a job cannot be told before it has run"
        )
    try:
        length = isa.estimate_duration(backend.target)
    except QiskitError as error:
        raise BackendError(f"{backend.name}: the length of the circuit cannot be told ({error.message})") from error
    target = backend.target
    resets = target["reset"] if "reset" in target.operation_names else {}
    used = {isa.find_bit(qubit).index for instruction in isa.data for qubit in instruction.qubits}
    known = [properties.duration for (qubit,), properties in (resets or {}).items() if qubit in used and properties]
    return float(delay) + max((seconds for seconds in known if seconds is not None), default=0.0) + float(length)


def control_instructions(isa: QuantumCircuit) -> int:
    """The control system's instructions for the qubit that has most, for one row, as IBM counts them.

    (https://quantum.cloud.ibm.com/docs/guides/job-limits)
    """
    count = dict.fromkeys(range(isa.num_qubits), 0)
    for instruction in isa.data:
        each = _CONTROL.get(instruction.operation.name, _CONTROL_GATES.get(len(instruction.qubits), 0))
        for qubit in instruction.qubits:
            count[isa.find_bit(qubit).index] += each
    return _CONTROL_INIT + max(count.values())


def isa_to_json(isa: QuantumCircuit) -> str:
    """A circuit as text: gates, qubits, angles as sums of multiples of inputs, and where each measurement goes."""
    rows: list[list[Any]] = []
    for instruction in isa.data:
        operation = instruction.operation
        qubits = [isa.find_bit(qubit).index for qubit in instruction.qubits]
        bits = [isa.find_bit(bit).index for bit in instruction.clbits]
        angles = []
        for angle in operation.params:
            factors, offset = affine(angle)
            angles.append([offset, {parameter.name: factor for parameter, factor in factors.items()}])
        rows.append([operation.name, qubits, angles, bits])
    return json.dumps({"qubits": isa.num_qubits, "bits": isa.num_clbits, "instructions": rows})


def isa_from_json(text: str) -> QuantumCircuit:
    """The circuit that `isa_to_json` wrote.

    Raises:
        JournalError: it is no such text.
    """
    from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
    from qiskit.circuit import Delay, Parameter
    from qiskit.circuit.library import Barrier, get_standard_gate_name_mapping
    from qiskit.exceptions import QiskitError

    gates = get_standard_gate_name_mapping()
    parameters: dict[str, Parameter] = {}
    try:
        read = json.loads(text)
        if not 0 < read["qubits"] <= _MOST or not 0 <= read["bits"] <= _MOST:
            raise ValueError(f"{read['qubits']} qubits and {read['bits']} bits, at most {_MOST} of each")
        isa = QuantumCircuit(QuantumRegister(read["qubits"], "q"), ClassicalRegister(read["bits"], MEASURED))
        for name, qubits, angles, bits in read["instructions"]:
            if min([*qubits, *bits], default=0) < 0:
                raise ValueError(f"{name} on qubits {qubits}")
            values = []
            for offset, factors in angles:
                value: Any = offset
                for parameter, factor in factors.items():
                    value += parameters.setdefault(parameter, Parameter(parameter)) * factor
                values.append(value)
            if name == "barrier":
                gate: Any = Barrier(len(qubits))
            else:
                gate = Delay(*map(float, values), unit="s") if name == "delay" else gates[name].base_class(*values)
            isa.append(gate, qubits, bits)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, QiskitError) as error:
        raise JournalError(
            f"circuit: found no circuit of a device ({error!r}); expected one as it was written"
        ) from error
    return isa
