"""The files of a model, and what tells it from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qdinfer.errors import InputError

__all__ = ["files_digest", "missing_weights", "model_files", "transformer_files"]

_CONTENT = ("config.json", "tokenizer*", "*.safetensors*", "*.model", "vocab*", "merges.txt", "added_tokens.json")


def model_files(folder: Path) -> list[Path]:
    """Configuration, weights and tokenizer in a model's folder; what else lies there changes no answer."""
    return sorted({file for pattern in _CONTENT for file in folder.glob(pattern) if file.is_file()})


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256 over names and contents; sizes alone would not tell two fine-tunings of one model apart."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def transformer_files(path: str) -> list[Path]:
    """The files of a local transformer that a student can be made from.

    Raises:
        InputError: there is no configuration, or no tokenizer.json.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise InputError(f"{path}: found no config.json there; expected a local transformer's folder")
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{path}: found no tokenizer.json there; expected that of a local transformer's folder")
    return model_files(folder)


def missing_weights(report: Mapping[str, Any], *, headless: bool) -> list[str]:
    """The weights that transformers made up, for its files had none or of another shape.

    Args:
        report: what it says of a loaded model with `output_loading_info`.
        headless: whether only the layers are wanted, so that the pooler behind them may be missing.
    """
    missing = sorted(key for key in report["missing_keys"] if not (headless and key.startswith("pooler.")))
    return missing + sorted(str(key) for key in report["mismatched_keys"])
