"""What a report says: its sections, each as parts of HTML."""

from __future__ import annotations

import numpy as np

from .. import figures
from ..agreement import Agreement, compare
from ..calibration import BINS, calibrate
from ..circuit import Circuit
from ..evaluation import wilson_interval
from ..figures.style import signed
from ..predictions import IntArray
from .markup import beginning, counted, facts, figure, paragraph, table
from .measurement import Measurements
from .pictures import picture

__all__ = ["certainty", "circuit", "labels", "noise", "shots", "texts"]

_ROWS = 10  # texts in a list
_DRAWN = 1000  # gates; more would be no picture any more
_TABLED = 60  # classes


def labels(found: Measurements) -> list[str]:
    """The confusion matrix, and each class by itself."""
    confusion, classes = found.evaluation.confusion, found.evaluation.labels
    rows = []
    for place, label in enumerate(classes):
        hits, true, given = int(confusion[place, place]), int(confusion[place].sum()), int(confusion[:, place].sum())
        f1 = f"{2 * hits / (true + given):.3f}" if true + given else "–"
        rows.append([label, f"{true}", f"{given}", _share(hits, true), _share(hits, given), f1])
    parts = [
        figure(
            picture(lambda: figures.confusion_matrix(found.exact, found.labels)),
            f"Confusion matrix, {len(classes)} by {len(classes)} classes. Tables with its numbers follow.",
            "Each cell has how many texts of its row's true label were given its column's label, and what share of the "
            "row that is.",
        ),
        table(
            "By class, with 95 % intervals (Wilson 1927)",
            ["class", "texts", "so labelled", "recall", "precision", "F1"],
            rows,
            words=[0],
        ),
    ]
    if len(classes) <= _TABLED:
        cells = [[label, *map(str, row)] for label, row in zip(classes, confusion.tolist(), strict=True)]
        parts.append(table("True label down, predicted label across", ["true / predicted", *classes], cells, words=[0]))
    return parts


def certainty(found: Measurements) -> list[str]:
    """How sure the student was, and how rightly so."""
    calibration = calibrate(found.exact, found.labels)
    (low, high), (mean, bound) = calibration.interval, calibration.by_chance
    bins = zip(calibration.counts.tolist(), calibration.hits.tolist(), calibration.certainties.tolist(), strict=True)
    return [
        paragraph(
            "A text's certainty is the probability of the label that it was given. The expected calibration error is "
            "how far the share of right labels is from the certainty, over ten bins of equal width, weighted by texts "
            f"(Guo et al. 2017): {calibration.error:.3f}, 95 % interval {low:.3f} to {high:.3f}. Chance alone makes it "
            f"larger than 0: with true probabilities and as many texts it would be {mean:.3f} in the mean, and below "
            f"{bound:.3f} in 95 of 100 cases."
        ),
        figure(
            picture(lambda: figures.reliability_diagram(found.exact, found.labels)),
            "Reliability diagram: share of right labels against certainty. The table below has its numbers.",
            "On the dashed line, labels are right as often as the student says; below it, the student is too sure.",
        ),
        table(
            "The reliability diagram's numbers",
            ["certainty", "texts", "mean certainty", "share of right labels, 95 % interval"],
            [
                [f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}", f"{count}", f"{certainty:.3f}", _share(hits, count)]
                for place, (count, hits, certainty) in enumerate(bins)
                if count
            ],
        ),
        figure(
            picture(lambda: figures.certainty_histogram(found.exact, found.labels)),
            "Histogram of certainty, right and wrong labels apart.",
            "How many texts there are of each certainty. Wrong labels far to the right are those to look at.",
        ),
    ]


def texts(found: Measurements) -> list[str]:
    """The texts that it was most and least sure of, and most sure of wrongly."""
    certainty = found.exact.probabilities.max(axis=1)
    order = np.argsort(-certainty, kind="stable")
    wrong = order[found.exact.labels[order] != np.array(found.labels)[order]]
    return [
        _list("Most certain", found, order[:_ROWS]),
        _list("Least certain, the least certain first", found, order[::-1][:_ROWS]),
        _list("Most certain of those that are wrong", found, wrong[:_ROWS])
        if len(wrong)
        else paragraph("No label is wrong."),
    ]


def _list(title: str, found: Measurements, rows: IntArray) -> str:
    cells = []
    for row in rows.tolist():
        first, second = np.argsort(-found.exact.probabilities[row], kind="stable")[:2].tolist()
        classes, probabilities = found.exact.classes, found.exact.probabilities[row]
        cells.append(
            [
                f"{row + 1}",
                f"{probabilities[first]:.4f}",
                str(classes[first]),
                found.labels[row],
                f"{classes[second]} {probabilities[second]:.4f}",
                beginning(found.texts[row]),
            ]
        )
    return table(title, ["row", "certainty", "predicted", "true", "second", "text"], cells, words=[2, 3, 4, 5])


def shots(found: Measurements) -> list[str]:
    """What accuracy costs in shots."""
    sample = found.shots
    points = [compare(sample.exact, each, sample.labels) for each in sample.others]
    return [
        paragraph(
            f"On {_drawn(len(sample.labels), found)}, measured on Qiskit Aer without device noise, anew for each "
            f"number of shots. With exact values, the accuracy on them is {points[0].exact_accuracy:.4f}."
        ),
        figure(
            picture(lambda: figures.accuracy_against_shots(sample.exact, sample.others, sample.labels)),
            "Accuracy against shots a text, and exact accuracy as a line. The table below has its numbers.",
            "Intervals are Wilson's, for other texts drawn as these were. The texts are the same at every point and "
            "for the line, so differences are surer than the intervals look: the table has them, paired text by text.",
        ),
        table(
            "Accuracy and labels with shots, with 95 % intervals",
            ["shots a text", "accuracy", "less exact accuracy", "other labels than exact"],
            [[f"{point.shots:g}", *_agreement(point)] for point in points],
        ),
    ]


def noise(found: Measurements) -> list[str]:
    """A noisy backend against exact values."""
    sample = found.noisy
    (noisy,) = sample.others
    agreement = compare(sample.exact, noisy, sample.labels)
    accuracy, difference, flips = _agreement(agreement)
    value, low, high = agreement.rms_z
    off = noisy.expectations.values - sample.exact.expectations.values
    spread = f" ({low:.2f} to {high:.2f})" if agreement.texts > 1 else ""
    device = (
        "Its only noise is that of its shots; --backend fake:FakeFez has a device's noise too."
        if noisy.backend == "aer"
        else "Error bars know of its shots alone: where z is clearly over 1, the device adds noise of its own."
    )
    return [
        paragraph(
            f"{noisy.backend} with {agreement.shots:g} shots a text against exact values, on "
            f"{_drawn(agreement.texts, found)}. {device}"
        ),
        figure(
            picture(lambda: figures.exact_against_noisy(sample.exact, noisy)),
            "Three panels: by how much expectation values are off, probabilities with error bars, and a histogram of "
            "z. The table below has a summary.",
            "Left, between the two lines 95 % of the points lie if shot noise is all. Middle, a point a text with "
            "±1.96 standard errors. Right, z = (noisy − exact) / standard error of every expectation value, which is "
            "distributed as the dashed line if shot noise is all.",
        ),
        facts(
            "In numbers, with 95 % intervals",
            {
                "texts": f"{agreement.texts}",
                "shots a text": f"{agreement.shots:g}",
                "accuracy, noisy": accuracy,
                "accuracy, exact": f"{agreement.exact_accuracy:.4f}",
                "difference, paired": difference,
                "labels that flip": flips,
                "expectation values off by, rms": f"{np.sqrt(np.mean(off**2)):.4f}",
                "z, rms (1 if shot noise is all)": f"{value:.2f}{spread}",
                "|z| over 1.96 (0.05 if shot noise is all)": f"{agreement.outside:.3f}",
            },
        ),
    ]


def circuit(circuit: Circuit) -> list[str]:
    """What is evaluated, drawn."""
    gates = ", ".join(f"{count} {gate}" for gate, count in circuit.gate_counts.most_common())
    measured = (" ".join(f"Z{qubit}" for qubit in np.flatnonzero(mask)) for mask in circuit.observable_masks)
    told = paragraph(
        f"{circuit.num_qubits} qubits; {gates}. Data angles: {', '.join(circuit.inputs)}. Expectation values: "
        f"{', '.join(measured)}."
    )
    if circuit.gate_counts.total() > _DRAWN:
        return [told, paragraph(f"A circuit of over {_DRAWN} gates is not drawn: nobody could read it.")]
    drawing = figure(
        picture(lambda: figures.circuit_diagram(circuit)),
        f"Circuit of {circuit.num_qubits} qubits: {gates}.",
        "In blue the data angles, by name; the others are trained, in radians, rounded to three digits.",
    )
    return [told, drawing]


def _share(hits: int, total: int) -> str:
    if not total:
        return "–"
    low, high = wilson_interval(hits, total)
    return f"{hits / total:.3f} ({low:.3f} to {high:.3f})"


def _agreement(point: Agreement) -> tuple[str, str, str]:
    """Accuracy, its difference from the exact one, and how many labels flip."""
    value, low, high = point.accuracy
    apart, least, most = point.difference
    share, few, many = point.flips
    return (
        f"{value:.4f} ({low:.4f} to {high:.4f})",
        f"{signed(apart)} ({signed(least)} to {signed(most)})",
        f"{int(point.flipped.sum())}: {100 * share:.1f} % ({100 * few:.1f} to {100 * many:.1f})",
    )


def _drawn(number: int, found: Measurements) -> str:
    total = len(found.texts)
    if number == total:
        return counted(1) if total == 1 else f"all {counted(total)}"
    return f"{number} of the {counted(total)}, drawn with seed {found.seed}"
