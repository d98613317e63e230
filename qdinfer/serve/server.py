"""A server process: one event loop, and an end at which nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from .gate import Door

__all__ = ["run"]

LAST_CALL = 0.5
"""Seconds, at the end, in which open connections are told of it in their next answer."""
_SLACK = 5.0
IDLE = 75
"""Seconds that a connection may be idle: more than proxies keep theirs, which else would use one that is closing."""


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then answer all that came in, and return. A second SIGINT ends it at once.

    Args:
        app: made by `create_app`.
        listener: bound to the address.
    """
    _log_to_stderr()
    import os

    sys.setswitchinterval(float(os.environ.get("SWI", "0.005")))
    deadline = app.state.server.settings.deadline
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # the gate has its own
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=round(2 * deadline + _SLACK),
        http="httptools",
        loop="uvloop",
        ws="none",
        server_header=False,
    )
    _Server(config, app.state.server.door).run([listener])


def _log_to_stderr() -> None:
    """A line of JSON a request from the gate, as it is; anything else with its time and origin."""
    # No line names them, and to find them out takes as long as the rest of a record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name, form in (("qdinfer.access", "%(message)s"), ("qdinfer.serve", _FORM), ("uvicorn", _FORM)):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(form))
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "qdinfer.access" else logging.WARNING)


_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Server(uvicorn.Server):
    """Takes its leave of clients before it closes their connections."""

    def __init__(self, config: uvicorn.Config, door: Door) -> None:
        super().__init__(config)
        self._door = door

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection; let those that are open send what they are about to, and say goodbye in the answer.

        uvicorn closes idle connections at once, so that a request on its way there would be lost.
        """
        self._door.closing = True
        for listening in self.servers:
            listening.close()
        await asyncio.sleep(LAST_CALL)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal is not raised once more after the end: an orderly end is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
