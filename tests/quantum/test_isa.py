"""A circuit on a device: written down and read again, timed, and cut into jobs that the service takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit.providers import BackendV2
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import Target
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeFez, FakeKolkataV2, FakeManilaV2, FakeMiami, FakePrague
from students import entangled_circuit

from qdinfer import AerBackend, BackendError, Circuit, InputError, JournalError, RuntimeBackend, RuntimeSettings
from qdinfer.backends.isa import (
    calibration_circuit,
    checked_layout,
    control_instructions,
    execution_seconds,
    isa_from_json,
    isa_to_json,
    to_isa,
)
from qdinfer.backends.settings import Limits, Prepared
from qdinfer.runs.estimate import Estimate, estimate

SMALL = entangled_circuit(3)


def places(isa: QuantumCircuit) -> dict[int, int]:
    """The device's qubit that each bit is read from."""
    measured = [i for i in isa.data if i.operation.name == "measure"]
    found = {isa.find_bit(i.clbits[0]).index: isa.find_bit(i.qubits[0]).index for i in measured}
    assert len(found) == len(measured)
    return found


def unitary(isa: QuantumCircuit, angles: dict[str, float]) -> Operator:
    gates = QuantumCircuit(isa.num_qubits)
    for i in isa.data:
        if i.operation.name not in ("measure", "barrier"):
            gates.append(i.operation, [isa.find_bit(qubit).index for qubit in i.qubits])
    return Operator(gates.assign_parameters(angles))


@pytest.fixture(scope="module")
def manila() -> BackendV2:
    return FakeManilaV2()


@pytest.fixture(scope="module")
def small(manila: BackendV2) -> QuantumCircuit:
    return to_isa(SMALL, manila)


class TestText:
    @settings(max_examples=25)
    @given(
        gates=st.lists(
            st.tuples(
                st.sampled_from(["rx", "ry", "rz", "cx", "cz", "rzz", "h", "sdg", "swap"]),
                st.permutations(range(3)),
                st.tuples(*[st.floats(-4, 4)] * 3),
            ),
            min_size=1,
            max_size=10,
        ),
        angles=st.tuples(*[st.floats(-4, 4)] * 2),
        seed=st.integers(0, 3),
    )
    def test_any_circuit_is_read_as_it_was_written(
        self, gates: list[Any], angles: tuple[float, float], seed: int, manila: BackendV2
    ) -> None:
        a, b = Parameter("theta_2"), Parameter("theta_10")
        circuit = QuantumCircuit(3)
        circuit.ry(a, 0)
        circuit.rx(b, 1)
        for name, qubits, (x, y, offset) in gates:
            angle = [x * a + y * b + offset] if name in ("rx", "ry", "rz", "rzz") else []
            getattr(circuit, name)(*angle, *qubits[: 2 if name in ("cx", "cz", "rzz", "swap") else 1])
        isa = to_isa(Circuit.from_qiskit(circuit, ["theta_2", "theta_10"]), manila, seed=seed)
        again = isa_from_json(isa_to_json(isa))
        values = dict(zip(["theta_2", "theta_10"], angles, strict=True))
        values = {name: value for name, value in values.items() if name in {p.name for p in isa.parameters}}
        assert places(again) == places(isa)
        assert unitary(again, values).equiv(unitary(isa, values))
        assert isa_to_json(again) == isa_to_json(isa)

    def test_eleven_inputs_keep_their_names(self) -> None:
        circuit = entangled_circuit(11, layers=1)
        text = isa_to_json(to_isa(circuit, FakeKolkataV2()))
        again, angles = isa_from_json(text), np.random.default_rng(1).uniform(-3, 3, (6, 11))
        assert {p.name for p in again.parameters} == set(circuit.inputs)
        assert again.num_qubits == 27
        pub = (_compact(again), circuit.bindings(angles))
        bits = StatevectorSampler(seed=1).run([pub], shots=2000).result()[0].data.meas.to_bool_array(order="little")
        exact = AerBackend().expectations(circuit, angles).values
        assert np.abs(1 - 2 * bits.mean(-2) - exact).max() < 5 / math.sqrt(2000)

    def test_it_is_still_for_the_device(self, small: QuantumCircuit, manila: BackendV2) -> None:
        backend = RuntimeBackend(manila, shots=10)
        ready = backend.prepare(SMALL, isa_from_json(isa_to_json(small)))
        assert ready.seconds == execution_seconds(small, manila)
        assert backend.prepare(SMALL) is ready

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "null",
            "3",
            "{}",
            '{"qubits": 2, "bits": 1}',
            '{"qubits": -1, "bits": 1, "instructions": []}',
            '{"qubits": 1e400, "bits": 1, "instructions": []}',
            '{"qubits": "two", "bits": 1, "instructions": []}',
            '{"qubits": 2, "bits": 1, "instructions": 7}',
            '{"qubits": 2, "bits": 1, "instructions": [["sx", [0], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["nonsense", [0], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [[["sx"], [0], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["sx", [2], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["sx", [0, 1, 1], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["cx", [0], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["rz", [0], [], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["rz", [0], [[0.1, []]], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["rz", [0], [["x", {}]], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["rz", [0], [[0.1, {"a": "b"}]], []]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["measure", [0], [], [1]]]}',
            '{"qubits": 2, "bits": 1, "instructions": [["measure", [0], [], []]]}',
        ],
    )
    def test_damaged_text(self, text: str) -> None:
        with pytest.raises(JournalError, match="^circuit: found no circuit of a device .*; expected one as it was"):
            isa_from_json(text)

    @settings(max_examples=60)
    @given(data=st.data())
    def test_text_that_is_cut_or_changed_raises_nothing_else(self, data: st.DataObject, small: QuantumCircuit) -> None:
        text = isa_to_json(small)
        place = data.draw(st.integers(0, len(text) - 1))
        changed = text[:place] + data.draw(st.sampled_from(["", "x", "-", '"', "]", "0", "null"])) + text[place + 1 :]
        for damaged in (text[:place], changed):
            try:
                isa_from_json(damaged)
            except JournalError:
                continue

    def test_another_kind_of_angle_is_not_written(self) -> None:
        isa = QuantumCircuit(1, 1)
        isa.rz(Parameter("a") ** 2, 0)
        with pytest.raises(ValueError, match="expected a sum of multiples of inputs"):
            isa_to_json(isa)


def _compact(isa: QuantumCircuit) -> QuantumCircuit:
    """The circuit without the qubits that it does not use, so that it can be simulated whole."""
    of_gates = {isa.find_bit(q).index for i in isa.data for q in i.qubits if len(i.qubits) < 3}
    used = sorted({*places(isa).values(), *of_gates})
    small = QuantumCircuit(len(used))
    small.add_register(isa.cregs[0])
    for i in isa.data:
        if i.operation.name != "barrier":
            qubits = [used.index(isa.find_bit(q).index) for q in i.qubits]
            small.append(i.operation, qubits, [isa.find_bit(bit).index for bit in i.clbits])
    return small


class TestDevice:
    @pytest.mark.parametrize("mitigated", [False, True])
    def test_calibration_measures_the_same_qubits_into_the_same_bits(
        self, mitigated: bool, small: QuantumCircuit, manila: BackendV2
    ) -> None:
        settings = RuntimeSettings(mitigate_readout=mitigated, initial_layout=(3, 1, 2))
        ready = RuntimeBackend(manila, settings=settings).prepare(SMALL)
        if not mitigated:
            assert ready.calibration is None
            return
        assert ready.calibration is not None
        assert places(ready.calibration) == places(ready.isa)
        assert dict(ready.calibration.count_ops()) == {"measure": 3, "rz": 3}
        assert [parameter.name for parameter in ready.calibration.parameters] == ["idle"]
        assert ready.calibration.global_phase == 0
        assert [(r.name, r.size) for r in ready.calibration.cregs] == [("meas", 3)]

    def test_it_is_left_alone_where_it_is_copied(self, small: QuantumCircuit) -> None:
        before = isa_to_json(small)
        calibration_circuit(small)
        assert isa_to_json(small) == before

    def test_broken_qubits_and_couplings_are_avoided(self) -> None:
        """The targets of IBM's devices do not have the instructions of what is broken."""
        star = [[2, q] for q in (0, 1, 3, 4, 5)] + [[0, 1], [3, 4], [4, 5]]
        device = _without(GenericBackendV2(6, ["cx", "rz", "sx", "x"], coupling_map=star, seed=1), 2)
        for seed in range(5):
            isa = to_isa(SMALL, device, seed=seed)
            assert {isa.find_bit(q).index for i in isa.data for q in i.qubits} == {3, 4, 5}
            assert set(places(isa).values()) == {3, 4, 5}

    def test_the_layout_may_not_name_them(self) -> None:
        device = _without(GenericBackendV2(4, ["cx", "rz", "sx", "x"], seed=1), 2)
        with pytest.raises(BackendError) as caught:
            to_isa(SMALL, device, initial_layout=[0, 1, 2])
        assert str(caught.value) == (
            "generic_backend_4q: found qubits [2] in the initial layout, which it cannot measure now"
        )

    def test_the_layout_may_not_be_cut_in_two(self) -> None:
        """Qiskit leaks a TypeError here, or says it cannot."""
        device = GenericBackendV2(
            6, ["cx", "rz", "sx", "x"], coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], seed=1
        )
        with pytest.raises(BackendError, match=r"^generic_backend_6q: the circuit cannot be transpiled for it \("):
            to_isa(SMALL, _without(device, 3), initial_layout=[0, 1, 5])

    def test_layouts(self) -> None:
        assert checked_layout(None) is None
        assert checked_layout(np.array([3, 1])) == (3, 1)
        assert RuntimeSettings(initial_layout=[3, 1]).initial_layout == (3, 1)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected different qubits"):
            RuntimeSettings(initial_layout=(1, 1))


def _without(device: GenericBackendV2, qubit: int) -> BackendV2:
    """The device with a qubit that takes no instruction."""
    target = Target(num_qubits=device.num_qubits)
    for name in device.target.operation_names:
        kept = {qubits: p for qubits, p in device.target[name].items() if qubits is not None and qubit not in qubits}
        target.add_instruction(device.target.operation_from_name(name), kept)
    device._target = target
    return device


class TestSeconds:
    @pytest.mark.parametrize(
        ("kind", "delay"), [(FakeFez, 250e-6), (FakeKolkataV2, 100e-6), (FakeMiami, 4e-3)], ids=lambda k: str(k)
    )
    def test_the_documented_formula(self, kind: Any, delay: float) -> None:
        """Repetition delay, the scheduled circuit with its measurement, and the reset of the slowest qubit."""
        device = kind()
        isa = to_isa(SMALL, device)
        target = device.target
        ends = dict.fromkeys(range(device.num_qubits), 0.0)
        for i in isa.data:
            qubits = tuple(isa.find_bit(q).index for q in i.qubits)
            end = max(ends[q] for q in qubits)
            end += 0.0 if i.operation.name == "barrier" else target[i.operation.name][qubits].duration or 0.0
            ends.update(dict.fromkeys(qubits, end))
        length = max(ends.values())
        used = places(isa).values()
        reset = max(target["reset"][(q,)].duration for q in used) if "reset" in target.operation_names else 0.0
        assert device.configuration().default_rep_delay == pytest.approx(delay)
        assert length > target["measure"][(next(iter(used)),)].duration
        assert execution_seconds(isa, device) == pytest.approx(delay + length + reset, rel=1e-3)
        prepared = RuntimeBackend(device).prepare(SMALL)
        assert prepared.job_seconds(10, 1000) == pytest.approx(2 + 10_000 * (delay + length + reset), rel=1e-3)

    def test_measurement_is_in_it(self, manila: BackendV2, small: QuantumCircuit) -> None:
        empty = execution_seconds(calibration_circuit(small), manila)
        assert empty > manila.configuration().default_rep_delay + manila.target["measure"][(0,)].duration * 0.9
        assert empty < execution_seconds(small, manila)

    def test_a_device_that_does_not_tell(self) -> None:
        """It is simulated all the same, but its time cannot be estimated."""
        device = FakePrague()
        message = (
            "fake_prague: found no default_rep_delay in its configuration; expected one, without which the time of a "
            "job cannot be told before it has run"
        )
        backend = RuntimeBackend(device)
        for call in (
            lambda: execution_seconds(to_isa(SMALL, device), device),
            lambda: estimate(backend, SMALL, 10, 100),
        ):
            with pytest.raises(BackendError) as caught:
                call()
            assert str(caught.value) == message
        prepared = backend.prepare(SMALL)
        assert math.isnan(prepared.seconds)
        assert prepared.rows_per_job(1000, Limits()) == 10_000
        with pytest.raises(InputError, match=r"^fake_prague: found 1000 executions for one text at 1000 shots; exp"):
            prepared.rows_per_job(1000, Limits(executions=999))

    def test_a_simulator_has_no_configuration_to_tell_it(self) -> None:
        with pytest.raises(BackendError, match="found no default_rep_delay"):
            execution_seconds(SMALL.to_qiskit(), AerSimulator())

    def test_an_instruction_without_duration(self, small: QuantumCircuit) -> None:
        device = FakeManilaV2()
        wide = QuantumCircuit(5)
        wide.h(0)
        with pytest.raises(BackendError, match="^fake_manila: the length of the circuit cannot be told"):
            execution_seconds(wide, device)


def prepared(*, seconds: float = 1e-3, gates: int = 1, calibrated: bool = False) -> Prepared:
    isa = QuantumCircuit(2, 2)
    for _ in range(gates):
        isa.cx(0, 1)
    isa.sx(0)
    isa.rz(0.5, 0)
    isa.barrier()
    isa.measure([0, 1], [0, 1])
    return Prepared(isa, calibration_circuit(isa) if calibrated else None, seconds, "device")


class TestLimits:
    def test_executions(self) -> None:
        assert prepared(seconds=math.nan).rows_per_job(1024, Limits()) == 10_000_000 // 1024
        assert prepared(seconds=math.nan).rows_per_job(1024, Limits(executions=1024)) == 1

    def test_seconds_are_those_of_a_slow_device(self) -> None:
        """10 million executions of 4 ms would be eleven hours."""
        ready = RuntimeBackend(FakeMiami()).prepare(SMALL)
        rows = ready.rows_per_job(1000, Limits())
        assert ready.job_seconds(10_000, 1000) > 11 * 3600
        assert ready.job_seconds(rows, 1000) <= 2.5 * 3600 < ready.job_seconds(rows + 1, 1000)

    def test_calibrations_take_their_place(self) -> None:
        ready = prepared(calibrated=True)
        assert ready.calibrations(1024) == 16
        assert ready.calibrations(1000) == 17
        assert ready.calibrations(100_000) == 1
        assert ready.executions(3, 1024) == 19 * 1024
        assert ready.rows_per_job(1024, Limits(executions=19 * 1024)) == 3
        rows = ready.rows_per_job(1024, Limits(seconds=102.0))
        assert ready.job_seconds(rows, 1024) <= 102 < ready.job_seconds(rows + 1, 1024)

    def test_control_instructions_are_weighed_as_documented(self) -> None:
        isa = prepared(gates=3).isa
        assert control_instructions(isa) == 50 + 3 * 5 + 2 + 1 + 10
        assert prepared(gates=3, seconds=math.nan).rows_per_job(1, Limits()) == 26_800_000 // 78
        assert prepared(gates=3).rows_per_job(1, Limits(control_instructions=78)) == 1
        with pytest.raises(BackendError, match="found 78 control instructions on one qubit; expected at most 77$"):
            prepared(gates=3).rows_per_job(1, Limits(control_instructions=77))

    def test_two_qubit_gates(self) -> None:
        assert prepared(gates=3).rows_per_job(1, Limits(two_qubit_gates=3)) > 1
        with pytest.raises(BackendError, match="^device: found 3 two-qubit gates; expected at most 2$"):
            prepared(gates=3).rows_per_job(1, Limits(two_qubit_gates=2))

    @pytest.mark.parametrize(
        ("ready", "limits", "message"),
        [
            (
                prepared(),
                Limits(executions=999),
                "device: found 1000 executions and 3 s for one text at 1000 shots; expected at most 999 and 9000 s in "
                "a job; take fewer shots",
            ),
            (
                prepared(seconds=9.0),
                Limits(),
                "device: found 1000 executions and 9002 s for one text at 1000 shots; expected at most 10000000 and "
                "9000 s in a job; take fewer shots",
            ),
            (
                prepared(calibrated=True),
                Limits(executions=17_000),
                "device: found 18000 executions and 20 s for one text at 1000 shots, with those of the calibration; "
                "expected at most 17000 and 9000 s in a job; take fewer shots",
            ),
        ],
    )
    def test_one_text_that_does_not_fit(self, ready: Prepared, limits: Limits, message: str) -> None:
        with pytest.raises(InputError) as caught:
            ready.rows_per_job(1000, limits)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        "options",
        [
            {"executions": 0},
            {"executions": 10_000_001},
            {"executions": 1.5},
            {"control_instructions": 0},
            {"two_qubit_gates": -1},
            {"seconds": 2},
            {"seconds": math.inf},
            {"seconds": math.nan},
        ],
    )
    def test_what_can_be_no_limit(self, options: Any) -> None:
        with pytest.raises(InputError, match=f"{next(iter(options))}: found .*; expected"):
            Limits(**options)


class TestEstimate:
    def test_plain(self, manila: BackendV2) -> None:
        backend = RuntimeBackend(manila, limits=Limits(executions=100_000))
        each = backend.prepare(SMALL).seconds
        assert estimate(backend, SMALL, 250, 1000) == Estimate(
            device="fake_manila",
            texts=250,
            shots=1000,
            jobs=3,
            executions=250_000,
            execution_seconds=each,
            seconds=pytest.approx(3 * 2 + 250_000 * each),
        )

    def test_twirled_shots_are_rounded_up_and_calibrations_counted(self, manila: BackendV2) -> None:
        settings = RuntimeSettings(mitigate_readout=True)
        backend = RuntimeBackend(manila, settings=settings, limits=Limits(executions=100_000))
        found = estimate(backend, SMALL, 250, 1000)
        # 1024 shots, so 16 calibrations and 81 texts in a job
        assert (found.shots, found.jobs) == (1024, 4)
        assert found.executions == (250 + 4 * 16) * 1024
        assert found.seconds == pytest.approx(4 * 2 + found.executions * found.execution_seconds)

    def test_nothing_costs_nothing(self, manila: BackendV2) -> None:
        found = estimate(RuntimeBackend(manila), SMALL, 0, 1000)
        assert (found.jobs, found.executions, found.seconds) == (0, 0, 0)

    @pytest.mark.parametrize(("texts", "shots"), [(-1, 10), (1, 0), (1, 2**24 + 1), (1.5, 10)])
    def test_numbers_out_of_range(self, texts: Any, shots: Any, manila: BackendV2) -> None:
        with pytest.raises(InputError, match="(texts|shots): found .*; expected a whole number"):
            estimate(RuntimeBackend(manila), SMALL, texts, shots)

    @given(st.integers(1, 2**24))
    def test_rounded_shots_stay_as_they_are(self, asked: int) -> None:
        """What is run is what was estimated: so many randomizations of so many shots, as the client is told."""
        twirled = RuntimeSettings(twirl_gates=True)
        shots, number = twirled.shots(asked), twirled.randomizations(asked)
        assert asked <= shots < asked + number
        assert (twirled.shots(shots), twirled.randomizations(shots)) == (shots, number)
        assert shots % number == 0
        assert number % 32 == 0
        assert shots // number <= 64
        assert RuntimeSettings().shots(asked) == asked
