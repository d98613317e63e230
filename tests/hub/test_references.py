"""What names a student on the Hub, and what never leads to the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qdinfer import Artifact, Classifier, InputError
from qdinfer.hub import Reference

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("revision", ["main", "v1", "v1.0-rc+2", "refs/pr/3", "feature/x_y", COMMIT, "a" * 200])
@pytest.mark.parametrize("repository", ["org/name", "O-r_g.1/n.a-m_e", "a/b", "_a/b_"])
def test_reference_says_what_it_was_read_from(repository: str, revision: str) -> None:
    reference = Reference.parse(f"hf:{repository}@{revision}")
    assert (reference.repository, reference.revision) == (repository, revision)
    assert str(reference) == f"hf:{repository}@{revision}"
    assert reference.is_commit == (revision == COMMIT)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "name",
            "/name",
            "org/",
            "a/b/c",
            "../name",
            "org/..",
            "org/a..b",
            "org/a--b",
            "org/-a",
            "org/a-",
            ".o/a",
        ),
        *("org/a b", "org/a\n", " org/a", "//org/name", "org/ä", "org\\name", "org/%2e%2e", "o" * 60 + "/" + "n" * 60),
    ],
)
def test_what_is_no_repository_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="found the repository .*; expected ORG/NAME"):
        Reference.parse(f"hf:{name}@main")


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "main\n", "..", "a..b", "../main", "/main", "main/", "a//b", ".hidden", "a/.b", "-x", "a."),
        *("a./b", "a.lock", "a.lock/b", "a@b", "a~1", "a^", "a:b", "a?b", "a*", "a[b", "a\\b", "a%2fb", "ä", "a\x00b"),
        "a" * 201,
    ],
)
def test_what_is_no_revision_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="found the revision .*; expected a branch, a tag or a commit"):
        Reference.parse(f"hf:org/name@{name}")


def test_a_revision_must_be_named_and_the_message_says_how() -> None:
    with pytest.raises(InputError) as caught:
        Artifact.open("hf:org/name")
    assert str(caught.value) == (
        "hf:org/name: found no revision; expected hf:ORG/NAME@REVISION: a tag, a branch as in hf:org/name@main, or "
        "best the full commit, which nobody can change: "
        "`qdinfer inspect hf:org/name@main` prints the commit of a branch"
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_reference_or_bad_input(repository: str, revision: str) -> None:
    text = f"hf:{repository}@{revision}"
    try:
        reference = Reference.parse(text)
    except InputError:
        return
    assert str(reference) == text
    for part in (*reference.repository.split("/"), *reference.revision.split("/")):
        assert part not in ("", ".", "..")
        assert part.isascii()
        assert part.isprintable()
        assert not set(part) & set(' \\:*?"<>|%#&')


GUARD = """
import json, os, sys
network = []
def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.client.")):
        network.append(event)
sys.addaudithook(hook)
os.chdir(sys.argv[1])
from qdinfer import Artifact, Classifier, verify
from qdinfer.cli import main
from pathlib import Path
failed = []
for name in json.loads(sys.argv[2]):
    for path in (name, Path(name)):
        try:
            Classifier.load(path)
        except FileNotFoundError:
            failed.append(name)
    code = main(["predict", name, "sun"])
    assert code == 2, code
print(Classifier.load("tiny").predict("sun"), Classifier.load(Path("hf:org/tiny@main")).predict("sun"))
print(Classifier.load("./hf:org/tiny@main").predict("sun"), verify("tiny").ok, main(["inspect", "tiny"]))
print(json.dumps([failed, network, [name for name in sys.modules if name.startswith(("huggingface", "qdinfer.hub"))]]))
"""


def test_a_path_never_opens_a_socket_nor_imports_the_client(student: Artifact, tmp_path: Path) -> None:
    """Not even one that looks like a name on the Hub, and names nothing."""
    student.save(tmp_path / "tiny")
    (tmp_path / "hf:org").mkdir()
    student.save(tmp_path / "hf:org" / "tiny@main")
    names = ["org/name", "org/name@main", f"org/name@{COMMIT}", "bert-base-uncased", "HF:org/name@main", " hf:a/b@main"]
    names += ["hf/org/name", "./hf:org/name@main", "https://huggingface.co/org/name", "models/org/name"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", GUARD, str(tmp_path), json.dumps(names)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    failed, network, imported = json.loads(done.stdout.splitlines()[-1])
    assert failed == [name for name in names for _ in range(2)]
    assert network == []
    assert imported == []
    assert done.stderr.count("found nothing there; expected a student's folder or .zip") == len(names)


def test_a_path_object_is_a_path_and_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="hf:org/name@main: found nothing there"):
        Classifier.load(Path("hf:org/name@main"))
