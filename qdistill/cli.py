"""The ``qdistill`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdinfer import __version__
from qdinfer.cli import Parser, add_debug, run_command
from qdinfer.cli.options import DEFAULT_SHOTS
from qdinfer.errors import InputError, MissingExtraError, require
from qdinfer.manifest import Provenance
from qdinfer.saving import check_destination
from qdinfer.tabular import column, read_table

if TYPE_CHECKING:
    from qdinfer.artifact import Artifact

    from .config import TrainConfig

__all__ = ["main"]

_DESCRIPTION = """\
Make quantum students for `qdinfer` to run. Needs the extra: pip install "qdinfer[distill]"
(push alone needs no more than "qdinfer[hub]").

  qdistill train train.csv --test test.csv --output topic
  qdistill label texts.csv --teacher probe --model smol.gguf --labelled few.csv --output teacher.jsonl
  qdistill compare train.csv --test test.csv --output comparison
  qdistill pack --output mine --tokenizer tokenizer.json --encoder encoder.onnx --circuit circuit.qasm \\
      --readout readout.json
  qdistill push topic ORG/NAME
"""
_TRAIN = """\
Train a student on labelled texts, and on what a teacher said of them and of others; export and compile it.

  qdistill train train.csv --test test.csv --output topic
  qdistill train train.csv --output sharp --encoder contextual --transformer all-MiniLM-L6-v2
  qdistill train few.csv --unlabelled more.csv --teacher teacher.jsonl --output distilled
  qdistill train train.csv --twin topic.twin.onnx --shots 1000 --output hardy
"""
_PACK = """\
Make a student from parts that were trained elsewhere.

  --encoder   an ONNX graph: input_ids, attention_mask (N, T) int64 -> angles (N, P) float32, in radians
  --circuit   OpenQASM 3 with its data angles as `input float[64]`, or OpenQASM 2 with --data-gates
  --readout   JSON: {"labels": [C], "weights": [C rows of M], "bias": [C]}, and if wanted "temperature" (1) and
              "observables" ([M Pauli-Z strings, qubit 0 rightmost]; without them Z on each qubit, qubit 0 first)

  qdistill pack --output mine --tokenizer tokenizer.json --encoder encoder.onnx --circuit circuit.qasm \\
      --data-gates rx:0 rx:1 rx:2 --readout readout.json
"""
_PUSH = """\
Put a student on the Hugging Face Hub, in one commit, and print the reference that loads exactly this one. Its hashes
and its golden cases are checked first. The repository is made if there is none; the same student again changes nothing.
Log in before with `hf auth login`, or set HF_TOKEN. Needs the extra: pip install "qdinfer[hub]"

  qdistill push STUDENT ORG/NAME
  qdistill push STUDENT ORG/NAME --private --tag v1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and give its exit code: 0, 1 for a failure, 2 for bad input."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        parser = _parser(making=words[:1] != ["push"])
    except MissingExtraError as error:
        print(f"qdistill: error: {error}", file=sys.stderr)
        return 1
    parser.set_defaults(words=words)
    return run_command(parser, words)


def _parser(*, making: bool = True) -> argparse.ArgumentParser:
    """All commands, or without those that make students, and what they need."""
    parser = Parser("qdistill", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"qdistill {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    if making:
        _add_making(commands)
    push = commands.add_parser(
        "push", help="a student to the Hugging Face Hub", description=_PUSH, formatter_class=parser.formatter_class
    )
    push.add_argument("student", metavar="STUDENT", help="a student's folder or .zip, or hf:ORG/NAME@REVISION")
    push.add_argument("repository", metavar="ORG/NAME", help="of the repository; ORG is an organization or a user")
    push.add_argument("--private", action="store_true", help="make it private; one that is there must be")
    push.add_argument("--revision", default="main", metavar="BRANCH", help="made if there is none (default: main)")
    push.add_argument("--message", metavar="TEXT", help="of the commit (default: the student's name and hash)")
    push.add_argument("--tag", metavar="NAME", help="a new name for the commit, such as v1")
    add_debug(push)
    push.set_defaults(function=_push)
    return parser


def _add_making(commands: Any) -> None:
    require("pydantic", feature="qdistill", extra="distill")  # for the settings, whatever the command
    from .compare.command import add_compare_command
    from .options import add_columns, add_training
    from .teachers.command import add_label_command

    form = argparse.RawDescriptionHelpFormatter
    train = commands.add_parser("train", help="labelled texts to a student", description=_TRAIN, formatter_class=form)
    train.add_argument("data", metavar="DATA", help="csv, jsonl or parquet of labelled texts")
    train.add_argument("--test", metavar="FILE", help="labelled texts to measure the student on, for its card")
    add_training(train)
    train.add_argument(
        "--comparison", metavar="FOLDER", type=Path, help="of `qdistill compare` with the same options, for its card"
    )
    train.add_argument(
        "--twin",
        metavar="FILE",
        type=Path,
        help="train for the device of this noise twin, which is that of a student with the same --ansatz",
    )
    train.add_argument(
        "--shots", type=int, metavar="N", help=f"of a text on the twin's device (default: {DEFAULT_SHOTS})"
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same student (default: 0)")
    train.set_defaults(function=_train)

    pack = commands.add_parser("pack", help="parts to a student", description=_PACK, formatter_class=form)
    pack.add_argument("--tokenizer", metavar="FILE", type=Path, required=True, help="a Hugging Face tokenizer.json")
    pack.add_argument("--encoder", metavar="FILE", type=Path, required=True, help="an ONNX graph")
    pack.add_argument("--circuit", metavar="FILE", type=Path, required=True, help="OpenQASM 2 or 3")
    pack.add_argument("--readout", metavar="FILE", type=Path, required=True, help="JSON")
    pack.add_argument("--inputs", nargs="+", metavar="NAME", default=[], help="OpenQASM 3: order of the data angles")
    pack.add_argument(
        "--data-gates", nargs="+", metavar="GATE", default=[], help="OpenQASM 2: GATE:QUBIT[:OCCURRENCE] of each angle"
    )
    pack.add_argument("--max-tokens", type=int, default=128, metavar="N", help="longer texts are cut (default: 128)")
    pack.add_argument("--pad-id", type=int, default=0, metavar="N", help="token id of padding (default: 0)")
    pack.set_defaults(function=_pack)

    add_columns(train)
    pack.add_argument("--text-column", metavar="NAME", default="text", help="of --golden (default: text)")
    add_label_command(commands)
    add_compare_command(commands)

    for command in (train, pack):
        command.add_argument("--golden", metavar="FILE", help="csv, jsonl or parquet of a few texts for the self-test")
        command.add_argument("--output", metavar="PATH", type=Path, required=True, help="a folder, or a .zip")
        command.add_argument("--overwrite", action="store_true", help="replace the student that is there")
        command.add_argument("--name", metavar="NAME", help="of the student (default: from --output)")
        command.add_argument("--about-data", metavar="TEXT", help="what it was trained on, for its card")
        command.add_argument(
            "--license",
            metavar="TEXT",
            help="of the student, and of what is inside it: its card has a line for each part between semicolons",
        )
        add_debug(command)


def _train(arguments: argparse.Namespace) -> int:
    _check_output(arguments)
    for module in ("tensorcircuit", "optax"):
        require(module, feature="qdistill train", extra="distill")
    from .options import command_line, training_config
    from .recipe import Labelled, train_student
    from .teachers import TeacherLabels

    if arguments.encoder == "folded" and arguments.transformer is not None and arguments.comparison is None:
        raise InputError("--encoder folded: found --transformer, which it does not have; expected none")
    config = _for_device(arguments, training_config(arguments, seed=arguments.seed))
    provenance = Provenance(
        data=arguments.about_data or Path(arguments.data).name,
        license=arguments.license,
        command=command_line(arguments),
    )
    compared = _compared(arguments, config) if arguments.comparison else {}

    columns = arguments.text_column, arguments.label_column
    artifact, reason = train_student(
        _name(arguments),
        Labelled.read(arguments.data, *columns),
        config,
        test=Labelled.read(arguments.test, *columns) if arguments.test else None,
        unlabelled=_texts(arguments.unlabelled, arguments) if arguments.unlabelled else (),
        teacher=TeacherLabels.load(arguments.teacher) if arguments.teacher else None,
        golden_texts=_golden_texts(arguments),
        provenance=provenance,
        compared=compared,
    )
    return _save(artifact, reason, arguments)


def _for_device(arguments: argparse.Namespace, config: TrainConfig) -> TrainConfig:
    if arguments.twin is None:
        if arguments.shots is not None:
            raise InputError("--shots: found it without --twin, on whose device it would act; expected both or neither")
        return config
    if arguments.comparison is not None:
        raise InputError(
            "--comparison: found --twin, and `qdistill compare` trains for no device; expected one of them"
        )
    from .device import trained_for

    return trained_for(config, arguments.twin, shots=DEFAULT_SHOTS if arguments.shots is None else arguments.shots)


def _compared(arguments: argparse.Namespace, config: TrainConfig) -> dict[str, float]:
    """The accuracies that `qdistill compare` found."""
    if arguments.test is None:
        raise InputError("--comparison: found no --test; expected the texts that the comparison measured on")
    from .compare.job import job_of
    from .compare.report import Comparison
    from .compare.runner import recorded

    return Comparison.of(recorded(job_of(arguments, config), arguments.comparison / "results.json")).to_metrics()


def _pack(arguments: argparse.Namespace) -> int:
    _check_output(arguments)
    for module in ("qiskit", "onnx"):
        require(module, feature="qdistill pack", extra="distill")
    from .export import export, with_provenance
    from .options import command_line
    from .pack import read_parts

    parts = read_parts(
        name=_name(arguments),
        tokenizer=arguments.tokenizer,
        encoder=arguments.encoder,
        circuit=arguments.circuit,
        readout=arguments.readout,
        inputs=arguments.inputs,
        data_gates=arguments.data_gates,
        golden_texts=_golden_texts(arguments),
        max_tokens=arguments.max_tokens,
        pad_id=arguments.pad_id,
    )
    artifact, reason = export(parts)
    provenance = Provenance(data=arguments.about_data, license=arguments.license, command=command_line(arguments))
    return _save(with_provenance(artifact, provenance), reason, arguments)


def _push(arguments: argparse.Namespace) -> int:
    from qdinfer.artifact import Artifact

    from .push import push

    if not sys.stderr.isatty():
        require("huggingface_hub.utils", feature="qdistill push", extra="hub").disable_progress_bars()
    pushed = push(
        Artifact.open(arguments.student),
        arguments.repository,
        revision=arguments.revision,
        private=arguments.private,
        message=arguments.message,
        tag=arguments.tag,
    )
    print(f"qdistill: {', '.join(pushed.changed) or 'nothing'} changed", file=sys.stderr)
    print(pushed.reference)
    return 0


def _check_output(arguments: argparse.Namespace) -> None:
    """Find out now, not after the work, that the student could not be saved."""
    output: Path = arguments.output
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: found no folder {output.absolute().parent}; expected an existing one")
    if output.exists() and not arguments.overwrite:
        raise InputError(f"--output {output}: found something there already; expected a new path, or --overwrite")
    check_destination(output, overwrite=arguments.overwrite)


def _texts(name: str, arguments: argparse.Namespace) -> list[str]:
    return column(read_table(name, columns=[arguments.text_column]), arguments.text_column)


def _golden_texts(arguments: argparse.Namespace) -> list[str]:
    from .export import GOLDEN_TEXTS

    return list(GOLDEN_TEXTS) if arguments.golden is None else _texts(arguments.golden, arguments)


def _name(arguments: argparse.Namespace) -> str:
    output: Path = arguments.output
    return arguments.name or output.name.removesuffix(".zip")


def _save(artifact: Artifact, reason: str | None, arguments: argparse.Namespace) -> int:
    from .card import show_number

    place = artifact.save(arguments.output, overwrite=arguments.overwrite)
    if reason is not None:
        print(f"qdistill: note: not compiled for the exact engine: {reason}", file=sys.stderr)
    numbers = "".join(f", {name} {show_number(value)}" for name, value in artifact.manifest.provenance.metrics.items())
    print(f"{place}: {artifact.size / 1e6:.2f} MB{numbers}")
    return 0
