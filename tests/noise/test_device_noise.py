"""What a calibration says, read from devices and noise models, kept in a file, and made worse."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import BackendV2, QubitProperties
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit_aer.noise import NoiseModel, PauliLindbladError, ReadoutError, depolarizing_error, pauli_error
from qiskit_aer.noise import amplitude_damping_error as damping
from qiskit_ibm_runtime.fake_provider import FakeFez, FakeManilaV2, FakeSherbrooke, FakeTorino
from students import entangled_circuit

from qdinfer import BackendError, InputError
from qdinfer.backends.isa import isa_from_json, isa_to_json, scheduled, to_isa
from qdinfer.noise import DeviceNoise, GateNoise, QubitNoise

CIRCUIT = entangled_circuit(3)


def read(backend: BackendV2, *, idling: bool = True) -> DeviceNoise:
    return DeviceNoise.from_backend(backend, CIRCUIT, to_isa(CIRCUIT, backend), idling=idling)


def changed(noise: DeviceNoise, **changes: Any) -> DeviceNoise:
    return msgspec.structs.replace(noise, **changes)


@pytest.fixture(scope="module")
def manila() -> DeviceNoise:
    return read(FakeManilaV2())


class TestDevices:
    @pytest.mark.parametrize(
        ("device", "gates", "date"),
        [
            pytest.param(FakeFez, {"cz", "sx", "x", "rz"}, "2025-02-26", id="fez"),
            pytest.param(FakeTorino, {"cz", "sx", "x", "rz"}, "2025-02-26", id="torino"),
            pytest.param(FakeSherbrooke, {"ecr", "sx", "x", "rz"}, "2025-02-26", id="sherbrooke"),
        ],
    )
    def test_is_read_as_the_device_reports(self, device: type[BackendV2], gates: set[str], date: str) -> None:
        backend = device()
        noise = read(backend)
        assert noise.device == backend.name
        assert noise.source == "target"
        assert noise.calibrated.startswith(date)
        assert {gate.gate for gate in noise.gates} <= gates
        assert any(len(gate.qubits) == 2 for gate in noise.gates)
        for gate in noise.gates:
            reported = backend.target[gate.gate][gate.qubits]
            assert (gate.error, gate.seconds) == (reported.error, reported.duration)
            assert gate.paulis is None
        for qubit in noise.qubits:
            reported = backend.target.qubit_properties[qubit.qubit]
            assert (qubit.t1, qubit.t2) == (reported.t1, reported.t2)
            properties = backend.properties().qubit_property(qubit.qubit)
            assert qubit.read_1_as_0 == properties["prob_meas0_prep1"][0]
            assert qubit.read_0_as_1 == properties["prob_meas1_prep0"][0]
        assert {*noise.measured} <= {qubit.qubit for qubit in noise.qubits}

    def test_a_device_without_properties_reads_symmetrically_and_was_calibrated_now(self) -> None:
        backend = GenericBackendV2(4, seed=1)
        noise = read(backend)
        assert (datetime.now().astimezone() - datetime.fromisoformat(noise.calibrated)).total_seconds() < 600
        for qubit in noise.qubits:
            assert qubit.read_1_as_0 == qubit.read_0_as_1 == backend.target["measure"][(qubit.qubit,)].error > 0

    def test_a_device_without_noise_has_none(self) -> None:
        noise = read(GenericBackendV2(4, seed=1, noise_info=False), idling=False)
        assert {*noise.qubits} == {QubitNoise(qubit.qubit) for qubit in noise.qubits}
        for gate in noise.gates:
            np.testing.assert_array_equal(
                noise.after(gate.gate, gate.qubits, twirled=False), np.eye(4 ** len(gate.qubits))
            )

    def test_idling_needs_durations(self) -> None:
        with pytest.raises(BackendError, match="cannot be scheduled"):
            read(GenericBackendV2(4, seed=1, noise_info=False))

    def test_a_device_that_reports_nonsense_is_refused(self) -> None:
        backend = GenericBackendV2(4, seed=1)
        backend.target.qubit_properties = [QubitProperties(t1=-1.0, t2=1e-4)] * 4
        with pytest.raises(InputError, match=r"noise: found t1 = -1.0 of qubit \d; expected seconds above 0"):
            read(backend, idling=False)


class TestScheduling:
    def waiting(self) -> tuple[BackendV2, QuantumCircuit]:
        """Qubit 0 waits for qubit 1, and qubit 2 for all before its first gate."""
        backend = FakeManilaV2()
        isa = QuantumCircuit(5, 3)
        for _ in range(4):
            isa.sx(1)
        isa.sx(0)
        isa.cx(0, 1)
        isa.cx(0, 1)
        isa.cx(1, 2)
        isa.rz(Parameter("theta_0"), 2)
        isa.sx(0)
        isa.barrier()
        isa.measure([0, 1, 2], [0, 1, 2])
        return backend, isa

    def test_qubits_wait_after_their_first_gate_and_not_before(self) -> None:
        backend, isa = self.waiting()
        found = scheduled(isa, backend)
        seen: set[int] = set()
        waited = []
        for instruction in found.data:
            qubits = {found.find_bit(qubit).index for qubit in instruction.qubits}
            if instruction.name == "delay":
                assert qubits <= seen  # |0⟩ does not decay, and twirled relaxation would heat it
                assert instruction.operation.unit == "s"
                assert instruction.operation.duration > 0
                waited += [*qubits]
            elif instruction.name != "barrier":
                seen |= qubits
        # Qubit 0 while 1 and 2 are entangled, or its gates come late and it does not: 2 never does.
        assert waited == [0]

    def test_nothing_waits_after_its_measurement(self) -> None:
        backend = FakeManilaV2()
        isa = QuantumCircuit(5, 2)
        isa.sx(0)
        isa.measure(0, 0)
        for _ in range(100):
            isa.sx(1)
        isa.measure(1, 1)
        names = [i.name for i in scheduled(isa, backend).data if isa.find_bit(i.qubits[0]).index == 0]
        assert names.index("measure") == len(names) - 1

    def test_the_gates_stay(self) -> None:
        backend = FakeManilaV2()
        isa = to_isa(CIRCUIT, backend)
        found = scheduled(isa, backend)
        values = dict(zip(CIRCUIT.inputs, (0.3, -1.0, 2.0), strict=True))

        def state(circuit: QuantumCircuit) -> Statevector:
            bare = circuit.remove_final_measurements(inplace=False)
            bare.data = [i for i in bare.data if i.name != "delay"]
            return Statevector(bare.assign_parameters({p: values[p.name] for p in bare.parameters}))

        assert state(found).equiv(state(isa))

    def test_delays_are_read_as_they_were_written(self) -> None:
        backend, isa = self.waiting()
        written = isa_to_json(scheduled(isa, backend))
        again = isa_from_json(written)
        assert isa_to_json(again) == written
        (delay,) = [i.operation for i in again.data if i.name == "delay"]
        assert delay.unit == "s"
        assert 0 < delay.duration < 1e-5

    def test_without_idling_nothing_waits(self) -> None:
        noise = read(FakeManilaV2(), idling=False)
        assert "delay" not in {row[0] for row in noise.isa["instructions"]}


class TestNoiseModels:
    def test_errors_everywhere_and_here(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), ["sx", "x"])
        model.add_quantum_error(pauli_error([("X", 0.1), ("I", 0.9)]), "sx", [1])
        model.add_all_qubit_quantum_error(depolarizing_error(0.05, 2), "cx")
        model.add_quantum_error(pauli_error([("IX", 0.2), ("ZY", 0.1), ("II", 0.7)]), "cx", [0, 1])
        noise = DeviceNoise.from_noise_model(model, CIRCUIT, name="mine")
        found = {(gate.gate, gate.qubits): gate.paulis for gate in noise.gates}
        assert (noise.device, noise.source) == ("mine", "noise model")
        assert found["sx", (1,)] == pytest.approx({"X": 0.1})
        assert found["sx", (0,)] == pytest.approx({"X": 0.0025, "Y": 0.0025, "Z": 0.0025})
        assert found["cx", (0, 1)] == pytest.approx({"XI": 0.2, "YZ": 0.1})  # the gate's first qubit first
        assert found["cx", (1, 2)] == pytest.approx(dict.fromkeys(found["cx", (1, 2)], 0.05 / 16))
        assert len(found["cx", (1, 2)]) == 15
        assert found["rz", (0,)] == {}
        assert {qubit.qubit for qubit in noise.qubits} == {0, 1, 2}

    def test_readout_errors_everywhere_and_here(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.3, 0.7]]))
        model.add_readout_error(ReadoutError([[0.8, 0.2], [0.05, 0.95]]), [1], warnings=False)
        noise = DeviceNoise.from_noise_model(model, CIRCUIT)
        everywhere, here = (None, None, 0.3, 0.1), (None, None, 0.05, 0.2)
        assert noise.qubits == (QubitNoise(0, *everywhere), QubitNoise(1, *here), QubitNoise(2, *everywhere))

    def test_pauli_lindblad_errors(self) -> None:
        model = NoiseModel()
        lindblad = PauliLindbladError(["ZX", "IY"], [0.1, 0.02])
        model.add_all_qubit_quantum_error(lindblad, "cx")
        noise = DeviceNoise.from_noise_model(model, CIRCUIT)
        y, zx = (1 - np.exp(-0.04)) / 2, (1 - np.exp(-0.2)) / 2
        expected = {"XZ": zx * (1 - y), "YI": y * (1 - zx), "ZZ": y * zx}
        for gate in noise.gates:
            assert gate.paulis == (pytest.approx(expected) if gate.gate == "cx" else {})

    def test_other_errors_are_twirled(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(damping(0.1), "sx")
        noise = DeviceNoise.from_noise_model(model, CIRCUIT)
        found = next(gate for gate in noise.gates if gate.gate == "sx")
        x, z = np.sqrt(0.9), 0.9
        expected = {"X": (1 - z) / 4, "Y": (1 - z) / 4, "Z": (1 + z - 2 * x) / 4}
        assert found.paulis == pytest.approx(expected)

    def test_no_error_at_all(self) -> None:
        noise = DeviceNoise.from_noise_model(NoiseModel(), CIRCUIT)
        assert all(gate.paulis == {} for gate in noise.gates)

    def test_an_error_before_measurement_is_refused(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.1, 1), "measure")
        with pytest.raises(BackendError, match="more than single-qubit readout error"):
            DeviceNoise.from_noise_model(model, CIRCUIT)

    def test_noise_on_gates_that_no_circuit_can_have_is_refused(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.1, 3), "ccx")
        with pytest.raises(BackendError, match="found noise on"):
            DeviceNoise.from_noise_model(model, CIRCUIT)


class TestFile:
    def test_comes_back(self, manila: DeviceNoise, tmp_path: Path) -> None:
        manila.save(tmp_path / "noise.json")
        assert DeviceNoise.load(tmp_path / "noise.json") == manila

    def test_paulis_come_back(self, tmp_path: Path) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), "cx")
        noise = DeviceNoise.from_noise_model(model, CIRCUIT)
        noise.save(tmp_path / "noise.json")
        assert DeviceNoise.load(tmp_path / "noise.json") == noise

    def test_can_be_read_by_people_and_is_dated(self, manila: DeviceNoise, tmp_path: Path) -> None:
        manila.save(tmp_path / "noise.json")
        text = (tmp_path / "noise.json").read_text()
        content = json.loads(text)
        assert text.startswith('{\n  "format": 1,\n  "device": "fake_manila",\n  "calibrated": "2024-05-27T')
        assert {*content["qubits"][0]} == {"qubit", "t1", "t2", "read_1_as_0", "read_0_as_1"}
        assert datetime.fromisoformat(content["calibrated"]).tzinfo is not None

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(b"", "found no noise file", id="empty"),
            pytest.param(b"[]", "found no noise file", id="list"),
            pytest.param(b"\xff\xfe", "found no noise file", id="bytes"),
            pytest.param(b'{"format": 1}', "missing required field `device`", id="fields"),
        ],
    )
    def test_other_files_are_refused(self, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "noise.json").write_bytes(content)
        with pytest.raises(InputError, match=re.escape(message)):
            DeviceNoise.load(tmp_path / "noise.json")

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            pytest.param(("format",), 2, "found format 2; expected 1: upgrade qdinfer", id="newer"),
            pytest.param(("humidity",), 2, "unknown field `humidity`", id="unknown"),
            pytest.param(("qubits", 0, "t1"), 0, "found t1 = 0.0 of qubit", id="t1"),
            pytest.param(("qubits", 0, "t2"), -1e-6, "found t2 = -1e-06 of qubit", id="t2"),
            pytest.param(("qubits", 0, "read_1_as_0"), 1.5, "expected a probability", id="read"),
            pytest.param(("qubits", 0, "qubit"), 99, "expected a gate on one or two of the qubits", id="qubit"),
            pytest.param(("qubits", 0, "t1"), "long", "Expected `float | null`", id="text"),
            pytest.param(("gates", 0, "error"), 1.1, "expected a probability and a duration", id="error"),
            pytest.param(("gates", 0, "seconds"), -1, "expected a probability and a duration", id="seconds"),
            pytest.param(("gates", 0, "qubits"), [0, 1, 2], "expected a gate on one or two", id="three"),
            pytest.param(("gates", 0, "qubits"), [1, 1], "expected a gate on one or two", id="same"),
            pytest.param(("gates", 0, "paulis"), {"II": 0.1}, "not all I", id="identity"),
            pytest.param(("gates", 0, "paulis"), {"A": 0.1}, "probabilities of Pauli strings", id="letter"),
            pytest.param(("gates", 0, "paulis"), {"XXX": 0.1}, "probabilities of Pauli strings", id="length"),
            pytest.param(("gates", 0, "paulis"), {"XX": -0.1}, "probabilities of Pauli strings", id="negative"),
            pytest.param(("gates", 0, "paulis"), {"XX": 0.6, "YY": 0.6}, "a sum of at most 1", id="sum"),
            pytest.param(("isa",), {}, "found no circuit of a device in isa", id="no circuit"),
            pytest.param(("isa", "instructions"), [], "found no circuit of a device in isa", id="no measurement"),
            pytest.param(("isa", "instructions"), 7, "found no circuit of a device in isa", id="no instructions"),
            pytest.param(("isa", "instructions"), [["measure", [], [], []]], "no circuit of a device", id="no bit"),
            pytest.param(
                ("isa", "instructions"), [["measure", [1], [], [1]]], "each of its qubits once", id="other bit"
            ),
            pytest.param(
                ("isa", "instructions"),
                [["measure", [1], [], [0]], ["measure", [1], [], [1]]],
                "each of its qubits once",
                id="twice",
            ),
            pytest.param(("isa", "instructions"), [["measure", [77], [], [0]]], "nothing of qubit 77", id="unread"),
        ],
    )
    def test_what_cannot_be_is_refused(
        self, path: tuple[str | int, ...], value: object, message: str, manila: DeviceNoise, tmp_path: Path
    ) -> None:
        content = json.loads(msgspec.json.encode(manila))
        content["gates"].sort(key=lambda gate: -len(gate["qubits"]))  # the first is on two qubits
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (tmp_path / "noise.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=re.escape(message)) as error:
            DeviceNoise.load(tmp_path / "noise.json")
        assert str(error.value).startswith(str(tmp_path / "noise.json"))

    def test_a_gate_twice_is_refused(self, manila: DeviceNoise) -> None:
        with pytest.raises(InputError, match="twice"):
            changed(manila, gates=(*manila.gates, manila.gates[0]))
        with pytest.raises(InputError, match="twice"):
            changed(manila, qubits=(*manila.qubits, manila.qubits[0]))

    def test_a_large_file_is_not_read(self, tmp_path: Path) -> None:
        with open(tmp_path / "noise.json", "wb") as file:
            file.truncate(2**24 + 1)
        with pytest.raises(InputError, match="over 16777216 bytes"):
            DeviceNoise.load(tmp_path / "noise.json")


class TestAfter:
    def test_a_gate_that_is_not_known_is_refused(self, manila: DeviceNoise) -> None:
        with pytest.raises(InputError, match=r"found nothing of cz on qubits \[0, 1\]; expected noise of the circuit"):
            manila.after("cz", (0, 1), twirled=False)
        with pytest.raises(InputError, match="found nothing of qubit 77"):
            manila.after("delay", (77,), 1e-6, twirled=False)
        with pytest.raises(InputError, match="found nothing of qubit 77"):
            manila.reading(77)

    def test_twirled_relaxation_is_a_pauli_channel(self, manila: DeviceNoise) -> None:
        (qubit,) = manila.measured[:1]
        whole = manila.after("delay", (qubit,), 1e-5, twirled=False)
        assert whole[0, 3] > 0
        np.testing.assert_array_equal(manila.after("delay", (qubit,), 1e-5, twirled=True), np.diag(np.diagonal(whole)))


class TestScaled:
    @pytest.mark.parametrize("factor", [0, -1, float("inf"), float("nan")])
    def test_other_factors_are_refused(self, factor: float, manila: DeviceNoise) -> None:
        with pytest.raises(InputError, match="factor: found .*; expected a positive number"):
            manila.scaled(factor)

    def test_rates_grow(self, manila: DeviceNoise) -> None:
        twice = manila.scaled(2)
        assert twice.device == "fake_manila × 2"
        for one, other in zip(manila.gates, twice.gates, strict=True):
            assert (other.error, other.seconds) == (2 * one.error, one.seconds)
        for one, other in zip(manila.qubits, twice.qubits, strict=True):
            assert one.t1 is not None
            assert other.t1 == one.t1 / 2
            assert other.read_1_as_0 == 2 * one.read_1_as_0
        assert twice.isa == manila.isa

    def test_one_changes_nothing(self) -> None:
        bad = DeviceNoise(
            1,
            "bad",
            "2026-01-01T00:00:00+00:00",
            "target",
            "0",
            (QubitNoise(0, read_1_as_0=0.8, read_0_as_1=0.7),),
            (GateNoise("x", (0,), paulis={"X": 0.9, "Y": 0.1}),),
            {"instructions": [["measure", [0], [], [0]]]},
        )
        assert changed(bad.scaled(1), device="bad") == bad
        assert bad.scaled(3).gates == bad.gates
        assert bad.scaled(0.5).gates[0].paulis == pytest.approx({"X": 0.45, "Y": 0.05})

    def test_stops_at_a_coin(self, manila: DeviceNoise) -> None:
        worst = manila.scaled(1e9)
        for qubit in worst.qubits:
            np.testing.assert_allclose(worst.reading(qubit.qubit)[[0, 3], 3], 0)
        for gate in worst.gates:
            if gate.seconds:
                found = worst.after(gate.gate, gate.qubits, twirled=True)
                np.testing.assert_allclose(found[1:, 1:], 0, atol=1e-9)

    def test_paulis_stop_where_nothing_is_left(self) -> None:
        model = NoiseModel()
        model.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), "sx")
        noise = DeviceNoise.from_noise_model(model, CIRCUIT)
        gate = next(gate for gate in noise.gates if gate.gate == "sx")
        np.testing.assert_allclose(
            noise.scaled(3).after("sx", gate.qubits, twirled=False), np.diag([1, 0.97, 0.97, 0.97])
        )
        np.testing.assert_allclose(noise.scaled(1e3).after("sx", gate.qubits, twirled=False)[1:, 1:], 0, atol=1e-12)
