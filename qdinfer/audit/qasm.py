"""OpenQASM 3 files, looked through before a parser sees them.

A student's circuit is straight-line: declarations, gate definitions and gate calls. Everything else that the language
has (control flow, subroutines, calibrations, modifiers, other includes) is refused here by its first word, and the
number of qubits and of gates, definitions multiplied out, is bounded before anything is built.
See https://openqasm.com/language for the grammar.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import ArtifactError

__all__ = ["MAX_GATES", "MAX_QUBITS", "QasmSummary", "audit_qasm"]

MAX_QUBITS = 256
MAX_GATES = 20_000
_MAX_STATEMENT = 1000  # a recursive parser takes very long for 50 000 brackets

# These meet statements in which every run of white space is one blank, so that none takes more than linear time.
_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_IDENTIFIER = re.compile(_NAME)
_INPUT = re.compile(rf"input float ?\[ ?64 ?\] ?({_NAME})$")
_QUBITS = re.compile(rf"qubit ?(?:\[ ?([0-9]{{1,9}}) ?\])? ?({_NAME})$")
_VERSION = re.compile(r"OPENQASM 3(\.[0-9]+)?$")
_GATE = re.compile(rf"gate ({_NAME})\b([^{{]*)\{{([^{{}}]*)$")
_PLACE = re.compile(rf"({_NAME}) ?(\[[^\[\]]*\])?")
_CALL = re.compile(rf"{_NAME}(?: ?\(.*\) ?| )((?:{_PLACE.pattern})(?: ?, ?{_PLACE.pattern})*)$")
_MEASURED = re.compile(rf"{_PLACE.pattern} ?= ?measure\b")
_ONE = re.compile(r"\[ ?[0-9]+ ?\]")
_REFUSED = frozenset(
    [
        "if",
        "else",
        "for",
        "while",
        "do",
        "switch",
        "break",
        "continue",
        "return",
        "end",
        "def",
        "extern",
        "cal",
        "defcal",
        "defcalgrammar",
        "box",
        "delay",
        "reset",
        "let",
        "const",
        "output",
        "array",
        "pragma",
        "ctrl",
        "negctrl",
        "inv",
        "pow",
        "creg",
        "qreg",
        "opaque",
        "gphase",
        "nop",
        "int",
        "uint",
        "float",
        "angle",
        "bool",
        "complex",
        "duration",
        "stretch",
    ]
)


@dataclass(frozen=True)
class QasmSummary:
    """What the text declares.

    Attributes:
        num_qubits: over all registers.
        inputs: names of the `input float[64]`, as they come.
        gates: how often each gate is called at the top level.
    """

    num_qubits: int
    inputs: tuple[str, ...]
    gates: Counter[str]


def audit_qasm(file: str, data: bytes) -> QasmSummary:
    """Look through an OpenQASM 3 text.

    Args:
        file: its name, for messages.
        data: its bytes.

    Raises:
        ArtifactError: not UTF-8 or not OpenQASM 3; an include other than ``stdgates.inc``; a statement that no
            straight-line circuit has; too many qubits or gates.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(file, f"bytes that are not UTF-8 (at {error.start})", "an OpenQASM 3 text") from error
    num_qubits = total = 0
    registers: dict[str, int] = {}
    inputs: list[str] = []
    gates: Counter[str] = Counter()
    costs: dict[str, int] = {}  # of each defined gate, multiplied out
    for i, (line, statement) in enumerate(_statements(file, text)):
        word = _first_word(file, line, statement)
        if i == 0:
            if not _VERSION.match(statement):
                raise ArtifactError(file, _quote(statement), "OPENQASM 3.0; as the first statement", line)
        elif word == "include":
            if not re.fullmatch(r'include\s*"stdgates\.inc"', statement):
                raise ArtifactError(file, _quote(statement), 'no include but "stdgates.inc"', line)
        elif word == "input":
            declared = _INPUT.match(statement)
            if not declared:
                raise ArtifactError(file, _quote(statement), "input float[64] NAME;", line)
            inputs.append(declared[1])
        elif word == "qubit":
            register = _QUBITS.match(statement)
            if not register:
                raise ArtifactError(file, _quote(statement), "qubit[N] NAME;", line)
            registers[register[2]] = int(register[1] or 1)
            num_qubits += registers[register[2]]
        elif word == "gate":
            definition = _GATE.match(statement)
            if not definition:
                raise ArtifactError(file, _quote(statement), "gate NAME(angles) qubits { gate calls }", line)
            body = [_first_word(file, line, call.strip()) for call in definition[3].split(";") if call.strip()]
            costs[definition[1]] = sum(costs.get(name, 1) for name in body)
            if costs[definition[1]] > MAX_GATES:
                found = f"{costs[definition[1]]} gates in one definition"
                raise ArtifactError(file, found, f"at most {MAX_GATES}", line)
        elif word not in ("bit", "barrier", "measure") and not _MEASURED.match(statement):
            call = _CALL.match(statement)
            if not call:
                raise ArtifactError(file, _quote(statement), "GATE(angles) qubits;", line)
            # A register without an index, or a slice of one, stands for one gate on each of its qubits.
            places = [1 if _ONE.fullmatch(at) else registers.get(name, 1) for name, at in _PLACE.findall(call[1])]
            gates[word] += 1
            total += costs.get(word, 1) * max(places)
        if num_qubits > MAX_QUBITS:
            raise ArtifactError(file, f"{num_qubits} qubits", f"at most {MAX_QUBITS}", line)
        if total > MAX_GATES:
            found = f"over {MAX_GATES} gates, definitions multiplied out"
            raise ArtifactError(file, found, f"at most {MAX_GATES}", line)
    if not num_qubits:
        raise ArtifactError(file, "no qubit declaration", "qubit[N] NAME;")
    return QasmSummary(num_qubits, tuple(inputs), gates)


def _first_word(file: str, line: int, statement: str) -> str:
    if len(statement) > _MAX_STATEMENT and not statement.startswith("gate "):
        raise ArtifactError(file, f"a statement of {len(statement)} characters", f"at most {_MAX_STATEMENT}", line)
    word = _IDENTIFIER.match(statement)
    if not word or word[0] in _REFUSED or "@" in statement:
        raise ArtifactError(file, _quote(statement), "declarations, gate definitions and gate calls only", line)
    return word[0]


def _statements(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Each statement without its semicolon, with its line number; a gate definition ends before its closing brace.

    Every run of white space in it is one blank.
    """
    # Comments become blanks of the same length and lines, so that line numbers stay. As in the grammar, a carriage
    # return ends a comment too. One that is never closed reaches to the end: tried anew at every /*, it would take
    # quadratic time.
    code = re.sub(r"//[^\r\n]*|/\*.*?(?:\*/|(\Z))", _blank, text, flags=re.DOTALL)
    start = depth = counted = 0
    line = 1
    for match in re.finditer(r"[;{}]", code):
        mark = match[0]
        if mark == "{":
            depth += 1
            continue
        if mark == ";" and depth:
            continue
        raw = code[start : match.start()]
        first = start + len(raw) - len(raw.lstrip())
        line += code.count("\n", counted, first)
        counted = first
        if mark == "}":
            depth -= 1
            if depth < 0:
                raise ArtifactError(file, "a } without its {", "balanced braces", line)
        if raw.strip():
            yield line, " ".join(raw.split())
        start = match.end()
    rest = code[start:].strip()
    if rest:
        raise ArtifactError(file, f"{_quote(rest)} at the end", "a statement that ends with ;")


def _blank(comment: re.Match[str]) -> str:
    # A comment that is never closed stays, and is refused as no statement.
    return comment[0] if comment[1] is not None else re.sub(r"[^\n]", " ", comment[0])


def _quote(text: str) -> str:
    short = " ".join(text.split())
    return repr(short if len(short) <= 60 else short[:57] + "…")
