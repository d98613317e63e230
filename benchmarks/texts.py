"""All contenders on the same texts, from text to label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qdinfer import Classifier, TruncationWarning

from .contenders import CONTENDERS
from .corpus import Corpus
from .results import BenchmarkError, Contender, Setting, Texts
from .workers import Worker, in_turn

__all__ = ["compare_answers", "measure_texts"]

_ANGLE = 1e-4  # what other batches may change in an angle
_LABELS = 0.99  # share of labels that must be ours: near a tie, other batches may change one


def measure_texts(
    setting: Setting,
    students: Path,
    data: Path,
    *,
    transformer: str,
    trained: int | None = None,
    step: Callable[[], object] = lambda: None,
) -> Texts:
    """Check each contender's answers on the test texts, then time all.

    Args:
        setting: with the number of rounds.
        students: folder with the students.
        data: folder with topic_train.csv and topic_test.csv.
        transformer: folder with MiniLM.
        trained: how many of the training texts are used; None for all.
        step: called after each time.

    Raises:
        BenchmarkError: a process died, or a part of a student gives something else than the student.
        InputError: a file of texts is not as it should be.
    """
    corpus = Corpus.read(str(data), trained)
    arguments = [str(students), str(data), str(trained or 0), transformer]
    ours = _our_answers(students, corpus.test)
    size = {name: len(corpus.test if kind.slow else corpus.texts) for name, kind in CONTENDERS.items()}
    agrees, hits = {}, {}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker("texts", name, arguments)) for name in CONTENDERS}
        for name, kind in CONTENDERS.items():
            found = workers[name].answer(len(corpus.test))
            agrees[name] = compare_answers(name, kind.answers, found, ours[kind.student]) if kind.student else ""
            labelled = kind.answers in ("labels", "our labels")
            hits[name] = sum(map(str.__eq__, found, corpus.test_labels)) if labelled else None
            workers[name].warm(size[name])
        asked = {name: partial(worker.seconds, size[name]) for name, worker in workers.items()}
        times = in_turn(asked, setting.rounds, step=step)
    return Texts(
        setting=setting,
        test_texts=len(corpus.test),
        contenders=[
            Contender(
                name=name,
                title=kind.title,
                note=kind.note,
                agrees=agrees[name],
                texts=size[name],
                seconds=times[name],
                hits=hits[name],
            )
            for name, kind in CONTENDERS.items()
        ],
    )


def _our_answers(students: Path, texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for name in {kind.student for kind in CONTENDERS.values() if kind.student}:
        classifier = Classifier.load(students / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)
            labels, angles = classifier.predict(texts).tolist(), classifier.encoder.encode(texts)
        found[name] = {"labels": labels, "angles": angles, "ids": classifier.encoder.token_ids(texts)}
    return found


def compare_answers(name: str, kind: str, found: Any, ours: Mapping[str, Any]) -> str:
    """How answers agree with those of the student, in words.

    Raises:
        BenchmarkError: they do not.
    """
    if kind == "ids":
        if found != ours["ids"]:
            raise BenchmarkError(f"{name}: found other token ids than the student's; expected the same")
        return "same token ids"
    if kind == "angles":
        difference = float(np.abs(np.array(found) - ours["angles"]).max())
        if not difference <= _ANGLE:
            raise BenchmarkError(f"{name}: found angles up to {difference:.2g} from ours; expected at most {_ANGLE:g}")
        return f"angles within {difference:.0e}" if difference else "same angles"
    same = sum(map(str.__eq__, found, ours["labels"]))
    if len(found) != len(ours["labels"]) or same < _LABELS * len(found):
        raise BenchmarkError(f"{name}: found {same} of {len(found)} labels to be ours; expected nearly all")
    return f"{same} of {len(found)} labels"
