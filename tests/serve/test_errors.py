"""Whatever is sent gets an answer that says what is wrong, and none is a failure of the server."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import time
import zlib
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve.conftest import Ask
from serve.process import Served

from qdinfer import InputError
from qdinfer.serve import ServerSettings

JSON = {"content-type": "application/json"}
V2 = "/v2/models/tiny/infer"


def problem(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message."""
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    return response.status_code, error["code"], error["message"]


MANY = "x" * 5000
BAD = [
    (b"", "body: found no valid JSON (Input data was truncated); expected ClassifyRequest"),
    (b"{", "body: found no valid JSON (Input data was truncated); expected ClassifyRequest"),
    (
        b"not json",
        "body: found no valid JSON (JSON is malformed: invalid character (byte 4)); expected ClassifyRequest",
    ),
    (b'{"texts": "a"} {}', "body: found no valid JSON (JSON is malformed: trailing characters (byte 16)); expected"),
    (b'\xef\xbb\xbf{"texts": "a"}', "body: found no valid JSON (JSON is malformed: invalid character (byte 0));"),
    (b'{"texts": "\xff\xfe"}', "body: found no valid JSON ("),
    (b'{"texts": "\\ud83c and more of it"}', "body: found no valid JSON ("),
    (b'{"texts": NaN}', "body: found no valid JSON ("),
    (b'{"texts": ["a", NaN]}', "body: found no valid JSON ("),
    (b"null", "body: Expected `object`, got `null`"),
    (b'["a"]', "body: Expected `object`, got `array`"),
    (b"{}", "body: Object missing required field `texts`"),
    (b'{"texts": 1}', "body: Expected `str | array`, got `int` - at `$.texts`"),
    (b'{"texts": null}', "body: Expected `str | array`, got `null` - at `$.texts`"),
    (b'{"texts": {"a": 1}}', "body: Expected `str | array`, got `object` - at `$.texts`"),
    (b'{"texts": ["a", 2]}', "body: Expected `str`, got `int` - at `$.texts[1]`"),
    (b'{"texts": ["a", ["b"]]}', "body: Expected `str`, got `array` - at `$.texts[1]`"),
    (b'{"texts": ' + b"[" * 100_000, "body: Expected `str`, got `array` - at `$.texts[0]`"),
    (b'{"texts": "a", "model": 3}', "body: Expected `str | null`, got `int` - at `$.model`"),
    (b'{"texts": "a", "shots": "10"}', "body: Expected `int | null`, got `str` - at `$.shots`"),
    (b'{"texts": "a", "shots": 1.5}', "body: Expected `int | null`, got `float` - at `$.shots`"),
    (b'{"texts": "a", "shots": true}', "body: Expected `int | null`, got `bool` - at `$.shots`"),
    (b'{"texts": "a", "shots": 0}', "body: Expected `int` >= 1 - at `$.shots`"),
    (b'{"texts": "a", "shots": -5}', "body: Expected `int` >= 1 - at `$.shots`"),
    (b'{"texts": "a", "shots": 10001}', "shots: found 10001; expected at most 10000"),
    (b'{"texts": "a", "shots": 1' + b"0" * 30 + b"}", f"shots: found 1{'0' * 30}; expected at most 10000"),
    (b'{"texts": "a", "shots": 1' + b"0" * 5000 + b"}", "body: Integer value out of range - at `$.shots`"),
    (b'{"texts": "a", "shots": 5, "seed": -1}', "body: Expected `int` >= 0 - at `$.seed`"),
    (b'{"texts": "a", "shots": 5, "seed": 9223372036854775808}', "body: Expected `int` <= 9223372036854775807"),
    (b'{"texts": "a", "seed": 3}', "seed: found 3 without shots; expected shots, or no seed for exact values"),
    (b'{"texts": "a", "text": "b"}', "body: Object contains unknown field `text`"),
]


@pytest.mark.parametrize(("body", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_bodies_are_told_of(ask: Ask, body: bytes, message: str) -> None:
    status, code, told = problem(ask("POST", "/v1/classify", content=body, headers=JSON))
    assert (status, code) == (400, "bad_input")
    assert told.startswith(message)


def test_messages_are_short_whatever_they_quote(ask: Ask) -> None:
    for body in ({"texts": "a", "model": MANY}, {"texts": "a", MANY: 1}, {"texts": "a", "model": "\x01" * 5000}):
        assert len(problem(ask("POST", "/v1/classify", json=body))[2]) == 1001
    for path in ("/" + MANY, "/v1/models/" + MANY, "/v1/models/" + MANY + "/circuit"):
        assert len(problem(ask("GET", path))[2]) == 1001
    assert len(ask("GET", "/v2/models/" + MANY).json()["error"]) == 1001


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/angles"])
def test_an_unknown_model_is_told_of(client: httpx.Client, path: str) -> None:
    for model in ("topic", "", "Tiny", "tiny/../topic-folded"):
        expected = f"model: found {model!r}; expected one of ['tiny', 'topic-folded']"
        response = client.post(path, json={"texts": "a", "model": model})
        assert problem(response) == (404, "unknown_model", expected)
    response = client.post(path, json={"texts": "a"})
    assert problem(response) == (404, "unknown_model", "model: found none; expected one of ['tiny', 'topic-folded']")
    response = client.get("/v1/models/topic/circuit")
    assert problem(response)[:2] == (404, "unknown_model")


def test_other_addresses_and_methods_are_told_of(ask: Ask) -> None:
    for path in ("/nope", "/v1", "/v1/classify/", "/V1/classify", "/v1/models/a/b", "/v20"):
        status, code, message = problem(ask("GET", path))
        assert (status, code) == (404, "not_found")
        assert message.endswith("; expected an address of this server; /docs has them all")
    for method, path, allowed in (
        ("GET", "/v1/classify", "POST"),
        ("DELETE", "/v1/angles", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/", "GET"),
    ):
        response = ask(method, path)
        told = f"found {method} {path}; expected {allowed}"
        assert problem(response) == (405, "method_not_allowed", told)
        assert response.headers["allow"] == allowed
    assert ask("GET", V2).status_code == 405
    assert ask("GET", V2).json() == {"error": f"found GET {V2}; expected POST"}


def test_too_much_is_told_of(narrow: Served) -> None:
    with narrow.client() as client:
        response = client.post("/v1/classify", json={"texts": ["a"] * 9})
        assert problem(response) == (413, "too_large", "texts: found 9; expected at most 8 in a request")
        response = client.post("/v1/angles", json={"texts": ["a"] * 9})
        assert problem(response) == (413, "too_large", "texts: found 9; expected at most 8 in a request")
        response = client.post("/v1/classify", json={"texts": "a", "shots": 501})
        assert problem(response) == (400, "bad_input", "shots: found 501; expected at most 500")
        for shots, count in ((500, 8), (None, 8)):
            answer = client.post("/v1/classify", json={"texts": ["a"] * count, "shots": shots})
            assert answer.status_code == 200
        body = json.dumps({"texts": "x" * 3000}).encode()
        response = client.post("/v1/classify", content=body)
        told = f"body: found {len(body)} bytes; expected at most 2000 in one request"
        assert problem(response) == (413, "too_large", told)
        response = client.post("/v1/classify", content=iter([body[:1500], body[1500:]]))  # chunked
        told = "body: found over 2000 bytes; expected at most 2000 in one request"
        assert problem(response) == (413, "too_large", told)
        assert client.post("/v1/classify", json={"texts": "x" * 1900}).status_code == 200


def test_packed_bodies_are_unpacked_within_limits(ask: Ask) -> None:
    body = json.dumps({"texts": ["sun", "goal"]}).encode()
    plain = ask("POST", "/v1/classify", content=body).json()

    def post(content: bytes, packing: str) -> httpx.Response:
        return ask("POST", "/v1/classify", content=content, headers={"content-encoding": packing})

    for content, packing in (
        (gzip.compress(body), "gzip"),
        (gzip.compress(body), "GZip"),
        (zlib.compress(body), "deflate"),
        (body, "identity"),
    ):
        assert post(content, packing).json() == plain
    for content, packing, status, message in (
        (body, "br", 400, "content-encoding: found 'br'; expected one of ['deflate', 'gzip'], or none"),
        (body, "gzip, gzip", 400, "content-encoding: found 'gzip, gzip'; expected one of"),
        (body, "gzip", 400, "body: found no valid gzip (Error -3 while decompressing data: incorrect header check)"),
        (zlib.compress(body), "gzip", 400, "body: found no valid gzip ("),
        (gzip.compress(body)[:-1], "gzip", 400, "body: found gzip that is cut off; expected all of it"),
        (b"", "gzip", 400, "body: found gzip that is cut off; expected all of it"),
        (zlib.compress(body)[:-1], "deflate", 400, "body: found deflate that is cut off; expected all of it"),
        (gzip.compress(body) + b"more", "gzip", 400, "body: found 4 bytes behind its gzip; expected none"),
        (gzip.compress(body) * 2, "gzip", 400, "body: found "),
        (gzip.compress(b" " * 2**27), "gzip", 413, "body: found over 1048576 bytes; expected at most 1048576"),
        (zlib.compress(b" " * 2**27), "deflate", 413, "body: found over 1048576 bytes; expected at most 1048576"),
    ):
        found, _, told = problem(post(content, packing))
        assert (found, told[: len(message)]) == (status, message)
    exactly = b'{"texts": "' + b" " * (2**20 - 13) + b'"}'
    assert post(gzip.compress(exactly), "gzip").status_code == 200
    assert post(gzip.compress(exactly + b" "), "gzip").status_code == 413


def raw(port: int, *parts: bytes, pause: float = 0.0, seconds: float = 10.0) -> bytes:
    """What comes back, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(seconds)
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        try:
            while more := connection.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        return received


HEAD = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\n"


def test_a_body_that_does_not_come_is_given_up(narrow: Served) -> None:
    start = time.monotonic()
    answer = raw(narrow.port, HEAD + b'content-length: 100\r\n\r\n{"texts":')
    assert 0.4 < time.monotonic() - start < 5
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    told = b'{"error":{"code":"too_slow","message":"body: found 9 bytes in 0.5 s; expected all of it"}}'
    assert answer.endswith(told)
    assert narrow.process.poll() is None


def test_a_body_that_goes_on_after_its_refusal_is_given_up(narrow: Served) -> None:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", narrow.port)) as connection:
        connection.settimeout(10)
        connection.sendall(HEAD + b"content-length: 99999999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < start + 20:
                connection.sendall(b"a" * 100)
                time.sleep(0.01)
    assert 0.4 < time.monotonic() - start < 10


def test_a_body_that_is_cut_off_is_no_failure(narrow: Served) -> None:
    since = len(narrow.lines)
    with socket.create_connection(("127.0.0.1", narrow.port)) as connection:
        connection.sendall(HEAD + b'content-length: 100\r\n\r\n{"texts":')
    narrow.line(lambda line: '"status":400' in line, since=since)


def test_an_endless_head_is_given_up(narrow: Served) -> None:
    for head in (
        b"GET / HTTP/1.1\r\na: ",  # a value without an end
        b"GET /",  # an address without an end
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\nx: ",  # headers behind the body
    ):
        sent = 0
        with (
            socket.create_connection(("127.0.0.1", narrow.port)) as connection,
            contextlib.suppress(BrokenPipeError, ConnectionResetError),
        ):
            connection.sendall(head)
            while sent < 2**22:
                sent += connection.send(b"a" * 2**15)
                time.sleep(0.01)
        assert sent < 2**22
    assert narrow.process.poll() is None


def test_a_long_head_is_told_so(narrow: Served) -> None:
    answer = raw(narrow.port, b"GET / HTTP/1.1\r\na: ", b"a" * 2**16)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.endswith(b"Found over 65536 bytes of headers.")
    answer = raw(narrow.port, b"GET /v2 HTTP/1.1\r\nconnection: close\r\na: " + b"a" * 50_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_long_body_in_small_pieces_is_no_endless_head(server: Served) -> None:
    body = json.dumps({"texts": ["sun"] * 1000, "model": "tiny"}).encode()
    with server.client() as client:
        chunks = (body[i : i + 1] for i in range(len(body)))  # six bytes of frame for each byte
        assert client.post("/v1/classify", content=chunks).status_code == 200
        body = json.dumps({"texts": ["sun " * 100] * 1000, "model": "tiny"}).encode()
        assert len(body) > 2**16
        assert client.post("/v1/classify", content=body).status_code == 200


def test_a_head_that_does_not_come_is_given_up(narrow: Served) -> None:
    start = time.monotonic()
    assert raw(narrow.port, b"GET / HT", seconds=20) == b""
    assert 0.4 < time.monotonic() - start < 8  # its deadline is half a second, and it is looked at once a second


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is TLS",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: [\r\nconnection: close\r\n\r\n",
        b"GET /nope HTTP/1.1\r\nhost: ]:\x80\r\nconnection: close\r\n\r\n",
        HEAD + b"connection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
        b"GET /v2 HTTP/1.0\r\n\r\n",
    ],
)
def test_what_is_no_sound_http_is_no_failure(narrow: Served, sent: bytes) -> None:
    since = len(narrow.lines)
    answer = raw(narrow.port, sent + b"connection: close\r\n\r\n", seconds=8)
    assert b" 500 " not in answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 200 ", b"HTTP/1.1 100 "))
    assert not [line for line in narrow.log(since) if "trace" in line]


def test_a_request_to_upgrade_is_answered_without(server: Served) -> None:
    """As Java's client sends one with every request."""
    body = b'{"texts": "sun", "model": "tiny"}'
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAB"}
    since = len(server.lines)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(2):
        connection.request("POST", "/v1/classify", body, offer)
        response = connection.getresponse()
        assert (response.status, len(json.loads(response.read())["predictions"])) == (200, 1)
    connection.close()
    assert not [line for line in server.log(since) if "level" in line]


def test_an_upgrade_within_a_body_is_no_header(server: Served) -> None:
    text = b"\r\nUpgrade:\r\n\r\nsun"
    tensor = len(text).to_bytes(4, "little") + text
    asked = b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}'
    asked = asked % len(tensor)
    head = b"POST %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\ninference-header-content-length: %d\r\n"
    head = head % (V2.encode(), len(asked)) + b"content-length: %d\r\n\r\n" % len(asked + tensor)
    expected = httpx.post(f"{server.url}/v1/classify", json={"texts": text.decode(), "model": "tiny"}, trust_env=False)
    probabilities = list(expected.json()["predictions"][0]["probabilities"].values())
    for parts in ([head + asked + tensor], [head, asked + tensor], [head + asked, tensor]):
        answered = raw(server.port, *parts, pause=0.05)
        assert answered.startswith(b"HTTP/1.1 200 OK")
        found = json.loads(answered.partition(b"\r\n\r\n")[2])["outputs"][1]["data"]
        assert found == pytest.approx(probabilities, abs=1e-6), "the text is the one that was sent"


# Whatever is sent

words = st.sampled_from(
    ["texts", "model", "shots", "seed", "inputs", "name", "text", "shape", "datatype", "BYTES", "data"]
)
names = words | st.sampled_from(["parameters", "binary_data_size", "outputs", "label", "id", "binary_data", "tiny"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries({}, optional={"texts": values, "model": values, "shots": values, "seed": values})
tensors = st.fixed_dictionaries(
    {"name": st.just("text") | values, "shape": st.just([1]) | values, "datatype": st.just("BYTES") | values},
    optional={"data": values, "parameters": values},
)
infers = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=2) | values}, optional={"id": values, "parameters": values, "outputs": values}
)
bodies = st.one_of(
    st.binary(max_size=200),
    values.map(lambda value: json.dumps(value).encode()),
    requests.map(lambda value: json.dumps(value).encode()),
    infers.map(lambda value: json.dumps(value).encode()),
    st.tuples(infers, st.binary(max_size=30)).map(lambda pair: json.dumps(pair[0]).encode() + pair[1]),
)


@settings(max_examples=400)
@given(
    path=st.sampled_from(["/v1/classify", "/v1/angles", V2, "/v2/models/tiny/versions/1/infer"]),
    body=bodies,
    length=st.none() | st.integers(-5, 300).map(str) | st.text("0123456789²-+ e", max_size=30) | st.just("9" * 5000),
    packing=st.none() | st.sampled_from(["gzip", "deflate"]),
    packed=st.booleans(),
)
def test_no_body_is_a_failure(
    ask: Ask, path: str, body: bytes, length: str | None, packing: str | None, packed: bool
) -> None:
    headers: dict[str, Any] = {}
    if length is not None:
        headers["inference-header-content-length"] = length.encode("latin-1")
    if packing is not None:
        headers["content-encoding"] = packing
        if packed:
            body = gzip.compress(body) if packing == "gzip" else zlib.compress(body)
    response = ask("POST", path, content=body, headers=headers)
    assert response.status_code in (200, 400, 404, 413), response.text
    if "octet-stream" not in response.headers["content-type"]:
        json.loads(response.content)


@settings(max_examples=100)
@given(path=st.text("/abcv12.%{}é☂\x00\n?#", max_size=40), method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]))
def test_no_address_is_a_failure(ask: Ask, path: str, method: str) -> None:
    try:
        url = httpx.URL("http://here/").copy_with(path="/" + path)
    except httpx.InvalidURL:
        return
    assert ask(method, str(url)).status_code in (200, 404, 405)


# Without Aer


def test_shots_without_aer_are_told_of(without_aer: Served) -> None:
    with without_aer.client() as client:
        assert client.post("/v1/classify", json={"texts": "sun"}).status_code == 200
        told = 'the aer backend needs an optional part: pip install "qdinfer[aer]"'
        response = client.post("/v1/classify", json={"texts": "sun", "shots": 10})
        assert problem(response) == (501, "not_installed", told)
        response = client.get("/v1/models/tiny/circuit")
        told = 'reading a circuit needs an optional part: pip install "qdinfer[aer]"'
        assert problem(response) == (501, "not_installed", told)
        inputs = [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["sun"]}]
        response = client.post(V2, json={"inputs": inputs, "parameters": {"shots": 10}})
        assert response.status_code == 501
        assert response.json() == {"error": 'the aer backend needs an optional part: pip install "qdinfer[aer]"'}


# Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline": 0}, "deadline: found 0; expected seconds, more than 0 and at most 86400"),
        ({"deadline": float("nan")}, "deadline: found nan; expected seconds, more than 0 and at most 86400"),
        ({"deadline": 1e9}, "deadline: found 1000000000.0; expected seconds, more than 0 and at most 86400"),
        ({"deadline": "3"}, "deadline: found '3'; expected a number of seconds"),
        ({"deadline": True}, "deadline: found True; expected a number of seconds"),
        ({"max_texts": 0}, "max_texts: found 0; expected a whole number from 1 to 1048576"),
        ({"max_bytes": 2**31}, "max_bytes: found 2147483648; expected a whole number from 1 to 1073741824"),
        ({"max_queue": 1.5}, "max_queue: found 1.5; expected a whole number from 1 to 16777216"),
        ({"max_shots": -1}, "max_shots: found -1; expected a whole number from 1 to 16777216"),
    ],
)
def test_settings_out_of_range_are_told_of(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        ServerSettings(**options)
    assert str(error.value) == message


@pytest.mark.parametrize("token", ["", " ", "a\nb", "schlüssel", " a", "a ", "a\x7f", b"a", 3])
def test_tokens_that_no_header_carries_are_told_of_but_not_shown(token: Any) -> None:
    with pytest.raises(InputError) as error:
        ServerSettings(token=token)
    assert str(error.value) == "token: found an empty one, or other letters than printable ASCII; expected those"
    assert "abc123" not in repr(ServerSettings(token="abc123"))
