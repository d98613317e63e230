"""The folded encoder: a bag of words, and if asked for of pairs of neighbours, with one row of angles each. In JAX.

angle = π/2 · (1 + tanh z) stays between 0 and π, where cos is one-to-one, so that a large |z| cannot wrap around.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from ..config import FoldedConfig
from .base import Floats, Ints, pad_rows, tokenize

__all__ = ["FoldedEncoder", "Params", "train_tokenizer"]

Params = dict[str, jax.Array]
_Node = tuple[str, list[str], str, dict[str, Any]]  # operator, inputs, output, attributes

_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_OPSET, _IR = 17, 8
_MULTIPLIER = 31_337  # of the first token of a pair; ids stay below 2¹⁶, so int64 has room


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a vocabulary of words: lower case, without accents, split at spaces and punctuation.

    The most frequent words are kept, ties in alphabetical order, so the same texts give the same tokenizer; any other
    word becomes [UNK]. (The WordPiece trainer of `tokenizers` 0.23 differs from run to run.)

    Args:
        texts: the training texts.
        vocab_size: the most entries, with the two special ones ([PAD] is 0, [UNK] is 1).
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=[_PAD, _UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class FoldedEncoder:
    """A `TrainableEncoder`: z is the mean of one learned row a token (and a pair), plus a bias.

    A text without tokens has z = bias. The parameters are `table` (V, P), `bias` (P,) and, with pairs, `pairs` (B, P).
    """

    def __init__(
        self, texts: Sequence[str], tokenizer: Tokenizer, num_angles: int, config: FoldedConfig, seed: int
    ) -> None:
        """Take the texts in, and draw fresh parameters."""
        self.tokenizer = tokenizer
        self.max_tokens = config.max_tokens
        self.pad_id = tokenizer.token_to_id(_PAD) or 0
        self.num_angles = num_angles
        self._config = config
        rows = tokenize(tokenizer, texts, config.max_tokens)
        self._ids, self._mask = pad_rows(rows, self.pad_id)
        self.lengths = np.full(len(rows), self._ids.shape[1])  # all are padded to one width, so that JAX compiles once
        for_init, self._key = jax.random.split(jax.random.key(seed))
        self.params = self._init(for_init)
        self._eval = jax.jit(lambda params, ids, mask: self.apply(params, ids, mask))

    @property
    def num_tokens(self) -> int:
        """V, one more than the tokenizer's largest id."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(array.size for array in self.params.values())

    def start(self, steps: int) -> None:
        """Get ready for training that takes so many steps."""
        schedule = optax.cosine_decay_schedule(self._config.rate, steps)
        optimizer = optax.adamw(schedule, weight_decay=self._config.weight_decay)
        self._state = optimizer.init(self.params)

        def seen(mask: jax.Array, key: jax.Array) -> jax.Array:
            return mask * jax.random.bernoulli(key, 1 - self._config.token_dropout, mask.shape)

        def forward(params: Params, ids: jax.Array, mask: jax.Array, key: jax.Array) -> jax.Array:
            return self.apply(params, ids, seen(mask, key))

        def backward(
            params: Params, state: optax.OptState, ids: jax.Array, mask: jax.Array, key: jax.Array, gradient: jax.Array
        ) -> tuple[Params, optax.OptState]:
            _, pull = jax.vjp(lambda p: forward(p, ids, mask, key), params)
            updates, state = optimizer.update(pull(gradient)[0], state, params)
            return optax.apply_updates(params, updates), state

        self._forward, self._backward = jax.jit(forward), jax.jit(backward)

    def forward(self, rows: Ints) -> Floats:
        """(B,) text numbers → (B, P) angles, some tokens unseen."""
        self._key, key = jax.random.split(self._key)
        self._last = self._ids[rows], self._mask[rows], key
        return np.asarray(self._forward(self.params, *self._last))

    def backward(self, gradient: Floats) -> None:
        """One step of AdamW."""
        self.params, self._state = self._backward(self.params, self._state, *self._last, gradient)

    def angles(self, rows: Ints) -> Floats:
        """(N,) text numbers → (N, P) angles."""
        return np.asarray(self._eval(self.params, self._ids[rows], self._mask[rows]))

    def snapshot(self) -> Params:
        """The parameters, which are never changed in place."""
        return self.params

    def restore(self, snapshot: Params) -> None:
        """Go back to these parameters."""
        self.params = snapshot

    def apply(self, params: Params, input_ids: ArrayLike, attention_mask: ArrayLike) -> jax.Array:
        """Token ids to angles: a JAX function.

        Args:
            params: as in `params`.
            input_ids: (N, T) integers below V.
            attention_mask: (N, T), 1 for a token and 0 for padding.

        Returns:
            (N, P) float32 angles in radians, between 0 and π.
        """
        ids, mask = jnp.asarray(input_ids), jnp.asarray(attention_mask, jnp.float32)
        total = jnp.einsum("nt,ntp->np", mask, params["table"][ids])
        number = mask.sum(axis=1, keepdims=True)
        if self._config.bigrams:
            both = mask[:, :-1] * mask[:, 1:]
            bucket = (ids[:, :-1] * _MULTIPLIER + ids[:, 1:]) % self._config.bigrams
            total += jnp.einsum("nt,ntp->np", both, params["pairs"][bucket])
        return jnp.pi / 2 * (1 + jnp.tanh(total / jnp.maximum(number, 1) + params["bias"]))

    def _init(self, key: jax.Array) -> Params:
        for_table, for_pairs = jax.random.split(key)
        params = {
            "table": 0.01 * jax.random.normal(for_table, (self.num_tokens, self.num_angles)),
            "bias": jnp.zeros(self.num_angles),
        }
        if self._config.bigrams:
            params["pairs"] = 0.01 * jax.random.normal(for_pairs, (self._config.bigrams, self.num_angles))
        return params

    def to_onnx(self) -> bytes:
        """The encoder as an ONNX graph (IR 8, opset 17)."""
        constants: dict[str, NDArray[np.generic]] = {
            "table": np.asarray(self.params["table"], np.float32),
            "bias": np.asarray(self.params["bias"], np.float32),
            "half_pi": np.array(np.pi / 2, np.float32),
            "one": np.array(1, np.float32),
            "tokens": np.array([1], np.int64),
            "last": np.array([2], np.int64),
        }
        steps: list[_Node] = [
            ("Cast", ["attention_mask"], "mask", {"to": TensorProto.FLOAT}),
            *_sum_of_rows("table", "input_ids", "mask", "words"),
            ("ReduceSum", ["mask", "tokens"], "number", {"keepdims": 1}),
            ("Max", ["number", "one"], "divisor", {}),
        ]
        total = "words"
        if self._config.bigrams:
            constants |= {
                "pairs": np.asarray(self.params["pairs"], np.float32),
                "buckets": np.array(self._config.bigrams, np.int64),
                "multiplier": np.array(_MULTIPLIER, np.int64),
                "zero": np.array([0], np.int64),
                "minus_one": np.array([-1], np.int64),
                "end": np.array([2**31], np.int64),
            }
            steps += [
                ("Slice", ["input_ids", "zero", "minus_one", "tokens"], "first_ids", {}),
                ("Slice", ["input_ids", "tokens", "end", "tokens"], "second_ids", {}),
                ("Slice", ["mask", "zero", "minus_one", "tokens"], "first_mask", {}),
                ("Slice", ["mask", "tokens", "end", "tokens"], "second_mask", {}),
                ("Mul", ["first_mask", "second_mask"], "both", {}),
                ("Mul", ["first_ids", "multiplier"], "scrambled", {}),
                ("Add", ["scrambled", "second_ids"], "hash", {}),
                ("Mod", ["hash", "buckets"], "bucket", {}),
                *_sum_of_rows("pairs", "bucket", "both", "neighbours"),
                ("Add", ["words", "neighbours"], "total", {}),
            ]
            total = "total"
        steps += [
            ("Div", [total, "divisor"], "mean", {}),
            ("Add", ["mean", "bias"], "z", {}),
            ("Tanh", ["z"], "tanh", {}),
            ("Mul", ["tanh", "half_pi"], "scaled", {}),
            ("Add", ["scaled", "half_pi"], "angles", {}),
        ]
        graph = helper.make_graph(
            [helper.make_node(kind, inputs, [name], name=name, **options) for kind, inputs, name, options in steps],
            "folded",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", "T"]),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["N", "T"]),
            ],
            [helper.make_tensor_value_info("angles", TensorProto.FLOAT, ["N", self.num_angles])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content


def _sum_of_rows(table: str, ids: str, mask: str, name: str) -> list[_Node]:
    """The rows of a table at some ids, (N, T) → (N, P), where the mask is 1."""
    return [
        ("Gather", [table, ids], f"{name}_rows", {}),
        ("Unsqueeze", [mask, "last"], f"{name}_mask", {}),
        ("Mul", [f"{name}_rows", f"{name}_mask"], f"{name}_seen", {}),
        ("ReduceSum", [f"{name}_seen", "tokens"], name, {"keepdims": 0}),
    ]
