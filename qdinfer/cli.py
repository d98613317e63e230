"""The ``qdinfer`` command."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import __version__
from .errors import ArtifactError, CircuitError, InputError, QdinferError
from .tabular import FORMATS, STDIO, Table, Writer, open_output, read_table, table_format

if TYPE_CHECKING:
    from .backends import Backend
    from .predictions import Predictions

__all__ = ["Parser", "add_debug", "main", "run_command"]

_DESCRIPTION = """\
Run quantum students: small text classifiers, distilled from an LLM.
A student is a folder or one .zip; it needs no network and no LLM.

  qdinfer predict STUDENT "some text" "another"
  qdinfer predict STUDENT --input texts.csv --output labelled.csv
  qdinfer evaluate STUDENT --input labelled.csv
  qdinfer inspect STUDENT --circuit
"""
_BAD_INPUT = (InputError, ArtifactError, CircuitError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and give its exit code: 0, 1 for a failure, 2 for bad input."""
    return run_command(_parser(), argv)


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the arguments and call the chosen function; an error becomes one line on stderr and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as all files here, whatever the locale
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    arguments = parser.parse_args(argv)
    with warnings.catch_warnings(), _terminable():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: print(f"{parser.prog}: note: {message}", file=sys.stderr)
        try:
            code: int = arguments.function(arguments)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            return 1
        except KeyboardInterrupt:
            print(f"{parser.prog}: interrupted", file=sys.stderr)
            return 130
        except (QdinferError, OSError) as error:
            if arguments.debug:
                traceback.print_exc()
            print(f"{parser.prog}: error: {_one_line(error)}", file=sys.stderr)
            return 2 if isinstance(error, _BAD_INPUT) else 1
        finally:
            _settle_output()


def _settle_output() -> None:
    """Write what is left; drop it where that fails, or the interpreter would try, and fail, once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(error: Exception) -> str:
    from .inspection import printable

    message = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
    return printable(" ".join(message.split()))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as an exception does, so that half-written files go."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command has."""
    parser.add_argument("--debug", action="store_true", help="show the whole trace of an error")


def _parser() -> argparse.ArgumentParser:
    parser = Parser("qdinfer", description=_DESCRIPTION, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"qdinfer {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    predict = _command(commands, "predict", _predict, "label texts", _PREDICT)
    predict.add_argument("texts", nargs="*", metavar="TEXT", help="texts to label")
    _input_options(predict, required=False)
    predict.add_argument(
        "--output", metavar="FILE", default=STDIO, help="write there, whole or not at all (default: -)"
    )
    predict.add_argument("--proba", action="store_true", help="add the probability of each class")
    _backend_options(predict)

    evaluate = _command(commands, "evaluate", _evaluate, "measure accuracy on labelled texts", _EVALUATE)
    _input_options(evaluate, required=True)
    evaluate.add_argument(
        "--label-column", metavar="NAME", default="label", help="column of true labels (default: label)"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    _backend_options(evaluate)

    inspect = _command(commands, "inspect", _inspect, "say what a student is", _INSPECT)
    inspect.add_argument("--circuit", action="store_true", help="draw the circuit too (needs the extra aer)")

    verify = _command(commands, "verify", _verify, "recompute the golden cases", _VERIFY)
    verify.add_argument(
        "--backend", choices=["exact", "aer"], help="evaluates the circuit (default: exact if compiled)"
    )

    compiling = _command(commands, "compile", _compile, "make compiled.onnx for the exact engine", _COMPILE)
    compiling.add_argument("--output", metavar="PATH", help="write the student there (default: in its place)")
    compiling.add_argument(
        "--fused",
        action="store_true",
        help="also make fused.onnx: from token ids to probabilities in one graph (one that is there is made anew)",
    )
    compiling.add_argument(
        "--max-error",
        type=float,
        default=0.0,
        metavar="E",
        help="if the circuit is out of reach, leave terms out that together change no expectation value by more",
    )
    return parser


_PREDICT = """\
Label texts. The output is a table: the columns of the input, then `prediction`; with --shots also `confidence`,
the chance that the label stands, given shot noise; with --proba `p(CLASS)`, and with both `se(CLASS)`, the
standard error of each probability.

  qdinfer predict STUDENT "The striker scored twice in the cup final."
  qdinfer predict STUDENT --input texts.csv --output labelled.csv --proba
  cat texts.jsonl | qdinfer predict STUDENT --input - --format jsonl
  qdinfer predict STUDENT --input texts.csv --backend aer --shots 1000 --seed 7
"""
_EVALUATE = """\
Measure a student on labelled texts: accuracy with its 95 % interval, macro F1 and the confusion matrix.

  qdinfer evaluate STUDENT --input test.csv
  qdinfer evaluate STUDENT --input test.csv --backend aer --shots 1000 --json
"""
_INSPECT = """\
Say what a student is: classes, encoder, circuit, readout, where it comes from.

  qdinfer inspect STUDENT --circuit
"""
_VERIFY = """\
Recompute the student's golden cases stage by stage on this machine, and name the first stage that drifts.
The exit code is 0 if all hold and 1 if not. With --backend aer, circuit.qasm itself is run (needs the extra aer).

  qdinfer verify STUDENT
"""
_COMPILE = """\
Compile the student's circuit for the exact engine and compare it with Qiskit's statevector at random angles.
Needs the extra: pip install "qdinfer[compile]"

  qdinfer compile STUDENT
  qdinfer compile STUDENT --fused
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line, and end with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help explains)\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as they are written."""


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], summary: str, description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=_Help
    )
    parser.add_argument("student", metavar="STUDENT", help="a student's folder or .zip")
    add_debug(parser)
    parser.set_defaults(function=function)
    return parser


def _input_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--input", metavar="FILE", required=required, help="csv or jsonl to read; - for standard input")
    parser.add_argument("--format", choices=FORMATS, help="of input and output, where a name does not tell")
    parser.add_argument("--text-column", metavar="NAME", default="text", help="column of texts (default: text)")


def _backend_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", choices=["exact", "aer"], default="exact", help="evaluates the circuit (default: exact)"
    )
    parser.add_argument("--shots", type=int, metavar="N", help="measure N times a text, on aer (default: exact values)")
    parser.add_argument("--seed", type=int, metavar="N", help="make shots repeatable")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")


def _backend(arguments: argparse.Namespace) -> str | Backend:
    if arguments.backend == "exact":
        if arguments.shots is not None or arguments.seed is not None:
            raise InputError("--shots and --seed: found the exact backend, which has no shots; expected --backend aer")
        return "exact"
    from .backends.aer import AerBackend

    return AerBackend(arguments.shots, seed=arguments.seed)


def _predict(arguments: argparse.Namespace) -> int:
    if bool(arguments.texts) == (arguments.input is not None):
        found = "both TEXT and --input" if arguments.texts else "neither TEXT nor --input"
        raise InputError(f"found {found}; expected one of them")
    from .classifier import Classifier

    rows: Iterator[dict[str, Any]]
    if arguments.input is None:
        column, kind = "text", "csv"
        rows = iter([{"text": text} for text in arguments.texts])
    else:
        column, kind = arguments.text_column, table_format(arguments.input, arguments.format)
        rows = read_table(arguments.input, columns=[column], format=kind)
    kind = table_format(arguments.output, arguments.format or (kind if arguments.output == STDIO else None))
    classifier = Classifier.load(arguments.student, backend=_backend(arguments), threads=arguments.threads)
    pending: deque[dict[str, Any]] = deque()

    def texts() -> Iterator[str]:
        for row in rows:
            pending.append(row)
            yield row[column]

    shared = arguments.output == STDIO and sys.stdout.isatty()  # table and bar would run into each other
    with open_output(arguments.output) as target, _progress(hidden=shared) as tell:
        writer = Writer(target, kind)
        for part in classifier.stream(texts()):
            columns = _columns(part, proba=arguments.proba, shots=arguments.shots is not None)
            for values in zip(*columns.values(), strict=True):
                writer.row(_joined(pending.popleft(), dict(zip(columns, values, strict=True))))
            tell(len(part))
        if writer.columns is None and isinstance(rows, Table):  # a table without rows still has columns
            columns = _columns(classifier.classify([]), proba=arguments.proba, shots=arguments.shots is not None)
            writer.header(list(_joined(dict.fromkeys(rows.columns or [column]), columns)))
    return 0


@contextmanager
def _progress(total: int | None = None, *, hidden: bool = False) -> Iterator[Callable[[int], object]]:
    """A bar on stderr, if that is a terminal, and what tells it of so many texts more."""
    if hidden or not sys.stderr.isatty():
        yield lambda number: None
        return
    from tqdm import tqdm  # slow to import

    with tqdm(total=total, unit=" texts") as bar:
        yield bar.update


def _columns(part: Predictions, *, proba: bool, shots: bool) -> dict[str, list[Any]]:
    wanted = ["prediction"] + ["confidence"] * shots + ["p("] * proba + ["se("] * (proba and shots)
    return {name: values for name, values in part.to_columns().items() if name.startswith(tuple(wanted))}


def _joined(row: dict[str, Any], prediction: dict[str, Any]) -> dict[str, Any]:
    clash = sorted(row.keys() & prediction.keys())
    if clash:
        raise InputError(f"found a column {clash[0]!r} in the input, which the output adds; expected another name")
    return row | prediction


def _evaluate(arguments: argparse.Namespace) -> int:
    from .classifier import Classifier
    from .evaluation import check_labels, evaluate_labels

    backend = _backend(arguments)
    columns = [arguments.text_column, arguments.label_column]
    rows = list(read_table(arguments.input, columns=columns, format=arguments.format))
    true = [row[arguments.label_column] for row in rows]
    if not rows:
        raise InputError(f"{arguments.input}: found no rows; expected labelled texts")
    classifier = Classifier.load(arguments.student, backend=backend, threads=arguments.threads)
    check_labels(classifier.readout.labels, true, f"{arguments.input} row")
    predicted: list[str] = []
    name = ""
    with _progress(len(rows)) as tell:
        for part in classifier.stream(row[arguments.text_column] for row in rows):
            predicted += part.labels.tolist()
            name = part.backend
            tell(len(part))
    evaluation = evaluate_labels(classifier.readout.labels, true, predicted)
    if arguments.json:
        about = {"student": classifier.artifact.manifest.name, "backend": name, "shots": arguments.shots}
        print(json.dumps(about | evaluation.to_dict(), ensure_ascii=False))
    else:
        shots = "exact values" if arguments.shots is None else f"{arguments.shots} shots a text"
        print(f"{classifier.artifact.manifest.name} on {name}, {shots}\n{evaluation.to_text()}")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    from .artifact import Artifact
    from .circuit import Circuit
    from .inspection import describe, draw

    artifact = Artifact.open(arguments.student)
    print(describe(artifact))
    if arguments.circuit:
        print("\n" + draw(Circuit.from_artifact(artifact)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from .verification import verify

    report = verify(arguments.student, backend=arguments.backend)
    print(f"{report.name} on {report.backend}, {report.cases} golden cases")
    for stage in report.stages:
        state = "ok" if stage.ok else "DRIFTS"
        print(f"  {stage.name:<10}  {stage.file:<14}  off by {stage.deviation:<8.2g}  of {stage.tolerance:<6g} {state}")
    if report.first_drift is not None:
        drift = report.first_drift
        print(
            f"qdinfer: error: {drift.file}: found that the {drift.name} stage drifts first, by {drift.deviation:.2g}; "
            f"expected at most {drift.tolerance:g}",
            file=sys.stderr,
        )
    return 0 if report.ok else 1


def _compile(arguments: argparse.Namespace) -> int:
    from .artifact import Artifact
    from .compiler import compile_artifact
    from .saving import check_destination

    place = Path(arguments.output or arguments.student)
    opened = Artifact.open(arguments.student)
    check_destination(place, overwrite=arguments.output is None)
    artifact = compile_artifact(opened, max_error=arguments.max_error, fused=arguments.fused, progress=True)
    artifact.save(place, overwrite=arguments.output is None)
    sizes = {name: len(data) / 1e6 for name, data in artifact.files.items()}
    spec = artifact.manifest.compiled
    if spec is not None:
        left_out = f"; at most {spec.bound:.1e} at any angles, by terms left out" if spec.bound else ""
        print(
            f"{place}: compiled.onnx {sizes['compiled.onnx']:.2f} MB, "
            f"error {spec.max_error:.1e} over {spec.checked} random rows{left_out}"
        )
    if "fused.onnx" in sizes:
        print(f"{place}: fused.onnx {sizes['fused.onnx']:.2f} MB")
    return 0
