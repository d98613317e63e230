"""The Open Inference Protocol: Triton's own client against the server, KServe's form, and what no client would send."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serve.conftest import TOKEN, Ask
from serve.process import Served
from students import LABELS, tiny
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

import qdinfer
from qdinfer import AerBackend, Classifier

PATH = "/v2/models/tiny/infer"
TEXTS = ["sun rain", "goal, match!", "", "été ☂", "sun rain goal match bank"]
TYPES = {
    "label": ("BYTES", [-1]),
    "probabilities": ("FP64", [-1, 3]),
    "standard_errors": ("FP64", [-1, 3]),
    "confidence": ("FP64", [-1]),
    "shots": ("INT64", [-1]),
    "truncated": ("BOOL", [-1]),
    "classes": ("BYTES", [3]),
}
"""The outputs, in their order."""


@pytest.fixture
def client(server: Served) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


def tensor(texts: list[str], shape: list[int], *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput("text", shape, "BYTES")
    values = np.array([text.encode() for text in texts], dtype=np.object_).reshape(shape)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def check(result: triton.InferResult, texts: list[str], names: list[str] = list(TYPES)) -> None:  # noqa: B006
    """All outputs, of the right types and shapes, with the classifier's values."""
    expected, cut = Classifier(tiny()).classify_marked(texts)
    values = {
        "label": [label.encode() for label in expected.labels.tolist()],
        "probabilities": expected.probabilities,
        "standard_errors": expected.standard_errors,
        "confidence": expected.confidence,
        "shots": expected.shots,
        "truncated": cut,
        "classes": [label.encode() for label in LABELS],
    }
    found = result.get_response()
    assert [output["name"] for output in found["outputs"]] == names
    for name in names:
        datatype, shape = TYPES[name]
        output, array = result.get_output(name), result.as_numpy(name)
        assert output["datatype"] == datatype
        assert output["shape"] == [len(texts) if size == -1 else size for size in shape]
        assert array.shape == tuple(output["shape"])
        if datatype == "BYTES":
            assert [bytes(each) if isinstance(each, bytes) else each.encode() for each in array] == values[name]
        else:
            np.testing.assert_allclose(array, values[name], atol=1e-6)


# Triton's client


def test_triton_health(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("topic-folded", "1")
    assert not client.is_model_ready("tiny", "2")
    assert not client.is_model_ready("topic")


def test_triton_metadata(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata() == {
        "name": "qdinfer",
        "version": qdinfer.__version__,
        "extensions": ["binary_tensor_data"],
    }
    expected = {
        "name": "tiny",
        "versions": ["1"],
        "platform": "qdinfer",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": n, "datatype": datatype, "shape": shape} for n, (datatype, shape) in TYPES.items()],
    }
    assert client.get_model_metadata("tiny") == client.get_model_metadata("tiny", "1") == expected


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [[5], [5, 1]])
def test_triton_texts(client: triton.InferenceServerClient, shape: list[int], binary: bool) -> None:
    check(client.infer("tiny", [tensor(TEXTS, shape, binary=binary)], outputs=wishes(list(TYPES), binary)), TEXTS)


def wishes(names: list[str], *binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(name, binary_data=binary[i % len(binary)]) for i, name in enumerate(names)]


def test_triton_without_wishes_gets_all_outputs(client: triton.InferenceServerClient) -> None:
    """The client asks for binary data then, by a parameter of the request."""
    check(client.infer("tiny", [tensor(TEXTS, [5])]), TEXTS)


def test_triton_gets_the_outputs_that_it_asks_for_in_its_order(client: triton.InferenceServerClient) -> None:
    names = ["confidence", "classes", "label", "probabilities"]
    check(client.infer("tiny", [tensor(TEXTS, [5])], outputs=wishes(names, True, False)), TEXTS, names)
    check(client.infer("tiny", [tensor(TEXTS, [5])], outputs=wishes(names, False, True)), TEXTS, names)


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_triton_packed(client: triton.InferenceServerClient, packing: str) -> None:
    options = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
    check(client.infer("tiny", [tensor(TEXTS, [5])], **options), TEXTS)


def test_triton_ids_and_versions(client: triton.InferenceServerClient) -> None:
    result = client.infer("tiny", [tensor(["sun"], [1])], model_version="1", request_id="née 7")
    assert result.get_response()["id"] == "née 7"
    assert result.get_response()["model_name"] == "tiny"
    assert result.get_response()["model_version"] == "1"
    assert "id" not in client.infer("tiny", [tensor(["sun"], [1])]).get_response()


def test_triton_asynchronous_requests_get_their_own_answers(server: Served) -> None:
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8) as client:
        under_way = [(text, client.async_infer("tiny", [tensor([text], [1])])) for text in TEXTS * 8]
        for text, request in under_way:
            check(request.get_result(), [text])


def test_triton_shots(client: triton.InferenceServerClient) -> None:
    result = client.infer("tiny", [tensor(TEXTS[:2], [2])], parameters={"shots": 200, "seed": 5})
    expected = Classifier(tiny()).classify(TEXTS[:2], backend=AerBackend(200, seed=5))
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("standard_errors"), expected.standard_errors, atol=1e-6)
    assert result.as_numpy("shots").tolist() == [200, 200]


def test_triton_no_texts(client: triton.InferenceServerClient) -> None:
    check(client.infer("tiny", [tensor([], [0])]), [])


def test_triton_errors(client: triton.InferenceServerClient) -> None:
    def fails(*arguments: Any, **options: Any) -> tuple[str | None, str]:
        with pytest.raises(InferenceServerException) as error:
            client.infer(*arguments, **options)
        return error.value.status(), error.value.message()

    sun = tensor(["sun"], [1])
    assert fails("topic", [sun]) == ("404", "model: found 'topic'; expected one of ['tiny', 'topic-folded']")
    assert fails("tiny", [sun], model_version="2") == ("404", "model 'tiny': found version '2'; expected '1'")
    wish = [triton.InferRequestedOutput("score")]
    assert fails("tiny", [sun], outputs=wish) == ("400", f"outputs: found 'score'; expected some of {list(TYPES)}")
    wish = [triton.InferRequestedOutput("label", class_count=2)]
    told = "outputs: found 'classification' of 'label'; expected data in the answer alone"
    assert fails("tiny", [sun], outputs=wish) == ("400", told)
    sun.set_shared_memory("region", 10)
    told = "inputs[0].parameters: found 'shared_memory_byte_size'; expected the data in the request"
    assert fails("tiny", [sun]) == ("400", told)
    integers = triton.InferInput("text", [1], "INT64")
    integers.set_data_from_numpy(np.array([1]))
    assert fails("tiny", [integers]) == ("400", "inputs[0].datatype: found 'INT64'; expected 'BYTES'")
    other = triton.InferInput("TEXT", [1], "BYTES")
    other.set_data_from_numpy(np.array([b"a"], dtype=np.object_))
    assert fails("tiny", [other]) == ("400", "inputs: found ['TEXT']; expected ['text']")
    assert fails("tiny", [tensor(["a", "b"], [1, 2])]) == (
        "400",
        "inputs[0].shape: found [1, 2]; expected [N] or [N, 1]",
    )
    told = "texts: found 1025; expected at most 1024 in a request"
    assert fails("tiny", [tensor(["a"] * 1025, [1025])]) == ("413", told)
    with pytest.raises(InferenceServerException, match="found GET /v2/models/tiny/config; expected an address"):
        client.get_model_config("tiny")


def test_triton_with_a_token(guarded: Served) -> None:
    with triton.InferenceServerClient(guarded.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert not client.is_model_ready("tiny")
        with pytest.raises(InferenceServerException, match="authorization: found no valid token; expected the header"):
            client.infer("tiny", [tensor(["sun"], [1])])
        headers = {"Authorization": f"Bearer {TOKEN}"}
        check(client.infer("tiny", [tensor(TEXTS, [5])], headers=headers), TEXTS)


# Plain JSON, as KServe's client and others send it


def infer(ask: Ask, data: Any, shape: list[int], **more: Any) -> dict[str, Any]:
    asked = {"inputs": [{"name": "text", "shape": shape, "datatype": "BYTES", "data": data}], **more}
    response = ask("POST", PATH, json=asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in response.headers
    found: dict[str, Any] = response.json()
    return found


def test_json_as_kserve_sends_it(ask: Ask) -> None:
    expected = Classifier(tiny()).classify(TEXTS[:3])
    found = infer(ask, TEXTS[:3], [3], id="q", model_name="tiny", parameters={"priority": 2, "sequence_id": "a"})
    assert (found["id"], found["model_name"], found["model_version"]) == ("q", "tiny", "1")
    outputs = {output.pop("name"): output for output in found["outputs"]}
    assert list(outputs) == list(TYPES)
    for name, (datatype, shape) in TYPES.items():
        assert outputs[name]["datatype"] == datatype
        assert outputs[name]["shape"] == [3 if size == -1 else size for size in shape]
        assert len(outputs[name]["data"]) == np.prod(outputs[name]["shape"])
    assert outputs["label"]["data"] == expected.labels.tolist()
    assert outputs["probabilities"]["data"] == pytest.approx(expected.probabilities.ravel().tolist(), abs=1e-6)
    assert outputs["truncated"]["data"] == [False, False, False]
    assert outputs["classes"]["data"] == list(LABELS)


def test_json_columns_nested_or_flat(ask: Ask) -> None:
    flat = infer(ask, ["sun", "goal"], [2])
    assert flat == infer(ask, [["sun"], ["goal"]], [2, 1]) == infer(ask, ["sun", "goal"], [2, 1])


def test_json_null_is_nothing(ask: Ask) -> None:
    found = infer(ask, ["sun"], [1], id=None, parameters=None, outputs=None)
    assert found == infer(ask, ["sun"], [1])
    found = infer(ask, ["sun"], [1], outputs=[{"name": "label", "parameters": None}])
    assert [output["name"] for output in found["outputs"]] == ["label"]
    asked = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "parameters": None, "data": ["sun"]}]}
    assert ask("POST", PATH, json=asked).status_code == 200


def test_json_shots(ask: Ask) -> None:
    found = infer(ask, ["sun"], [1], parameters={"shots": 50, "seed": 1}, outputs=[{"name": "shots"}])
    assert found["outputs"] == [{"name": "shots", "datatype": "INT64", "shape": [1], "data": [50]}]


def test_both_forms_in_one_answer(ask: Ask) -> None:
    asked = {
        "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["sun", "goal"]}],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "confidence"}, {"name": "label", "parameters": {"binary_data": False}}],
    }
    response = ask("POST", PATH, json=asked)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    head, tail = json.loads(response.content[:length]), response.content[length:]
    confidence, label = head["outputs"]
    assert confidence["parameters"] == {"binary_data_size": 16}
    assert "data" not in confidence
    assert struct.unpack("<2d", tail) == (1.0, 1.0)
    assert label["data"] == Classifier(tiny()).predict(["sun", "goal"]).tolist()


# Binary bodies, sound and broken


def binary_request(texts: list[str], **changes: Any) -> tuple[bytes, bytes]:
    """The JSON, and what follows it."""
    data = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    return json.dumps({"inputs": [tensor | changes]}).encode(), data


def send(ask: Ask, head: bytes, data: bytes, length: object = None) -> httpx.Response:
    length = len(head) if length is None else length
    return ask("POST", PATH, content=head + data, headers={"inference-header-content-length": str(length)})


@settings(max_examples=150)
@given(st.lists(st.text(max_size=30), max_size=12))
@example(["\x00", "\ud7ff\U0010ffff", "a" * 5000, "", "\r\n\r\n"])
def test_any_texts_go_through_the_binary_form(ask: Ask, texts: list[str]) -> None:
    head, data = binary_request(texts)
    if texts:
        assert data == serialize_byte_tensor(np.array([text.encode() for text in texts], np.object_)).item()
    found = send(ask, head, data)
    assert found.status_code == 200, found.text
    classified = ask("POST", "/v1/classify", json={"texts": texts}).json()["predictions"]
    outputs = {output["name"]: output["data"] for output in found.json()["outputs"]}
    assert outputs["label"] == [each["label"] for each in classified]
    flat = [value for each in classified for value in each["probabilities"].values()]
    assert outputs["probabilities"] == pytest.approx(flat, abs=1e-6)
    assert outputs["truncated"] == [each["truncated"] for each in classified]


HEAD, DATA = binary_request(["sun", "goal"])
BROKEN = [
    (*binary_request(["sun"], shape=[2]), "inputs[0]: found 1 texts; expected 2, as its shape says"),
    (*binary_request(["sun"], shape=[]), "inputs[0].shape: found []; expected [N] or [N, 1]"),
    (*binary_request(["sun"], shape=[-1]), "inputs[0].shape: found [-1]; expected [N] or [N, 1]"),
    (*binary_request(["sun"], shape=[1, 1, 1]), "inputs[0].shape: found [1, 1, 1]; expected [N] or [N, 1]"),
    (HEAD, DATA[:-1], "inputs[0]: found binary_data_size 15; expected 14, all binary data"),
    (HEAD, DATA + b"x", "inputs[0]: found binary_data_size 15; expected 16, all binary data"),
    (HEAD, b"", "inputs[0]: found binary_data_size 15; expected 0, all binary data"),
    (
        *binary_request(["sun"], parameters={}),
        "inputs[0]: found binary_data_size None; expected 7, all binary data",
    ),
    (
        *binary_request(["sun"], parameters={"binary_data_size": "7"}),
        "inputs[0]: found binary_data_size '7'; expected 7, all binary data",
    ),
    (
        *binary_request(["sun"], data=["sun"]),
        "inputs[0]: found binary_data_size 7; expected 7, all binary data, and no other",
    ),
    (
        json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["sun"]}]}).encode(),
        b"\x03\x00\x00\x00sun",
        "inputs[0]: found binary_data_size None; expected 7, all binary data",
    ),
    (HEAD, b"\x04\x00\x00\x00" + DATA[4:], "inputs[0]: found binary data that end within text 1; expected all of it"),
    (HEAD, b"\xff\xff\xff\xff" + DATA[4:], "inputs[0]: found binary data that end within text 0; expected all of it"),
    (HEAD, DATA[:-4] + b"\xff\xfe\x00a", "texts[1]: found bytes that are not UTF-8 (invalid start byte)"),
    (HEAD, DATA[:-3] + b"\xed\xa0\x80", "texts[1]: found bytes that are not UTF-8 ("),
    (b'{"inputs": []}', b"", "inputs: found []; expected ['text']"),
    (b'{"inputs": [%s, %s]}' % (HEAD[12:-2], HEAD[12:-2]), DATA, "inputs: found ['text', 'text']; expected ['text']"),
    (b'{"inputs": 1}', b"", "body: Expected `array`, got `int` - at `$.inputs`"),
    (b"{}", b"", "body: Object missing required field `inputs`"),
    (HEAD[:-1] + b', "parameters": {"shots": "many"}}', DATA, "body: Expected `int | null`, got `str`"),
    (HEAD[:-1] + b', "parameters": {"seed": 3}}', DATA, "seed: found 3 without shots; expected shots, or no seed"),
    (HEAD[:-1] + b', "parameters": {"shots": 10001}}', DATA, "shots: found 10001; expected at most 10000"),
    (
        HEAD[:-1] + b', "outputs": [{"name": "label", "parameters": {"binary_data": "false"}}]}',
        DATA,
        "outputs: found binary_data 'false' of 'label'; expected true or false",
    ),
]


@pytest.mark.parametrize(("head", "data", "message"), BROKEN, ids=lambda value: str(value)[:30])
def test_broken_requests_are_told_of(ask: Ask, head: bytes, data: bytes, message: str) -> None:
    response = send(ask, head, data)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.json()["error"].startswith(message)


@pytest.mark.parametrize("length", [-1, 10**6, "", "abc", "1.0", "9" * 5000, "+5", " 12"])
def test_wrong_lengths_of_the_json_are_told_of(ask: Ask, length: object) -> None:
    response = send(ask, HEAD, DATA, length)
    assert response.status_code == 400
    assert response.json()["error"].startswith("inference-header-content-length: found ")


@settings(max_examples=200)
@given(cut=st.integers(0, len(HEAD + DATA)), length=st.integers(0, len(HEAD + DATA)), junk=st.binary(max_size=20))
def test_torn_requests_never_pass_for_whole_ones(ask: Ask, cut: int, length: int, junk: bytes) -> None:
    content = (HEAD + DATA)[:cut] + junk
    response = ask("POST", PATH, content=content, headers={"inference-header-content-length": str(length)})
    whole = length == len(HEAD) and len(content) == len(HEAD + DATA)  # junk may stand for other letters
    assert response.status_code in ((200, 400) if whole else (400,))


def test_json_data_that_is_none_is_told_of(ask: Ask) -> None:
    for data, message in (
        (None, "inputs[0].data: found none; expected a list of texts, or binary data"),
        ([1, 2], "texts[0]: found int; expected str"),
        (["a", None], "texts[1]: found None; expected str"),
        ([["a", ["b"]]], "texts[1]: found list; expected str"),
        (["a", "b", "c"], "inputs[0]: found 3 texts; expected 2, as its shape says"),
    ):
        tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": data}
        response = ask("POST", PATH, json={"inputs": [tensor]})
        assert (response.status_code, response.json()) == (400, {"error": message})
