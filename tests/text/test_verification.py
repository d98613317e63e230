"""The golden self-test names the stage that drifts, and only that one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from students import WORDS, encoder_onnx, parts, tiny, tokenizer_json

from qdinfer import AerBackend, Artifact, Expectations, InputError, verify
from qdinfer.verification import Stage, Verification
from qdistill.export import export

STAGES = ["tokenizer", "encoder", "circuit", "readout", "labels"]


def with_golden(change: Callable[[dict[str, Any]], None], artifact: Artifact | None = None) -> Artifact:
    """The small student with other golden numbers, hashed anew."""
    artifact = artifact or tiny()
    content = json.loads(artifact.files["golden.json"])
    change(content)
    files = {**artifact.files, "golden.json": json.dumps(content).encode()}
    return Artifact.create(artifact.manifest, files)


def with_file(name: str, data: bytes) -> Artifact:
    return Artifact.create(tiny().manifest, {**tiny().files, name: data})


def uncompiled() -> Artifact:
    files = {name: data for name, data in tiny().files.items() if name != "compiled.onnx"}
    return Artifact.create(msgspec.structs.replace(tiny().manifest, compiled=None), files)


def drifting(report: Verification) -> list[str]:
    return [stage.name for stage in report.stages if not stage.ok]


@pytest.mark.parametrize(
    ("backend", "file"), [(None, "compiled.onnx"), ("exact", "compiled.onnx"), ("aer", "circuit.qasm")]
)
def test_a_sound_student_holds(backend: str | None, file: str) -> None:
    report = verify(tiny(), backend=backend)
    assert report.ok
    assert report.first_drift is None
    assert report.name == "tiny"
    assert report.backend == (backend or "exact")
    assert report.cases == 5
    assert [stage.name for stage in report.stages] == STAGES
    assert [stage.file for stage in report.stages] == [
        "tokenizer.json",
        "encoder.onnx",
        file,
        "student.json",
        "student.json",
    ]


def test_a_path_will_do(student_path: Path) -> None:
    assert verify(student_path).ok
    assert verify(str(student_path), backend="aer").ok


def test_a_student_without_compiled_graph_runs_on_aer() -> None:
    report = verify(uncompiled())
    assert report.ok
    assert report.backend == "aer"
    assert report.stages[2].file == "circuit.qasm"


def tokens(golden: dict[str, Any]) -> None:
    golden["token_ids"][1] = [3, 2, 2]


def angles(golden: dict[str, Any]) -> None:
    golden["angles"][2][1] += 0.01


def expectations(golden: dict[str, Any]) -> None:
    golden["expectations"][0][3] += 0.001


def probabilities(golden: dict[str, Any]) -> None:
    golden["probabilities"][4][0] += 0.001


def labels(golden: dict[str, Any]) -> None:
    golden["labels"][3] = "weather" if golden["labels"][3] != "weather" else "sport"


@pytest.mark.parametrize("backend", ["exact", "aer"])
@pytest.mark.parametrize(
    ("change", "first"), list(zip((tokens, angles, expectations, probabilities, labels), STAGES, strict=True))
)
def test_altered_golden_numbers_are_blamed_on_their_stage(change: Any, first: str, backend: str) -> None:
    report = verify(with_golden(change), backend=backend)
    assert not report.ok
    assert report.first_drift is not None
    assert report.first_drift.name == first
    # Only the next stage takes these numbers, so no stage after that may drift.
    assert set(drifting(report)) <= set(STAGES[STAGES.index(first) :][:2])


def test_the_deviation_is_the_largest_difference() -> None:
    stages = {stage.name: stage for stage in verify(with_golden(probabilities)).stages}
    assert stages["readout"].deviation == pytest.approx(0.001, abs=2e-5)
    assert stages["readout"].tolerance == 1e-5
    assert verify(with_golden(tokens)).stages[0].deviation == 1
    assert verify(with_golden(labels)).stages[4].deviation == 1


def test_a_difference_within_the_stated_tolerance_holds() -> None:
    def loosen(golden: dict[str, Any]) -> None:
        expectations(golden)
        golden["tolerance"]["expectations"] = 0.01
        golden["tolerance"]["probabilities"] = 0.01

    assert verify(with_golden(loosen)).ok


# An altered file drifts in its own stage and in no other: every stage starts from golden numbers.


def test_another_tokenizer_drifts_alone() -> None:
    words = [*WORDS[:2], "rain", "sun", *WORDS[4:]]
    report = verify(with_file("tokenizer.json", tokenizer_json(words)))
    assert drifting(report) == ["tokenizer"]
    assert report.stages[0].deviation == 2


def test_another_encoder_drifts_alone() -> None:
    assert drifting(verify(with_file("encoder.onnx", encoder_onnx(4, seed=9)))) == ["encoder"]


def test_another_compiled_graph_drifts_alone() -> None:
    other, _ = export(replace(parts(seed=5)))
    report = verify(with_file("compiled.onnx", other.files["compiled.onnx"]))
    assert drifting(report) == ["circuit"]
    assert report.first_drift is not None
    assert report.first_drift.file == "compiled.onnx"
    assert verify(with_file("compiled.onnx", other.files["compiled.onnx"]), backend="aer").ok


def test_another_readout_drifts_after_the_circuit() -> None:
    spec = msgspec.structs.replace(tiny().manifest.readout, temperature=2.0)
    manifest = msgspec.structs.replace(tiny().manifest, readout=spec)
    assert drifting(verify(Artifact.create(manifest, tiny().files))) == ["readout"]  # the labels stay


class Broken:
    """A backend that gives no numbers."""

    def expectations(self, circuit: Any, angles: Any) -> Expectations:
        return Expectations(np.full((len(angles), 4), np.nan), np.zeros(len(angles), np.int64), "broken")


def test_no_number_is_no_agreement() -> None:
    report = verify(tiny(), backend=Broken())
    assert drifting(report) == ["circuit"]
    assert report.backend == "broken"
    assert not Stage("circuit", "circuit.qasm", float("nan"), 1e9).ok


def test_a_backend_with_shots_cannot_verify(student: Artifact) -> None:
    with pytest.raises(InputError, match="found a backend with shots; expected one that gives exact values"):
        verify(student, backend=AerBackend(100))
