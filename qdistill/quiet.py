"""Keeping reports of libraries off standard error, where what matters in them is raised or tested."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

__all__ = ["quiet_export", "quiet_transformers"]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and reports of transformers while it loads a model."""
    import transformers

    reports = transformers.utils.logging
    verbosity, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(reports.CRITICAL)
    reports.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the bar of a .gguf, which nothing turns off
            yield
    finally:
        reports.set_verbosity(verbosity)
        if bars:
            reports.enable_progress_bar()


@contextmanager
def quiet_export() -> Iterator[None]:
    """No remarks of torch.onnx.export on its own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
