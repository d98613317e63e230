"""A language model gives the plain model's answers, whatever the batch, and is loaded from what was meant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qdinfer.errors import InputError, MissingExtraError, TeacherError
from qdistill.teachers import LanguageModel
from qdistill.teachers import loading as loading_module

TEXTS = ["sea salt", "the oak was near a wave and the owl", "", "moss", "boat boat boat boat gull", "zzz"]
Make = Callable[..., Path]


def prompts(model: LanguageModel) -> list[list[int]]:
    return [model.tokens(text) or [1] for text in TEXTS]


def test_next_token_logits_are_the_plain_models(llama: Path) -> None:
    model = LanguageModel.load(llama, batch_size=3)
    found = model.next_token_logits(prompts(model), [2, 7, 9])
    assert found.shape == (len(TEXTS), 3)
    assert found.dtype == np.float64
    for row, ids in zip(found, prompts(model), strict=True):
        with torch.inference_mode():
            plain = model.loaded.model(torch.tensor([ids])).logits[0, -1, [2, 7, 9]]
        np.testing.assert_allclose(row, plain.numpy(), atol=1e-5)


def test_the_head_reads_one_token_a_prompt(llama: Path) -> None:
    model = LanguageModel.load(llama)
    shapes = []
    head = model.loaded.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape)))
    model.next_token_logits(prompts(model), [2])
    hook.remove()
    assert shapes == [(len(TEXTS), 1, 16)]
    assert not head._forward_pre_hooks


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_neither_order_nor_batch_nor_padding_side_matter(make_llama: Make, llama: Path, batch_size: int) -> None:
    one = LanguageModel.load(llama, batch_size=4)
    two = LanguageModel.load(make_llama(padding_side="left", truncation_side="left"), batch_size=batch_size)
    wanted, states = one.next_token_logits(prompts(one), [3, 4]), one.hidden_states(TEXTS, [2, 5])
    np.testing.assert_allclose(two.next_token_logits(prompts(two)[::-1], [3, 4])[::-1], wanted, atol=1e-5)
    turned = two.hidden_states(TEXTS[::-1], [5, 2])
    for layer in (2, 5):
        np.testing.assert_allclose(turned[layer][::-1], states[layer], rtol=1e-5, atol=1e-4)


def test_a_layer_is_the_same_with_and_without_later_ones(llama: Path) -> None:
    model = LanguageModel.load(llama, head=False)
    assert model.num_layers == 5
    states = model.hidden_states(TEXTS, [1, 2, 3, 4, 5])
    assert {layer: rows.shape for layer, rows in states.items()} == {k: (len(TEXTS), 16) for k in range(1, 6)}
    for layer in range(1, 6):
        alone = LanguageModel.load(llama, head=False)
        alone.loaded.model.layers = alone.loaded.model.layers[:layer]
        alone.loaded.model.config.num_hidden_layers = layer
        np.testing.assert_allclose(alone.hidden_states(TEXTS, [layer])[layer], states[layer], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.hidden_states(TEXTS, [layer])[layer], states[layer], rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        plain = model.loaded.model(torch.tensor([prompts(model)[1]]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(states[3][1], plain[3][0].mean(0).numpy(), rtol=1e-5, atol=1e-5)
    with_norm = plain[5][0].mean(0).numpy()
    assert np.abs(states[5][1] - with_norm).max() > 0.1, "the last layer is read before the last norm"


def test_layers_behind_the_wanted_one_are_not_run(llama: Path) -> None:
    model = LanguageModel.load(llama)

    def forbidden(*_: Any) -> None:
        raise AssertionError("ran")

    later = [*model._blocks[3:], model.loaded.model.model.norm, model.loaded.model.lm_head]
    hooks = [module.register_forward_pre_hook(forbidden) for module in later]
    model.hidden_states(TEXTS, [3])
    assert not any(block._forward_hooks for block in model._blocks)
    for hook in hooks:
        hook.remove()


def test_an_encoder_has_states_but_no_next_token(make_bert: Make) -> None:
    model = LanguageModel.load(make_bert(None), head=False, batch_size=2)
    states = model.hidden_states(TEXTS, [1, 2])
    ids = prompts(model)[4]
    with torch.inference_mode():
        plain = model.loaded.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(states[2][4], plain[2][0].mean(0).numpy(), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="no head for the next token"):
        model.next_token_logits([[2]], [3])


def test_nothing_in_gives_nothing_out(llama: Path) -> None:
    model = LanguageModel.load(llama)
    assert model.hidden_states([], [2])[2].shape == (0, 16)
    assert model.hidden_states(["sea"], []) == {}
    assert model.next_token_logits([], [2]).shape == (0, 1)


def test_long_texts_are_cut_to_the_models_positions(llama: Path) -> None:
    assert LanguageModel.load(llama, max_tokens=1000).loaded.max_tokens == 64
    model = LanguageModel.load(llama, max_tokens=3)
    long, short = model.hidden_states(["sea salt wave boat", "sea salt wave"], [2])[2]
    np.testing.assert_allclose(long, short, atol=1e-6)


def test_identity_tells_models_apart_and_has_no_path(llama: Path, make_llama: Make) -> None:
    same, other = LanguageModel.load(make_llama("llama")), LanguageModel.load(make_llama("b/llama", seed=1))
    identity = LanguageModel.load(llama).loaded.identity
    assert identity == same.loaded.identity
    assert identity != other.loaded.identity, "equal names and sizes, other weights"
    assert str(llama.parent) not in str(identity)
    assert identity["model"] == "llama"
    assert identity["dtype"] == "float32"


@pytest.mark.parametrize("name", ["sentiment", "org/name", "./there/is/none", "~/none", "/none/such", "none.gguf"])
def test_a_mistyped_path_is_never_looked_up_elsewhere(no_network: list[Any], name: str) -> None:
    with pytest.raises(InputError, match=r"no file or folder there.*hf:org/name"):
        LanguageModel.load(name)


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:../x y"])
def test_a_hub_id_has_a_form(no_network: list[Any], name: str) -> None:
    with pytest.raises(InputError, match="no hub id"):
        LanguageModel.load(name)


def test_a_hub_id_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading_module._resolve("hf:org/name@v1") == ("org/name", "org/name", {"revision": "v1"}, None)
    assert loading_module._resolve("hf:name") == ("name", "name", {"revision": "main"}, None)


def test_folders_that_hold_no_such_model(tmp_path: Path, make_llama: Make, no_network: list[Any]) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="a file that is no .gguf"):
        LanguageModel.load(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model that transformers loads"):
        LanguageModel.load(tmp_path / "empty")
    folder = make_llama()
    (folder / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="no model that transformers loads"):
        LanguageModel.load(folder)


def test_missing_weights_are_never_made_up(make_llama: Make) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_llama()
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"no weights for .*layers\.3\.mlp\.up_proj\.weight \(1 in all\)"):
        LanguageModel.load(folder)


def test_pickled_weights_are_not_read(make_llama: Make) -> None:
    folder = make_llama()
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="expected config.json, a tokenizer and safetensors"):
        LanguageModel.load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"max_tokens": 0}, "max_tokens: found 0"),
        ({"dtype": "int8"}, "dtype: found 'int8'"),
        ({"dtype": "Tensor"}, "dtype: found 'Tensor'"),
        ({"device": "toaster"}, "device: found 'toaster'"),
        ({"device": "cuda:99"}, "device: found 'cuda:99'"),
    ],
)
def test_options_that_cannot_be(llama: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LanguageModel.load(llama, **options)


@pytest.mark.parametrize("layer", [0, 6, -1])
def test_layers_that_are_not_there(llama: Path, layer: int) -> None:
    with pytest.raises(InputError, match=rf"layer: found {layer}; expected 1 to 5"):
        LanguageModel.load(llama).hidden_states(["sea"], [2, layer])


def test_missing_parts_are_named(llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(module: str, *, feature: str, extra: str) -> Any:
        raise MissingExtraError(feature, extra)

    monkeypatch.setattr(loading_module, "require", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "qdinfer\[distill\]"'):
        LanguageModel.load(llama)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(MissingExtraError, match="module gguf"):
        LanguageModel.load(tmp_path / "x.gguf")


def test_a_model_that_fails_is_a_teachers_failure(llama: Path) -> None:
    model = LanguageModel.load(llama)
    with pytest.raises(TeacherError, match="llama: found that it does not run .*smaller batch size"):
        model.next_token_logits([[10_000]], [2])
    model.loaded.model.model.layers[1].mlp.up_proj.weight.data.fill_(float("nan"))
    with pytest.raises(TeacherError, match="llama: found NaN or infinite numbers"):
        model.next_token_logits([[2]], [2])
    with pytest.raises(TeacherError, match="NaN"):
        model.hidden_states(["sea"], [2])
    assert np.isfinite(model.hidden_states(["sea"], [1])[1]).all()


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    heavy = ["torch", "transformers", "sklearn", "jax", "qiskit"]
    program = (
        f"import sys, qdistill.teachers, qdistill.teachers.command; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
