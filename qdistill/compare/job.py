"""One comparison as files and settings, so that a process of its own can do a part of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from qdinfer.errors import InputError
from qdinfer.tabular import STDIO, column, read_table

from ..config import TrainConfig
from ..recipe import Labelled
from ..teachers import TeacherLabels
from .contenders import Task

__all__ = ["Job", "job_of"]


class Job(BaseModel):
    """Where the texts are, and how the student is trained.

    Attributes:
        train: csv, jsonl or parquet of labelled texts.
        test: the same, to measure on.
        text_column: of both.
        label_column: of both.
        unlabelled: a table of texts, if any.
        teacher: a file of `qdistill label`, if any.
        transformer: folder of the model that is fine-tuned whole, if any.
        config: of the student; its seed is set for each training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: str
    test: str
    text_column: str
    label_column: str
    unlabelled: str | None
    teacher: Path | None
    transformer: str | None
    config: TrainConfig

    def task(self) -> Task:
        """Read what all learn from.

        Raises:
            InputError: a file is not as it should be.
            OSError: a file cannot be read.
        """
        texts = read_table(self.unlabelled, columns=[self.text_column]) if self.unlabelled else ()
        return Task(
            labelled=self._labelled(self.train),
            unlabelled=column(texts, self.text_column),
            teacher=TeacherLabels.load(self.teacher) if self.teacher else None,
            config=self.config,
            transformer=self.transformer,
        )

    def test_texts(self) -> Labelled:
        """Read what they are measured on.

        Raises:
            InputError: no texts, or the file is not as it should be.
            OSError: it cannot be read.
        """
        test = self._labelled(self.test)
        if not test.texts:
            raise InputError(f"{self.test}: found no texts; expected some to measure on")
        return test

    def with_seed(self, seed: int) -> Job:
        """The same, for another seed."""
        return self.model_copy(update={"config": self.config.model_copy(update={"seed": seed})})

    def _labelled(self, name: str) -> Labelled:
        return Labelled.read(name, self.text_column, self.label_column)


def job_of(arguments: argparse.Namespace, config: TrainConfig) -> Job:
    """The job that the options of `train` and `compare` describe.

    Raises:
        InputError: a table is to come from standard input, which can be read once only.
    """
    for name in (arguments.data, arguments.test, arguments.unlabelled):
        if name == STDIO:
            raise InputError("a comparison: found - for a table; expected a file, since every training reads it again")
    return Job(
        train=arguments.data,
        test=arguments.test,
        text_column=arguments.text_column,
        label_column=arguments.label_column,
        unlabelled=arguments.unlabelled,
        teacher=arguments.teacher,
        transformer=arguments.transformer,
        config=config,
    )
