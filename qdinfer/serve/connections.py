"""Connections, with what uvicorn's have not: limits for a request's head, and a deaf ear to other protocols."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["MAX_HEAD", "Connection"]

MAX_HEAD = 2**16
"""Bytes of a request line and headers (about: whole packets are looked at), or of anything else that is no body."""


class Connection(HttpToolsProtocol):
    """One connection. A head that is too long, or too slow, ends it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = 0  # bytes since the last ones of a body, or the last whole request
        self._since = self.loop.time()
        self._whole = True  # all of the last request has come

    def data_received(self, data: bytes) -> None:
        """Count them; the callbacks below forget the count when there is an end to the head."""
        if self.cycle is None or not self.cycle.more_body:
            data = _not_to_be_upgraded(data)
        if not self._head and not self._answered_early:
            self._since = self.loop.time()
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(f"Found over {MAX_HEAD} bytes of headers.")

    def on_message_begin(self) -> None:
        """A request begins to come."""
        self._whole = False
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Some bytes of a body have come."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of a request has come."""
        self._head = 0
        self._whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered."""
        self._since = self.loop.time()
        super().on_response_complete()

    def close_if_stuck(self, deadline: float, idle: float) -> None:
        """End it, if a head is not whole by its deadline, or if it is idle for too long; both in seconds.

        So is one whose request was answered before all of it had come, as one that is too large.
        """
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self.loop.time() - self._since > (deadline if self._head or self._answered_early else idle):
            self.transport.close()

    @property
    def _answered_early(self) -> bool:
        return not self._whole and self.cycle is not None and self.cycle.response_complete


def _not_to_be_upgraded(data: bytes) -> bytes:
    """A request's head, so that its parser does not see that the client would rather speak HTTP/2.

    Java's client offers that with its first request, and the parser would take what follows for the other protocol.
    """
    found = data[: data.find(b"\r\n\r\n")].lower().find(b"\r\nupgrade:") + 2
    return data if found == 1 else b"".join((data[:found], b"x-", data[found:]))
