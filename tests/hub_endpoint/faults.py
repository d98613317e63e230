"""What shall go wrong, and when: rules that a test hands to the endpoint."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

KINDS = ("status", "drop", "stall", "cut", "wrong", "content", "meanwhile")


@dataclass
class Fault:
    """One rule. The first that matches a request and is not spent is used.

    Attributes:
        kind: `status` answers with `status` and `headers`; `drop` closes the connection without a byte; `stall` holds
            the answer back until the endpoint stops; `cut` sends half of it, under the whole length; `wrong` sends
            other bytes, as many; `content` sends `body` in place of it; `meanwhile` does `action`, then answers.
        method: of requests, as a regular expression for the whole of it.
        path: of requests, as a regular expression that is searched in it.
        after: how many that match are let through first.
        count: how many are hit then; None for all.
        status: of `status`.
        headers: of `status`.
        body: of `content`.
        action: of `meanwhile`.
    """

    kind: str
    method: str = ".*"
    path: str = ""
    after: int = 0
    count: int | None = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    action: Callable[[], object] = lambda: None
    matched: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"found the kind {self.kind!r}, expected one of {KINDS}")

    @property
    def spent(self) -> bool:
        """Whether it will hit no more."""
        return self.count is not None and self.matched >= self.after + self.count

    def hits(self, method: str, path: str) -> bool:
        """Count the request, if it is meant; whether it is hit."""
        if self.spent or not (re.fullmatch(self.method, method) and re.search(self.path, path)):
            return False
        self.matched += 1
        return self.matched > self.after


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._lock = threading.Lock()

    def of_request(self, method: str, path: str) -> Fault | None:
        """The fault of this request, if any."""
        with self._lock:
            return next((rule for rule in self.rules if rule.hits(method, path)), None)
