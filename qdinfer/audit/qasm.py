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

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INPUT = re.compile(r"input\s+float\s*\[\s*64\s*\]\s*([A-Za-z_][A-Za-z0-9_]*)$")
_QUBITS = re.compile(r"qubit\s*(?:\[\s*([0-9]{1,9})\s*\])?\s*[A-Za-z_][A-Za-z0-9_]*$")
_VERSION = re.compile(r"OPENQASM\s+3(\.[0-9]+)?$")
_GATE = re.compile(r"gate\s+([A-Za-z_][A-Za-z0-9_]*)\b([^{]*)\{([^{}]*)$")
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
    inputs: list[str] = []
    gates: Counter[str] = Counter()
    costs: dict[str, int] = {}  # of each defined gate, multiplied out
    for i, (line, statement) in enumerate(_statements(file, text)):
        where = f"{file} line {line}"
        word = _first_word(where, statement)
        if i == 0:
            if not _VERSION.match(statement):
                raise ArtifactError(where, _quote(statement), "OPENQASM 3.0; as the first statement")
        elif word == "include":
            if not re.fullmatch(r'include\s*"stdgates\.inc"', statement):
                raise ArtifactError(where, _quote(statement), 'no include but "stdgates.inc"')
        elif word == "input":
            declared = _INPUT.match(statement)
            if not declared:
                raise ArtifactError(where, _quote(statement), "input float[64] NAME;")
            inputs.append(declared[1])
        elif word == "qubit":
            register = _QUBITS.match(statement)
            if not register:
                raise ArtifactError(where, _quote(statement), "qubit[N] NAME;")
            num_qubits += int(register[1] or 1)
        elif word == "gate":
            definition = _GATE.match(statement)
            if not definition:
                raise ArtifactError(where, _quote(statement), "gate NAME(angles) qubits { gate calls }")
            body = [_first_word(where, call.strip()) for call in definition[3].split(";") if call.strip()]
            costs[definition[1]] = sum(costs.get(name, 1) for name in body)
            if costs[definition[1]] > MAX_GATES:
                raise ArtifactError(where, f"{costs[definition[1]]} gates in one definition", f"at most {MAX_GATES}")
        elif word not in ("bit", "barrier", "measure") and "measure" not in statement:
            gates[word] += 1
            total += costs.get(word, 1) * (1 if "[" in statement else num_qubits)  # no index: one gate a qubit
        if num_qubits > MAX_QUBITS:
            raise ArtifactError(where, f"{num_qubits} qubits", f"at most {MAX_QUBITS}")
        if total > MAX_GATES:
            raise ArtifactError(where, f"over {MAX_GATES} gates, definitions multiplied out", f"at most {MAX_GATES}")
    if not num_qubits:
        raise ArtifactError(file, "no qubit declaration", "qubit[N] NAME;")
    return QasmSummary(num_qubits, tuple(inputs), gates)


def _first_word(where: str, statement: str) -> str:
    word = _IDENTIFIER.match(statement)
    if not word or word[0] in _REFUSED or "@" in statement:
        raise ArtifactError(where, _quote(statement), "declarations, gate definitions and gate calls only")
    return word[0]


def _statements(file: str, text: str) -> Iterator[tuple[int, str]]:
    """Each statement without its semicolon, with its line number; a gate definition ends before its closing brace."""
    # Comments become blanks of the same length and lines, so that line numbers stay.
    code = re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL)
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
                raise ArtifactError(f"{file} line {line}", "a } without its {", "balanced braces")
        if raw.strip():
            yield line, raw.strip()
        start = match.end()
    rest = code[start:].strip()
    if rest:
        raise ArtifactError(file, f"{_quote(rest)} at the end", "a statement that ends with ;")


def _quote(text: str) -> str:
    short = " ".join(text.split())
    return repr(short if len(short) <= 60 else short[:57] + "…")
