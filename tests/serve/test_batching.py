"""The queue in front of a student: who runs with whom, who is refused, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve.conftest import Held

from qdinfer.serve import batching
from qdinfer.serve.batching import MAX_BATCH, Batcher, OverloadedError


class PanicError(BaseException):
    """What a library throws that is no `Exception`."""


class Rig:
    """A batcher whose work is told of, may be held, and takes as long as it says, by a clock that else stands still.

    A text's result is `key:text`. A text "fail" makes its batch fail, "panic" with something that is no Exception.
    """

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.loop = runner.get_loop()
        self.batches: list[tuple[str, list[str]]] = []
        self.notes: list[tuple[int, float]] = []
        self.now = 0.0
        self.seconds = 0.0  # that one text takes
        self.go = threading.Event()
        self.go.set()

    def make(self, *, deadline: float = 10.0, max_queue: int = 1000) -> Batcher[str, list[str]]:
        def note(texts: int, seconds: float) -> None:
            self.notes.append((texts, seconds))

        return Batcher(self._work, deadline=deadline, max_queue=max_queue, note=note, clock=lambda: self.now)

    def _work(self, key: str, texts: list[str]) -> list[str]:
        self.batches.append((key, list(texts)))
        assert self.go.wait(20)
        self.now += self.seconds * len(texts)
        if "panic" in texts:
            raise PanicError
        if "stop" in texts:
            raise StopIteration
        if "fail" in texts:
            raise ValueError(f"no answer for {texts}")
        return [f"{key}:{text}" for text in texts]

    async def hold(self, batcher: Batcher[str, list[str]], texts: list[str] | None = None) -> asyncio.Task[Any]:
        """Keep the worker busy with one request until `go` is set."""
        self.go.clear()
        before = len(self.batches)
        running = asyncio.ensure_future(batcher.submit("k", texts or ["held"]))
        while len(self.batches) == before:
            await asyncio.sleep(0)
        return running

    def run(self, steps: Coroutine[Any, Any, None]) -> None:
        self._runner.run(asyncio.wait_for(steps, 30))


@pytest.fixture
def rig() -> Iterator[Rig]:
    with asyncio.Runner() as runner:
        yield Rig(runner)


def submitted(batcher: Batcher[str, list[str]], key: str, texts: list[str], **options: Any) -> asyncio.Task[Any]:
    return asyncio.ensure_future(batcher.submit(key, texts, **options))


def test_an_idle_worker_takes_each_request_at_once(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        start = time.perf_counter()
        for i in range(200):
            assert await batcher.submit("k", [str(i)]) == [f"k:{i}"]
        assert time.perf_counter() - start < 4  # 20 ms each would be a wait
        assert rig.batches == [("k", [str(i)]) for i in range(200)]
        assert not batcher.busy
        batcher.close()

    rig.run(steps())


def test_what_comes_while_it_is_busy_runs_together(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        first = await rig.hold(batcher)
        others = [submitted(batcher, "k", [f"{i}a", f"{i}b"]) for i in range(5)]
        await asyncio.sleep(0)
        assert batcher.waiting == 10
        assert batcher.busy
        rig.go.set()
        assert await asyncio.gather(first, *others) == [["k:held"], *([f"k:{i}a", f"k:{i}b"] for i in range(5))]
        assert [len(texts) for _, texts in rig.batches] == [1, 10]
        assert [texts for texts, _ in rig.notes] == [1, 10]
        assert (batcher.waiting, batcher.busy) == (0, False)
        batcher.close()

    rig.run(steps())


def test_unequal_keys_run_apart_in_the_order_of_requests(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        first = await rig.hold(batcher)
        others = [submitted(batcher, key, [str(i)]) for i, key in enumerate("aabbab")]
        rig.go.set()
        await asyncio.gather(first, *others)
        assert rig.batches[1:] == [("a", ["0", "1"]), ("b", ["2", "3"]), ("a", ["4"]), ("b", ["5"])]
        batcher.close()

    rig.run(steps())


def test_a_batch_has_at_most_so_many_texts_but_a_request_is_never_cut(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        first = await rig.hold(batcher)
        sizes = [50, 50, 50, 3 * MAX_BATCH, 1, MAX_BATCH - 1, 1]
        others = [submitted(batcher, "k", [f"{i}"] * size) for i, size in enumerate(sizes)]
        rig.go.set()
        answers = await asyncio.gather(first, *others)
        assert [len(answer) for answer in answers[1:]] == sizes
        assert [len(texts) for _, texts in rig.batches[1:]] == [100, 50, 3 * MAX_BATCH, MAX_BATCH, 1]
        batcher.close()

    rig.run(steps())


def test_a_request_that_fails_fails_alone(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        first = await rig.hold(batcher)
        others = [submitted(batcher, "k", texts) for texts in (["a"], ["b", "fail"], ["c"])]
        rig.go.set()
        held, a, failed, c = await asyncio.gather(first, *others, return_exceptions=True)
        assert (held, a, c) == (["k:held"], ["k:a"], ["k:c"])
        assert isinstance(failed, ValueError)
        assert str(failed) == "no answer for ['b', 'fail']"
        assert await batcher.submit("k", ["later"]) == ["k:later"]
        batcher.close()

    rig.run(steps())


@pytest.mark.parametrize(("text", "name"), [("panic", "PanicError"), ("stop", "StopIteration")])
def test_what_is_no_exception_does_not_end_the_queue(rig: Rig, text: str, name: str) -> None:
    async def steps() -> None:
        batcher = rig.make()
        with pytest.raises(RuntimeError, match=f"^the batch ended with {name}$"):
            await batcher.submit("k", [text])
        first = await rig.hold(batcher)
        others = [submitted(batcher, "k", texts) for texts in (["a"], [text])]
        rig.go.set()
        held, a, failed = await asyncio.gather(first, *others, return_exceptions=True)
        assert (held, a) == (["k:held"], ["k:a"])
        assert isinstance(failed, RuntimeError)
        assert not batcher.busy
        batcher.close()

    rig.run(steps())


def test_a_full_queue_refuses(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make(max_queue=10)
        first = await rig.hold(batcher)
        others = [submitted(batcher, "k", ["a"] * 4), submitted(batcher, "k", ["b"] * 6)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"^found 10 texts waiting; expected room for 1 more$"):
            await batcher.submit("k", ["c"])
        assert batcher.waiting == 10
        rig.go.set()
        await asyncio.gather(first, *others)
        assert await batcher.submit("k", ["c"]) == ["k:c"]
        batcher.close()

    rig.run(steps())


def test_a_queue_of_long_texts_is_full_by_their_letters(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING_BYTES", 100)

    async def steps() -> None:
        batcher = rig.make()
        first = await rig.hold(batcher)
        other = submitted(batcher, "k", ["a" * 60])
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match=r"^found 1 texts waiting; expected room for 1 more$"):
            await batcher.submit("k", ["b" * 41])
        rest = submitted(batcher, "k", ["c" * 40])
        rig.go.set()
        await asyncio.gather(first, other, rest)
        batcher.close()

    rig.run(steps())


def test_what_could_not_be_done_in_time_is_refused_and_told_when_to_come_again(rig: Rig) -> None:
    async def steps() -> None:
        rig.seconds = 0.1
        batcher = rig.make(deadline=10)
        await batcher.submit("k", ["to learn the pace"] * 10)
        assert rig.notes == [(10, pytest.approx(1.0))]
        first = await rig.hold(batcher, ["a"] * 20)  # 2 s
        second = submitted(batcher, "k", ["b"] * 25)  # 2.5 s, and half of the deadline is 5 s
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refused:
            await batcher.submit("k", ["c"] * 6)
        told = "found 4.5 s of work, and 0.6 s for this request; expected at most 5 s in all, to answer in time"
        assert str(refused.value) == told
        assert refused.value.retry_after == pytest.approx(4.5)
        third = submitted(batcher, "k", ["c"] * 5)
        rig.go.set()
        await asyncio.gather(first, second, third)
        batcher.close()

    rig.run(steps())


def test_work_is_weighed(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make(deadline=10)
        rig.seconds = 0.1
        await batcher.submit("k", ["a"] * 10, weight=1.0)
        first = await rig.hold(batcher)
        with pytest.raises(OverloadedError):
            await batcher.submit("k", ["b"] * 10, weight=5.0)
        other = submitted(batcher, "k", ["b"] * 10, weight=4.8)
        rig.go.set()
        await asyncio.gather(first, other)
        batcher.close()

    rig.run(steps())


def test_a_long_text_does_not_make_short_ones_seem_slow(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make(deadline=10)
        rig.seconds = 1.0
        await batcher.submit("k", ["word " * 40_000])
        rig.seconds = 0.01
        first = await rig.hold(batcher)
        others = [submitted(batcher, "k", ["short"] * 64) for _ in range(6)]
        rig.go.set()
        await asyncio.gather(first, *others)
        batcher.close()

    rig.run(steps())


def test_an_old_pace_is_forgotten(rig: Rig) -> None:
    """A first batch that took long, say to build something, does not make the server refuse for ever."""

    async def steps() -> None:
        batcher = rig.make(deadline=10)
        rig.seconds = 5.0
        await batcher.submit("k", ["slow"])
        rig.seconds = 0.001
        for _ in range(20):
            await batcher.submit("k", ["quick"] * 10)
        first = await rig.hold(batcher)
        other = submitted(batcher, "k", ["a"] * 100)
        rig.go.set()
        await asyncio.gather(first, other)
        batcher.close()

    rig.run(steps())


def test_an_idle_worker_takes_what_takes_longer_than_the_deadline(rig: Rig) -> None:
    """Refused now, it would be refused for ever."""

    async def steps() -> None:
        rig.seconds = 1.0
        batcher = rig.make(deadline=2, max_queue=5)
        for _ in range(2):
            assert len(await batcher.submit("k", ["a"] * 30)) == 30
        batcher.close()

    rig.run(steps())


def test_who_had_no_turn_by_the_deadline_is_refused_and_not_run(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make(deadline=10)
        first = await rig.hold(batcher)
        late = submitted(batcher, "k", ["late"] * 3)
        await asyncio.sleep(0)
        rig.now += 6
        in_time = submitted(batcher, "k", ["in time"])
        await asyncio.sleep(0)
        rig.now += 5
        rig.go.set()
        held, late_answer, other = await asyncio.gather(first, late, in_time, return_exceptions=True)
        assert (held, other) == (["k:held"], ["k:in time"])
        assert isinstance(late_answer, OverloadedError)
        assert str(late_answer) == "found no turn after 11.0 s; expected one, to answer in 10 s"
        assert late_answer.retry_after >= 0
        assert [texts for _, texts in rig.batches] == [["held"], ["in time"]]
        assert (batcher.waiting, batcher.busy) == (0, False)
        batcher.close()

    rig.run(steps())


def test_who_would_not_be_done_by_the_deadline_is_refused_and_not_run(rig: Rig) -> None:
    """The pace was 0.1 s a text when they came; then it became 1 s."""

    async def steps() -> None:
        rig.seconds = 0.1
        batcher = rig.make(deadline=10)
        await batcher.submit("k", ["to learn the pace"] * 10)
        first = await rig.hold(batcher, ["a"] * 7)
        quick, long, other = (submitted(batcher, "k", [name] * size) for name, size in (("b", 2), ("c", 30), ("d", 1)))
        await asyncio.sleep(0)
        rig.seconds = 1.0
        rig.go.set()
        answers = await asyncio.gather(first, quick, long, other, return_exceptions=True)
        assert [len(answer) for answer in answers if isinstance(answer, list)] == [7, 2, 1]
        assert isinstance(answers[2], OverloadedError)
        assert str(answers[2]) == "found no turn after 7.0 s; expected one, to answer in 10 s"
        assert [len(texts) for _, texts in rig.batches[1:]] == [7, 3]
        batcher.close()

    rig.run(steps())


def test_a_client_that_has_gone_costs_nothing(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make(max_queue=10)
        first = await rig.hold(batcher)
        gone, other = submitted(batcher, "k", ["gone"] * 9), submitted(batcher, "k", ["a"])
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()  # its batch runs, and goes on
        await asyncio.sleep(0)
        rig.go.set()
        assert await other == ["k:a"]
        assert [texts for _, texts in rig.batches] == [["held"], ["a"]]
        assert first.cancelled()
        assert gone.cancelled()
        assert (batcher.waiting, batcher.busy) == (0, False)
        batcher.close()

    rig.run(steps())


def test_the_end_leaves_no_thread(rig: Rig) -> None:
    async def steps() -> None:
        batcher = rig.make()
        await batcher.submit("k", ["a"])
        assert any(thread.name.startswith("qdinfer-batch") for thread in threading.enumerate())
        batcher.close()
        assert not any(thread.name.startswith("qdinfer-batch") for thread in threading.enumerate())

    rig.run(steps())


@dataclass(frozen=True)
class Request:
    """What one client does: it waits for some turns of the loop, asks, and may go away after some more."""

    after: int
    key: str
    texts: tuple[str, ...]
    patience: int | None


words = st.sampled_from(["a", "b", "c"] * 4 + ["fail", "panic"])
requests = st.builds(
    Request,
    after=st.integers(0, 6),
    key=st.sampled_from("xyz"),
    texts=st.one_of(
        st.lists(words, min_size=1, max_size=5).map(tuple),
        st.integers(MAX_BATCH // 2, 2 * MAX_BATCH).map(lambda size: ("a",) * size),
    ),
    patience=st.none() | st.integers(0, 6),
)


@settings(max_examples=150)
@given(clients=st.lists(requests, max_size=25), max_queue=st.sampled_from([5, 200, 10_000]))
def test_every_request_gets_its_own_answer(clients: list[Request], max_queue: int) -> None:
    async def ask(batcher: Batcher[str, list[str]], number: int, client: Request) -> None:
        for _ in range(client.after):
            await asyncio.sleep(0)
        texts = [text if text in ("fail", "panic") else f"{number}{text}{i}" for i, text in enumerate(client.texts)]
        asked = submitted(batcher, client.key, texts)
        if client.patience is not None:
            for _ in range(client.patience):
                await asyncio.sleep(0)
            asked.cancel()
        (outcome,) = await asyncio.gather(asked, return_exceptions=True)
        if isinstance(outcome, OverloadedError):
            assert str(outcome).endswith(f"texts waiting; expected room for {len(texts)} more")
        elif isinstance(outcome, asyncio.CancelledError):
            assert client.patience is not None
        elif "panic" in texts:
            assert str(outcome) == "the batch ended with PanicError"
        elif "fail" in texts:
            assert str(outcome) == f"no answer for {texts}"
        else:
            assert outcome == [f"{client.key}:{text}" for text in texts]

    with asyncio.Runner() as runner:
        rig = Rig(runner)

        async def steps() -> None:
            batcher = rig.make(max_queue=max_queue)
            await asyncio.gather(*(ask(batcher, number, client) for number, client in enumerate(clients)))
            while batcher.busy:
                await asyncio.sleep(0)
            assert batcher.waiting == 0
            assert await batcher.submit("k", ["last"]) == ["k:last"]
            assert (batcher._bytes, batcher._work) == (0, 0)
            batcher.close()

        runner.run(steps())


# The same over HTTP


@pytest.mark.parametrize("held", [{"max_queue": 5}], indirect=True)
def test_a_full_queue_is_429(held: Held) -> None:
    async def steps() -> None:
        running = held.send(["one"])
        await held.started()
        waiting = held.send(["a"] * 5)
        await held.waits(5)
        refused = await held.send(["b"])
        assert refused.status_code == 429
        told = {"code": "overloaded", "message": "found 5 texts waiting; expected room for 1 more"}
        assert refused.json() == {"error": told}
        assert refused.headers["retry-after"] == "1"
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["b"]}
        refused = await held.client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
        assert (refused.status_code, refused.json()) == (429, {"error": told["message"]})
        assert refused.headers["retry-after"] == "1"
        angles = await held.client.post("/v1/angles", json={"texts": "b"})
        assert angles.status_code == 429
        sampled = await held.send(["b"], shots=10)  # another queue
        assert sampled.status_code == 200
        assert (await held.client.get("/v2/health/ready")).status_code == 200
        held.release()
        assert [response.status_code for response in await asyncio.gather(running, waiting)] == [200, 200]
        assert held.batches[0] == 1

    held.run(steps())


@pytest.mark.parametrize("held", [{"deadline": 0.05}], indirect=True)
def test_who_had_no_turn_is_429(held: Held) -> None:
    async def steps() -> None:
        running = held.send(["one"])
        await held.started()
        late = held.send(["late"])
        await held.waits(1)
        await asyncio.sleep(0.06)
        held.release()
        response = await late
        assert response.status_code == 429
        assert response.json()["error"]["code"] == "overloaded"
        told = r"found no turn after 0\.\d s; expected one, to answer in 0\.05 s"
        assert re.fullmatch(told, response.json()["error"]["message"])
        assert int(response.headers["retry-after"]) >= 1
        assert (await running).status_code == 200
        assert held.batches == [1]

    held.run(steps())


def test_requests_over_http_run_together(held: Held) -> None:
    async def steps() -> None:
        running = held.send(["one"])
        await held.started()
        waiting = [held.send(["sun", "goal"]) for _ in range(10)]
        await held.waits(20)
        held.release()
        answers = [response.json()["predictions"] for response in await asyncio.gather(*waiting)]
        assert (await running).status_code == 200
        assert all(answer == answers[0] for answer in answers)
        assert held.batches == [1, 20]

    held.run(steps())


def test_what_fails_in_the_backend_is_told_of(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend's own error is told to the client; what no one foresaw is not."""
    from qdinfer import BackendError

    def failing(error: BaseException) -> Callable[..., Any]:
        def expectations(*_: object) -> Any:
            raise error

        return expectations

    async def steps() -> None:
        monkeypatch.setattr(held, "expectations", failing(BackendError("the engine is on fire")))
        response = await held.send(["a"])
        assert response.status_code == 500
        assert response.json()["error"] == {"code": "failed", "message": "the engine is on fire"}
        monkeypatch.setattr(held, "expectations", failing(ZeroDivisionError("a secret")))
        held.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
        response = await held.send(["a"])
        assert response.status_code == 500
        assert response.json()["error"] == {"code": "failed", "message": "the server failed; its log says why"}

    held.run(steps())
