"""Students put on the Hub: in one commit, the whole or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_endpoint import Client, Endpoint
from msgspec.structs import replace

from qdinfer import Artifact, Classifier
from qdinfer.manifest import Golden

ROOT = Path(__file__).parents[2]
FOLDED = ROOT / "exported_models" / "topic-folded"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
SENT = {"PUT", "POST"}

LOAD = """
import json, sys
from qdinfer import Classifier
clf = Classifier.load(sys.argv[1])
print(json.dumps([clf.artifact.sha256, clf.predict_proba(json.loads(sys.argv[2])).tolist()]))
"""


def variant(student: Artifact, name: str, *without: str) -> Artifact:
    """Another student: of another name, and without some files."""
    files = {file: data for file, data in student.files.items() if file not in without}
    files["README.md"] = b"# another"
    compiled = student.manifest.compiled if "compiled.onnx" in files else None
    return Artifact.create(replace(student.manifest, name=name, compiled=compiled), files)


def sent(endpoint: Endpoint) -> list[str]:
    """What was asked to change something."""
    return [request.path.rpartition("?")[0] or request.path for request in endpoint.asked if request.method in SENT]


def test_what_is_pushed_is_loaded_in_another_place(
    endpoint: Endpoint, client: Client, new_client: Callable[[], Client]
) -> None:
    """A fresh interpreter, an empty cache: the same student, the same answers."""
    done = client.qdistill("push", str(FOLDED), "org/folded")
    assert done.code == 0, done.err
    repository = endpoint.repository("org/folded")
    assert done.out == f"hf:org/folded@{repository.head.sha}\n"
    assert len(repository.commits) == 2, "the repository's first, and one"
    assert repository.head.files.keys() == {".gitattributes", *(path.name for path in FOLDED.iterdir())}
    texts = ["Late header sends the home side through", "Central bank keeps rates", ""]
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD, done.out.strip(), json.dumps(texts)],
        env=new_client().environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert loaded.returncode == 0, loaded.stderr
    here = Classifier.load(FOLDED)
    assert json.loads(loaded.stdout) == [here.artifact.sha256, here.predict_proba(texts).tolist()]


def test_the_same_again_changes_nothing(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    first = client.qdistill("push", str(student_path), "org/tiny")
    assert first.code == 0, first.err
    assert first.err == (
        "qdistill: README.md, circuit.qasm, compiled.onnx, encoder.onnx, golden.json, student.json, tokenizer.json "
        "changed\n"
    )
    endpoint.reset()
    again = client.qdistill("push", str(student_path), "org/tiny")
    assert (again.code, again.out, again.err) == (0, first.out, "qdistill: nothing changed\n")
    assert sent(endpoint) == ["/api/repos/create"]
    assert len(endpoint.repository("org/tiny").commits) == 2


def test_another_student_takes_the_place_and_leaves_what_is_not_a_students(
    endpoint: Endpoint, client: Client, student: Artifact, tmp_path: Path
) -> None:
    repository = endpoint.repository("org/tiny")
    strange = {"LICENSE": b"free", "pictures/a.png": b"png", "data.bin": b"bin"}
    repository.commit({**strange, "fused.onnx": b"of older times"})
    student.save(tmp_path / "first.zip")
    assert client.qdistill("push", str(tmp_path / "first.zip"), "org/tiny").code == 0
    first = repository.head
    other = variant(student, "other", "compiled.onnx")
    other.save(tmp_path / "other")
    done = client.qdistill("push", str(tmp_path / "other"), "org/tiny", "--message", "Smaller")
    assert done.code == 0, done.err
    assert "qdistill: README.md, compiled.onnx, student.json changed\n" in done.err
    assert (repository.head.parent, repository.head.message) == (first.sha, "Smaller")
    assert first.message == f"tiny, sha256 {student.sha256}"
    assert repository.head.files.keys() == {".gitattributes", *strange, "student.json", *other.files}
    assert strange.items() <= repository.head.files.items()
    assert "tiny on exact" in client.qdinfer("verify", f"hf:org/tiny@{first.sha}").out, "what was there stays"


def test_a_student_of_the_hub_can_be_pushed_elsewhere(endpoint: Endpoint, client: Client, commit: str) -> None:
    done = client.qdistill("push", "hf:org/tiny@main", "other/copy")
    assert done.code == 0, done.err
    files = dict(endpoint.repository("org/tiny").commits[commit].files)
    assert endpoint.repository("other/copy").head.files == files


def test_a_tag_is_made_once_and_never_moved(
    endpoint: Endpoint, client: Client, student: Artifact, student_path: Path, tmp_path: Path
) -> None:
    repository = endpoint.repository("org/tiny")
    for _ in range(2):
        assert client.qdistill("push", str(student_path), "org/tiny", "--tag", "v1").code == 0
    assert repository.tags == {"v1": repository.head.sha}
    assert client.qdistill("push", str(student_path), "org/tiny", "--tag", "also/v1").code == 0
    head, tags = repository.head, dict(repository.tags)
    assert tags == {"v1": head.sha, "also/v1": head.sha}
    variant(student, "other").save(tmp_path / "other")
    endpoint.reset()
    done = client.qdistill("push", str(tmp_path / "other"), "org/tiny", "--tag", "v1")
    assert done.failed(2, f"--tag v1: found it at commit {head.sha}; expected a new name: a tag stays where it is")
    assert sent(endpoint) == ["/api/repos/create"]
    assert (repository.head, repository.tags) == (head, tags)


def test_a_branch_is_made_where_main_is(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    repository = endpoint.repository("org/tiny")
    main = repository.commit({"LICENSE": b"free"})
    done = client.qdistill("push", str(student_path), "org/tiny", "--revision", "feature/x")
    assert done.code == 0, done.err
    made = repository.branches["feature/x"]
    assert done.out == f"hf:org/tiny@{made}\n"
    assert repository.head.sha == main
    assert repository.commits[made].parent == main
    assert client.qdinfer("verify", "hf:org/tiny@feature/x").code == 0


def test_private_is_private(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    assert client.qdistill("push", str(student_path), "org/secret", "--private").code == 0
    assert endpoint.repository("org/secret").private
    assert client.qdinfer("verify", "hf:org/secret@main").code == 2
    assert client.qdistill("push", str(student_path), "org/secret", "--private").err == "qdistill: nothing changed\n"
    repository = endpoint.repository("org/open")
    done = client.qdistill("push", str(student_path), "org/open", "--private", "--revision", "new")
    assert done.failed(
        2, "hf:org/open@new: found a public repository; expected a private one: make it so in its settings"
    )
    assert (len(repository.commits), set(repository.branches)) == (1, {"main"})


def test_a_student_whose_golden_cases_do_not_hold_is_not_pushed(
    endpoint: Endpoint, client: Client, student: Artifact, tmp_path: Path
) -> None:
    golden: Golden = student.golden
    wrong = replace(golden, expectations=[[value + 0.1 for value in row] for row in golden.expectations])
    Artifact.create(student.manifest, {**student.files, "golden.json": wrong.to_json()}).save(tmp_path / "drifting")
    done = client.qdistill("push", str(tmp_path / "drifting"), "org/tiny")
    assert done.failed(
        2, "compiled.onnx: found that the circuit stage drifts by 0.1", "`qdinfer verify` has all stages"
    )
    assert endpoint.asked == []


def test_what_is_no_student_is_not_pushed(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    assert client.qdistill("push", str(student_path.parent / "nothing"), "org/tiny").failed(2, "found nothing there")
    (student_path / "README.md").write_text("altered")
    assert client.qdistill("push", str(student_path), "org/tiny").failed(2, "README.md: found 7 bytes")
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny"], "tiny: found the repository 'tiny'; expected ORG/NAME"),
        (["hf:org/tiny"], "hf:org/tiny: found the repository 'hf:org/tiny'; expected ORG/NAME"),
        (["org/tiny", "--revision", "a b"], "found the revision 'a b'; expected a branch"),
        (["org/tiny", "--revision", "a" * 40], "found a commit; expected a branch, which can move on"),
        (["org/tiny", "--tag", "../v1"], "--tag ../v1: found the revision '../v1'; expected a branch, a tag"),
    ],
)
def test_names_are_checked_before_anything_is_asked(
    endpoint: Endpoint, client: Client, student_path: Path, arguments: list[str], said: str
) -> None:
    assert client.qdistill("push", str(student_path), *arguments).failed(2, said)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("repository", "token", "said"),
    [
        ("org/new", "", "found status 401 (Invalid username or password.)"),
        ("org/new", "hf_thisIsNone", "found status 401 (Invalid credentials in Authorization header)"),
        ("forbidden/new", None, "found status 403 (You don't have the rights to create a model under the namespace"),
        ("org/there", "", "found status 401 (Invalid username or password.)"),
    ],
)
def test_who_may_not_is_told_to_log_in(
    endpoint: Endpoint, client: Client, student_path: Path, repository: str, token: str | None, said: str
) -> None:
    endpoint.repository("org/there")
    login = {} if token is None else {"HF_TOKEN": token}
    done = client.qdistill("push", str(student_path), repository, **login)
    assert done.failed(1, f"hf:{repository}@main: {said}", LOGIN)
    assert endpoint.routes.repositories.keys() == {"org/there"}
    assert len(endpoint.repository("org/there").commits) == 1


def test_somebody_else_was_faster(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    """Between the look at the branch and the commit: neither is lost, nothing is mixed."""
    repository = endpoint.repository("org/tiny")
    endpoint.fault("meanwhile", method="PUT", action=lambda: repository.commit({"theirs": b"x"}))
    done = client.qdistill("push", str(student_path), "org/tiny")
    assert done.failed(1, "hf:org/tiny@main: found that the branch moved meanwhile", "try again")
    assert repository.head.files.keys() == {".gitattributes", "theirs"}
    assert client.qdistill("push", str(student_path), "org/tiny").code == 0
    assert repository.head.files.keys() >= {"theirs", "student.json"}


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("status", "/storage/", "found status 403 ("),
        ("status", "/commit/", "found status 403 ("),
        ("drop", "/commit/", "found no answer of http://127.0.0.1:"),
        ("status", "/validate-yaml$", "found status 403 ("),
        ("content", "/preupload/", "found an answer of http://127.0.0.1:"),
        ("content", "/refs$", "found an answer of http://127.0.0.1:"),
    ],
)
def test_a_push_that_fails_leaves_the_branch_as_it_was(
    endpoint: Endpoint, client: Client, student_path: Path, kind: str, path: str, said: str
) -> None:
    endpoint.fault(kind, path=path, status=403, body=b"{}", count=None)
    assert client.qdistill("push", str(student_path), "org/tiny").failed(1, f"hf:org/tiny@main: {said}")
    assert len(endpoint.repository("org/tiny").commits) == 1
    endpoint.reset()
    assert client.qdistill("push", str(student_path), "org/tiny").code == 0
    assert client.qdinfer("verify", "hf:org/tiny@main").code == 0


def test_a_push_that_is_interrupted_leaves_the_branch_as_it_was(
    endpoint: Endpoint, client: Client, student_path: Path
) -> None:
    """Ctrl-C while a large file is sent. Of several, which are sent at a time, the client waits for all."""
    compiled = (student_path / "compiled.onnx").read_bytes()
    endpoint.routes.objects[hashlib.sha256(compiled).hexdigest()] = compiled
    endpoint.fault("stall", method="PUT", count=None)
    command = "import sys; from qdistill.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "push", str(student_path), "org/tiny"],
        env={**client.environment, "HF_TOKEN": endpoint.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not any(request.storage for request in endpoint.asked) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, ""), err
    assert err.strip().endswith("qdistill: interrupted")
    assert len(endpoint.repository("org/tiny").commits) == 1
    endpoint.reset()
    assert client.qdistill("push", str(student_path), "org/tiny").code == 0


def test_a_file_that_the_repository_swallows_is_said(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    """The client leaves out what the repository's .gitignore names, without a word."""
    endpoint.repository("org/tiny").commit({".gitignore": b"encoder.onnx\n"})
    done = client.qdistill("push", str(student_path), "org/tiny")
    assert done.failed(1, "found that the Hub left encoder.onnx as it was; expected all files", ".gitignore name it?")


def test_xet_where_there_is_none(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    """The newest client does not ask whether there is one; those before do."""
    done = client.qdistill("push", str(student_path), "org/tiny", HF_HUB_DISABLE_XET="0")
    if int(client.python("import huggingface_hub as hub; print(hub.__version__)").out.partition(".")[0]) < 2:
        assert done.code == 0, done.err
    else:
        assert done.failed(
            1, "found a failure of Xet, the newer store of large files (", "set HF_HUB_DISABLE_XET=1 where"
        )


def test_the_hub_finds_its_metadata_in_the_card(client: Client, student_path: Path) -> None:
    """Nothing is noted of a card that has them; read by the client's own reader, they are these."""
    read = "import sys, huggingface_hub as hub; print(hub.ModelCard.load(sys.argv[1]).data.to_dict())"
    told = client.python(read, str(student_path / "README.md"))
    assert (
        told.out
        == str(
            {
                "library_name": "qdinfer",
                "license": "apache-2.0",
                "pipeline_tag": "text-classification",
                "tags": ["quantum", "quantum-machine-learning"],
            }
        )
        + "\n"
    ), told.err
    assert "note" not in client.qdistill("push", str(student_path), "org/tiny").err


def test_a_card_without_metadata_is_pushed_as_it_is_and_noted(
    endpoint: Endpoint, client: Client, student: Artifact, tmp_path: Path
) -> None:
    variant(student, "plain").save(tmp_path / "plain")
    done = client.qdistill("push", str(tmp_path / "plain"), "org/plain")
    assert done.code == 0
    assert "qdistill: note: " in done.err
    assert "empty or missing yaml metadata" in done.err
    assert endpoint.repository("org/plain").head.files["README.md"] == b"# another"


def test_metadata_that_the_hub_refuses_are_said(
    endpoint: Endpoint, client: Client, student: Artifact, tmp_path: Path
) -> None:
    files = {**student.files, "README.md": b"---\nlicense: Mine\n---\n# tiny\n"}
    Artifact.create(student.manifest, files).save(tmp_path / "tiny")
    done = client.qdistill("push", str(tmp_path / "tiny"), "org/tiny")
    assert done.failed(
        1, "hf:org/tiny@main: found a refusal (Invalid metadata in README.md.", '"license" must be one of'
    )
    assert len(endpoint.repository("org/tiny").commits) == 1


BARE = """
import sys
NEEDED = {"numpy", "msgspec", "onnxruntime", "tokenizers", "tqdm", "huggingface_hub"}
BLOCKED = {"pydantic", "jax", "torch", "transformers", "optax", "onnx", "qiskit", "qiskit_aer", "sklearn", "matplotlib"}
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from qdistill.cli import main
sys.exit(main())
"""


def test_the_extra_hub_is_enough(endpoint: Endpoint, client: Client, student_path: Path) -> None:
    done = client.python(BARE, "push", str(student_path), "org/tiny", HF_TOKEN=endpoint.token)
    assert done.code == 0, done.err
    help = client.python(BARE, "push", "--help")
    assert help.code == 0
    assert 'pip install "qdinfer[hub]"' in help.out
    others = client.python(BARE, "train", "--help")
    assert others.failed(1, 'qdistill needs an optional part: pip install "qdinfer[distill]"')


def test_push_is_among_the_commands(client: Client) -> None:
    assert "push" in client.qdistill("--help").out
    assert os.linesep + "  qdistill push STUDENT ORG/NAME" in client.qdistill("push", "--help").out
