"""A request's body, within limits of size and time."""

from __future__ import annotations

import asyncio
import zlib

from starlette.types import Receive, Scope

from ..errors import InputError
from .settings import ServerSettings

__all__ = ["TooLargeError", "TooSlowError", "header", "read_body"]

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class TooLargeError(InputError):
    """A request with more in it than the server takes at once."""


class TooSlowError(InputError):
    """A body that did not arrive in time."""


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a request's header, by its name in small letters."""
    for key, value in scope["headers"]:  # a generator took longer than the rest of a request's checks
        if key == name:
            return str(value, "latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, settings: ServerSettings) -> bytes:
    """The whole body, unpacked.

    Raises:
        TooLargeError: it has more than `settings.max_bytes`.
        TooSlowError: it did not come within the deadline.
        InputError: it is packed in an unknown way, or not as it says, or the client went away.
    """
    most = settings.max_bytes
    length = header(scope, b"content-length") or ""
    if length.isdecimal() and len(length) < 20 and int(length) > most:
        raise _too_large(length, most)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(settings.deadline):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise InputError(f"body: found {size} bytes, and that the client went away; expected all of it")
                parts.append(message.get("body", b""))
                size, more = size + len(parts[-1]), message.get("more_body", False)
                if size > most:
                    raise _too_large(f"over {most}", most)
    except TimeoutError as error:
        raise TooSlowError(f"body: found {size} bytes in {settings.deadline:g} s; expected all of it") from error
    packing = header(scope, b"content-encoding")
    body = b"".join(parts)
    return body if packing is None or packing.lower() == "identity" else _unpacked(body, packing.lower(), most)


def _unpacked(body: bytes, packing: str, most: int) -> bytes:
    if packing not in _WINDOWS:
        raise InputError(f"content-encoding: found {packing!r}; expected one of {sorted(_WINDOWS)}, or none")
    unpacker = zlib.decompressobj(_WINDOWS[packing])
    try:
        plain = unpacker.decompress(body, most + 1)  # no more than that is made of a bomb
    except zlib.error as error:
        raise InputError(f"body: found no valid {packing} ({error})") from error
    if len(plain) > most:
        raise _too_large(f"over {most}", most)
    if not unpacker.eof:
        raise InputError(f"body: found {packing} that is cut off; expected all of it")
    if unpacker.unused_data:
        raise InputError(f"body: found {len(unpacker.unused_data)} bytes behind its {packing}; expected none")
    return plain


def _too_large(found: str, most: int) -> TooLargeError:
    return TooLargeError(f"body: found {found} bytes; expected at most {most} in one request")
