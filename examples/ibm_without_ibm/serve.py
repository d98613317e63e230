"""Start the stand-in of IBM Quantum in the background, and print what the shell must know of it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[2] / "tests"
FOLDER = Path(tempfile.gettempdir()) / "ibm-stand-in"


def main() -> None:
    """Hand our arguments to `python -m ibm_standin`; print its `export` lines, one more with its process id, and go."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other options are those of `python -m ibm_standin`.")
    parser.add_argument("--folder", default=str(FOLDER), help=f"for the state: {FOLDER}")
    given, others = parser.parse_known_args()
    process = subprocess.Popen(
        [sys.executable, "-m", "ibm_standin", "--folder", given.folder, *others],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stdout or ():
        if not line.strip():  # it has said all, and serves
            print(f"export STAND_IN_PID={process.pid}")
            return
        print(line, end="")
    sys.exit(process.wait())


if __name__ == "__main__":
    main()
