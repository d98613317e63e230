"""A report as one HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .. import __version__
from ..classifier import Classifier
from . import sections
from .markup import counted, document, facts, paragraph, section, shown
from .measurement import Measurements

__all__ = ["Origin", "page"]

_CAVEAT = (
    "A circuit of this size has not been seen to beat a classical layer of the same width: these numbers say how good "
    "the student is, not that its circuit is needed."
)


@dataclass(frozen=True)
class Origin:
    """Where a report comes from.

    Attributes:
        data: the name of the table of texts.
        data_sha256: the hash of its file; None where it was no file.
        command: what made the report.
        made: when.
    """

    data: str
    data_sha256: str | None
    command: str
    made: datetime


def page(classifier: Classifier, found: Measurements, origin: Origin) -> str:
    """The report, a whole HTML page: it needs no other file, no script and no network.

    Args:
        classifier: the student that was measured.
        found: what was measured.
        origin: what it was made from.

    Raises:
        InputError: the noisy backend gave no error bars.
        CircuitError: Qiskit cannot read the circuit.
        MissingExtraError: what draws is not installed.
    """
    name = classifier.artifact.manifest.name
    evaluation = found.evaluation
    content = {
        "labels": ("Which labels are right", sections.labels(found)),
        "certainty": ("How sure, and how rightly so", sections.certainty(found)),
        "texts": ("Texts", sections.texts(found)),
        "shots": ("Accuracy against shots", sections.shots(found)),
        "noise": ("Exact against noisy", sections.noise(found)),
        "circuit": ("The circuit", sections.circuit(classifier.circuit)),
        "about": ("What was measured", _about(classifier, found, origin)),
    }
    links = "".join(f'<li><a href="#{key}">{shown(title)}</a></li>' for key, (title, _) in content.items())
    low, high = evaluation.interval
    return document(
        f"Report on {name}",
        [
            f"<header><h1>Report on {shown(name)}</h1>",
            paragraph(
                f"Accuracy {evaluation.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}) and macro F1 "
                f"{evaluation.macro_f1:.4f} on {counted(evaluation.texts)} of {origin.data}.",
                "lead",
            ),
            paragraph(_CAVEAT),
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>',
            "<main>",
            *(section(title, key, parts) for key, (title, parts) in content.items()),
            "</main>",
        ],
    )


def _about(classifier: Classifier, found: Measurements, origin: Origin) -> list[str]:
    artifact = classifier.artifact
    provenance = artifact.manifest.provenance
    limit = artifact.manifest.encoder.max_tokens
    return [
        facts(
            "The student",
            {
                "name": artifact.manifest.name,
                "identity": f"sha256 {artifact.sha256}",
                "size": f"{artifact.size / 1e6:.2f} MB",
                "classes": ", ".join(artifact.manifest.labels),
                "teacher": provenance.teacher or "none",
                "trained on": provenance.data or "not given",
                "license": provenance.license or "not given",
                "made by": provenance.command or "not given",
                "made with": provenance.made_with or "not given",
            },
        ),
        facts(
            "The report",
            {
                "data": f"{origin.data}, {counted(len(found.texts))}",
                "data's hash": f"sha256 {origin.data_sha256}" if origin.data_sha256 else "none: it was no file",
                "texts cut": f"{found.cut} have over {limit} tokens, of which the student read the first {limit}",
                "exact values by": found.exact.backend,
                "noisy backend": found.noisy.others[0].backend,
                "seed": f"{found.seed}",
                "command": origin.command,
                "made": f"{origin.made:%Y-%m-%d %H:%M %Z}, with qdinfer {__version__}",
            },
        ),
    ]
