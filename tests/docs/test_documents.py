"""What the README and the docs say is run, and what is generated is up to date."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import inspect

from benchmarks.report import page
from benchmarks.results import read_results as read_benchmarks
from qdinfer import Artifact
from qdinfer.manifest import Golden, Manifest
from qdistill.compare.measurement import read_results
from qdistill.compare.report import Comparison
from qdistill.names import TITLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = (
    "make ",
    "pip install",
    "qdistill train topic_train.csv",
    "qdistill label topic_train.csv",
    "qdistill compare topic_train.csv",
    "qdinfer evaluate",
)
"""Commands that other tests run, or that need data which are not in the repository."""


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{path.name}-{i}", code)
        for path in DOCUMENTS
        for i, code in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL))
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the documents' commands see, in a folder that they may write to."""
    for name in ("exported_models", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=[name for name, _ in blocks("python")])
def test_python_block_runs(name: str, code: str, checkout: Path) -> None:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, f"{name}: {result.stderr}"
    for printed in re.findall(r"print\(.*\)  # (.*)", code):
        assert printed in result.stdout


@pytest.mark.parametrize(("name", "code"), blocks("sh"), ids=[name for name, _ in blocks("sh")])
def test_shell_block_runs(name: str, code: str, checkout: Path) -> None:
    for line in code.replace("\\\n", "").splitlines():
        if line.startswith(ELSEWHERE) or not line.strip():
            continue
        command = shlex.split(line, comments=True)
        assert command[0] == "qdinfer", f"{name}: {line} is run by no test"
        result = subprocess.run(
            [sys.executable, "-m", *command], cwd=checkout, capture_output=True, text=True, timeout=120
        )
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


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
