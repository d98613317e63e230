"""Figures: what they show is what was computed, read back from the figures themselves."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from answers import Answers
from interpreter import python
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from students import LABELS, entangled_circuit

from qdinfer import AerBackend, Circuit, Classifier, InputError, Predictions, figures
from qdinfer.agreement import compare
from qdinfer.calibration import BINS, calibrate
from qdinfer.evaluation import evaluate_labels
from qdinfer.figures.style import DARK


def saved(figure: Figure) -> bytes:
    """The figure as it is drawn, which finds what only drawing finds."""
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    ElementTree.fromstring(content.getvalue())
    return content.getvalue()


def bars(container: Any) -> list[tuple[float, float, float]]:
    """The points of an error bar container: x and both ends."""
    return [(x, low, high) for (x, low), (_, high) in container.lines[2][0].get_segments()]


def renamed(predictions: Predictions, names: list[str]) -> Predictions:
    classes = np.array(names)
    return replace(predictions, classes=classes, labels=classes[predictions.probabilities.argmax(axis=1)])


# Answers


def test_the_confusion_matrix_has_counts_and_row_shares(answers: Answers) -> None:
    figure = figures.confusion_matrix(answers.exact, answers.labels)
    found = evaluate_labels(LABELS, answers.labels, answers.exact.labels.tolist())
    panel = figure.axes[0]
    rows = found.confusion / found.confusion.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(panel.images[0].get_array(), 100 * rows)
    written = {text.get_position(): text.get_text() for text in panel.texts}
    for (row, column), count in np.ndenumerate(found.confusion):
        assert written[column, row] == f"{count}\n{100 * rows[row, column]:.0f} %"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == list(LABELS)
    assert [tick.get_text() for tick in panel.get_yticklabels()] == list(LABELS)
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("predicted label", "true label")
    assert panel.get_title() == f"{np.trace(found.confusion)} of 64 labels are right"
    saved(figure)


def test_a_class_that_never_occurs_has_no_shares(answers: Answers) -> None:
    panel = figures.confusion_matrix(answers.exact, [LABELS[0]] * 64).axes[0]
    array = panel.images[0].get_array()
    assert array is not None
    assert not np.asarray(array)[1:].any()
    assert {text.get_text() for text in panel.texts if text.get_position()[1] > 0} == {"0"}


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font:UserWarning")  # of matplotlib, about 新
def test_names_of_any_kind_can_be_drawn(answers: Answers) -> None:
    names = ["$\\frac$", "<b>&新</b>", "n" * 200]
    answered = renamed(answers.exact, names)
    true = answered.labels.tolist()
    figure = figures.confusion_matrix(answered, true)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == [*names[:2], "n" * 23 + "…"]
    saved(figure)
    saved(figures.reliability_diagram(answered, true))
    saved(figures.certainty_histogram(answered, true))


@pytest.mark.parametrize(("number", "named", "written"), [(2, 2, 4), (20, 20, 400), (21, 21, 0), (130, 44, 0)])
def test_many_classes_stay_legible(answers: Answers, number: int, named: int, written: int) -> None:
    names = [f"class {i}" for i in range(number)]
    classes = np.array(names)
    probabilities = np.eye(number)[np.arange(64) % number]
    labels = classes[np.arange(64) % number]
    answered = replace(answers.exact, classes=classes, probabilities=probabilities, labels=labels)
    figure = figures.confusion_matrix(answered, labels)
    assert len(figure.axes[0].get_xticklabels()) == named
    assert len(figure.axes[0].texts) == written
    assert figure.get_size_inches().max() < 20


def test_the_reliability_diagram_has_the_bins_and_their_intervals(answers: Answers) -> None:
    figure = figures.reliability_diagram(answers.exact, answers.labels)
    found = calibrate(answers.exact, answers.labels)
    upper, lower = figure.axes
    filled = found.counts > 0
    (container,) = upper.containers
    np.testing.assert_allclose(container.lines[0].get_xdata(), found.certainties[filled])
    np.testing.assert_allclose(container.lines[0].get_ydata(), found.hits[filled] / found.counts[filled])
    np.testing.assert_allclose([(low, high) for _, low, high in bars(container)], found.intervals[filled])
    assert [bar.get_height() for bar in lower.patches] == found.counts.tolist()
    assert [bar.get_x() for bar in lower.patches] == pytest.approx([i / BINS for i in range(BINS)])
    low, high = found.interval
    assert upper.get_title() == f"Expected calibration error {found.error:.3f} (95 % interval {low:.3f} to {high:.3f})"
    saved(figure)


def test_the_certainty_histogram_counts_right_and_wrong(answers: Answers) -> None:
    figure = figures.certainty_histogram(answers.exact, answers.labels)
    (panel,) = figure.axes
    wrong, right = panel.containers
    certainty = answers.exact.probabilities.max(axis=1)
    hits = answers.exact.labels == np.array(answers.labels)
    edges = np.linspace(0, 1, 2 * BINS + 1)
    assert [bar.get_height() for bar in wrong] == np.histogram(certainty[~hits], edges)[0].tolist()
    assert [bar.get_height() for bar in right] == np.histogram(certainty[hits], edges)[0].tolist()
    assert {text.get_text() for text in panel.get_legend().get_texts()} == {
        f"wrong: {np.sum(~hits)}",
        f"right: {np.sum(hits)}",
        "one in 3: a guess",
    }
    saved(figure)


# Noise


def test_accuracy_against_shots_has_every_point_and_the_exact_line(answers: Answers) -> None:
    figure = figures.accuracy_against_shots(answers.exact, answers.sampled, answers.labels)
    (panel,) = figure.axes
    points = [compare(answers.exact, answers.sampled[i], answers.labels) for i in (1, 2, 0)]
    (container,) = panel.containers
    assert container.lines[0].get_xdata().tolist() == [5, 50, 400]
    assert container.lines[0].get_ydata().tolist() == [point.accuracy[0] for point in points]
    for (x, low, high), point in zip(bars(container), points, strict=True):
        assert (x, low, high) == pytest.approx((point.shots, *point.accuracy[1:]))
    (exact,) = [line for line in panel.lines if "exact" in str(line.get_label())]
    evaluation = evaluate_labels(LABELS, answers.labels, answers.exact.labels.tolist())
    assert set(exact.get_ydata()) == {evaluation.accuracy}
    band = panel.patches[0].get_extents().transformed(panel.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx(evaluation.interval)
    assert panel.get_xscale() == "log"
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["5", "50", "400"]
    saved(figure)


def test_exact_against_noisy_has_every_value(answers: Answers) -> None:
    noisy = answers.sampled[1]
    figure = figures.exact_against_noisy(answers.exact, noisy)
    left, middle, right = figure.axes
    found = compare(answers.exact, noisy)
    exact_values, noisy_values = answers.exact.expectations.values, noisy.expectations.values

    points = next(line for line in left.lines if len(line.get_xdata()) == exact_values.size)
    np.testing.assert_array_equal(points.get_xdata(), exact_values.ravel())
    np.testing.assert_array_equal(points.get_ydata(), (noisy_values - exact_values).ravel())
    upper, lower = (line for line in left.lines if line.get_color() not in (points.get_color(), "#777777"))
    np.testing.assert_allclose(upper.get_ydata(), -np.asarray(lower.get_ydata()))
    assert (np.asarray(upper.get_ydata()) > 0).all()

    same, other = middle.containers
    assert 0 < found.flipped.sum() < 64, "or this test says little"
    winners = answers.exact.probabilities.argmax(axis=1)
    for container, chosen in ((same, ~found.flipped), (other, found.flipped)):
        rows = np.flatnonzero(chosen)
        values, errors = noisy.probabilities[rows, winners[rows]], noisy.standard_errors[rows, winners[rows]]
        np.testing.assert_allclose(container.lines[0].get_xdata(), answers.exact.probabilities[rows, winners[rows]])
        np.testing.assert_allclose(container.lines[0].get_ydata(), values)
        ends = np.array(bars(container))
        np.testing.assert_allclose(ends[:, 2] - ends[:, 1], 2 * 1.959963984540054 * errors)
    share, low, high = (100 * value for value in found.flips)
    assert middle.get_title() == f"{share:.1f} % of labels flip ({low:.1f} to {high:.1f} %)"

    heights = [bar.get_height() for bar in right.patches]
    edges = [right.patches[0].get_x(), *(bar.get_x() + bar.get_width() for bar in right.patches)]
    np.testing.assert_allclose(heights, np.histogram(np.clip(found.z, -5, 5), edges, density=True)[0])
    rms = found.rms_z
    assert right.get_title() == f"z is {rms[0]:.2f} (rms; {rms[1]:.2f} to {rms[2]:.2f})"
    saved(figure)


def test_the_band_is_that_of_the_error_bars(classifier: Classifier, answers: Answers) -> None:
    """Shot noise of S shots: ±1.96·√((1 − m²)/S), and 95 % of the points are within."""
    noisy = answers.sampled[0]
    left = figures.exact_against_noisy(answers.exact, noisy).axes[0]
    points = next(line for line in left.lines if len(line.get_xdata()) == 64 * 4)
    band = next(line for line in left.lines if "95 %" in str(line.get_label()))
    places, limits = np.asarray(band.get_xdata()), np.asarray(band.get_ydata())
    np.testing.assert_allclose(limits, 1.96 * np.sqrt((1 - places**2) / 400), rtol=0.15, atol=0.02)
    inside = np.abs(points.get_ydata()) <= np.interp(points.get_xdata(), places, limits)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_many_points_are_one_picture(classifier: Classifier, answers: Answers) -> None:
    """Or a page of a thousand texts would have eleven thousand points, each a line of its file."""
    few, many = answers.exact.expectations, 20
    values = np.tile(few.values, (many, 1))
    noisy = np.tile(answers.sampled[0].expectations.covariance, (many, 1, 1))  # type: ignore[arg-type]
    exact = classifier.readout.predict(replace(few, values=values, shots=np.zeros(len(values), np.int64)))
    other = classifier.readout.predict(replace(exact.expectations, covariance=noisy, backend="aer"))
    assert len(saved(figures.exact_against_noisy(exact, other))) < 250_000


def test_one_text_has_no_interval_of_z(classifier: Classifier) -> None:
    exact, noisy = classifier.classify("sun"), classifier.classify("sun", backend=AerBackend(9, seed=1))
    assert figures.exact_against_noisy(exact, noisy).axes[2].get_title().endswith("(rms; of one text)")


# What fits nowhere


@pytest.mark.parametrize("draw", [figures.confusion_matrix, figures.reliability_diagram, figures.certainty_histogram])
def test_labels_that_do_not_fit_are_refused(answers: Answers, draw: Any) -> None:
    with pytest.raises(InputError, match=r"found 1 .*; expected as many, not 0$"):
        draw(answers.exact, "sport")
    with pytest.raises(InputError, match=r"^label 3: found 'tennis'; expected one of "):
        draw(answers.exact, ["sport", "money", "tennis"] + ["sport"] * 61)
    with pytest.raises(InputError, match=r"^labels\[0\]: found None; expected str$"):
        draw(answers.exact, [None] * 64)
    saved(draw(answers.exact, np.array(answers.labels)))


def test_a_curve_needs_points(answers: Answers) -> None:
    with pytest.raises(InputError, match=r"^accuracy_against_shots: found no predictions with shots; expected some$"):
        figures.accuracy_against_shots(answers.exact, [], answers.labels)
    with pytest.raises(InputError, match="without error bars"):
        figures.accuracy_against_shots(answers.exact, [answers.exact], answers.labels)
    with pytest.raises(InputError, match="without error bars"):
        figures.exact_against_noisy(answers.exact, answers.exact)


# The circuit


def test_the_circuit_has_its_data_angles_by_name() -> None:
    circuit = entangled_circuit(11)
    figure = figures.circuit_diagram(circuit)
    (panel,) = figure.axes
    blue = [text.get_text() for text in panel.texts if to_hex(text.get_color()) == DARK.lower()]
    assert sorted(blue) == sorted(circuit.inputs)
    wires = [text.get_text() for text in panel.texts if text.get_text().startswith("${q}")]
    assert len(wires) % 11 == 0
    assert len(wires) > 11, "a long circuit is folded"
    assert figure.get_size_inches()[0] <= 12
    saved(figure)


def test_a_short_circuit_is_one_line() -> None:
    qasm = """
    OPENQASM 3.0;
    include "stdgates.inc";
    input float[64] m;
    qubit[2] q;
    rx(2 * m) q[0];
    p(0.5) q[1];
    cx q[0], q[1];
    """
    circuit = Circuit(qasm, ("m",), ("IZ", "ZI"))
    assert circuit.to_qiskit().global_phase, "lowered, it has a phase, which Qiskit would write onto pyplot's figure"
    figure = figures.circuit_diagram(circuit)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len([text for text in texts if text.startswith("${q}")]) == 2
    blue = [text.get_text() for text in figure.axes[0].texts if to_hex(text.get_color()) == DARK.lower()]
    assert blue == ["2*m"], "not what has an m in its name, such as every gate in mathematical writing"
    assert pyplot.get_fignums() == []
    width, height = figure.get_size_inches()
    assert 1 < width < 4
    assert 1 < height < 4


def test_pyplot_has_no_part_in_it(student_path: Path) -> None:
    code = """
    import sys
    from qdinfer import AerBackend, Classifier, figures
    assert not {"matplotlib", "qiskit"} & set(sys.modules)
    clf = Classifier.load(sys.argv[1])
    texts = ["sun", "rain", "goal"]
    exact, noisy = clf.classify(texts), clf.classify(texts, backend=AerBackend(9, seed=1))
    figures.confusion_matrix(exact, exact.labels)
    figures.reliability_diagram(exact, exact.labels)
    figures.certainty_histogram(exact, exact.labels)
    figures.accuracy_against_shots(exact, [noisy], exact.labels)
    figures.exact_against_noisy(exact, noisy)
    assert "matplotlib.pyplot" not in sys.modules
    figures.circuit_diagram(clf.circuit).savefig("/dev/null", format="png")
    from matplotlib import pyplot
    print(pyplot.get_fignums())
    """
    assert python(code, str(student_path)) == "[]"


@pytest.mark.parametrize(
    ("blocked", "call", "feature"),
    [
        ("matplotlib", "confusion_matrix(answers, answers.labels)", "drawing"),
        ("matplotlib", "circuit_diagram(clf.circuit)", "drawing a circuit"),
        ("pylatexenc", "circuit_diagram(clf.circuit)", "drawing a circuit"),
    ],
)
def test_a_missing_extra_names_its_install(student_path: Path, blocked: str, call: str, feature: str) -> None:
    code = f"""
    import sys, qdinfer
    from qdinfer import figures
    clf = qdinfer.Classifier.load(sys.argv[1])
    answers = clf.classify(["sun"])
    try:
        figures.{call}
    except qdinfer.MissingExtraError as error:
        print(error)
    """
    message = f'{feature} needs an optional part: pip install "qdinfer[report]"'
    assert python(code, str(student_path), blocked=(blocked,)) == message


# Threads


def test_figures_can_be_made_in_many_threads(answers: Answers) -> None:
    def heights(_: int) -> list[float]:
        figure = figures.certainty_histogram(answers.exact, answers.labels)
        figures.exact_against_noisy(answers.exact, answers.sampled[0])
        return [patch.get_height() for patch in figure.axes[0].patches]

    with ThreadPoolExecutor(8) as pool:
        drawn = list(pool.map(heights, range(8)))
    assert all(one == other for one, other in pairwise(drawn))
