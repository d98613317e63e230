"""The command that holds a run against its device's calibration."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import InputError, require
from .framework import Help, add_debug, note

__all__ = ["add_action"]

_COMPARE = """\
Lay what a run measured beside what its device's calibration promised (the noise twin) and beside exact values, qubit by
qubit, and say where the device departs. The journal has the angles, so no texts are needed; STUDENT is that of the run.
Needs the extras: pip install "qdinfer[ibm,compile]"

  qdinfer runs compare run.db STUDENT
  qdinfer runs compare run.db STUDENT --plot departures.png
  qdinfer runs compare run.db STUDENT --device saved-before.json

What is printed of each observable, with the device's number of its qubits:
  mean      over texts: measured, of the twin, exact
  slope     of the values over the exact ones: 1 if nothing is damped; ± is one standard error, from shots and, with
            readout mitigation, its calibration
  shift     measured − twin, where the exact value is 0
  rms z     of (measured − twin) / standard error over texts: about 1 if shot noise is all
  verdict   as calibrated; or more damped, less damped, shifted to +1 or to −1 than the calibration says; or scattered:
            off in some way that no line has. A device that is exactly its twin is said to depart anywhere in about 5 %
            of runs (Holm's correction for the number of tests)

A departure need not be the calibration's fault: crosstalk, coherent errors and drift are not in it. With many shots
small departures are found too, so look at their size.
"""


def add_action(actions: Any) -> None:
    """Add the command to those of `qdinfer runs`."""
    action: argparse.ArgumentParser = actions.add_parser(
        "compare",
        help="say where the device departs from its calibration",
        description=_COMPARE,
        formatter_class=Help,
    )
    action.add_argument("journal", metavar="JOURNAL", help="the file that --journal named")
    action.add_argument(
        "student", metavar="STUDENT", help="the student that ran: a folder, .zip or hf:ORG/NAME@REVISION"
    )
    action.add_argument(
        "--device",
        metavar="NAME",
        help="whose calibration: ibm:DEVICE or fake:DEVICE as it is now, or a file saved before: noise (.json) or twin "
        "(.onnx) (default: the run's own device, as it was calibrated when its last job was asked for; IBM's service "
        "is asked for that)",
    )
    action.add_argument("--plot", metavar="FILE", help="draw it: .png, .svg or .pdf (needs the extra report)")
    action.add_argument("--json", action="store_true", help="print JSON")
    add_debug(action)
    action.set_defaults(function=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    _check_plot(arguments)
    from ..artifact import Artifact
    from ..classifier import Classifier
    from ..runs import Journal, compare, twin_of
    from ..runs.compare import check_run

    with Journal(arguments.journal, writing=False) as journal:
        artifact = Artifact.open(arguments.student)
        exact = "exact" if "compiled.onnx" in artifact.files else "aer"  # which is exact too
        classifier = Classifier(artifact, backend=exact)
        check_run(journal, classifier)  # before what takes long
        twin = twin_of(journal, classifier.circuit, arguments.device, note=note, progress=True)
        found = compare(journal, classifier, twin)
    if arguments.plot is not None:
        from ..figures import measured_against_twin

        with replacing(Path(arguments.plot)) as file:
            measured_against_twin(found).savefig(file, format=_kind(arguments.plot), dpi=150)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if arguments.json else found.to_text())
    return 0


def _kind(name: str) -> str:
    return Path(name).suffix.lower().removeprefix(".")


def _check_plot(arguments: argparse.Namespace) -> None:
    """See that the picture can be drawn and written, and will not take the journal's place."""
    if arguments.plot is None:
        return
    plot = Path(arguments.plot)
    if _kind(arguments.plot) not in ("png", "svg", "pdf"):
        raise InputError(f"--plot {plot}: found the ending {plot.suffix!r}; expected .png, .svg or .pdf")
    if not plot.absolute().parent.is_dir():
        raise FileNotFoundError(f"{plot}: found no folder for it; expected an existing one")
    if plot.resolve() == Path(arguments.journal).resolve():
        raise InputError(f"--plot {plot}: found the journal; expected a file of its own")
    require("matplotlib", feature="--plot", extra="report")
