"""What is imported when, and what is said where something is not installed."""

from __future__ import annotations

import json
import pickle
import textwrap
from pathlib import Path

import pytest
from interpreter import python

import qdinfer
from qdinfer import Artifact, MissingExtraError

PUBLIC = [
    "AdaptiveBackend",
    "AerBackend",
    "Artifact",
    "ArtifactError",
    "Backend",
    "BackendError",
    "Circuit",
    "CircuitError",
    "Classifier",
    "CompileError",
    "ExactBackend",
    "Expectations",
    "Golden",
    "HubError",
    "InputError",
    "JournalError",
    "Manifest",
    "MissingExtraError",
    "Prediction",
    "Predictions",
    "PrimitiveBackend",
    "QdinferError",
    "Readout",
    "RuntimeBackend",
    "RuntimeSettings",
    "SamplingBackend",
    "TextEncoder",
    "TruncationWarning",
    "TwinBackend",
    "Verification",
    "__version__",
    "compile_artifact",
    "compile_circuit",
    "verify",
]


def imported(code: str, *arguments: str) -> set[str]:
    """The top-level modules that are there after the code has run."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(json.loads(python(textwrap.dedent(code) + ending, *arguments).splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"numpy", "onnxruntime", "tokenizers", "msgspec", "qiskit", "qiskit_aer", "onnx", "jax", "torch", "tqdm"}
    assert not heavy & imported("import qdinfer; dir(qdinfer); qdinfer.__version__")


def test_an_exact_prediction_imports_only_the_base_install(student_path: Path) -> None:
    code = """
    import sys
    from qdinfer import Classifier
    clf = Classifier.load(sys.argv[1])
    assert clf.predict_proba(["sun rain", "goal"]).shape == (2, 3)
    assert sum(map(len, clf.stream(["sun"] * 5, chunk_size=2))) == 5
    """
    modules = imported(code, str(student_path))
    base = {"numpy", "onnxruntime", "tokenizers", "msgspec"}
    assert base <= modules
    extras = {"qiskit", "qiskit_aer", "openqasm3", "jax", "torch", "onnx", "tqdm", "pandas", "pyarrow", "scipy"}
    assert not extras & modules
    assert not {"qdistill", "pydantic"} & modules
    # Each costs a start some milliseconds, and is for a .zip, for saving, for tables or for the command.
    unused = {
        "zipfile",
        "zlib",
        "bz2",
        "lzma",
        "tempfile",
        "shutil",
        "secrets",
        "random",
        "csv",
        "argparse",
        "textwrap",
    }
    assert not unused & (modules - imported(f"import {', '.join(base)}"))


def test_a_prediction_from_csv_to_jsonl_imports_nothing_of_parquet(student_path: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nsun\n")
    code = """
    import sys
    from qdinfer.cli import main
    assert main(["predict", sys.argv[1], "--input", sys.argv[2], "--output", sys.argv[3]]) == 0
    print(sorted(name for name in sys.modules if name.startswith(("qdinfer.tabular", "pyarrow", "pandas"))))
    """
    printed = python(code, str(student_path), str(tmp_path / "t.csv"), str(tmp_path / "o.jsonl"))
    assert printed == str(["qdinfer.tabular", "qdinfer.tabular.blocks", "qdinfer.tabular.text"])


def test_an_exact_prediction_imports_no_module_of_other_tasks(student_path: Path) -> None:
    code = """
    import sys
    from qdinfer import Classifier
    Classifier.load(sys.argv[1]).predict("sun")
    print(sorted(name for name in sys.modules if name.partition(".")[0] == "qdinfer"))
    """
    names = ["", ".artifact", ".audit", ".audit.graph", ".audit.qasm", ".backends", ".backends.base"]
    names += [".backends.exact", ".circuit", ".classifier", ".encoder", ".errors", ".manifest", ".predictions"]
    names += [".reading", ".readout", ".session", ".texts"]
    assert python(code, str(student_path)) == str([f"qdinfer{name}" for name in names])


def test_a_zip_needs_no_more_than_the_base_install(student: Artifact, tmp_path: Path) -> None:
    path = student.save(tmp_path / "tiny.zip")
    code = "import sys, qdinfer; print(qdinfer.Classifier.load(sys.argv[1]).predict('goal')[0])"
    assert python(code, str(path), blocked=("pydantic", "tqdm", "qiskit")) in student.manifest.labels


def test_an_exact_verification_imports_no_qiskit(student_path: Path) -> None:
    code = "import sys, qdinfer; assert qdinfer.verify(sys.argv[1]).ok"
    assert not {"qiskit", "onnx", "jax", "torch"} & imported(code, str(student_path))


def test_the_public_names_are_these() -> None:
    assert qdinfer.__all__ == PUBLIC
    assert dir(qdinfer) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(qdinfer, name)
    assert value is getattr(qdinfer, name)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__


def test_star_import_gives_the_public_names() -> None:
    code = "from qdinfer import *; print(sorted(n for n in dir() if n[0] != '_' and n not in ('sys', 'Blocked')))"
    assert python(code) == str(sorted(set(PUBLIC) - {"__version__"}))


@pytest.mark.parametrize(
    "first",
    [
        "import qdinfer.verification",
        "import qdinfer.cli",
        "from qdinfer import verify",
        "from qdinfer.verification import Stage",
        "import qdinfer.compiler, qdinfer.classifier, qdinfer.backends.aer",
    ],
)
def test_verify_is_the_function_whatever_comes_first(first: str) -> None:
    code = f"{first}\nimport qdinfer\nprint(type(qdinfer.verify).__name__, qdinfer.verify.__module__)"
    assert python(code) == "function qdinfer.verification"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'qdinfer' has no attribute 'Clasifier'$"):
        _ = qdinfer.Clasifier
    with pytest.raises(ImportError, match="cannot import name 'Clasifier'"):
        from qdinfer import Clasifier  # noqa: F401


MISSING = [
    (
        ("qiskit_aer",),
        "qdinfer.AerBackend()",
        'the aer backend needs an optional part: pip install "qdinfer[aer]"',
    ),
    (
        ("qiskit_aer",),
        "qdinfer.Classifier.load(path, backend='aer')",
        'the aer backend needs an optional part: pip install "qdinfer[aer]"',
    ),
    (
        ("qiskit",),
        "qdinfer.Classifier.load(path).circuit.to_qiskit()",
        'reading a circuit needs an optional part: pip install "qdinfer[aer]"',
    ),
    (
        ("qiskit_qasm3_import",),
        "qdinfer.Classifier.load(path).circuit.to_qiskit()",
        'reading a circuit needs an optional part: pip install "qdinfer[aer]"',
    ),
    (
        ("qiskit",),
        "qdinfer.PrimitiveBackend(None)",
        'running on a primitive needs an optional part: pip install "qdinfer[aer]"',
    ),
    (
        ("qiskit_ibm_runtime",),
        "qdinfer.RuntimeBackend('ibm_fez')",
        'running on IBM Quantum needs an optional part: pip install "qdinfer[ibm]"',
    ),
    (
        ("qiskit_ibm_runtime",),
        "qdinfer.Classifier.load(path, backend='ibm:least_busy')",
        'running on IBM Quantum needs an optional part: pip install "qdinfer[ibm]"',
    ),
    (
        ("qiskit_ibm_runtime",),
        "qdinfer.Classifier.load(path, backend='fake:FakeFez')",
        'a fake device needs an optional part: pip install "qdinfer[ibm]"',
    ),
    (
        ("onnx",),
        "qdinfer.compile_artifact(qdinfer.Artifact.open(path))",
        'compiling a circuit needs an optional part: pip install "qdinfer[compile]"',
    ),
    (
        ("qiskit",),
        "qdinfer.compile_artifact(qdinfer.Artifact.open(path))",
        'compiling a circuit needs an optional part: pip install "qdinfer[compile]"',
    ),
    (
        ("ray",),
        "import qdinfer.integrations.ray as students; students.classify_dataset(None, path)",
        'a Ray Dataset needs an optional part: pip install "qdinfer[ray]"',
    ),
    (
        ("ray",),
        "from qdinfer.integrations.ray import StudentDeployment",
        'a Ray Serve deployment needs an optional part: pip install "qdinfer[ray]"',
    ),
]


@pytest.mark.parametrize(("blocked", "call", "message"), MISSING, ids=lambda value: str(value)[:40])
def test_a_missing_extra_names_its_install(
    student_path: Path, blocked: tuple[str, ...], call: str, message: str
) -> None:
    code = f"""
    import sys, qdinfer
    path = sys.argv[1]
    try:
        {call}
    except qdinfer.MissingExtraError as error:
        assert isinstance(error, ImportError) and isinstance(error.__cause__, ModuleNotFoundError)
        print(error)
    """
    assert python(code, str(student_path), blocked=blocked) == message


def test_the_exact_engine_works_without_any_extra(student_path: Path) -> None:
    code = "import sys, qdinfer; print(qdinfer.Classifier.load(sys.argv[1]).predict('goal')[0])"
    blocked = (
        "pydantic",
        "qiskit",
        "qiskit_aer",
        "qiskit_qasm3_import",
        "onnx",
        "jax",
        "scipy",
        "tensorcircuit",
        "pandas",
    )
    assert python(code, str(student_path), blocked=blocked) in ("weather", "sport", "money")


@pytest.mark.parametrize(
    ("blocked", "command", "message"),
    [
        (("qiskit_aer",), ["predict", "STUDENT", "sun", "--backend", "aer"], 'pip install "qdinfer[aer]"'),
        (("qiskit",), ["inspect", "STUDENT", "--circuit"], 'pip install "qdinfer[aer]"'),
        (("onnx",), ["compile", "STUDENT"], 'pip install "qdinfer[compile]"'),
        (("pyarrow",), ["predict", "STUDENT", "--input", "t.parquet"], 'pip install "qdinfer[parquet]"'),
        (("pyarrow",), ["predict", "STUDENT", "sun", "--output", "t.parquet"], 'pip install "qdinfer[parquet]"'),
        (("pyarrow",), ["evaluate", "STUDENT", "--input", "t.parquet"], 'pip install "qdinfer[parquet]"'),
    ],
)
def test_the_command_names_the_install_too(
    student_path: Path, blocked: tuple[str, ...], command: list[str], message: str
) -> None:
    code = """
    import contextlib, io, sys
    from qdinfer.cli import main
    with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
        code = main(sys.argv[1:])
    print(code, errors.getvalue())
    """
    command = [str(student_path) if word == "STUDENT" else word for word in command]
    code_and_error = python(code, *command, blocked=blocked)
    assert code_and_error.startswith("1 qdinfer: error: ")
    assert code_and_error.endswith(message)


@pytest.mark.parametrize(
    ("blocked", "feature"),
    [(("tensorcircuit", "jax", "optax"), "qdistill train"), (("pydantic", "pydantic_core", "jax"), "qdistill")],
)
def test_training_names_its_install_too(tmp_path: Path, blocked: tuple[str, ...], feature: str) -> None:
    code = """
    import sys
    from qdistill.cli import main
    sys.stderr = sys.stdout
    print(main(["train", "none.csv", "--output", sys.argv[1]]))
    """
    printed = python(code, str(tmp_path / "new"), blocked=blocked)
    message = f'qdistill: error: {feature} needs an optional part: pip install "qdinfer[distill]"'
    assert printed == f"{message}\n1"


def test_a_missing_extra_survives_pickling() -> None:
    again = pickle.loads(pickle.dumps(MissingExtraError("this", "aer")))
    assert (str(again), again.extra) == ('this needs an optional part: pip install "qdinfer[aer]"', "aer")
