"""Options that several commands have: where texts come from, and what evaluates the circuit."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..tabular import FORMATS

if TYPE_CHECKING:
    from ..artifact import Artifact
    from ..backends import Backend
    from ..backends.base import SamplingBackend
    from ..backends.runtime import RuntimeBackend
    from ..backends.settings import RuntimeSettings
    from ..backends.twin import TwinBackend
    from ..runs import AutoShots

__all__ = [
    "DEFAULT_SHOTS",
    "backend_options",
    "device_options",
    "gate_options",
    "given_backend",
    "input_options",
    "runtime_backend",
    "shots_given",
]

DEFAULT_SHOTS = 4096


def input_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options of a table of texts."""
    parser.add_argument(
        "--input", metavar="FILE", required=required, help="csv, jsonl or parquet to read; - for standard input"
    )
    parser.add_argument("--format", choices=FORMATS, help="of input and output, where a name does not tell")
    parser.add_argument("--text-column", metavar="NAME", default="text", help="column of texts (default: text)")


def backend_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what evaluates the circuit, any of them."""
    parser.add_argument(
        "--backend",
        type=_backend_name,
        default="exact",
        metavar="NAME",
        help="evaluates the circuit: exact, aer, fake:DEVICE (IBM's fake devices, with their noise), twin:DEVICE "
        "(what a device would answer; DEVICE is fake:NAME, ibm:NAME or a file), ibm:DEVICE or ibm:least_busy "
        "(default: exact)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="make shots repeatable, where they are simulated")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all that may be used)")
    device_options(parser)


def device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of shots, devices and limits."""
    shots = parser.add_argument_group("shots")
    shots.add_argument(
        "--shots",
        type=_shots,
        metavar="N",
        help="measure N times a text; auto: as often as its label needs (default: exact values; on devices 4096)",
    )
    shots.add_argument(
        "--confidence", type=float, metavar="C", help="with --shots auto: of a label that is let be (default: 0.99)"
    )
    shots.add_argument("--max-shots", type=int, metavar="N", help="with --shots auto: of a text (default: 4096)")
    device = parser.add_argument_group("on fake and IBM devices")
    device.add_argument("--mitigate-readout", action="store_true", help="divide readout error out, by calibration")
    gate_options(device)
    device.add_argument(
        "--dynamical-decoupling", choices=["XX", "XpXm", "XY4"], help="sequence for idle qubits (default: none)"
    )
    device.add_argument(
        "--mode", choices=["batch", "session", "job"], default="batch", help="how jobs are scheduled (default: batch)"
    )
    device.add_argument(
        "--max-executions",
        type=int,
        default=10_000_000,
        metavar="N",
        help="texts × shots in one job (default: 10000000, IBM's limit)",
    )


def gate_options(group: argparse._ArgumentGroup) -> None:
    """Add the options of what gates a device runs."""
    group.add_argument("--twirl-gates", action="store_true", help="Pauli-twirl the two-qubit gates")
    group.add_argument("--seed-transpiler", type=int, default=0, metavar="N", help="default: 0")


def _backend_name(text: str) -> str:
    kind, colon, device = text.partition(":")
    if text in ("exact", "aer") or (kind in ("fake", "ibm", "twin") and colon and device):
        return text
    raise argparse.ArgumentTypeError(f"found {text!r}; expected exact, aer, fake:DEVICE, twin:DEVICE or ibm:DEVICE")


def _shots(text: str) -> int | str:
    if text == "auto" or text.lstrip("-").isdigit():
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"found {text!r}; expected a whole number, or auto")


def shots_given(arguments: argparse.Namespace) -> int | AutoShots | None:
    """The shots asked for, as a durable run takes them; None where none were."""
    from ..runs import AutoShots

    chosen = _budget(arguments)
    return AutoShots(**chosen) if arguments.shots == "auto" else arguments.shots


def _budget(arguments: argparse.Namespace) -> dict[str, Any]:
    chosen = {name: getattr(arguments, name) for name in ("confidence", "max_shots")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if chosen and arguments.shots != "auto":
        raise InputError("--confidence and --max-shots: found without --shots auto; expected them with it")
    return chosen


def given_backend(arguments: argparse.Namespace, artifact: Artifact) -> str | Backend:
    """The backend asked for."""
    name, budget = arguments.backend, _budget(arguments)
    if name == "exact":
        if arguments.shots is not None or arguments.seed is not None:
            raise InputError(
                "--shots and --seed: found the exact backend, which has no shots; expected --backend aer, fake:DEVICE "
                "or ibm:DEVICE"
            )
        return "exact"
    fixed = DEFAULT_SHOTS if arguments.shots == "auto" else arguments.shots
    sampling: SamplingBackend
    if name == "aer":
        from ..backends.aer import AerBackend

        sampling = AerBackend(fixed, seed=arguments.seed)
    elif name.startswith("twin:"):
        sampling = _twin_backend(arguments, artifact, fixed)
    else:
        sampling = runtime_backend(arguments)
    if name.startswith("ibm:") or arguments.shots != "auto":
        return sampling
    from ..backends.adaptive import AdaptiveBackend
    from ..readout import Readout

    return AdaptiveBackend(sampling, Readout.from_artifact(artifact), **budget)


def _twin_backend(arguments: argparse.Namespace, artifact: Artifact, shots: int | None) -> TwinBackend:
    """The twin asked for, of the device with its settings."""
    from ..backends.twin import TwinBackend, twin_named
    from ..circuit import Circuit

    device, circuit = arguments.backend.removeprefix("twin:"), Circuit.from_artifact(artifact)
    twin = twin_named(device, circuit, settings=_settings(arguments), progress=True)
    return TwinBackend(twin, shots=shots, seed=arguments.seed, mitigate_readout=arguments.mitigate_readout)


def _settings(arguments: argparse.Namespace) -> RuntimeSettings:
    from ..backends.settings import RuntimeSettings

    return RuntimeSettings(
        mode=arguments.mode,
        seed_transpiler=arguments.seed_transpiler,
        twirl_gates=arguments.twirl_gates,
        dynamical_decoupling=arguments.dynamical_decoupling,
        mitigate_readout=arguments.mitigate_readout,
    )


def runtime_backend(arguments: argparse.Namespace) -> RuntimeBackend:
    """The fake or IBM device asked for, with its settings."""
    from ..backends.ibm_client import Patience
    from ..backends.runtime import RuntimeBackend, device_of
    from ..backends.settings import Limits

    patience = {name: getattr(arguments, name, None) for name in ("grace", "poll", "jobs_per_minute", "pending")}
    return RuntimeBackend(
        device_of(arguments.backend),
        shots=arguments.shots if isinstance(arguments.shots, int) else DEFAULT_SHOTS,
        settings=_settings(arguments),
        limits=Limits(executions=arguments.max_executions),
        patience=Patience(**{name: value for name, value in patience.items() if value is not None}),
        seed=getattr(arguments, "seed", None),
    )
