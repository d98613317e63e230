"""Shots where they are needed: a few for clear texts, up to a cap for close ones."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..circuit import Circuit
from ..errors import InputError, whole_number
from ..predictions import Expectations, FloatArray, IntArray
from ..readout import Readout
from .base import MAX_SHOTS, SamplingBackend
from .sampling import Measured
from .sequential import label_confidence, next_shots, open_rows

__all__ = ["AdaptiveBackend"]


class AdaptiveBackend:
    """Measures each text until its label is sure, or the cap is reached.

    All texts get a first round of shots, then those whose label is not yet sure another, and so on. The rule is sound
    under this repeated looking (see `qdinfer.backends.sequential`): with a chance of at most 1 − confidence, a text is
    given a label with that confidence or more which is not the one of infinitely many shots. Texts that are still open
    at the cap keep the label that leads, with the lower confidence that it has.

    The error bars of values and probabilities are those of as many shots fixed beforehand. Stopping depends on what
    was measured, and nothing corrects them for it; and a text that stops early has few shots, with which its error bars
    are rough by themselves. On 785 news texts, those of 95 % covered the exact expectation values in 95.5 % (student
    `topic`) and 94.5 % (`topic-folded`) of the cases, and the exact probabilities in 96.9 % and 92.5 %; with the same
    numbers of shots, but fresh ones, it was 95.4 % and 94.4 %, 96.9 % and 93.5 %. See `benchmarks/adaptive_shots.py`.
    """

    def __init__(
        self,
        backend: SamplingBackend,
        readout: Readout,
        *,
        confidence: float = 0.99,
        max_shots: int = 4096,
        first_shots: int = 32,
    ) -> None:
        """Set the budget.

        Args:
            backend: what measures; shots that it was made with do not count here.
            readout: the layer that labels what is measured, such as `Classifier.readout`.
            confidence: how sure a label shall be, in (0, 1).
            max_shots: the most shots a text.
            first_shots: the shots of the first round; at most `max_shots` are taken.

        Raises:
            InputError: no such backend or readout, or a number out of range.
        """
        if not isinstance(backend, SamplingBackend) or isinstance(backend, type):
            raise InputError(
                f"backend: found {type(backend).__name__}; expected a SamplingBackend, with name, expectations() and "
                "measure(), such as AerBackend"
            )
        if not isinstance(readout, Readout):
            raise InputError(f"readout: found {type(readout).__name__}; expected a Readout, such as Classifier.readout")
        if not 0 < confidence < 1:
            raise InputError(f"confidence: found {confidence!r}; expected a number between 0 and 1")
        self._backend = backend
        self._readout = readout
        self._confidence = confidence
        self._max_shots = whole_number("max_shots", max_shots, 1, MAX_SHOTS)
        self._first_shots = whole_number("first_shots", first_shots, 1, MAX_SHOTS)

    @property
    def name(self) -> str:
        """What predictions name as their backend."""
        return f"{self._backend.name}, adaptive"

    def expectations(self, circuit: Circuit, angles: FloatArray) -> Expectations:
        """See `Backend.expectations`. Shots differ by row, and `Expectations.confidence` is there."""
        expected = self._readout.weights.shape[1]
        if len(circuit.observables) != expected:
            raise InputError(f"readout: found a circuit of {len(circuit.observables)} observables; expected {expected}")
        angles = circuit.check_angles(angles)
        measured = self._measure(circuit, angles)
        confidence = label_confidence(self._readout, measured)
        return dataclasses.replace(measured.expectations(self.name), confidence=confidence)

    def _measure(self, circuit: Circuit, angles: FloatArray) -> Measured:
        rows: IntArray = np.arange(len(angles))
        closed: list[Measured] = []
        order: list[IntArray] = []
        taken = next_shots(0, self._first_shots, self._max_shots)
        measured = self._backend.measure(circuit, angles, taken)
        while more := next_shots(taken, self._first_shots, self._max_shots):
            still = open_rows(self._readout, measured, self._confidence)
            closed.append(measured.take(~still))
            order.append(rows[~still])
            rows, measured = rows[still], measured.take(still)
            if not len(rows):
                break
            measured = measured + self._backend.measure(circuit, angles[rows], more, offset=taken)
            taken += more
        return Measured.concatenate([*closed, measured]).take(np.argsort(np.concatenate([*order, rows])))
