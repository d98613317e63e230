"""What a journal says of its texts: whether they are these, and what was measured of them."""

from __future__ import annotations

import numpy as np

from ..backends.sampling import Measured
from ..errors import JournalError
from ..predictions import IntArray
from .journal import Journal
from .plan import Chunk, Identity

__all__ = ["check_same", "measured_texts"]


def check_same(journal: Journal, identity: Identity, hashes: list[bytes]) -> None:
    """See that a journal is of this run and these texts.

    Raises:
        JournalError: it is not; the message has the differences.
    """
    known = journal.identity
    differences = [
        f"{key} {known.get(key)!r}, expected {identity.get(key)!r}"
        for key in {**known, **identity}
        if known.get(key) != identity.get(key)
    ]
    changed = [row for row, (one, other) in enumerate(zip(journal.hashes, hashes, strict=False)) if one != other]
    if changed and len(journal.hashes) == len(hashes):
        differences.append(f"other texts in {len(changed)} places, the first at position {changed[0]}")
    if differences:
        raise JournalError(
            f"{journal.path}: found the journal of another run, with {'; '.join(differences)}. Give the same student, "
            "texts and settings to go on with it, or another path to begin anew"
        )


def measured_texts(journal: Journal, observables: int) -> Measured:
    """All that was measured, over all rounds, one row a text.

    Args:
        journal: of a run whose rounds are complete so far.
        observables: M, for a run without texts.

    Raises:
        JournalError: a text has no result, or two of one round.
    """
    chunks = journal.chunks("done")
    texts = len(journal.hashes)
    if not texts:
        m = observables
        return Measured(np.empty((0, m), np.int64), np.empty((0, m, m), np.int64), np.empty(0, np.int64))
    first = sorted(row for chunk in chunks if not chunk.round for row in chunk.rows.tolist())
    if first != list(range(texts)):
        raise JournalError(f"{journal.path}: found {len(first)} results; expected each of {texts} texts, once")
    rows, total = _round(journal, [chunk for chunk in chunks if not chunk.round])
    total = total.take(np.argsort(rows))
    for number in range(1, chunks[-1].round + 1):
        rows, measured = _round(journal, [chunk for chunk in chunks if chunk.round == number])
        others = np.setdiff1d(np.arange(texts), rows)
        joined = Measured.concatenate([total.take(others), total.take(rows) + measured])
        total = joined.take(np.argsort(np.concatenate([others, rows])))
    return total


def _round(journal: Journal, chunks: list[Chunk]) -> tuple[IntArray, Measured]:
    """The texts of a round, and what was measured of them."""
    rows = np.concatenate([chunk.rows for chunk in chunks])
    return rows, Measured.concatenate([journal.result(chunk.id) for chunk in chunks])
