"""Text encoders: what they learn in JAX, and the same function as an ONNX graph.

An encoder turns token ids into the P data angles of a circuit, angle = π/2 · (1 + tanh z): it stays
between 0 and π, where cos is one-to-one, so a large |z| cannot wrap around.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from qdinfer.errors import InputError

__all__ = [
    "ENCODERS",
    "FoldedEncoder",
    "Params",
    "load_tokenizer",
    "pad_id",
    "tokenize",
    "train_tokenizer",
]

Params = dict[str, jax.Array]

_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_OPSET, _IR = 17, 8


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a vocabulary of words: lower case, without accents, split at spaces and punctuation.

    The most frequent words are kept, ties in alphabetical order, so the same texts give the same
    tokenizer; any other word becomes [UNK]. (The WordPiece trainer of `tokenizers` 0.23 differs
    from run to run.) Neither padding nor truncation is set.

    Args:
        texts: the training texts.
        vocab_size: the most entries, with the two special ones ([PAD] is 0, [UNK] is 1).

    Raises:
        InputError: `vocab_size` leaves no room for a word.
    """
    if vocab_size < 3:
        raise InputError(f"vocab_size is {vocab_size}; it needs 3 or more")
    tokenizer = Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=[_PAD, _UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(content: str) -> Tokenizer:
    """Read the text of a tokenizer.json, and take its padding and truncation off.

    Raises:
        InputError: the tokenizers library cannot read it.
    """
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"not a tokenizer.json that tokenizers can read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All texts as rows of one width, as the runtime gives them to an encoder.

    Args:
        tokenizer: without padding and truncation; it is not changed.
        texts: N texts.
        max_tokens: longer texts are cut.

    Returns:
        Token ids and attention mask, (N, T) each, with T as the longest text needs it, at least 1.
    """
    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(max_tokens)
    rows = [encoding.ids for encoding in cutting.encode_batch(list(texts))]
    width = max(1, *map(len, rows))
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    ids = np.array([row + [pad_id(tokenizer)] * (width - len(row)) for row in rows])
    return ids, mask


def pad_id(tokenizer: Tokenizer) -> int:
    """The token id for places where the attention mask is 0: that of [PAD], if there is one."""
    return tokenizer.token_to_id(_PAD) or 0


@dataclass(frozen=True)
class FoldedEncoder:
    """A bag of tokens: z is the mean of one learned row a token, plus a bias.

    A text without tokens has z = bias. The parameters are `table` (V, P) and `bias` (P,), where V
    is one more than the tokenizer's largest id.
    """

    tokenizer: Tokenizer
    num_angles: int

    @property
    def num_tokens(self) -> int:
        """V, the rows of the table."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def init(self, rng: jax.Array) -> Params:
        """Fresh parameters.

        Args:
            rng: a key of `jax.random`.
        """
        table = 0.01 * jax.random.normal(rng, (self.num_tokens, self.num_angles))
        return {"table": table, "bias": jnp.zeros(self.num_angles)}

    def apply(self, params: Params, input_ids: ArrayLike, attention_mask: ArrayLike) -> jax.Array:
        """Token ids to angles: a JAX function, to be jitted and differentiated.

        Args:
            params: as from `init`.
            input_ids: (N, T) integers below V.
            attention_mask: (N, T), 1 for a token and 0 for padding.

        Returns:
            (N, P) float32 angles in radians, between 0 and π.
        """
        mask = jnp.asarray(attention_mask, jnp.float32)
        total = jnp.einsum("nt,ntp->np", mask, params["table"][jnp.asarray(input_ids)])
        mean = total / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
        return jnp.pi / 2 * (1 + jnp.tanh(mean + params["bias"]))

    def to_onnx(self, params: Params) -> bytes:
        """The encoder as an ONNX graph (IR 8, opset 17).

        Inputs `input_ids` and `attention_mask`, int64 (N, T); output `angles`, float32 (N, P).
        """
        constants: dict[str, NDArray[np.generic]] = {
            "table": np.asarray(params["table"], np.float32),
            "bias": np.asarray(params["bias"], np.float32),
            "half_pi": np.array(np.pi / 2, np.float32),
            "one": np.array(1, np.float32),
            "tokens": np.array([1], np.int64),
            "last": np.array([2], np.int64),
        }
        nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "tokens"], ["total"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "tokens"], ["number"], keepdims=1),
            helper.make_node("Max", ["number", "one"], ["divisor"]),
            helper.make_node("Div", ["total", "divisor"], ["mean"]),
            helper.make_node("Add", ["mean", "bias"], ["z"]),
            helper.make_node("Tanh", ["z"], ["tanh"]),
            helper.make_node("Mul", ["tanh", "half_pi"], ["scaled"]),
            helper.make_node("Add", ["scaled", "half_pi"], ["angles"]),
        ]
        graph = helper.make_graph(
            nodes,
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


ENCODERS: Mapping[str, Callable[[Tokenizer, int], FoldedEncoder]]
ENCODERS = MappingProxyType({"folded": FoldedEncoder})
