"""A server process: one event loop, and an end at which nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from .app import Server
from .connections import Connection
from .logs import log_to_stderr, trouble

__all__ = ["run"]

LAST_CALL = 0.5
"""Seconds, at the end, in which open connections are told of it in their next answer."""
SLACK = 5.0
"""Seconds beyond two deadlines, for clients that do not read their answers."""
IDLE = 75
"""Seconds that a connection may be idle: more than proxies keep theirs, which else would use one that is closing."""
_INTERRUPTED = 128 + signal.SIGINT


def run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; then answer all that came in, and return. A second SIGINT ends it at once.

    Args:
        app: made by `create_app`.
        listener: bound to the address.
    """
    log_to_stderr()
    served: Server = app.state.server
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # the gate has its own
        proxy_headers=False,  # a client could write what it likes into the log
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=round(2 * served.settings.deadline + SLACK),
        http=Connection,
        loop="uvloop",
        ws="none",
        server_header=False,
    )
    process = _Process(config, served)
    with process.capture_signals():  # before there is an event loop, in which an exception of a handler could be lost
        process.run([listener])


class _Process(uvicorn.Server):
    """Takes its leave of clients before it closes their connections."""

    def __init__(self, config: uvicorn.Config, served: Server) -> None:
        super().__init__(config)
        self._served = served

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second; and once a second, close connections that are stuck."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.close_if_stuck(self._served.settings.deadline, IDLE)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection; let those that are open send what they are about to, and say goodbye in the answer.

        uvicorn drops connections that wait to be accepted, closes idle ones at once, so that a request on its way there
        would be lost, and gives up what takes longer than its limit. The limit is for clients that do not read.
        """
        self._served.door.closing = True
        trouble.warning("ending when all is answered; another SIGINT ends at once")
        listeners = [listener.dup() for listener in sockets or ()]  # the loop closes its own
        for listening in self.servers:
            listening.close()
        for listener in listeners:
            await self._take_waiting(listener)
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_CALL
        while self._served.busy or (self.server_state.connections and loop.time() < end):
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    async def _take_waiting(self, listener: socket.socket) -> None:
        """Close a listener; what the system had accepted for it, and whose requests may be here, is served."""
        listener.setblocking(False)
        waiting = []
        with listener, contextlib.suppress(OSError):  # none are left, or no more files may be open
            while True:
                waiting.append(listener.accept()[0])
        made = partial(Connection, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        for connection in waiting:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(made, connection)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end. At the second Ctrl-C, don't even wait for the batch that runs."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(_INTERRUPTED)
        super().handle_exit(sig, frame)

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
