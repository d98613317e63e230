"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from .students import ServedStudent

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # Looking one up takes longer than counting.
        self._counters: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._classified: dict[str, Counter] = {}
        self._requests = Counter(
            "qdinfer_requests", "Answers, by route and status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "qdinfer_request_seconds",
            "From a request's head to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._texts = Counter("qdinfer_texts", "Texts that were classified.", ["model"], registry=self._registry)
        self._truncated = Counter("qdinfer_truncated_texts", "Texts that were cut.", ["model"], registry=self._registry)
        self._batches = Histogram(
            "qdinfer_batch_texts",
            "Texts that ran together.",
            ["model", "queue"],
            buckets=_TEXTS,
            registry=self._registry,
        )
        self._work = Counter(
            "qdinfer_batch_seconds", "Time that batches ran for.", ["model", "queue"], registry=self._registry
        )
        self._waiting = Gauge("qdinfer_waiting_texts", "Texts in a queue.", ["model", "queue"], registry=self._registry)

    def watch(self, students: Iterable[ServedStudent]) -> None:
        """Count for these, and show how long their queues are."""
        for student in students:
            self._classified[student.name] = self._texts.labels(student.name)
            for queue in student.waiting:
                self._waiting.labels(student.name, queue).set_function(partial(_length, student, queue))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer. Routes are templates, so that there are few of them."""
        counters = self._counters.get((route, status))
        if counters is None:
            counters = self._requests.labels(route, str(status)), self._seconds.labels(route)
            self._counters[route, status] = counters
        counters[0].inc()
        counters[1].observe(seconds)

    def texts(self, model: str, texts: int, truncated: int) -> None:
        """Count texts that were answered."""
        self._classified[model].inc(texts)
        if truncated:
            self._truncated.labels(model).inc(truncated)

    def batch(self, model: str, queue: str, texts: int, seconds: float) -> None:
        """Count a batch."""
        self._batches.labels(model, queue).observe(texts)
        self._work.labels(model, queue).inc(seconds)

    def page(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)


def _length(student: ServedStudent, queue: str) -> float:
    return student.waiting[queue]
