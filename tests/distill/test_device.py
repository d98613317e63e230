"""Training for a device: what its twin tells comes into the training and into the student's origin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from qiskit_aer.noise import NoiseModel, depolarizing_error

from qdinfer import Artifact, Circuit, verify
from qdinfer.compiler.noisy import compile_twin
from qdinfer.errors import ArtifactError, InputError
from qdinfer.manifest import Provenance
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import Twin
from qdistill.ansatz import ANSATZE
from qdistill.cli import main
from qdistill.config import DeviceConfig, TrainConfig, make_config
from qdistill.device import trained_for
from qdistill.distillation import Targets
from qdistill.export import GOLDEN_TEXTS
from qdistill.heads import Head
from qdistill.recipe import Labelled, train_student
from qdistill.train import train

DATA = Labelled(
    ["goal match the", "match team a", "team goal", "bank share the", "share a price", "price bank"] * 8,
    (["sport"] * 3 + ["money"] * 3) * 8,
)


def tiny(**settings: Any) -> TrainConfig:
    return make_config("folded", **{"ansatz": "line", "num_qubits": 2, "batch_size": 8, "epochs": 2} | settings)


def device(*slopes: float, shots: int = 100) -> DeviceConfig:
    return DeviceConfig(name="fake", offsets=(0.05,) * len(slopes), slopes=slopes, shots=shots)


def twin_of(num_qubits: int) -> Twin:
    """Of a line with random angles, on a device that reads 0.98 of all 0 and 0.9 of all 1 rightly."""
    ansatz = ANSATZE["line"](num_qubits)
    bound = ansatz.to_qiskit(np.random.default_rng(0).uniform(-3, 3, ansatz.num_parameters))
    circuit = Circuit.from_qiskit(bound, ansatz.inputs, ansatz.observables)
    model = NoiseModel(basis_gates=["rx", "ry", "rz", "cz"])
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), ["cz"])
    model.add_all_qubit_readout_error([[0.98, 0.02], [0.1, 0.9]])
    return compile_twin(circuit, DeviceNoise.from_noise_model(model, circuit, name="fake"), pairs=False)


@pytest.fixture(scope="module")
def twin() -> Twin:
    return twin_of(2)


@pytest.fixture
def twin_file(twin: Twin, tmp_path: Path) -> Path:
    twin.save(tmp_path / "old.twin.onnx")
    return tmp_path / "old.twin.onnx"


def test_a_twin_tells_of_damping_and_of_readout(twin: Twin, twin_file: Path) -> None:
    found = trained_for(tiny(), twin_file, shots=256).device
    assert found is not None
    assert (found.name, found.shots) == ("fake", 256)
    assert all(0.4 < damping < 0.95 for damping in twin.spec.damping)
    np.testing.assert_allclose(found.slopes, 0.88 * np.array(twin.spec.damping), atol=1e-12)
    np.testing.assert_allclose(found.offsets, 0.08, atol=1e-12)


def test_the_readout_acts_on_damped_values() -> None:
    config = tiny(device=device(0.5, -0.25))
    head, angles = Head(ANSATZE["line"](2), 2, config, 10), np.array([[0.3, 1.0], [2.0, 0.1]])
    ideal = ANSATZE["line"](2).expectations(head.params.circuit, angles)
    damped = 0.05 + np.array([0.5, -0.25]) * ideal
    expected = damped @ head.params.weights.T + head.params.bias
    np.testing.assert_allclose(head.logits(angles), expected, atol=1e-6)


def test_what_does_not_survive_teaches_the_encoder_nothing() -> None:
    targets = Targets(jnp.array([0, 1]), jnp.zeros((2, 2)))
    for slopes, taught in (((0.0, 0.0), False), ((0.0, 0.3), True)):
        head = Head(ANSATZE["line"](2), 2, tiny(device=device(*slopes)), 10)
        _, gradient = head.step(np.array([[0.3, 1.0], [2.0, 0.1]]), targets)
        assert bool(np.abs(gradient).max() > 0) is taught


def test_the_readout_unlearns_what_only_brings_noise() -> None:
    rng = np.random.default_rng(0)
    head = Head(ANSATZE["line"](2), 2, tiny(device=device(0.0, 0.9, shots=2), circuit_rate=0.05), 300)

    def say() -> tuple[float, float]:
        """How far each observable can move the two classes apart."""
        apart = np.abs(np.asarray(head.params.weights[0] - head.params.weights[1]))
        return float(apart[0]), float(apart[1])

    before = say()
    for _ in range(300):
        classes = rng.integers(0, 2, 64)
        angles = np.stack([classes * 2.5 + 0.3, np.full(64, 1.0)], axis=1)
        head.step(angles, Targets(jnp.asarray(classes), jnp.zeros((64, 2))))
    dead, alive = say()
    assert dead < before[0] / 4
    assert dead < alive / 4


def test_shots_are_repeatable_and_matter() -> None:
    def losses(shots: int) -> list[float]:
        """Of two steps on the same text."""
        head = Head(ANSATZE["line"](2), 2, tiny(device=device(0.5, 0.5, shots=shots), circuit_rate=1e-9), 10)
        return [float(head.step(np.ones((1, 2)), Targets(jnp.array([0]), jnp.zeros((1, 2))))[0]) for _ in range(2)]

    assert losses(4) == losses(4)
    assert abs(np.diff(losses(4))) > 1e-3
    assert abs(np.diff(losses(10**9))) < 1e-3


def test_the_student_says_what_it_was_trained_for_and_is_sound(twin_file: Path) -> None:
    config = trained_for(tiny(), twin_file, shots=256)
    artifact, _ = train_student(
        "hardy", DATA, config, test=DATA, golden_texts=GOLDEN_TEXTS, provenance=Provenance(data="words")
    )
    assert verify(artifact).ok
    settings = artifact.manifest.provenance.settings
    assert (settings["device"], settings["device_shots"]) == ("fake", 256)
    assert settings["device_offsets"] == "0.080 0.080"
    assert len(str(settings["device_slopes"]).split()) == 2
    assert "- Trained for: fake at 256 shots a text." in artifact.files["README.md"].decode()


def test_a_student_for_no_device_has_the_settings_that_it_always_had() -> None:
    assert not [name for name in tiny().flat() if name.startswith("device")]
    stored = Artifact.open(Path(__file__).parents[2] / "exported_models" / "topic-folded")
    assert make_config("folded").flat() == stored.manifest.provenance.settings
    assert "Trained for" not in stored.files["README.md"].decode()


def test_a_twin_of_other_observables_is_refused(twin_file: Path) -> None:
    with pytest.raises(InputError, match=r"circuit with 2 observables, IZ, ZI, …; expected .* each of 3 qubits"):
        trained_for(tiny(num_qubits=3), twin_file, shots=100)


def test_no_shots_are_refused(twin_file: Path) -> None:
    with pytest.raises(InputError, match="shots: found 0; expected at least 1"):
        trained_for(tiny(), twin_file, shots=0)


def test_what_is_no_twin_is_refused(student_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no twin"):
        trained_for(tiny(num_qubits=4), student_path / "compiled.onnx", shots=100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": device(0.5)}, "device: found 1 offsets and 1 slopes; expected 2 of each"),
        ({"device": device(0.5, 0.5), "head": "tanh"}, "device: found one for the head 'tanh', which runs on none"),
    ],
)
def test_a_device_that_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(*DATA, tiny(**settings), progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--twin", "old.twin.onnx"], "found the twin of a circuit with 2 observables"),
        (["--twin", "none.onnx"], "none.onnx: No such file"),
        (["--twin", "train.csv"], "train.csv"),
        (["--shots", "100"], "--shots: found it without --twin, on whose device it would act"),
        (["--twin", "old.twin.onnx", "--comparison", "x"], "--comparison: found --twin"),
    ],
)
def test_the_command_says_what_does_not_fit(
    twin_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(twin_file.parent)
    Path("train.csv").write_text("text,label\n" + "a,x\nb,y\n" * 4)
    assert main(["train", "train.csv", "--output", "out", "--ansatz", "line", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.slow
def test_the_command_trains_for_a_twin(tmp_path: Path) -> None:
    twin_of(11).save(tmp_path / "old.twin.onnx")
    rows = [f"{text},{label}\n" for text, label in zip(*DATA, strict=True)]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(rows))
    files = [str(tmp_path / name) for name in ("train.csv", "old.twin.onnx", "hardy")]
    options = ["--ansatz", "line", "--epochs", "1", "--batch-size", "8", "--shots", "256"]
    assert main(["train", files[0], "--twin", files[1], "--output", files[2], *options]) == 0
    provenance = Artifact.open(tmp_path / "hardy").manifest.provenance
    assert provenance.settings["device_shots"] == 256
    assert provenance.command is not None
    assert "--twin old.twin.onnx" in provenance.command
