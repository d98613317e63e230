"""What forecasts come to in words, and as a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forecast_twins import twin

from qdinfer import InputError, figures
from qdinfer.cli.forecast_table import Row, table, verdict
from qdinfer.forecast import Forecast, Share, Workload, forecast


@pytest.fixture(scope="module")
def told(work: Workload) -> Forecast:
    return forecast(work, twin(0.03, 0.06), shots=300)


def row(told: Forecast, name: str, accuracy: float, low: float, high: float, seconds: float | None = None) -> Row:
    made = replace(told, texts=1000, exact_accuracy=0.9, accuracy=Share(accuracy, low, high), shots_needed=123)
    return Row(name, replace(made, flipped=Share(0.02, 0.01, 0.03)), seconds, None)


def test_the_best_is_the_most_accurate_then_the_cheapest(told: Forecast) -> None:
    rows = [
        row(told, "poor", 0.7, 0.69, 0.71, 1.0),
        row(told, "dear", 0.8901, 0.88, 0.91, 30.0),
        row(told, "cheap", 0.8899, 0.88, 0.91, 20.0),
        row(told, "unknown", 0.8899, 0.88, 0.91),
    ]
    assert verdict(rows).startswith(
        "Best: cheap, for 20 s of QPU, one of 3 that are equal to a label; about 20 of 1000"
    )
    assert verdict(rows[:1]).startswith("Best: poor, for 1 s of QPU; about 20")
    assert "130 shots a text settle 99 % of its labels." in verdict(rows), "rounded up to what is known"


@pytest.mark.parametrize(
    ("accuracy", "low", "high", "words"),
    [
        (0.895, 0.88, 0.91, "about as accurate as exact values"),
        (0.85, 0.84, 0.86, "would lose 5.0 points of accuracy against exact values"),
        (0.95, 0.94, 0.96, "would gain 5.0 points of accuracy on these texts, by chance"),
    ],
)
def test_what_a_run_is_worth(told: Forecast, accuracy: float, low: float, high: float, words: str) -> None:
    assert words in verdict([row(told, "device", accuracy, low, high)])


def test_what_else_may_be_said(told: Forecast) -> None:
    same = replace(told, flipped=Share(0.0001, 0, 0.01), shots_needed=None)
    assert "changes next to nothing" in verdict([Row("device", same, None, None)])
    assert "No number of shots settles 99 % of its labels." in verdict([Row("device", same, None, None)])
    few = replace(told, shots_needed=7)
    assert "under 100 shots a text settle 99 % of its labels." in verdict([Row("device", few, None, None)])
    unlabelled = replace(told, accuracy=None, exact_accuracy=None, limit_accuracy=None, shots_needed=5000)
    said = verdict([Row("device", unlabelled, None, None)])
    assert "nobody knows whether that is for the better" in said
    assert f"300 shots a text settle {100 * told.settled.mean:.1f} % of its labels; 99 % take 5000." in said


def test_all_lines_are_equally_long_and_a_name_cannot_drive_a_terminal(told: Forecast) -> None:
    lines = table([Row("de\x1b[31mvice", told, 3.0, 1.5), Row("other", told, None, None)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "\x1b" not in "".join(lines)
    assert lines[0].split()[-1] == "money"
    assert lines[2].endswith("1.50")
    assert lines[3].endswith("-")


def test_the_figure_has_every_curve_and_the_chosen_shots(told: Forecast, work: Workload) -> None:
    mitigated = forecast(work, twin(0.03, 0.06), shots=300, mitigate_readout=True)
    figure = figures.forecast_against_shots([told, mitigated])
    left, right = figure.axes
    curve = left.lines[0]
    assert curve.get_xdata().tolist() == [point.shots for point in told.curve]
    assert curve.get_ydata().tolist() == [point.accuracy for point in told.curve]
    assert told.accuracy is not None
    (low, high) = (bars := left.containers[0].lines[2][0].get_segments())[0][:, 1]
    assert len(bars) == 1
    assert (low, high) == pytest.approx((told.accuracy.low, told.accuracy.high))
    settled = right.lines[0]
    assert settled.get_ydata()[settled.get_xdata().tolist().index(300)] == pytest.approx(1 - told.settled.mean)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["made_up", "made_up, mitigated"]
    assert [line.get_linestyle() for line in (left.lines[0], right.lines[1])] == ["-", "--"]
    figure.canvas.draw()


def test_without_labels_it_is_held_against_exact_ones(told: Forecast, work: Workload) -> None:
    unlabelled = forecast(replace(work, labels=None), twin(0.03, 0.06), shots=300)
    (left, _) = figures.forecast_against_shots([unlabelled], names=["mine"]).axes
    assert left.lines[0].get_ydata().tolist() == [point.as_exact for point in unlabelled.curve]
    assert left.get_ylabel() == "share of labels as exact ones"


def test_forecasts_of_other_texts_do_not_go_together(told: Forecast) -> None:
    with pytest.raises(InputError, match="found 0 forecasts"):
        figures.forecast_against_shots([])
    with pytest.raises(InputError, match="found 2 forecasts, 2 names; expected as many, of the same texts"):
        figures.forecast_against_shots([told, replace(told, shots=1)])
