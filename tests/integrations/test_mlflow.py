"""A student as an MLflow model: saved, logged, loaded, and served by MLflow's own server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from interpreter import python
from students import GOLDEN, LABELS, tiny

import qdinfer
from qdinfer import AerBackend, Artifact, ArtifactError, BackendError, Classifier, InputError

# MLflow looks at these when it is imported, and tells its makers nothing.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns of when it is imported is its own
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model, get_model_info

    from qdinfer.integrations.mlflow import load_model, log_model, save_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
"""Of pandas and SQLAlchemy, about what MLflow does with them."""
COLUMNS = ["prediction", *(f"p({label})" for label in LABELS)]
TEXTS = ["sun rain", "goal match goal", "", "bank share star"]


@pytest.fixture(autouse=True)
def nobody_is_called(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which this process looks for another machine."""
    called: list[object] = []
    real = socket.getaddrinfo

    def watched(host: Any, *words: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            called.append(host)
        return real(host, *words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    yield
    assert called == []


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow makes folders where it is."""
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        yield


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small student as a model."""
    path = tmp_path_factory.mktemp("mlflow") / "model"
    save_model(tiny(), path)
    return path


def predicted(answer: pd.DataFrame, texts: list[str]) -> None:
    """See that an answer is what the student says of the texts."""
    expected = Classifier(tiny()).classify(texts).to_pandas(index=answer.index)[COLUMNS]
    pd.testing.assert_frame_equal(answer, expected)


# The folder


def test_the_folder_has_the_students_own_files(saved: Path) -> None:
    student = Artifact.open(saved / "data" / "student")
    assert student.sha256 == tiny().sha256
    assert dict(student.files) == dict(tiny().files)
    assert not [path for path in saved.rglob("*") if path.suffix in (".pkl", ".pickle", ".py", ".joblib")]


def test_mlmodel_names_both_flavours_and_the_student(saved: Path) -> None:
    about = yaml.safe_load((saved / "MLmodel").read_text())
    assert about["flavors"]["qdinfer"] == {
        "format": 1,
        "data": "data/student",
        "qdinfer_version": qdinfer.__version__,
        "student": "tiny",
        "sha256": tiny().sha256,
    }
    pyfunc = about["flavors"]["python_function"]
    assert pyfunc["loader_module"] == "qdinfer.integrations.mlflow"
    assert pyfunc["data"] == "data/student"


def test_the_signature_is_a_text_in_and_a_label_with_probabilities_out(saved: Path) -> None:
    signature = get_model_info(str(saved)).signature
    assert signature.inputs.to_dict() == [{"type": "string", "name": "text", "required": True}]
    assert [(column["name"], column["type"]) for column in signature.outputs.to_dict()] == [
        ("prediction", "string"),
        *((f"p({label})", "double") for label in LABELS),
    ]
    assert signature.params is None


def test_the_example_is_of_the_students_self_test(saved: Path) -> None:
    example = Model.load(str(saved)).load_input_example(str(saved))
    assert example["text"].tolist() == list(GOLDEN[:2])
    predicted(mlflow.pyfunc.load_model(str(saved)).predict(example), list(GOLDEN[:2]))


def test_requirements_pin_this_version(saved: Path, tmp_path: Path) -> None:
    found = (saved / "requirements.txt").read_text().split()
    assert found == [f"mlflow=={mlflow.__version__}", f"qdinfer[mlflow]=={qdinfer.__version__}"]
    save_model(tiny(), tmp_path / "m", pip_requirements=["./qdinfer.whl", "pandas"])
    assert (tmp_path / "m" / "requirements.txt").read_text().split()[1:] == ["./qdinfer.whl", "pandas"]


def test_code_and_metadata_go_along(tmp_path: Path) -> None:
    (tmp_path / "cleaning.py").write_text("WORD = 1\n")
    save_model(tiny(), tmp_path / "m", code_paths=(str(tmp_path / "cleaning.py"),), metadata={"team": "news"})
    assert (tmp_path / "m" / "code" / "cleaning.py").read_text() == "WORD = 1\n"
    assert get_model_info(str(tmp_path / "m")).metadata == {"team": "news"}


# Saving


def test_a_student_comes_from_a_folder_a_zip_or_memory(student_path: Path, tmp_path: Path) -> None:
    for number, student in enumerate((student_path, str(student_path), tiny().save(tmp_path / "t.zip"))):
        save_model(student, tmp_path / str(number))
        assert load_model(str(tmp_path / str(number))).artifact.sha256 == tiny().sha256


def test_what_could_not_be_served_is_not_saved(tmp_path: Path) -> None:
    files = {name: data for name, data in tiny().files.items() if name != "compiled.onnx"}
    plain = Artifact.create(msgspec.structs.replace(tiny().manifest, compiled=None), files)
    with pytest.raises(BackendError, match="found no compiled.onnx"):
        save_model(plain, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="found nothing there"):
        save_model(tmp_path / "nobody", tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:unclosed scandir iterator:ResourceWarning")  # MLflow's
def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    with pytest.raises(MlflowException, match="exists and is not empty"):
        save_model(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# Loading


def test_python_function_takes_frames_and_lists_of_rows(saved: Path) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    frame = pd.DataFrame({"id": range(4), "text": TEXTS}, index=list("abcd"))
    answer = model.predict(frame)
    assert answer.index.tolist() == list("abcd")
    predicted(answer, TEXTS)
    predicted(model.predict([{"text": text} for text in TEXTS]), TEXTS)
    predicted(model.predict({"text": TEXTS[0]}), TEXTS[:1])
    predicted(model.predict(pd.DataFrame({"text": pd.Series([], dtype="str")})), [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.DataFrame({"text": ["sun", None]}), r"texts\[1\]: found (None|nan); expected str"),
        (pd.DataFrame({"text": ["sun", 3]}), r"texts\[1\]: found int; expected str"),
        (pd.DataFrame({"text": [1, 2]}), "Can not safely convert int64"),
        (pd.DataFrame({"body": ["sun"]}), r"Model is missing inputs \['text'\]"),
        (["sun"], r"Model is missing inputs \['text'\]"),
    ],
    ids=range(5),
)
def test_what_is_no_text_is_the_callers_mistake(saved: Path, given: Any, message: str) -> None:
    with pytest.raises(MlflowException, match=message) as caught:
        mlflow.pyfunc.load_model(str(saved)).predict(given)
    assert caught.value.get_http_status_code() == 400


def test_the_flavour_gives_a_classifier(saved: Path) -> None:
    classifier = load_model(str(saved), backend=AerBackend(shots=50, seed=1), threads=1)
    assert classifier.classify(TEXTS).shots.tolist() == [50] * 4
    np.testing.assert_allclose(
        load_model(str(saved)).predict_proba(TEXTS), Classifier(tiny()).predict_proba(TEXTS), atol=1e-6
    )


def test_a_student_that_was_tampered_with_is_found_out(tmp_path: Path) -> None:
    save_model(tiny(), tmp_path / "m")
    with (tmp_path / "m" / "data" / "student" / "encoder.onnx").open("ab") as file:
        file.write(b"\0")
    for load in (load_model, mlflow.pyfunc.load_model):
        with pytest.raises(ArtifactError, match="encoder.onnx: found"):
            load(str(tmp_path / "m"))


@pytest.mark.parametrize(
    ("flavors", "message"),
    [
        ({"sklearn": {}}, r": found the flavours \['sklearn'\]; expected 'qdinfer'$"),
        ({"qdinfer": {"format": 2, "data": "d"}}, r": found format 2 of the flavour 'qdinfer'; expected 1, or a newer"),
        ({"qdinfer": {}}, r": found format None of the flavour 'qdinfer'; expected 1, or a newer qdinfer$"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, flavors: dict[str, Any], message: str) -> None:
    Model(flavors=flavors).save(str(tmp_path / "MLmodel"))
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path))


@pytest.mark.slow
def test_a_student_is_logged_and_registered(tmp_path: Path) -> None:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    try:
        with mlflow.start_run() as run:
            info = log_model(tiny(), "student", registered_model_name="news", tags={"task": "topics"})
        assert info.run_id == run.info.run_id
        for uri in (info.model_uri, "models:/news/1"):
            assert load_model(uri).predict(TEXTS).tolist() == Classifier(tiny()).predict(TEXTS).tolist()
            predicted(mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"text": TEXTS})), TEXTS)
        assert mlflow.get_logged_model(info.model_id).tags["task"] == "topics"
        with pytest.raises(MlflowException, match="nobody"):
            load_model("models:/nobody/1")
    finally:
        mlflow.set_tracking_uri(before)


# Serving


WATCH = """
import sys
def heard(event, words):
    if event == "socket.getaddrinfo" and words[0] not in ("127.0.0.1", "localhost", None):
        print("LOOKED FOR", words[0], file=sys.stderr, flush=True)
    if event == "socket.connect" and isinstance(words[1], tuple) and words[1][0] not in ("127.0.0.1", "::1"):
        print("CALLED", words[1], file=sys.stderr, flush=True)
sys.addaudithook(heard)
"""


class Served:
    """MLflow's own server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, body: object) -> tuple[int, Any]:
        """Status and answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/invocations", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)["predictions"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["message"]


@pytest.fixture(scope="module")
def server(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "sitecustomize.py").write_text(WATCH)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["models", "serve", "-m", saved, "--host", "127.0.0.1", "--port", port, "--env-manager", "local"]
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(folder), str(Path(qdinfer.__file__).parents[1])]),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'runs.db'}",
    }
    environment.pop("PYTEST_CURRENT_TEST", None)  # by which MLflow would know that it is tested
    log = folder / "log.txt"
    with log.open("w") as output:
        words = [sys.executable, "-m", "mlflow", *map(str, command)]
        child = subprocess.Popen(words, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
            while not pinged(url):
                assert child.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield Served(url)
        finally:
            child.terminate()
            child.wait(30)
    said = log.read_text()
    assert "LOOKED FOR" not in said, said
    assert "CALLED" not in said, said
    assert [path.name for path in folder.iterdir() if path.name.startswith("mlruns")] == []


def pinged(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}},
        {"dataframe_split": {"columns": ["id", "text"], "data": [[i, text] for i, text in enumerate(TEXTS)]}},
        {"dataframe_records": [{"text": text} for text in TEXTS]},
        {"inputs": TEXTS},
        {"inputs": {"text": TEXTS}},
        {"instances": TEXTS},
        {"instances": [{"text": text} for text in TEXTS]},
    ],
    ids=lambda body: str(body)[:40],
)
def test_the_server_answers_all_forms(server: Served, body: dict[str, Any]) -> None:
    status, answer = server(body)
    assert status == 200
    predicted(pd.DataFrame(answer), TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_split": {"columns": ["text"], "data": [["sun"], [1]]}}, r"texts\[1\]: found int; expected str"),
        (
            {"dataframe_split": {"columns": ["text"], "data": [["sun"], [None]]}},
            r"texts\[1\]: found (None|nan); expect",
        ),
        ({"dataframe_records": [{"text": None}]}, r"texts\[0\]: found None; expected str"),
        ({"dataframe_split": {"columns": ["body"], "data": [["sun"]]}}, r"Model is missing inputs \['text'\]"),
        ({"inputs": {"body": ["sun"]}}, r"Model is missing inputs \['text'\]"),
        ({"texts": TEXTS}, "exactly one of the input fields"),
        (b"sun", "valid JSON"),
    ],
    ids=range(7),
)
def test_the_server_says_what_is_wrong_with_a_request(server: Served, body: Any, message: str) -> None:
    status, answer = server(body)
    assert status == 400
    assert re.search(message, answer)
    assert server({"inputs": ["sun"]})[0] == 200, "it goes on"


@pytest.mark.slow
def test_mlflow_itself_makes_texts_of_inputs_and_instances(server: Served) -> None:
    """The documentation warns of it: null and numbers never reach the student in these two forms."""
    for form in ("inputs", "instances"):
        status, answer = server({form: ["None", "3"]})
        assert (status, answer) == server({form: [None, 3]})
        assert status == 200


def test_without_mlflow_the_extra_is_named() -> None:
    code = """
    try:
        import qdinfer.integrations.mlflow
    except ImportError as error:
        print(error)
    """
    assert (
        python(code, blocked=("mlflow",)) == 'the MLflow flavour needs an optional part: pip install "qdinfer[mlflow]"'
    )
