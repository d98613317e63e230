"""Students as MLflow models: the flavour ``qdinfer``, and ``python_function`` on top of it.

A model's folder holds, beside what MLflow writes, the student's own files in ``data/student``. Nothing is pickled, and
loading checks them as opening a student always does.

The signature: in, one column ``text`` of strings; out, ``prediction`` (string) and ``p(CLASS)`` (double) of each class,
as from ``qdinfer predict --proba``. MLflow runs the exact engine; `load_model` gives a `Classifier` on any backend.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..artifact import Artifact
from ..backends import Backend
from ..classifier import Classifier
from ..errors import InputError, require

require("mlflow.pyfunc", feature="the MLflow flavour", extra="mlflow")

import mlflow.artifacts  # noqa: E402
import mlflow.pyfunc  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import Model, ModelSignature  # noqa: E402
from mlflow.types import ColSpec, Schema  # noqa: E402

if TYPE_CHECKING:
    import pandas
    from mlflow.models.model import ModelInfo

__all__ = ["FLAVOR_NAME", "FORMAT", "load_model", "log_model", "save_model"]

FLAVOR_NAME = "qdinfer"
FORMAT = 1
"""Of the flavour's entry in ``MLmodel``; it rises when an older qdinfer could not load the model."""

Student = str | os.PathLike[str] | Artifact


def save_model(
    student: Student,
    path: str | os.PathLike[str],
    *,
    pip_requirements: Sequence[str] | str | None = None,
    code_paths: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    mlflow_model: Model | None = None,
) -> None:
    """Save a student as an MLflow model.

    Args:
        student: its folder, .zip or reference, as `Classifier.load` takes it, or an `Artifact`.
        path: a folder that is made.
        pip_requirements: packages, or a file of them, for an environment that runs the model. None is this version of
            qdinfer with its extra `mlflow`, which must then be on the package index; else name a wheel or an URL.
        code_paths: files or folders of Python that go with the model.
        metadata: kept in ``MLmodel``.
        mlflow_model: what is known of the model already; `log_model` gives it.

    Raises:
        ArtifactError: and what else `Artifact.open` raises of a student that cannot be had.
        BackendError: the exact engine cannot run it; `qdinfer compile` makes what that needs.
        MlflowException: there is something at the path.
    """
    artifact = student if isinstance(student, Artifact) else Artifact.open(student)
    model = Model() if mlflow_model is None else mlflow_model
    model.add_flavor(
        FLAVOR_NAME,
        format=FORMAT,
        data="data/student",
        qdinfer_version=__version__,
        student=artifact.manifest.name,
        sha256=artifact.sha256,
    )
    served = _Served(Classifier(artifact))
    example = served.example()
    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            os.fspath(path),
            loader_module=__name__,
            data_path=str(artifact.save(Path(folder, "student"))),
            code_paths=None if code_paths is None else list(code_paths),
            mlflow_model=model,
            signature=_signature(served.predict(example)),
            input_example=example,
            pip_requirements=pip_requirements or [f"qdinfer[mlflow]=={__version__}"],
            metadata=None if metadata is None else dict(metadata),
        )


def log_model(student: Student, name: str, **options: Any) -> ModelInfo:
    """Log a student as a model of the active run, or of a new one.

    Args:
        student: its folder, .zip or reference, as `Classifier.load` takes it, or an `Artifact`.
        name: of the model.
        options: those of `save_model`, and of ``mlflow.models.Model.log``, such as `registered_model_name`.

    Returns:
        What MLflow tells of it; its `model_uri` is for `load_model` and for ``mlflow models serve``.

    Raises:
        ArtifactError: and what else `save_model` raises.
    """
    return Model.log(None, sys.modules[__name__], name=name, student=student, **options)


def load_model(model_uri: str, *, backend: str | Backend = "exact", threads: int | None = None) -> Classifier:
    """The student of an MLflow model.

    Args:
        model_uri: ``models:/…``, ``runs:/…``, a folder, or another place that MLflow knows.
        backend: evaluates the circuit: a name or an object, as `Classifier` takes it.
        threads: CPU threads for one call; None for all that this process may use.

    Raises:
        InputError: it is no model of this flavour, or of a newer format.
        ArtifactError: the student in it is not sound.
        BackendError: the backend cannot run it.
        MlflowException: there is no such model.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = Path(model_uri).is_dir()
        path = model_uri if here else mlflow.artifacts.download_artifacts(artifact_uri=model_uri, dst_path=folder)
        flavors = Model.load(path).flavors
        if FLAVOR_NAME not in flavors:
            raise InputError(f"{model_uri}: found the flavours {sorted(flavors)}; expected {FLAVOR_NAME!r}")
        found = flavors[FLAVOR_NAME].get("format")
        if found != FORMAT:
            expected = f"{FORMAT}, or a newer qdinfer"
            raise InputError(f"{model_uri}: found format {found!r} of the flavour {FLAVOR_NAME!r}; expected {expected}")
        return Classifier.load(Path(path, flavors[FLAVOR_NAME]["data"]), backend=backend, threads=threads)


def _load_pyfunc(path: str) -> _Served:
    """What MLflow calls for ``python_function``, with the place of the student."""
    return _Served(Classifier.load(Path(path)))


class _Served:
    """A student as MLflow's ``python_function`` wants it: frames in, frames out."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def predict(self, model_input: pandas.DataFrame) -> pandas.DataFrame:
        """Classify the column ``text``.

        Raises:
            MlflowException: something in it is no text. A server answers with 400 and the message.
        """
        try:
            found = self._classifier.classify(model_input["text"])
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        columns = ["prediction", *(f"p({label})" for label in found.classes.tolist())]
        return found.to_pandas(index=model_input.index)[columns]

    def example(self) -> pandas.DataFrame:
        """Two texts of the student's self-test."""
        import pandas

        return pandas.DataFrame({"text": self._classifier.artifact.golden.texts[:2]})


def _signature(output: pandas.DataFrame) -> ModelSignature:
    columns = [ColSpec("string" if name == "prediction" else "double", name) for name in output.columns]
    return ModelSignature(Schema([ColSpec("string", "text")]), Schema(columns))
