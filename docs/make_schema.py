"""Write the JSON Schemas of the artifact's two JSON files beside this script."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from qdinfer.manifest import Golden, Manifest

SCHEMAS: dict[str, type[msgspec.Struct]] = {"student.schema.json": Manifest, "golden.schema.json": Golden}


def schema(model: type[msgspec.Struct]) -> str:
    """A model's JSON Schema, as the file holds it."""
    return json.dumps(msgspec.json.schema(model), indent=2) + "\n"


if __name__ == "__main__":
    for name, model in SCHEMAS.items():
        Path(__file__).with_name(name).write_text(schema(model))
