"""What docs/hub.md says, followed on the endpoint."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from hub_endpoint import Client, Endpoint

from qdinfer import Artifact

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hub.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_can_be_followed(
    endpoint: Endpoint, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command, and the program, in the page's order, with students of the repository on the Hub."""
    (tmp_path / "exported_models").symlink_to(ROOT / "exported_models")
    published = Artifact.open(ROOT / "exported_models" / "topic")
    repository = endpoint.repository("acme/topic")
    commit = repository.commit({"student.json": published.manifest.to_json(), **published.files})
    repository.tags["v1"] = commit
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(line.removeprefix("$ "))
        environment = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
        program, *arguments = words[len(environment) :]
        if program == "hf":  # the client's own login, which asks huggingface.co
            continue
        run = {"qdinfer": client.qdinfer, "qdistill": client.qdistill}[program]
        monkeypatch.chdir(tmp_path)
        done = run(*arguments, **environment)
        assert done.code == 0, f"{line}: {done.err}"
        if program == "qdistill" and "acme/topic" in arguments:
            assert done.out == f"hf:acme/topic@{commit}\n"
    assert endpoint.repository("acme/mood").private
    (program,) = blocks("text")
    done = client.python(program)
    assert done.code == 0, done.err
    assert done.out == f"['sport']\nhf:acme/topic@{commit}\n"
    assert f"  hf:acme/topic@{commit}\n" in client.qdinfer("inspect", "hf:acme/topic@main").out
