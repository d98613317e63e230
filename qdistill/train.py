"""Training a student: encoder, circuit and readout together, from labels, from a teacher, or from both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer
from tqdm import tqdm

from qdinfer.errors import InputError, require
from qdinfer.predictions import FloatArray
from qdinfer.texts import checked_texts

from .ansatz import ANSATZE, Ansatz
from .config import FoldedConfig, TrainConfig
from .distillation import Targets
from .encoders.base import Ints, TrainableEncoder
from .encoders.folded import FoldedEncoder, train_tokenizer
from .heads import Head, HeadParams

__all__ = ["Epoch", "TrainedStudent", "class_numbers", "train"]

_POOL = 50  # batches whose texts are sorted by length together, so that padding is small and order still random


class Teaching(Protocol):
    """What a teacher said of texts, see `TeacherLabels`."""

    def lookup(self, texts: Sequence[str], labels: Sequence[str]) -> FloatArray:
        """(N, C) probabilities."""
        ...


class Epoch(NamedTuple):
    """What one pass over the training texts came to."""

    train_loss: float
    dev_accuracy: float


@dataclass(frozen=True)
class TrainedStudent:
    """The best epoch's student."""

    encoder: TrainableEncoder  # with its tokenizer
    ansatz: Ansatz
    head: HeadParams  # circuit angles (K,), readout weights (C, M) and bias (C,)
    labels: tuple[str, ...]  # the C classes, sorted
    dev_accuracy: float  # of the best epoch
    history: tuple[Epoch, ...]
    num_parameters: int  # trained numbers, in encoder and head
    seconds: float  # wall time, compilation included
    config: TrainConfig


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    config: TrainConfig | None = None,
    *,
    unlabelled: Sequence[str] = (),
    teacher: Teaching | None = None,
    tokenizer: Tokenizer | None = None,
    progress: bool = True,
) -> TrainedStudent:
    """Train a student, and keep the epoch that is best on held-out dev texts.

    Args:
        texts: N texts.
        labels: N labels, at least two different ones, each with at least two texts.
        config: the settings; None takes the defaults.
        unlabelled: texts that only the teacher tells of.
        teacher: its probabilities for all texts, labelled and unlabelled; None to learn from labels alone.
        tokenizer: of a folded encoder, used as it is; None trains one on the training texts. A transformer has its own.
        progress: show a bar on standard error, if that is a terminal.

    Raises:
        InputError: texts or labels that cannot be trained on; the message names them.
    """
    start = time.perf_counter()
    config = config or TrainConfig()
    names, classes = class_numbers(texts, labels)
    texts, unlabelled = checked_texts(texts), checked_texts(unlabelled, "unlabelled")
    if unlabelled and teacher is None:
        raise InputError(f"unlabelled: found {len(unlabelled)} texts and no teacher; expected what one said of them")
    everything = [*texts, *unlabelled]
    known = np.concatenate([classes, np.full(len(unlabelled), -1)])
    taught = np.zeros((len(everything), len(names))) if teacher is None else teacher.lookup(everything, names)
    rng = np.random.default_rng(config.seed)
    labelled_rows, dev_rows = _split(classes, config.dev_fraction, rng)
    train_rows = np.concatenate([labelled_rows, np.arange(len(texts), len(everything))])
    ansatz = ANSATZE[config.ansatz](config.num_qubits)
    encoder = _encoder(everything, train_rows, ansatz.num_inputs, config, tokenizer)
    steps = config.epochs * max(1, len(train_rows) // min(config.batch_size, len(train_rows)))
    head = Head(ansatz, len(names), config, steps)
    encoder.start(steps)
    fit = _Fit(encoder, head, known, taught, config, rng)
    history = fit.run(train_rows, dev_rows, steps, progress)
    return TrainedStudent(
        encoder=encoder,
        ansatz=ansatz,
        head=head.params,
        labels=names,
        dev_accuracy=max(epoch.dev_accuracy for epoch in history),
        history=history,
        num_parameters=encoder.num_parameters + head.num_parameters,
        seconds=time.perf_counter() - start,
        config=config,
    )


@dataclass
class _Fit:
    """One training."""

    encoder: TrainableEncoder
    head: Head
    classes: Ints
    taught: FloatArray
    config: TrainConfig
    rng: np.random.Generator

    def run(self, train_rows: Ints, dev_rows: Ints, steps: int, progress: bool) -> tuple[Epoch, ...]:
        """Learn until the epochs or the patience end; leave encoder and head as they were best."""
        history: list[Epoch] = []
        best, highest, waited = (self.encoder.snapshot(), self.head.params), -1.0, 0
        with tqdm(total=steps, unit="step", disable=None if progress else True) as bar:
            while len(history) < self.config.epochs and waited < self.config.patience:
                losses = []
                for rows in self._batches(train_rows):
                    loss, gradient = self.head.step(self.encoder.forward(rows), self._targets(rows))
                    self.encoder.backward(gradient)
                    losses.append(loss)
                    bar.update()
                history.append(Epoch(float(np.mean(losses)), self._accuracy(dev_rows)))
                bar.set_postfix(dev_accuracy=f"{history[-1].dev_accuracy:.3f}")
                waited += 1
                if history[-1].dev_accuracy > highest:
                    best, highest, waited = (self.encoder.snapshot(), self.head.params), history[-1].dev_accuracy, 0
        self.encoder.restore(best[0])
        self.head.params = best[1]
        return tuple(history)

    def _batches(self, rows: Ints) -> Iterator[Ints]:
        """All rows once in random order, but for a rest smaller than a batch: every batch has one size."""
        size = min(self.config.batch_size, len(rows))
        order = self.rng.permutation(rows)[: len(rows) // size * size]
        pools = np.split(order, range(_POOL * size, len(order), _POOL * size))
        ordered = np.concatenate([pool[np.argsort(self.encoder.lengths[pool], kind="stable")] for pool in pools])
        yield from self.rng.permutation(ordered.reshape(-1, size))

    def _targets(self, rows: Ints) -> Targets:
        return Targets(jnp.asarray(self.classes[rows]), jnp.asarray(self.taught[rows], jnp.float32))

    def _accuracy(self, rows: Ints) -> float:
        logits = self.head.logits(self.encoder.angles(rows))
        return float((logits.argmax(axis=1) == self.classes[rows]).mean())


def _encoder(
    texts: Sequence[str], train_rows: Ints, num_angles: int, config: TrainConfig, tokenizer: Tokenizer | None
) -> TrainableEncoder:
    settings = config.encoder
    if isinstance(settings, FoldedConfig):
        tokenizer = tokenizer or train_tokenizer([texts[i] for i in train_rows], settings.vocab_size)
        return FoldedEncoder(texts, tokenizer, num_angles, settings, config.seed)
    if tokenizer is not None:
        raise InputError("tokenizer: found one for a transformer, which has its own; expected None")
    for module in ("torch", "transformers"):
        require(module, feature="a transformer as encoder", extra="distill")
    from .encoders.transformer import TransformerEncoder, transformer_tokenizer

    own = transformer_tokenizer(settings.path)
    return TransformerEncoder(texts, own, num_angles, settings, config.seed, fitted=train_rows)


def class_numbers(texts: Sequence[str], labels: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """The classes, sorted, and (N,) the place of each text's label among them.

    Raises:
        InputError: texts or labels that cannot be trained on.
    """
    if len(texts) != len(labels):
        raise InputError(f"{len(texts)} texts and {len(labels)} labels; expected one label a text")
    checked_texts(texts)
    for i, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"label {i} is {label!r}; expected a name")
    counts = Counter(labels)
    if len(counts) < 2:
        raise InputError(f"the labels are {sorted(counts)}; expected at least two different ones")
    rare = sorted(label for label, number in counts.items() if number < 2)
    if rare:
        raise InputError(f"only one text has the label {rare[0]!r}; expected two or more of each")
    names = tuple(sorted(counts))
    number = {name: i for i, name in enumerate(names)}
    return names, np.array([number[label] for label in labels])


def _split(classes: Ints, dev_fraction: float, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Row numbers for training and for dev; every class is in both."""
    train_rows, dev_rows = [], []
    for number in range(int(classes.max()) + 1):
        rows = rng.permutation(np.flatnonzero(classes == number))
        cut = min(max(round(len(rows) * dev_fraction), 1), len(rows) - 1)
        dev_rows.append(rows[:cut])
        train_rows.append(rows[cut:])
    return np.concatenate(train_rows), np.concatenate(dev_rows)
