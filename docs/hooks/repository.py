"""Files of the repository outside of docs/ become part of the site, if pages or the navigation lead to them.

So that the same link works on the site and in the repository. The site's tree is the repository's, with docs/ as its
root: docs/ibm.md is ibm.md, examples/batch_job/README.md keeps its path, and Python files become pages that show them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()[^()\s#]+")
"""The path in ``[text](path#anchor)``."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is led to, and what that leads to."""
    root = Path(config.config_file_path).parent
    waiting = list(paths_in(config.nav))
    for file in files.documentation_pages():
        waiting += targets(file.content_string, f"docs/{file.src_uri}")
    while waiting:
        target = waiting.pop()
        uri = site_uri(target)
        if target.startswith(("docs/", "../")) or uri in files.src_uris or not (root / target).is_file():
            continue  # there already; or nowhere, of which MkDocs warns
        added = of_repository(root / target, uri, config)
        files.append(added)
        if target.endswith(".md"):
            waiting += targets(added.content_string, target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where their files are on the site."""
    place = page.file.src_uri if page.file.generated_by else f"docs/{page.file.src_uri}"
    here = posixpath.dirname(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        uri = site_uri(resolved(match[0], place))
        return posixpath.relpath(uri, here or ".") if uri in files.src_uris else match[0]

    return LINK.sub(moved, markdown)


def paths_in(nav: object) -> Iterator[str]:
    """The pages that the navigation has."""
    match nav:
        case str():
            yield nav
        case list():
            yield from (path for item in nav for path in paths_in(item))
        case dict():
            yield from paths_in(list(nav.values()))


def targets(markdown: str, place: str) -> Iterator[str]:
    """Paths in the repository that a page at that place links to."""
    return (resolved(link, place) for link in LINK.findall(markdown) if "://" not in link)


def resolved(link: str, place: str) -> str:
    """The path in the repository that a link means on a page at that place."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def site_uri(target: str) -> str:
    """Where a file of the repository is on the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"{target}.md" if target.endswith(".py") else target


def of_repository(path: Path, uri: str, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site."""
    if path.suffix == ".py":
        shown = f"# {path.name}\n\n~~~~~~python\n{path.read_text('utf-8')}~~~~~~\n"
        return File.generated(config, uri, content=shown, inclusion=InclusionLevel.NOT_IN_NAV)
    return File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV)
