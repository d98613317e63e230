"""Durable runs on IBM Quantum: texts measured once and only once, through a journal."""

from .estimate import Estimate, estimate
from .journal import Journal
from .plan import AutoShots
from .runner import Progress, Run, cancel, progress_of

__all__ = ["AutoShots", "Estimate", "Journal", "Progress", "Run", "cancel", "estimate", "progress_of"]
