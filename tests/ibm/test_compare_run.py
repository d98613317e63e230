"""A run held against its device's calibration: `runs compare`, and what is behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from command import Run as Command
from durable import SHOTS, TEXTS, open_run
from ibm_standin import StandIn
from qiskit_ibm_runtime import IBMBackend
from students import parts

from qdinfer import Classifier, InputError, JournalError, RuntimeBackend, RuntimeSettings, figures
from qdinfer.backends.isa import isa_to_json
from qdinfer.backends.runtime import device_named
from qdinfer.backends.settings import Limits
from qdinfer.backends.twin import TwinBackend
from qdinfer.compiler.noisy import compile_twin
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import Twin
from qdinfer.runs import AutoShots, Comparison, Journal, compare
from qdinfer.runs.plan import identify, plan_round, text_hashes
from qdistill.export import export

QUBIT = 2
"""Of the circuit: the one that is made to depart."""


@pytest.fixture(scope="module")
def noise(classifier: Classifier) -> DeviceNoise:
    """What the snapshot of FakeFez says, of the circuit as a run transpiles it."""
    device = device_named("FakeFez")
    isa = RuntimeBackend(device).prepare(classifier.circuit).isa
    return DeviceNoise.from_backend(device, classifier.circuit, isa)


@pytest.fixture(scope="module")
def twin(classifier: Classifier, noise: DeviceNoise) -> Twin:
    return compile_twin(classifier.circuit, noise)


def departing(noise: DeviceNoise) -> DeviceNoise:
    """A device that reads one qubit worse by 8 % in both directions."""
    place = noise.measured[QUBIT]
    qubits = tuple(
        msgspec.structs.replace(each, read_1_as_0=each.read_1_as_0 + 0.08, read_0_as_1=each.read_0_as_1 + 0.08)
        if each.qubit == place
        else each
        for each in noise.qubits
    )
    return msgspec.structs.replace(noise, qubits=qubits)


def silent(noise: DeviceNoise) -> DeviceNoise:
    """A device without noise."""
    gates = tuple(msgspec.structs.replace(gate, error=0.0) for gate in noise.gates)
    qubits = tuple(type(each)(each.qubit) for each in noise.qubits)
    return msgspec.structs.replace(noise, gates=gates, qubits=qubits)


Record = Callable[..., Path]


@pytest.fixture
def record(tmp_path: Path, classifier: Classifier) -> Record:
    """Write the journal of a run that a twin has answered."""

    def write(answers: Twin, *, seed: int = 1, shots: int = 1000, done: bool = True, **options: Any) -> Path:
        settings = RuntimeSettings(**options)
        backend = RuntimeBackend(device_named("FakeFez"), settings=settings, limits=Limits(executions=20 * shots))
        circuit, prepared = classifier.circuit, backend.prepare(classifier.circuit)
        angles = classifier.encoder.encode(TEXTS)
        identity = identify(classifier.artifact, backend, shots, TEXTS, "")
        chunks = plan_round(identity, prepared, backend, angles, np.arange(len(TEXTS)), 0, shots)
        about = {"device": "fake_fez", "instance": "i", "circuit": isa_to_json(prepared.isa), "tag": "qdinfer-run-x"}
        sampler = TwinBackend(answers, seed=seed, shots=shots, mitigate_readout=settings.mitigate_readout)
        path = tmp_path / f"run {seed}.db"
        with Journal(path, new=True) as journal:
            journal.begin(identity, about, text_hashes(TEXTS), angles, chunks)
            for chunk in chunks if done else chunks[1:]:
                journal.ask(chunk.id)
                journal.finish(chunk.id, f"job {chunk.id}", sampler.measure(circuit, angles[chunk.rows], chunk.shots))
        return path

    return write


def compared(path: Path, classifier: Classifier, twin: Twin) -> Comparison:
    with Journal(path, writing=False) as journal:
        return compare(journal, classifier, twin)


@pytest.mark.parametrize("mitigated", [False, True])
def test_a_run_that_its_twin_has_answered_is_as_calibrated(
    mitigated: bool, record: Record, classifier: Classifier, twin: Twin, noise: DeviceNoise
) -> None:
    found = compared(record(twin, mitigate_readout=mitigated), classifier, twin)
    assert found.departure.verdicts == ("as calibrated",) * 4
    assert not found.departure.departs
    assert found.qubits == tuple((place,) for place in noise.measured)
    assert found.calibrated == noise.calibrated
    now = datetime.now(UTC)
    assert all(abs((now - datetime.fromisoformat(when)).total_seconds()) < 60 for when in found.measured or ())
    assert found.agreement["twin and exact"][0] > 0.8
    assert np.mean(found.departure.rms_z) == pytest.approx(1, abs=0.2)


def test_the_qubit_that_departs_is_named(
    record: Record, classifier: Classifier, twin: Twin, noise: DeviceNoise
) -> None:
    path = record(compile_twin(classifier.circuit, departing(noise)))
    found = compared(path, classifier, twin)
    assert [verdict == "as calibrated" for verdict in found.departure.verdicts] == [True, True, False, True]
    assert "more damped" in found.departure.verdicts[QUBIT]
    (line,) = [line for line in found.to_text().splitlines() if "more damped" in line]
    assert line.split()[:2] == ["IZII", str(noise.measured[QUBIT])]
    assert "the device departs from its calibration where the verdict says so." in found.to_text()
    row = found.to_dict()["observables"][QUBIT]
    assert row["qubits"] == [noise.measured[QUBIT]]
    assert row["slope"] < row["twin_slope"] - 3 * row["slope_error"]


def test_picture_has_a_panel_for_each_observable(record: Record, classifier: Classifier, twin: Twin) -> None:
    found = compared(record(twin), classifier, twin)
    figure = figures.measured_against_twin(found)
    assert [panel.get_title() for panel in figure.axes] == [f"qubit {q}\nas calibrated" for (q,) in found.qubits]
    for j, panel in enumerate(figure.axes):
        for expected, bars in zip((found.departure.exact, found.departure.twin), panel.containers, strict=True):
            off = np.asarray(bars.lines[0].get_ydata())
            # Eight groups of five texts.
            np.testing.assert_allclose(off.mean(), (found.departure.measured - expected)[:, j].mean(), atol=1e-12)
            assert len(off) == 8


def test_what_the_twin_does_not_know_is_said(record: Record, classifier: Classifier, twin: Twin) -> None:
    found = compared(record(twin, dynamical_decoupling="XY4"), classifier, twin)
    assert "The run had XY4 on idle qubits, of which the twin knows nothing." in found.to_text()


def test_command_on_the_calibration_of_the_run(
    standin: StandIn,
    classifier: Classifier,
    student_path: Path,
    tmp_path: Path,
    run: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_run(tmp_path / "run.db", classifier, shots=1000, limits=Limits()) as measuring:
        measuring.wait()
    asked: list[datetime] = []
    properties = IBMBackend.properties

    def remembering(device: IBMBackend, refresh: bool = False, datetime: datetime | None = None) -> Any:
        if datetime is not None:
            asked.append(datetime)
        return properties(device, refresh, datetime)

    monkeypatch.setattr(IBMBackend, "properties", remembering)
    plot = tmp_path / "departures.svg"
    out, _ = run("runs", "compare", tmp_path / "run.db", student_path, "--plot", plot)
    assert out.splitlines()[0].startswith("tiny on ibm:fake_fez, 20")
    assert out.splitlines()[0].endswith("UTC: 40 texts × 1000 shots")
    assert out.count("less damped") == 4  # the stand-in has no noise, and its calibration has
    with Journal(tmp_path / "run.db", writing=False) as journal:
        last = max(journal.asked().values())
    assert asked
    assert [when.timestamp() for when in asked] == pytest.approx([last] * len(asked), abs=1e-3)
    assert "<svg" in plot.read_text()
    out, _ = run("runs", "compare", tmp_path / "run.db", student_path, "--json", "--device", "fake:FakeFez")
    found = json.loads(out)
    assert found["departs"]
    assert [row["observable"] for row in found["observables"]] == list(classifier.circuit.observables)
    assert found["texts"] == 40
    assert found["agreement"]["measured and exact"][0] > 0.8

    monkeypatch.setattr(IBMBackend, "properties", lambda *_, **__: None)
    message = run.error("runs", "compare", tmp_path / "run.db", student_path, code=1)
    assert "found no calibration of 20" in message


@pytest.mark.slow
def test_a_device_that_is_simulated_with_its_own_noise_is_as_calibrated(
    serve: Callable[..., StandIn], classifier: Classifier, student_path: Path, tmp_path: Path, run: Command
) -> None:
    serve(["FakeFez:full"], seed=1)
    few = TEXTS[:5]  # each takes Aer seconds
    with open_run(tmp_path / "run.db", classifier, few, shots=1000, limits=Limits()) as measuring:
        measuring.wait()
    out, _ = run("runs", "compare", tmp_path / "run.db", student_path)
    assert out.endswith("At a level of 5% for all observables together (Holm), all is as calibrated.\n")


def test_shots_as_a_budget_against_a_noise_file(
    serve: Callable[..., StandIn],
    classifier: Classifier,
    student_path: Path,
    noise: DeviceNoise,
    tmp_path: Path,
    run: Command,
) -> None:
    serve(seed=1)
    with open_run(tmp_path / "run.db", classifier, shots=AutoShots(0.9, max_shots=512), limits=Limits()) as measuring:
        measuring.wait()
    silent(noise).save(tmp_path / "silent.json")
    out, _ = run("runs", "compare", tmp_path / "run.db", student_path, "--device", tmp_path / "silent.json", "--json")
    found = json.loads(out)
    assert not found["departs"]
    assert 128 < found["shots"] < 512
    assert found["agreement"]["twin and exact"][0] == 1


def test_a_twin_that_was_saved(record: Record, student_path: Path, twin: Twin, tmp_path: Path, run: Command) -> None:
    path = record(twin)
    twin.save(tmp_path / "twin.onnx")
    out, _ = run("runs", "compare", path, student_path, "--device", tmp_path / "twin.onnx")
    assert "all is as calibrated" in out


def test_refusals(
    record: Record,
    classifier: Classifier,
    student_path: Path,
    twin: Twin,
    noise: DeviceNoise,
    tmp_path: Path,
    run: Command,
) -> None:
    path = record(twin)
    other, _ = export(parts(4, seed=3))
    with pytest.raises(JournalError, match=r"found the journal of another run, with circuit '\w+', expected"):
        compared(path, Classifier(other), twin)
    with pytest.raises(JournalError, match="found a run that is not complete; expected all texts measured"):
        compared(record(twin, seed=2, done=False), classifier, twin)
    with pytest.raises(InputError, match="found twirled gates False; expected True, as in the run"):
        compared(record(twin, seed=3, twirl_gates=True), classifier, twin)
    with pytest.raises(InputError, match="found the backend twin:fake_fez, with shots; expected an exact one"):
        compared(path, Classifier(classifier.artifact, backend=TwinBackend(twin, shots=10)), twin)

    device = device_named("FakeFez")
    layout = RuntimeBackend(device, settings=RuntimeSettings(initial_layout=(3, 4, 5, 6)))
    elsewhere = DeviceNoise.from_backend(device, classifier.circuit, layout.prepare(classifier.circuit).isa)
    elsewhere.save(tmp_path / "elsewhere.json")
    message = run.error("runs", "compare", path, student_path, "--device", tmp_path / "elsewhere.json")
    assert "found a circuit on qubits [3, 4, 5, 6]" in message
    assert f"other than the run's on {sorted(noise.measured)}" in message

    for device_name in ("nowhere", "fake:nowhere"):
        assert "found" in run.error("runs", "compare", path, student_path, "--device", device_name)
    assert "found the ending '.txt'" in run.error("runs", "compare", path, student_path, "--plot", "p.txt")
    assert "found no folder for it" in run.error("runs", "compare", path, student_path, "--plot", "none/p.png")
    assert "found no journal" in run.error("runs", "compare", tmp_path / "none.db", student_path)


def test_jobs_of_a_journal_that_was_lost(
    standin: StandIn, classifier: Classifier, student_path: Path, twin: Twin, tmp_path: Path, run: Command
) -> None:
    for name in ("first.db", "second.db"):
        with open_run(tmp_path / name, classifier) as measuring:
            measuring.wait()
    assert len(standin.jobs()) == 4
    message = run.error("runs", "compare", tmp_path / "second.db", student_path)
    assert "found jobs of an earlier journal, and not when they were asked for" in message
    found = compared(tmp_path / "second.db", classifier, twin)
    assert found.measured is None
    assert f"at an unknown time: 40 texts × {SHOTS} shots" in found.to_text()
