"""``qdistill compare``: a student beside its classical twin and what else could be deployed."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from qdinfer.atomic import replacing
from qdinfer.cli import add_debug
from qdinfer.errors import InputError, require

from ..options import add_columns, add_training, command_line, training_config

__all__ = ["add_compare_command"]

_COMPARE = """\
Train and measure a student, its classical twin (tanh in the circuit's place, all else equal), TF-IDF with logistic
regression and, with --transformer, that transformer fine-tuned whole and QD-LLM to the letter. --teacher adds the
teacher, which must have labelled the test texts too.
Stop and run it again as you like: what is in the output folder is not trained again.

  qdistill compare train.csv --test test.csv --output comparison
  qdistill compare train.csv --test test.csv --encoder contextual --transformer all-MiniLM-L6-v2 --output comparison

The folder gets comparison.md (a table), comparison.png (a plot) and results.json (each test text, right or wrong).
"""
_LEAST_SEEDS = 3


def add_compare_command(commands: Any) -> None:
    """Add ``compare`` to a command's subparsers."""
    form = argparse.RawDescriptionHelpFormatter
    compare: argparse.ArgumentParser = commands.add_parser(
        "compare", help="a student beside its twin and others", description=_COMPARE, formatter_class=form
    )
    compare.set_defaults(function=_compare)
    compare.add_argument("data", metavar="DATA", help="csv, jsonl or parquet of labelled texts to train on")
    compare.add_argument("--test", metavar="FILE", required=True, help="labelled texts to measure on")
    compare.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="made if it is not there")
    compare.add_argument("--title", metavar="TEXT", help="of the page and the plot (default: from --output)")
    compare.add_argument(
        "--seeds", type=int, default=_LEAST_SEEDS, metavar="N", help="0 to N−1, at least 3 (default: 3)"
    )
    add_columns(compare)
    add_training(compare)
    add_debug(compare)


def _compare(arguments: argparse.Namespace) -> int:
    for module in ("tensorcircuit", "optax", "sklearn", "matplotlib"):
        require(module, feature="qdistill compare", extra="distill")
    if arguments.seeds < _LEAST_SEEDS:
        raise InputError(
            f"--seeds: found {arguments.seeds}; expected at least {_LEAST_SEEDS}, or the interval says nothing"
        )
    from .job import job_of
    from .plot import png
    from .report import Comparison
    from .runner import run

    job = job_of(arguments, training_config(arguments))
    folder: Path = arguments.output
    _check_output(folder)
    found = run(job, range(arguments.seeds), folder / "results.json", say=_say)
    comparison, title = Comparison.of(found), " ".join((arguments.title or folder.resolve().name).split())
    page = comparison.to_markdown(title, ["Made by", "", "```text", command_line(arguments), "```"])
    for name, content in (("comparison.md", page.encode()), ("comparison.png", png(comparison, title))):
        with replacing(folder / name) as file:
            file.write(content)
    print("\n".join(line for line in page.splitlines() if line.startswith(("|", "**"))))  # noqa: T201
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _check_output(folder: Path) -> None:
    """Find out before the work that the folder cannot be used."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: found a file; expected a folder")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"--output {folder}: found no folder {folder.absolute().parent}; expected an existing one")
    if not os.access(folder if folder.is_dir() else folder.absolute().parent, os.W_OK):
        raise InputError(f"--output {folder}: found no permission to write there; expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "results.json").is_file():
        raise InputError(f"--output {folder}: found other things in it; expected a new folder, or one of a comparison")
