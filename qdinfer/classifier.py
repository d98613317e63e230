"""Texts in, labels out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np

from .artifact import Artifact
from .backends import Backend, backend_for
from .circuit import Circuit
from .encoder import FusedStudent, TextEncoder
from .errors import BackendError, InputError, whole_number
from .predictions import BoolArray, Expectations, FloatArray, Predictions, StrArray
from .readout import Readout
from .texts import as_texts, checked_texts, warn_truncated

__all__ = ["Classifier"]


class Classifier:
    """A student, ready to classify. Safe to use from many threads; its parts are public.

    Attributes:
        artifact: the student's files.
        circuit: what is evaluated.
        readout: expectation values → predictions.
    """

    def __init__(self, artifact: Artifact, *, backend: str | Backend = "exact", threads: int | None = None) -> None:
        """Put a student together.

        Args:
            artifact: the student.
            backend: ``"exact"``, ``"aer"``, ``"fake:DEVICE"``, ``"ibm:DEVICE"``, ``"ibm:least_busy"``, or any object
                with the method of `Backend`.
            threads: CPU threads for one call; None for all that this process may use.

        Raises:
            ArtifactError: the tokenizer or a graph cannot be loaded.
            BackendError: the backend cannot run this student.
        """
        if not isinstance(artifact, Artifact):
            raise InputError(
                f"artifact: found {type(artifact).__name__}; expected an Artifact (Classifier.load opens a path)"
            )
        self.artifact = artifact
        self.circuit = Circuit.from_artifact(artifact)
        self.readout = Readout.from_artifact(artifact)
        self._threads = threads
        self._given = backend
        self._fused: FusedStudent | None = None
        if backend == "exact" and "fused.onnx" in artifact.files:
            self._fused = FusedStudent.from_artifact(artifact, threads=threads)
        else:
            self.encoder, self.backend  # noqa: B018 - built now, so that what is wrong with them is said at once

    @cached_property
    def encoder(self) -> TextEncoder:
        """Texts → angles. With a fused graph it is built when it is first asked for."""
        return TextEncoder.from_artifact(self.artifact, threads=self._threads)

    @cached_property
    def backend(self) -> Backend:
        """Angles → expectation values, unless a call names another. With a fused graph, as `encoder`."""
        return backend_for(self._given, self.artifact, threads=self._threads)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, backend: str | Backend = "exact", threads: int | None = None
    ) -> Classifier:
        """Open a student's folder or .zip, or one on the Hugging Face Hub.

        Args:
            path: where it is. Only a str ``hf:org/name@revision`` is ever fetched, see docs/hub.md.
            backend: ``"exact"``, ``"aer"``, ``"fake:DEVICE"``, ``"ibm:DEVICE"``, ``"ibm:least_busy"``, or any object
                with the method of `Backend`.
            threads: CPU threads for one call; None for all that this process may use.

        Raises:
            FileNotFoundError: there is nothing at that path.
            ArtifactError: it is not a sound student.
            BackendError: the backend cannot run it.
            HubError, InputError, MissingExtraError: of a reference, see `Artifact.open`.
        """
        return cls(Artifact.open(path), backend=backend, threads=threads)

    @property
    def classes_(self) -> StrArray:
        """(C,) labels, in the order of the probability columns."""
        return np.array(self.readout.labels, dtype=np.str_)

    def predict(self, texts: str | Iterable[str]) -> StrArray:
        """The label of each text.

        Args:
            texts: one text or many; one text gives one label.

        Returns:
            (N,) str.

        Raises:
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.

        Warns:
            TruncationWarning: once, with the number of texts that were cut at the student's limit.
        """
        return self._warned(texts).labels

    def predict_proba(self, texts: str | Iterable[str]) -> FloatArray:
        """The probability of each class.

        Args:
            texts: one text or many; one text gives one row.

        Returns:
            (N, C) float64, columns as in `classes_`.

        Raises:
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.

        Warns:
            TruncationWarning: once, with the number of texts that were cut at the student's limit.
        """
        return self._warned(texts).probabilities

    def score(self, texts: str | Iterable[str], labels: str | Iterable[str]) -> float:
        """The share of texts whose label is predicted.

        Args:
            texts: one text or many.
            labels: as many true labels.

        Raises:
            InputError: another number of labels than of texts, none at all, or a label that the student does not know.
            BackendError: the backend failed.
        """
        checked, expected = checked_texts(texts), checked_texts(labels, "labels")
        if len(checked) != len(expected) or not checked:
            raise InputError(f"score: found {len(checked)} texts and {len(expected)} labels; expected as many, not 0")
        unknown = sorted(set(expected) - set(self.readout.labels))
        if unknown:
            raise InputError(f"labels: found {unknown[0]!r}; expected one of {list(self.readout.labels)}")
        return float(np.mean(self._warned(checked).labels == np.array(expected)))

    def classify(self, texts: str | Iterable[str], *, backend: str | Backend | None = None) -> Predictions:
        """Labels, probabilities and error bars.

        Args:
            texts: one text or many, also as a column of pandas, polars or Arrow; none gives no predictions.
            backend: evaluates the circuit in this call instead of `self.backend`.

        Returns:
            One row a text, in their order.

        Raises:
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.

        Warns:
            TruncationWarning: once, with the number of texts that were cut at the student's limit.
        """
        return self._warned(texts, backend)

    async def aclassify(self, texts: str | Iterable[str], *, backend: str | Backend | None = None) -> Predictions:
        """`classify` for asyncio: the work is done in a thread, and the event loop goes on meanwhile.

        The threads are those of the loop's default executor. Cancelling the task gives the waiting up; a thread that is
        at work ends its call.

        Args:
            texts: one text or many; none gives no predictions.
            backend: evaluates the circuit in this call instead of `self.backend`.

        Returns:
            One row a text, in their order.

        Raises:
            InputError: something among them is not a text; the message has its position.
            BackendError: the backend failed.

        Warns:
            TruncationWarning: once, with the number of texts that were cut at the student's limit.
        """
        import asyncio  # slow to import

        checked = checked_texts(texts)
        predictions, cut = await asyncio.to_thread(self.classify_marked, checked, backend=backend)
        warn_truncated(int(cut.sum()), len(checked), self.artifact.manifest.encoder.max_tokens, stacklevel=3)
        return predictions

    def classify_marked(
        self, texts: Sequence[str], *, backend: str | Backend | None = None
    ) -> tuple[Predictions, BoolArray]:
        """`classify` for callers that tell of cut texts in their own way, such as a server.

        Args:
            texts: (N,) texts, as `checked_texts` gives them.
            backend: evaluates the circuit in this call instead of `self.backend`.

        Returns:
            The predictions, and (N,) which texts have more tokens than the student reads. There is no warning.

        Raises:
            BackendError: the backend failed.
        """
        chosen = self._backend(backend)
        if chosen is None and self._fused is not None:
            values, cut = self._fused.encode_marked(texts)
            exact = Expectations(values.astype(np.float64), np.zeros(len(texts), np.int64), "exact")
            return self.readout.predict(exact), cut
        angles, cut = self.encoder.encode_marked(texts)
        expectations = (chosen or self.backend).expectations(self.circuit, angles)
        shape = len(texts), len(self.circuit.observables)
        if expectations.values.shape != shape or not np.isfinite(expectations.values).all():
            raise BackendError(
                f"{expectations.backend}: found expectation values {expectations.values.shape}, "
                f"{np.isfinite(expectations.values).sum()} of them finite; expected {shape}, all finite"
            )
        return self.readout.predict(expectations), cut

    def stream(
        self, texts: Iterable[str], *, chunk_size: int = 1024, backend: str | Backend | None = None
    ) -> Iterator[Predictions]:
        """Classify any number of texts in bounded memory, in order.

        Args:
            texts: read as they are needed, never all at once; also a column, as for `classify`.
            chunk_size: texts in one part.
            backend: evaluates the circuit in this call instead of `self.backend`.

        Yields:
            The predictions of the next `chunk_size` texts, and of what is left at the end.

        Raises:
            InputError: something among them is not a text; all parts before its chunk have been given.

        Warns:
            TruncationWarning: once, at the end, with the number of texts that were cut.
        """
        size = whole_number("chunk_size", chunk_size, 1, 2**31)
        return self._stream(as_texts(texts), size, self._backend(backend))

    def _stream(self, texts: Iterator[str], chunk_size: int, backend: Backend | None) -> Iterator[Predictions]:
        cut = total = 0
        while chunk := list(islice(texts, chunk_size)):
            predictions, overlong = self.classify_marked(chunk, backend=backend)
            cut, total = cut + int(overlong.sum()), total + len(chunk)
            yield predictions
        warn_truncated(cut, total, self.artifact.manifest.encoder.max_tokens, stacklevel=3)

    def _warned(self, texts: str | Iterable[str], backend: str | Backend | None = None) -> Predictions:
        checked = checked_texts(texts)
        predictions, cut = self.classify_marked(checked, backend=backend)
        warn_truncated(int(cut.sum()), len(checked), self.artifact.manifest.encoder.max_tokens, stacklevel=4)
        return predictions

    def _backend(self, backend: str | Backend | None) -> Backend | None:
        return None if backend is None else backend_for(backend, self.artifact, threads=self._threads)
