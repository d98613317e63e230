"""What every command has: arguments, errors in one line, exit codes, progress."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from ..errors import ArtifactError, CircuitError, InputError, JournalError, QdinferError

__all__ = ["Help", "Parser", "add_command", "add_debug", "counted", "note", "progress", "run_command"]

_BAD_INPUT = (
    InputError,
    ArtifactError,
    CircuitError,
    JournalError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)


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
    from ..inspection import printable

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


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line, and end with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help explains)\n")


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as they are written."""


def add_command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], summary: str, description: str
) -> argparse.ArgumentParser:
    """Add a command about a student, which is its first argument."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=Help
    )
    parser.add_argument("student", metavar="STUDENT", help="a student's folder or .zip, or hf:ORG/NAME@REVISION")
    add_debug(parser)
    parser.set_defaults(function=function)
    return parser


@contextmanager
def progress(
    total: int | None = None, *, title: str | None = None, hidden: bool = False
) -> Iterator[Callable[[int], object]]:
    """A bar on stderr, if that is a terminal, and what tells it of so many texts more."""
    if hidden or not sys.stderr.isatty():
        yield lambda number: None
        return
    from tqdm import tqdm  # slow to import

    with tqdm(total=total, desc=title, unit=" texts") as bar:
        yield bar.update


def note(text: str) -> None:
    """Say something in one line on stderr."""
    from tqdm import tqdm  # slow to import; its write() keeps out of a bar's way

    tqdm.write(f"qdinfer: note: {text}", file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
