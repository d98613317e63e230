"""The pages of the commands: what --help prints, put in place of the line ``<!-- help of COMMAND -->``."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from unittest.mock import patch

import qdinfer.cli
import qdistill.cli

PARSERS = {"qdinfer": qdinfer.cli._parser, "qdistill": qdistill.cli._parser}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in the help texts."""
    return re.sub(r"^<!-- help of (\w+) -->$", lambda match: help_of(match[1]), markdown, flags=re.MULTILINE)


def help_of(command: str) -> str:
    """A section for the command, and one for each command under it."""
    with patch.dict(os.environ, COLUMNS="80", NO_COLOR="1"):  # argparse asks them
        return "\n\n".join(
            f"## {each.prog}\n\n``` {{.text .help}}\n{each.format_help()}```" for each in parsers(PARSERS[command]())
        )


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)
