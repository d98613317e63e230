"""A sequence classifier of transformers, fine-tuned elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qdinfer.errors import InputError
from qdinfer.predictions import FloatArray
from qdinfer.readout import softmax
from qdinfer.texts import checked_texts

from .base import Identity, checked_labels
from .batching import checked_batch_size, encode, padded_batches, running
from .loading import Loaded, load

__all__ = ["SequenceClassifier"]


class SequenceClassifier:
    """Probabilities from the softmax of a classifier's logits.

    Attributes:
        labels: the C classes.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        labels: Sequence[str] | None = None,
        mapping: Mapping[str, str] | None = None,
        max_tokens: int = 256,
        batch_size: int = 16,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """Load it.

        Args:
            model: a folder, or ``hf:org/name``; see `qdistill.teachers.loading`.
            labels: the classes, in the order that is wanted; without it, in the model's order.
            mapping: the model's own label → class, for all of them, if the model calls them otherwise. Several may
                be one class, which gets the sum of their probabilities.
            max_tokens: longer texts are cut.
            batch_size: texts that are run together.
            device: of torch.
            dtype: of torch.

        Raises:
            InputError: there is no such model, it has no trained classifier, or other labels.
            TeacherError: the hub did not give it.
            MissingExtraError: torch or transformers is not installed.
        """
        self._loaded = load(model, "SequenceClassification", max_tokens=max_tokens, device=device, dtype=dtype)
        self._batch_size = checked_batch_size(batch_size)
        self._own = _own_labels(self._loaded)
        classes = _classes(self._own, mapping, self._loaded.name)
        self.labels = checked_labels(labels if labels is not None else dict.fromkeys(classes))
        if set(self.labels) != set(classes):
            raise InputError(
                f"{self._loaded.name}: found a classifier of {sorted(set(classes))}; expected one of "
                f"{sorted(self.labels)}, or a mapping from its labels {self._own} to these"
            )
        self._sums = np.array([[own == label for label in self.labels] for own in classes], np.float64)

    @property
    def identity(self) -> Identity:
        """Model, and which class each of its own labels is."""
        places = self._sums.argmax(axis=1)
        mapping = [f"{own} -> {self.labels[place]}" for own, place in zip(self._own, places, strict=True)]
        return {"kind": "classifier", **self._loaded.identity, "mapping": mapping}

    @property
    def disk_bytes(self) -> int | None:
        """The size of the model's files, or None if they are elsewhere."""
        return self._loaded.disk_bytes

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """(N, C) float64, rows sum to 1.

        Raises:
            InputError: a text is no str.
            TeacherError: the model failed.
        """
        texts = checked_texts(texts)
        logits = np.zeros((len(texts), len(self._own)))
        for rows, batch in padded_batches(self._loaded, encode(self._loaded, texts), self._batch_size):
            with running(self._loaded):
                logits[rows] = self._loaded.model(**batch).logits.double().cpu().numpy()
        return np.asarray(softmax(logits) @ self._sums)


def _own_labels(loaded: Loaded) -> list[str]:
    """The model's labels, in the order of its logits."""
    config = loaded.model.config
    names = [str(config.id2label.get(i)) for i in range(config.num_labels)]
    if config.num_labels < 2 or config.problem_type in ("regression", "multi_label_classification"):
        kind = config.problem_type or f"{config.num_labels} output"
        raise InputError(f"{loaded.name}: found a model for {kind}; expected a classifier with one label a text")
    return names


def _classes(own: Sequence[str], mapping: Mapping[str, str] | None, name: str) -> list[str]:
    """The class of each of the model's labels."""
    if mapping is None:
        return list(own)
    if set(mapping) != set(own):
        raise InputError(f"mapping: found {sorted(mapping)}; expected each label of {name}: {sorted(own)}")
    return [mapping[label] for label in own]
