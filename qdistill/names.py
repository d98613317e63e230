"""What the contenders are called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["TITLES"]

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "student": "quantum student",
        "twin": "its classical twin",
        "tfidf": "TF-IDF + logistic regression",
        "fine_tuned": "transformer, fine-tuned whole",
        "paper": "QD-LLM's settings",
        "teacher": "its teacher",
    }
)
"""Name → title for people, in the order of the table."""
