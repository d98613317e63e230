"""Shots until the label is sure: the rule that decides it, and the backend that follows it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from students import entangled_circuit

from benchmarks.distributions import DistributionBackend
from qdinfer import AdaptiveBackend, AerBackend, Circuit, Classifier, Expectations, InputError, Readout, SamplingBackend
from qdinfer.backends.base import Backend
from qdinfer.backends.sampling import Measured
from qdinfer.backends.sequential import _BETS, _PENALTIES, label_confidence, next_shots, open_rows
from qdinfer.predictions import Predictions

ROOT = Path(__file__).parents[2]
SIGNS = 1 - 2 * (np.arange(8)[:, None] >> np.arange(3) & 1)  # the outcomes of three observables


def from_counts(counts: np.ndarray, signs: np.ndarray = SIGNS) -> Measured:
    """(N, K) counts of K outcomes."""
    return Measured(counts @ signs, np.einsum("nk,ki,kj->nij", counts, signs, signs), counts.sum(axis=1))


def coin_readout(bias: float = 0.0) -> Readout:
    """Two classes; the first leads where the one observable is above −bias."""
    return Readout(("up", "down"), np.array([[1.0], [0.0]]), np.array([bias, 0.0]))


class TestEvidence:
    @given(st.lists(st.floats(-1, 30), min_size=2, max_size=6), st.integers(0, 2**32))
    @settings(max_examples=300, database=None)
    def test_each_bet_is_unfavourable_where_the_rival_leads(self, outcomes: list[float], seed: int) -> None:
        """E[exp(λ·y − ψ(λ)·y²)] ≤ 1 for every distribution on [−1, ∞) with E[y] ≤ 0."""
        y = np.array([-1.0, *outcomes])
        share = np.random.default_rng(seed).dirichlet(np.ones(len(y)))
        mean = share @ y
        if mean > 0:  # mix with −1 until the mean is 0
            share = share / (1 + mean)
            share[0] += mean / (1 + mean)
        assert share.sum() == pytest.approx(1)
        expected = np.exp(_BETS[:, None] * y - _PENALTIES[:, None] * y**2) @ share
        assert (expected <= 1 + 1e-9).all()

    @pytest.mark.parametrize("bias", [0.0, 0.7, -0.4])
    @pytest.mark.parametrize("alpha", [0.3, 0.05])
    def test_exact_chance_of_ever_being_sure_of_the_wrong_label(self, bias: float, alpha: float) -> None:
        """A coin, looked at after each of 600 shots: the chance is summed over all paths, not simulated."""
        shots = 600
        n, up = (grid.ravel() for grid in np.mgrid[1 : shots + 1, 0 : shots + 1])
        possible = up <= n
        counts = np.stack([up, n - up], axis=1)[possible]
        measured = from_counts(counts, np.array([[1], [-1]]))
        readout = coin_readout(bias)
        sure = np.zeros((shots + 1, shots + 1), bool)
        wrong = (label_confidence(readout, measured) >= 1 - alpha) & (readout.logits(measured.values)[:, 0] > 0)
        sure[n[possible], up[possible]] = wrong
        heads = (1 - bias) / 2 - 1e-3  # ⟨Z⟩ is 0.002 below −bias: `down` leads by a hair
        alive, failed = np.zeros(shots + 1), 0.0
        alive[0] = 1.0
        for look in range(1, shots + 1):
            alive = alive * (1 - heads) + np.concatenate([[0.0], alive[:-1] * heads])
            failed += alive[sure[look]].sum()
            alive[sure[look]] = 0.0
        assert sure.any(), "the label is never sure: this says nothing"
        assert failed <= alpha
        assert failed > alpha / 100

    @pytest.mark.parametrize("classes", [2, 3, 4])
    @pytest.mark.parametrize("gap", [1e-3, 0.05])
    def test_errors_over_many_looks(self, classes: int, gap: float) -> None:
        """Close leads, looked at every eight shots up to 4096: the fixed-number formula would fail, this one holds."""
        rng = np.random.default_rng(classes)
        rows, alpha = 400, 0.1
        weights = rng.normal(0, 1, (classes, 3))
        shares = rng.dirichlet(np.ones(8))
        scores = weights @ (shares @ SIGNS)
        readout = Readout([str(i) for i in range(classes)], weights, np.append(gap, np.zeros(classes - 1)) - scores)
        counts, failed, failed_fixed = np.zeros((rows, 8), np.int64), np.zeros(rows, bool), np.zeros(rows, bool)
        for _ in range(512):
            counts += rng.multinomial(8, shares, rows)
            measured = from_counts(counts)
            found = readout.predict(measured.expectations("test"))
            wrong = found.labels != "0"
            failed |= wrong & ~open_rows(readout, measured, 1 - alpha)
            failed_fixed |= wrong & (found.confidence >= 1 - alpha)
        assert failed.mean() <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rows)
        assert failed_fixed.mean() > 2 * alpha, "these cases are easy: they say nothing"

    def test_errors_over_many_looks_with_mitigation(self) -> None:
        """Damped by a readout that was calibrated well."""
        rng = np.random.default_rng(12)
        rows, alpha, flips = 400, 0.1, 0.06
        readout = Readout(("up", "down"), np.array([[1.0, 1.0, 1.0], [0.0] * 3]), np.array([-0.601, 0.0]))
        calibration = Measured.from_bits(rng.random((1, 1_000_000, 3)) < flips, np.eye(3, dtype=bool))
        total, failed = None, np.zeros(rows, bool)
        for _ in range(100):
            bits = (rng.random((rows, 40, 3)) < 0.4) ^ (rng.random((rows, 40, 3)) < flips)  # Σ⟨Z⟩ = 0.6
            part = Measured.from_bits(bits, np.eye(3, dtype=bool))
            total = part if total is None else total + part
            measured = total.mitigated(calibration)
            up = readout.logits(measured.values)[:, 0] > 0
            failed |= up & ~open_rows(readout, measured, 1 - alpha)
        assert failed.mean() <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rows)

    def test_rounds_and_their_order_do_not_matter(self) -> None:
        rng = np.random.default_rng(2)
        first, second = (from_counts(rng.multinomial(50, np.full(8, 1 / 8), 5)) for _ in range(2))
        readout = Readout(("a", "b", "c"), rng.normal(0, 1, (3, 3)), np.zeros(3))
        np.testing.assert_allclose(
            label_confidence(readout, first + second), label_confidence(readout, second + first), rtol=1e-12
        )

    def test_neither_scale_nor_temperature_nor_a_common_bias_matter(self) -> None:
        rng = np.random.default_rng(3)
        weights, bias = rng.normal(0, 1, (3, 3)), rng.normal(0, 0.1, 3)
        measured = from_counts(rng.multinomial(60, rng.dirichlet(np.ones(8)), 20))
        expected = label_confidence(Readout("abc", weights, bias), measured)
        assert 0 < expected.mean() < 1
        for other in (Readout("abc", 7 * weights, 7 * bias), Readout("abc", weights, bias + 2, 3.0)):
            np.testing.assert_allclose(label_confidence(other, measured), expected, atol=1e-9)

    def test_more_shots_of_a_clear_lead_make_it_surer(self) -> None:
        counts = np.array([[6, 2], [60, 20], [600, 200], [60_000_000, 20_000_000]])
        found = label_confidence(coin_readout(), from_counts(counts, np.array([[1], [-1]])))
        assert found[0] < 0.9 < found[1] < found[2]
        assert found[3] == 1.0

    def test_a_lead_that_no_shot_can_turn_is_sure_at_once(self) -> None:
        bias = Readout("ab", np.array([[1.0], [0.0]]), np.array([1.5, 0.0]))
        equal = Readout("ab", np.ones((2, 1)), np.zeros(2))  # equal scores: neither label is wrong
        alone = Readout("a", np.ones((1, 1)), np.zeros(1))
        for readout in (bias, equal, alone):
            assert label_confidence(readout, from_counts(np.array([[0, 1]]), np.array([[1], [-1]]))).tolist() == [1.0]

    def test_a_tie_is_open(self) -> None:
        tied = from_counts(np.array([[500, 500]]), np.array([[1], [-1]]))
        assert label_confidence(coin_readout(), tied).tolist() == [0.0]
        assert open_rows(coin_readout(), tied, 0.5).tolist() == [True]

    def test_other_observables_are_refused(self) -> None:
        with pytest.raises(InputError, match="readout: found 3 observables; expected 1"):
            label_confidence(coin_readout(), from_counts(np.ones((1, 8), np.int64)))


@given(st.integers(1, 100), st.integers(1, 5000))
@settings(max_examples=100, database=None)
def test_rounds_grow_to_the_cap(first: int, cap: int) -> None:
    taken, rounds = 0, []
    while more := next_shots(taken, first, cap):
        rounds.append(more)
        taken += more
    assert taken == cap
    assert rounds[0] == min(first, cap)
    assert rounds[1:-1] == sorted(rounds[1:-1])
    assert len(rounds) <= 4 + math.log(max(1, cap / first), 1.5)
    assert next_shots(cap + 1, first, cap) == 0


class Recorder(DistributionBackend):
    """One that keeps what it was asked for."""

    def __init__(self, circuit: Circuit, angles: np.ndarray, *, seed: int) -> None:
        super().__init__(circuit, angles, seed=seed)
        self.calls: list[tuple[int, int, int]] = []

    def measure(self, circuit: Circuit, angles: np.ndarray, shots: int, *, offset: int = 0) -> Measured:
        self.calls.append((len(angles), shots, offset))
        return super().measure(circuit, angles, shots, offset=offset)


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    return entangled_circuit(4)


@pytest.fixture(scope="module")
def angles() -> np.ndarray:
    return np.random.default_rng(21).uniform(-3, 3, (60, 4))


@pytest.fixture(scope="module")
def readout(circuit: Circuit) -> Readout:
    m = len(circuit.observables)
    return Readout("abc", np.random.default_rng(22).normal(0, 1.5, (3, m)), np.zeros(3))


class TestBackend:
    def test_rows_stop_when_they_are_sure_or_at_the_cap(
        self, circuit: Circuit, angles: np.ndarray, readout: Readout
    ) -> None:
        sampler = Recorder(circuit, angles, seed=1)
        backend = AdaptiveBackend(sampler, readout, confidence=0.95, max_shots=1000, first_shots=20)
        assert isinstance(backend, Backend)
        assert isinstance(sampler, SamplingBackend)
        found = backend.expectations(circuit, angles)
        assert found.backend == "statevector, adaptive"
        assert found.confidence is not None
        sure = found.confidence >= 0.95
        assert (sure | (found.shots == 1000)).all()
        assert (found.shots[sure] < 1000).any()
        assert (~sure).any()
        taken = 0
        for rows, shots, offset in sampler.calls:
            assert offset == taken
            assert rows == (found.shots > taken).sum(), "those that are closed are measured no more"
            taken += shots
        assert taken == 1000
        predictions = readout.predict(found)
        np.testing.assert_array_equal(predictions.confidence, found.confidence)
        np.testing.assert_array_equal(predictions.shots, found.shots)

    def test_rows_keep_their_order(self, circuit: Circuit, angles: np.ndarray, readout: Readout) -> None:
        sampler = DistributionBackend(circuit, angles, seed=2)
        found = AdaptiveBackend(sampler, readout, max_shots=2000).expectations(circuit, angles)
        z = (found.values - sampler.expectations(circuit, angles).values) / found.standard_errors
        assert len(set(found.shots.tolist())) > 3
        assert z.std() == pytest.approx(1, abs=0.15)

    def test_on_aer_with_a_seed(self, circuit: Circuit, angles: np.ndarray, readout: Readout) -> None:
        one, again, other = (
            AdaptiveBackend(AerBackend(1, seed=seed), readout, max_shots=300).expectations(circuit, angles)
            for seed in (7, 7, 8)
        )
        np.testing.assert_array_equal(one.values, again.values)
        np.testing.assert_array_equal(one.shots, again.shots)
        assert (one.values != other.values).mean() > 0.5
        exact = AerBackend().expectations(circuit, angles)
        assert ((one.values - exact.values) / one.standard_errors).std() == pytest.approx(1, abs=0.2)

    def test_a_mitigating_backend_keeps_its_factors(
        self, circuit: Circuit, angles: np.ndarray, readout: Readout
    ) -> None:
        m = len(circuit.observables)

        class Mitigating(DistributionBackend):
            def measure(self, circuit: Circuit, angles: np.ndarray, shots: int, *, offset: int = 0) -> Measured:
                plus = np.full((1, m), 1000, np.int64)
                perfect = Measured(plus, np.full((1, m, m), 1000, np.int64), np.array([1000]))
                return super().measure(circuit, angles, shots, offset=offset).mitigated(perfect)

        plain, mitigated = (
            AdaptiveBackend(kind(circuit, angles, seed=3), readout, max_shots=500).expectations(circuit, angles)
            for kind in (DistributionBackend, Mitigating)
        )
        np.testing.assert_array_equal(plain.values, mitigated.values)
        assert (mitigated.standard_errors >= plain.standard_errors).all()

    def test_a_cap_below_the_first_round_is_a_fixed_number(
        self, circuit: Circuit, angles: np.ndarray, readout: Readout
    ) -> None:
        sampler = Recorder(circuit, angles, seed=1)
        found = AdaptiveBackend(sampler, readout, max_shots=10).expectations(circuit, angles)
        assert set(found.shots.tolist()) == {10}
        assert len(sampler.calls) == 1

    def test_no_rows(self, circuit: Circuit, readout: Readout) -> None:
        found = AdaptiveBackend(AerBackend(), readout).expectations(circuit, np.empty((0, 4)))
        assert found.values.shape == (0, len(circuit.observables))
        assert found.confidence is not None
        assert found.confidence.shape == (0,)

    def test_in_a_classifier(self, classifier: Classifier) -> None:
        backend = AdaptiveBackend(AerBackend(seed=5, shots=1), classifier.readout, max_shots=500)
        predictions = classifier.classify(["sun rain", "goal", "bank"], backend=backend)
        assert predictions.backend == "aer, adaptive"
        np.testing.assert_array_equal(predictions.confidence, predictions.expectations.confidence)
        assert predictions[1].shots == predictions.shots[1]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"backend": "aer"}, "backend: found str; expected a SamplingBackend"),
            ({"backend": AerBackend}, "backend: found type; expected a SamplingBackend"),
            ({"readout": np.eye(3)}, "readout: found ndarray; expected a Readout"),
            ({"confidence": 1.0}, r"confidence: found 1.0; expected a number between 0 and 1"),
            ({"confidence": math.nan}, "confidence: found nan"),
            ({"max_shots": 0}, "max_shots: found 0; expected a whole number from 1"),
            ({"first_shots": 0}, "first_shots: found 0; expected a whole number from 1"),
        ],
    )
    def test_what_cannot_be_used(self, readout: Readout, change: dict[str, object], message: str) -> None:
        arguments = {"backend": AerBackend(), "readout": readout} | change
        with pytest.raises(InputError, match=message):
            AdaptiveBackend(arguments.pop("backend"), arguments.pop("readout"), **arguments)  # type: ignore[arg-type]

    def test_a_readout_of_another_student(self, circuit: Circuit) -> None:
        with pytest.raises(InputError, match=r"readout: found a circuit of 4 observables; expected 1"):
            AdaptiveBackend(AerBackend(), coin_readout()).expectations(circuit, np.zeros((1, 4)))


def test_confidence_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"found confidence \(2,\); expected \(3,\)"):
        Expectations(np.zeros((3, 1)), np.ones(3, np.int64), "test", np.zeros((3, 1, 1)), np.ones(2))


@pytest.fixture(scope="module")
def folded() -> Classifier:
    return Classifier.load(ROOT / "exported_models" / "topic-folded")


@pytest.fixture(scope="module")
def rows(folded: Classifier) -> np.ndarray:
    """Angles of 250 texts of words that the student knows, each 40 times: 10 000 measurements."""
    vocabulary = sorted(json.loads(folded.artifact.files["tokenizer.json"])["model"]["vocab"])
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(vocabulary, size=rng.integers(3, 40))) for _ in range(250)]
    return np.repeat(folded.encoder.encode(texts), 40, axis=0)


@pytest.fixture(scope="module")
def sampler(folded: Classifier, rows: np.ndarray) -> DistributionBackend:
    return DistributionBackend(folded.circuit, rows, seed=4)


@pytest.fixture(scope="module")
def exact(folded: Classifier, rows: np.ndarray, sampler: DistributionBackend) -> Predictions:
    return folded.readout.predict(sampler.expectations(folded.circuit, rows))


def test_the_distributions_are_those_of_the_exact_engine(
    folded: Classifier, rows: np.ndarray, exact: Predictions
) -> None:
    engine = folded.backend.expectations(folded.circuit, rows)
    np.testing.assert_allclose(exact.expectations.values, engine.values, atol=1e-5)


def test_intervals_of_95_percent_cover(
    folded: Classifier, rows: np.ndarray, sampler: DistributionBackend, exact: Predictions
) -> None:
    measured = sampler.measure(folded.circuit, rows, 1000)
    found = folded.readout.predict(measured.expectations("test"))
    values = np.abs(found.expectations.values - exact.expectations.values)
    assert 0.94 <= np.mean(values <= 1.96 * found.expectations.standard_errors) <= 0.96
    probabilities = np.abs(found.probabilities - exact.probabilities)
    assert 0.94 <= np.mean(probabilities <= 1.96 * found.standard_errors) <= 0.96


def test_a_fraction_of_the_shots_gives_labels_as_good(
    folded: Classifier, rows: np.ndarray, sampler: DistributionBackend, exact: Predictions
) -> None:
    """Texts of random words are closer calls than news, so this is a hard case."""
    some, labels = rows[::4], exact.labels[::4]
    found = folded.readout.predict(AdaptiveBackend(sampler, folded.readout).expectations(folded.circuit, some))
    fixed = folded.readout.predict(sampler.measure(folded.circuit, some, 4096).expectations("test"))
    assert np.mean(found.labels == labels) >= np.mean(fixed.labels == labels) - 0.01
    assert np.mean((found.confidence >= 0.99) & (found.labels != labels)) <= 0.01
    assert found.shots.mean() <= 4096 / 2
