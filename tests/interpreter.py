"""A fresh interpreter, in which modules may be missing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import qdinfer

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def python(code: str, *arguments: str, blocked: tuple[str, ...] = ()) -> str:
    """What a fresh interpreter prints. Warnings are errors there, too."""
    program = BLOCK.format(blocked=blocked) + textwrap.dedent(code)
    root = str(Path(qdinfer.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
