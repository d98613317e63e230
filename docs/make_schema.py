"""Write the JSON Schemas of the artifact's two JSON files beside this script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from qdinfer.manifest import Golden, Manifest

SCHEMAS: dict[str, type[msgspec.Struct]] = {"student.schema.json": Manifest, "golden.schema.json": Golden}


def schema(model: type[msgspec.Struct]) -> str:
    """A model's JSON Schema, as the file holds it."""
    return json.dumps(_ordered(msgspec.json.schema(model)), indent=2) + "\n"


def _ordered(part: Any) -> Any:
    """The same with its alternatives in an order of their own, which differs between versions of msgspec."""
    if isinstance(part, dict):
        return {name: _ordered(value) for name, value in part.items()}
    if isinstance(part, list):
        inner = [_ordered(value) for value in part]
        return sorted(inner, key=json.dumps) if all(isinstance(value, dict) for value in inner) else inner
    return part


if __name__ == "__main__":
    for name, model in SCHEMAS.items():
        Path(__file__).with_name(name).write_text(schema(model))
