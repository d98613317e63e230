"""The documentation site: it is built, all of its links lead somewhere, and it loads nothing from elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

import qdinfer
import qdinfer.cli
import qdistill.cli

ROOT = Path(__file__).parents[2]
LOADED = {("link", "href"), ("image", "href"), ("use", "href")}
"""What a browser fetches by itself, beside every ``src``, ``srcset``, ``poster`` and ``data``."""


class Page(HTMLParser):
    """One page: its anchors, what it links to, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("src", "srcset", "poster", "data") or (tag, name) in LOADED:
                self.loaded.append(value or "")
            elif name in ("href", "action"):
                self.links.append(value or "")
            elif name == "style":
                self.loaded += styled(value or "")


def styled(css: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", css)
    return [url or imported for url, imported in found]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def place(page: Path, link: str, site: Path) -> tuple[Path, str]:
    """The file and the anchor that a link on a page means."""
    url = urlsplit(urljoin(f"/{page.relative_to(site)}", link))
    return site / unquote(url.path).lstrip("/"), unquote(url.fragment)


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    followed = 0
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            if urlsplit(link).scheme in ("http", "https", "mailto", "data"):
                continue
            file, anchor = place(path, link, site)
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (file in pages and anchor not in pages[file].anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
            followed += 1
    assert broken == []
    assert followed > 1000


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loaded = {str(path): page.loaded for path, page in pages.items()}
    loaded |= {str(path): styled(path.read_text("utf-8")) for path in site.rglob("*.css")}
    assert sum(map(len, loaded.values())) > 100
    elsewhere = [(name, url) for name, urls in loaded.items() for url in urls if re.match(r"\w+://|//", url)]
    assert elsewhere == []
    # What Material's script would fetch from elsewhere: diagrams, and the figures of a repository.
    text = "".join(path.read_text("utf-8") for path in pages)
    assert 'class="mermaid"' not in text
    assert 'data-md-component="source"' not in text


def test_search_needs_no_network(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    assert any("AdaptiveBackend" in entry["title"] for entry in index["docs"])


def test_every_public_name_is_described(site: Path, pages: dict[Path, Page]) -> None:
    described = set.union(*(page.anchors for path, page in pages.items() if path.parent == site / "reference"))
    assert [name for name in qdinfer.__all__ if f"qdinfer.{name}" not in described] == []


def test_every_command_is_described(site: Path) -> None:
    for name, parser in (("qdinfer", qdinfer.cli._parser()), ("qdistill", qdistill.cli._parser())):
        page = (site / "reference" / f"{name}.html").read_text("utf-8")
        commands = list(described(parser))
        assert len(commands) > 3
        for command in commands:
            assert f"usage: {command} [-h]" in page


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The command, and those under it."""
    yield parser.prog
    for action in parser._actions:
        for child in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            yield from described(child)


def test_files_of_the_repository_keep_their_links(site: Path, pages: dict[Path, Page]) -> None:
    assert "../examples/ibm_without_ibm/README.md" in (ROOT / "docs" / "ibm.md").read_text("utf-8")
    assert "examples/ibm_without_ibm/index.html" in pages[site / "ibm.html"].links
    assert "../../ibm.html" in pages[site / "examples" / "ibm_without_ibm" / "index.html"].links
    shown = (site / "examples" / "batch_job" / "label_folder.py.html").read_text("utf-8")
    assert re.search(r"def</span>.*label_file", shown), "a linked program is shown as a page"
