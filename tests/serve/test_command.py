"""``qdinfer serve``: its options, its messages, its exit codes."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Run
from interpreter import python
from onnx import numpy_helper
from serve.process import ENVIRONMENT, MODELS, Served, command
from students import tiny

from qdinfer import Artifact


@pytest.fixture
def error(run: Run) -> Callable[..., str]:
    """The one line that a call prints which does not come to serve: `error(*words, code=2)`."""

    def call(*words: object, code: int = 2) -> str:
        out, err = run("serve", *words, code=code)
        assert out == ""
        assert re.fullmatch(r"qdinfer( serve)?: error: .*\n", err), err
        return err.partition("error: ")[2].removesuffix("\n")

    return call


Error = Callable[..., str]


def fresh(*words: object, blocked: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a call in a process of its own."""
    done = subprocess.run(
        command(*words, blocked=blocked), env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_help_teaches(run: Run) -> None:
    out, err = run("serve", "--help")
    assert err == ""
    options = re.findall(r"^  (--[a-z-]+)", out, re.MULTILINE)
    assert options == [
        *("--host", "--port", "--token-file", "--backend", "--threads", "--debug"),
        *("--deadline", "--max-texts", "--max-bytes", "--max-queue", "--max-shots"),
    ]
    assert "qdinfer serve exported_models/topic\n" in out
    assert 'pip install "qdinfer[serve]"' in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "the following arguments are required: STUDENT (--help explains)"),
        (["TINY", "--port", "http"], 2, "argument --port: invalid int value: 'http' (--help explains)"),
        (["TINY", "--port", "70000"], 2, "--port: found 70000; expected a number from 0 to 65535"),
        (["TINY", "--port", "-1"], 2, "--port: found -1; expected a number from 0 to 65535"),
        (["TINY", "--deadline", "0"], 2, "deadline: found 0.0; expected seconds, more than 0 and at most 86400"),
        (["TINY", "--deadline", "nan"], 2, "deadline: found nan; expected seconds, more than 0 and at most 86400"),
        (["TINY", "--max-texts", "0"], 2, "max_texts: found 0; expected a whole number from 1 to 1048576"),
        (["TINY", "--threads", "0"], 2, "threads: found 0; expected a whole number from 1 to 256"),
        (["TINY", "--backend", "ibm:x"], 2, "argument --backend: invalid choice: 'ibm:x' (choose from 'exact', 'aer')"),
        (["TINY", "--host", "no such host"], 2, "--host: found 'no such host'; expected an address or a name"),
        (["TINY", "--host", "a..b"], 2, "--host: found 'a..b'; expected an address or a name of this machine"),
        (["TINY", "--host", "[::1]"], 2, "--host: found '[::1]'; expected an address or a name of this machine"),
        (["TINY", "--host", "192.0.2.1", "--port", 0], 1, "192.0.2.1:0: Cannot assign requested address"),
        (["none"], 2, "none: found nothing there; expected a student's folder or .zip"),
        (["name=none"], 2, "none: found nothing there; expected a student's folder or .zip"),
        (["name="], 2, "name=: found no path; expected NAME=PATH"),
        (["a b=TINY"], 2, "students: found the name 'a b'; expected up to 64 letters, digits, '.', '_' and '-', as"),
        (["=TINY"], 2, "students: found the name ''; expected up to 64 letters, digits"),
        ([f"{'x' * 65}=TINY"], 2, f"students: found the name '{'x' * 65}'; expected up to 64 letters"),
        (["TINY", "TINY"], 2, "TINY: found a second student 'tiny'; expected NAME=PATH, with another name"),
        (["a=TINY", "a=TINY"], 2, "a=TINY: found a second student 'a'; expected NAME=PATH, with another name"),
        (["TINY", "--token-file", "none"], 2, "none: No such file or directory"),
        (["TINY", "--token-file", "FOLDER"], 2, "FOLDER: Is a directory"),
        (["TINY", "--token-file", "EMPTY"], 2, "EMPTY: found an empty first line; expected the token"),
        (["TINY", "--token-file", "BLANK"], 2, "BLANK: found an empty first line; expected the token"),
        (["TINY", "--token-file", "BYTES"], 2, "BYTES: found bytes that are not UTF-8; expected the token in the"),
        (["TINY", "--token-file", "UMLAUT"], 2, "token: found an empty one, or other letters than printable ASCII;"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_told_of(
    tiny_path: Path, tmp_path: Path, error: Error, words: list[object], code: int, message: str
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text("  \nsecret\n")
    (tmp_path / "bytes").write_bytes(b"secret\xff\n")
    (tmp_path / "umlaut").write_text("geheim-ß\n", "utf-8")
    places = {"TINY": tiny_path, "FOLDER": tmp_path}
    places |= {name: tmp_path / name.lower() for name in ("EMPTY", "BLANK", "BYTES", "UMLAUT")}

    def filled(text: str) -> str:
        for name, place in places.items():
            text = text.replace(name, str(place))
        return text

    told = error(*[filled(str(word)) for word in words], code=code)
    assert told.startswith(filled(message))
    assert "secret" not in told
    assert "geheim" not in told


def test_a_port_in_use_is_told_of(tiny_path: Path, error: Error) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert error(tiny_path, "--port", port, code=1) == f"127.0.0.1:{port}: Address already in use"


def test_a_missing_extra_is_named() -> None:
    code = """
    import sys
    from qdinfer import MissingExtraError
    for module in ("fastapi", "fastapi_offline", "httptools", "prometheus_client", "uvicorn", "uvloop"):
        sys.modules[module] = None
        try:
            import qdinfer.serve
        except MissingExtraError as error:
            print(error)
        del sys.modules[module]
    import qdinfer.serve
    """
    told = 'qdinfer serve needs an optional part: pip install "qdinfer[serve]"'
    assert python(code).splitlines() == [told] * 6


def test_the_command_names_the_missing_extra(tiny_path: Path) -> None:
    told = 'qdinfer: error: qdinfer serve needs an optional part: pip install "qdinfer[serve]"\n'
    assert fresh(tiny_path, blocked=("fastapi", "starlette", "uvicorn")) == (1, "", told)


def test_aer_is_named_where_it_is_the_backend(tiny_path: Path) -> None:
    told = 'qdinfer: error: the aer backend needs an optional part: pip install "qdinfer[aer]"\n'
    assert fresh(tiny_path, "--backend", "aer", blocked=("qiskit_aer",)) == (1, "", told)


def test_a_student_that_cannot_answer_is_told_of_before_anything_is_served(tmp_path: Path, error: Error) -> None:
    model = onnx.load_from_string(tiny().files["encoder.onnx"])
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(np.full(4, np.inf, np.float32), "bias"))
    files = {**tiny().files, "encoder.onnx": model.SerializeToString()}
    path = Artifact.create(tiny().manifest, files).save(tmp_path / "broken")
    told = error(path, "--port", 0)
    assert told == "encoder.onnx: found angles that are NaN or infinite; expected finite angles"


def test_several_students_by_their_names_or_given_ones(tiny_path: Path, tmp_path: Path, error: Error) -> None:
    odd = tmp_path / "a=b"
    odd.symlink_to(tiny_path)
    with Served(tiny_path, f"other={tiny_path}", MODELS / "topic-folded", "--threads", 1) as served:
        first = served.lines[0]
        assert re.fullmatch(r"qdinfer: serving tiny, other, topic-folded on http://127\.0\.0\.1:\d+", first)
        assert len(served.lines) == 1
        with served.client() as client:
            models = [model["name"] for model in client.get("/v1/models").json()["models"]]
            assert models == ["tiny", "other", "topic-folded"]
    assert error(odd, tiny_path) == f"{tiny_path}: found a second student 'tiny'; expected NAME=PATH, with another name"


def test_aer_as_the_backend(tiny_path: Path) -> None:
    with Served(tiny_path, "--backend", "aer") as served, served.client() as client:
        answer = client.post("/v1/classify", json={"texts": ["sun"]}).json()
        assert (answer["backend"], answer["predictions"][0]["shots"]) == ("aer", 0)
        assert client.post("/v1/classify", json={"texts": []}).json()["predictions"] == []


def test_all_addresses_come_with_a_note(tiny_path: Path, tmp_path: Path) -> None:
    with Served(tiny_path, "--host", "0.0.0.0") as served:
        note = served.line(lambda line: "note" in line)
        assert note == "qdinfer: note: all who reach 0.0.0.0 may use it; --token-file asks for a token"
        assert served.url == f"http://0.0.0.0:{served.port}"
        with served.client() as client:
            assert client.get(f"http://127.0.0.1:{served.port}/v2").status_code == 200
    token = tmp_path / "token"
    token.write_text("a-token")
    with Served(tiny_path, "--host", "0.0.0.0", "--token-file", token) as served:
        assert len(served.lines) == 1


def test_it_binds_to_this_machine_alone(server: Served) -> None:
    """Its address is of the loopback interface, and no other of this machine leads to it."""
    assert server.url.startswith("http://127.0.0.1:")
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [address for address in listening if int(address.partition(":")[2], 16) == server.port] == [
        f"0100007F:{server.port:04X}"
    ]


def ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
def test_ipv6(tiny_path: Path) -> None:
    with Served(tiny_path, "--host", "::1") as served:
        assert served.url == f"http://[::1]:{served.port}"
        assert len(served.lines) == 1
        with served.client() as client:
            assert client.post("/v1/classify", json={"texts": "sun"}).status_code == 200


def test_a_name_of_this_machine(tiny_path: Path) -> None:
    with Served(tiny_path, "--host", "localhost") as served:
        assert served.url == f"http://127.0.0.1:{served.port}"


def test_plain_commands_import_nothing_of_the_server() -> None:
    code = "import sys, qdinfer.cli; qdinfer.cli._parser(); print([m for m in sys.modules if 'serve.' in m or m in X])"
    code = f"X = ('fastapi', 'uvicorn', 'asyncio', 'starlette', 'prometheus_client'); {code}"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
