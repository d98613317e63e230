"""Training a student: encoder, circuit and readout together, from texts and their labels."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from qdinfer.errors import InputError

from .ansatz import ANSATZE, Ansatz
from .encoders import ENCODERS, FoldedEncoder, Params, tokenize, train_tokenizer

__all__ = ["Epoch", "TrainConfig", "TrainedStudent", "train"]

Ints = NDArray[np.int64]
_COUNTS = ("num_qubits", "vocab_size", "max_tokens", "epochs", "patience", "batch_size")
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "encoder_rate": (lambda x: 0 < x < inf, "above 0"),
    "circuit_rate": (lambda x: 0 < x < inf, "above 0"),
    "weight_decay": (lambda x: 0 <= x < inf, "that is 0 or more"),
    "token_dropout": (lambda x: 0 <= x < 1, "from 0 to below 1"),
    "dev_fraction": (lambda x: 0 < x < 1, "between 0 and 1"),
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train a student.

    Raises:
        InputError: a value that cannot be used; the message names it.
    """

    ansatz: str = "qdllm"  # a key of qdistill.ansatz.ANSATZE
    encoder: str = "folded"  # a key of qdistill.encoders.ENCODERS
    num_qubits: int = 11  # also the number of data angles and of observables
    vocab_size: int = 32_000  # the most entries of a tokenizer that is trained here
    max_tokens: int = 512  # longer texts are cut
    epochs: int = 5  # the most passes over the training texts
    patience: int = 3  # stop after so many epochs without a better dev accuracy
    batch_size: int = 64
    encoder_rate: float = 3e-2  # peak learning rate of the encoder
    circuit_rate: float = 1e-2  # peak learning rate of circuit and readout
    weight_decay: float = 0.01  # AdamW's, on the encoder only
    token_dropout: float = 0.4  # the chance that a step does not see a token
    dev_fraction: float = 0.1  # of each class, held out to choose the best epoch
    seed: int = 0  # same seed, texts and machine: same student

    def __post_init__(self) -> None:
        for name, known in (("ansatz", ANSATZE), ("encoder", ENCODERS)):
            value = getattr(self, name)
            if value not in known:
                raise InputError(f"{name} is {value!r}; expected one of {', '.join(sorted(known))}")
        for name, low in {**dict.fromkeys(_COUNTS, 1), "seed": 0}.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise InputError(f"{name} is {value!r}; expected a whole number, {low} or more")
        for name, (fits, wanted) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not fits(value):
                raise InputError(f"{name} is {value!r}; expected a number {wanted}")


class Epoch(NamedTuple):
    """What one pass over the training texts came to."""

    train_loss: float
    dev_loss: float
    dev_accuracy: float


@dataclass(frozen=True)
class TrainedStudent:
    """The best epoch's student."""

    encoder: FoldedEncoder  # with its tokenizer
    encoder_params: Params  # for encoder.apply and encoder.to_onnx
    ansatz: Ansatz
    circuit_parameters: NDArray[np.float64]  # (K,) radians
    weights: NDArray[np.float64]  # (C, M) of the readout: a row a label, a column an observable
    bias: NDArray[np.float64]  # (C,) of the readout
    labels: tuple[str, ...]  # the C classes, sorted
    dev_accuracy: float  # of the best epoch
    history: tuple[Epoch, ...]
    seconds: float  # wall time, compilation included
    config: TrainConfig


class _Weights(NamedTuple):
    """Everything that is trained, as one pytree."""

    encoder: Params
    circuit: jax.Array
    readout: jax.Array
    bias: jax.Array


class _Batch(NamedTuple):
    """Rows of one width: token ids (N, T), attention mask (N, T), class numbers (N,)."""

    ids: Ints
    mask: Ints
    classes: Ints

    def take(self, rows: Ints) -> _Batch:
        return _Batch(self.ids[rows], self.mask[rows], self.classes[rows])


@dataclass(frozen=True)
class _Model:
    """A student's function and its fresh weights."""

    encoder: FoldedEncoder
    ansatz: Ansatz
    num_classes: int

    def init(self, key: jax.Array) -> _Weights:
        for_encoder, for_circuit, for_readout = jax.random.split(key, 3)
        angles = (self.ansatz.num_parameters,)
        readout = (self.num_classes, len(self.ansatz.observables))
        return _Weights(
            encoder=self.encoder.init(for_encoder),
            circuit=jax.random.uniform(for_circuit, angles, minval=-jnp.pi, maxval=jnp.pi),
            readout=jax.random.normal(for_readout, readout) / np.sqrt(readout[1]),
            bias=jnp.zeros(self.num_classes),
        )

    def logits(self, weights: _Weights, ids: ArrayLike, mask: ArrayLike) -> jax.Array:
        angles = self.encoder.apply(weights.encoder, ids, mask)
        expectations = self.ansatz.expectations(weights.circuit, angles)
        return jnp.asarray(expectations @ weights.readout.T + weights.bias)


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    config: TrainConfig | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    progress: bool = True,
) -> TrainedStudent:
    """Train a student, and keep the epoch that is best on held-out dev texts.

    Args:
        texts: N texts.
        labels: N labels, at least two different ones, each with at least two texts.
        config: the settings; None takes the defaults.
        tokenizer: used as it is; None trains one on the training texts.
        progress: show a bar on standard error, if that is a terminal.

    Raises:
        InputError: texts or labels that cannot be trained on; the message names them.
    """
    start = time.perf_counter()
    config = config or TrainConfig()
    names, classes = _class_numbers(texts, labels)
    ansatz = ANSATZE[config.ansatz](config.num_qubits)
    rng = np.random.default_rng(config.seed)
    train_rows, dev_rows = _split(classes, config.dev_fraction, rng)
    if tokenizer is None:
        tokenizer = train_tokenizer([texts[i] for i in train_rows], config.vocab_size)
    encoder = ENCODERS[config.encoder](tokenizer, ansatz.num_inputs)
    ids, mask = tokenize(tokenizer, texts, config.max_tokens)
    data = _Batch(ids, mask, classes)
    model = _Model(encoder, ansatz, len(names))
    train_set, dev_set = data.take(train_rows), data.take(dev_rows)
    weights, history = _fit(model, train_set, dev_set, config, rng, progress)
    return TrainedStudent(
        encoder=encoder,
        encoder_params=weights.encoder,
        ansatz=ansatz,
        circuit_parameters=np.asarray(weights.circuit, np.float64),
        weights=np.asarray(weights.readout, np.float64),
        bias=np.asarray(weights.bias, np.float64),
        labels=names,
        dev_accuracy=max(epoch.dev_accuracy for epoch in history),
        history=history,
        seconds=time.perf_counter() - start,
        config=config,
    )


def _fit(
    model: _Model,
    train_set: _Batch,
    dev_set: _Batch,
    config: TrainConfig,
    rng: np.random.Generator,
    progress: bool,
) -> tuple[_Weights, tuple[Epoch, ...]]:
    """AdamW on the cross-entropy; gives the weights with the best dev accuracy, and every epoch."""
    size = min(config.batch_size, len(train_set.classes))
    steps = len(train_set.classes) // size
    init_key, key = jax.random.split(jax.random.key(config.seed))
    weights = best = model.init(init_key)
    optimizer = _optimizer(config, config.epochs * steps)
    state = optimizer.init(weights)

    def loss(weights: _Weights, batch: _Batch, key: jax.Array) -> jax.Array:
        seen = jax.random.bernoulli(key, 1 - config.token_dropout, batch.mask.shape)
        logits = model.logits(weights, batch.ids, batch.mask * seen)
        return _cross_entropy(logits, batch.classes).mean()

    @jax.jit
    def step(
        weights: _Weights, state: optax.OptState, batch: _Batch, key: jax.Array
    ) -> tuple[_Weights, optax.OptState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(weights, batch, key)
        updates, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, value

    logits = jax.jit(model.logits)
    history: list[Epoch] = []
    highest, waited = -1.0, 0
    with tqdm(total=config.epochs * steps, unit="step", disable=None if progress else True) as bar:
        while len(history) < config.epochs and waited < config.patience:
            order = rng.permutation(len(train_set.classes))
            losses = []
            for rows in order[: steps * size].reshape(steps, size):
                key, step_key = jax.random.split(key)
                weights, state, value = step(weights, state, train_set.take(rows), step_key)
                losses.append(value)
                bar.update()
            epoch = Epoch(float(np.mean(losses)), *_evaluate(logits, weights, dev_set, size))
            bar.set_postfix(dev_accuracy=f"{epoch.dev_accuracy:.3f}")
            history.append(epoch)
            waited += 1
            if epoch.dev_accuracy > highest:
                best, highest, waited = weights, epoch.dev_accuracy, 0
    return best, tuple(history)


def _evaluate(logits: Callable[..., jax.Array], weights: _Weights, data: _Batch, size: int) -> tuple[float, float]:
    """Mean cross-entropy and accuracy; every call has `size` rows, so that it is compiled once."""
    number = len(data.classes)
    rows = np.resize(np.arange(number), -(-number // size) * size)
    parts = [data.take(part) for part in rows.reshape(-1, size)]
    found = np.concatenate([logits(weights, part.ids, part.mask) for part in parts])[:number]
    losses = _cross_entropy(found, data.classes)
    return float(losses.mean()), float((found.argmax(axis=1) == data.classes).mean())


def _cross_entropy(logits: ArrayLike, classes: ArrayLike) -> jax.Array:
    """(N, C), (N,) → (N,)."""
    return jnp.asarray(optax.softmax_cross_entropy_with_integer_labels(logits, classes))


def _optimizer(config: TrainConfig, steps: int) -> optax.GradientTransformation:
    """Two learning rates, both falling to 0 along a cosine; weight decay for the encoder only."""
    encoder = optax.cosine_decay_schedule(config.encoder_rate, steps)
    circuit = optax.cosine_decay_schedule(config.circuit_rate, steps)
    groups = {"e": optax.adamw(encoder, weight_decay=config.weight_decay), "c": optax.adam(circuit)}
    return optax.multi_transform(groups, lambda weights: type(weights)("e", "c", "c", "c"))


def _class_numbers(texts: Sequence[str], labels: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """The classes, sorted, and (N,) the place of each text's label among them."""
    if len(texts) != len(labels):
        raise InputError(f"{len(texts)} texts and {len(labels)} labels; expected one label a text")
    for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if not isinstance(text, str):
            raise InputError(f"text {i} is {text!r}; expected a str")
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
