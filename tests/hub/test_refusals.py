"""What the Hub refuses, and what is said then: each error from the real client, against a real server."""

from __future__ import annotations

from typing import Any

import pytest
from hub_endpoint import Client, Endpoint

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
INFO = "/api/models/org/tiny"
HTML = b"<html>Please accept the terms of this hotel</html>"


def fails(kind: str, path: str = INFO, **attributes: Any) -> dict[str, Any]:
    return {"kind": kind, "path": path, "count": None, **attributes}


FAULTS: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "forbidden": (fails("status", status=403), 1, ["found status 403 (", LOGIN]),
    "too many": (fails("status", status=429), 1, ["found too many requests (", f"wait, or {LOGIN}"]),
    "down": (fails("status", status=503), 1, ["found status 503 (", "try again later"]),
    "dropped": (
        fails("drop"),
        1,
        ["found no answer of http://127.0.0.1:", "expected a connection", "HF_HUB_OFFLINE=1"],
    ),
    "hanging": (fails("stall"), 1, ["found no answer of http://127.0.0.1:", "timed out", "expected a connection"]),
    "hotel": (fails("content", body=HTML), 1, ["that is not the Hub's (", "is HF_ENDPOINT right, and no proxy"]),
    "list": (fails("content", body=b"[]"), 1, ["that is not the Hub's (", "expected one"]),
    "empty": (fails("content", body=b"{}"), 1, ["that is not the Hub's (KeyError", "expected one"]),
    "no commit": (fails("content", body=b'{"id": "org/tiny", "sha": "../x", "siblings": []}'), 1, ["commit '../x'"]),
    "file forbidden": (fails("status", "/resolve/", status=403), 1, ["found status 403 (", LOGIN]),
    "file gone": (
        fails("status", "/resolve/", status=404, headers={"X-Error-Code": "EntryNotFound"}),
        1,
        ["status 404"],
    ),
    "large file refused": (fails("status", "^/storage/", method="GET", status=403), 1, ["found status 403 ("]),
    "file of nobody": (fails("status", "/resolve/", status=200), 1, ["that is not the Hub's ("]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_answer_that_is_none_is_an_error_with_the_next_step(
    endpoint: Endpoint, client: Client, commit: str, name: str
) -> None:
    fault, code, said = FAULTS[name]
    endpoint.fault(**fault)
    patience = {"HF_HUB_ETAG_TIMEOUT": "1"} if fault["kind"] == "stall" else {}
    assert client.qdinfer("verify", "hf:org/tiny@main", **patience).failed(code, "hf:org/tiny@main: found ", *said)
    if fault["path"] != INFO:  # so there is something in the cache
        endpoint.reset()
        assert client.qdinfer("verify", "hf:org/tiny@main").code == 0


@pytest.mark.parametrize("logged_in", [False, True])
def test_no_such_repository(endpoint: Endpoint, client: Client, logged_in: bool) -> None:
    token = endpoint.token if logged_in else ""
    said = f"found no such repository; expected an existing one; for a private one {LOGIN}"
    assert client.qdinfer("verify", "hf:org/nothing@main", HF_TOKEN=token).failed(2, f"hf:org/nothing@main: {said}")


def test_no_such_revision(client: Client, commit: str) -> None:
    said = "found no such revision; expected a branch, a tag or a commit of the repository"
    for revision in ("v9", "0" * 40):
        assert client.qdinfer("verify", f"hf:org/tiny@{revision}").failed(2, f"hf:org/tiny@{revision}: {said}")


def test_a_private_repository_is_for_those_who_log_in(
    endpoint: Endpoint, client: Client, files: dict[str, bytes]
) -> None:
    endpoint.repository("org/secret", private=True).commit(files)
    assert client.qdinfer("verify", "hf:org/secret@main").failed(2, "found no such repository", LOGIN)
    wrong = client.qdinfer("verify", "hf:org/secret@main", HF_TOKEN="hf_thisIsNone")
    assert wrong.failed(1, "found status 401 (Invalid credentials in Authorization header)", LOGIN)
    assert client.qdinfer("verify", "hf:org/secret@main", HF_TOKEN=endpoint.token).code == 0
    assert any(request.storage for request in endpoint.asked)
    assert not any(request.storage and request.token for request in endpoint.asked), "a login is for the Hub alone"


def test_a_login_that_is_stored_is_used(endpoint: Endpoint, client: Client, files: dict[str, bytes]) -> None:
    endpoint.repository("org/secret", private=True).commit(files)
    client.home.mkdir()
    (client.home / "token").write_text(endpoint.token)
    assert client.qdinfer("verify", "hf:org/secret@main").code == 0


def test_a_gated_repository_is_asked_for_on_its_page(
    endpoint: Endpoint, client: Client, files: dict[str, bytes]
) -> None:
    endpoint.repository("org/gated", gated=True).commit(files)
    said = f"found a gated repository; expected access to it: ask for it on its page, and {LOGIN}"
    assert client.qdinfer("verify", "hf:org/gated@main", HF_TOKEN=endpoint.token).failed(1, said)


def test_xet_that_fails_is_said(endpoint: Endpoint, client: Client, commit: str) -> None:
    """A Hub that says that a file is in Xet, and whose Xet is not to be reached."""
    if client.python("import huggingface_hub as h; print(h.__version__)").out < "1":
        pytest.skip("older clients call it otherwise")
    xet = {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": f"{endpoint.url}/api/models/org/tiny/xet-read-token/{commit}"}
    headers = {"X-Repo-Commit": commit, "ETag": f'"{"1" * 64}"', "X-Linked-Size": "3", **xet}
    endpoint.fault("status", method="HEAD", path="encoder.onnx", status=200, headers=headers)
    done = client.qdinfer("verify", "hf:org/tiny@main", HF_HUB_DISABLE_XET="0")
    assert done.failed(1, "hf:org/tiny@main: found ")


def test_nothing_listens(endpoint: Endpoint, client: Client, commit: str) -> None:
    endpoint.stop()
    for revision in ("main", commit):
        done = client.qdinfer("verify", f"hf:org/tiny@{revision}")
        assert done.failed(1, f"hf:org/tiny@{revision}: found no answer of http://127.0.0.1:")


def test_an_endpoint_that_is_none(client: Client, commit: str) -> None:
    done = client.qdinfer("verify", "hf:org/tiny@main", HF_ENDPOINT="nonsense")
    assert done.failed(1, "hf:org/tiny@main: found ", " of nonsense")


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "huggingface_hub":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from qdinfer import cli as a
from qdistill import cli as b
sys.exit({"qdinfer": a, "qdistill": b}[sys.argv.pop(1)].main())
"""


def test_without_the_client_the_extra_is_named(client: Client, student_path: object) -> None:
    said = 'the Hugging Face Hub needs an optional part: pip install "qdinfer[hub]"'
    assert client.python(BLOCKED, "qdinfer", "verify", "hf:org/tiny@main").failed(1, said)
    pushed = client.python(BLOCKED, "qdistill", "push", str(student_path), "org/tiny")
    assert pushed.failed(1, 'needs an optional part: pip install "qdinfer[hub]"')
    assert client.python(BLOCKED, "qdinfer", "verify", str(student_path)).code == 0
