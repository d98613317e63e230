"""Students made of parts that were trained elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from students import GOLDEN, LABELS, encoder_onnx, tokenizer_json

from qdinfer import Artifact, Classifier, verify
from qdistill.cli import main

# As PennyLane's `qml.to_openqasm` writes a template: bound numbers, qelib1.inc, measured at the end.
PENNYLANE = """\
OPENQASM 2.0;
include "qelib1.inc";
qreg q[3];
creg c[3];
rx(0.0) q[0];
rx(0.0) q[1];
rx(0.0) q[2];
rz(0.4123456789012345) q[0];
ry(1.1) q[0];
rz(-2.2) q[0];
ry(0.3) q[1];
cx q[0],q[1];
crz(0.7) q[1],q[2];
rx(1.9) q[0];
cx q[2],q[0];
measure q[0] -> c[0];
measure q[1] -> c[1];
measure q[2] -> c[2];
"""
# As Cirq-like exporters write OpenQASM 3, with inputs declared out of order and an angle used twice.
QASM3 = """\
// exported
OPENQASM 3.0;
include "stdgates.inc";
input float[64] beta;
input float[64] alpha;
input float[64] gamma;
qubit[3] q;
bit[3] c;
ry(alpha) q[0];
rx(beta / 2 + 0.1) q[1];
rz(0.3) q[1];
rx(gamma) q[2];
cry(0.9) q[0], q[1];
rx(alpha) q[2];
cz q[1], q[2];
h q[0];
c = measure q;
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with every part but the circuit."""
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_json())
    (tmp_path / "encoder.onnx").write_bytes(encoder_onnx(3))
    rng = np.random.default_rng(0)
    layer = {"labels": list(LABELS), "weights": rng.normal(size=(3, 3)).tolist(), "bias": [0.1, -0.2, 0.0]}
    (tmp_path / "readout.json").write_text(json.dumps(layer))
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in GOLDEN))
    return tmp_path


def pack(files: Path, circuit: str, *options: str) -> int:
    (files / "circuit.qasm").write_text(circuit)
    parts = [f"--{name}={files / file}" for name, file in PARTS.items()]
    return main(["pack", "--output", str(files / "mine"), *parts, *options])


PARTS = {
    "tokenizer": "tokenizer.json",
    "encoder": "encoder.onnx",
    "circuit": "circuit.qasm",
    "readout": "readout.json",
    "golden": "texts.csv",
}


def reference_qasm2(angles: np.ndarray) -> QuantumCircuit:
    text = PENNYLANE
    for q, angle in enumerate(angles):
        text = text.replace(f"rx(0.0) q[{q}];", f"rx({float(angle)!r}) q[{q}];")
    return QuantumCircuit.from_qasm_str(text).remove_final_measurements(inplace=False)


def reference_qasm3(angles: np.ndarray) -> QuantumCircuit:
    alpha, beta, gamma = map(float, angles)
    circuit = QuantumCircuit(3)
    circuit.ry(alpha, 0)
    circuit.rx(beta / 2 + 0.1, 1)
    circuit.rz(0.3, 1)
    circuit.rx(gamma, 2)
    circuit.cry(0.9, 0, 1)
    circuit.rx(alpha, 2)
    circuit.cz(1, 2)
    circuit.h(0)
    return circuit


@pytest.mark.parametrize(
    ("text", "options", "reference"),
    [
        (PENNYLANE, ["--data-gates", "rx:0", "rx:1", "rx:2"], reference_qasm2),
        (QASM3, ["--inputs", "alpha", "beta", "gamma"], reference_qasm3),
    ],
    ids=["OpenQASM 2", "OpenQASM 3"],
)
def test_packed_student_agrees_with_qiskit(
    files: Path, text: str, options: list[str], reference: Callable[[np.ndarray], QuantumCircuit]
) -> None:
    assert pack(files, text, *options) == 0
    assert verify(files / "mine").ok
    assert verify(files / "mine", backend="aer").ok
    classifier = Classifier.load(files / "mine")
    texts = ["sun", "goal bank star", "code rain match", ""]
    angles = classifier.encoder.encode(texts)
    found = classifier.backend.expectations(classifier.circuit, angles).values
    observables = [SparsePauliOp(label) for label in ("IIZ", "IZI", "ZII")]
    pubs = [(reference(row), observables) for row in angles]
    expected = [result.data.evs for result in StatevectorEstimator().run(pubs, precision=0.0).result()]
    assert np.abs(found - np.array(expected)).max() < 1e-5
    assert set(classifier.predict(texts)) <= set(LABELS)


def test_card_has_the_command_without_paths(files: Path) -> None:
    assert pack(files, QASM3, "--license", "MIT") == 0
    provenance = Artifact.open(files / "mine").manifest.provenance
    assert provenance.license == "MIT"
    assert provenance.command is not None
    assert str(files) not in provenance.command
    assert provenance.command.startswith("qdistill pack --output mine --tokenizer=tokenizer.json ")


def test_circuit_without_compiled_form_is_packed_with_a_note(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdinfer.compiler import propagate

    monkeypatch.setattr(propagate, "MAX_TERMS", 2)
    monkeypatch.setattr(propagate, "MAX_ARRAY", 2)
    assert pack(files, QASM3) == 0
    assert "note: not compiled for the exact engine: observable" in capsys.readouterr().err
    assert "compiled.onnx" not in Artifact.open(files / "mine").files
    assert verify(files / "mine").ok


def bad_readout(files: Path) -> None:
    (files / "readout.json").write_text('{"labels": ["a", "b"], "weights": [[1, 2], [3, 4]], "bias": [0, 0]}')


def no_readout(files: Path) -> None:
    (files / "readout.json").write_text("weights")


def nan_readout(files: Path) -> None:
    (files / "readout.json").write_text('{"labels": ["a", "b"], "weights": [[NaN, 2, 3], [3, 4, 5]], "bias": [0, 0]}')


def narrow_encoder(files: Path) -> None:
    (files / "encoder.onnx").write_bytes(encoder_onnx(2))


def no_tokenizer(files: Path) -> None:
    (files / "tokenizer.json").write_text("{}")


def nothing(files: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "circuit", "options", "message"),
    [
        (bad_readout, QASM3, [], "readout.json: found 2 rows of [2] weights"),
        (no_readout, QASM3, [], "readout.json: found no valid JSON"),
        (nan_readout, QASM3, [], "readout.json: found weights.0.0: Input should be a finite number"),
        (narrow_encoder, QASM3, [], "encoder.onnx: found angles (5, 2); expected (5, 3)"),
        (no_tokenizer, QASM3, [], "tokenizer.json: found no tokenizer"),
        (nothing, QASM3, ["--data-gates", "rx:0"], "found --data-gates with OpenQASM 3"),
        (nothing, QASM3, ["--inputs", "alpha", "beta"], "found the unbound parameters ['gamma']"),
        (nothing, PENNYLANE, [], "found OpenQASM 2, which has no inputs; expected --data-gates"),
        (nothing, PENNYLANE, ["--data-gates", "rx:0", "rx:1", "rx:7"], "found 0 rx on qubit 7"),
        (nothing, PENNYLANE, ["--data-gates", "rx:0", "rx:0", "rx:2"], "data gate 'rx:0'"),
        (nothing, "qreg q[3];", [], "found no `OPENQASM 2.0;`"),
        (nothing, QASM3.replace("ry(alpha)", "ry(alpha, 2)"), [], "found no OpenQASM 3 that Qiskit reads"),
        (nothing, QASM3, ["--name", "a/b"], "student.json: found name: Expected `str` matching regex"),
        (nothing, QASM3, ["--pad-id", "-1"], "student.json: found encoder.pad_id"),
    ],
)
def test_parts_that_do_not_fit_are_named_and_nothing_is_written(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    circuit: str,
    options: list[str],
    message: str,
) -> None:
    spoil(files)
    assert pack(files, circuit, *options) == 2
    assert message in capsys.readouterr().err
    assert not (files / "mine").exists()
    assert not [path for path in files.iterdir() if path.name.startswith(".")]


def test_existing_output_is_kept(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(files, QASM3) == 0
    before = Artifact.open(files / "mine").sha256
    assert pack(files, PENNYLANE, "--data-gates", "rx:0", "rx:1", "rx:2") == 2
    assert "expected a new path, or --overwrite" in capsys.readouterr().err
    assert Artifact.open(files / "mine").sha256 == before
    assert pack(files, PENNYLANE, "--data-gates", "rx:0", "rx:1", "rx:2", "--overwrite") == 0
    assert Artifact.open(files / "mine").sha256 != before


def test_readout_may_name_observables(files: Path) -> None:
    layer = {"labels": ["a", "b"], "weights": [[1, -1], [-1, 1]], "bias": [0, 0], "observables": ["ZZI", "IZZ"]}
    (files / "readout.json").write_text(json.dumps(layer))
    assert pack(files, QASM3, "--about-data", "made up") == 0
    artifact = Artifact.open(files / "mine")
    assert artifact.manifest.circuit.observables == ["ZZI", "IZZ"]
    assert artifact.manifest.provenance.data == "made up"
    assert verify(artifact).ok
