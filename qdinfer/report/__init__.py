"""One HTML page about a student on a table of labelled texts: what it gets right, how sure it is, what noise changes.

`measure` does the work, `page` writes it down; ``qdinfer report`` is both. The pictures by themselves are in
`qdinfer.figures`.
"""

from __future__ import annotations

from .layout import Origin, page
from .measurement import MAX_SEED, MAX_TEXTS, Measurements, Sample, measure

__all__ = ["MAX_SEED", "MAX_TEXTS", "Measurements", "Origin", "Sample", "measure", "page"]
