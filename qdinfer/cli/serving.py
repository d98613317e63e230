"""The command that serves students over HTTP."""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .framework import Help, add_debug

if TYPE_CHECKING:
    from ..classifier import Classifier

__all__ = ["add_commands"]

_SERVE = """\
Serve students over HTTP, on this machine alone unless --host says otherwise:

  /              a page to try them on
  /v1/classify   texts in, labels with probabilities and error bars out
  /v2/…          the Open Inference Protocol, for KServe's and Triton's clients
  /metrics       for Prometheus
  /docs          all addresses (OpenAPI)

Each line on stderr is one request, as JSON, without its texts. SIGTERM and Ctrl-C end the server when all that it
took is answered. Needs the extra: pip install "qdinfer[serve]"; shots need the extra aer too.

  qdinfer serve exported_models/topic
  qdinfer serve news=exported_models/topic mood=exported_models/emotion --port 9000
  qdinfer serve exported_models/topic --host 0.0.0.0 --token-file token.txt
"""


def add_commands(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="serve students over HTTP", description=_SERVE, formatter_class=Help)
    parser.add_argument(
        "students",
        nargs="+",
        metavar="STUDENT",
        help="a student's folder or .zip, or hf:ORG/NAME@REVISION; NAME=PATH to name it in addresses",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="listen there (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 for a free one (default: 8000)")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="ask for the token in its first line, as 'Authorization: Bearer TOKEN' (default: ask for none)",
    )
    parser.add_argument(
        "--backend",
        choices=["exact", "aer"],
        default="exact",
        help="evaluates circuits without shots; aer for students that are not compiled (default: exact)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--deadline", type=float, metavar="S", help="seconds for an answer; what would wait for long is refused (10)"
    )
    limits.add_argument("--max-texts", type=int, metavar="N", help="of a request (1024)")
    limits.add_argument("--max-bytes", type=int, metavar="N", help="of a request's body (1048576)")
    limits.add_argument("--max-queue", type=int, metavar="N", help="texts that wait, for each student (4096)")
    limits.add_argument("--max-shots", type=int, metavar="N", help="a text that a request may ask for (10000)")
    add_debug(parser)
    parser.set_defaults(function=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from ..serve import ServerSettings, create_app, run

    names = ("deadline", "max_texts", "max_bytes", "max_queue", "max_shots")
    limits = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    settings = ServerSettings(token=_token(arguments.token_file), **limits)
    app = create_app(_students(arguments), settings)
    with _listener(arguments.host, arguments.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"qdinfer: serving {', '.join(app.state.server.students)} on http://{shown}:{port}", file=sys.stderr)
        if settings.token is None and not _local(host):
            print(
                f"qdinfer: note: all who reach {shown} may use it; --token-file asks for a token",
                file=sys.stderr,
            )
        run(app, listener)
    return 0


def _students(arguments: argparse.Namespace) -> dict[str, Classifier]:
    from ..artifact import Artifact
    from ..classifier import Classifier

    students: dict[str, Classifier] = {}
    for given in arguments.students:
        name, equals, path = given.partition("=")
        named = equals and not Path(given).exists()  # a folder's own name may have the sign in it
        if named and not path:
            raise InputError(f"{given}: found no path; expected NAME=PATH")
        artifact = Artifact.open(path if named else given)
        chosen = name if named else re.sub(r"[^A-Za-z0-9._-]+", "-", artifact.manifest.name).strip("-._") or "student"
        if chosen in students:
            raise InputError(f"{given}: found a second student {chosen!r}; expected NAME=PATH, with another name")
        students[chosen] = Classifier(artifact, backend=arguments.backend, threads=arguments.threads)
    return students


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: found bytes that are not UTF-8; expected the token in the first line") from error
    if not lines or not lines[0].strip():
        raise InputError(f"{path}: found an empty first line; expected the token")
    return lines[0].strip()


def _listener(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"--port: found {port}; expected a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(f"--host: found {host!r}; expected an address or a name of this machine") from error
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), f"{host}:{port}") from error


def _local(host: str) -> bool:
    return host == "::1" or host.startswith("127.")
