"""Durable runs on IBM Quantum: texts measured once and only once, through a journal."""

from .cancellation import cancel
from .estimate import Estimate, estimate
from .journal import Journal
from .plan import AutoShots
from .progress import Progress, progress_of
from .runner import Run

__all__ = ["AutoShots", "Estimate", "Journal", "Progress", "Run", "cancel", "estimate", "progress_of"]
