"""Pictures of a student and of its answers, each a `matplotlib.figure.Figure` that is the caller's own.

>>> from qdinfer import Classifier, figures
>>> clf = Classifier.load("exported_models/topic")
>>> figures.circuit_diagram(clf.circuit).savefig("circuit.svg")

They take `Predictions` and true labels, or `Forecast`s, and need ``pip install "qdinfer[report]"``; without it they
raise `MissingExtraError`. No window is opened and nothing of pyplot's is changed: figures may be made in any thread,
and are freed like any object. (Qiskit's drawer imports pyplot, but makes no figure there.)
"""

from __future__ import annotations

from .answers import certainty_histogram, confusion_matrix, reliability_diagram
from .circuits import circuit_diagram
from .departures import measured_against_twin
from .forecasts import forecast_against_shots
from .noise import accuracy_against_shots, exact_against_noisy

__all__ = [
    "accuracy_against_shots",
    "certainty_histogram",
    "circuit_diagram",
    "confusion_matrix",
    "exact_against_noisy",
    "forecast_against_shots",
    "measured_against_twin",
    "reliability_diagram",
]
