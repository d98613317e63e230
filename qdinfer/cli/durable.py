"""Commands about runs on IBM Quantum: what one costs, how it stands, and its end; and the run behind `predict`.

What a run says of its device is in `comparing`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..tabular import read_table
from . import comparing
from .framework import Help, add_command, add_debug, counted, note
from .options import DEFAULT_SHOTS, device_options, input_options, runtime_backend, shots_given

if TYPE_CHECKING:
    from ..classifier import Classifier
    from ..predictions import Predictions
    from ..runs import Estimate, Progress

__all__ = ["add_commands", "journal_options", "measured"]

_ESTIMATE = """\
Work out what a run on a device will take, before anything is submitted: jobs, executions and the quantum computer's
seconds, from the device's own repetition delay and the length of the circuit on it. With --rate also money.

  qdinfer estimate STUDENT --input texts.csv --backend fake:FakeFez --shots 1000
  qdinfer estimate STUDENT --input texts.csv --backend ibm:DEVICE --shots 1000 --rate 1.60
"""
_SHOW = """\
Say how a run stands, from its journal alone: nothing is asked of the service.

  qdinfer runs show run.db
"""
_CANCEL = """\
Cancel all jobs of a run that have not ended. What ran until then is charged. The journal stays, and the command that
began the run would submit the rest again.

  qdinfer runs cancel run.db
"""


def add_commands(commands: Any) -> None:
    """Add the commands."""
    costing = add_command(commands, "estimate", _estimate, "say what a run on a device will cost", _ESTIMATE)
    input_options(costing, required=True)
    costing.add_argument(
        "--backend", required=True, type=_device_name, metavar="NAME", help="ibm:DEVICE or fake:DEVICE"
    )
    costing.add_argument("--rate", type=float, metavar="MONEY", help="price of one second of the quantum computer")
    costing.add_argument("--json", action="store_true", help="print JSON")
    device_options(costing)

    runs = commands.add_parser(
        "runs",
        help="show, cancel or judge a run on IBM Quantum",
        description="Show or cancel a run, or compare what it measured with its device's calibration.",
        formatter_class=Help,
    )
    actions = runs.add_subparsers(metavar="ACTION", required=True)
    for name, function, summary, text in (
        ("show", _show, "say how a run stands", _SHOW),
        ("cancel", _cancel, "cancel its jobs", _CANCEL),
    ):
        action = actions.add_parser(name, help=summary, description=text, formatter_class=Help)
        action.add_argument("journal", metavar="JOURNAL", help="the file that --journal named")
        add_debug(action)
        action.set_defaults(function=function)
        if name == "show":
            action.add_argument("--json", action="store_true", help="print JSON")
    comparing.add_action(actions)


def journal_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a durable run."""
    group = parser.add_argument_group("runs on IBM Quantum")
    group.add_argument(
        "--journal", metavar="FILE", help="where the run is written down, and gone on with when run again"
    )
    group.add_argument("--detach", action="store_true", help="return when all is submitted; run again to collect")
    group.add_argument("--max-qpu-seconds", type=float, metavar="S", help="submit nothing if the estimate is higher")
    group.add_argument(
        "--run-name", default="", metavar="NAME", help="to measure the same texts once more, under another name"
    )
    group.add_argument("--jobs-per-minute", type=int, metavar="N", help="job creations (default: 5, IBM's limit)")
    group.add_argument("--pending", type=int, metavar="N", help="jobs that wait or run at a time (default: 5)")
    group.add_argument(
        "--grace", type=float, metavar="S", help="until a job that was asked for is visible (default: 60)"
    )
    group.add_argument("--poll", type=float, metavar="S", help="between two looks at the jobs, at least (default: 2)")


def _device_name(text: str) -> str:
    kind, _, device = text.partition(":")
    if kind in ("fake", "ibm") and device:
        return text
    raise argparse.ArgumentTypeError(f"found {text!r}; expected ibm:DEVICE or fake:DEVICE")


def measured(arguments: argparse.Namespace, classifier: Classifier, texts: list[str]) -> Predictions | None:
    """The predictions of a durable run; None if it was detached and is not complete.

    Raises:
        InputError: no journal is named.
    """
    from ..backends.runtime import RuntimeBackend
    from ..runs import Run

    if arguments.journal is None:
        raise InputError(
            f"--backend {arguments.backend}: found no --journal; expected --journal FILE, so that nothing is lost, and "
            "nothing paid for twice"
        )
    for option in ("input", "output"):
        other = getattr(arguments, option, None)
        if other is not None and Path(other).resolve() == Path(arguments.journal).resolve():
            raise InputError(f"--journal {arguments.journal}: found the file of --{option}; expected one of its own")
    backend = classifier.backend
    if not isinstance(backend, RuntimeBackend):
        raise InputError(f"--backend {arguments.backend}: found {type(backend).__name__}; expected a device of IBM's")
    backend.note = note
    shots = shots_given(arguments)
    run = Run.open(
        arguments.journal,
        classifier,
        texts,
        backend,
        shots=DEFAULT_SHOTS if shots is None else shots,
        name=arguments.run_name,
        max_qpu_seconds=arguments.max_qpu_seconds,
    )
    with run:
        try:
            _watch(run.steps(detach=arguments.detach))
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
            note(_LATER.format(arguments.journal))
            raise
        now = run.progress()
        if not run.complete:
            print(f"qdinfer: {_told(now)}; {_LATER.format(arguments.journal)}", file=sys.stderr)
            return None
        print(f"qdinfer: {_told(now)}", file=sys.stderr)
        return run.predictions()


_LATER = "jobs go on at the service: run the same command again to collect them, or `qdinfer runs cancel {}`"


def _watch(steps: Any) -> None:
    """A bar of chunks on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        for _ in steps:
            pass
        return
    from tqdm import tqdm  # slow to import

    with tqdm(bar_format="{n_fmt} of {total_fmt} jobs [{elapsed}{postfix}]") as bar:
        for now in steps:
            bar.total = now.done + now.waiting + now.queued + now.running
            bar.n = now.done
            bar.set_postfix_str(f"{now.queued} queued, {now.running} running, {now.seconds_used:.0f} s of QPU")
            bar.refresh()


def _told(now: Progress) -> str:
    return (
        f"{counted(now.texts, 'text')}, {counted(now.done, 'job')} done, {now.queued} queued, {now.running} running, "
        f"{now.waiting} to be submitted; {now.seconds_used:.1f} s of QPU used, {now.seconds_estimated:.1f} s estimated"
    )


def _estimate(arguments: argparse.Namespace) -> int:
    from ..artifact import Artifact
    from ..circuit import Circuit
    from ..runs import AutoShots, estimate

    if arguments.rate is not None and not 0 <= arguments.rate < float("inf"):
        raise InputError(f"--rate: found {arguments.rate}; expected money for a second, from 0")
    circuit = Circuit.from_artifact(Artifact.open(arguments.student))
    texts = sum(1 for _ in read_table(arguments.input, columns=[arguments.text_column], format=arguments.format))
    backend = runtime_backend(arguments)
    shots = shots_given(arguments)
    if isinstance(shots, AutoShots):
        costs = {
            "at least": estimate(backend, circuit, texts, shots.rounds[:1]),
            "at most": estimate(backend, circuit, texts, shots.rounds),
        }
    else:
        costs = {"": estimate(backend, circuit, texts, DEFAULT_SHOTS if shots is None else shots)}
    if arguments.json:
        print(json.dumps([_costs(cost, arguments.rate) for cost in costs.values()]))
        return 0
    for title, cost in costs.items():
        print(_cost_text(cost, arguments.rate, title))
    return 0


def _costs(cost: Estimate, rate: float | None) -> dict[str, Any]:
    return asdict(cost) | ({} if rate is None else {"money": cost.seconds * rate})


def _cost_text(cost: Estimate, rate: float | None, title: str) -> str:
    lines = [
        f"{title + ', ' if title else ''}{counted(cost.texts, 'text')} × {cost.shots} shots on {cost.device}",
        f"  executions   {cost.executions} in {counted(cost.jobs, 'job')}, {cost.execution_seconds * 1e6:.1f} µs each",
        f"  QPU time     {cost.seconds:.1f} s",
    ]
    if rate is not None:
        lines.append(f"  money        {cost.seconds * rate:.2f}, at {rate:g} a second")
    return "\n".join(lines)


def _show(arguments: argparse.Namespace) -> int:
    from ..runs import Journal, progress_of

    with Journal(arguments.journal, writing=False) as journal:
        if journal.empty:
            raise InputError(f"{arguments.journal}: found a journal in which no run was begun; expected one")
        now, jobs, identity = progress_of(journal), journal.jobs(), journal.identity
        chunks = {chunk.id: chunk for chunk in journal.chunks()}
        device = journal.text("device")
    if arguments.json:
        about = {"identity": identity, "device": device, "complete": now.complete, "progress": asdict(now)}
        about["jobs"] = [asdict(job) | {"estimate": chunks[job.chunk].seconds} for job in jobs]
        print(json.dumps(about, ensure_ascii=False))
        return 0
    print(f"{identity['student']} on ibm:{device}, {identity['shots']} shots: {_told(now)}")
    statuses = Counter(job.status for job in jobs)
    if jobs:
        print(", ".join(f"{count} {status}" for status, count in statuses.items()))
        print(f"{'job':<28} {'status':<10} {'texts':>6} {'shots':>6} {'estimated s':>11} {'charged s':>10}")
    for job in jobs:
        chunk = chunks[job.chunk]
        charged = "-" if job.usage is None else f"{job.usage:.1f}"
        remark = " double" if job.double else f" {job.reason}" if job.reason else ""
        row = (
            f"{job.id:<28} {job.status:<10} {len(chunk.rows):>6} {chunk.shots:>6} {chunk.seconds:>11.1f} {charged:>10}"
        )
        print(row + remark)
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    from ..runs import cancel

    cancelled, left = cancel(arguments.journal, note=note)
    print(f"{counted(cancelled, 'job')} cancelled; {left} had ended before")
    return 0
