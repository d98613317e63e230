"""Options of the commands that train."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from qdinfer.errors import InputError

from .config import ENCODERS, TrainConfig, make_config

__all__ = ["add_columns", "add_training", "command_line", "training_config"]


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Where texts and labels stand in a table."""
    parser.add_argument("--text-column", metavar="NAME", default="text", help="default: text")
    parser.add_argument("--label-column", metavar="NAME", default="label", help="default: label")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Everything that decides what student a seed gives."""
    parser.add_argument(
        "--encoder",
        choices=[*ENCODERS],
        default="folded",
        help="a bag of words; a frozen or a fine-tuned transformer; QD-LLM to the letter (default: folded)",
    )
    parser.add_argument(
        "--transformer", metavar="PATH", help="folder of a BERT-like model, for all encoders but folded"
    )
    parser.add_argument("--layers", type=int, metavar="N", help="of the transformer that are kept, from the first")
    parser.add_argument("--min-count", type=int, metavar="N", help="of the transformer: keep tokens of so many texts")
    parser.add_argument("--bigrams", type=int, metavar="N", help="folded: N rows for hashed pairs of words")
    parser.add_argument("--ansatz", choices=["qdllm", "line"], help="qdllm is as published (default: the encoder's)")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the texts at most (default: the encoder's)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="texts a step (default: the encoder's)")
    parser.add_argument("--teacher", metavar="FILE", type=Path, help="what `qdistill label` wrote, to learn from too")
    parser.add_argument("--unlabelled", metavar="FILE", help="texts that only the teacher tells of")
    parser.add_argument("--alpha", type=float, metavar="A", help="the teacher's share of the loss (default: 0.5)")
    parser.add_argument("--temperature", type=float, metavar="T", help="softens teacher and student (default: 2)")
    parser.add_argument("--js", action="store_true", help="add the Jensen-Shannon term of the QD-LLM paper")


def training_config(arguments: argparse.Namespace, **settings: Any) -> TrainConfig:
    """The settings that were given, and these; all others are the encoder's own.

    Raises:
        InputError: an option that the encoder needs or does not have, or a value out of range.
    """
    folded = arguments.encoder == "folded"
    if not folded and arguments.transformer is None:
        raise InputError(f"--encoder {arguments.encoder}: found no --transformer; expected a BERT-like model's folder")
    for name in ("layers", "min_count") if folded else ("bigrams",):
        if getattr(arguments, name) is not None:
            option = "--" + name.replace("_", "-")
            raise InputError(f"--encoder {arguments.encoder}: found {option}, which it does not have; expected none")
    for name in ("alpha", "temperature"):
        if arguments.teacher is None and getattr(arguments, name) is not None:
            raise InputError(f"--{name}: found it without --teacher, on which it would act; expected both or neither")
    names = ("ansatz", "epochs", "batch_size", "alpha", "temperature")
    inner = {name: getattr(arguments, name) for name in ("layers", "min_count", "bigrams")}
    inner["path"] = None if folded else arguments.transformer
    given = {name: getattr(arguments, name) for name in names} | {f"encoder_{k}": v for k, v in inner.items()}
    given |= {"js": True} if arguments.js else {}
    return make_config(arguments.encoder, **{k: v for k, v in given.items() if v is not None}, **settings)


def command_line(arguments: argparse.Namespace) -> str:
    """The command as it was given, with file names in place of paths, which mean nothing elsewhere."""
    options = ["data", "test", "golden", "output", "teacher", "unlabelled", "transformer", "comparison", "twin"]
    options += ["tokenizer", "encoder", "circuit", "readout"]
    paths = {Path(value) for name in options if (value := getattr(arguments, name, None)) is not None}

    def shorten(word: str) -> str:
        option, equals, value = word.partition("=")  # --output=PATH
        if equals and Path(value) in paths:
            return f"{option}={Path(value).name}"
        return Path(word).name if Path(word) in paths else word

    return shlex.join(["qdistill", *map(shorten, arguments.words)])
