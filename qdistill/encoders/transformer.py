"""A transformer with a linear layer to the angles, fine-tuned or frozen. In PyTorch."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from torch import nn

from qdinfer.errors import InputError

from ..config import TransformerConfig
from ..model_files import missing_weights, transformer_files
from ..quiet import quiet_transformers
from .angles import AngleTransformer, export_onnx, quantize_weights
from .base import Floats, Ints, load_tokenizer, pad_rows, tokenize

__all__ = ["TransformerEncoder", "transformer_tokenizer"]

_WARMUP = 0.06  # of the steps
_EVALUATED = 64  # texts in one batch
_LARGEST_GRADIENT = 1.0  # norm to which the transformer's is cut


def transformer_tokenizer(path: str) -> Tokenizer:
    """The tokenizer.json in a transformer's folder.

    Raises:
        InputError: there is no such file, or it is no tokenizer.
    """
    transformer_files(path)
    file = Path(path) / "tokenizer.json"
    try:
        return load_tokenizer(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: found bytes that are not UTF-8; expected a tokenizer.json") from error


class TransformerEncoder:
    """A `TrainableEncoder` on a transformer of the transformers library."""

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Tokenizer,
        num_angles: int,
        config: TransformerConfig,
        seed: int,
        *,
        fitted: Ints,
    ) -> None:
        """Load the transformer, cut it, and take the texts in.

        Args:
            texts: all texts, of training, dev and unlabelled.
            tokenizer: the transformer's own.
            num_angles: P.
            config: the settings.
            seed: for the linear layer and for dropout.
            fitted: numbers of the training texts, whose tokens are kept.

        Raises:
            InputError: no transformer there, or one that the tokenizer does not fit.
        """
        torch.manual_seed(seed)
        self._config = config
        body = _load(config)
        positions = int(getattr(body.config, "max_position_embeddings", config.max_tokens))
        self.tokenizer, self.max_tokens = tokenizer, min(config.max_tokens, positions)
        self._rows = tokenize(tokenizer, texts, self.max_tokens)
        self.lengths = np.array([len(row) for row in self._rows], np.int64)
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
        if largest >= body.config.vocab_size:
            raise InputError(
                f"{config.path}: found token id {largest} in its tokenizer; expected below {body.config.vocab_size}, "
                "the rows of its embedding"
            )
        self.pad_id = int(body.config.pad_token_id or 0)
        kept = np.arange(largest + 1)
        if config.min_count:
            kept = _prune(body, [self._rows[i] for i in fitted], tokenizer, largest + 1, config.min_count)
        self.module = AngleTransformer(
            body,
            num_angles,
            kept=kept,
            pooling=config.pooling,
            scaling=config.scaling,
            width=config.width,
            pad_id=self.pad_id,
        )
        self._features: torch.Tensor | None = None
        if config.frozen:
            body.requires_grad_(False)
            self._features = torch.from_numpy(self._evaluate(self.module.features, np.arange(len(texts))))
            if config.standardize:
                self.module.standardize(self._features[torch.from_numpy(fitted)])

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self.module.parameters() if p.requires_grad)

    def start(self, steps: int) -> None:
        """AdamW with a linear warm-up and decay; the linear layer has a rate of its own."""
        config, module = self._config, self.module
        groups = [{"params": list(module.projection.parameters()), "lr": config.projection_rate}]
        if not config.frozen:
            groups.append({"params": list(module.body.parameters()), "lr": config.rate})
        self._optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
        warmup = max(1, round(_WARMUP * steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
        )

    def forward(self, rows: Ints) -> Floats:
        """(B,) text numbers → (B, P) angles, with dropout."""
        if self._features is None:
            self.module.train()
            with _bfloat16():
                self._last = self.module(*self._batch(rows))
        else:
            self._last = self.module.angles(self._features[torch.from_numpy(rows)])
        angles: Floats = self._last.detach().numpy()
        return angles

    def backward(self, gradient: Floats) -> None:
        """One step of AdamW."""
        self._optimizer.zero_grad()
        with _bfloat16():
            self._last.backward(torch.from_numpy(np.array(gradient)))
        nn.utils.clip_grad_norm_(self.module.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()

    def angles(self, rows: Ints) -> Floats:
        """(N,) text numbers → (N, P) angles."""
        if self._features is None:
            return self._evaluate(self.module, rows)
        with torch.inference_mode():
            angles: Floats = self.module.angles(self._features[torch.from_numpy(rows)]).numpy()
        return angles

    def snapshot(self) -> dict[str, Any]:
        """A copy of what is trained."""
        module = self.module.projection if self._config.frozen else self.module
        return copy.deepcopy(module.state_dict())

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to that copy."""
        module = self.module.projection if self._config.frozen else self.module
        module.load_state_dict(snapshot)

    def to_onnx(self) -> bytes:
        """The encoder as an ONNX graph (IR 10, opset 18), its large weights as int8."""
        return quantize_weights(export_onnx(self.module))

    def _batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = pad_rows([self._rows[i] for i in rows], self.pad_id)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def _evaluate(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], rows: Ints) -> Floats:
        """A function of tokens, without dropout, texts of like length together, in the order of the rows."""
        self.module.eval()
        order = np.argsort(self.lengths[rows], kind="stable")
        with torch.inference_mode():
            parts = [
                function(*self._batch(rows[order[start : start + _EVALUATED]])).numpy()
                for start in range(0, len(order), _EVALUATED)
            ]
        return np.concatenate(parts)[np.argsort(order)]


@contextmanager
def _bfloat16() -> Iterator[None]:
    """Let matrix products round their factors to bfloat16, where the processor has instructions for it (3 × faster)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _load(config: TransformerConfig) -> Any:
    """The transformer, cut to its first layers. Taking others than the first costs accuracy."""
    transformer_files(config.path)
    with quiet_transformers():
        try:
            body, report = transformers.AutoModel.from_pretrained(
                config.path, local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # transformers and safetensors raise a dozen kinds for broken files
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InputError(f"{config.path}: found no transformer that can be loaded ({reason})") from error
    if missing := missing_weights(report, headless=True):
        raise InputError(
            f"{config.path}: found no fitting weights for {missing[0]} ({len(missing)} in all); expected those of all "
            "layers: random ones teach nothing"
        )
    layers = getattr(getattr(body, "encoder", None), "layer", None)
    if layers is None:
        raise InputError(f"{config.path}: found a {type(body).__name__}; expected a BERT-like encoder")
    if config.layers is not None:
        if config.layers > len(layers):
            raise InputError(f"{config.path}: found {len(layers)} layers; expected at least {config.layers}")
        body.encoder.layer = layers[: config.layers]
    body.pooler = None
    return body


def _prune(body: Any, rows: Sequence[Sequence[int]], tokenizer: Tokenizer, size: int, min_count: int) -> Ints:
    """Keep the embeddings of tokens in so many rows and of the special ones; all others share that of [UNK]."""
    special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    unknown = tokenizer.token_to_id("[UNK]") or 0
    counts = Counter(number for row in rows for number in set(row))
    used = {0, unknown, *special, *(number for number, count in counts.items() if count >= min_count)}
    ids = np.array(sorted(used))
    kept = np.full(size, np.searchsorted(ids, unknown))
    kept[ids] = np.arange(len(ids))
    embedding = body.get_input_embeddings()
    pruned = nn.Embedding(len(ids), embedding.embedding_dim)
    pruned.weight.data.copy_(embedding.weight.data[torch.from_numpy(ids)])
    body.set_input_embeddings(pruned)
    return kept
