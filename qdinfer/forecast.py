"""What a run on a device would give, before anything is run: accuracy, labels that flip, shots that are needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .backends.base import MAX_SHOTS
from .backends.sampling import check_factors
from .backends.twin import CALIBRATION_SHOTS, TwinBackend
from .circuit import Circuit
from .classifier import Classifier
from .errors import InputError, whole_number
from .evaluation import check_labels
from .noise.twin import Twin
from .predictions import FloatArray, IntArray
from .readout import Readout
from .texts import checked_texts

__all__ = ["CURVE", "RUNS", "SETTLED", "Forecast", "Point", "Share", "Workload", "forecast"]

RUNS = 2000
"""Runs that are drawn. The ends of a 95 % interval are known to 0.06 standard deviations of a run, its mean to 0.02."""
SETTLED = 0.99
"""Share of labels that shall be those of infinitely many shots."""
CURVE = tuple(4**k for k in range(2, 10))
"""Shots a text of the points of a curve."""
_FEWEST, _LABELS = 200, 2**17  # runs, and labels over all of them, for a mean
_NUMBERS = 2**22  # drawn at once: 16 MB as float32
_CLOSE = 1.01  # to which the shots needed are looked for


class Share(NamedTuple):
    """A share of the texts: its mean over runs, and the interval that 95 % of the runs lie in."""

    mean: float
    low: float
    high: float


class Point(NamedTuple):
    """Means over runs with so many shots a text.

    Shares of labels: the true ones (None if not known), the exact ones, and those of infinitely many shots there.
    """

    shots: int
    accuracy: float | None
    as_exact: float
    settled: float


@dataclass(frozen=True)
class Workload:
    """N texts made ready for any number of forecasts: encoded once, with their exact values.

    Attributes:
        circuit, readout: the student's.
        angles: (N, P) float32.
        exact: (N, M) exact expectation values.
        labels: (N,) the true class of each text, by its number; None where it is not known.
        cut: how many texts are longer than the student reads.
    """

    circuit: Circuit
    readout: Readout
    angles: FloatArray
    exact: FloatArray
    labels: IntArray | None
    cut: int

    @classmethod
    def of(
        cls, classifier: Classifier, texts: str | Iterable[str], labels: str | Iterable[str] | None = None
    ) -> Workload:
        """Encode texts, and evaluate them exactly.

        Args:
            classifier: the student, on an exact backend.
            texts: (N,) texts.
            labels: (N,) their true labels; None where accuracy is not wanted.

        Raises:
            InputError: no texts, something that is no text, another number of labels, a label that is none of the
                classes, or a backend with shots.
        """
        given, names = checked_texts(texts), classifier.readout.labels
        true = None if labels is None else checked_texts(labels, "labels")
        if not given or (true is not None and len(true) != len(given)):
            found = "" if true is None else f" and {len(true)} labels"
            raise InputError(f"forecast: found {len(given)} texts{found}; expected texts, and as many labels or none")
        check_labels(names, true or ())
        angles, overlong = classifier.encoder.encode_marked(given)
        exact = classifier.backend.expectations(classifier.circuit, angles)
        if exact.covariance is not None:
            raise InputError(f"classifier: found {exact.backend} with shots; expected an exact backend")
        classes = None if true is None else np.array([names.index(label) for label in true], np.int64)
        return cls(classifier.circuit, classifier.readout, angles, exact.values, classes, int(overlong.sum()))

    @property
    def exact_accuracy(self) -> float | None:
        """The share of right labels, exactly evaluated; None without true labels."""
        return None if self.labels is None else float(np.mean(_classes(self.readout, self.exact) == self.labels))

    def __len__(self) -> int:
        return len(self.angles)


@dataclass(frozen=True)
class Forecast:
    """What one run of these texts on a device would give.

    An interval is that of one run on these very texts: it has the shots' chance in it, but not that of other texts.

    Attributes:
        device: its name.
        calibrated: when, ISO 8601.
        texts: how many.
        shots: of each text.
        mitigated: whether readout error is divided out.
        correlated: whether it is known how the shots of two observables vary together; if not, they are taken to be
            independent.
        bound: of the error of an expectation value, by terms that were left out of the twin.
        exact_accuracy: the share of right labels by exact values; None without true labels, as the next two.
        accuracy: that by a run.
        limit_accuracy: that by infinitely many shots on the device.
        flipped: the share of labels that are other ones than the exact ones, by a run.
        limit_flipped: that by infinitely many shots.
        settled: the share of labels that are those of infinitely many shots.
        shots_needed: shots a text for `SETTLED` of the labels to be so, on average over runs; None if `MAX_SHOTS` are
            not enough.
        rms_z: the root mean square of z = (measured − exact) / standard error over texts and observables: 1 if shot
            noise is all, and above it where the device's noise shows, of which error bars do not know.
        curve: the same with other numbers of shots.
    """

    device: str
    calibrated: str
    texts: int
    shots: int
    mitigated: bool
    correlated: bool
    bound: float
    exact_accuracy: float | None
    accuracy: Share | None
    limit_accuracy: float | None
    flipped: Share
    limit_flipped: float
    settled: Share
    shots_needed: int | None
    rms_z: float
    curve: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        shares = {name: getattr(self, name) for name in ("accuracy", "flipped", "settled")}
        named = {name: None if share is None else share._asdict() for name, share in shares.items()}
        return vars(self) | named | {"curve": [point._asdict() for point in self.curve]}


def forecast(
    work: Workload, twin: Twin, *, shots: int = 4096, mitigate_readout: bool = False, seed: int = 0
) -> Forecast:
    """Draw runs of a workload on a device's twin.

    A run's values are normal, around the twin's with the covariance of its shots, as they are from about 100 shots on.
    Where readout error is divided out, all texts of a run share one calibration of the empty circuit, and its error, as
    a job does on a device. `RUNS` runs are drawn for the intervals; for the curve and the shots that are needed at
    least 200, and 130 000 labels, so that these shots are known to about 5 %.

    Args:
        work: the texts.
        twin: of the device, for the same circuit.
        shots: of each text.
        mitigate_readout: whether readout error is divided out, see `RuntimeSettings`.
        seed: of the draws: the same gives the same forecast.

    Raises:
        InputError: shots or seed out of range.
        BackendError: the twin is that of another circuit, or its readout is too bad to be mitigated.
    """
    shots = whole_number("shots", shots, 1, MAX_SHOTS)
    answers = _Answers.of(work, twin, mitigate_readout, whole_number("seed", seed, 0, 2**64 - 1))
    exact, limit = _classes(work.readout, work.exact), _classes(work.readout, answers.limit)
    wanted = [exact, limit] if work.labels is None else [exact, limit, work.labels]
    as_exact, settled, *right = (_share(hits) for hits in answers.hits(shots, RUNS, wanted))
    runs = max(_FEWEST, -(-_LABELS // len(work)))
    curve = []
    for each in CURVE:
        same, stands, *true = (float(hits.mean()) for hits in answers.hits(each, runs, wanted))
        curve.append(Point(each, true[0] if true else None, same, stands))
    return Forecast(
        device=twin.spec.noise.device,
        calibrated=twin.spec.noise.calibrated,
        texts=len(work),
        shots=shots,
        mitigated=mitigate_readout,
        correlated=twin.spec.pairs,
        bound=twin.spec.bound,
        exact_accuracy=work.exact_accuracy,
        accuracy=right[0] if right else None,
        limit_accuracy=None if work.labels is None else float(np.mean(limit == work.labels)),
        flipped=Share(1 - as_exact.mean, 1 - as_exact.high, 1 - as_exact.low),
        limit_flipped=float(np.mean(limit != exact)),
        settled=settled,
        shots_needed=_needed(answers, limit, runs),
        rms_z=answers.rms_z(work.exact, shots),
        curve=tuple(curve),
    )


@dataclass(frozen=True)
class _Answers:
    """What a device measures: (N, M) means, with (N, M, M) square roots of the covariance of one shot in float32.

    The means are divided by (M,) factors, which are measured too, with the (M, M) square root of their covariance.
    """

    readout: Readout
    seed: int
    means: FloatArray
    roots: FloatArray
    factors: FloatArray
    factor_root: FloatArray

    @classmethod
    def of(cls, work: Workload, twin: Twin, mitigated: bool, seed: int) -> _Answers:
        backend = TwinBackend(twin, mitigate_readout=mitigated)
        means, covariance = backend.moments(work.circuit, work.angles)
        roots, m = _root(covariance).astype(np.float32), means.shape[1]
        if not mitigated:
            return cls(work.readout, seed, means, roots, np.ones(m), np.zeros((m, m)))
        check_factors(backend.factors[None], backend.factor_covariance[None] / CALIBRATION_SHOTS)
        return cls(work.readout, seed, means, roots, backend.factors, _root(backend.factor_covariance))

    @property
    def limit(self) -> FloatArray:
        """(N, M) values of infinitely many shots."""
        return self.means / self.factors

    def hits(self, shots: int, runs: int, wanted: Sequence[IntArray]) -> list[FloatArray]:
        """(runs,) for each of the wanted (N,) classes: the share of texts that get them."""
        counts = np.zeros((len(wanted), runs))
        for part, classes in self._drawn(shots, runs):
            for count, each in zip(counts, wanted, strict=True):
                count += (classes == each[part, None]).sum(axis=0)
        return list(counts / len(self.means))

    def _drawn(self, shots: int, runs: int) -> Iterator[tuple[slice, IntArray]]:
        """Some texts at a time, (n, runs) classes."""
        random = np.random.default_rng(self.seed)
        m = len(self.factors)
        errors = random.standard_normal((runs, m)) @ self.factor_root.T / math.sqrt(max(CALIBRATION_SHOTS, shots))
        factors = (self.factors + errors).astype(np.float32)
        step = max(1, _NUMBERS // (runs * m))
        for start in range(0, len(self.means), step):
            part = slice(start, start + step)
            means, roots = self.means[part, None].astype(np.float32), self.roots[part].transpose(0, 2, 1)
            noise = random.standard_normal((len(means), runs, m), np.float32) @ roots
            yield part, _classes(self.readout, (means + noise / np.float32(math.sqrt(shots))) / factors)

    def rms_z(self, exact: FloatArray, shots: int) -> float:
        """See `Forecast.rms_z`; standard errors are those of `Measured.expectations`."""
        shrunk = self.means * shots / (shots + 2)
        variances = (1 - np.minimum(1.0, shrunk**2)) / (shots + 3) + (self.means - shrunk) ** 2
        calibrated = (self.factor_root**2).sum(axis=1) / max(CALIBRATION_SHOTS, shots)
        variances = (variances + self.limit**2 * calibrated) / self.factors**2
        return math.sqrt(1 + float(np.mean((self.limit - exact) ** 2 / variances)))


def _classes(readout: Readout, values: FloatArray) -> IntArray:
    """(…, M) expectation values to (…) classes, by their numbers."""
    classes: IntArray = readout.logits(values).argmax(axis=-1).astype(np.int64)
    return classes


def _root(covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)  # not Cholesky: it may be singular
    root: FloatArray = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
    return root


def _share(hits: FloatArray) -> Share:
    low = np.quantile(hits, 0.025, method="lower")
    return Share(float(hits.mean()), float(low), float(np.quantile(hits, 0.975, method="higher")))


def _needed(answers: _Answers, limit: IntArray, runs: int) -> int | None:
    """By bisection, which needs that a share with more shots is not smaller: the draws are the same for all."""

    def enough(shots: int) -> bool:
        return float(answers.hits(shots, runs, [limit])[0].mean()) >= SETTLED

    low, high = 1, MAX_SHOTS
    if enough(low):
        return low
    if not enough(high):
        return None
    while high > max(low + 1, low * _CLOSE):
        middle = max(low + 1, math.isqrt(low * high))
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
