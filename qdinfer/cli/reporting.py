"""The command that writes a report."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, require, whole_number
from ..reading import HUB
from ..tabular import STDIO, column, open_output, read_table
from ..texts import warn_truncated
from .framework import add_command, counted, progress
from .options import input_options

if TYPE_CHECKING:
    from ..backends import Backend
    from ..circuit import Circuit
    from ..report import Origin

__all__ = ["add_commands"]

_REPORT = """\
Measure a student on labelled texts and write what was found as one HTML file, which needs no network: accuracy with its
95 % interval, confusion matrix, reliability diagram, the most and the least certain texts, accuracy against shots,
exact against noisy values, and the circuit. Needs the extra: pip install "qdinfer[report]"

  qdinfer report STUDENT --input labelled.csv
  qdinfer report STUDENT --input labelled.csv --output report.html --shots 4000 --seed 7
  qdinfer report STUDENT --input labelled.csv --backend fake:FakeFez --noisy-texts 10
"""
_EXTRA = ("matplotlib", "pylatexenc", "qiskit", "qiskit_aer", "qiskit_qasm3_import")
_SHOTS, _SEED = 1000, 0
_TEXTS, _TEXTS_ON_A_DEVICE = 1000, 10


def add_commands(commands: Any) -> None:
    """Add the command."""
    report = add_command(commands, "report", _report, "write an HTML page about a student on labelled texts", _REPORT)
    input_options(report, required=True)
    report.add_argument(
        "--label-column", metavar="NAME", default="label", help="column of true labels (default: label)"
    )
    report.add_argument(
        "--output",
        metavar="FILE",
        default="report.html",
        help="write there, whole or not at all; - for standard output (default: report.html)",
    )
    report.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")
    noise = report.add_argument_group("exact against noisy")
    noise.add_argument(
        "--backend",
        type=_noisy,
        default="aer",
        metavar="NAME",
        help="what is held against exact values: aer, with shot noise alone, or fake:DEVICE, with a device's noise "
        "(default: aer)",
    )
    noise.add_argument(
        "--shots", type=int, default=_SHOTS, metavar="N", help=f"measurements a text on it (default: {_SHOTS})"
    )
    noise.add_argument(
        "--noisy-texts",
        type=int,
        metavar="N",
        help=f"texts that it is given, drawn at random (default: {_TEXTS}; on a fake device, which takes seconds a "
        f"text, {_TEXTS_ON_A_DEVICE})",
    )
    noise.add_argument(
        "--seed", type=int, default=_SEED, metavar="N", help=f"draws texts and simulates shots (default: {_SEED})"
    )


def _noisy(text: str) -> str:
    kind, _, device = text.partition(":")
    if text == "aer" or (kind == "fake" and device):
        return text
    raise argparse.ArgumentTypeError(
        f"found {text!r}; expected aer or fake:DEVICE (for runs on other backends there is "
        "qdinfer.figures.exact_against_noisy)"
    )


def _report(arguments: argparse.Namespace) -> int:
    for module in _EXTRA:
        require(module, feature="qdinfer report", extra="report")
    from ..artifact import Artifact
    from ..classifier import Classifier
    from ..evaluation import check_labels
    from ..report import MAX_SEED, MAX_TEXTS, measure, page

    seed = whole_number("--seed", arguments.seed, 0, MAX_SEED)
    noisy_texts = arguments.noisy_texts
    if noisy_texts is None:
        noisy_texts = _TEXTS if arguments.backend == "aer" else _TEXTS_ON_A_DEVICE
    whole_number("--noisy-texts", noisy_texts, 1, MAX_TEXTS)
    _check_output(arguments)
    artifact = Artifact.open(arguments.student)
    exact = "exact" if "compiled.onnx" in artifact.files else "aer"  # which is exact too
    classifier = Classifier(artifact, backend=exact, threads=arguments.threads)
    backend = _backend(arguments, seed, classifier.circuit)
    texts, labels = _labelled(arguments)
    check_labels(classifier.readout.labels, labels, f"{arguments.input} row")
    found = measure(
        classifier,
        texts,
        labels,
        backend,
        noisy_texts=noisy_texts,
        # A circuit that is slow to simulate is so for the curve too; a device says nothing about that.
        shot_texts=noisy_texts if arguments.backend == "aer" else _TEXTS,
        seed=seed,
        progress=lambda title, total: progress(total, title=title),
    )
    warn_truncated(found.cut, len(texts), artifact.manifest.encoder.max_tokens, stacklevel=2)
    written = page(classifier, found, _origin(arguments))
    with open_output(arguments.output) as target:
        target.write(written)
    if arguments.output != STDIO:
        low, high = found.evaluation.interval
        print(
            f"{arguments.output}: {len(written.encode()) / 1e6:.2f} MB; accuracy {found.evaluation.accuracy:.4f}, "
            f"95 % interval {low:.4f} to {high:.4f}, {counted(len(texts), 'text')}"
        )
    return 0


def _check_output(arguments: argparse.Namespace) -> None:
    """See that the page can be written, and will not take the place of what it is made from."""
    output = Path(arguments.output)
    if arguments.output == STDIO:
        return
    if not output.absolute().parent.is_dir():  # before what takes long
        raise FileNotFoundError(f"{output}: found no folder for it; expected an existing one")
    if output.is_dir():
        raise IsADirectoryError(f"{output}: found a folder; expected a file's name, such as {output / 'report.html'}")
    if arguments.input != STDIO and output.resolve() == Path(arguments.input).resolve():
        raise InputError(f"--output {output}: found the file of --input; expected another")


def _labelled(arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Texts and their true labels."""
    names = [arguments.text_column, arguments.label_column]
    try:
        rows = list(read_table(arguments.input, columns=names, format=arguments.format))
    except InputError as error:
        if str(error).endswith(f"; expected {arguments.label_column!r}"):
            told = "the column of true labels that a report is measured against; --label-column names another"
            raise InputError(f"{error}, {told}") from error
        raise
    if not rows:
        raise InputError(f"{arguments.input}: found no rows; expected labelled texts")
    texts, labels = (column(rows, name) for name in names)
    return texts, labels


def _backend(arguments: argparse.Namespace, seed: int, circuit: Circuit) -> Backend:
    if arguments.backend == "aer":
        from ..backends.aer import AerBackend

        return AerBackend(arguments.shots, seed=seed)
    from ..backends.runtime import RuntimeBackend, device_named

    device = RuntimeBackend(device_named(arguments.backend.partition(":")[2]), shots=arguments.shots, seed=seed)
    device.prepare(circuit)  # a device that is too small is told of now, not after all texts were encoded
    return device


def _origin(arguments: argparse.Namespace) -> Origin:
    from ..report import Origin

    source = Path(arguments.input)
    digest = None
    if arguments.input != STDIO and source.is_file():  # a pipe can be read only once
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = "standard input" if arguments.input == STDIO else source.name
    return Origin(name, digest, _command(arguments), datetime.now(UTC))


def _command(arguments: argparse.Namespace) -> str:
    """The command as it was given, with file names in place of paths, which mean nothing elsewhere."""
    given = (arguments.student, arguments.input, arguments.output)
    paths = {path for path in given if not path.startswith(HUB)}

    def shorten(word: str) -> str:
        option, equals, value = word.partition("=")  # --output=PATH
        if equals and value in paths:
            return f"{option}={Path(value).name}"
        return Path(word).name if word in paths else word

    return shlex.join(["qdinfer", *map(shorten, arguments.words)])
