"""One ONNX graph, ready to run: the only module that imports onnxruntime."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ArtifactError, BackendError, whole_number

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxSession", "available_cpus"]


_MOST_THREADS = 256  # onnxruntime starts as many as it is asked for, if it takes for ever


def available_cpus() -> int:
    """How many CPUs this process may use. onnxruntime would count the machine's, also inside a cpuset container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OnnxSession:
    """An onnxruntime session on the CPU, with an explicit number of threads.

    Safe to use from many threads. onnxruntime's sessions survive neither a fork nor a pickle; this builds a new one
    from the model's bytes when a forked child first runs it, and after unpickling.
    """

    def __init__(self, file: str, model: bytes, threads: int | None = None) -> None:
        """Build the session.

        Args:
            file: the model's name, for messages.
            model: its bytes.
            threads: CPU threads that one call uses; None for all that this process may use.

        Raises:
            ArtifactError: onnxruntime cannot load the model.
            InputError: threads is no positive number.
        """
        self._file = file
        self._model = model
        self._threads = None if threads is None else whole_number("threads", threads, 1, _MOST_THREADS)
        self._open()

    def run(self, output: str, feeds: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """Run the graph and give the output of that name.

        Raises:
            BackendError: onnxruntime failed, say for want of memory or because of the ids that it was given.
        """
        session = self._session or self._open()
        try:
            value: np.ndarray[Any, Any] = session.run([output], dict(feeds))[0]
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise BackendError(f"{self._file}: onnxruntime failed: {_first_line(error)}") from error
        return value

    def _open(self) -> onnxruntime.InferenceSession:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads or available_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Weights of one byte are for the disk. onnxruntime would round activations to one byte too, which moves angles
        # by up to 0.04, by other amounts on other CPUs and in other versions; and it would be slower.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        options.add_session_config_entry("session.load_model_format", "ONNX")  # not its own, which is not audited
        # Spinning keeps a core busy between calls, which an app or a server that embeds this would notice.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # as above
            found = f"a model that onnxruntime {ort.__version__} cannot load ({_first_line(error)})"
            raise ArtifactError(self._file, found, "an ONNX model") from error
        self._session: onnxruntime.InferenceSession | None = session
        _opened.add(self)
        return session

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": self._file, "_model": self._model, "_threads": self._threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


_opened: weakref.WeakSet[OnnxSession] = weakref.WeakSet()
_inherited: list[onnxruntime.InferenceSession | None] = []


def _after_fork() -> None:
    """In the child: keep the parent's sessions open. Closing one waits, for ever, for threads that were not forked."""
    for session in _opened:
        _inherited.append(session._session)
        session._session = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
