"""The example of a job on Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from ray_cluster import ROOT, folder

pytestmark = pytest.mark.slow


def job(*arguments: object) -> subprocess.CompletedProcess[str]:
    with folder() as short:
        return subprocess.run(
            [sys.executable, str(ROOT / "examples" / "ray_job" / "classify.py"), *map(str, arguments)],
            env={**os.environ, "RAY_TMPDIR": short, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )


def test_a_table_is_labelled_as_the_readme_says(tmp_path: Path) -> None:
    done = job(ROOT / "examples" / "headlines.csv", tmp_path / "labelled")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'labelled'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["labelled"]
    rows = pyarrow.parquet.read_table(tmp_path / "labelled")
    names = ["text", "prediction", *(f"p({label})" for label in ("business", "sci_tech", "sport", "world"))]
    assert rows.column_names == names
    assert len(rows) == 12


def test_what_it_cannot_do_is_said_before_ray_is_started(tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    headlines = ROOT / "examples" / "headlines.csv"
    for arguments, message in (
        ((headlines, tmp_path / "labelled"), "found something there; expected another folder, since Ray would add to"),
        ((tmp_path / "none.csv", tmp_path / "new"), "none.csv: found no such table; expected one of .csv, .parquet\n"),
        ((ROOT / "README.md", tmp_path / "new"), "README.md: found no such table; expected one of .csv, .parquet\n"),
    ):
        done = job(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Started a local Ray instance" not in done.stderr
