"""Students on Ray: a Ray Dataset classified by a pool of workers, and a Ray Serve deployment.

>>> import ray
>>> from qdinfer.integrations.ray import classify_dataset
>>> texts = ray.data.read_parquet("texts.parquet")
>>> classify_dataset(texts, "exported_models/topic", workers=2).write_parquet("labelled")

>>> from ray import serve
>>> from qdinfer.integrations.ray import StudentDeployment
>>> serve.run(StudentDeployment.options(num_replicas=2).bind("exported_models/topic"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import require
from .dataset import classify_dataset

if TYPE_CHECKING:
    from .deployment import StudentDeployment

__all__ = ["StudentDeployment", "classify_dataset"]


def __getattr__(name: str) -> Any:
    """The deployment is a decorated class: it cannot be made before Ray Serve, which is slow, is imported."""
    if name != "StudentDeployment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("ray.serve", feature="a Ray Serve deployment", extra="ray")
    from .deployment import StudentDeployment

    return StudentDeployment
