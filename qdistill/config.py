"""How to train a student: every setting, with its range."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qdinfer.errors import InputError

__all__ = ["ENCODERS", "DeviceConfig", "FoldedConfig", "TrainConfig", "TransformerConfig", "make_config"]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FoldedConfig(_Settings):
    """A bag of words: one row of angles a word."""

    kind: Literal["folded"] = "folded"
    vocab_size: int = Field(default=32_000, ge=3, description="the most words that are kept")
    bigrams: int = Field(default=0, ge=0, description="rows for hashed pairs of neighbours; 0 for none")
    token_dropout: float = Field(default=0.4, ge=0, lt=1, description="the chance that a step does not see a word")
    rate: float = Field(default=3e-2, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    max_tokens: int = Field(default=512, ge=1, description="longer texts are cut")


class TransformerConfig(_Settings):
    """A transformer from a local path, frozen or fine-tuned, with a linear layer to the angles."""

    kind: Literal["transformer"] = "transformer"
    path: str = Field(description="folder of a BERT-like model of transformers, with its tokenizer.json")
    frozen: bool = Field(default=False, description="train the linear layer alone")
    layers: int | None = Field(default=3, ge=1, description="how many of the first layers are kept; None for all")
    min_count: int = Field(
        default=1, ge=0, description="keep embeddings of tokens in so many training texts; 0 for all"
    )
    pooling: Literal["mean", "last"] = "mean"
    scaling: Literal["tanh", "minmax", "none"] = "tanh"
    width: int | None = Field(default=None, ge=1, description="pad and cut every text to so many tokens")
    standardize: bool = Field(
        False, description="frozen only: give the linear layer features of mean 0 and deviation 1"
    )
    rate: float = Field(default=1e-4, gt=0, description="peak learning rate of the transformer")
    projection_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of the linear layer")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    max_tokens: int = Field(default=128, ge=2, description="longer texts are cut")


class DeviceConfig(_Settings):
    """A device that a student is trained for: over its shots of a text it gives, on average, offsets + slopes · ⟨Z⟩."""

    name: str
    offsets: tuple[float, ...] = Field(description="one for each qubit: what readout adds")
    slopes: tuple[float, ...] = Field(description="one for each qubit: what gates and readout leave of its value")
    shots: int = Field(ge=1)

    def flat(self) -> dict[str, str | int]:
        """All settings, for a manifest."""
        slopes, offsets = (" ".join(f"{value:.3f}" for value in values) for values in (self.slopes, self.offsets))
        return {
            "device": self.name,
            "device_shots": self.shots,
            "device_slopes": slopes,
            "device_offsets": offsets,
        }


class TrainConfig(_Settings):
    """Everything that decides what student the same texts give."""

    encoder: FoldedConfig | TransformerConfig = Field(discriminator="kind", default=FoldedConfig())
    ansatz: Literal["qdllm", "line"] = "qdllm"
    num_qubits: int = Field(default=11, ge=2, le=20, description="also the number of angles and of observables")
    head: Literal["circuit", "tanh", "linear"] = Field(
        default="circuit", description="the others stand in the circuit's place for comparison, and cannot be exported"
    )
    epochs: int = Field(default=5, ge=1, description="the most passes over the training texts")
    patience: int = Field(default=3, ge=1, description="stop after so many epochs without a better dev accuracy")
    batch_size: int = Field(default=64, ge=1)
    circuit_rate: float = Field(default=1e-2, gt=0, description="peak learning rate of circuit and readout")
    alpha: float = Field(default=0.5, ge=0, le=1, description="the teacher's share of the loss")
    temperature: float = Field(default=2.0, gt=0, description="softens teacher and student in the loss")
    js: bool = Field(default=False, description="add the Jensen-Shannon term of the QD-LLM paper")
    dev_fraction: float = Field(default=0.1, gt=0, lt=1, description="of each class, held out to choose the best epoch")
    seed: int = Field(default=0, ge=0, description="same seed, texts and machine: same student")
    device: DeviceConfig | None = Field(default=None, description="trained for; None: for exact values")

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """All settings in one level, for a manifest; a path becomes its name."""
        settings = self.model_dump()
        inner = settings.pop("encoder")
        del settings["device"]
        if "path" in inner:
            inner["path"] = str(inner["path"]).rstrip("/").rsplit("/", 1)[-1]
        # Left out where there is none: a comparison's results go by the digest of these settings.
        device = {} if self.device is None else self.device.flat()
        return settings | device | {f"encoder_{name}": value for name, value in inner.items()}


ENCODERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "folded": {"encoder": {"kind": "folded"}},
        "frozen": {
            "encoder": {"kind": "transformer", "frozen": True, "layers": None, "min_count": 0, "standardize": True},
            "ansatz": "line",
            "epochs": 20,
        },
        "contextual": {"encoder": {"kind": "transformer"}, "ansatz": "line", "epochs": 3, "batch_size": 32},
        "paper": {
            "encoder": {
                "kind": "transformer",
                "frozen": True,
                "layers": None,
                "min_count": 0,
                "pooling": "last",
                "scaling": "minmax",
                "width": 60,
                "max_tokens": 60,
                "projection_rate": 3e-2,
            },
            "ansatz": "qdllm",
            "epochs": 20,
            "js": True,
        },
    }
)
"""Named starting points. ``paper`` is QD-LLM to the letter (arXiv 2505.13205): a frozen BERT padded to 60 tokens, its
hidden state at position −1, a linear layer, min-max over each row times 10, the published circuit and loss."""


def make_config(encoder: str = "folded", **settings: Any) -> TrainConfig:
    """A named starting point with some settings changed; those of the encoder go by ``encoder_NAME``.

    Raises:
        InputError: no such name or setting, or a value out of range.
    """
    if encoder not in ENCODERS:
        raise InputError(f"encoder: found {encoder!r}; expected one of {', '.join(ENCODERS)}")
    start = dict(ENCODERS[encoder])
    inner = dict(start["encoder"])
    for name, value in settings.items():
        if name.startswith("encoder_"):
            inner[name.removeprefix("encoder_")] = value
        else:
            start[name] = value
    try:
        return TrainConfig.model_validate(start | {"encoder": inner})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("folded", "transformer"))
        raise InputError(f"setting {where}: found {first['input']!r}; {first['msg'].lower()}") from error
