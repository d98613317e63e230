"""The probe: cross-fitting, the choice of a layer, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from qdinfer.errors import InputError, MissingExtraError
from qdistill.teachers import LanguageModel, Probe
from qdistill.teachers import probe as probe_module

SEA, WOOD, COMMON = ["salt", "wave", "boat", "gull"], ["oak", "leaf", "moss", "owl"], ["the", "a", "was", "near"]


def labelled(count: int, seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    labels = ["sea" if i % 2 else "wood" for i in range(count)]
    texts = [" ".join(rng.choices(SEA if label == "sea" else WOOD, k=3) + rng.choices(COMMON, k=4)) for label in labels]
    return texts, labels


@pytest.fixture(scope="module")
def model(llama: Path) -> LanguageModel:
    return LanguageModel.load(llama, head=False)


@pytest.fixture(scope="module")
def probe(model: LanguageModel) -> Probe:
    return Probe(model).fit(*labelled(60, 0), layers=[1, 2])


def test_it_learns(probe: Probe) -> None:
    texts, labels = labelled(40, 1)
    rows = probe.probabilities(texts)
    assert probe.labels == ("sea", "wood")
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-12)
    assert np.mean([probe.labels[i] == label for i, label in zip(rows.argmax(1), labels, strict=True)]) > 0.9
    assert probe.layer in (1, 2)
    assert probe.dev_losses[probe.layer] == min(probe.dev_losses.values())
    assert set(probe.dev_accuracies) == {1, 2}


def test_random_labels_are_not_learnt_by_heart(model: LanguageModel) -> None:
    texts, _ = labelled(60, 2)
    texts = [f"{text} {i} {'and ' * (i % 7)}" for i, text in enumerate(texts)]
    rng = random.Random(0)
    labels = [rng.choice(["x", "y"]) for _ in texts]
    probe = Probe(model).fit(texts, labels, layers=[3])
    right = np.mean([probe.labels[i] == y for i, y in zip(probe.probabilities(texts).argmax(1), labels, strict=True)])
    assert 0.2 < right < 0.75


def test_a_text_is_answered_by_a_fold_that_did_not_see_it(probe: Probe, model: LanguageModel) -> None:
    texts, labels = labelled(60, 0)
    rows = probe.probabilities(texts)
    features = model.hidden_states(texts, [probe.layer])[probe.layer]
    assert probe._full is not None
    assert np.abs(probe._full.predict_proba(features) - rows).max() > 1e-3
    classes = np.array([probe.labels.index(label) for label in labels])
    folds = probe_module._folds(texts, classes, 5, 1)
    seen = folds != folds[7]
    alone = probe_module._regression(probe.strength, features[seen], classes[seen]).predict_proba(features[[7]])
    np.testing.assert_allclose(rows[7], alone[0], atol=1e-6)


def test_folds_keep_equal_texts_together_and_spread_the_classes() -> None:
    texts = [f"t{i % 30}" for i in range(60)]
    classes = np.array([i % 30 % 3 for i in range(60)])
    folds = probe_module._folds(texts, classes, 5, 0)
    assert (folds[:30] == folds[30:]).all()
    for number in range(3):
        assert np.bincount(folds[classes == number], minlength=5).tolist() == [4, 4, 4, 4, 4]
    turned = probe_module._folds(texts[::-1], classes[::-1], 5, 0)
    assert (turned[::-1] == folds).all(), "the order of the texts does not matter"


def test_the_same_again_and_in_any_order(probe: Probe, llama: Path) -> None:
    again = Probe(LanguageModel.load(llama, head=False, batch_size=3)).fit(*labelled(60, 0), layers=[2, 1])
    assert again.identity == probe.identity
    texts = labelled(20, 1)[0] + labelled(60, 0)[0][:9] + labelled(20, 1)[0][:2]
    np.testing.assert_allclose(again.probabilities(texts[::-1])[::-1], probe.probabilities(texts), atol=1e-5)
    assert probe.probabilities([]).shape == (0, 2)


def test_identity_has_what_decides(probe: Probe, model: LanguageModel) -> None:
    texts, labels = labelled(60, 0)
    assert probe.identity["layer"] == probe.layer
    assert probe.identity["kind"] == "probe"
    others = [
        Probe(model, seed=1).fit(texts, labels, layers=[probe.layer]),
        Probe(model, folds=3).fit(texts, labels, layers=[probe.layer]),
        Probe(model).fit(texts[:-2], labels[:-2], layers=[probe.layer]),
        probe,
    ]
    assert len({str(other.identity) for other in others}) == 4


def test_every_fourth_layer_and_the_last_are_tried(model: LanguageModel) -> None:
    assert set(Probe(model).fit(*labelled(20, 0)).dev_losses) == {4, 5}


def test_only_the_chosen_layer_is_run_for_new_texts(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    hidden_states = probe._model.hidden_states
    monkeypatch.setattr(
        probe._model,
        "hidden_states",
        lambda texts, layers: asked.append((texts, layers)) or hidden_states(texts, layers),
    )
    probe.probabilities(["new owl", labelled(60, 0)[0][0], "new owl"])
    assert asked == [(["new owl"], [probe.layer])], "known texts need no model, equal ones one run"


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (["a", "b"], ["x"], "found 1 for 2 texts"),
        (["a", "b"], ["x", "x"], "expected two or more different ones"),
        (["a", "b", "c"], ["x", "x", "y"], "'y' on one text only"),
        (["a", "b", "c", "c"], ["x", "x", "y", "y"], "'y' on one text only"),
        (["a", "b", "c"], ["x", "x", " "], "expected a name"),
        (["a", 3], ["x", "y"], "expected str"),
        (["a", "f", "b", "c", "d", "e", "a", "f"], ["x", "x", "x", "x", "x", "x", "y", "y"], "another label|sea"),
    ],
)
def test_what_is_refused(model: LanguageModel, texts: list[str], labels: list[str], message: str) -> None:
    if message.startswith("another"):  # all of y's texts in one fold, by luck of the seed
        seeds = (s for s in range(99) if _together(texts, labels, s))
        with pytest.raises(InputError, match="only on texts with another label"):
            Probe(model, folds=2, seed=next(seeds) - 1).fit(texts, labels, layers=[1])
        return
    with pytest.raises(InputError, match=message):
        Probe(model).fit(texts, labels, layers=[1])


def _together(texts: list[str], labels: list[str], seed: int) -> bool:
    try:
        probe_module._folds(texts, np.array([label == "y" for label in labels], np.int64), 2, seed)
    except InputError:
        return seed > 0
    return False


def test_more_that_is_refused(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="folds: found 1"):
        Probe(model, folds=1)
    with pytest.raises(InputError, match="not fitted"):
        Probe(model).probabilities(["sea"])
    with pytest.raises(InputError, match="layer: found 9; expected 1 to 5"):
        Probe(model).fit(*labelled(8, 0), layers=[9])
    with pytest.raises(InputError, match="layers: found none"):
        Probe(model).fit(*labelled(8, 0), layers=[])

    def missing(module: str, *, feature: str, extra: str) -> None:
        raise MissingExtraError(feature, extra)

    monkeypatch.setattr(probe_module, "require", missing)
    with pytest.raises(MissingExtraError, match="a probe as teacher"):
        Probe(model)
