"""A student as a page of text."""

from __future__ import annotations

import textwrap

import numpy as np

from .artifact import Artifact
from .circuit import Circuit
from .reading import HUB

__all__ = ["describe", "draw", "printable"]


def describe(artifact: Artifact) -> str:
    """What a student is, stage by stage, from its manifest and circuit text alone."""
    manifest, provenance = artifact.manifest, artifact.manifest.provenance
    circuit = Circuit.from_artifact(artifact)
    gates = ", ".join(f"{count} {name}" for name, count in circuit.gate_counts.most_common())
    weights = np.array(manifest.readout.weights)
    sections = [
        (
            manifest.name,
            {
                "classes": ", ".join(manifest.labels),
                "format": str(manifest.format),
                "size": f"{artifact.size / 1e6:.2f} MB",
                "identity": f"sha256 {artifact.sha256}",
                **({"from": artifact.path} if artifact.path and artifact.path.startswith(HUB) else {}),
            },
        ),
        (
            "encoder: text → angles",
            {
                "limit": f"{manifest.encoder.max_tokens} tokens a text",
                "tokenizer": _size(artifact, "tokenizer.json"),
                "graph": _size(artifact, "encoder.onnx"),
                "angles": f"{len(circuit.inputs)}: {', '.join(circuit.inputs)}",
            },
        ),
        (
            "circuit: angles → expectation values",
            {
                "qubits": str(circuit.num_qubits),
                "gates": gates,
                "observables": f"{len(circuit.observables)}: {', '.join(circuit.observables)}",
                "compiled": _compiled(artifact),
                **({"fused": _size(artifact, "fused.onnx")} if "fused.onnx" in artifact.files else {}),
            },
        ),
        (
            "readout: expectation values → probabilities",
            {
                "weights": f"{weights.shape[0]} × {weights.shape[1]}, largest {np.abs(weights).max():.3g}",
                "temperature": f"{manifest.readout.temperature:g}",
            },
        ),
        (
            "provenance",
            {
                "teacher": provenance.teacher or "none",
                "data": provenance.data or "not given",
                "license": provenance.license or "not given",
                "made by": provenance.command or "not given",
                "made with": provenance.made_with or "not given",
                **{name: f"{value:g}" for name, value in provenance.metrics.items()},
                "settings": ", ".join(f"{k}={v}" for k, v in provenance.settings.items()) or "not given",
            },
        ),
    ]
    return "\n\n".join(_section(title, rows) for title, rows in sections)


def draw(circuit: Circuit, width: int = 120) -> str:
    """The circuit as a drawing in text, folded at a width. Needs Qiskit."""
    return str(circuit.to_qiskit().draw("text", fold=width))


def _compiled(artifact: Artifact) -> str:
    spec = artifact.manifest.compiled
    if spec is None:
        return "no; `qdinfer compile` makes it"
    left_out = f", at most {spec.bound:.1e} anywhere" if spec.bound else ""
    return f"{_size(artifact, 'compiled.onnx')}, error {spec.max_error:.1e} over {spec.checked} random rows{left_out}"


def _size(artifact: Artifact, name: str) -> str:
    return f"{len(artifact.files[name]) / 1e6:.2f} MB"


def _section(title: str, rows: dict[str, str]) -> str:
    rows = {printable(name): value for name, value in rows.items()}
    width = max(map(len, rows)) + 2
    lines = [title]
    for name, value in rows.items():
        lines += textwrap.wrap(
            printable(value), 110, initial_indent=f"  {name:<{width}}", subsequent_indent=" " * (width + 2)
        ) or [f"  {name}"]
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text without what would drive a terminal: a student, or a file's name, may be a stranger's."""
    return "".join(
        letter if letter.isprintable() or letter in " \n\t" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
