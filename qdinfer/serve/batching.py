"""Requests of many clients, run together.

While one batch runs in the worker's thread, requests gather; the next batch takes what has gathered. An idle worker
takes the first request at once: nothing ever waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["MAX_BATCH", "Batcher", "OverloadedError", "Sliceable"]

MAX_BATCH = 128
"""Texts that run together, unless one request has more. Larger ones gain little, and make the next ones wait."""
MAX_WAITING_BYTES = 2**26
"""Of texts that wait."""
LETTERS = 2000
"""A text counts once more for so many: a long one takes longer, also where a student reads its beginning only."""
MEMORY = 0.8
"""How much of what was learnt of the pace is left after the next batch."""


class Sliceable(Protocol):
    """What a batch gives: cut along its texts, as a list is."""

    def __getitem__(self, index: slice, /) -> Any:
        """The results of some of its texts."""
        ...


Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result", bound=Sliceable)


class OverloadedError(Exception):
    """There is more to do than can be done in time.

    Attributes:
        retry_after: seconds until it makes sense to ask again, by estimate.
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(eq=False)
class _Job(Generic[Key]):
    key: Key
    texts: list[str]
    size: int
    work: float
    since: float
    answer: asyncio.Future[Any]


class Batcher(Generic[Key, Result]):
    """A bounded queue and the one thread that works it off. Belongs to one event loop.

    Attributes:
        waiting: texts in the queue.
    """

    def __init__(
        self,
        run: Callable[[Key, list[str]], Result],
        *,
        deadline: float,
        max_queue: int,
        note: Callable[[int, float], object] = lambda texts, seconds: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start with an empty queue.

        Args:
            run: gives the results of texts that came with equal keys; called in the worker's thread.
            deadline: seconds that a request may take. It is refused if, by the pace so far, it would take over half
                of them, and dropped if the pace has become so slow that it would take more than all of them.
            max_queue: texts that may wait.
            note: told of each batch: its texts, and the seconds it took.
            clock: counts seconds; the event loop's own may count whole milliseconds.
        """
        self._clock = clock
        self.waiting = 0
        self._run = run
        self._deadline = deadline
        self._max_queue = max_queue
        self._note = note
        self._jobs: deque[_Job[Key]] = deque()
        self._bytes = 0
        self._work = 0.0  # waiting and running
        self._done = (0.0, 0.0)  # work and its seconds, of which old ones fade
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qdinfer-batch")

    async def submit(self, key: Key, texts: list[str], *, weight: float = 1.0) -> Any:
        """The results of these texts, which run with others of an equal key.

        Args:
            key: what shall be done with them.
            texts: one or more, checked.
            weight: how long a short text takes under this key, in any unit that all callers share.

        Raises:
            OverloadedError: the queue is full, or the deadline cannot be met.
            Exception: what `run` raised for these texts.
        """
        loop = asyncio.get_running_loop()
        size = sum(map(len, texts))
        work = weight * sum(1 + len(text) // LETTERS for text in texts)
        self._admit(len(texts), size, work)
        job = _Job(key, texts, size, work, self._clock(), loop.create_future())
        self._jobs.append(job)
        self.waiting += len(texts)
        self._bytes += size
        self._work += work
        if self._worker is None:
            self._worker = loop.create_task(self._work_off())
        return await job.answer

    @property
    def busy(self) -> bool:
        """Whether something waits or runs."""
        return self._worker is not None

    def close(self) -> None:
        """End the thread. Nothing may wait any more."""
        self._thread.shutdown()

    def _admit(self, texts: int, size: int, work: float) -> None:
        wait = self._work * self._pace
        if not self._work:
            return  # also where it takes longer than the deadline: refused now, it would be refused for ever
        if self.waiting + texts > self._max_queue or self._bytes + size > MAX_WAITING_BYTES:
            raise OverloadedError(f"found {self.waiting} texts waiting; expected room for {texts} more", wait)
        if wait + work * self._pace > self._deadline / 2:
            raise OverloadedError(
                f"found {wait:.1f} s of work, and {work * self._pace:.1f} s for this request; expected at most "
                f"{self._deadline / 2:g} s in all, to answer in time",
                wait,
            )

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._take(self._clock()):
            texts = [text for job in batch for text in job.texts]
            start = self._clock()
            try:
                result = await loop.run_in_executor(self._thread, self._attempt, batch[0].key, texts)
            except Exception as error:  # noqa: BLE001 - whatever it is, the clients are told, and the queue goes on
                if len(batch) == 1:
                    _fail(batch[0], error)
                else:  # one request's fault is not the others'
                    await self._one_by_one(batch)
            else:
                seconds = self._clock() - start
                work, before = self._done
                self._done = MEMORY * work + sum(job.work for job in batch), MEMORY * before + seconds
                self._note(len(texts), seconds)
                first = 0
                for job in batch:
                    _answer(job, result[first : first + len(job.texts)])
                    first += len(job.texts)
            self._work -= sum(job.work for job in batch)
        self._work = 0.0  # rounding leaves something
        self._worker = None

    async def _one_by_one(self, batch: list[_Job[Key]]) -> None:
        loop = asyncio.get_running_loop()
        for job in batch:
            try:
                _answer(job, await loop.run_in_executor(self._thread, self._attempt, job.key, job.texts))
            except Exception as error:  # noqa: BLE001 - as above
                _fail(job, error)

    def _attempt(self, key: Key, texts: list[str]) -> Result:
        try:
            return self._run(key, texts)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            # A panic of the tokenizer is no Exception, and a future takes no StopIteration: they would end the queue.
            raise RuntimeError(f"the batch ended with {type(error).__name__}") from error

    def _take(self, now: float) -> list[_Job[Key]]:
        """The next jobs with one key; nothing if none wait."""
        batch: list[_Job[Key]] = []
        texts, work, pace = 0, 0.0, self._pace
        while self._jobs:
            job = self._jobs[0]
            waited = now - job.since
            # Who waited for less than was estimated is served, however long that takes: see `_admit`.
            late = waited > self._deadline / 2 and waited + (work + job.work) * pace > self._deadline
            if batch and not late and (job.key != batch[0].key or texts + len(job.texts) > MAX_BATCH):
                break
            self._jobs.popleft()
            self.waiting -= len(job.texts)
            self._bytes -= job.size
            if late:
                self._work -= job.work
                reason = f"found no turn after {waited:.1f} s; expected one, to answer in {self._deadline:g} s"
                _fail(job, OverloadedError(reason, self._work * pace))
            elif not job.answer.cancelled():
                batch.append(job)
                texts += len(job.texts)
                work += job.work
            else:  # the client has gone
                self._work -= job.work
        return batch

    @property
    def _pace(self) -> float:
        """Seconds for one unit of work; 0 until one was measured."""
        work, seconds = self._done
        return seconds / work if work else 0.0


def _answer(job: _Job[Any], result: object) -> None:
    if not job.answer.done():
        job.answer.set_result(result)


def _fail(job: _Job[Any], error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
