"""The command that says what a run on a device would give."""

from __future__ import annotations

import argparse
import json
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import replacing
from ..errors import InputError, require, whole_number
from ..tabular import column, read_table
from ..texts import checked_texts, warn_truncated
from .forecast_table import Row, table, verdict
from .framework import add_command, counted
from .options import DEFAULT_SHOTS, gate_options, input_options

if TYPE_CHECKING:
    from ..backends.runtime import RuntimeBackend
    from ..backends.settings import RuntimeSettings
    from ..circuit import Circuit
    from ..forecast import Workload
    from ..noise import DeviceNoise
    from ..noise.twin import Twin
    from ..runs import Estimate

__all__ = ["add_commands"]

_FORECAST = """\
Say what a run of these texts on devices would give, before anything is run: the accuracy expected and the interval that
95 % of the runs lie in, the labels that would be other ones than the exact ones, the shots that 99 % of the labels need
to be those of infinitely many, each with readout mitigation and without it, and the quantum computer's seconds beside
them. A device's noise is that of its calibration, compiled into a twin of the student's circuit; no job is submitted.
Texts without labels give all but the accuracy. Needs the extras: pip install "qdinfer[compile,ibm]"; plots: report

  qdinfer forecast STUDENT --input labelled.csv --device fake:FakeFez fake:FakeTorino
  qdinfer forecast STUDENT --input labelled.csv --device ibm:DEVICE --shots 1000 --rate 1.60 --plot forecast.svg
  qdinfer forecast STUDENT --input texts.csv --device fake:FakeFez --save twins
  qdinfer forecast STUDENT --input texts.csv --device twins/fake_fez.twin.onnx --shots 100
"""
_PLOTS = (".png", ".svg")
_LABEL = "label"


def add_commands(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "forecast", _forecast, "say what a run on devices would give", _FORECAST)
    input_options(parser, required=True)
    parser.add_argument(
        "--label-column",
        metavar="NAME",
        help="column of true labels (default: label, if there is one)",
    )
    parser.add_argument(
        "--device",
        nargs="+",
        action="extend",
        required=True,
        type=_device,
        metavar="NAME",
        help="fake:DEVICE, ibm:DEVICE, a noise file (.json) or a twin (.onnx), as --save writes them",
    )
    parser.add_argument(
        "--shots", type=int, default=DEFAULT_SHOTS, metavar="N", help=f"of each text (default: {DEFAULT_SHOTS})"
    )
    parser.add_argument("--rate", type=float, metavar="MONEY", help="price of one second of the quantum computer")
    parser.add_argument("--plot", metavar="FILE", help="draw all devices against shots, as .png or .svg")
    parser.add_argument(
        "--save", metavar="FOLDER", help="write each device's noise file and its twin there, for --device and twin:FILE"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--max-error",
        type=float,
        default=0.0,
        metavar="E",
        help="leave terms out of a twin that change no expectation value by more, where it is too large (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs that are drawn (default: 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")
    gate_options(parser.add_argument_group("on fake and IBM devices"))


def _device(text: str) -> str:
    kind, _, name = text.partition(":")
    if (kind in ("fake", "ibm") and name) or text.endswith((".json", ".onnx")):
        return text
    raise argparse.ArgumentTypeError(
        f"found {text!r}; expected fake:DEVICE, ibm:DEVICE, a noise file (.json) or a twin (.onnx)"
    )


@dataclass(frozen=True)
class _Source:
    """What was named: a device, whose noise is read and which has a price, or a file."""

    name: str
    noise: DeviceNoise
    twin: Twin | None = None
    backend: RuntimeBackend | None = None

    @classmethod
    def of(cls, name: str, circuit: Circuit, settings: RuntimeSettings) -> _Source:
        from ..noise import DeviceNoise
        from ..noise.twin import Twin

        if name.endswith((".onnx", ".json")):
            twin = Twin.load(name) if name.endswith(".onnx") else None
            noise = DeviceNoise.load(name) if twin is None else twin.spec.noise
            if noise.circuit_sha256 != circuit.sha256:
                raise InputError(
                    f"{name}: found circuit {noise.circuit_sha256[:16]}…; expected that of the student, "
                    f"{circuit.sha256[:16]}…: make it for this student with --device fake:NAME or ibm:NAME and --save"
                )
            if twin is not None and twin.spec.twirled != settings.twirl_gates:
                made, needed = ("with", "") if twin.spec.twirled else ("without", "out")
                raise InputError(f"{name}: found a twin {made} twirled gates; expected it with{needed} --twirl-gates")
            return cls(name, noise, twin)
        from ..backends.runtime import RuntimeBackend, device_of
        from ..backends.twin import device_noise

        backend = RuntimeBackend(device_of(name), settings=settings)
        return cls(name, device_noise(backend, circuit), backend=backend)

    def compiled(self, circuit: Circuit, settings: RuntimeSettings, max_error: float) -> Twin:
        if self.twin is not None:
            return self.twin
        from ..compiler.noisy import compile_twin

        return compile_twin(circuit, self.noise, twirled=settings.twirl_gates, max_error=max_error, progress=True)

    def cost(self, circuit: Circuit, texts: int, shots: int, mitigated: bool) -> Estimate | None:
        """None for a file, and for a device that does not tell how long it takes."""
        if self.backend is None:
            return None
        from ..backends.runtime import RuntimeBackend
        from ..runs import estimate

        prepared = self.backend.prepare(circuit)
        if math.isnan(prepared.seconds):
            return None
        device = self.backend.device() if self.backend.local else self.noise.device
        backend = RuntimeBackend(device, settings=replace(self.backend.settings, mitigate_readout=mitigated))
        backend.prepare(circuit, prepared.isa)  # to transpile once is enough
        return estimate(backend, circuit, texts, shots)


def _forecast(arguments: argparse.Namespace) -> int:
    if arguments.rate is not None and not 0 <= arguments.rate < math.inf:
        raise InputError(f"--rate: found {arguments.rate}; expected money for a second, from 0")
    require("onnx", feature="qdinfer forecast", extra="compile")
    from ..artifact import Artifact
    from ..backends.base import MAX_SHOTS
    from ..backends.settings import RuntimeSettings
    from ..classifier import Classifier
    from ..forecast import Workload

    whole_number("--shots", arguments.shots, 1, MAX_SHOTS)
    whole_number("--seed", arguments.seed, 0, 2**64 - 1)
    if arguments.rate is not None and all(name.endswith((".json", ".onnx")) for name in arguments.device):
        raise InputError("--rate: found files alone; expected it with a device, whose seconds are known")
    _check_outputs(arguments)
    artifact = Artifact.open(arguments.student)
    exact = "exact" if "compiled.onnx" in artifact.files else "aer"  # which is exact too
    classifier = Classifier(artifact, backend=exact, threads=arguments.threads)
    texts, labels = _texts(arguments, classifier.readout.labels)
    settings = RuntimeSettings(seed_transpiler=arguments.seed_transpiler, twirl_gates=arguments.twirl_gates)
    sources = [_Source.of(name, classifier.circuit, settings) for name in arguments.device]
    names = _names(sources)
    work = Workload.of(classifier, texts, labels)
    warn_truncated(work.cut, len(work), artifact.manifest.encoder.max_tokens, stacklevel=2)
    rows = [
        row
        for name, source in zip(names, sources, strict=True)
        for row in _rows(arguments, work, settings, name, source)
    ]
    if arguments.plot is not None:
        _draw(arguments.plot, rows)
    student = artifact.manifest.name
    if arguments.json:
        about = {"student": student, "texts": len(work), "shots": arguments.shots, "seed": arguments.seed}
        about["twirl_gates"] = settings.twirl_gates
        about |= {"exact_accuracy": work.exact_accuracy, "forecasts": [row.to_dict() for row in rows]}
        print(json.dumps(about | {"verdict": verdict(rows)}, ensure_ascii=False))
    else:
        print(f"{student}, {counted(len(work), 'text')}, {arguments.shots} shots each\n\n{table(rows)}\n")
        print(textwrap.fill(verdict(rows), 120))
    return 0


def _rows(
    arguments: argparse.Namespace, work: Workload, settings: RuntimeSettings, name: str, source: _Source
) -> list[Row]:
    """Of one device, without mitigation and with it."""
    from ..forecast import forecast

    twin = source.compiled(work.circuit, settings, arguments.max_error)
    if arguments.save is not None:
        source.noise.save(Path(arguments.save) / f"{_file_name(name)}.noise.json")
        twin.save(Path(arguments.save) / f"{_file_name(name)}.twin.onnx")
    found = []
    for mitigated in (False, True):
        told = forecast(work, twin, shots=arguments.shots, mitigate_readout=mitigated, seed=arguments.seed)
        cost = source.cost(work.circuit, len(work), arguments.shots, mitigated)
        money = None if cost is None or arguments.rate is None else cost.seconds * arguments.rate
        found.append(Row(name, told, None if cost is None else cost.seconds, money))
    return found


def _check_outputs(arguments: argparse.Namespace) -> None:
    """See that what is asked for can be written, before what takes long."""
    if arguments.plot is not None:
        require("matplotlib.figure", feature="--plot", extra="report")
        if Path(arguments.plot).suffix not in _PLOTS:
            raise InputError(f"--plot {arguments.plot}: found no picture's ending; expected one of {list(_PLOTS)}")
        if not Path(arguments.plot).absolute().parent.is_dir():
            raise FileNotFoundError(f"{arguments.plot}: found no folder for it; expected an existing one")
    if arguments.save is not None:
        folder = Path(arguments.save)
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--save {folder}: found a file; expected a folder")
        folder.mkdir(exist_ok=True)


def _texts(arguments: argparse.Namespace, classes: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Texts, and their true labels where there are any."""
    from ..evaluation import check_labels

    asked, given = arguments.label_column, arguments.text_column
    rows = list(
        read_table(
            arguments.input,
            columns=[given] if asked is None else [given, asked],
            optional=[_LABEL],
            format=arguments.format,
        )
    )
    if not rows:
        raise InputError(f"{arguments.input}: found no rows; expected texts")
    if asked is None and not any(_LABEL in row for row in rows):
        return column(rows, given), None
    found: list[Any] = [row.get(asked or _LABEL) for row in rows]  # jsonl may lack it in some
    labels = checked_texts(found, "labels")
    check_labels(classes, labels, f"{arguments.input} row")
    return column(rows, given), labels


def _names(sources: Sequence[_Source]) -> list[str]:
    """What each is called: its device's name, where no two have the same."""
    devices = [source.noise.device for source in sources]
    names = devices if len({*devices}) == len(devices) else [source.name for source in sources]
    if len({_file_name(name) for name in names}) != len(names):
        raise InputError(f"--device: found {names}; expected each once")
    return names


def _file_name(name: str) -> str:
    """A device's name, or a path, without what a file's name cannot have, or should not begin with."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "device"


def _draw(path: str, rows: Sequence[Row]) -> None:
    from .. import figures

    figure = figures.forecast_against_shots([row.forecast for row in rows], names=[row.name for row in rows])
    with replacing(Path(path)) as file:
        figure.savefig(file, format=Path(path).suffix[1:], dpi=150)
