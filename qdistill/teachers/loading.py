"""Models of transformers from a local folder, a .gguf file or, if it is said so, the hub.

``hf:org/name`` or ``hf:org/name@revision`` is a model of the hub; anything else is a local path, so that a mistyped
path never becomes a network call. Weights are read from safetensors or GGUF only, which hold no code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qdinfer.errors import InputError, TeacherError, require

from ..model_files import files_digest, missing_weights, model_files
from ..quiet import quiet_transformers

__all__ = ["HUB_PREFIX", "Loaded", "first_line", "load"]

HUB_PREFIX = "hf:"
_EXTRA = "distill"
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")

Head = Literal["CausalLM", "SequenceClassification", "none"]


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode and its tokenizer.

    Attributes:
        name: its file's, folder's or hub id's name, without the path to it.
        digest: SHA-256 of its content, or the hub's commit.
        disk_bytes: size of its files; None on the hub.
        tokenizer: of transformers; it has a padding token, and pads on the right.
        model: of transformers.
        max_tokens: longer inputs are cut, so that they fit the model as well.
    """

    name: str
    digest: str
    disk_bytes: int | None
    tokenizer: Any
    model: Any
    max_tokens: int

    @property
    def identity(self) -> dict[str, str | int]:
        """What of it decides its answers."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {"model": self.name, "model_digest": self.digest, "dtype": dtype, "max_tokens": self.max_tokens}


def load(
    model: str | Path, head: Head, *, max_tokens: int = 256, device: str = "cpu", dtype: str = "float32"
) -> Loaded:
    """Load a model.

    Args:
        model: a folder, a .gguf file, or ``hf:org/name``.
        head: what sits on its layers; it has to be in the file, and is never made up.
        max_tokens: longer inputs are cut; lowered to what the model has positions for.
        device: of torch, such as ``cpu`` or ``cuda``.
        dtype: of torch, for weights and arithmetic; ``float32`` is the only one that makes batches of any size agree.

    Raises:
        InputError: there is no such model, it is no model of this kind, or weights are missing.
        TeacherError: the hub did not give it.
        MissingExtraError: torch, transformers or, for a .gguf, gguf or accelerate is not installed.
    """
    if max_tokens < 1:
        raise InputError(f"max_tokens: found {max_tokens}; expected 1 or more")
    name, source, options, files = _resolve(str(model))
    digest = None if files is None else files_digest(files)
    torch = require("torch", feature="a language model as teacher", extra=_EXTRA)
    transformers = require("transformers", feature="a language model as teacher", extra=_EXTRA)
    precision = getattr(torch, dtype, None)
    if not isinstance(precision, torch.dtype) or not precision.is_floating_point:
        raise InputError(f"dtype: found {dtype!r}; expected float32, bfloat16 or float16")
    automatic = getattr(transformers, "AutoModel" if head == "none" else f"AutoModelFor{head}")
    options["trust_remote_code"] = False
    weights = {} if "gguf_file" in options else {"use_safetensors": True}
    with quiet_transformers():
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            network, report = automatic.from_pretrained(
                source, dtype=precision, output_loading_info=True, **weights, **options
            )
        except Exception as error:  # transformers raises a dozen kinds for a bad folder
            found = f"{model}: found no model that transformers loads ({first_line(error)})"
            if digest is None:
                raise TeacherError(
                    f"{found}; expected one on the hub; see the name, the network, or a token"
                ) from error
            raise InputError(f"{found}; expected config.json, a tokenizer and safetensors, or one .gguf") from error
    if missing := missing_weights(report, headless=head == "none"):
        raise InputError(
            f"{model}: found no weights for {missing[0]} ({len(missing)} in all); expected a model with "
            f"{'its layers' if head == 'none' else f'a trained {head} head'}: random weights teach nothing"
        )
    try:
        network = network.eval().to(device)
    except (RuntimeError, AssertionError) as error:  # torch's for a device that is not there, or too small
        raise InputError(f"device: found {device!r} ({first_line(error)}); expected one of torch's here") from error
    _make_paddable(tokenizer, network)
    positions = getattr(network.config, "max_position_embeddings", None) or max_tokens
    commit = digest or str(getattr(network.config, "_commit_hash", None) or "unknown")
    size = None if files is None else sum(file.stat().st_size for file in files)
    return Loaded(name, commit, size, tokenizer, network, min(max_tokens, positions))


def _resolve(model: str) -> tuple[str, str, dict[str, Any], list[Path] | None]:
    """Its name, what transformers is given, with which options, and its files, or None on the hub."""
    if model.startswith(HUB_PREFIX):
        match = _HUB_ID.fullmatch(model.removeprefix(HUB_PREFIX))
        if match is None:
            raise InputError(f"{model}: found no hub id behind {HUB_PREFIX!r}; expected hf:org/name or …@revision")
        return match["id"], match["id"], {"revision": match["revision"] or "main"}, None
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name, str(path), {"local_files_only": True}, model_files(path)
    if not path.is_file():
        raise InputError(
            f"{model}: found no file or folder there; expected a model's folder or .gguf file, or "
            f"{HUB_PREFIX}org/name for a model of the hub"
        )
    if path.suffix.lower() != ".gguf":
        raise InputError(f"{model}: found a file that is no .gguf; expected a model's folder, or a .gguf file")
    for module in ("gguf", "accelerate"):  # transformers reads a .gguf with both
        require(module, feature=f"a .gguf model as teacher (module {module})", extra=_EXTRA)
    return path.name, str(path.parent), {"gguf_file": path.name, "local_files_only": True}, [path]


def _make_paddable(tokenizer: Any, network: Any) -> None:
    """Pad with any token if there is none for it: what is padded is masked."""
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if network.config.pad_token_id is None:  # a decoder with a classifier's head finds a text's end by it
        network.config.pad_token_id = tokenizer.pad_token_id


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
