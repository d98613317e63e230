"""What comes out: expectation values and predictions, as frozen columns of numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from .errors import InputError, require

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["BoolArray", "Expectations", "FloatArray", "IntArray", "Prediction", "Predictions", "StrArray"]

# As numpy.typing.NDArray, which is slow to import.
FloatArray = np.ndarray[tuple[Any, ...], np.dtype[np.floating[Any]]]
IntArray = np.ndarray[tuple[Any, ...], np.dtype[np.int64]]
BoolArray = np.ndarray[tuple[Any, ...], np.dtype[np.bool_]]
StrArray = np.ndarray[tuple[Any, ...], np.dtype[np.str_]]


@dataclass(frozen=True)
class Expectations:
    """Expectation values of M observables for N texts, with the uncertainty that they were measured with.

    Attributes:
        values: (N, M) float64 in [-1, 1]; where readout error was divided out, they may lie outside, and are not
            clipped, which would bias them.
        shots: (N,) int64, how often each text's circuit was measured; 0 where the value is exact.
        backend: what computed them, for people.
        covariance: (N, M, M) float64, the covariance of `values` over repetitions of the experiment; None when exact.
        confidence: (N,) float64, how sure it is that the label of the readout they were measured for stands, valid
            however often shots were looked at and added; None where the number of shots was fixed beforehand. See
            `AdaptiveBackend`.
    """

    values: FloatArray
    shots: IntArray
    backend: str
    covariance: FloatArray | None = None
    confidence: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.shots.shape != self.values.shape[:1]:
            raise InputError(
                f"expectations: found values {self.values.shape}, shots {self.shots.shape}; expected (N, M) and (N,)"
            )
        n, m = self.values.shape
        if self.covariance is not None and self.covariance.shape != (n, m, m):
            raise InputError(f"expectations: found covariance {self.covariance.shape}; expected {(n, m, m)}")
        if self.confidence is not None and self.confidence.shape != (n,):
            raise InputError(f"expectations: found confidence {self.confidence.shape}; expected {(n,)}")

    @property
    def standard_errors(self) -> FloatArray:
        """(N, M) float64: one standard deviation of each value; zero when exact."""
        if self.covariance is None:
            return np.zeros_like(self.values)
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Prediction:
    """One text's prediction.

    Attributes:
        label: the most probable class.
        probabilities: class → probability.
        standard_errors: class → one standard deviation of that probability, from shot noise; zero when exact.
        confidence: lower bound of the chance that the label stands without shot noise; 1 when exact. With adaptive
            shots, one that takes the repeated looks into account.
        shots: how often the circuit was measured; 0 when exact.
    """

    label: str
    probabilities: dict[str, float]
    standard_errors: dict[str, float]
    confidence: float
    shots: int


@dataclass(frozen=True)
class Predictions:
    """The predictions of N texts over C classes, column by column. Iterating gives one `Prediction` a text.

    Attributes:
        classes: (C,) str, the order of the class columns.
        labels: (N,) str, the most probable class (the first of equals).
        probabilities: (N, C) float64, rows sum to 1.
        standard_errors: (N, C) float64, one standard deviation of each probability, from shot noise; zero when exact.
        confidence: (N,) float64, a lower bound of the chance that the label is the one that infinitely many shots
            would give; 1 when exact. See `Readout.predict` for the formula. With adaptive shots it is that of
            `Expectations.confidence`: for every α, a text gets a wrong label with 1 − α or more with a chance of at
            most α, in spite of the repeated looks and without assuming normal errors.
        expectations: the expectation values behind them, with their own errors.
    """

    classes: StrArray
    labels: StrArray
    probabilities: FloatArray
    standard_errors: FloatArray
    confidence: FloatArray
    expectations: Expectations = field(repr=False)

    @property
    def shots(self) -> IntArray:
        """(N,) int64: how often each circuit was measured; 0 when exact."""
        return self.expectations.shots

    @property
    def backend(self) -> str:
        """What computed the expectation values."""
        return self.expectations.backend

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        """The row (or list of rows) at that position."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        classes = self.classes.tolist()
        return Prediction(
            label=str(self.labels[index]),
            probabilities=dict(zip(classes, self.probabilities[index].tolist(), strict=True)),
            standard_errors=dict(zip(classes, self.standard_errors[index].tolist(), strict=True)),
            confidence=float(self.confidence[index]),
            shots=int(self.shots[index]),
        )

    def __iter__(self) -> Iterator[Prediction]:
        return (self[i] for i in range(len(self)))

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """A flat table: ``prediction``, ``confidence``, ``shots``, ``p(CLASS)`` and ``se(CLASS)`` of each class.

        Its types are str, float64, int64, and float64 for the rest, also where it has no rows.
        """
        columns = {"prediction": self.labels, "confidence": self.confidence, "shots": self.shots}
        for name, values in (("p", self.probabilities), ("se", self.standard_errors)):
            columns |= {f"{name}({label})": values[:, i] for i, label in enumerate(self.classes.tolist())}
        return columns

    def to_columns(self) -> dict[str, list[Any]]:
        """The table of `to_arrays` as lists."""
        return {name: values.tolist() for name, values in self.to_arrays().items()}

    def to_dicts(self) -> list[dict[str, Any]]:
        """The table of `to_arrays`, one dict a text."""
        columns = self.to_columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_pandas(self, index: Any = None) -> pandas.DataFrame:
        """The table of `to_arrays` as a DataFrame, its labels in pandas' own type for strings.

        Args:
            index: N labels of rows. With that of the texts' frame, the two can be joined:
                ``df.join(clf.classify(df["text"]).to_pandas(index=df.index))``. None counts from 0.

        Raises:
            InputError: the index has another length.
            MissingExtraError: pandas is not installed.
        """
        pd = require("pandas", feature="to_pandas()", extra="pandas")
        if index is not None and len(index) != len(self):  # pandas would repeat a single row
            raise InputError(f"index: found {len(index)} labels; expected {len(self)}, one a text")
        frame: pandas.DataFrame = pd.DataFrame(self.to_arrays(), index=index)
        return frame

    def to_polars(self) -> polars.DataFrame:
        """The table of `to_arrays` as a polars DataFrame; ``df.hstack(…)`` puts it beside the texts.

        Raises:
            MissingExtraError: polars is not installed.
        """
        pl = require("polars", feature="to_polars()", extra="polars")
        frame: polars.DataFrame = pl.DataFrame(self.to_arrays())
        return frame

    def to_arrow(self) -> pyarrow.Table:
        """The table of `to_arrays` as an Arrow table.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        table: pyarrow.Table = require("pyarrow", feature="to_arrow()", extra="parquet").table(self.to_arrays())
        return table
