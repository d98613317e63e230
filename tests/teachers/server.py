"""A completions server on this machine, that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]


def completion(tokens: dict[str, float]) -> Reply:
    choice = {"text": "x", "logprobs": {"tokens": ["x"], "top_logprobs": [tokens]}}
    return 200, {}, json.dumps({"choices": [choice]}).encode()


class Server:
    """What it was asked, and how it answers.

    Attributes:
        requests: path, headers and body of each request.
        reply: the number of the request, from 1, and its body → an answer.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply: Callable[[int, dict[str, Any]], Reply] = lambda *_: completion({" sea": -1.0, " oak": -2.0})
        self.lock = threading.Lock()


@contextmanager
def serving() -> Iterator[Server]:
    """A server at a port of its own, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.requests.append((self.path, dict(self.headers), body))
                number = len(server.requests)
            status, headers, content = server.reply(number, body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
