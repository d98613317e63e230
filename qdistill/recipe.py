"""From labelled texts to a finished student, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from qdinfer.artifact import Artifact
from qdinfer.circuit import Circuit
from qdinfer.classifier import Classifier
from qdinfer.errors import InputError
from qdinfer.evaluation import Evaluation, evaluate_labels
from qdinfer.manifest import Label, Name, Provenance
from qdinfer.tabular import column, read_table

from .config import TrainConfig
from .export import Parts, export, with_provenance
from .teachers import TeacherLabels
from .train import TrainedStudent, train

__all__ = ["Labelled", "check_names", "engine_of", "student_parts", "train_student"]


class Labelled(NamedTuple):
    """N texts and their labels."""

    texts: list[str]
    labels: list[str]

    @classmethod
    def read(cls, name: str, text_column: str, label_column: str) -> Labelled:
        """Those of a csv, jsonl or parquet.

        Raises:
            InputError: it has no such columns, or is not as it should be.
            OSError: it cannot be read.
        """
        rows = list(read_table(name, columns=[text_column, label_column]))
        return cls(column(rows, text_column), column(rows, label_column))


def train_student(
    name: str,
    data: Labelled,
    config: TrainConfig,
    *,
    test: Labelled | None,
    unlabelled: Sequence[str] = (),
    teacher: TeacherLabels | None = None,
    golden_texts: Sequence[str],
    provenance: Provenance,
    compared: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Artifact, str | None]:
    """Train, export, compile and measure a student.

    Args:
        name: short, fit for a file name.
        data: the training texts; a dev split is taken from them.
        config: the training settings.
        test: texts that it is measured on, as it was exported; None for none.
        unlabelled: texts that only the teacher tells of.
        teacher: what one said of all training texts; None to learn from labels alone.
        golden_texts: for the self-test.
        provenance: settings, metrics and the teacher are added.
        compared: more metrics, of others beside it.

    Returns:
        The artifact, and why it has no compiled graph, or None if it has one.

    Raises:
        InputError: texts, labels or settings that cannot be trained with.
    """
    check_names(name, data.labels)
    unknown = sorted(set(test.labels) - set(data.labels)) if test else []
    if unknown:
        raise InputError(f"test texts: found the label {unknown[0]!r}; expected one of {sorted(set(data.labels))}")
    student = train(data.texts, data.labels, config, unlabelled=unlabelled, teacher=teacher)
    artifact, reason = export(student_parts(name, student, golden_texts))
    metrics = {
        "dev_accuracy": student.dev_accuracy,
        "training_texts": float(len(data.texts)),
        "trained_parameters": float(student.num_parameters),
    }
    if teacher is not None:
        metrics["unlabelled_texts"] = float(len(unlabelled))
    if test is not None:
        evaluation = _measure(artifact, test)
        low, high = evaluation.interval
        metrics |= {
            "test_accuracy": evaluation.accuracy,
            "test_accuracy_95_low": low,
            "test_accuracy_95_high": high,
            "test_macro_f1": evaluation.macro_f1,
            "test_texts": float(evaluation.texts),
        }
    added: dict[str, Any] = {"metrics": metrics | dict(compared), "settings": config.flat()}
    if teacher is not None:
        added["teacher"] = _described(teacher)
    measured = msgspec.structs.replace(provenance, **added)
    return with_provenance(artifact, measured), reason


def _described(teacher: TeacherLabels) -> str:
    """Kind and model; of a probe the layer too."""
    identity = teacher.teacher
    layer = f", layer {identity['layer']}" if "layer" in identity else ""
    return f"{identity.get('kind', 'teacher')} on {identity.get('model', 'an unnamed model')}{layer}"


def check_names(name: str, labels: Sequence[str]) -> None:
    """Find out before the training what the manifest would refuse after it.

    Raises:
        InputError: the student's name or a label does not fit.
    """
    for what, kind, values in (("name", Name, [name]), ("label", Label, sorted(set(labels)))):
        for value in values:
            try:
                msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                raise InputError(f"{what}: found {value!r}; expected one that fits a manifest ({error})") from error


def student_parts(name: str, student: TrainedStudent, golden_texts: Sequence[str]) -> Parts:
    """What a trained student is exported from."""
    ansatz = student.ansatz
    circuit = Circuit.from_qiskit(
        ansatz.to_qiskit(np.asarray(student.head.circuit, np.float64)), ansatz.inputs, ansatz.observables
    )
    tokenizer = student.encoder.tokenizer
    return Parts(
        name=name,
        labels=student.labels,
        tokenizer=tokenizer.to_str().encode(),
        encoder=student.encoder.to_onnx(),
        max_tokens=student.encoder.max_tokens,
        pad_id=student.encoder.pad_id,
        circuit=circuit,
        weights=np.asarray(student.head.weights, np.float64),
        bias=np.asarray(student.head.bias, np.float64),
        golden_texts=golden_texts,
    )


def engine_of(artifact: Artifact) -> str:
    """The exact engine, or Aer for a student that is not compiled."""
    return "aer" if artifact.manifest.compiled is None else "exact"


def _measure(artifact: Artifact, test: Labelled) -> Evaluation:
    predicted = Classifier(artifact, backend=engine_of(artifact)).predict(test.texts).tolist()
    return evaluate_labels(artifact.manifest.labels, test.labels, predicted)
