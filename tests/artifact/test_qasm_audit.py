"""The audit of OpenQASM texts: what it lets through, what it counts, where it says that something is wrong."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from students import entangled_circuit

from qdinfer import ArtifactError
from qdinfer.audit.qasm import MAX_GATES, MAX_QUBITS, QasmSummary, audit_qasm

HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
VALID = entangled_circuit(3).qasm


def audit(text: str) -> QasmSummary:
    return audit_qasm("circuit.qasm", text.encode())


def refused(text: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as error:
        audit(text)
    assert error.value.file == "circuit.qasm"
    return error.value


def test_the_usual_circuit() -> None:
    summary = audit(VALID)
    assert summary.num_qubits == 3
    assert summary.inputs == ("theta_0", "theta_1", "theta_2")
    assert summary.gates == Counter(rx=3, ry=6, rz=6, cx=6, rzz=2)


@pytest.mark.parametrize(
    ("text", "qubits", "gates"),
    [
        ("qubit[2] q; h q[0]; cx q[0], q[1];", 2, {"h": 1, "cx": 1}),
        ("qubit a; qubit [ 3 ] b; x a;", 4, {"x": 1}),
        ("qubit[2] q; rx(2*(pi + 1)/3) q[0];", 2, {"rx": 1}),
        ("qubit[2] q; rx (sin(0.5)) q[0]; U(1, 2, 3) q[1];", 2, {"rx": 1, "U": 1}),
        ("qubit[2] q; rx(0.5)q[0];h q ;", 2, {"rx": 1, "h": 1}),
        ("qubit[2] q; cx\n\tq [ 0 ] ,\n\tq[1]\n;", 2, {"cx": 1}),
        ("qubit[2] q; x q[0:1]; barrier q; barrier q[0], q[1];", 2, {"x": 1}),
        ("qubit[2] q; bit[2] c; c = measure q;", 2, {}),
        ("qubit[2] q; bit[2] c; c[0] = measure q[0]; c [1]=measure q[1];", 2, {}),
        ("qubit[2] q; bit[2] c = measure q;", 2, {}),
        ("qubit[2] q; bit c; measure q; measure q[0] -> c;", 2, {}),
        ("qubit measured; x measured;", 1, {"x": 1}),
        ("qubit[1] q; gate nothing a { } nothing q[0];", 1, {"nothing": 1}),
        ("qubit[2] q; gate two(t) a, b { rx(t) a; cx a, b; } two(0.1) q[0], q[1];", 2, {"two": 1}),
    ],
)
def test_what_is_let_through(text: str, qubits: int, gates: dict[str, int]) -> None:
    summary = audit(HEAD + text)
    assert (summary.num_qubits, summary.gates) == (qubits, Counter(gates))


@pytest.mark.parametrize("version", ["OPENQASM 3;", "OPENQASM 3.0;", "OPENQASM   3.1 ;", "\n// hi\nOPENQASM 3.0;"])
def test_versions(version: str) -> None:
    assert audit(f"{version} qubit q;").num_qubits == 1


@pytest.mark.parametrize("version", ["OPENQASM 2.0;", "OPENQASM 4;", "OPENQASM 3.0.1;", "OPENQASM;", "qubit q;"])
def test_other_versions(version: str) -> None:
    error = refused(f"{version}\nqubit q;")
    assert (error.file, error.line) == ("circuit.qasm", 1)
    assert error.expected == "OPENQASM 3.0; as the first statement"


@pytest.mark.parametrize("qubits", [5, MAX_QUBITS])
def test_inputs_come_in_order(qubits: int) -> None:
    names = [f"theta_{i}" for i in reversed(range(qubits))]
    text = HEAD + "".join(f"input float [ 64 ] {name};\n" for name in names) + f"qubit[{qubits}] q;"
    assert audit(text).inputs == tuple(names)


# --- comments and lines ----------------------------------------------------------------------------------------------


def test_comments_are_no_statements() -> None:
    text = HEAD + "/* for int i in [0:9] { */ qubit[2] q; // reset q; }\n/* one\n * two; } */ x /* here */ q[0]; //"
    assert audit(text).gates == Counter(x=1)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("qubit q;\nreset q;", 4),
        ("qubit q;\n\n\n   reset\n q;", 6),
        ("/* a\nb\nc */ qubit q; // d\nreset q;", 6),
        ("qubit q; gate g a {\n x a;\n}\nreset q;", 6),
        ("qubit q; // a\r\nreset q;", 4),
        ("qubit q; x q; reset q;", 3),
    ],
)
def test_the_line_is_named(text: str, line: int) -> None:
    error = refused(HEAD + text)
    assert (error.file, error.line) == ("circuit.qasm", line)
    assert error.found == "'reset q'"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_each_end_of_line_ends_a_comment(end: str) -> None:
    # The grammar has it so: a reader that waits for \n would not see what the parser will read.
    assert refused(f'{HEAD}qubit q; // hi{end}include "evil.inc";').found == "'include \"evil.inc\"'"
    assert audit(f"{HEAD}qubit q; // hi{end}x q;").gates == Counter(x=1)


@pytest.mark.parametrize("comment", ["/* x q;", "/*/", "/* // */ /*", "/**"])
def test_a_comment_must_be_closed(comment: str) -> None:
    error = refused(f"{HEAD}qubit q;\n{comment}\n")
    assert "/*" in error.found


def test_a_slash_slash_hides_the_opening_of_a_block() -> None:
    assert audit(f"{HEAD}qubit q; // /*\nx q; // */\n").gates == Counter(x=1)


def test_a_long_statement_is_shortened() -> None:
    error = refused(f"{HEAD}qubit q;\nreset {'q' * 900};")
    assert len(error.found) < 70
    assert error.found.endswith("…'")


# --- counting --------------------------------------------------------------------------------------------------------


def lines(call: str, times: int) -> str:
    return f"{call};\n" * times


@pytest.mark.parametrize(
    ("declarations", "call", "cost"),
    [
        ("qubit[4] q;", "x q[0]", 1),
        ("qubit[4] q;", "cx q[0], q[3]", 1),
        ("qubit[100] q;", "x q", 100),
        ("qubit[100] q;", "x q[0:99]", 100),
        ("qubit a; qubit[100] q;", "cx a, q", 100),
        ("qubit a; qubit[100] q;", "cx a, q[7]", 1),
        ("qubit a; qubit[100] q;", "cx q[7], a", 1),
        ("qubit[100] q; gate five a { x a; x a; x a; x a; x a; }", "five q", 500),
        ("qubit q; gate f a { x a; x a; } gate g a { f a; f a; f a; }", "g q[0]", 6),
        ("qubit measured; gate f a { x a; x a; }", "f measured", 2),
    ],
)
def test_gates_are_multiplied_out(declarations: str, call: str, cost: int) -> None:
    most = MAX_GATES // cost
    assert audit(HEAD + declarations + lines(call, most)).gates.total() == most
    error = refused(HEAD + declarations + lines(call, most + 1))
    assert error.found == f"over {MAX_GATES} gates, definitions multiplied out"
    assert (error.file, error.line) == ("circuit.qasm", most + 3)


def test_measurements_and_barriers_are_no_gates() -> None:
    text = HEAD + "qubit[2] q; bit[2] c;" + lines("c = measure q", MAX_GATES) + lines("barrier q", MAX_GATES)
    assert audit(text).gates == Counter()


def test_definitions_alone_are_bounded() -> None:
    text = HEAD + "qubit q; gate g0 a { x a; }\n"
    text += "".join(f"gate g{i} a {{ g{i - 1} a; g{i - 1} a; }}\n" for i in range(1, 100))
    error = refused(text)
    assert error.found == "32768 gates in one definition"
    assert (error.file, error.line) == ("circuit.qasm", 18)


@pytest.mark.parametrize("declaration", ["qubit[257] q;", "qubit[200] q; qubit[57] r;", "qubit[999999999] q;"])
def test_qubits_are_bounded(declaration: str) -> None:
    assert refused(HEAD + declaration).expected == f"at most {MAX_QUBITS}"


@pytest.mark.parametrize(
    "declaration",
    ["qubit[9999999999] q;", "qubit[-1] q;", "qubit[1_0] q;", "qubit[2+2] q;", "qubit[2];", "qubit[2] q, r;"],
)
def test_odd_registers(declaration: str) -> None:
    assert refused(HEAD + declaration).expected == "qubit[N] NAME;"


@pytest.mark.parametrize(
    "text",
    [
        "x q[0] = 3",
        "x",
        "x()",
        "x q[0] q[1]",
        "x q[0],",
        "x (1)(",
        "q[0] x",
        "x q[0][1]",
        "c = q",
        "x $0",
        "x q[{0, 1}]",
    ],
)
def test_what_is_no_gate_call(text: str) -> None:
    refused(f"{HEAD}qubit[2] q; {text};")


# --- anything --------------------------------------------------------------------------------------------------------


def harmless(data: bytes) -> None:
    start = time.monotonic()
    try:
        summary = audit_qasm("circuit.qasm", data)
    except ArtifactError as error:
        assert error.file == "circuit.qasm"  # noqa: PT017 - either outcome will do
        assert len(str(error)) < 300  # noqa: PT017
    else:
        assert 0 < summary.num_qubits <= MAX_QUBITS
        assert summary.gates.total() <= MAX_GATES
    assert time.monotonic() - start < 5


GRAMMAR = 'OPENQASM 3.0 ; { } [ ] ( ) , @ // /* */ gate x qubit qubit[2] q q[0] for measure = include "stdgates.inc"'
words = st.sampled_from(
    [*GRAMMAR.split(), "\n", "\r", "input float[64]", "bit c", "ctrl", "1", "+", "->", ":", "é", "\x00"]
)


@settings(max_examples=300)
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
@example(b"")
@example(b"\xef\xbb\xbfOPENQASM 3.0;")
def test_arbitrary_text(data: bytes) -> None:
    harmless(data)
    harmless(HEAD.encode() + b"qubit[2] q;" + data)


@settings(max_examples=300)
@given(st.lists(words, max_size=40).map(" ".join))
def test_words_of_the_language(text: str) -> None:
    harmless(text.encode())
    harmless((HEAD + "qubit[2] q; " + text).encode())


@settings(max_examples=300)
@given(at=st.integers(0, len(VALID)), cut=st.integers(0, 30), inserted=words | st.text(max_size=5))
def test_a_damaged_circuit(at: int, cut: int, inserted: str) -> None:
    harmless((VALID[:at] + inserted + VALID[at + cut :]).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "hostile",
    [
        "/*a",
        " ",
        "(",
        ")a,",
        "a,",
        "a",
        "a)",
        "a[",
        "{",
        "}",
        "gate a q{}",
        "x q;",
        "/",
        "a ",
        "[",
        "a[0],",
        "\n",
        "a=",
    ],
)
@pytest.mark.parametrize("start", ["", "qubit", "x", "x(", "x ", "input float[", "gate g", "c = ", "measure "])
def test_a_long_text_takes_linear_time(start: str, hostile: str) -> None:
    # A comment never closed, a run of blanks and a long name have each taken minutes in some earlier expression.
    harmless((f"{HEAD}qubit[3] q;{start}" + hostile * (2**18 // len(hostile)) + "!;").encode())
