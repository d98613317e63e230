"""The first lines of a card, which the Hugging Face Hub reads."""

from __future__ import annotations

import pytest
import yaml
from msgspec.structs import replace

from qdinfer import Artifact, Circuit
from qdistill.card import model_card


def metadata(student: Artifact, license: str | None) -> dict[str, object]:
    manifest = replace(student.manifest, provenance=replace(student.manifest.provenance, license=license))
    empty, front, body = model_card(manifest, Circuit.from_artifact(student)).split("---\n", 2)
    assert empty == ""
    assert body.startswith("\n# tiny\n")
    read: dict[str, object] = yaml.safe_load(front)
    return read


@pytest.mark.parametrize(
    ("license", "told"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("student: Apache-2.0; inside it: weights and tokenizer of a/b, Apache-2.0", "apache-2.0"),
        ("student: Apache-2.0;", "apache-2.0"),
        ("student: Apache-2.0; inside it: weights, MIT", "other"),
        ("Apache-2.0; weights under a license of their own", "other"),
        ("GPL-3.0-only", "other"),
        ("proprietary", "other"),
        ("x: y\n---\nlicense: mit", "mit"),
        (";", "other"),
    ],
)
def test_the_license_is_one_that_the_hub_has_or_other(student: Artifact, license: str, told: str) -> None:
    assert metadata(student, license) == {
        "license": told,
        "library_name": "qdinfer",
        "pipeline_tag": "text-classification",
        "tags": ["quantum", "quantum-machine-learning"],
    }


def test_without_a_license_none_is_claimed(student: Artifact) -> None:
    assert "license" not in metadata(student, None)
