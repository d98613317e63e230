"""``qdistill label``: texts and a teacher to a file of probabilities."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qdinfer.cli import add_debug
from qdinfer.errors import InputError
from qdinfer.tabular import column, read_table

if TYPE_CHECKING:
    from .base import Teacher
    from .language_model import LanguageModel
    from .store import TeacherLabels

__all__ = ["add_label_command"]

_LABEL = """\
Ask a teacher for the probabilities of each text's labels, and keep them in a file for `qdistill train`.
Stop and run it again as you like: what is in the file is not asked again.

  zero-shot   a language model goes on from a prompt; --words says with which word for which label
  probe       a linear layer on a language model's hidden states, fitted on labelled texts
  classifier  a Hugging Face sequence classifier; --words LABEL=NAME if it calls the labels otherwise
  endpoint    zero-shot on a server, such as vLLM's or llama.cpp's

--model is a folder or a .gguf file, hf:org/name for a model of the Hugging Face hub, or the endpoint's name for it.

  qdistill label texts.csv --teacher zero-shot --model smol.gguf --output teacher.jsonl \\
      --words world=politics sport=sports business=business sci_tech=technology
  qdistill label texts.csv --teacher probe --model smol.gguf --labelled few.csv --output teacher.jsonl
  qdistill label texts.csv --teacher classifier --model hf:org/name --output teacher.jsonl
  qdistill label texts.csv --teacher endpoint --model name --endpoint http://localhost:8000 --api-key-env KEY \\
      --labels world sport --output teacher.jsonl
"""
_LOCAL = {"batch_size": "--batch-size", "max_tokens": "--max-tokens", "device": "--device", "dtype": "--dtype"}
_PROMPT = {"labels": "--labels", "words": "--words", "template": "--template", "calibrate": "--calibrate"}
_USED: Mapping[str, Mapping[str, str]] = {
    "zero-shot": _PROMPT | _LOCAL,
    "probe": {"labelled": "--labelled", "layers": "--layers", "folds": "--folds", "seed": "--seed"} | _LOCAL,
    "classifier": {"labels": "--labels", "words": "--words"} | _LOCAL,
    "endpoint": {"endpoint": "--endpoint", "api_key_env": "--api-key-env", "top": "--top"} | _PROMPT,
}


def add_label_command(commands: Any) -> argparse.ArgumentParser:
    """Add ``label`` to a command's subparsers.

    Returns:
        Its parser, whose `function` default runs it and gives the exit code.
    """
    form = argparse.RawDescriptionHelpFormatter
    label: argparse.ArgumentParser = commands.add_parser(
        "label", help="a teacher's probabilities for texts", description=_LABEL, formatter_class=form
    )
    add_debug(label)
    label.set_defaults(function=_label)
    label.add_argument("data", metavar="DATA", nargs="+", help="csv, jsonl or parquet of texts")
    label.add_argument("--teacher", choices=sorted(_USED), required=True, help="kind of teacher")
    label.add_argument("--model", metavar="PATH", required=True, help="folder, .gguf, hf:org/name, or a server's name")
    label.add_argument("--output", metavar="FILE", type=Path, required=True, help="jsonl to make or to go on with")
    label.add_argument("--text-column", metavar="NAME", default="text", help="default: text")
    label.add_argument("--label-column", metavar="NAME", default="label", help="default: label")
    label.add_argument("--batch-size", type=int, metavar="N", help="texts that are run together (default: 16)")
    label.add_argument("--max-tokens", type=int, metavar="N", help="longer inputs are cut (default: 256)")
    label.add_argument("--device", metavar="NAME", help="of torch (default: cpu)")
    label.add_argument("--dtype", metavar="NAME", help="of torch (default: float32)")

    prompt = label.add_argument_group("zero-shot, endpoint; classifier: the first two")
    prompt.add_argument("--labels", nargs="+", metavar="LABEL", help="the labels; each is its own word")
    prompt.add_argument("--words", nargs="+", metavar="LABEL=WORD", help="the labels, and a word for each")
    prompt.add_argument("--template", metavar="TEXT", help=r"prompt (default: {text}\nThe article above is about)")
    prompt.add_argument("--calibrate", action="store_true", default=None, help="divide by what an empty text gets")

    probe = label.add_argument_group("probe")
    probe.add_argument("--labelled", metavar="FILE", help="labelled texts to fit on (default: the first DATA)")
    probe.add_argument("--layers", type=int, nargs="+", metavar="N", help="to choose from (default: every fourth)")
    probe.add_argument("--folds", type=int, metavar="N", help="of cross-fitting (default: 5)")
    probe.add_argument("--seed", type=int, metavar="N", help="of the folds (default: 0)")

    server = label.add_argument_group("endpoint")
    server.add_argument("--endpoint", metavar="URL", help="of the server, such as http://localhost:8000")
    server.add_argument("--api-key-env", metavar="NAME", help="environment variable with the API key")
    server.add_argument("--top", type=int, metavar="N", help="next tokens to ask for (default: 20)")
    return label


def _label(arguments: argparse.Namespace) -> int:
    _check_options(arguments)
    from .labelling import label_texts

    text, label = arguments.text_column, arguments.label_column
    tables = {name: list(read_table(name, columns=[text], optional=[label])) for name in arguments.data}
    begin = time.perf_counter()
    teacher = _MAKERS[arguments.teacher](arguments)
    setup_seconds = time.perf_counter() - begin
    for name, rows in tables.items():
        texts = column(rows, text)
        answers = label_texts(teacher, texts, arguments.output, setup_seconds=setup_seconds)
        known = [row.get(label) for row in rows]
        print(f"{arguments.output}: {len(texts)} texts of {name}{_agreement(answers, texts, known)}")  # noqa: T201
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Find out before a model is loaded what could not be done with it."""
    used = _USED[arguments.teacher]
    for options in _USED.values():
        for name, option in options.items():
            if name not in used and getattr(arguments, name) is not None:
                kinds = ", ".join(kind for kind, its in _USED.items() if name in its)
                raise InputError(
                    f"{option}: found it with --teacher {arguments.teacher}; expected it with {kinds} only"
                )
    if arguments.labels and arguments.words:
        raise InputError("found both --labels and --words; expected one of them")
    if arguments.teacher in ("zero-shot", "endpoint") and not (arguments.labels or arguments.words):
        raise InputError(f"found neither --labels nor --words; expected one of them with --teacher {arguments.teacher}")
    if arguments.teacher == "endpoint" and not arguments.endpoint:
        raise InputError("found no --endpoint; expected one with --teacher endpoint")
    folder = arguments.output.absolute().parent
    if not folder.is_dir():
        raise InputError(f"--output {arguments.output}: found no folder {folder}; expected an existing one")


def _agreement(answers: TeacherLabels, texts: list[str], known: list[Any]) -> str:
    """How often the teacher is right, if all texts have labels that it knows."""
    if not texts or not all(label in answers.labels for label in known):
        return ""
    found = answers.lookup(texts, answers.labels).argmax(axis=1)
    return f", accuracy {np.mean([answers.labels[i] == label for i, label in zip(found, known, strict=True)]):.4g}"


def _zero_shot(arguments: argparse.Namespace) -> Teacher:
    from .zero_shot import ZeroShot

    words = _words(arguments)
    return ZeroShot(_language_model(arguments, head=True), words, **_given(arguments, "template", "calibrate"))


def _probe(arguments: argparse.Namespace) -> Teacher:
    from .probe import Probe

    columns = [arguments.text_column, arguments.label_column]
    rows = list(read_table(arguments.labelled or arguments.data[0], columns=columns))
    probe = Probe(_language_model(arguments, head=False), **_given(arguments, "folds", "seed"))
    return probe.fit(column(rows, columns[0]), column(rows, columns[1]), layers=arguments.layers)


def _classifier(arguments: argparse.Namespace) -> Teacher:
    from .sequence_classifier import SequenceClassifier

    mapping = {own: label for label, own in _pairs(arguments.words)} if arguments.words else None
    return SequenceClassifier(arguments.model, mapping=mapping, **_given(arguments, "labels", *_LOCAL))


def _endpoint(arguments: argparse.Namespace) -> Teacher:
    from .endpoint import Endpoint

    options = {"key_env": arguments.api_key_env} | _given(arguments, "template", "calibrate", "top")
    return Endpoint(arguments.endpoint, arguments.model, _words(arguments), **options)


_MAKERS: Mapping[str, Callable[[argparse.Namespace], Teacher]] = {
    "zero-shot": _zero_shot,
    "probe": _probe,
    "classifier": _classifier,
    "endpoint": _endpoint,
}


def _language_model(arguments: argparse.Namespace, *, head: bool) -> LanguageModel:
    from .language_model import LanguageModel

    return LanguageModel.load(arguments.model, head=head, **_given(arguments, *_LOCAL))


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """These options, where they were given; the others have their defaults where they are used."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _words(arguments: argparse.Namespace) -> dict[str, str]:
    pairs = _pairs(arguments.words) if arguments.words else [(label, label) for label in arguments.labels]
    words = dict(pairs)
    if len(words) != len(pairs):
        raise InputError(f"--words: found {[label for label, _ in pairs]}; expected each label once")
    return words


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for given in words:
        label, equals, word = given.partition("=")
        if not (label.strip() and equals and word.strip()):
            raise InputError(f"--words: found {given!r}; expected LABEL=WORD")
        pairs.append((label.strip(), word.strip()))
    return pairs
