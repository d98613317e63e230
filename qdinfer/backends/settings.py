"""How a circuit is run on an IBM device: settings, the limits of a job, and a circuit made ready for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import BackendError, InputError, whole_number
from .isa import checked_layout, control_instructions

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Limits", "Prepared", "RuntimeSettings"]

_RANDOMIZATIONS = 32  # twirls of a row, at least; the client's own choice may exceed the shots that were asked for
_SHOTS_EACH = 64  # of one twirl, at most: what it leaves of a readout's asymmetry is common to them, and no shot noise
_CALIBRATION_SHOTS = 16_384  # of the empty circuit, in each job
_JOB_SECONDS = 2.0  # of every job, beside its executions, as IBM documents
_LONGEST = 3 * 3600.0  # seconds after which the service ends a job


@dataclass(frozen=True)
class RuntimeSettings:
    """How a circuit is run on an IBM device. Part of what a measurement is, so of a durable run's identity.

    Attributes:
        mode: ``"batch"``, ``"session"`` or ``"job"``: how the service schedules the jobs.
        seed_transpiler: the same seed and calibration give the same circuit on the device.
        initial_layout: the device's qubit for each of the circuit's; None: the transpiler chooses.
        twirl_gates: whether two-qubit gates are Pauli-twirled, over at least 32 randomizations a text, and one
            for 64 shots.
        dynamical_decoupling: the sequence for idle qubits, ``"XX"``, ``"XpXm"`` or ``"XY4"``; None: none.
        mitigate_readout: whether readout error is divided out: measurements are twirled, and each job measures the
            empty circuit as well, at least 16 384 times, whose expectation values are what readout leaves of 1 (van
            den Berg, Minev, Temme 2022, doi:10.1103/PhysRevA.105.032620).
    """

    mode: Literal["batch", "session", "job"] = "batch"
    seed_transpiler: int = 0
    initial_layout: tuple[int, ...] | None = None
    twirl_gates: bool = False
    dynamical_decoupling: Literal["XX", "XpXm", "XY4"] | None = None
    mitigate_readout: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("batch", "session", "job"):
            raise InputError(f"mode: found {self.mode!r}; expected 'batch', 'session' or 'job'")
        if self.dynamical_decoupling not in (None, "XX", "XpXm", "XY4"):
            raise InputError(f"dynamical decoupling: found {self.dynamical_decoupling!r}; expected XX, XpXm or XY4")
        for name in ("twirl_gates", "mitigate_readout"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}: found {getattr(self, name)!r}; expected True or False")
        whole_number("seed_transpiler", self.seed_transpiler, 0, 2**32 - 1)
        object.__setattr__(self, "initial_layout", checked_layout(self.initial_layout))

    @property
    def twirled(self) -> bool:
        """Whether each row is measured over several randomizations."""
        return self.twirl_gates or self.mitigate_readout

    def shots(self, asked: int) -> int:
        """The shots that are run where so many are asked for: twirled, as many for each randomization."""
        if not self.twirled:
            return asked
        number = self.randomizations(asked)
        return -(-asked // number) * number

    def randomizations(self, shots: int) -> int:
        """How many twirls of a row share its shots; a multiple of 32, and the same for `shots(shots)`."""
        return -(-shots // (_RANDOMIZATIONS * _SHOTS_EACH)) * _RANDOMIZATIONS if self.twirled else 1

    def sampler_options(self, shots: int, *, tags: Sequence[str] = (), seed_simulator: int | None = None) -> Any:
        """The client's `SamplerOptions`."""
        from qiskit_ibm_runtime.options_models.sampler import SamplerOptions

        options = SamplerOptions()
        options.twirling.enable_gates = self.twirl_gates
        options.twirling.enable_measure = self.mitigate_readout
        if self.twirled:
            options.twirling.num_randomizations = self.randomizations(shots)
            options.twirling.shots_per_randomization = shots // self.randomizations(shots)
        options.dynamical_decoupling.enable = self.dynamical_decoupling is not None
        if self.dynamical_decoupling is not None:
            options.dynamical_decoupling.sequence_type = self.dynamical_decoupling
        options.environment.job_tags = list(tags)
        options.simulator.seed_simulator = seed_simulator
        return options


@dataclass(frozen=True)
class Limits:
    """What one job may hold, as IBM documents it (https://quantum.cloud.ibm.com/docs/guides/job-limits).

    Attributes:
        executions: rows × shots, with those of the calibration.
        control_instructions: on one qubit, over all rows; dynamical decoupling adds some that are not counted here.
        two_qubit_gates: in the circuit.
        seconds: of estimated time; the service ends a job after 3 h.
    """

    executions: int = 10_000_000
    control_instructions: int = 26_800_000
    two_qubit_gates: int = 5_000_000
    seconds: float = 2.5 * 3600

    def __post_init__(self) -> None:
        whole_number("executions", self.executions, 1, 10_000_000)
        whole_number("control_instructions", self.control_instructions, 1, 26_800_000)
        whole_number("two_qubit_gates", self.two_qubit_gates, 0, 5_000_000)
        if not _JOB_SECONDS < self.seconds <= _LONGEST:
            raise InputError(
                f"seconds: found {self.seconds}; expected a number above {_JOB_SECONDS:g} and up to {_LONGEST:g}"
            )


@dataclass(frozen=True)
class Prepared:
    """A circuit made ready for a device.

    Attributes:
        isa: the ISA circuit, its inputs unbound.
        calibration: its measurements alone; None without readout mitigation.
        seconds: of one execution; NaN if it is simulated here and does not tell.
        device: its name.
    """

    isa: QuantumCircuit
    calibration: QuantumCircuit | None
    seconds: float
    device: str

    def calibrations(self, shots: int) -> int:
        """How often a job runs the calibration circuit, for all circuits of a job have the same shots."""
        return 0 if self.calibration is None else -(-_CALIBRATION_SHOTS // shots)

    def executions(self, rows: int, shots: int) -> int:
        """What a job of so many rows and shots executes."""
        return (rows + self.calibrations(shots)) * shots

    def job_seconds(self, rows: int, shots: int) -> float:
        """The quantum computer's seconds that a job is estimated to take: 2 s, and its executions."""
        return _JOB_SECONDS + self.executions(rows, shots) * self.seconds

    def rows_per_job(self, shots: int, limits: Limits) -> int:
        """How many rows fit into a job.

        Raises:
            InputError: not even one.
            BackendError: the circuit is too large.
        """
        sizes = [len(i.qubits) for i in self.isa.data if i.operation.name not in ("barrier", "measure")]
        if sizes.count(2) > limits.two_qubit_gates:
            raise BackendError(
                f"{self.device}: found {sizes.count(2)} two-qubit gates; expected at most {limits.two_qubit_gates}"
            )
        busiest = control_instructions(self.isa)
        if busiest > limits.control_instructions:
            raise BackendError(
                f"{self.device}: found {busiest} control instructions on one qubit; expected at most "
                f"{limits.control_instructions}"
            )
        calibrations = self.calibrations(shots)
        most = [limits.executions // shots - calibrations, limits.control_instructions // busiest]
        seconds = ""
        if not math.isnan(self.seconds):
            most.append(int((limits.seconds - _JOB_SECONDS) / (shots * self.seconds)) - calibrations)
            seconds = f" and {self.job_seconds(1, shots):.0f} s"
        if min(most) < 1:
            raise InputError(
                f"{self.device}: found {self.executions(1, shots)} executions{seconds} for one text at {shots} shots"
                f"{', with those of the calibration' if calibrations else ''}; expected at most {limits.executions} "
                f"and {limits.seconds:.0f} s in a job; take fewer shots"
            )
        return min(most)
