"""Run quantum students: small text classifiers that were distilled from an LLM.

>>> from qdinfer import Classifier
>>> clf = Classifier.load("exported_models/topic")
>>> clf.predict(["The striker scored twice in the cup final."])[0]
np.str_('sport')

Everything public is here, by name; nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .artifact import Artifact
    from .backends.adaptive import AdaptiveBackend
    from .backends.aer import AerBackend
    from .backends.base import Backend, SamplingBackend
    from .backends.exact import ExactBackend
    from .backends.primitive import PrimitiveBackend
    from .backends.runtime import RuntimeBackend
    from .backends.settings import RuntimeSettings
    from .backends.twin import TwinBackend
    from .circuit import Circuit
    from .classifier import Classifier
    from .compiler import compile_artifact, compile_circuit
    from .encoder import TextEncoder
    from .errors import (
        ArtifactError,
        BackendError,
        CircuitError,
        CompileError,
        HubError,
        InputError,
        JournalError,
        MissingExtraError,
        QdinferError,
        TruncationWarning,
    )
    from .manifest import Golden, Manifest
    from .predictions import Expectations, Prediction, Predictions
    from .readout import Readout
    from .verification import Verification, verify

_HOMES = {  # public name → module that defines it
    "AdaptiveBackend": "backends.adaptive",
    "AerBackend": "backends.aer",
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "Backend": "backends.base",
    "BackendError": "errors",
    "Circuit": "circuit",
    "CircuitError": "errors",
    "Classifier": "classifier",
    "CompileError": "errors",
    "ExactBackend": "backends.exact",
    "Expectations": "predictions",
    "Golden": "manifest",
    "HubError": "errors",
    "InputError": "errors",
    "JournalError": "errors",
    "Manifest": "manifest",
    "MissingExtraError": "errors",
    "Prediction": "predictions",
    "Predictions": "predictions",
    "PrimitiveBackend": "backends.primitive",
    "QdinferError": "errors",
    "Readout": "readout",
    "RuntimeBackend": "backends.runtime",
    "RuntimeSettings": "backends.settings",
    "SamplingBackend": "backends.base",
    "TextEncoder": "encoder",
    "TruncationWarning": "errors",
    "TwinBackend": "backends.twin",
    "Verification": "verification",
    "compile_artifact": "compiler",
    "compile_circuit": "compiler",
    "verify": "verification",
}

__all__ = [
    "AdaptiveBackend",
    "AerBackend",
    "Artifact",
    "ArtifactError",
    "Backend",
    "BackendError",
    "Circuit",
    "CircuitError",
    "Classifier",
    "CompileError",
    "ExactBackend",
    "Expectations",
    "Golden",
    "HubError",
    "InputError",
    "JournalError",
    "Manifest",
    "MissingExtraError",
    "Prediction",
    "Predictions",
    "PrimitiveBackend",
    "QdinferError",
    "Readout",
    "RuntimeBackend",
    "RuntimeSettings",
    "SamplingBackend",
    "TextEncoder",
    "TruncationWarning",
    "TwinBackend",
    "Verification",
    "__version__",
    "compile_artifact",
    "compile_circuit",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
