"""What the README and the docs say is run, and what is generated is up to date."""

from __future__ import annotations

import argparse
import importlib.util
import json
import operator
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from ibm_standin import StandIn
from msgspec import inspect

import qdinfer
from benchmarks.report import page
from benchmarks.results import read_results as read_benchmarks
from qdinfer import Artifact
from qdinfer.cli.durable import journal_options
from qdinfer.cli.options import device_options
from qdinfer.manifest import Golden, Manifest
from qdinfer.runs import journal
from qdistill.compare.measurement import read_results
from qdistill.compare.report import Comparison
from qdistill.names import TITLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
ELSEWHERE = (
    "make ",
    "pip install",
    "qdistill train topic_train.csv",
    "qdistill label topic_train.csv",
    "qdistill compare topic_train.csv",
    "qdinfer evaluate exported_models/topic --input topic_test.csv",
    "qdinfer evaluate hardy --input topic_test.csv",
    "uvicorn ",
    "jupyter ",
    "python examples/serverless/",
)
"""Commands that other tests run, or that need data which are not in the repository."""

NOISE = ("ignore:::mlflow.types.type_hints", "ignore:::mlflow.models.utils")
"""Warnings of MLflow's own. Any other is an error."""

DEVICE, STAND_IN = "ibm_fez", "fake_fez"
"""A device of IBM's, as the documents name one, and the one that is put in its place in every block here: the stand-in
of IBM's service has no other."""


ADDRESS = "127.0.0.1:8000"
"""Of servers, as the documents name it; the tests use a port that is free."""

SLOW = ("distill.md", "integrations.md", "tutorial.md", "twin.md")
"""Pages that take over five seconds. So do all that name a device of IBM's."""


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language and code of what is to be run, in the page's order."""
    return re.findall(r"```(python|sh)\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the documents' commands see, in a folder that they may write to."""
    for name in ("exported_models", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def pages() -> list[object]:
    found = [path for path in DOCUMENTS if blocks(path)]
    slow = [path for path in found if DEVICE in path.read_text() or path.name in SLOW]
    return [
        pytest.param(path, id=str(path.relative_to(ROOT)), marks=[pytest.mark.slow] * (path in slow)) for path in found
    ]


@pytest.mark.parametrize("path", pages())
def test_page_can_be_followed(path: Path, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All its blocks run, one after the other in one folder, as a reader would."""
    with StandIn(tmp_path_factory.mktemp("stand-in")) as server, Background(checkout) as background:
        environment = {**os.environ, **server.environment()}
        for language, code in blocks(path):
            run = run_python if language == "python" else run_shell
            adapted = code.replace(DEVICE, STAND_IN).replace(ADDRESS, f"127.0.0.1:{background.port}")
            run(background.started(adapted), checkout, environment)
        assert bool(server.jobs()) == (DEVICE in path.read_text())


class Background:
    """Servers that a page starts with a line ending in ``&``. They listen on a port that is free here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            assert process.wait(30) == 0

    def started(self, code: str) -> str:
        """The lines that are left when those have been started, and answer."""
        for line in code.splitlines():
            if line.endswith(" &"):
                command = [sys.executable, "-m", *shlex.split(line.removesuffix(" &")), "--port", str(self.port)]
                self._processes.append(subprocess.Popen(command, cwd=self._folder, stderr=subprocess.DEVNULL))
                self._wait()
        return "".join(f"{line}\n" for line in code.splitlines() if not line.endswith(" &"))

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "no server within a minute"
                time.sleep(0.05)


def run_python(code: str, folder: Path, environment: dict[str, str]) -> None:
    quiet = [word for warning in NOISE for word in ("-W", warning)]
    command = [sys.executable, "-W", "error", *quiet, "-c", code]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{code}: {result.stderr}"
    for printed in re.findall(r"print\(.*\)  # (.*)", code):
        assert printed in result.stdout


def run_shell(code: str, folder: Path, environment: dict[str, str]) -> None:
    for line in code.replace("\\\n", "").splitlines():
        if line.startswith(ELSEWHERE) or not line.strip():
            continue
        command = shlex.split(line, comments=True)
        assert command[0] in ("qdinfer", "qdistill", "python"), f"{line} is run by no test"
        command = [sys.executable, *command[1:]] if command[0] == "python" else [sys.executable, "-m", *command]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
        assert result.returncode == 0, f"{line}: {result.stderr}"


def test_make_demo_prints_every_headline(checkout: Path) -> None:
    result = subprocess.run([sys.executable, "examples/demo.py"], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = result.stdout.splitlines()
    assert len(rows) == len((ROOT / "examples" / "headlines.csv").read_text().splitlines()) - 1
    assert all(re.match(r"(business|sci_tech|sport|world) +\d+%   \S", row) for row in rows)


def test_schemas_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("make_schema", ROOT / "docs" / "make_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, model in module.SCHEMAS.items():
        assert json.loads((ROOT / "docs" / name).read_text()) == json.loads(module.schema(model)), (
            "run docs/make_schema.py"
        )


def test_patterns_of_the_schemas_mean_the_same_in_every_language() -> None:
    # JSON Schema's are those of ECMA-262, which has no \A, \Z, (?P<…>) or (?s); there, \d and \w are ASCII alone.
    texts = [path.read_text() for path in sorted((ROOT / "docs").glob("*.schema.json"))]
    patterns = {json.loads(found) for text in texts for found in re.findall(r'"pattern": (".*")', text)}
    assert len(patterns) == 6
    for pattern in patterns:
        assert not re.search(r"\\[AZzdDwWsSbB]|\(\?(?![:=!])", pattern)
        assert pattern.startswith("^")
        assert pattern.endswith(r"$(?!\n)"), "Python's $ alone would admit a final newline"


def test_format_page_has_every_field_of_the_manifest() -> None:
    page = (ROOT / "docs" / "format.md").read_text()

    def fields(kind: inspect.Type, name: str) -> list[str]:
        match kind:
            case inspect.Metadata():
                return fields(kind.type, name)
            case inspect.UnionType():
                return [inner for part in kind.types for inner in fields(part, name)]
            case inspect.StructType():
                return [inner for field in kind.fields for inner in fields(field.type, f"{name}.{field.name}")]
            case inspect.DictType(value_type=inspect.StructType()):
                return [name, *fields(kind.value_type, f"{name}.*")]
        return [name]

    names = [name[1:] for model in (Manifest, Golden) for name in fields(inspect.type_info(model), "")]
    assert {"name", "compiled.checked", "files", "files.*.size", "tolerance.angles"} <= set(names)
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("folder", sorted((ROOT / "docs" / "comparison").iterdir()), ids=lambda path: path.name)
def test_comparison_pages_are_of_their_results(folder: Path) -> None:
    results = read_results(folder / "results.json").values()
    found = {name: [each for each in results if each.contender == name] for name in TITLES}
    comparison = Comparison.of({name: some for name, some in found.items() if some})
    page, overview = (folder / "comparison.md").read_text(), (ROOT / "docs" / "comparison.md").read_text()
    assert comparison.verdict() in page
    assert comparison.verdict() in overview
    for row in comparison.rows:
        assert "| " + " | ".join(row.to_cells()) + " |" in page
        assert row.to_cells()[1] in overview
    assert len(found["student"]) >= 3
    metrics = Artifact.open(ROOT / "exported_models" / folder.name).manifest.provenance.metrics
    assert comparison.to_metrics().items() <= metrics.items(), "the card's numbers are these"


def test_benchmarks_page_is_of_its_results() -> None:
    results = read_benchmarks(ROOT / "docs" / "benchmarks" / "results.json")
    assert (ROOT / "docs" / "benchmarks.md").read_text() == page(results), "run `python -m benchmarks`"
    for name in re.findall(r"\(benchmarks/(\w+\.png)\)", page(results)):
        assert (ROOT / "docs" / "benchmarks" / name).is_file()


def test_ibm_page_has_every_option_of_a_run() -> None:
    page = (ROOT / "docs" / "ibm.md").read_text()
    parser = argparse.ArgumentParser(add_help=False)
    device_options(parser)
    journal_options(parser)
    options = [action.option_strings[-1] for action in parser._actions]
    assert {"--shots", "--journal", "--grace"} <= set(options)
    assert [option for option in options if option not in page] == []


def test_journal_page_has_every_table_and_column() -> None:
    page = (ROOT / "docs" / "journal.md").read_text()
    with sqlite3.connect(":memory:") as database:
        database.executescript(journal._TABLES)
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in tables}
    database.close()
    assert tables == ["run", "chunk", "job", "result"]
    for table, names in columns.items():
        (row,) = re.findall(rf"^\| `{table}` \|.*$", page, re.MULTILINE)
        assert [name for name in names if f"`{name}`" not in row] == ["seal"]
    assert "Every table has a column `seal`" in page
    assert f"format {journal.FORMAT}." in page


def test_landing_page_has_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = re.findall(r"^\| (`[^|]*`) \|", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z]+)`", row)}
    assert named == {*project["optional-dependencies"]} - {"all", "bench", "dev", "docs"}


def linked() -> list[Path]:
    """All pages whose links are followed, those of the site and of the repository."""
    others = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "exported_models").rglob("README.md"))]
    return [*DOCUMENTS, *others]


@pytest.mark.parametrize("path", linked(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\(([^()#\s]*)#?([^()\s]*)\)", prose):
        if "://" not in target:
            page = path.parent / target if target else path
            assert page.exists(), f"{target} is nowhere"
            assert not anchor or anchor in anchors(page), f"{target} has no #{anchor}"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them, and of the Python names that only the site describes there."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        owner = operator.attrgetter(name.removeprefix("qdinfer."))(qdinfer)
        found |= {name} | {f"{name}.{member}" for member in dir(owner)}
    return found
