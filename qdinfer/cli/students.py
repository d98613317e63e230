"""Commands about a student itself: inspect, verify, compile."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .framework import add_command

__all__ = ["add_commands"]

_INSPECT = """\
Say what a student is: classes, encoder, circuit, readout, where it comes from.

  qdinfer inspect STUDENT --circuit
"""
_VERIFY = """\
Recompute the student's golden cases stage by stage on this machine, and name the first stage that drifts.
The exit code is 0 if all hold and 1 if not. With --backend aer, circuit.qasm itself is run (needs the extra aer).

  qdinfer verify STUDENT
"""
_COMPILE = """\
Compile the student's circuit for the exact engine and compare it with Qiskit's statevector at random angles.
Needs the extra: pip install "qdinfer[compile]"

  qdinfer compile STUDENT
  qdinfer compile STUDENT --fused
"""


def add_commands(commands: Any) -> None:
    """Add the commands."""
    inspect = add_command(commands, "inspect", _inspect, "say what a student is", _INSPECT)
    inspect.add_argument("--circuit", action="store_true", help="draw the circuit too (needs the extra aer)")

    verify = add_command(commands, "verify", _verify, "recompute the golden cases", _VERIFY)
    verify.add_argument(
        "--backend", choices=["exact", "aer"], help="evaluates the circuit (default: exact if compiled)"
    )

    compiling = add_command(commands, "compile", _compile, "make compiled.onnx for the exact engine", _COMPILE)
    compiling.add_argument("--output", metavar="PATH", help="write the student there (default: in its place)")
    compiling.add_argument(
        "--fused",
        action="store_true",
        help="also make fused.onnx: from token ids to probabilities in one graph (one that is there is made anew)",
    )
    compiling.add_argument(
        "--max-error",
        type=float,
        default=0.0,
        metavar="E",
        help="if the circuit is out of reach, leave terms out that together change no expectation value by more",
    )


def _inspect(arguments: argparse.Namespace) -> int:
    from ..artifact import Artifact
    from ..circuit import Circuit
    from ..inspection import describe, draw

    artifact = Artifact.open(arguments.student)
    print(describe(artifact))
    if arguments.circuit:
        print("\n" + draw(Circuit.from_artifact(artifact)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ..verification import verify

    report = verify(arguments.student, backend=arguments.backend)
    print(f"{report.name} on {report.backend}, {report.cases} golden cases")
    for stage in report.stages:
        state = "ok" if stage.ok else "DRIFTS"
        print(f"  {stage.name:<10}  {stage.file:<14}  off by {stage.deviation:<8.2g}  of {stage.tolerance:<6g} {state}")
    if report.first_drift is not None:
        drift = report.first_drift
        print(
            f"qdinfer: error: {drift.file}: found that the {drift.name} stage drifts first, by {drift.deviation:.2g}; "
            f"expected at most {drift.tolerance:g}",
            file=sys.stderr,
        )
    return 0 if report.ok else 1


def _compile(arguments: argparse.Namespace) -> int:
    from ..artifact import Artifact
    from ..compiler import compile_artifact
    from ..errors import InputError
    from ..reading import HUB
    from ..saving import check_destination

    if arguments.output is None and arguments.student.startswith(HUB):
        raise InputError(
            f"{arguments.student}: found a student on the Hub, which stays as it is; expected --output PATH"
        )
    place = Path(arguments.output or arguments.student)
    opened = Artifact.open(arguments.student)
    check_destination(place, overwrite=arguments.output is None)
    artifact = compile_artifact(opened, max_error=arguments.max_error, fused=arguments.fused, progress=True)
    artifact.save(place, overwrite=arguments.output is None)
    sizes = {name: len(data) / 1e6 for name, data in artifact.files.items()}
    spec = artifact.manifest.compiled
    if spec is not None:
        left_out = f"; at most {spec.bound:.1e} at any angles, by terms left out" if spec.bound else ""
        print(
            f"{place}: compiled.onnx {sizes['compiled.onnx']:.2f} MB, "
            f"error {spec.max_error:.1e} over {spec.checked} random rows{left_out}"
        )
    if "fused.onnx" in sizes:
        print(f"{place}: fused.onnx {sizes['fused.onnx']:.2f} MB")
    return 0
