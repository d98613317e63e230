"""Durable runs on IBM Quantum: texts measured once and only once, through a journal."""

from .cancellation import cancel
from .compare import Comparison, compare
from .estimate import Estimate, estimate
from .journal import Journal
from .plan import AutoShots
from .progress import Progress, progress_of
from .runner import Run
from .twin import twin_of

__all__ = [
    "AutoShots",
    "Comparison",
    "Estimate",
    "Journal",
    "Progress",
    "Run",
    "cancel",
    "compare",
    "estimate",
    "progress_of",
    "twin_of",
]
