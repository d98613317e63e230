"""What is written to stderr: lines of JSON, without texts, paths or headers that clients sent."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from starlette.types import Scope

__all__ = ["access", "log_to_stderr", "now", "route", "trouble"]

access = logging.getLogger("qdinfer.access")
"""A line for each request, which is JSON already."""
trouble = logging.getLogger("qdinfer.serve")


def route(scope: Scope) -> str:
    """A request's route as a template: its path may hold anything, and there is no end of paths."""
    return getattr(scope.get("route"), "path", "other")


def now() -> str:
    """The time, as in all lines."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def log_to_stderr() -> None:
    """Write requests, and warnings and errors of this server and of uvicorn."""
    # No line names them, and to find them out takes as long as the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for logger in (access, trouble, logging.getLogger("uvicorn")):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s") if logger is access else _Lines())
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if logger is access else logging.WARNING)


class _Lines(logging.Formatter):
    """One line of JSON, its trace included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"time": now(), "level": record.levelname.lower(), "message": record.getMessage().strip()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)
