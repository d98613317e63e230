"""Who is compared: each trained from the same texts, each answering as it would where it is deployed.

What one needs is imported when it is trained, so that its peak memory is its own.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qdinfer.errors import InputError

from ..config import TrainConfig, TransformerConfig, make_config

if TYPE_CHECKING:
    from ..recipe import Labelled
    from ..teachers import TeacherLabels
    from ..train import TrainedStudent

__all__ = ["CONTENDERS", "Contender", "Fitted", "Task"]


@dataclass(frozen=True)
class Task:
    """What all learn from.

    Attributes:
        labelled: the training texts.
        unlabelled: texts that only the teacher tells of.
        teacher: what one said; see `Contender.taught` for who learns from it.
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
        taught: whether it learns from the teacher and from unlabelled texts too, or from labels alone.
        once: whether it is trained with the first seed only.
    """

    settings: Callable[[TrainConfig, str | None], TrainConfig | None]
    fit: Callable[[Task, TrainConfig], Fitted]
    taught: bool
    once: bool = False


def _paper(config: TrainConfig, transformer: str | None) -> TrainConfig | None:
    if transformer is None or _is_minmax(config):  # then the student is this one
        return None
    return make_config("paper", encoder_path=transformer, seed=config.seed)


def _is_minmax(config: TrainConfig) -> bool:
    return isinstance(config.encoder, TransformerConfig) and config.encoder.scaling == "minmax"


def _whole(config: TrainConfig, transformer: str | None) -> TrainConfig | None:
    """All layers and words, two epochs; 11 values that nothing bends, and a readout: a linear layer of rank 11."""
    encoder = {"path": transformer, "layers": None, "min_count": 0, "scaling": "none"}
    settings = {f"encoder_{name}": value for name, value in encoder.items()}
    return make_config("contextual", head="linear", epochs=2, seed=config.seed, **settings) if transformer else None


def _fit_student(task: Task, config: TrainConfig) -> Fitted:
    from qdinfer.classifier import Classifier

    from ..export import GOLDEN_TEXTS, export
    from ..recipe import engine_of, student_parts

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
    from ..train import train

    trained = train(*task.labelled, config)
    if not isinstance(trained.encoder, TransformerEncoder):
        raise TypeError(f"expected a transformer, found {trained.encoder}")
    return _classical(trained, export_onnx(trained.encoder.module), lambda values: values)


def _train(task: Task, config: TrainConfig) -> TrainedStudent:
    from ..train import train

    return train(*task.labelled, config, unlabelled=task.unlabelled, teacher=task.teacher)


def _classical(
    trained: TrainedStudent, graph: bytes, values: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> Fitted:
    """The trained encoder as it would be deployed, something in the circuit's place, and the readout."""
    from qdinfer.encoder import TextEncoder
    from qdinfer.readout import Readout

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
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
    try:
        model.fit(*task.labelled)
    except ValueError as error:  # no text has a word
        raise InputError(f"texts: found none that TF-IDF can learn from ({error}); expected words") from error
    last = model[-1]
    return Fitted(model.predict, last.coef_.size + last.intercept_.size, len(pickle.dumps(model)))


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        "student": Contender(lambda config, _: config, _fit_student, taught=True),
        "twin": Contender(lambda config, _: config.model_copy(update={"head": "tanh"}), _fit_twin, taught=True),
        "tfidf": Contender(lambda *_: TrainConfig(), _fit_bag, taught=False, once=True),  # no seed changes it
        "fine_tuned": Contender(_whole, _fit_whole, taught=False),
        "paper": Contender(_paper, _fit_student, taught=True, once=True),  # it takes long, and is there for reference
    }
)
"""All that are trained, by name; `TITLES` says what they are."""
