"""``python -m benchmarks --data FOLDER``: measure, keep the numbers, and write the page from them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from qdinfer.atomic import replacing
from qdinfer.errors import InputError, QdinferError

from . import compiling, contenders, engines, startup, streaming
from .circuits import BATCHES, measure_circuits
from .plot import pictures
from .report import page
from .results import Results, Setting, read_results, setting, write_results
from .workers import ROOT

__all__ = ["PARTS", "main"]

STUDENTS = ROOT / "exported_models"
FOLDED, CONTEXTUAL = STUDENTS / "topic-folded", STUDENTS / "topic"


class Sizes(NamedTuple):
    """How much is measured."""

    batches: Sequence[int] = BATCHES
    accuracy_rows: int = 256
    trained: int | None = None
    qubits: Sequence[int] = compiling.QUBITS
    depths: Sequence[int] = compiling.DEPTHS
    texts: int = streaming.TEXTS


QUICK = Sizes(batches=(1, 4), accuracy_rows=4, trained=100, qubits=(3,), depths=(1, 2), texts=5000)


class Part(NamedTuple):
    """One part of the page.

    Attributes:
        measure: with a setting, the data's folder, sizes and what is called after each step.
        steps: how many there are, for so many rounds.
        rounds: unless the command says otherwise; None for what is measured once.
        packages: whose versions matter.
    """

    measure: Callable[[Setting, Path, Sizes, Callable[[], object]], object]
    steps: Callable[[int, Sizes], int]
    rounds: int | None
    packages: Sequence[str]


def _circuits(found: Setting, data: Path, sizes: Sizes, step: Callable[[], object]) -> object:
    return measure_circuits(found, FOLDED, batches=sizes.batches, accuracy_rows=sizes.accuracy_rows, step=step)


def _texts(found: Setting, data: Path, sizes: Sizes, step: Callable[[], object]) -> object:
    from .texts import measure_texts

    transformer = contenders.minilm_folder()
    return measure_texts(found, STUDENTS, data, transformer=transformer, trained=sizes.trained, step=step)


def _startup(found: Setting, data: Path, sizes: Sizes, step: Callable[[], object]) -> object:
    return startup.measure_startup(found, {folder.name: folder for folder in (FOLDED, CONTEXTUAL)}, step=step)


def _compiling(found: Setting, data: Path, sizes: Sizes, step: Callable[[], object]) -> object:
    return compiling.measure_compiling(found, FOLDED, qubits=sizes.qubits, depths=sizes.depths, step=step)


def _streaming(found: Setting, data: Path, sizes: Sizes, step: Callable[[], object]) -> object:
    measured = streaming.measure_streaming(found, FOLDED, data, texts=sizes.texts)
    step()
    return measured


PARTS = {
    "circuits": Part(
        _circuits, lambda rounds, sizes: rounds * len(engines.ENGINES) * len(sizes.batches), 9, engines.PACKAGES
    ),
    "texts": Part(_texts, lambda rounds, sizes: rounds * len(contenders.CONTENDERS), 7, contenders.PACKAGES),
    "startup": Part(_startup, lambda rounds, sizes: rounds * 2 * len(startup.PROGRAMS), 15, startup.PACKAGES),
    "compiling": Part(
        _compiling, lambda rounds, sizes: 1 + len(sizes.qubits) * len(sizes.depths), None, compiling.PACKAGES
    ),
    "streaming": Part(_streaming, lambda rounds, sizes: 1, None, streaming.PACKAGES),
}
"""Name → part, in the order of the page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write.

    Returns:
        0; 1 for what went wrong while measuring, 2 for bad input, 130 if it was interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        print("benchmarks: stopped; the parts that were measured before are kept", file=sys.stderr)
        return 130
    except (QdinferError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError | OSError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="with topic_{train,test}.csv")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is timed (default: as the part needs)")
    parser.add_argument("--texts", type=int, metavar="N", help=f"in the stream (default: {streaming.TEXTS})")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="of benchmarks.md and benchmarks/ (default: docs)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works; measures nothing")
    return parser


def _run(options: argparse.Namespace) -> None:
    output: Path | None = options.output
    if options.quick and (output is None or output.resolve() == ROOT / "docs"):
        raise InputError(
            "--quick: found no other folder to write to; expected --output, since docs is for measurements"
        )
    output = output or ROOT / "docs"
    for name, value in (("--rounds", options.rounds), ("--texts", options.texts)):
        if value is not None and value < 1:
            raise InputError(f"{name}: found {value}; expected at least 1")
    for name in ("topic_train.csv", "topic_test.csv"):
        if not (options.data / name).is_file():
            raise InputError(f"--data {options.data}: found no {name} there; expected the texts of the topic task")
    sizes = QUICK if options.quick else Sizes()
    if options.texts is not None:
        sizes = sizes._replace(texts=options.texts)
    folder = output / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    results = read_results(folder / "results.json")
    for name in options.only or PARTS:
        results = results.model_copy(update={name: _measured(PARTS[name], name, options, sizes)})
        write_results(folder / "results.json", results)  # part by part: what is measured is kept
        write_page(results, output)


def _measured(part: Part, name: str, options: argparse.Namespace, sizes: Sizes) -> object:
    rounds = 1 if part.rounds is None else options.rounds or (1 if options.quick else part.rounds)
    command = f"python -m benchmarks --data FOLDER --only {name}"
    command += "" if part.rounds is None else f" --rounds {rounds}"
    command += f" --texts {sizes.texts}" if name == "streaming" else ""
    command += " --quick" if options.quick else ""
    found = setting(command, rounds, part.packages)
    with tqdm(total=part.steps(rounds, sizes), desc=name, disable=None) as bar:
        return part.measure(found, options.data, sizes, partial(bar.update, 1))


def write_page(results: Results, output: Path) -> None:
    """The page and its pictures."""
    files = {output / "benchmarks" / name: content for name, content in pictures(results).items()}
    for path, content in {**files, output / "benchmarks.md": page(results).encode()}.items():
        with replacing(path) as file:
            file.write(content)
