"""The ``qdinfer`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from .framework import Help, Parser, add_debug, run_command

__all__ = ["Parser", "add_debug", "main", "run_command"]

_DESCRIPTION = """\
Run quantum students: small text classifiers, distilled from an LLM.
A student is a folder or one .zip; it needs no network and no LLM. STUDENT may also be hf:ORG/NAME@REVISION, on the
Hugging Face Hub.

  qdinfer predict STUDENT "some text" "another"
  qdinfer predict STUDENT --input texts.csv --output labelled.csv
  qdinfer evaluate STUDENT --input labelled.csv
  qdinfer report STUDENT --input labelled.csv
  qdinfer forecast STUDENT --input labelled.csv --device fake:FakeFez ibm:DEVICE
  qdinfer estimate STUDENT --input texts.csv --backend ibm:DEVICE --shots 1000
  qdinfer inspect STUDENT --circuit
  qdinfer serve STUDENT
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and give its exit code: 0, 1 for a failure, 2 for bad input."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    parser.set_defaults(words=words)
    return run_command(parser, words)


def _parser() -> argparse.ArgumentParser:
    from . import durable, forecasting, predicting, reporting, serving, students

    parser = Parser("qdinfer", description=_DESCRIPTION, formatter_class=Help)
    parser.add_argument("--version", action="version", version=f"qdinfer {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    predicting.add_commands(commands)
    students.add_commands(commands)
    reporting.add_commands(commands)
    forecasting.add_commands(commands)
    durable.add_commands(commands)
    serving.add_commands(commands)
    return parser
