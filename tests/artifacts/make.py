"""Store a student of the current format, for every later version to open: run once per format, never again.

    PYTHONPATH=.:tests python tests/artifacts/make.py

It writes ``tests/artifacts/formatN`` and ``formatN.zip``, and refuses to replace them. Once a format is released, its
files here are what users have on their disks: a test that fails over them is mended in the package, not here.
"""

from __future__ import annotations

from pathlib import Path

from students import tiny

from qdinfer.manifest import FORMAT

if __name__ == "__main__":
    for suffix in ("", ".zip"):
        tiny().save(Path(__file__).with_name(f"format{FORMAT}{suffix}"))
