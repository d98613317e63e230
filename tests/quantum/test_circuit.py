"""Circuits: in and out of OpenQASM, their inputs by name, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from students import entangled_circuit, parts

from qdinfer import Circuit, CircuitError, InputError
from qdinfer.circuit import BASIS, affine
from qdinfer.compiler import statevector_expectations

HEADER = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
ONE_INPUT = HEADER + "input float[64] a;\nqubit[2] q;\n"
NAMES = ("a", "b")

GATES = {  # name → (qubits, angles)
    **dict.fromkeys(("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg", "id"), (1, 0)),
    **dict.fromkeys(("rx", "ry", "rz", "p"), (1, 1)),
    "r": (1, 2),
    "u": (1, 3),
    "cu": (2, 4),
    **dict.fromkeys(("cx", "cy", "cz", "ch", "swap", "iswap", "ecr", "dcx"), (2, 0)),
    **dict.fromkeys(("crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "rzx"), (2, 1)),
    "ccx": (3, 0),
    "ccz": (3, 0),
    "cswap": (3, 0),
}


@st.composite
def circuits(draw: st.DrawFn, num_qubits: int = 3) -> QuantumCircuit:
    """Gates of all kinds; angles are numbers, inputs, or sums of multiples of inputs. Both inputs are used."""
    inputs = [Parameter(name) for name in NAMES]
    number = st.floats(-6.3, 6.3)
    circuit = QuantumCircuit(num_qubits)
    for parameter in inputs:
        circuit.ry(parameter, draw(st.integers(0, num_qubits - 1)))
    for name in draw(st.lists(st.sampled_from(sorted(GATES)), max_size=8)):
        size, angles = GATES[name]
        places = draw(st.permutations(range(num_qubits)))[:size]
        one = st.one_of(
            number,
            st.sampled_from(inputs),
            st.builds(lambda p, k, b: k * p + b, st.sampled_from(inputs), st.sampled_from([2, -0.5, 1.25]), number),
            st.builds(lambda k, b: k * inputs[0] - inputs[1] / 3 + b, st.sampled_from([2, -1]), number),
        )
        getattr(circuit, name)(*(draw(one) for _ in range(angles)), *places)
    return circuit


def bound(circuit: QuantumCircuit, values: dict[str, float]) -> Operator:
    return Operator(circuit.assign_parameters({p: values[p.name] for p in circuit.parameters}))


@settings(max_examples=60, database=None)
@given(circuits())
def test_text_keeps_the_unitary(original: QuantumCircuit) -> None:
    circuit = Circuit.from_qiskit(original, NAMES)
    values = {"a": 0.73, "b": -2.11}
    assert bound(circuit.to_qiskit(), values).equiv(bound(original, values), atol=1e-9)
    assert set(circuit.to_qiskit().count_ops()) <= set(BASIS)
    # The text is a fixed point: reading and writing it again changes nothing.
    assert Circuit.from_qiskit(circuit.to_qiskit(), NAMES).qasm == circuit.qasm


@given(st.floats(-1e3, 1e3))
@settings(max_examples=50, database=None)
def test_angle_literals_are_exact_to_the_last_bit(angle: float) -> None:
    original = QuantumCircuit(1)
    original.rx(Parameter("a"), 0)
    original.rz(angle, 0)
    read = Circuit.from_qiskit(original, ["a"]).to_qiskit()
    assert [float(i.operation.params[0]) for i in read.data if i.operation.name == "rz"] == [angle]


@pytest.mark.parametrize("angle", [np.pi / 3 + 1e-13, np.nextafter(np.pi, 4), np.pi / 2, 1e-9, -0.1])
def test_angles_are_not_snapped_to_fractions_of_pi(angle: float) -> None:
    original = QuantumCircuit(1)
    original.ry(2.0 * Parameter("a") + float(angle), 0)
    circuit = Circuit.from_qiskit(original, ["a"])
    assert "pi" not in circuit.qasm
    (instruction,) = circuit.to_qiskit().data
    factors, offset = affine(instruction.operation.params[0])
    assert {p.name: a for p, a in factors.items()} == {"a": 2.0}
    assert offset == angle


def test_inputs_are_bound_by_name_from_eleven_on() -> None:
    names = [f"theta_{i}" for i in range(12)]
    original = QuantumCircuit(12)
    for i, name in enumerate(names):
        original.ry(Parameter(name), i)
    circuit = Circuit.from_qiskit(original, names)
    angles = np.linspace(0.1, 3.0, 12)[None]
    expected = np.cos(angles)  # of the angle in column i, on qubit i
    np.testing.assert_allclose(statevector_expectations(circuit, angles), expected, atol=1e-12)
    assert list(circuit.bindings(angles)) == [tuple(names)]

    read = circuit.to_qiskit()
    assert [p.name for p in read.parameters][:3] == ["theta_0", "theta_1", "theta_10"], "the trap has gone"
    by_position = Statevector(read.assign_parameters(angles[0].tolist()))
    values = [by_position.expectation_value(SparsePauliOp(label)).real for label in circuit.observables]
    assert np.abs(values - expected[0]).max() > 0.5


def test_the_order_of_inputs_is_the_order_of_columns() -> None:
    original = QuantumCircuit(2)
    original.ry(Parameter("z_first"), 0)
    original.ry(Parameter("a_second"), 1)
    circuit = Circuit.from_qiskit(original, ["z_first", "a_second"])
    np.testing.assert_allclose(statevector_expectations(circuit, np.array([[0.3, 1.2]])), [np.cos([0.3, 1.2])])
    swapped = Circuit(circuit.qasm, ("a_second", "z_first"), circuit.observables)
    np.testing.assert_allclose(statevector_expectations(swapped, np.array([[0.3, 1.2]])), [np.cos([1.2, 0.3])])
    assert swapped.sha256 != circuit.sha256


def test_observables_have_qubit_0_rightmost_as_in_qiskit() -> None:
    base = entangled_circuit(3)
    labels = ("IIZ", "IZI", "ZII", "ZZI", "ZIZ", "ZZZ", "III")
    circuit = Circuit(base.qasm, base.inputs, labels)
    assert circuit.observable_masks[3].tolist() == [False, True, True]
    row = np.array([[0.4, -1.1, 2.2]])
    read = circuit.to_qiskit()
    state = Statevector(read.assign_parameters({p: row[0, circuit.inputs.index(p.name)] for p in read.parameters}))
    expected = [state.expectation_value(SparsePauliOp(label)).real for label in labels]
    np.testing.assert_allclose(statevector_expectations(circuit, row)[0], expected, atol=1e-12)
    assert base.observables == ("IIZ", "IZI", "ZII")


@pytest.mark.parametrize("label", ["IZ", "IIZZ", "IXZ", "iiz", "", "IZ\n"])
def test_observables_are_z_strings_of_the_right_length(label: str) -> None:
    base = entangled_circuit(3)
    with pytest.raises(CircuitError, match=r"found observable .*; expected 3 letters, each I or Z"):
        Circuit(base.qasm, base.inputs, (label,))


def test_a_definition_that_borrows_a_standard_name_is_followed() -> None:
    text = (
        HEADER + "gate rzz(t) x, y { cx x, y; rx(t) y; cx x, y; }\n"
        "input float[64] a;\nqubit[2] q;\nh q[0];\nrzz(a) q[0], q[1];\n"
    )
    expected = QuantumCircuit(2)
    expected.h(0)
    expected.cx(0, 1)
    expected.rx(0.8, 1)
    expected.cx(0, 1)
    read = Circuit.from_qasm3(text).to_qiskit()
    assert bound(read, {"a": 0.8}).equiv(Operator(expected))


def test_a_python_gate_that_borrows_a_standard_name_is_followed() -> None:
    class Impostor(Gate):
        def __init__(self) -> None:
            super().__init__("cx", 2, [])

        def _define(self) -> None:
            self.definition = QuantumCircuit(2)
            self.definition.swap(0, 1)

    original = QuantumCircuit(2)
    original.ry(Parameter("a"), 0)
    original.append(Impostor(), [0, 1])
    values = statevector_expectations(Circuit.from_qiskit(original, ["a"]), np.array([[0.7]]))
    np.testing.assert_allclose(values, [[1.0, np.cos(0.7)]], atol=1e-12)


def test_the_standard_rzz_stays_one_gate() -> None:
    original = QuantumCircuit(2)
    original.rzz(Parameter("a"), 0, 1)
    circuit = Circuit.from_qiskit(original, ["a"])
    assert dict(circuit.to_qiskit().count_ops()) == {"rzz": 1}
    assert circuit.gate_counts == {"rzz": 1}


def one_gate(name: str = "a") -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter(name), 0)
    return circuit


class TestInputs:
    def test_unbound(self) -> None:
        circuit = one_gate()
        circuit.rx(Parameter("w"), 1)
        with pytest.raises(CircuitError, match=r"unbound parameters \['w'\]; expected only the inputs \['a'\]"):
            Circuit.from_qiskit(circuit, ["a"])

    def test_unused(self) -> None:
        with pytest.raises(CircuitError, match=r"inputs \['b'\] driving no gate; expected each to be used"):
            Circuit.from_qiskit(one_gate(), ["a", "b"])

    def test_declared_and_unused(self) -> None:
        circuit = Circuit(ONE_INPUT + "input float[64] b;\nrx(a) q[0];\n", ("a", "b"), ("IZ",))
        with pytest.raises(CircuitError, match=r"inputs \['b'\] driving no gate"):
            circuit.to_qiskit()

    @pytest.mark.parametrize("names", [(), ("a", "b"), ("b",)])
    def test_others_than_declared(self, names: tuple[str, ...]) -> None:
        with pytest.raises(CircuitError, match=r"found inputs \['a'\]; expected "):
            Circuit(ONE_INPUT + "rx(a) q[0];\n", names, ("IZ",))

    @pytest.mark.parametrize("name", ["x", "q", "pi", "input", "theta[0]", "θ", "a b"])
    def test_names_that_openqasm_cannot_have_are_refused_at_once(self, name: str) -> None:
        with pytest.raises(
            CircuitError, match=r"found no OpenQASM 3 that Qiskit reads|expected input float\[64\] NAME"
        ):
            Circuit.from_qiskit(one_gate(name), [name])

    def test_twice(self) -> None:
        with pytest.raises(CircuitError, match="expected each name once"):
            Circuit(ONE_INPUT + "rx(a) q[0];\n", ("a", "a"), ("IZ",))

    def test_from_qasm3_takes_the_order_of_declaration_or_the_given_one(self) -> None:
        text = HEADER + "input float[64] w;\ninput float[64] b;\nqubit[1] q;\nrx(w) q[0];\nry(b) q[0];\n"
        assert Circuit.from_qasm3(text).inputs == ("w", "b")
        assert Circuit.from_qasm3(text, ["b", "w"]).inputs == ("b", "w")

    def test_angles_that_cancel_leave_no_input(self) -> None:
        circuit, a, b = QuantumCircuit(1), Parameter("a"), Parameter("b")
        circuit.rx(a - a + b, 0)
        assert {p.name: slope for p, slope in affine(circuit.data[0].operation.params[0])[0].items()} == {"b": 1.0}
        with pytest.raises(CircuitError, match=r"inputs \['a'\] driving no gate"):
            Circuit.from_qiskit(circuit, ["a", "b"])

    @pytest.mark.parametrize("angle", ["a*a", "a*b", "1/a", "a/0", "1e308*10*a"])
    def test_nonlinear(self, angle: str) -> None:
        text = HEADER + f"input float[64] a;\ninput float[64] b;\nqubit[1] q;\nrx(b) q[0];\nrx({angle}) q[0];\n"
        with pytest.raises(CircuitError, match=r"expected a sum of multiples of inputs|no OpenQASM 3 that Qiskit"):
            Circuit.from_qasm3(text)


class TestStructure:
    def test_final_measurements_are_dropped(self) -> None:
        circuit = one_gate()
        circuit.barrier()
        circuit.measure_all()
        assert Circuit.from_qiskit(circuit, ["a"]).gate_counts == {"rx": 1}

    def test_measurement_inside(self) -> None:
        circuit = QuantumCircuit(2, 1)
        circuit.rx(Parameter("a"), 0)
        circuit.measure(0, 0)
        circuit.x(0)
        with pytest.raises(CircuitError, match="found measure inside it; expected gates, and measurement at the end"):
            Circuit.from_qiskit(circuit, ["a"])

    def test_reset(self) -> None:
        circuit = one_gate()
        circuit.reset(0)
        circuit.h(0)
        with pytest.raises(CircuitError, match="found reset inside it"):
            Circuit.from_qiskit(circuit, ["a"])

    def test_control_flow(self) -> None:
        circuit = QuantumCircuit(2, 1)
        circuit.rx(Parameter("a"), 0)
        with circuit.if_test((circuit.clbits[0], True)):
            circuit.x(1)
        with pytest.raises(CircuitError, match="found if_else inside it"):
            Circuit.from_qiskit(circuit, ["a"])

    def test_opaque_gate(self) -> None:
        circuit = one_gate()
        circuit.append(Gate("mystery", 1, []), [0])
        with pytest.raises(CircuitError, match="found mystery, which has no definition"):
            Circuit.from_qiskit(circuit, ["a"])

    def test_to_qiskit_is_the_callers_own(self) -> None:
        circuit = entangled_circuit(3)
        circuit.to_qiskit().measure_all()
        assert not circuit.to_qiskit().num_clbits


@pytest.mark.parametrize(
    "body",
    [
        "rx(a) q[5];",  # no such qubit
        "rx(a, 1) q[0];",
        "rx q[0];",
        "foo(a) q[0];",
        "rx(b) q[0];",
        "rx(a) q[0], q[1];",
        "rx(a) q[0]; cx q[1], q[1];",
        "rx(sin(a)) q[0];",
        "rx(a + 1e400) q[0];",
        f"rx({'(' * 400}a{')' * 400}) q[0];",
        "qubit[2] q; rx(a) q[0];",
    ],
    ids=lambda body: body[:20],
)
def test_text_that_passes_the_audit_but_cannot_be_read(body: str) -> None:
    with pytest.raises(CircuitError, match="found no OpenQASM 3 that Qiskit reads") as caught:
        Circuit.from_qasm3(ONE_INPUT + body)
    assert caught.value.__cause__ is not None


def test_text_without_include_has_no_standard_gates() -> None:
    with pytest.raises(CircuitError, match="'rx' is not defined"):
        Circuit.from_qasm3("OPENQASM 3.0;\ninput float[64] a;\nqubit[2] q;\nrx(a) q[0];\n")


def test_syntax_error_that_only_the_parser_sees() -> None:
    with pytest.raises(CircuitError, match="found no OpenQASM 3 that Qiskit reads"):
        Circuit.from_qasm3(ONE_INPUT + "rx(a)) q[0];")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no qubit declaration"),
        ("qubit[2] q;", "expected OPENQASM 3.0; as the first statement"),
        (HEADER + 'include "other.inc";\nqubit[2] q;', 'no include but "stdgates.inc"'),
        (HEADER + "qubit[2] q;\nif (true) { x q[0]; }", "declarations, gate definitions and gate calls only"),
        (HEADER + "qubit[100000] q;", "at most 256"),
        (HEADER + "qubit[2] q;\nrx(a q[0];", r"line 4: found 'rx\(a q\[0\]'; expected GATE\(angles\) qubits;"),
        (HEADER + "qubit[2] q;\nrx(a) q[0;", "line 4: found"),
        (HEADER + "qubit[2] q;\nrx(a) $0;", "line 4: found"),
        (
            HEADER + f"qubit[2] q;\nrx({'(' * 50_000}1{')' * 50_000}) q[0];",
            "line 4: found a statement of 100010 characters",
        ),
        (HEADER + f"qubit[2] q;\nrx({'-' * 100_000}1) q[0];", "line 4: found a statement of 100010 characters"),
        (HEADER + "qubit[2] q;\nint x = 3;", "line 4: found 'int x = 3'"),
        (HEADER + "input int[32] a;\nqubit[1] q;", "input float"),
    ],
)
def test_the_audit_speaks_as_circuit_error(text: str, found: str) -> None:
    with pytest.raises(CircuitError, match=found):
        Circuit.from_qasm3(text)


class TestAngles:
    def test_rows_and_columns_are_named(self) -> None:
        angles = np.zeros((3, 4))
        angles[2, 1] = np.nan
        with pytest.raises(InputError, match=r"angles\[2, 1\]: found nan; expected a finite number"):
            entangled_circuit(4).check_angles(angles)

    @pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 3), (1, 3, 4), ()])
    def test_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match=r"angles: found float64 \(.*\); expected numbers \(N, 4\)"):
            entangled_circuit(4).check_angles(np.zeros(shape))

    @pytest.mark.parametrize("kind", [np.str_, np.complex128, np.object_, np.bool_])
    def test_kind(self, kind: type) -> None:
        with pytest.raises(InputError, match=r"expected numbers \(N, 4\)"):
            entangled_circuit(4).check_angles(np.zeros((2, 4)).astype(kind))

    def test_none_and_integers(self) -> None:
        circuit = entangled_circuit(4)
        assert circuit.check_angles(np.empty((0, 4))).shape == (0, 4)
        assert circuit.bindings(np.ones((2, 4), np.int64))[circuit.inputs].dtype == np.float64


def test_sha256_is_stable_and_covers_everything() -> None:
    circuit = Circuit(ONE_INPUT + "rx(a) q[0];\n", ("a",), ("IZ", "ZI"))
    assert circuit.sha256 == "1fcf556afe0dd824f561473b3f85e53d0fd213e8f8e7d657dbe160a049dd0aa0"
    others = [
        Circuit(circuit.qasm + "x q[0];\n", ("a",), ("IZ", "ZI")),
        Circuit(circuit.qasm, ("a",), ("ZI", "IZ")),
        Circuit(circuit.qasm, ("a",), ("IZ",)),
    ]
    assert len({circuit.sha256, *(other.sha256 for other in others)}) == 4
    assert entangled_circuit(4).sha256 == parts().circuit.sha256


# As PennyLane's `to_openqasm` prints a tape.
PENNYLANE = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[3];
creg c[3];
rx(0.1) q[0];
rx(0.2) q[1];
rx(0.3) q[2];
ry(0.5404193215) q[0];
ry(-1.2000000001) q[1];
rz(2.718281828) q[2];
cx q[0],q[1];
crz(0.77) q[1],q[2];
rx(0.9) q[1];
measure q[0] -> c[0];
measure q[1] -> c[1];
measure q[2] -> c[2];
"""


class TestQasm2:
    def test_pennylane(self) -> None:
        circuit = Circuit.from_qasm2(PENNYLANE, ["rx:1", "rx:0", "rx:1:1", "rx:2"])
        assert circuit.inputs == ("theta_0", "theta_1", "theta_2", "theta_3")
        expected = QuantumCircuit(3)
        for q, angle in enumerate((-0.4, 1.3, 2.1)):
            expected.rx(angle, q)
        expected.ry(0.5404193215, 0)
        expected.ry(-1.2000000001, 1)
        expected.rz(2.718281828, 2)
        expected.cx(0, 1)
        expected.crz(0.77, 1, 2)
        expected.rx(-1.9, 1)
        state = Statevector(expected)
        values = [state.expectation_value(SparsePauliOp(label)).real for label in ("IIZ", "IZI", "ZII")]
        found = statevector_expectations(circuit, np.array([[1.3, -0.4, -1.9, 2.1]]))
        np.testing.assert_allclose(found, [values], atol=1e-12)

    @pytest.mark.parametrize(
        ("gate", "message"),
        [
            ("rx", r"data gate 'rx': found no GATE:QUBIT or GATE:QUBIT:OCCURRENCE, such as rx:3"),
            ("rx:a", "found no GATE:QUBIT"),
            ("rx:-1", "found no GATE:QUBIT"),
            ("rx:0:1", r"data gate 'rx:0:1': found 1 rx on qubit 0; expected more"),
            ("rx:7", "found 0 rx on qubit 7"),
            ("h:0", "found 0 h on qubit 0"),
            ("crz:2", "found 0 crz on qubit 2"),
        ],
    )
    def test_wrong_data_gates(self, gate: str, message: str) -> None:
        with pytest.raises(CircuitError, match=message):
            Circuit.from_qasm2(PENNYLANE, [gate])

    def test_the_same_gate_twice(self) -> None:
        with pytest.raises(CircuitError, match="expected one number, named once"):
            Circuit.from_qasm2(PENNYLANE, ["rx:0", "rx:0"])

    @pytest.mark.parametrize("gate", ["x:0", "u3:1"])
    def test_gates_without_exactly_one_angle(self, gate: str) -> None:
        text = PENNYLANE.replace("measure q[0] -> c[0];", "x q[0];\nu3(1,2,3) q[1];")
        with pytest.raises(CircuitError, match=r"found angles \[.*\]; expected one number, named once"):
            Circuit.from_qasm2(text, [gate])

    def test_other_files_are_never_opened(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "mine.inc").write_text("gate mine a { x a; }\n")
        monkeypatch.chdir(tmp_path)
        for path in ("mine.inc", str(tmp_path / "mine.inc"), "/etc/passwd"):
            with pytest.raises(CircuitError, match="unable to find") as caught:
                Circuit.from_qasm2(PENNYLANE.replace("qelib1.inc", path), ["rx:0"])
            assert "root:" not in str(caught.value)

    @pytest.mark.parametrize("text", ["", "OPENQASM 2.0;\nqreg q[1];\nrx(1) q[0]", PENNYLANE.replace("cx", "cq")])
    def test_no_qasm2(self, text: str) -> None:
        with pytest.raises(CircuitError, match=r"found no OpenQASM 2 that Qiskit reads|no GATE|found 0 rx|no qubit"):
            Circuit.from_qasm2(text, ["rx:0"])
