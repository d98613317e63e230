"""The endpoint: what is asked, how answers are read, and everything that goes wrong on a network."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from teachers.server import Reply, Server, completion, serving

from qdinfer.errors import InputError, TeacherError
from qdistill.teachers import Endpoint, TeacherLabels, label_texts
from qdistill.teachers import endpoint as endpoint_module
from qdistill.teachers.transport import Retries, _retry_after

WORDS = {"water": "sea", "land": "oak tree"}
FAST = Retries(attempts=3, pause=0.01, longest=0.5, timeout=5)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def teacher(server: Server, **options: Any) -> Endpoint:
    return Endpoint(server.url, "tiny", WORDS, **{"retries": FAST, **options})


def by_text(_: int, body: dict[str, Any]) -> Reply:
    """More of the sea the longer the prompt."""
    return completion({" sea": len(body["prompt"]) / -100, " oak": -1.0, " the": -3.0})


def test_what_is_asked_and_how_it_is_read(server: Server) -> None:
    server.reply = by_text
    texts = ["a", "bb {text}", "", "dddd"]
    rows = teacher(server, concurrency=3).probabilities(texts)
    prompts = [f"{text}\nThe article above is about" for text in texts]
    logits = np.array([[len(prompt) / -100, -1.0] for prompt in prompts])
    np.testing.assert_allclose(rows, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-12)
    assert sorted(body["prompt"] for _, _, body in server.requests) == sorted(prompts)
    path, headers, body = server.requests[0]
    assert path == "/v1/completions"
    assert body == {"model": "tiny", "max_tokens": 1, "temperature": 0, "logprobs": 20, "prompt": body["prompt"]}
    assert "Authorization" not in headers


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/completions"])
def test_the_address_may_be_short(server: Server, suffix: str) -> None:
    Endpoint(server.url + suffix, "tiny", WORDS).probabilities(["a"])
    assert server.requests[0][0] == "/v1/completions"


def test_nothing_is_asked_about_nothing(server: Server) -> None:
    assert teacher(server).probabilities([]).shape == (0, 2)
    assert server.requests == []


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        ({" sea": -1.0, " oak": -2.0}, [-1, -2]),
        ({" sea": -1.0, " Oak": -2.0, " it": -5.0}, [-1, -5]),  # case counts; the smallest that was told
        ({" sea": -1.0, "sea": -1.0, " oak": -2.0}, [np.logaddexp(-1, -1), -2]),  # with and without a space
        ({" se": -1.0, " s": -0.1, " oak": -2.0}, [-1, -2]),  # the longest beginning
        ({" seaside": -1.0, " oak": -2.0}, [-2, -2]),  # longer than the word
        ({" ": -0.1, "": -0.1, "\n": -0.1, " sea": -1.0, " oak": -2.0}, [-1, -2]),
        ({" sea": -1.0, " oak": float("-inf"), " it": -4.0}, [-1, -4]),
    ],
)
def test_words_among_tokens(server: Server, tokens: dict[str, float], wanted: list[float]) -> None:
    server.reply = lambda *_: completion(tokens)
    powers = np.exp(wanted)
    np.testing.assert_allclose(teacher(server).probabilities(["x"])[0], powers / powers.sum(), atol=1e-12)


def test_a_shared_beginning_tells_nothing() -> None:
    logits, hits = endpoint_module._word_logits({" s": -0.1, " science": -1.0, " x": -7.0}, ["sports", "science"])
    assert logits.tolist() == [-7.0, -1.0]
    assert hits == 1


def test_no_word_at_all_is_said_aloud(server: Server) -> None:
    server.reply = lambda n, body: completion({" the": -0.1} if body["prompt"].startswith("odd") else {" sea": -0.1})
    with pytest.warns(UserWarning, match="tiny: none of the words .* of 1 of 2 texts"):
        rows = teacher(server).probabilities(["odd", "even"])
    assert rows[0].tolist() == [0.5, 0.5]


def test_llama_cpp_answers_in_the_form_of_chats(server: Server) -> None:
    top = [{"token": " sea", "logprob": -1.0}, {"token": " oak", "logprob": -1.0}]
    answer = {"choices": [{"logprobs": {"content": [{"token": " sea", "logprob": -1.0, "top_logprobs": top}]}}]}
    server.reply = lambda *_: (200, {}, json.dumps(answer).encode())
    assert teacher(server).probabilities(["x"]).tolist() == [[0.5, 0.5]]


def test_calibration(server: Server) -> None:
    server.reply = by_text
    plain = teacher(server)
    prior = plain.probabilities(["N/A", "", "[MASK]"]).mean(axis=0)
    wanted = plain.probabilities(["some text"]) / prior
    calibrated = teacher(server, calibrate=True)
    np.testing.assert_allclose(calibrated.probabilities(["some text"]), wanted / wanted.sum(), atol=1e-12)
    server.reply = lambda *_: completion({" the": -0.1})
    with pytest.warns(UserWarning, match="of 1 of 1 texts, which get equal"):
        assert calibrated.probabilities(["x"]).tolist() == [[0.5, 0.5]]


def test_long_texts_lose_their_end(server: Server) -> None:
    teacher(server, max_characters=3).probabilities(["abcdef"])
    assert server.requests[0][2]["prompt"] == "abc\nThe article above is about"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    server.reply = lambda n, _: (status, {}, b"busy") if n < 3 else completion({" sea": -1.0})
    teacher(server).probabilities(["x"])
    assert len(server.requests) == 3


def test_it_gives_up_in_the_end(server: Server) -> None:
    server.reply = lambda *_: (500, {}, b"out of   memory")
    with pytest.raises(
        TeacherError, match=r"HTTP 500 .*: out of memory in attempt 3 of 3; expected an answer; see that"
    ):
        teacher(server).probabilities(["x"])
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(server: Server, status: int) -> None:
    server.reply = lambda *_: (status, {}, b'{"error": "no such model"}')
    with pytest.raises(TeacherError, match=rf"/v1/completions: found HTTP {status} .*no such model.*the model's name"):
        teacher(server).probabilities(["x"])
    assert len(server.requests) == 1


def test_retry_after_is_waited_for(server: Server) -> None:
    server.reply = lambda n, _: (429, {"Retry-After": "0.3"}, b"") if n == 1 else completion({" sea": -1.0})
    start = time.monotonic()
    teacher(server).probabilities(["x"])
    assert time.monotonic() - start >= 0.3


def test_a_long_retry_after_is_told_and_not_waited_for(server: Server) -> None:
    server.reply = lambda *_: (429, {"Retry-After": "3600"}, b"")
    with pytest.raises(TeacherError, match="HTTP 429 .* in attempt 1 of 3; it asks to wait 3600 s"):
        teacher(server).probabilities(["x"])
    assert len(server.requests) == 1


def test_retry_after_may_be_a_date() -> None:
    assert _retry_after(email.utils.formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=2)
    assert _retry_after(email.utils.formatdate(time.time() - 100, usegmt=True)) == 0
    assert [_retry_after(value) for value in (None, "soon", "nan", "inf", "-3")] == [None, None, None, None, 0]


def test_a_redirect_carries_the_key_nowhere(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret-123")
    with serving() as other:
        server.reply = lambda *_: (307, {"Location": other.url}, b"")
        with pytest.raises(TeacherError, match="HTTP 307"):
            teacher(server, key_env="A_KEY").probabilities(["x"])
        assert other.requests == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"choices": [', "an answer that is no JSON .*choices.*expected a server with /v1/completions"),
        (b"<html>hello</html>", "no JSON .*hello"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", r"without top_logprobs \(list\)"),
        (b'{"error": {"message": "x"}}', r"without top_logprobs \(\['error'\]\)"),
        (b'{"choices": []}', "without top_logprobs"),
        (b'{"choices": [{"text": "a", "logprobs": null}]}', "without top_logprobs .*start the server with log prob"),
        (b'{"choices": [{"logprobs": {"top_logprobs": [{}]}}]}', "no finite log probability"),
        (b'{"choices": [{"logprobs": {"top_logprobs": [{"a": null}]}}]}', "without top_logprobs"),
        (b'{"choices": [{"logprobs": {"top_logprobs": [null]}}]}', "without top_logprobs"),
    ],
)
def test_answers_that_are_none(server: Server, content: bytes, message: str) -> None:
    server.reply = lambda *_: (200, {}, content)
    with pytest.raises(TeacherError, match=message):
        teacher(server).probabilities(["x"])
    assert len(server.requests) == 1


def test_an_answer_cut_short_is_tried_again(server: Server) -> None:
    _, _, whole = completion({" sea": -1.0})
    server.reply = lambda n, _: (
        (200, {"Content-Length": "9999", "Connection": "close"}, whole[:9]) if n < 3 else (200, {}, whole)
    )
    teacher(server).probabilities(["x"])
    assert len(server.requests) == 3


def test_nobody_there() -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(TeacherError, match=r"no answer \(.*refused.*\) in attempt 3 of 3.*see that the server runs"):
        Endpoint(url, "tiny", WORDS, retries=FAST).probabilities(["x"])


def test_a_server_that_is_silent(server: Server) -> None:
    server.reply = lambda *_: (time.sleep(0.5), completion({}))[1]
    with pytest.raises(TeacherError, match=r"no answer \(timed out\) in attempt 2 of 2"):
        teacher(server, retries=Retries(attempts=2, pause=0.01, timeout=0.1)).probabilities(["x"])
    time.sleep(0.5)  # until the server has noticed


def test_failing_half_way_and_going_on(server: Server, tmp_path: Path) -> None:
    path, texts = tmp_path / "out.jsonl", [f"{i} {'x' * i}" for i in range(10)]
    server.reply = lambda n, body: by_text(n, body) if n <= 7 else (401, {}, b"key expired")
    with pytest.raises(TeacherError, match="key expired"):
        label_texts(teacher(server, concurrency=1), texts, path, batch_size=3)
    assert len(TeacherLabels.load(path).rows) == 6
    server.reply, before = by_text, len(server.requests)
    with serving() as moved:
        moved.reply = by_text
        answers = label_texts(teacher(moved), texts, path, batch_size=3)
        assert len(moved.requests) == 4, "the address may change, what was said stays"
    assert len(server.requests) == before
    np.testing.assert_allclose(answers.lookup(texts, answers.labels), teacher(server).probabilities(texts), atol=1e-12)


def test_the_key_is_sent_and_nowhere_else(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret-123")
    asking = teacher(server, key_env="A_KEY")
    label_texts(asking, ["x"], tmp_path / "out.jsonl")
    assert server.requests[0][1]["Authorization"] == "Bearer secret-123"
    assert "secret-123" not in str(asking.identity) + repr(asking) + (tmp_path / "out.jsonl").read_text()
    assert "127.0.0.1" not in str(asking.identity)
    server.reply = lambda *_: (401, {}, b"wrong key secret-123")
    with pytest.raises(TeacherError, match=r"wrong key \[key\]") as raised:
        asking.probabilities(["x"])
    server.reply = lambda *_: (200, {}, b"secret-123 is no JSON")
    with pytest.raises(TeacherError, match=r"\[key\] is no JSON") as again:
        asking.probabilities(["x"])
    assert "secret" not in str(raised.value) + str(again.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "A_KEY: found no such environment variable"), ("", "A_KEY: found no"), ("a\nb", "API key: found blanks")],
)
def test_keys_that_cannot_be(monkeypatch: pytest.MonkeyPatch, value: str | None, message: str) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("A_KEY", value)
    with pytest.raises(InputError, match=message):
        Endpoint("http://localhost:1", "tiny", WORDS, key_env="A_KEY")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("localhost:8000", "localhost:8000"),
        ("file:///etc/passwd", "file:"),
        ("http://", "http:"),
        ("http://host:port", "port"),
        ("http://[::1", "::1"),
        ("http://a host", "a host"),
        ("http://me:secret@host", "a user"),
        ("http://host/?key=secret", "a query"),
    ],
)
def test_addresses_that_cannot_be(url: str, shown: str) -> None:
    with pytest.raises(InputError, match=f"endpoint: found .*{shown}") as raised:
        Endpoint(url, "tiny", WORDS)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ({"a": "world peace", "b": "world war"}, {}, r"found \['world', 'world'\] as their beginnings"),
        ({"a": "x"}, {}, "two or more"),
        (WORDS, {"template": "x"}, "template"),
        (WORDS, {"top": 0}, "top: found 0"),
        (WORDS, {"concurrency": 0}, "concurrency: found 0"),
        (WORDS, {"max_characters": 0}, "max_characters: found 0"),
        (WORDS, {"model": ""}, "model: found no name"),
    ],
)
def test_what_is_refused(words: dict[str, str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Endpoint("http://localhost:1", **{"model": "tiny", "words": words, **options})


@pytest.mark.parametrize("name", ["attempts", "pause", "longest", "timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_patience_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name}: found"):
        Retries(**{name: value})  # type: ignore[arg-type]
