"""The notebook, run from its first cell to its last."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook" / "shots.ipynb"


def test_no_outputs_are_stored() -> None:
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 4
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_every_cell_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):  # not the user's
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[2]))
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    notebook.cells.append(nbformat.v4.new_code_cell("import sys; print(sys.executable)"))
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}, "no warnings"
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    printed = "".join(output.get("text", "") for output in outputs)
    assert printed.count("\n") >= 14
    covered, spread = re.findall(r"(\d+)% within ±1.96 standard errors; the standard deviation is ([\d.]+)", printed)[0]
    assert 90 <= int(covered) <= 99
    assert 0.85 < float(spread) < 1.15
    assert "12 of 12 labels as exactly" in printed
    assert printed.splitlines()[-1] == sys.executable
