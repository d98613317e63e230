"""The ``qdistill`` command."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdinfer import __version__
from qdinfer.artifact import check_destination
from qdinfer.cli import Parser, add_debug, run_command
from qdinfer.errors import InputError, require
from qdinfer.manifest import Provenance
from qdinfer.tabular import column, read_table

from .config import ENCODERS
from .teachers.command import add_label_command

if TYPE_CHECKING:
    from qdinfer.artifact import Artifact

__all__ = ["main"]

_DESCRIPTION = """\
Make quantum students for `qdinfer` to run. Needs the extra: pip install "qdinfer[distill]"

  qdistill train train.csv --test test.csv --output topic
  qdistill label texts.csv --teacher probe --model smol.gguf --labelled few.csv --output teacher.jsonl
  qdistill pack --output mine --tokenizer tokenizer.json --encoder encoder.onnx --circuit circuit.qasm \\
      --readout readout.json
"""
_TRAIN = """\
Train a student on labelled texts, and on what a teacher said of them and of others; export and compile it.

  qdistill train train.csv --test test.csv --output topic
  qdistill train train.csv --output sharp --encoder contextual --transformer all-MiniLM-L6-v2
  qdistill train few.csv --unlabelled more.csv --teacher teacher.jsonl --output distilled
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and give its exit code: 0, 1 for a failure, 2 for bad input."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    parser.set_defaults(words=words)
    return run_command(parser, words)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser("qdistill", description=_DESCRIPTION, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"qdistill {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="labelled texts to a student", description=_TRAIN, formatter_class=form)
    train.add_argument("data", metavar="DATA", help="csv or jsonl of labelled texts")
    train.add_argument("--test", metavar="FILE", help="labelled texts to measure the student on, for its card")
    train.add_argument("--label-column", metavar="NAME", default="label", help="default: label")
    train.add_argument(
        "--encoder",
        choices=[*ENCODERS],
        default="folded",
        help="a bag of words; a frozen or a fine-tuned transformer; QD-LLM to the letter (default: folded)",
    )
    train.add_argument("--transformer", metavar="PATH", help="folder of a BERT-like model, for all encoders but folded")
    train.add_argument("--layers", type=int, metavar="N", help="of the transformer that are kept, from the first")
    train.add_argument("--bigrams", type=int, metavar="N", help="folded: N rows for hashed pairs of words")
    train.add_argument("--ansatz", choices=["qdllm", "line"], help="qdllm is as published (default: the encoder's)")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the texts at most (default: the encoder's)")
    train.add_argument("--batch-size", type=int, metavar="N", help="texts a step (default: the encoder's)")
    train.add_argument("--teacher", metavar="FILE", type=Path, help="what `qdistill label` wrote, to learn from too")
    train.add_argument("--unlabelled", metavar="FILE", help="texts that only the teacher tells of")
    train.add_argument("--alpha", type=float, metavar="A", help="the teacher's share of the loss (default: 0.5)")
    train.add_argument("--temperature", type=float, metavar="T", help="softens teacher and student (default: 2)")
    train.add_argument("--js", action="store_true", help="add the Jensen-Shannon term of the QD-LLM paper")
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

    add_label_command(commands)

    for command in (train, pack):
        command.add_argument("--golden", metavar="FILE", help="csv or jsonl of a few texts for the self-test")
        command.add_argument("--output", metavar="PATH", type=Path, required=True, help="a folder, or a .zip")
        command.add_argument("--overwrite", action="store_true", help="replace the student that is there")
        command.add_argument("--text-column", metavar="NAME", default="text", help="default: text")
        command.add_argument("--name", metavar="NAME", help="of the student (default: from --output)")
        command.add_argument("--about-data", metavar="TEXT", help="what it was trained on, for its card")
        command.add_argument("--license", metavar="SPDX", help="of the student, for its card")
        add_debug(command)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    _check_output(arguments)
    for module in ("tensorcircuit", "optax"):
        require(module, feature="qdistill train", extra="distill")
    from .config import make_config
    from .recipe import Labelled, train_student
    from .teachers import TeacherLabels

    config = make_config(arguments.encoder, **_settings(arguments))
    provenance = Provenance(
        data=arguments.about_data or Path(arguments.data).name,
        license=arguments.license,
        command=_command_line(arguments),
    )

    def read(name: str) -> Labelled:
        rows = list(read_table(name, columns=[arguments.text_column, arguments.label_column]))
        return Labelled(column(rows, arguments.text_column), column(rows, arguments.label_column))

    artifact, reason = train_student(
        _name(arguments),
        read(arguments.data),
        config,
        test=read(arguments.test) if arguments.test else None,
        unlabelled=_texts(arguments.unlabelled, arguments) if arguments.unlabelled else (),
        teacher=TeacherLabels.load(arguments.teacher) if arguments.teacher else None,
        golden_texts=_golden_texts(arguments),
        provenance=provenance,
    )
    return _save(artifact, reason, arguments)


def _pack(arguments: argparse.Namespace) -> int:
    _check_output(arguments)
    for module in ("qiskit", "onnx"):
        require(module, feature="qdistill pack", extra="distill")
    from .export import export, with_provenance
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
    provenance = Provenance(data=arguments.about_data, license=arguments.license, command=_command_line(arguments))
    return _save(with_provenance(artifact, provenance), reason, arguments)


def _check_output(arguments: argparse.Namespace) -> None:
    """Find out now, not after the work, that the student could not be saved."""
    output: Path = arguments.output
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: found no folder {output.absolute().parent}; expected an existing one")
    if output.exists() and not arguments.overwrite:
        raise InputError(f"--output {output}: found something there already; expected a new path, or --overwrite")
    check_destination(output, overwrite=arguments.overwrite)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The training settings that were given; all others are the encoder's own."""
    folded = arguments.encoder == "folded"
    if not folded and arguments.transformer is None:
        raise InputError(f"--encoder {arguments.encoder}: found no --transformer; expected a BERT-like model's folder")
    for name in ("transformer", "layers") if folded else ("bigrams",):
        if getattr(arguments, name) is not None:
            raise InputError(f"--encoder {arguments.encoder}: found --{name}, which it does not have; expected none")
    names = ("ansatz", "epochs", "batch_size", "alpha", "temperature", "seed")
    inner = {"path": arguments.transformer, "layers": arguments.layers, "bigrams": arguments.bigrams}
    given = {name: getattr(arguments, name) for name in names} | {f"encoder_{k}": v for k, v in inner.items()}
    return {name: value for name, value in given.items() if value is not None} | ({"js": True} if arguments.js else {})


def _texts(name: str, arguments: argparse.Namespace) -> list[str]:
    return column(read_table(name, columns=[arguments.text_column]), arguments.text_column)


def _golden_texts(arguments: argparse.Namespace) -> list[str]:
    from .export import GOLDEN_TEXTS

    return list(GOLDEN_TEXTS) if arguments.golden is None else _texts(arguments.golden, arguments)


def _command_line(arguments: argparse.Namespace) -> str:
    """The command as it was given, with file names in place of paths, which mean nothing elsewhere."""
    options = ["data", "test", "golden", "output", "teacher", "unlabelled", "transformer"]
    options += ["tokenizer", "encoder", "circuit", "readout"]
    paths = {str(value) for name in options if (value := getattr(arguments, name, None)) is not None}

    def shorten(word: str) -> str:
        option, equals, value = word.partition("=")  # --output=PATH
        if equals and value in paths:
            return f"{option}={Path(value).name}"
        return Path(word).name if word in paths else word

    return shlex.join(["qdistill", *map(shorten, arguments.words)])


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
