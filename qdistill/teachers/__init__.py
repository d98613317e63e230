"""Teachers: models too large to deploy, whose probabilities a student learns from.

A `Teacher` gives (N, C) probabilities of texts and says what it is. `label_texts` keeps what it says in a file, and
`TeacherLabels` reads that file. Nothing heavy is imported before a teacher is made.
"""

from __future__ import annotations

from .base import Identity, Teacher
from .endpoint import Endpoint
from .labelling import label_texts
from .language_model import LanguageModel
from .probe import Probe
from .sequence_classifier import SequenceClassifier
from .store import TeacherLabels
from .zero_shot import ZeroShot

__all__ = [
    "Endpoint",
    "Identity",
    "LanguageModel",
    "Probe",
    "SequenceClassifier",
    "Teacher",
    "TeacherLabels",
    "ZeroShot",
    "label_texts",
]
