"""JSON over HTTP with retries, on the standard library alone."""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdinfer.errors import InputError, TeacherError

__all__ = ["JsonClient", "Retries"]

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_BYTES = 10_000_000


@dataclass(frozen=True)
class Retries:
    """How patient a client is.

    Waits grow as pause · 2^i up to `longest`, each drawn between half of that and all of it, so that clients which
    failed together do not come back together. A server's ``Retry-After`` is waited for in full, if it is not longer
    than `longest`.

    Raises:
        InputError: a number that cannot be used.
    """

    attempts: int = 6  # in all
    pause: float = 0.5  # seconds before the second
    longest: float = 60.0  # seconds between two
    timeout: float = 60.0  # seconds for one to connect, and between two pieces of an answer

    def __post_init__(self) -> None:
        for name in ("attempts", "pause", "longest", "timeout"):
            value = getattr(self, name)
            if not value > 0 or value != value:
                raise InputError(f"{name}: found {value}; expected a number above 0")


class JsonClient:
    """Posts JSON to one address. Thread-safe.

    A redirect is an error: it would carry the key to another server.
    """

    def __init__(self, url: str, *, key: str | None = None, retries: Retries | None = None) -> None:
        """Prepare; nothing is sent.

        Args:
            url: http or https, without a user, a query or a fragment, where secrets could be.
            key: sent as a bearer token; never in a message.
            retries: when to give up.

        Raises:
            InputError: another kind of address, or a key that no header can hold.
        """
        if not _plain(url):
            shown = repr(url) if "@" not in url and "?" not in url else "one with a user, or a query"
            raise InputError(f"endpoint: found {shown}; expected http(s)://HOST[:PORT]/PATH and nothing else in it")
        if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
            raise InputError("API key: found blanks or letters that no header can hold; expected the key alone")
        self.url = url
        self._key = key
        self._retries = retries or Retries()
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, body: Mapping[str, Any], *, stop: threading.Event | None = None) -> Any:
        """The JSON that answers this JSON.

        Args:
            body: what is sent.
            stop: once it is set, nothing is tried again.

        Raises:
            TeacherError: no answer after all attempts, a refusal, or an answer that is no JSON.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "qdistill"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        stop, attempt = stop or threading.Event(), 1
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers, method="POST")
        while True:
            try:
                return self._attempt(request)
            except _FailedError as failure:
                if attempt == self._retries.attempts or not self._wait(attempt, failure.wait, stop):
                    asked = f"; it asks to wait {failure.wait:.0f} s" if failure.wait else ""
                    raise TeacherError(
                        f"{self.url}: found {failure} in attempt {attempt} of {self._retries.attempts}{asked}; "
                        f"expected an answer; see that the server runs, then run again"
                    ) from failure.__cause__
            attempt += 1

    def _attempt(self, request: urllib.request.Request) -> Any:
        """What one request gives; `_FailedError` if another may do better."""
        try:
            with self._opener.open(request, timeout=self._retries.timeout) as answer:
                content = answer.read(_MOST_BYTES + 1)
                if answer.length and len(content) <= _MOST_BYTES:  # read(n) does not say that the rest is missing
                    raise http.client.IncompleteRead(content, answer.length)
                return self._decoded(content)
        except urllib.error.HTTPError as error:
            with error:
                found = f"HTTP {error.code} {error.reason}{self._said(error)}"
            if error.code in _AGAIN:
                raise _FailedError(found, _retry_after(error.headers.get("Retry-After"))) from error
            expected = "an answer; see its address, the model's name and the key"
            raise TeacherError(f"{self.url}: found {found}; expected {expected}") from error
        except (OSError, http.client.HTTPException) as error:
            raise _FailedError(f"no answer ({_reason(error)})") from error

    def _wait(self, attempt: int, asked: float | None, stop: threading.Event) -> bool:
        """Wait before the next attempt; False if that is too long, or all is over."""
        if asked is not None and asked > self._retries.longest:
            return False
        grown = min(self._retries.pause * 2 ** (attempt - 1), self._retries.longest)
        return not stop.wait(max(grown * random.uniform(0.5, 1), asked or 0))

    def _decoded(self, content: bytes) -> Any:
        try:
            if len(content) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            found = f"an answer that is no JSON ({error}): {self._shown(content)}"
            raise TeacherError(f"{self.url}: found {found}; expected a server with /v1/completions") from error

    def _said(self, error: urllib.error.HTTPError) -> str:
        try:
            content = error.read(2000)
        except (OSError, http.client.HTTPException):
            return ""
        return f": {self._shown(content)}" if content.strip() else ""

    def _shown(self, content: bytes) -> str:
        """The start of an answer, without the key, which some servers repeat."""
        text = " ".join(content[:2000].decode("utf-8", "replace").split())
        return (text.replace(self._key, "[key]") if self._key else text)[:200]


class _FailedError(Exception):
    """A request that failed in a way that may pass; `wait` is how many seconds the server asks to wait."""

    def __init__(self, found: str, wait: float | None = None) -> None:
        super().__init__(found)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _plain(url: str) -> bool:
    """Whether it is an address of http or https with nothing that could be a secret."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port  # raises for what is no number
    except ValueError:
        return False
    clean = url.isascii() and url.isprintable() and not any(letter in url for letter in " @?#")
    return clean and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date (RFC 9110, section 10.2.3); None if it is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__
