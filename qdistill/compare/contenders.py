"""Who is compared: each trained from the same texts, each answering as it would where it is deployed."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qdinfer.classifier import Classifier
from qdinfer.encoder import TextEncoder
from qdinfer.readout import Readout

from ..config import TrainConfig, make_config
from ..export import GOLDEN_TEXTS, export
from ..recipe import Labelled, engine_of, student_parts
from ..train import TrainedStudent, train

if TYPE_CHECKING:
    from ..teachers import TeacherLabels

__all__ = ["CONTENDERS", "Contender", "Fitted", "Task"]


@dataclass(frozen=True)
class Task:
    """What all learn from.

    Attributes:
        labelled: the training texts.
        unlabelled: texts that only the teacher tells of.
        teacher: what one said. All that have 11 angles learn from it, the others from the labels alone.
        config: of the student, with the seed.
        transformer: folder of the model that is fine-tuned whole; None for none.
    """

    labelled: Labelled
    unlabelled: Sequence[str]
    teacher: TeacherLabels | None
    config: TrainConfig
    transformer: str | None


class Fitted(NamedTuple):
    """A trained classifier, ready to answer."""

    predict: Callable[[Sequence[str]], Iterable[str]]  # texts to labels
    trained_parameters: int
    disk_bytes: int


class Contender(NamedTuple):
    """One kind of classifier.

    Attributes:
        settings: of the training, from the student's and a transformer's folder; None if there is none to train.
        fit: trains it.
        seeded: whether another seed gives another result.
    """

    settings: Callable[[TrainConfig, str | None], TrainConfig | None]
    fit: Callable[[Task, TrainConfig], Fitted]
    seeded: bool = True


def _paper(config: TrainConfig, transformer: str | None) -> TrainConfig | None:
    return make_config("paper", encoder_path=transformer, seed=config.seed) if transformer else None


def _whole(config: TrainConfig, transformer: str | None) -> TrainConfig | None:
    """All layers and words; 11 values that nothing bends, and a readout after them, are one linear layer."""
    encoder = {"path": transformer, "layers": None, "min_count": 0, "scaling": "none"}
    settings = {f"encoder_{name}": value for name, value in encoder.items()}
    return make_config("contextual", head="linear", epochs=2, seed=config.seed, **settings) if transformer else None


def _fit_student(task: Task, config: TrainConfig) -> Fitted:
    trained = _train(task, config)
    artifact, _ = export(student_parts("student", trained, GOLDEN_TEXTS))
    classifier = Classifier(artifact, backend=engine_of(artifact))
    return Fitted(classifier.predict, trained.num_parameters, artifact.size)


def _fit_twin(task: Task, config: TrainConfig) -> Fitted:
    trained = _train(task, config)
    return _classical(trained, trained.encoder.to_onnx(), lambda angles: 2 * angles / math.pi - 1)


def _fit_whole(task: Task, config: TrainConfig) -> Fitted:
    from ..encoders.angles import export_onnx
    from ..encoders.transformer import TransformerEncoder

    trained = train(*task.labelled, config)
    if not isinstance(trained.encoder, TransformerEncoder):
        raise TypeError(f"expected a transformer, found {trained.encoder}")
    return _classical(trained, export_onnx(trained.encoder.module), lambda values: values)


def _train(task: Task, config: TrainConfig) -> TrainedStudent:
    return train(*task.labelled, config, unlabelled=task.unlabelled, teacher=task.teacher)


def _classical(
    trained: TrainedStudent, graph: bytes, values: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> Fitted:
    """The trained encoder as it would be deployed, something in the circuit's place, and the readout."""
    tokenizer, head = trained.encoder.tokenizer.to_str().encode(), trained.head
    encoder = TextEncoder(
        tokenizer,
        graph,
        num_angles=trained.ansatz.num_inputs,
        max_tokens=trained.encoder.max_tokens,
        pad_id=trained.encoder.pad_id,
    )
    readout = Readout(trained.labels, np.asarray(head.weights), np.asarray(head.bias))

    def predict(texts: Sequence[str]) -> list[str]:
        logits = readout.logits(values(encoder.encode(texts)))
        return [trained.labels[i] for i in logits.argmax(axis=1)]

    return Fitted(predict, trained.num_parameters, len(tokenizer) + len(graph) + head.weights.nbytes + head.bias.nbytes)


def _fit_bag(task: Task, config: TrainConfig) -> Fitted:
    """TF-IDF of words and pairs of words, and of 2 to 5 characters within words; logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
    model.fit(*task.labelled)
    last = model[-1]
    return Fitted(model.predict, last.coef_.size + last.intercept_.size, len(pickle.dumps(model)))


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        "student": Contender(lambda config, _: config, _fit_student),
        "twin": Contender(lambda config, _: config.model_copy(update={"head": "tanh"}), _fit_twin),
        "tfidf": Contender(lambda config, _: config, _fit_bag, seeded=False),
        "fine_tuned": Contender(_whole, _fit_whole),
        "paper": Contender(_paper, _fit_student),
    }
)
"""All that are trained, by name; `TITLES` says what they are."""
