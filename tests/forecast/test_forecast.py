"""Forecasts: what they promise of runs is what runs give, drawn shot by shot from the same twin."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from forecast_twins import noise, twin
from hypothesis import given, settings
from hypothesis import strategies as st

from qdinfer import AerBackend, BackendError, Classifier, InputError, Readout
from qdinfer.agreement import compare
from qdinfer.backends.base import MAX_SHOTS
from qdinfer.backends.twin import TwinBackend
from qdinfer.forecast import CURVE, SETTLED, Forecast, Workload, forecast
from qdinfer.predictions import IntArray

ERROR, MISREAD = 0.03, 0.06
RUNS = 150


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "mitigated"])
def told(request: pytest.FixtureRequest, work: Workload) -> Forecast:
    return forecast(work, twin(ERROR, MISREAD), shots=300, mitigate_readout=request.param)


def ran(work: Workload, told: Forecast, shots: int, seed: int) -> IntArray:
    """(N,) classes that a run gives, its outcomes drawn one by one."""
    backend = TwinBackend(twin(ERROR, MISREAD), shots=shots, seed=seed, mitigate_readout=told.mitigated)
    values = backend.measure(work.circuit, work.angles, shots).values
    return work.readout.logits(values).argmax(axis=1)


def exact_classes(work: Workload) -> IntArray:
    return work.readout.logits(work.exact).argmax(axis=1)


def test_runs_lie_where_they_are_forecast(work: Workload, told: Forecast) -> None:
    runs = np.array([ran(work, told, told.shots, seed) for seed in range(RUNS)])
    exact = exact_classes(work)
    assert told.accuracy is not None
    for share, shares in (
        (told.accuracy, (runs == work.labels).mean(axis=1)),
        (told.flipped, (runs != exact).mean(axis=1)),
    ):
        error = shares.std(ddof=1) / np.sqrt(RUNS)
        assert abs(share.mean - shares.mean()) < 5 * error
        assert share.low < share.mean < share.high
        # 95 % of the runs, and more only by the ends, which are whole texts.
        assert np.mean((shares >= share.low - 1e-9) & (shares <= share.high + 1e-9)) > 0.9
        step = 1 / len(work)
        assert np.mean((shares > share.low + step) & (shares < share.high - step)) < 0.975


def test_infinitely_many_shots_are_the_twins_own(work: Workload, told: Forecast) -> None:
    backend = TwinBackend(twin(ERROR, MISREAD), mitigate_readout=told.mitigated)
    limit = work.readout.predict(backend.expectations(work.circuit, work.angles))
    classes = limit.probabilities.argmax(axis=1)
    assert told.limit_accuracy == np.mean(classes == work.labels)
    assert told.limit_flipped == np.mean(classes != exact_classes(work))
    assert told.exact_accuracy == np.mean(exact_classes(work) == work.labels) == work.exact_accuracy


def test_the_shots_needed_settle_so_many_labels_and_fewer_do_not(work: Workload, told: Forecast) -> None:
    assert told.shots_needed is not None
    settled = [
        forecast(
            work, twin(ERROR, MISREAD), shots=shots, mitigate_readout=told.mitigated, seed=1
        ).settled.mean  # other draws than those that the number was found with
        for shots in (told.shots_needed // 2, told.shots_needed, told.shots_needed * 2)
    ]
    assert settled[0] < SETTLED < settled[2]
    assert settled[1] == pytest.approx(SETTLED, abs=0.0015)


def test_z_is_what_compare_finds_on_runs(
    classifier: Classifier, texts: list[str], work: Workload, told: Forecast
) -> None:
    exact = classifier.classify(texts)
    found = []
    for seed in range(8):
        backend = TwinBackend(twin(ERROR, MISREAD), shots=told.shots, seed=seed, mitigate_readout=told.mitigated)
        found.append(compare(exact, classifier.classify(texts, backend=backend)).rms_z[0])
    assert told.rms_z == pytest.approx(np.sqrt(np.mean(np.square(found))), rel=0.1)


def test_the_curve_goes_through_the_forecast(work: Workload) -> None:
    told = forecast(work, twin(ERROR, MISREAD), shots=CURVE[2])
    (point,) = [point for point in told.curve if point.shots == told.shots]
    assert [point.shots for point in told.curve] == list(CURVE)
    assert told.accuracy is not None
    assert point.accuracy == pytest.approx(told.accuracy.mean, abs=0.005)
    assert point.as_exact == pytest.approx(1 - told.flipped.mean, abs=0.005)
    assert point.settled == pytest.approx(told.settled.mean, abs=0.005)


def test_mitigation_takes_readout_error_away_and_has_the_error_of_its_calibration(work: Workload) -> None:
    plain, mitigated = (forecast(work, twin(1e-9, 0.1), shots=MAX_SHOTS, mitigate_readout=m) for m in (False, True))
    assert plain.limit_flipped > 0.05
    assert mitigated.limit_flipped == 0
    assert mitigated.rms_z < 2 < plain.rms_z


def test_without_noise_only_shots_are_left(work: Workload) -> None:
    told = forecast(work, twin(1e-12), shots=400)
    assert told.limit_flipped == 0
    assert told.rms_z == pytest.approx(1, abs=0.01)
    assert told.flipped == pytest.approx((1 - told.settled.mean, 1 - told.settled.high, 1 - told.settled.low))


@settings(max_examples=5)
@given(shots=st.integers(1, MAX_SHOTS), mitigated=st.booleans(), seed=st.integers(0, 2**64 - 1))
def test_every_forecast_is_in_order(work: Workload, shots: int, mitigated: bool, seed: int) -> None:
    unlabelled = replace(work, labels=None)
    told = forecast(unlabelled, twin(ERROR, MISREAD), shots=shots, mitigate_readout=mitigated, seed=seed)
    assert told.accuracy is told.limit_accuracy is told.exact_accuracy is None
    for share in (told.flipped, told.settled):
        assert 0 <= share.low <= share.high <= 1
        # Where nearly all runs are alike, the few others may pull the mean past an end: by their share at most.
        assert share.low - 0.025 <= share.mean <= share.high + 0.025
    settled = [point.settled for point in told.curve]
    assert mitigated or settled == sorted(settled), "more shots settle more labels: the draws are the same"
    assert json.loads(json.dumps(told.to_dict()))["flipped"]["mean"] == told.flipped.mean


def test_the_seed_makes_it_repeatable(work: Workload) -> None:
    one, again, other = (forecast(work, twin(ERROR, MISREAD), shots=50, seed=seed) for seed in (7, 7, 8))
    assert one == again
    assert one != other


def test_a_text_between_two_classes_never_settles(work: Workload) -> None:
    device = twin(ERROR)
    limit = TwinBackend(device).expectations(work.circuit, work.angles[:1]).values[0]
    weights = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]])
    tied = Readout(("one", "other"), weights, np.array([0, limit[0] - 1e-9]))  # the lead is 1e-9
    some = replace(work, readout=tied, angles=work.angles[:1], exact=work.exact[:1], labels=None)
    told = forecast(some, device)
    assert told.shots_needed is None
    assert told.settled.mean == pytest.approx(0.5, abs=0.06)


# Failures


def test_what_is_no_workload_is_refused(classifier: Classifier) -> None:
    for texts, labels, message in (
        ([], None, "found 0 texts; expected texts, and as many labels or none"),
        (["sun"], ["weather", "sport"], "found 1 texts and 2 labels; expected"),
        (["sun"], ["tennis"], "found 'tennis'; expected one of"),
        ([None], None, r"texts\[0\]: found None; expected str"),
    ):
        with pytest.raises(InputError, match=message):
            Workload.of(classifier, texts, labels)  # type: ignore[arg-type]
    sampled = Classifier(classifier.artifact, backend=AerBackend(10, seed=1))
    with pytest.raises(InputError, match="found aer with shots; expected an exact backend"):
        Workload.of(sampled, ["sun"])


def test_a_forecast_out_of_range_is_refused(work: Workload) -> None:
    with pytest.raises(InputError, match="shots: found 0; expected a whole number from 1"):
        forecast(work, twin(ERROR), shots=0)
    with pytest.raises(InputError, match="seed: found -1; expected"):
        forecast(work, twin(ERROR), seed=-1)


def test_a_readout_that_says_nothing_cannot_be_mitigated(work: Workload) -> None:
    useless = twin(ERROR, 0.33)
    assert forecast(work, useless).limit_flipped > 0
    with pytest.raises(BackendError, match="readout of observable 0: found a damping factor of"):
        forecast(work, useless, mitigate_readout=True)


def test_noise_of_the_tests_is_as_it_is_made() -> None:
    assert {each.read_0_as_1 for each in noise(ERROR, MISREAD).qubits} == {MISREAD}
    assert {each.read_1_as_0 for each in noise(ERROR, MISREAD).qubits} == {2 * MISREAD}
