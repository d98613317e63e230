"""Contenders, trained for real on texts that a tiny transformer can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bert import WORDS

from qdistill.ansatz import ANSATZE
from qdistill.compare.contenders import CONTENDERS, Task
from qdistill.compare.measurement import measure
from qdistill.config import TrainConfig, make_config
from qdistill.recipe import Labelled

rng = np.random.default_rng(0)
LABELS = ["sport", "money"] * 30
SAID = {"sport": WORDS[4:7], "money": WORDS[7:10]}
TEXTS = [" ".join(rng.choice([*SAID[label], "the", "a"], 6)) for label in LABELS]
DATA = Labelled(TEXTS, LABELS)


def task(bert: Path, config: TrainConfig) -> Task:
    return Task(labelled=DATA, unlabelled=(), teacher=None, config=config, transformer=str(bert))


@pytest.fixture(scope="module")
def config(bert: Path) -> TrainConfig:
    """A student of 3 angles that learns fast."""
    settings = {"encoder_path": str(bert), "encoder_layers": 2, "encoder_max_tokens": 16, "encoder_rate": 1e-3}
    return make_config("contextual", num_qubits=3, epochs=6, batch_size=8, seed=5, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONTENDERS])
def test_each_trains_and_is_measured(bert: Path, config: TrainConfig, name: str) -> None:
    found = measure(name, CONTENDERS[name], task(bert, config), DATA)
    assert found.contender == name
    assert found.seed == 5
    assert len(found.correct) == len(TEXTS)
    least = {"student": 0.8, "twin": 0.8, "tfidf": 0.9, "fine_tuned": 0.0, "paper": 0.3}[name]
    assert found.correct.count("1") / len(TEXTS) >= least
    assert found.disk_bytes is not None
    assert found.disk_bytes > 1_000
    assert found.training_seconds is not None
    assert found.training_seconds > 0


@pytest.mark.slow
def test_student_and_twin_differ_by_the_circuit_alone(bert: Path, config: TrainConfig) -> None:
    student, twin = (CONTENDERS[name] for name in ("student", "twin"))
    settings = twin.settings(config, str(bert))
    assert settings is not None
    assert settings.model_copy(update={"head": "circuit"}) == config
    both = [each.fit(task(bert, config), each.settings(config, str(bert)) or config) for each in (student, twin)]
    assert both[0].trained_parameters - both[1].trained_parameters == ANSATZE["line"](3).num_parameters


def test_the_whole_transformer_has_all_layers_words_and_a_linear_head(bert: Path, config: TrainConfig) -> None:
    whole = CONTENDERS["fine_tuned"].settings(config, str(bert))
    assert whole is not None
    inner = whole.encoder
    assert (whole.head, inner.kind, whole.seed) == ("linear", "transformer", 5)
    assert inner.model_dump()["layers"] is None
    assert inner.model_dump()["min_count"] == 0
    assert inner.model_dump()["scaling"] == "none"
