"""A causal language model, or the layers of any model, as a source of next-token logits and hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from qdinfer.errors import InputError, TeacherError, require
from qdinfer.predictions import FloatArray

from .batching import checked_batch_size, encode, padded_batches, running
from .loading import Loaded, load

__all__ = ["LanguageModel"]


class LanguageModel:
    """A model of transformers, asked about batches of texts of like length.

    Texts are padded on the right and the padding is masked, so that in float32 an answer depends on the other texts of
    its batch by rounding only (below 1e-5). One object serves one thread at a time.

    Attributes:
        loaded: the model, its tokenizer, its identity.
        num_layers: how many blocks it has.
    """

    def __init__(self, loaded: Loaded, *, batch_size: int = 16) -> None:
        """Take a loaded model; see `load`.

        Raises:
            InputError: no batch size, or a model without a list of blocks.
        """
        self.loaded = loaded
        self._batch_size = checked_batch_size(batch_size)
        self._torch = require("torch", feature="a language model as teacher", extra="distill")
        self._blocks = self._find_blocks()
        self.num_layers = len(self._blocks)

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        head: bool = True,
        max_tokens: int = 256,
        batch_size: int = 16,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> LanguageModel:
        """Load a model from a folder, a .gguf file or ``hf:org/name``.

        Args:
            model: see `qdistill.teachers.loading`.
            head: also what predicts the next token; hidden states need none, and encoders such as BERT have none.
            max_tokens: longer inputs are cut.
            batch_size: texts that are run together.
            device: of torch.
            dtype: of torch.

        Raises:
            InputError: there is no such model; see `qdistill.teachers.loading.load`.
            TeacherError: the hub did not give it.
            MissingExtraError: torch or transformers is not installed.
        """
        kind: Any = "CausalLM" if head else "none"
        return cls(load(model, kind, max_tokens=max_tokens, device=device, dtype=dtype), batch_size=batch_size)

    def tokens(self, text: str) -> list[int]:
        """The token ids of a text, not cut, with the tokens that the model wants at its start."""
        ids: list[int] = self.loaded.tokenizer(text).input_ids
        return ids

    def next_token_logits(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """The logits of K tokens as the next one.

        The model's head is run on the last token of each prompt only.

        Args:
            prompts: N lists of token ids, none empty.
            token_ids: K of them.

        Returns:
            (N, K) float64, up to a constant a row.

        Raises:
            InputError: the model has no head that predicts tokens.
            TeacherError: the model failed, or a logit is not finite.
        """
        torch = self._torch
        head = self.loaded.model.get_output_embeddings()
        if head is None:
            raise InputError(f"{self.loaded.name}: found no head for the next token; expected a causal language model")
        logits = np.zeros((len(prompts), len(token_ids)))
        for rows, batch in padded_batches(self.loaded, prompts, self._batch_size):
            last = batch["attention_mask"].sum(1) - 1
            pick = torch.arange(len(rows), device=last.device)
            hook = head.register_forward_pre_hook(
                lambda _, args, pick=pick, last=last: (args[0][pick, last][:, None], *args[1:])
            )
            try:
                with running(self.loaded):
                    found = self.loaded.model(**batch, use_cache=False).logits
            finally:
                hook.remove()
            logits[rows] = found[:, 0, list(token_ids)].double().cpu().numpy()
        return self._finite(logits)

    def hidden_states(
        self, texts: Sequence[str], layers: Sequence[int], *, progress: bool = False
    ) -> dict[int, FloatArray]:
        """The mean over a text's tokens of what each of these layers puts out, before any last norm.

        Only the layers up to the largest of these are run, and never the head.

        Args:
            texts: N of them; an empty one counts as one padding token.
            layers: numbers from 1.
            progress: show a bar on stderr, if that is a terminal.

        Returns:
            Layer number → (N, D) float32.

        Raises:
            InputError: no such layer.
            TeacherError: the model failed, or a state is not finite.
        """
        for layer in layers:
            if not 1 <= layer <= self.num_layers:
                raise InputError(f"layer: found {layer}; expected 1 to {self.num_layers} ({self.loaded.name})")
        if not layers:
            return {}
        parts: dict[int, list[FloatArray]] = {layer: [] for layer in layers}
        order: list[int] = []
        with tqdm(total=len(texts), desc="reading", unit=" texts", disable=None if progress else True) as bar:
            for rows, batch in padded_batches(self.loaded, encode(self.loaded, texts), self._batch_size):
                mask = batch["attention_mask"][..., None]
                for layer, states in self._run_blocks(batch, layers).items():
                    mean = (states * mask).sum(1, dtype=self._torch.float32) / mask.sum(1)
                    parts[layer].append(mean.cpu().numpy())
                order += rows
                bar.update(len(rows))
        back = np.argsort(np.array(order, np.int64))
        empty = np.zeros((0, int(self.loaded.model.config.hidden_size)), np.float32)
        return {layer: self._finite(np.concatenate([empty, *found])[back]) for layer, found in parts.items()}

    def _run_blocks(self, batch: dict[str, Any], layers: Sequence[int]) -> dict[int, Any]:
        """Layer number → (B, T, D): caught as the blocks put them out; the last one that is wanted ends the run."""
        states: dict[int, Any] = {}

        def catch(layer: int) -> Any:
            def hook(_: object, __: object, output: Any) -> None:
                states[layer] = output[0] if isinstance(output, tuple) else output
                if layer == max(layers):
                    raise _EnoughError

            return hook

        hooks = [self._blocks[layer - 1].register_forward_hook(catch(layer)) for layer in set(layers)]
        try:
            with running(self.loaded):
                self.loaded.model.base_model(**batch)
        except _EnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return states

    def _find_blocks(self) -> Any:
        """The list of blocks, wherever this family of models keeps it."""
        count = getattr(self.loaded.model.config, "num_hidden_layers", None)
        for module in self.loaded.model.base_model.modules():
            if isinstance(module, self._torch.nn.ModuleList) and len(module) == count:
                return module
        raise InputError(f"{self.loaded.name}: found no list of {count} layers in it; expected a transformer")

    def _finite(self, values: FloatArray) -> FloatArray:
        if not np.isfinite(values).all():
            raise TeacherError(f"{self.loaded.name}: found NaN or infinite numbers; expected finite ones; try float32")
        return values


class _EnoughError(Exception):
    """Ends a run of the model: all wanted layers have spoken."""
