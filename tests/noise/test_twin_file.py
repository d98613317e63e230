"""A twin's file: kept whole, looked through before it is run, and run by the base install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import ModelProto, helper
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error
from students import encoder_onnx, tiny

from qdinfer import ArtifactError, Circuit, compile_circuit
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import KEY, Twin

CIRCUIT = Circuit.from_artifact(tiny())


@pytest.fixture(scope="module")
def twin() -> Twin:
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.01, 2), "cx")
    model.add_all_qubit_readout_error(ReadoutError([[0.99, 0.01], [0.05, 0.95]]))
    return compile_twin(CIRCUIT, DeviceNoise.from_noise_model(model, CIRCUIT))


def described(twin: Twin, **changes: Any) -> bytes:
    """The graph with another description."""
    content = msgspec.json.decode(msgspec.json.encode(twin.spec)) | changes
    model = ModelProto.FromString(twin.graph)
    helper.set_model_props(model, {KEY: msgspec.json.encode(content).decode()})
    return bytes(model.SerializeToString())


def test_comes_back(twin: Twin, tmp_path: Path) -> None:
    twin.save(tmp_path / "twin.onnx")
    again = Twin.load(tmp_path / "twin.onnx")
    assert again == twin
    angles = np.random.default_rng(0).uniform(-3, 3, (5, 4))
    expected = TwinBackend(twin).expectations(CIRCUIT, angles).values
    np.testing.assert_array_equal(TwinBackend(tmp_path / "twin.onnx").expectations(CIRCUIT, angles).values, expected)


def test_is_the_same_every_time(twin: Twin) -> None:
    assert compile_twin(CIRCUIT, twin.spec.noise).graph == twin.graph


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "twin.onnx: found", id="empty"),
        pytest.param(b"not a model", "twin.onnx: found", id="text"),
        pytest.param(encoder_onnx(4), "twin.onnx: found", id="encoder"),
        pytest.param(compile_circuit(CIRCUIT).graph, "an ONNX model that is no twin", id="compiled"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "twin.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Twin.load(tmp_path / "twin.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"format": 2}, "found format 2; expected 1: upgrade qdinfer", id="newer"),
        pytest.param({"colour": "blue"}, "unknown field `colour`", id="unknown"),
        pytest.param({"noise": {}}, "missing required field", id="no noise"),
        pytest.param({"observables": ["IIIX"]}, "no Pauli-Z strings of one length", id="letter"),
        pytest.param({"observables": ["IIZ"]}, "no Pauli-Z strings of one length", id="length"),
        pytest.param(
            {"observables": ["ZZZZ"], "damping": [1.0]},
            "strings or dampings that are not those of its observables",
            id="string",
        ),
        pytest.param({"damping": [1.0]}, "strings or dampings that are not those of its observables", id="damping"),
    ],
)
def test_a_description_that_cannot_be_is_refused(changes: dict[str, Any], message: str, twin: Twin) -> None:
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Twin.from_bytes(described(twin, **changes), "twin.onnx")


def test_a_graph_of_other_strings_is_refused(twin: Twin) -> None:
    """One output would be taken for each of the strings."""
    strings = [*twin.spec.strings, "ZZZZ"]
    with pytest.raises(ArtifactError, match="strings or dampings that are not those of its observables"):
        Twin.from_bytes(described(twin, strings=strings), "twin.onnx")


def test_noise_of_fewer_qubits_is_refused(twin: Twin) -> None:
    wide = ["I" + label for label in twin.spec.strings]
    with pytest.raises(ArtifactError, match="found noise of 4 qubits; expected 5"):
        Twin.from_bytes(described(twin, strings=wide, observables=wide[:4]), "twin.onnx")


def test_runs_with_the_base_install(twin: Twin, tmp_path: Path) -> None:
    """Without qiskit, onnx or any other extra."""
    twin.save(tmp_path / "twin.onnx")
    tiny().save(tmp_path / "student")
    script = f"""
import sys
from qdinfer import Classifier
classifier = Classifier.load({str(tmp_path / "student")!r}, backend="twin:{tmp_path / "twin.onnx"}")
print(classifier.predict(["sun rain"])[0])
heavy = {{"qiskit", "qiskit_aer", "onnx", "threadpoolctl", "scipy"}} & {{*sys.modules}}
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in tiny().manifest.labels
