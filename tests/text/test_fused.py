"""A student as one ONNX graph gives what its parts give, here and in a bare onnxruntime."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from students import GOLDEN, LABELS, parts, tiny
from tokenizers import Tokenizer

from qdinfer import (
    AerBackend,
    Artifact,
    ArtifactError,
    Classifier,
    CompileError,
    ExactBackend,
    TruncationWarning,
    compile_artifact,
    verify,
)
from qdistill.export import export

TEXTS = ["sun rain", "goal", "", "bank share star code", "code code", "rain"]
STUDENTS = Path(__file__).parents[2] / "exported_models"


@pytest.fixture(scope="module")
def fused() -> Artifact:
    return compile_artifact(tiny(), fused=True)


def renamed(change: dict[str, str]) -> bytes:
    """The small student's encoder with other names inside."""
    model = onnx.load_from_string(tiny().files["encoder.onnx"])
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [change.get(name, name) for name in names]
    for tensor in model.graph.initializer:
        tensor.name = change.get(tensor.name, tensor.name)
    model.graph.node[0].name = change.get("node", "")
    return bytes(model.SerializeToString())


def test_the_same_answers_as_the_parts(fused: Artifact) -> None:
    one, two = Classifier(fused), Classifier(tiny())
    found, expected = one.classify(TEXTS), two.classify(TEXTS)
    np.testing.assert_allclose(found.expectations.values, expected.expectations.values, atol=2e-6)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-6)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.backend == expected.backend == "exact"
    assert not found.shots.any()
    assert found.probabilities.dtype == np.float64
    assert len(one.classify([])) == 0
    assert [part.labels.tolist() for part in one.stream(TEXTS, chunk_size=4)] == [
        expected.labels[:4].tolist(),
        expected.labels[4:].tolist(),
    ]


def test_texts_that_are_cut_are_told_of(fused: Artifact) -> None:
    with pytest.warns(TruncationWarning, match="1 of 5 texts have over 4 tokens") as caught:
        labels = Classifier(fused).predict(GOLDEN)
    assert labels.tolist() == fused.golden.labels
    assert caught[0].filename == __file__


def test_the_parts_are_built_when_they_are_asked_for(fused: Artifact) -> None:
    classifier = Classifier(fused)
    classifier.predict(TEXTS)
    assert not {"encoder", "backend"} & set(vars(classifier))
    np.testing.assert_allclose(classifier.encoder.encode(TEXTS), Classifier(tiny()).encoder.encode(TEXTS))
    assert isinstance(classifier.backend, ExactBackend)
    assert {"encoder", "backend"} <= set(vars(Classifier(fused, backend="aer")))


def test_other_backends_run_the_circuit_itself(fused: Artifact) -> None:
    classifier = Classifier(fused)
    for backend in ("aer", ExactBackend.from_artifact(fused)):
        found = classifier.classify(TEXTS, backend=backend)
        np.testing.assert_allclose(found.probabilities, classifier.predict_proba(TEXTS), atol=1e-5)
    sampled = classifier.classify(TEXTS, backend=AerBackend(shots=100, seed=1))
    assert sampled.backend == "aer"
    assert (sampled.shots == 100).all()


def test_a_classifier_with_it_can_be_pickled(fused: Artifact) -> None:
    again = pickle.loads(pickle.dumps(Classifier(fused)))
    np.testing.assert_allclose(again.predict_proba(TEXTS), Classifier(fused).predict_proba(TEXTS))


def test_any_onnxruntime_runs_the_one_file(fused: Artifact) -> None:
    session = onnxruntime.InferenceSession(fused.files["fused.onnx"], providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == list(LABELS)
    tokenizer = Tokenizer.from_str(fused.files["tokenizer.json"].decode())
    tokenizer.enable_padding(pad_id=int(about["pad_id"]))
    tokenizer.enable_truncation(int(about["max_tokens"]))
    rows = tokenizer.encode_batch(TEXTS)
    feeds = {
        "input_ids": np.array([row.ids for row in rows], np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
    }
    expectations, probabilities = session.run(["expectations", "probabilities"], feeds)
    expected = Classifier(tiny()).classify(TEXTS)
    np.testing.assert_allclose(expectations, expected.expectations.values, atol=2e-6)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=2e-6)


def test_a_temperature_is_part_of_it() -> None:
    warm = replace(parts(), temperature=2.5)
    artifact = compile_artifact(export(warm)[0], fused=True)
    session = onnxruntime.InferenceSession(artifact.files["fused.onnx"], providers=["CPUExecutionProvider"])
    ids = np.array([[2, 3]], np.int64)
    probabilities = session.run(["probabilities"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    np.testing.assert_allclose(probabilities, Classifier(export(warm)[0]).predict_proba("sun rain"), atol=2e-6)


@pytest.mark.parametrize(
    "name", ["circuit_angles", "circuit_expectations", "circuit_c0", "expectations", "probabilities", "readout_bias"]
)
@pytest.mark.parametrize("taken", ["total", "table", "node"])
def test_names_that_the_encoder_has_taken(taken: str, name: str) -> None:
    artifact = export(replace(parts(), encoder=renamed({taken: name})))[0]
    found = Classifier(compile_artifact(artifact, fused=True)).predict_proba(TEXTS)
    np.testing.assert_allclose(found, Classifier(tiny()).predict_proba(TEXTS), atol=2e-6)


def test_saving_opening_and_compiling_again(fused: Artifact, tmp_path: Path) -> None:
    path = fused.save(tmp_path / "fused.zip")
    again = Artifact.open(path)
    assert again.sha256 == fused.sha256
    assert verify(path).ok
    assert compile_artifact(again, fused=True).files["fused.onnx"] == fused.files["fused.onnx"], "it is repeatable"
    assert compile_artifact(again).sha256 == fused.sha256, "who has one keeps it"


def bent(fused: Artifact, initializer: str, change: float = 0.1) -> Artifact:
    """The student with other numbers in its fused graph, hashed anew."""
    model = onnx.load_from_string(fused.files["fused.onnx"])
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == initializer)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] += change
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, initializer))
    return Artifact.create(fused.manifest, {**fused.files, "fused.onnx": bytes(model.SerializeToString())})


def test_the_self_test_holds_it_against_its_parts(fused: Artifact) -> None:
    report = verify(fused)
    assert report.ok
    assert (report.stages[-1].name, report.stages[-1].file) == ("fused", "fused.onnx")
    assert verify(fused, backend="aer").ok


@pytest.mark.parametrize("initializer", ["encoder_bias", "readout_bias", "readout_weights"])
def test_the_self_test_notices_whatever_differs(fused: Artifact, initializer: str) -> None:
    assert [stage.name for stage in verify(bent(fused, initializer)).stages if not stage.ok] == ["fused"]


def test_outputs_are_taken_by_name() -> None:
    square = export(replace(parts(3), labels=("a", "b", "c")))[0]  # as many labels as observables
    fused = compile_artifact(square, fused=True)
    model = onnx.load_from_string(fused.files["fused.onnx"])
    model.graph.output.append(model.graph.output.pop(0))
    turned = Artifact.create(fused.manifest, {**fused.files, "fused.onnx": bytes(model.SerializeToString())})
    np.testing.assert_allclose(
        Classifier(turned).predict_proba(TEXTS), Classifier(square).predict_proba(TEXTS), atol=2e-6
    )


class TestRefusals:
    def test_another_readout_than_it_was_made_with(self, fused: Artifact) -> None:
        readout = msgspec.structs.replace(fused.manifest.readout, bias=[0.0, 0.5, 0.0])
        with pytest.raises(ArtifactError, match="fused.onnx: found a graph fused from .*; expected .* readout here"):
            Artifact.create(msgspec.structs.replace(fused.manifest, readout=readout), fused.files)

    @pytest.mark.parametrize(("key", "value"), [("labels", '["x", "y", "z"]'), ("max_tokens", "1"), ("more", "")])
    def test_metadata_that_mislead(self, fused: Artifact, key: str, value: str) -> None:
        model = onnx.load_from_string(fused.files["fused.onnx"])
        about = {entry.key: entry.value for entry in model.metadata_props} | {key: value}
        onnx.helper.set_model_props(model, about)
        with pytest.raises(ArtifactError, match=r"fused.onnx: found the metadata \{.*; expected \{'labels'"):
            Artifact.create(fused.manifest, {**fused.files, "fused.onnx": bytes(model.SerializeToString())})

    def test_another_limit_of_tokens(self, fused: Artifact) -> None:
        encoder = msgspec.structs.replace(fused.manifest.encoder, max_tokens=3)
        with pytest.raises(ArtifactError, match="fused.onnx: found"):
            Artifact.create(msgspec.structs.replace(fused.manifest, encoder=encoder), fused.files)

    def test_an_encoder_that_onnx_does_not_take(self) -> None:
        model = onnx.load_from_string(tiny().files["encoder.onnx"])
        model.ir_version = 3  # onnxruntime takes it; the checker wants all initializers to be inputs then
        artifact = export(replace(parts(), encoder=bytes(model.SerializeToString())))[0]
        with pytest.raises(CompileError, match="encoder.onnx: found a graph that cannot be fused with the circuit"):
            compile_artifact(artifact, fused=True)

    def test_a_graph_that_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from qdinfer import compiler

        monkeypatch.setattr(compiler, "fused_deviation", lambda *_: 0.5)
        with pytest.raises(CompileError, match="fused.onnx: found that it is off by 5.0e-01; expected at most 1e-05"):
            compile_artifact(tiny(), fused=True)

    def test_a_graph_that_the_manifest_does_not_know(self, fused: Artifact) -> None:
        with pytest.raises(ArtifactError, match="`fused` and the file fused.onnx must be there both or neither"):
            Artifact.create(tiny().manifest, fused.files)

    def test_a_graph_without_the_compiled_circuit(self, fused: Artifact) -> None:
        files = {name: data for name, data in fused.files.items() if name != "compiled.onnx"}
        with pytest.raises(ArtifactError, match="`fused` is there without `compiled`, which is part of it"):
            Artifact.create(msgspec.structs.replace(fused.manifest, compiled=None), files)

    def test_a_graph_with_other_outputs(self, fused: Artifact) -> None:
        with pytest.raises(ArtifactError, match=r"fused.onnx: found outputs .*angles.*; expected .*probabilities"):
            Artifact.create(fused.manifest, {**fused.files, "fused.onnx": fused.files["encoder.onnx"]})

    def test_an_encoder_of_an_old_operator_set(self) -> None:
        model = onnx.load_from_string(tiny().files["encoder.onnx"])
        del model.graph.node[:]
        for tensor in list(model.graph.initializer):
            if tensor.name in ("tokens", "last"):
                model.graph.initializer.remove(tensor)
        make = onnx.helper.make_node
        model.graph.node.extend(  # before version 13, axes were attributes
            [
                make("Gather", ["table", "input_ids"], ["rows"], name="a"),
                make("Cast", ["attention_mask"], ["mask"], to=onnx.TensorProto.FLOAT, name="b"),
                make("Unsqueeze", ["mask"], ["column"], axes=[2], name="c"),
                make("Mul", ["rows", "column"], ["seen"], name="d"),
                make("ReduceSum", ["seen"], ["total"], axes=[1], keepdims=0, name="e"),
                make("Add", ["total", "bias"], ["angles"], name="f"),
            ]
        )
        model.opset_import[0].version = 11
        artifact = export(replace(parts(), encoder=bytes(model.SerializeToString())))[0]
        with pytest.raises(CompileError, match="encoder.onnx: found opset 11; expected at least 13, to be fused"):
            compile_artifact(artifact, fused=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in STUDENTS.iterdir() if path.is_dir()))
def test_the_exported_students(name: str) -> None:
    artifact = Artifact.open(STUDENTS / name)
    fused = compile_artifact(artifact, fused=True)
    assert verify(fused).ok
    texts = list(artifact.golden.texts) * 3
    expected = Classifier(artifact).classify(texts)
    found = Classifier(fused).classify(texts)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.labels.tolist() == expected.labels.tolist()
