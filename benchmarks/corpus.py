"""The texts that students are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qdinfer.tabular import column, read_table

__all__ = ["Corpus"]


class Corpus(NamedTuple):
    """Labelled texts: the test texts first, then those to train on."""

    test: Sequence[str]
    test_labels: Sequence[str]
    train: Sequence[str]
    train_labels: Sequence[str]

    @classmethod
    def read(cls, folder: str, trained: int | None = None) -> Corpus:
        """The files of `qdistill`'s documents: topic_test.csv and topic_train.csv.

        Args:
            folder: where they are.
            trained: how many of the training texts; None for all.
        """
        test, train = (
            list(read_table(str(Path(folder, f"topic_{part}.csv")), columns=["text", "label"]))
            for part in ("test", "train")
        )
        texts, labels = column(train, "text"), column(train, "label")
        return cls(column(test, "text"), column(test, "label"), texts[:trained], labels[:trained])

    @property
    def texts(self) -> list[str]:
        """All texts."""
        return [*self.test, *self.train]
