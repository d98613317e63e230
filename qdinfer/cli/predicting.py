"""Commands that label texts: predict, evaluate."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..predictions import Expectations
from ..tabular import STDIO, Added, Block, Rows, Writer, read_blocks, read_table, table_format, write_table
from .durable import journal_options, measured
from .framework import add_command, progress
from .options import DEFAULT_SHOTS, backend_options, given_backend, input_options

if TYPE_CHECKING:
    from ..classifier import Classifier
    from ..predictions import Predictions

__all__ = ["add_commands"]

_PREDICT = """\
Label texts. The output is a table: the columns of the input, then `prediction`; with --shots also `confidence`,
the chance that the label stands, given shot noise; with --proba `p(CLASS)`, and with both `se(CLASS)`, the
standard error of each probability.

  qdinfer predict STUDENT "The striker scored twice in the cup final."
  qdinfer predict STUDENT --input texts.csv --output labelled.csv --proba
  qdinfer predict STUDENT --input texts.parquet --output labelled.parquet
  cat texts.jsonl | qdinfer predict STUDENT --input - --format jsonl
  qdinfer predict STUDENT --input texts.csv --backend aer --shots 1000 --seed 7
"""
_EVALUATE = """\
Measure a student on labelled texts: accuracy with its 95 % interval, macro F1 and the confusion matrix.

  qdinfer evaluate STUDENT --input test.csv
  qdinfer evaluate STUDENT --input test.csv --backend aer --shots 1000 --json
"""


def add_commands(commands: Any) -> None:
    """Add the commands."""
    predict = add_command(commands, "predict", _predict, "label texts", _PREDICT)
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="texts to label")
    input_options(predict, required=False)
    predict.add_argument(
        "--output", metavar="FILE", default=STDIO, help="write there, whole or not at all (default: -)"
    )
    predict.add_argument("--proba", action="store_true", help="add the probability of each class")
    backend_options(predict)
    journal_options(predict)

    evaluate = add_command(commands, "evaluate", _evaluate, "measure accuracy on labelled texts", _EVALUATE)
    input_options(evaluate, required=True)
    evaluate.add_argument(
        "--label-column", metavar="NAME", default="label", help="column of true labels (default: label)"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    backend_options(evaluate)
    journal_options(evaluate)


def _classifier(arguments: argparse.Namespace) -> Classifier:
    from ..artifact import Artifact
    from ..classifier import Classifier

    remote = arguments.backend.startswith("ibm:")
    if not remote and (arguments.journal or arguments.detach or arguments.max_qpu_seconds is not None):
        raise InputError(
            f"--journal, --detach and --max-qpu-seconds: found with --backend {arguments.backend}; expected them with "
            "ibm:DEVICE, where jobs outlive the command"
        )
    artifact = Artifact.open(arguments.student)
    backend = given_backend(arguments, artifact)
    return Classifier(artifact, backend=backend, threads=arguments.threads)


def _parts(arguments: argparse.Namespace, classifier: Classifier, texts: Iterator[str]) -> Iterator[Predictions] | None:
    """The predictions, part by part; None if they are yet to come, from a run that was detached."""
    if not arguments.backend.startswith("ibm:"):
        return classifier.stream(texts)
    whole = measured(arguments, classifier, list(texts))
    return None if whole is None else iter([whole])


def _sampled(arguments: argparse.Namespace) -> bool:
    if arguments.backend == "aer" or arguments.backend.startswith("twin:"):
        return arguments.shots is not None
    return bool(arguments.backend != "exact")


def _tell_shots(arguments: argparse.Namespace, spent: list[int]) -> None:
    if arguments.shots == "auto" and spent:
        fixed = len(spent) * (arguments.max_shots or DEFAULT_SHOTS)
        print(f"qdinfer: {sum(spent)} shots, {sum(spent) / fixed:.1%} of {fixed} fixed ones", file=sys.stderr)


def _predict(arguments: argparse.Namespace) -> int:
    if bool(arguments.texts) == (arguments.input is not None):
        found = "both TEXT and --input" if arguments.texts else "neither TEXT nor --input"
        raise InputError(f"found {found}; expected one of them")
    kind = "csv" if arguments.input is None else table_format(arguments.input, arguments.format)
    target = table_format(arguments.output, arguments.format or _as_read(arguments, kind))
    column = "text"
    blocks: Iterator[Block] = iter([Rows([{"text": text} for text in arguments.texts], ["text"])])
    if arguments.input is not None:
        column = arguments.text_column
        blocks = read_blocks(arguments.input, columns=[column], format=kind, target=target)
    classifier = _classifier(arguments)
    if arguments.output != STDIO and not Path(arguments.output).absolute().parent.is_dir():  # before what takes long
        raise FileNotFoundError(f"{arguments.output}: found no folder for it; expected an existing one")
    waiting: deque[Block] = deque()
    nothing = _columns(classifier.readout.predict(_nothing(classifier)), arguments)

    def texts() -> Iterator[str]:
        for block in blocks:
            _check_free(block.names(), nothing)
            waiting.append(block)
            yield from block.texts(column)

    parts = _parts(arguments, classifier, texts())
    if parts is None:
        return 0
    spent: list[int] = []
    # Table and bar would run into each other; and a run on a device has had its bar.
    hidden = (arguments.output == STDIO and sys.stdout.isatty()) or arguments.backend.startswith("ibm:")
    with write_table(arguments.output, target) as writer, progress(hidden=hidden) as tell:
        for part in parts:
            _write(writer, waiting, _columns(part, arguments), len(part))
            spent += part.shots.tolist()
            tell(len(part))
        for block in waiting:  # a table without rows still has columns
            writer.write(block, nothing)
    _tell_shots(arguments, spent)
    return 0


def _as_read(arguments: argparse.Namespace, kind: str) -> str | None:
    """The format of the input, where standard output can have it too."""
    return kind if arguments.output == STDIO and kind != "parquet" else None


def _write(writer: Writer, waiting: deque[Block], columns: Added, rows: int) -> None:
    """Write so many of the waiting rows, each with its columns."""
    done = 0
    while done < rows:
        block = waiting.popleft()
        if len(block) > rows - done:
            waiting.appendleft(block[rows - done :])
            block = block[: rows - done]
        end = done + len(block)
        writer.write(block, {name: values[done:end] for name, values in columns.items()})
        done = end


def _nothing(classifier: Classifier) -> Expectations:
    """Of no texts."""
    return Expectations(np.empty((0, len(classifier.circuit.observables))), np.empty(0, np.int64), "")


def _columns(part: Predictions, arguments: argparse.Namespace) -> Added:
    sampled, proba = _sampled(arguments), arguments.proba
    wanted = ["prediction"] + ["confidence"] * sampled + ["shots"] * (arguments.shots == "auto")
    wanted += ["p("] * proba + ["se("] * (proba and sampled)
    return {name: values for name, values in part.to_arrays().items() if name.startswith(tuple(wanted))}


def _check_free(given: set[str], added: Iterable[str]) -> None:
    clash = sorted(given.intersection(added))
    if clash:
        raise InputError(f"found a column {clash[0]!r} in the input, which the output adds; expected another name")


def _evaluate(arguments: argparse.Namespace) -> int:
    from ..evaluation import check_labels, evaluate_labels

    classifier = _classifier(arguments)
    columns = [arguments.text_column, arguments.label_column]
    rows = list(read_table(arguments.input, columns=columns, format=arguments.format))
    true = [row[arguments.label_column] for row in rows]
    if not rows:
        raise InputError(f"{arguments.input}: found no rows; expected labelled texts")
    check_labels(classifier.readout.labels, true, f"{arguments.input} row")
    parts = _parts(arguments, classifier, iter([row[arguments.text_column] for row in rows]))
    if parts is None:
        return 0
    predicted: list[str] = []
    spent: list[int] = []
    name = ""
    with progress(len(rows)) as tell:
        for part in parts:
            predicted += part.labels.tolist()
            spent += part.shots.tolist()
            name = part.backend
            tell(len(part))
    evaluation = evaluate_labels(classifier.readout.labels, true, predicted)
    _tell_shots(arguments, spent)
    if arguments.json:
        about = {"student": classifier.artifact.manifest.name, "backend": name, "shots": arguments.shots}
        print(json.dumps(about | evaluation.to_dict(), ensure_ascii=False))
    else:
        told = f"{sum(spent) / len(spent):.0f} shots a text" if any(spent) else "exact values"
        print(f"{classifier.artifact.manifest.name} on {name}, {told}\n{evaluation.to_text()}")
    return 0
