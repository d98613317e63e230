"""A real Chromium, headless, that tells of whatever goes wrong on a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_HINT = "found no chromium or google-chrome on PATH; `apt-get install chromium` brings one"


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser of this machine. Without one, the test is skipped, or fails where QDINFER_NEEDS_CHROMIUM is 1."""
    path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if path is None:
        if os.environ.get("QDINFER_NEEDS_CHROMIUM") == "1":
            pytest.fail(_HINT)
        pytest.skip(_HINT)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield started
        started.close()


class Watched:
    """A page, its errors, and what it asked for.

    Attributes:
        page: the tab.
        errors: the console's errors and warnings, and uncaught exceptions.
        requests: addresses.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.requests.append(request.url)
