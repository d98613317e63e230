"""What shall go wrong, and when: rules that a test hands to the stand-in."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

REQUEST_KINDS = frozenset({"status", "drop", "stall", "cut"})
JOB_KINDS = frozenset({"fail", "too_long", "cancel", "slow_queue", "slow_run", "unreadable", "missing"})
SESSION_KINDS = frozenset({"close_session"})
KINDS = REQUEST_KINDS | JOB_KINDS | SESSION_KINDS


@dataclass(frozen=True)
class Fault:
    """One rule. Rules are asked in the order in which they were given; the first that matches is used.

    Attributes:
        kind: of a request: `status` answers with a status code, `drop` closes the connection without a byte, `stall`
            holds the answer back, `cut` sends half of it. Of a job, when it is created: `fail`, `too_long`, `cancel`
            end it so; `slow_queue`, `slow_run` make it wait; `unreadable`, `missing` spoil its result. Of a session,
            when it is created: `close_session` closes it by itself.
        method: of requests, as a regular expression.
        path: of requests, as a regular expression that is searched in the path without the API's prefix: `^/jobs$`.
        after: how many that match are let through first.
        count: how many are hit then; None for all.
        when: `before` the server does anything, or `after` it has done what was asked (a 502 after a creation); `cut`
            is always after.
        status: of `status`.
        retry_after: of `status`, seconds for that header.
        body: of `status`, in place of the service's own form of an error.
        seconds: of `stall`, `slow_queue` and `slow_run`.
        reason: of `fail` and `cancel`, as the job will give it.
        code: of `fail` and `cancel`, the reason's code.
        jobs: of `close_session`, how many jobs the session takes before it closes.
    """

    kind: str
    method: str = ""
    path: str = ""
    after: int = 0
    count: int | None = 1
    when: str = "before"
    status: int = 500
    retry_after: int | None = None
    body: str | None = None
    seconds: float = 0.0
    reason: str | None = None
    code: int | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"found the kind {self.kind!r}, expected one of {', '.join(sorted(KINDS))}")
        if self.when not in ("before", "after"):
            raise ValueError(f"found when={self.when!r}, expected 'before' or 'after'")

    @classmethod
    def of(cls, given: dict[str, Any]) -> Fault:
        """The rule that arrived as JSON.

        Raises:
            ValueError: a name that no rule has, or no kind.
        """
        unknown = given.keys() - {field.name for field in fields(cls)}
        if unknown or "kind" not in given:
            raise ValueError(f"found {sorted(given)}, expected 'kind' and other attributes of a fault")
        return cls(**given)


@dataclass
class _Rule:
    """A fault, and how often it has matched."""

    fault: Fault
    matched: int = 0

    def strikes(self) -> bool:
        """Count one more match; whether this one is hit."""
        self.matched += 1
        return self.matched > self.fault.after

    @property
    def spent(self) -> bool:
        count = self.fault.count
        return count is not None and self.matched >= self.fault.after + count


class Faults:
    """The rules in force. They live in memory: a restarted server has none, but jobs keep those they were given."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Put a rule behind the others."""
        with self._lock:
            self._rules.append(_Rule(fault))

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def outstanding(self) -> list[Fault]:
        """The rules that are not spent."""
        with self._lock:
            return [rule.fault for rule in self._rules]

    def of_request(self, method: str, path: str) -> Fault | None:
        """The fault of this request, if any."""
        return self._take(REQUEST_KINDS, method, path)

    def of_job(self) -> list[Fault]:
        """The faults of a job that is being created: at most one of each kind."""
        return [fault for kind in sorted(JOB_KINDS) if (fault := self._take({kind})) is not None]

    def of_session(self) -> Fault | None:
        """The fault of a session that is being created, if any."""
        return self._take(SESSION_KINDS)

    def _take(self, kinds: Collection[str], method: str = "", path: str = "") -> Fault | None:
        with self._lock:
            for rule in self._rules:
                fault = rule.fault
                meant = fault.kind in kinds and re.search(fault.method, method) and re.search(fault.path, path)
                if meant and rule.strikes():
                    if rule.spent:
                        self._rules.remove(rule)
                    return fault
        return None
