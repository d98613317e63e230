"""A job's program: what it costs, how it is run in steps, and the form in which its result is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import prod

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from ibm_quantum_schemas.executor.version_2_0 import (
    ChunkPart,
    ChunkSpan,
    ItemMetadataModel,
    MetadataModel,
    ParamsModel,
    QuantumProgramResultItemModel,
    QuantumProgramResultModel,
)
from qiskit_ibm_runtime.fake_provider.executor.run_quantum_program import run_quantum_program
from qiskit_ibm_runtime.options_models.simulator import SimulatorOptions
from qiskit_ibm_runtime.quantum_program import QuantumProgram
from qiskit_ibm_runtime.quantum_program.converters import quantum_program_from_2_0
from samplomatic.quantum_program import CircuitItem, QuantumProgramItem, SamplexItem

from ibm_standin.devices import OVERHEAD_SECONDS, Device

ROWS_A_STEP = 25

Data = dict[str, np.ndarray]


@dataclass(frozen=True)
class Step:
    """What is run at one go: a job can be cancelled between two of them."""

    number: int
    item: int
    executions: int
    seconds: float
    program: QuantumProgram


class Program:
    """What came as `params` of a job for the program `executor`.

    Attributes:
        shots: of each circuit.
        circuits: how many there are, with their values bound and their twirling drawn.
        seconds: what the device is held for, by the documented formula.

    Raises:
        ValueError: it is no such program, or asks for something else than bits.
        QiskitError: a circuit is not for this device, so that it has no duration.
    """

    def __init__(self, params: str, device: Device) -> None:
        self._model = ParamsModel.model_validate_json(params)
        self._device = device
        if self._model.quantum_program.meas_level != "classified":
            raise ValueError(f"found {self._model.quantum_program.meas_level!r}, expected bits: meas_type 'classified'")
        program, options = quantum_program_from_2_0(self._model)
        self._items: list[QuantumProgramItem] = list(program.items)
        for item in self._items:
            if isinstance(item, SamplexItem):
                item.samplex.finalize()
        self.shots: int = program.shots
        rep_delay = options.execution.rep_delay
        self._each = [device.seconds(item.circuit, rep_delay) for item in self._items]
        self.circuits = sum(prod(item.shape) for item in self._items)
        self.seconds = OVERHEAD_SECONDS + sum(
            each * prod(item.shape) * self.shots for each, item in zip(self._each, self._items, strict=True)
        )

    def steps(self) -> list[Step]:
        """The program, cut along the rows of values; a twirled item stays whole."""
        cut = ((place, part) for place, item in enumerate(self._items) for part in _parts(item))
        steps = []
        for number, (place, part) in enumerate(cut):
            executions = prod(part.shape) * self.shots
            program = QuantumProgram(self.shots, [part])
            steps.append(Step(number, place, executions, self._each[place] * executions, program))
        return steps

    def run(self, step: Step, seed: tuple[int, ...]) -> Data:
        """The bits of one step. Each step needs a seed of its own, or the steps would be correlated."""
        drawn = int(np.random.SeedSequence((*seed, step.number)).generate_state(1)[0] >> 1)
        result = run_quantum_program(self._device.simulator, step.program, SimulatorOptions(seed_simulator=drawn))
        return dict(result[0].items())

    def result(self, steps: list[Step], data: list[Data], start: datetime, stop: datetime) -> str:
        """The result as the client decodes it, with all that it wants to have back."""
        sent, parts = [], []
        for place, item in enumerate(self._items):
            mine = [found for step, found in zip(steps, data, strict=True) if step.item == place]
            shape = tuple(item.shape)
            joined = mine[0]
            if isinstance(item, CircuitItem):
                rows = {name: np.concatenate([found[name] for found in mine]) for name in mine[0]}
                joined = {name: array.reshape(shape + array.shape[1:]) for name, array in rows.items()}
            tensors = {name: CompressedTensorModel.from_numpy(array) for name, array in joined.items()}
            sent.append(QuantumProgramResultItemModel(results=tensors, metadata=ItemMetadataModel()))
            size = prod(shape)
            order = list(range(len(shape)))
            parts.append(ChunkPart(idx_item=place, size=size, permutation=order, element_range=(0, size, 1)))
        sent_back = QuantumProgramResultModel(
            data=sent,
            metadata=MetadataModel(chunk_timing=[ChunkSpan(start=start, stop=stop, parts=parts)]),
            passthrough_data=self._model.quantum_program.passthrough_data,
            semantic_role=self._model.quantum_program.semantic_role,
        )
        return str(sent_back.model_dump_json())


def _parts(item: QuantumProgramItem) -> Iterator[QuantumProgramItem]:
    """An item's rows of values, some at a time."""
    if not isinstance(item, CircuitItem):
        yield item
        return
    rows = item.circuit_arguments.reshape(prod(item.shape), len(item.circuit.parameters))
    for first in range(0, len(rows), ROWS_A_STEP):
        yield CircuitItem(item.circuit, circuit_arguments=rows[first : first + ROWS_A_STEP])
