"""Make the folder that is deployed: qdinfer's base install, a student and the handler; and say how large it is."""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
LIMIT = 262_144_000  # bytes, unzipped, layers included: docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


def main(argv: Sequence[str] | None = None) -> int:
    """Make it. The exit code is 0, 1 if it is too large or pip failed, or 2 if something is there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--student", type=Path, default=REPOSITORY / "exported_models" / "topic-folded")
    arguments = parser.parse_args(argv)
    folder: Path = arguments.folder
    if folder.exists():
        print(f"build: {folder}: found something there; expected a new path", file=sys.stderr)
        return 2
    if not arguments.student.is_dir():
        print(f"build: {arguments.student}: found no folder; expected a student's", file=sys.stderr)
        return 2
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(folder), str(REPOSITORY)]
    if subprocess.run(pip, check=False).returncode:
        return 1
    shutil.copytree(arguments.student, folder / "student")
    shutil.copy(HERE / "handler.py", folder)
    # Compiled now, since the function cannot write there; by their hash, since unzipping changes the files' times.
    compileall.compile_dir(folder, quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    sizes = {path.name: size(path) for path in folder.iterdir()}
    for name, number in sorted(sizes.items(), key=lambda item: -item[1])[:8]:
        print(f"{number / 1e6:7.1f} MB  {name}")
    total = sum(sizes.values())
    print(f"{total / 1e6:7.1f} MB  in all, {total / LIMIT:.0%} of what AWS Lambda takes unzipped")
    return 0 if total <= LIMIT else 1


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


if __name__ == "__main__":
    sys.exit(main())
