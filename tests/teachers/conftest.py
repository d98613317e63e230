"""Tiny random models, made here: nothing is downloaded."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_WORDS = (
    "<unk> <pad> sea salt wave boat gull wood oak leaf moss owl the a was and near with "
    "article above is about N / A MASK text land : . [ ]"
)
VOCABULARY = _WORDS.split()
LAYERS = 5


def save_tokenizer(folder: Path, **options: Any) -> None:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbers = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", **options
    )
    wrapped.save_pretrained(folder)


def save_llama(folder: Path, seed: int = 0, **tokenizer: Any) -> Path:
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.5,
        tie_word_embeddings=False,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder, **tokenizer)
    return folder


def save_bert(folder: Path, labels: list[str] | None, **config: Any) -> Path:
    import torch
    import transformers

    torch.manual_seed(1)
    names = (
        {}
        if labels is None
        else {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    )
    settings = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        initializer_range=0.5,
        **names,
        **config,
    )
    kind = transformers.BertModel if labels is None else transformers.BertForSequenceClassification
    kind(settings).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of tests are on this machine."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model of five layers."""
    return save_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def make_llama(tmp_path: Path) -> Callable[..., Path]:
    return lambda name="llama", **options: save_llama(tmp_path / name, **options)


@pytest.fixture
def make_bert(tmp_path: Path) -> Callable[..., Path]:
    return lambda labels, **config: save_bert(tmp_path / "bert", labels, **config)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every attempt to connect or to look a name up, which is also refused."""
    attempts: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> Any:
        attempts.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield attempts
    assert attempts == []
