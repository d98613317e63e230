"""A Ray Dataset of texts, classified by a pool of workers."""

from __future__ import annotations

import os
import pickle
import reprlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...artifact import Artifact
from ...backends import Backend
from ...classifier import Classifier
from ...errors import InputError, require, whole_number
from ...predictions import Predictions
from ...texts import as_texts, warn_truncated
from .worker import one_cpu_classifier

if TYPE_CHECKING:
    import pyarrow
    import ray

__all__ = ["classify_dataset"]

_MOST = 2**20  # workers, rows of a batch


def classify_dataset(
    dataset: ray.data.Dataset,
    student: str | os.PathLike[str] | Artifact,
    *,
    text_column: str = "text",
    backend: str | Backend = "exact",
    proba: bool = False,
    workers: int | None = None,
    batch_size: int = 1024,
) -> ray.data.Dataset:
    """Add the columns that `qdinfer predict` writes to a dataset: ``prediction``, and what the arguments ask for.

    Like all of Ray Data it is lazy: nothing is classified before the result is written or read. The student is opened
    here and handed to the workers through Ray's object store, so they need no path to it. A worker is a process that
    loads the student once and takes one CPU. The pool begins with one and grows as CPUs are free, up to `workers`: a
    pool that took all at once would leave none to read the texts with, and wait for ever.

    The batch is what a worker takes at a time, so also what is done again when it dies, and a block of the result.
    Rows keep their order inside of a batch, and batches theirs if Ray is told so before the dataset is made:
    ``ray.data.DataContext.get_current().execution_options.preserve_order = True``.

    Args:
        dataset: has a column of texts.
        student: its folder or .zip, which only this process needs to see, or the student itself.
        text_column: the column of texts.
        backend: evaluates the circuit, as for `Classifier`; an object must pickle. No IBM device: Ray does a batch
            again when its worker dies, and would pay for it again. A seed makes results repeatable as long as the
            same texts come in the same batches, which Ray does not promise.
        proba: adds ``p(CLASS)`` for each class, and ``se(CLASS)`` if there are shots. (With shots there is
            ``confidence`` in any case, and ``shots`` where a backend shares them out.)
        workers: the most there may be; None for as many as the cluster has CPUs for.
        batch_size: the most rows a worker takes at a time. More than 1024 are tokenized in a second thread.

    Returns:
        The dataset's columns, then the new ones.

    Raises:
        InputError: no such column, one that is there already, or an argument that cannot be used. What is wrong with a
            text is raised when the dataset is run, by Ray, as `ray.exceptions.RayTaskError` with the message of an
            `InputError` that has the column, the place and the row; such an error is not tried again.
        ArtifactError: the student is not sound.
        BackendError: the backend cannot run it.
        MissingExtraError: Ray is not installed.
    """
    ray = require("ray", feature="a Ray Dataset", extra="ray")
    require("ray.data", feature="a Ray Dataset", extra="ray")
    if not isinstance(dataset, ray.data.Dataset):
        raise InputError(f"dataset: found {type(dataset).__name__}; expected a ray.data.Dataset")
    if isinstance(backend, str) and backend.startswith("ibm:"):
        raise InputError(
            f"backend: found {backend!r}; expected one that is computed here: Ray does a batch again when its worker "
            "dies, and would pay for it again; `qdinfer predict --journal` runs on a device and pays once"
        )
    most = None if workers is None else whole_number("workers", workers, 1, _MOST)
    size = whole_number("batch_size", batch_size, 1, _MOST)
    artifact = student if isinstance(student, Artifact) else Artifact.open(student)
    added = _added(Classifier(artifact, backend=backend, threads=1).classify([]), proba)
    columns = dataset.columns(fetch_if_missing=False)  # known without running anything, or else found out by a worker
    if columns is not None:
        _check_columns(columns, text_column, added)
    try:
        sent = ray.put((artifact, backend))
    except (TypeError, pickle.PicklingError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(
            f"backend: found {type(backend).__name__}, which cannot be sent to a worker ({reason}); expected a name, "
            "or an object that pickles"
        ) from error
    return dataset.repartition(target_num_rows_per_block=size).map_batches(
        StudentWorker,
        fn_constructor_args=(sent, text_column, added),
        batch_size=size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        num_cpus=1,
    )


class StudentWorker:
    """One process of the pool."""

    def __init__(self, sent: ray.ObjectRef, text_column: str, added: list[str]) -> None:
        """Fetch the student and load it."""
        import ray

        self._classifier = one_cpu_classifier(*ray.get(sent))
        self._text_column = text_column
        self._added = added
        self._warned = False

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """A batch with its predictions."""
        _check_columns(table.column_names, self._text_column, self._added)
        found, cut = self._classifier.classify_marked(_texts(table, self._text_column))
        self._warn(int(cut.sum()), len(table))
        columns = found.to_arrow()
        for name in self._added:
            table = table.append_column(name, columns.column(name))
        return table

    def _warn(self, cut: int, rows: int) -> None:
        """Once a worker, since batches are many; Ray shows it where the dataset is run."""
        if cut and not self._warned:
            warn_truncated(cut, rows, self._classifier.artifact.manifest.encoder.max_tokens, stacklevel=3)
            self._warned = True


def _added(found: Predictions, proba: bool) -> list[str]:
    """The columns that `qdinfer predict` writes of such predictions."""
    sampled, shared_out = found.expectations.covariance is not None, found.expectations.confidence is not None
    wanted = ["prediction"] + ["confidence"] * sampled + ["shots"] * shared_out
    wanted += ["p("] * proba + ["se("] * (proba and sampled)
    return [name for name in found.to_columns() if name.startswith(tuple(wanted))]


def _check_columns(columns: Sequence[str], text_column: str, added: Iterable[str]) -> None:
    if text_column not in columns:
        raise InputError(f"text_column: found columns {list(columns)}; expected {text_column!r} among them")
    clash = sorted({*columns} & {*added})
    if clash:
        raise InputError(f"found a column {clash[0]!r} in the dataset, which the result adds; expected another name")


def _texts(table: pyarrow.Table, column: str) -> list[str]:
    texts: list[str] = []
    try:
        for text in as_texts(table.column(column).to_pylist(), column):
            texts.append(text)
    except InputError as error:
        row: dict[str, Any] = table.drop_columns([column]).slice(len(texts), 1).to_pylist()[0]
        where = f", of {reprlib.repr(row)}" if row else ""
        raise InputError(f"{error} (in a batch of {len(table)} rows{where})") from None
    return texts
