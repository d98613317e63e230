"""Students loaded from the Hub: what is asked for, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_endpoint import Client, Endpoint
from msgspec.structs import replace

from qdinfer import Artifact, Classifier

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]
LOOK = "/api/models/org/tiny/revision/main"

LOAD = """
import json, sys
from qdinfer import Artifact, Classifier
artifact = Artifact.open(sys.argv[1])
told = {"path": artifact.path, "sha256": artifact.sha256, "files": sorted(artifact.files)}
told["probabilities"] = Classifier(artifact).predict_proba(["sun rain", "goal", ""]).tolist()
print(json.dumps(told))
"""


def asked(endpoint: Endpoint) -> list[str]:
    """The files that were asked for."""
    return [request.path.rpartition("/")[2] for request in endpoint.asked if "/resolve/" in request.path]


@pytest.mark.parametrize("revision", ["main", "v1", "commit"])
def test_a_student_is_the_same_from_the_hub(
    endpoint: Endpoint, client: Client, commit: str, student: Artifact, revision: str
) -> None:
    endpoint.repository("org/tiny").tags["v1"] = commit
    done = client.python(LOAD, f"hf:org/tiny@{commit if revision == 'commit' else revision}")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["path"] == f"hf:org/tiny@{commit}"
    assert told["sha256"] == student.sha256
    assert told["files"] == sorted(student.files)
    assert told["probabilities"] == Classifier(student).predict_proba(["sun rain", "goal", ""]).tolist()


def test_every_command_takes_a_reference(client: Client, commit: str, student: Artifact, tmp_path: Path) -> None:
    reference = "hf:org/tiny@main"
    table, out = tmp_path / "texts.csv", tmp_path / "labelled.csv"
    table.write_text("text,label\nsun rain,weather\ngoal,sport\n")
    done = client.qdinfer("predict", reference, "--input", str(table), "--output", str(out))
    assert (done.code, done.err) == (0, "")
    assert out.read_text().startswith("text,label,prediction\nsun rain,")
    assert client.qdinfer("evaluate", reference, "--input", str(table)).out.startswith("tiny on exact")
    assert "tiny on exact, 5 golden cases" in client.qdinfer("verify", reference).out
    inspected = client.qdinfer("inspect", reference).out
    assert f"from      hf:org/tiny@{commit}\n" in inspected
    again = client.qdinfer("compile", reference, "--output", str(tmp_path / "compiled"))
    assert again.code == 0, again.err
    assert Artifact.open(tmp_path / "compiled").manifest.circuit == student.manifest.circuit
    assert "from " not in client.qdinfer("inspect", str(tmp_path / "compiled")).out.partition("\n\n")[0]


def test_estimate_takes_a_reference(client: Client, commit: str, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\nsun\n")
    arguments = ["--input", str(tmp_path / "texts.csv"), "--backend", "fake:FakeManilaV2", "--shots", "10"]
    done = client.python(
        "import sys, warnings; warnings.simplefilter('ignore'); from qdinfer.cli import main; sys.exit(main())",
        *("estimate", "hf:org/tiny@main", *arguments),
    )
    assert done.code == 0, done.err
    assert done.out.startswith("1 text × 10 shots on ")


def test_compiling_in_place_is_for_paths(client: Client, commit: str) -> None:
    said = "found a student on the Hub, which stays as it is; expected --output PATH"
    assert client.qdinfer("compile", "hf:org/tiny@main").failed(2, said)


def test_where_to_compile_a_student_that_is_not_compiled(
    endpoint: Endpoint, client: Client, student: Artifact, tmp_path: Path
) -> None:
    plain = {name: data for name, data in student.files.items() if name != "compiled.onnx"}
    bare = Artifact.create(replace(student.manifest, compiled=None), plain)
    made = endpoint.repository("org/bare").commit({"student.json": bare.manifest.to_json(), **bare.files})
    said = f"make it with `qdinfer compile hf:org/bare@{made} --output PATH`"
    assert client.qdinfer("predict", "hf:org/bare@main", "sun").failed(1, said)


def test_only_the_files_of_the_student_are_asked_for(
    endpoint: Endpoint, client: Client, commit: str, student: Artifact
) -> None:
    more = {
        "big.bin": b"x" * 5_000_000,
        "notes/a.txt": b"a",
        ".hidden": b"h",
        "student.json.bak": b"{}",
        "tiny.zip": b"z",
    }
    endpoint.repository("org/tiny").commit(more)
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0
    assert set(asked(endpoint)) == {"student.json", *student.files}
    assert asked(endpoint)[0] == "student.json"


def test_all_comes_from_the_commit_that_the_branch_had_at_first(
    endpoint: Endpoint, client: Client, commit: str, files: Files
) -> None:
    """A push between any two requests mixes nothing."""
    repository = endpoint.repository("org/tiny")
    other = {name: data + b"\n" for name, data in files.items()}
    for after in range(4):
        path = rf"/resolve/{commit}/" if after else "/revision/main"
        endpoint.fault("meanwhile", path=path, after=max(0, 3 * after - 1), action=lambda: repository.commit(other))
    endpoint.faults.rules[0].after = 1  # not before the answer of the first, which it would be part of
    done = client.python(LOAD, "hf:org/tiny@main")
    assert done.code == 0, done.err
    assert json.loads(done.out)["path"] == f"hf:org/tiny@{commit}"
    assert repository.head.sha != commit
    assert all(f"/resolve/{commit}/" in request.path for request in endpoint.asked if "/resolve/" in request.path)
    assert [request.path.partition("?")[0] for request in endpoint.asked if "/api/" in request.path] == [LOOK]


def test_a_commit_that_is_whole_in_the_cache_is_asked_of_nobody(
    endpoint: Endpoint, client: Client, commit: str
) -> None:
    first = client.python(LOAD, "hf:org/tiny@main")
    endpoint.reset()
    assert client.python(LOAD, f"hf:org/tiny@{commit}") == first
    assert endpoint.asked == []
    assert client.python(LOAD, "hf:org/tiny@main") == first
    assert [request.path.partition("?")[0] for request in endpoint.asked] == [LOOK]
    endpoint.stop()
    assert client.python(LOAD, f"hf:org/tiny@{commit}") == first
    refused = client.qdinfer("verify", "hf:org/tiny@main")
    assert refused.failed(
        1, "hf:org/tiny@main: found no answer of http://127.0.0.1", "expected a connection", "OFFLINE=1"
    )


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from qdinfer import Classifier
def label(reference):
    clf = Classifier.load(reference)
    return clf.artifact.path, clf.predict("goal")[0]
with ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(label, ["hf:org/tiny@main"] * 8))))
"""


def test_many_threads_may_load_into_one_empty_cache(client: Client, commit: str) -> None:
    done = client.python(THREADS)
    assert (done.code, done.out) == (0, "1\n"), done.err


def test_a_file_that_is_not_in_the_cache_is_brought(endpoint: Endpoint, client: Client, commit: str) -> None:
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0
    (lost,) = client.home.rglob("golden.json")
    lost.resolve().unlink()
    endpoint.reset()
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").code == 0
    assert set(asked(endpoint)) == {"golden.json"}


def test_offline_a_branch_is_what_it_was(endpoint: Endpoint, client: Client, commit: str, files: Files) -> None:
    endpoint.repository("org/tiny").branches["feature/x"] = commit
    for revision in ("main", "feature/x"):
        assert client.qdinfer("verify", f"hf:org/tiny@{revision}").code == 0
    endpoint.repository("org/tiny").commit({"student.json": b"{}"})
    endpoint.reset()
    for revision in ("main", "feature/x", commit):
        done = client.python(LOAD, f"hf:org/tiny@{revision}", HF_HUB_OFFLINE="1")
        assert done.code == 0, done.err
        assert json.loads(done.out)["path"] == f"hf:org/tiny@{commit}"
    for unknown in ("v1", "0" * 40):
        done = client.qdinfer("verify", f"hf:org/tiny@{unknown}", HF_HUB_OFFLINE="1")
        assert done.failed(
            1, f"hf:org/tiny@{unknown}: found HF_HUB_OFFLINE set, and not all in the cache; expected it unset"
        )
    assert endpoint.asked == []


def test_a_cache_without_room_for_notes_is_fine(client: Client, commit: str) -> None:
    (client.home / "hub" / "models--org--tiny").mkdir(parents=True)
    (client.home / "hub" / "models--org--tiny" / "refs").write_text("no folder")
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0


DAMAGE = """
import json, sys
from pathlib import Path
from qdinfer import Artifact, ArtifactError
reference, home, told = sys.argv[1], Path(sys.argv[2]), []
for name in ("student.json", *Artifact.open(reference).files):
    (link,) = home.rglob(name)
    blob = link.resolve()
    sound = blob.read_bytes()
    for wrong in (sound[:-1] + bytes([sound[-1] ^ 1]), sound + b" ", b""):
        blob.write_bytes(wrong)
        try:
            Artifact.open(reference)
            told.append([name, "opened", ""])
        except ArtifactError as error:
            told.append([name, error.file, str(error), str(blob)])
    blob.unlink()
    Artifact.open(reference)
print(json.dumps(told))
"""


def test_a_damaged_cache_is_found_named_and_mended(client: Client, commit: str, files: Files) -> None:
    """Also where ``student.json``, which has no hash in the student, is still one that could be read."""
    done = client.python(DAMAGE, f"hf:org/tiny@{commit}", str(client.home))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert len(told) == 3 * len(files)
    for name, file, said, blob in told:
        assert file == name
        assert f"{name}: found content that is not what the Hub has, in the cache ({blob}); expected " in said
        assert said.endswith(f"content with the hash {Path(blob).name}: delete that file, and load again")


def test_a_changed_number_in_the_cached_manifest_is_found(client: Client, commit: str) -> None:
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0
    (manifest,) = client.home.rglob("student.json")
    blob, text = manifest.resolve(), manifest.read_text()
    assert '"temperature": 1.0' in text
    blob.write_text(text.replace('"temperature": 1.0', '"temperature": 2.0'))
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").failed(2, "student.json: found content", str(blob))


def test_a_cache_without_links_is_checked_by_the_hashes_of_the_manifest(client: Client, commit: str) -> None:
    """As on file systems that have none: the client copies then."""
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0
    for link in (client.home / "hub" / "models--org--tiny" / "snapshots").rglob("*.*"):
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").code == 0
    (encoder,) = client.home.rglob("encoder.onnx")
    encoder.write_bytes(encoder.read_bytes()[::-1])
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").failed(2, "encoder.onnx: found SHA-256", "as student.json")


def test_the_limits_hold_in_the_cache_too(endpoint: Endpoint, client: Client, files: Files) -> None:
    """Whoever filled it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = client.home / "hub" / "models--org--tiny" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name, data in many(files, endpoint).items():
        (snapshot / name).write_bytes(data)
    said = "the artifact: found 47 files; expected at most 32"
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").failed(2, said)
    (snapshot / "student.json").write_bytes(b" " * 5 * 2**20)
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").failed(2, "student.json: found 5242880 bytes")
    assert endpoint.asked == []


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_files_are_read_from_the_cache(client: Client, commit: str, kind: str, tmp_path: Path) -> None:
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0
    (link,) = client.home.rglob("encoder.onnx")
    link.unlink()
    special = tmp_path / "special"
    if kind == "pipe":
        os.mkfifo(special)
    else:
        special.mkdir()
    link.symlink_to(special)
    said = f"encoder.onnx: found a folder or special file in the cache ({special}); expected a file: delete it"
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").failed(2, said)


@pytest.mark.parametrize("name", ["README.md", "encoder.onnx", "student.json"])
def test_other_bytes_than_the_hub_has_are_refused_and_not_kept_for_ever(
    endpoint: Endpoint, client: Client, commit: str, name: str
) -> None:
    path = "^/storage/" if name == "encoder.onnx" else f"/{name}$"
    endpoint.fault("wrong", method="GET", path=path)
    done = client.qdinfer("verify", "hf:org/tiny@main")
    wrong = "compiled.onnx" if name == "encoder.onnx" else name  # the first large one
    assert done.failed(2, f"{wrong}: found content that is not what the Hub has, in the cache (", "delete that file")
    blob = Path(done.err.partition("in the cache (")[2].partition(")")[0])
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").code == 2, "nothing is trusted because it was read before"
    blob.unlink()
    assert client.qdinfer("verify", f"hf:org/tiny@{commit}").code == 0


@pytest.mark.parametrize("path", ["/README.md$", "^/storage/"])
def test_a_connection_that_breaks_off_is_taken_up_again_or_said(
    endpoint: Endpoint, client: Client, commit: str, path: str
) -> None:
    endpoint.fault("cut", method="GET", path=path)
    done = client.qdinfer("verify", "hf:org/tiny@main")
    assert done.code == 0 or done.failed(1, "found no answer of http://127.0.0.1:"), "old clients do not go on"
    assert endpoint.faults.rules[0].spent
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0


FULL = """
import resource, sys
from qdinfer.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
sys.exit(main())
"""


def test_a_full_disk_is_said_and_leaves_a_cache_that_can_be_used(client: Client, commit: str) -> None:
    done = client.python(FULL, "verify", "hf:org/tiny@main")
    said = f"hf:org/tiny@main: found that {client.home / 'hub'} cannot be used (File too large); expected a cache that"
    assert done.failed(1, said, "HF_HOME says where it is")
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0


def test_a_cache_that_cannot_be_made_is_said(client: Client, commit: str) -> None:
    client.home.write_text("no folder")
    said = f"found that {client.home}/token cannot be used (Not a directory)"
    assert client.qdinfer("verify", "hf:org/tiny@main").failed(1, said)


def large(files: Files, endpoint: Endpoint) -> Files:
    return {**files, "student.json": b" " * 5 * 2**20}


def without(name: str) -> Callable[[Files, Endpoint], Files]:
    return lambda files, _: {other: data for other, data in files.items() if other != name}


def many(files: Files, _: Endpoint) -> Files:
    manifest = json.loads(files["student.json"])
    data = b"more"
    more = {f"more{number}.txt": data for number in range(40)}
    record = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["files"] |= dict.fromkeys(more, record)
    return {**files, **more, "student.json": json.dumps(manifest).encode()}


def edited(files: Files, _: Endpoint) -> Files:
    return {**files, "README.md": b"# changed on the web"}


def altered(files: Files, _: Endpoint) -> Files:
    return {**files, "README.md": files["README.md"][::-1]}


def escaping(files: Files, _: Endpoint) -> Files:
    manifest = json.loads(files["student.json"])
    manifest["files"]["../../secret"] = manifest["files"]["README.md"]
    return {**files, "student.json": json.dumps(manifest).encode()}


def itself(files: Files, _: Endpoint) -> Files:
    manifest = json.loads(files["student.json"])
    manifest["files"]["student.json"] = {"size": 0, "sha256": "0" * 64}
    data = json.dumps(manifest).encode()
    return {**files, "student.json": data}


def zipped(files: Files, _: Endpoint) -> Files:
    return {"tiny.zip": b"PK", "sub/student.json": files["student.json"]}


BROKEN: list[tuple[Callable[[Files, Endpoint], Files], set[str], list[str]]] = [
    (large, set(), ["student.json: found 5242880 bytes; expected at most 4194304"]),
    (without("student.json"), set(), ["hf:org/tiny@", "found no student.json at its top", "`qdistill push`"]),
    (zipped, set(), ["found no student.json at its top; expected a student, as `qdistill push` publishes one"]),
    (without("golden.json"), {"student.json"}, ["golden.json: found no such file in hf:org/tiny@"]),
    (many, {"student.json"}, ["the artifact: found 47 files; expected at most 32"]),
    (edited, {"student.json"}, ["README.md: found 20 bytes in hf:org/tiny@", "as student.json lists it"]),
    (escaping, {"student.json"}, ["student.json: found files", "../../secret"]),
    (itself, {"student.json"}, ["student.json: found ", "expected 0 bytes"]),
]


@pytest.mark.parametrize(("breaks", "fetched", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_repository_without_a_sound_student_is_refused_before_its_files_are_fetched(
    endpoint: Endpoint,
    client: Client,
    files: Files,
    breaks: Callable[[Files, Endpoint], Files],
    fetched: set[str],
    said: list[str],
) -> None:
    endpoint.repository("org/tiny").commit(breaks(files, endpoint))
    assert client.qdinfer("verify", "hf:org/tiny@main").failed(2, *said)
    assert set(asked(endpoint)) == fetched


def test_the_hashes_of_the_manifest_hold_for_what_the_hub_has(endpoint: Endpoint, client: Client, files: Files) -> None:
    endpoint.repository("org/tiny").commit(altered(files, endpoint))
    assert client.qdinfer("verify", "hf:org/tiny@main").failed(
        2, "README.md: found SHA-256", "as student.json lists it"
    )
