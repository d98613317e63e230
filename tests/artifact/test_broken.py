"""Every way to break a student that we could think of, and the message that each one gets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from students import encoder_onnx, tiny, tokenizer_json

from qdinfer import Artifact, ArtifactError, Classifier

DECOY = "decoy.bin"


def rehash(folder: Path) -> None:
    """Bring the sizes and hashes in ``student.json`` up to date, so that a change is judged by its content."""
    manifest = json.loads((folder / "student.json").read_text())
    for name in manifest["files"]:
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "student.json").write_text(json.dumps(manifest))


@dataclass(frozen=True)
class Case:
    """A broken student.

    Attributes:
        name: of the test.
        file: the file that the error must name; "" for the artifact itself.
        reasons: what its text must have.
        breaks: breaks a folder, and gives the path to open.
        by_loading: opening it goes well; only loading can see it.
    """

    name: str
    file: str
    reasons: tuple[str, ...]
    breaks: Callable[[Path], Path]
    by_loading: bool = False


CASES: list[Case] = []


def add(name: str, file: str, *reasons: str, breaks: Callable[[Path], Path], by_loading: bool = False) -> None:
    CASES.append(Case(name, file, reasons, breaks, by_loading))


def broken(file: str, *reasons: str) -> Callable[[Callable[[Path], Path | None]], None]:
    """Register a function that breaks a folder, and may give another path to open."""

    def register(function: Callable[[Path], Path | None]) -> None:
        add(function.__name__, file, *reasons, breaks=lambda folder: function(folder) or folder)

    return register


# --- zip -------------------------------------------------------------------------------------------------------------


def zipped(folder: Path, change: Callable[[zipfile.ZipFile], None] | None = None) -> Path:
    """The folder as a .zip; `change` may write further entries, or alter the entries of the central directory."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        if change:
            change(archive)
    shutil.rmtree(folder)
    return path


def entry(name: str, *reasons: str, attributes: int = 0o100644 << 16) -> Callable[[Path], Path]:
    def breaks(folder: Path) -> Path:
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes
        return zipped(folder, lambda archive: archive.writestr(info, b"here"))

    return breaks


for label, name in {
    "parent": "../up.json",
    "parent alone": "..",
    "absolute": "/etc/passwd",
    "subfolder": "sub/README.md",
    "folder": "sub/",
    "backslash": "..\\up.json",
    "drive": "C:\\up.json",
}.items():
    add(f"zip entry {label}", "student.zip", repr(name), "at the archive's top", breaks=entry(name))
for label, name, mode in [("symlink", "link", 0o120777), ("fifo", "pipe", 0o010644), ("typed folder", "sub", 0o040755)]:
    reasons = [f"{name!r}, which is a link or special file", "plain files only"]
    add(f"zip entry {label}", "student.zip", *reasons, breaks=entry(name, attributes=mode << 16))
add("zip extra entry", "extra.bin", "not part of the student", breaks=entry("extra.bin"))


def altered(**attributes: Any) -> Callable[[Path], Path]:
    """The central directory has something else to say of encoder.onnx than is there."""

    def change(archive: zipfile.ZipFile) -> None:
        for key, value in attributes.items():
            setattr(archive.getinfo("encoder.onnx"), key, value)

    return lambda folder: zipped(folder, change)


add("zip encrypted", "student.zip", "'encoder.onnx', which is encrypted", breaks=altered(flag_bits=1))
add("zip declares too little", "student.zip", "no readable .zip", "CRC", breaks=altered(file_size=10))
add("zip declares too much", "encoder.onnx", "583 bytes", "584, as the .zip declares", breaks=altered(file_size=584))
add("zip declares 3 GiB", "encoder.onnx", f"{3 * 2**30} bytes", f"at most {2**30}", breaks=altered(file_size=3 * 2**30))
add("zip offset outside", "student.zip", "no readable .zip", breaks=altered(header_offset=2**31))
add("zip two names for an entry", "student.zip", "no readable .zip", breaks=altered(orig_filename="x", filename="x"))


@broken("student.zip", "no readable .zip")
def zip_truncated(folder: Path) -> Path:
    path = zipped(folder)
    path.write_bytes(path.read_bytes()[:-100])
    return path


@broken("student.zip", "no readable .zip", "File is not a zip file")
def zip_is_none(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    path.write_bytes(b"PK, and then nothing of the kind" * 10)
    return path


@broken("notes.txt", "no readable .zip", "a student's folder or .zip")
def plain_file(folder: Path) -> Path:
    path = folder.with_name("notes.txt")
    path.write_text("remember the milk")
    return path


@broken("empty.zip", "no readable .zip")
def zip_of_no_bytes(folder: Path) -> Path:
    path = folder.with_name("empty.zip")
    path.touch()
    return path


@broken("", "no student.json")
def zip_without_entries(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    zipfile.ZipFile(path, "w").close()
    return path


@broken("student.zip", "two entries 'README.md'", "each name once")
def zip_duplicate(folder: Path) -> Path:
    def change(archive: zipfile.ZipFile) -> None:
        with warnings.catch_warnings(action="ignore"):
            archive.writestr("README.md", b"another")

    return zipped(folder, change)


@broken("encoder.onnx", "10 bytes", "583, as student.json lists it")
def zip_bomb_with_the_prefix_checksum(folder: Path) -> Path:
    def change(archive: zipfile.ZipFile) -> None:
        info, data = archive.getinfo("encoder.onnx"), (folder / "encoder.onnx").read_bytes()
        info.file_size, info.CRC = 10, zipfile.crc32(data[:10])

    return zipped(folder, change)


@broken("student.zip", "'README.md' with method 12", "stored or deflated")
def zip_bzip2(folder: Path) -> Path:
    data = (folder / "README.md").read_bytes()
    (folder / "README.md").unlink()
    return zipped(folder, lambda archive: archive.writestr("README.md", data, compress_type=zipfile.ZIP_BZIP2))


@broken("student.zip", "no readable .zip", "can't decode")
def zip_name_of_no_encoding(folder: Path) -> Path:
    path = zipped(folder, lambda archive: archive.writestr("né", b""))
    path.write_bytes(path.read_bytes().replace("né".encode(), b"n\xff\xff"))
    return path


@broken("student.zip", "no readable .zip", "Invalid argument")
def zip_offset_before_the_start(folder: Path) -> Path:
    path = zipped(folder)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")  # 16 bytes further: where the central directory is said to begin; here, too late
    path.write_bytes(data[: end + 16] + (end + 5).to_bytes(4, "little") + data[end + 20 :])
    return path


@broken("the artifact", "50 files", "at most 32")
def zip_of_many(folder: Path) -> Path:
    def change(archive: zipfile.ZipFile) -> None:
        for i in range(43):
            archive.writestr(f"part{i}", b"")

    return zipped(folder, change)


# --- folder ----------------------------------------------------------------------------------------------------------


@broken("README.md", "a symbolic link", "plain files only")
def symlink(folder: Path) -> None:
    (folder / "README.md").rename(folder.parent / "elsewhere.md")
    (folder / "README.md").symlink_to(folder.parent / "elsewhere.md")


@broken("loop", "a symbolic link", "plain files only")
def dangling_symlink(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")


@broken("sub", "a folder", "plain files only")
def subfolder(folder: Path) -> None:
    (folder / "sub").mkdir()


@broken("pipe", "a special file", "plain files only")
def fifo_inside(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


@broken("pipe.zip", "a special file", "a student's folder or .zip")
def fifo_instead(folder: Path) -> Path:
    os.mkfifo(folder.parent / "pipe.zip")
    return folder.parent / "pipe.zip"


@broken("notes.txt", "not part of the student", "only what student.json lists")
def extra_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


@broken("the artifact", "107 files", "at most 32")
def many_files(folder: Path) -> None:
    for i in range(100):
        (folder / f"part{i}").touch()


@broken("", "no student.json", "a student's folder or .zip")
def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@broken("", "no student.json")
def without_manifest(folder: Path) -> None:
    (folder / "student.json").unlink()


def unlinked(name: str) -> Callable[[Path], Path]:
    def breaks(folder: Path) -> Path:
        (folder / name).unlink()
        return folder

    return breaks


for name in ("tokenizer.json", "encoder.onnx", "circuit.qasm", "golden.json", "README.md", "compiled.onnx"):
    add(f"without {name}", name, "no such file", "as student.json lists it", breaks=unlinked(name))


@broken("encoder.onnx", "SHA-256", "as student.json lists it")
def wrong_hash(folder: Path) -> None:
    data = bytearray((folder / "encoder.onnx").read_bytes())
    data[100] ^= 1
    (folder / "encoder.onnx").write_bytes(data)


@broken("README.md", "2 bytes", "as student.json lists it")
def wrong_size(folder: Path) -> None:
    (folder / "README.md").write_bytes(b"hi")


@broken("circuit.qasm", "1048577 bytes", "at most 1048576")
def huge_circuit(folder: Path) -> None:
    with (folder / "circuit.qasm").open("r+b") as file:
        file.truncate(2**20 + 1)


@broken("encoder.onnx", f"{2**30 + 1} bytes", f"at most {2**30}")
def huge_encoder(folder: Path) -> None:
    with (folder / "encoder.onnx").open("r+b") as file:
        file.truncate(2**30 + 1)  # sparse: nothing is written


# --- student.json ----------------------------------------------------------------------------------------------------


def raw_manifest(data: bytes) -> Callable[[Path], Path]:
    def breaks(folder: Path) -> Path:
        (folder / "student.json").write_bytes(data)
        return folder

    return breaks


def manifest(*path: str | int, to: Any) -> Callable[[Path], Path]:
    """Set one place of the manifest; `...` takes it away."""

    def breaks(folder: Path) -> Path:
        content = json.loads((folder / "student.json").read_text())
        place = content
        for step in path[:-1]:
            place = place[step]
        if to is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = to
        (folder / "student.json").write_text(json.dumps(content))
        return folder

    return breaks


for label, data, reasons in [
    ("no JSON", b"format: 1\n", ["no valid JSON", "a UTF-8 JSON object"]),
    ("empty", b"", ["no valid JSON"]),
    ("no UTF-8", b'{"format": 1, "name": "\xff\xfe"}', ["no valid JSON"]),
    ("UTF-16", '{"format": 1}'.encode("utf-16"), ["no valid JSON"]),
    ("a list", b"[1]", ["Expected `object`, got `"]),
    ("null", b"null", ["Expected `object`, got `"]),
    ("deeply nested", b'{"format":' * 100_000, ["no valid JSON", "recursion depth"]),
    ("long number", b'{"format": ' + b"9" * 5000 + b"}", ["no valid JSON", "value out of range"]),
    ("lone surrogate", b'{"format": 1, "name": "\\ud800"}', ["no valid JSON"]),
    ("lone low surrogate", b'{"format": 1, "name": "\\udc00 and more"}', ["no valid JSON", "surrogate"]),
    ("surrogate in UTF-8", b'{"format": 1, "name": "\xed\xa0\x80"}', ["no valid JSON"]),
    ("byte order mark", b'\xef\xbb\xbf{"format": 1}', ["no valid JSON"]),
    ("two values", b'{"format": 1} {"format": 1}', ["no valid JSON", "trailing characters"]),
    ("lists in a new field", b'{"format": 1, "z": ' + b"[" * 100_000, ["no valid JSON", "recursion depth"]),
    ("closed lists in a new field", b'{"z": ' + b"[" * 5000 + b"]" * 5000 + b"}", ["no valid JSON", "recursion depth"]),
    ("lists for a name", b'{"format": 1, "name": ' + b"[" * 100_000, ["no valid JSON", "recursion depth"]),
    ("cut off after a wrong field", b'{"format": 1, "name": "a b", "lab', ["no valid JSON"]),
    ("a number beyond float", b'{"format": 1, "name": 1e999}', ["no valid JSON", "out of range"]),
]:
    add(f"manifest {label}", "student.json", *reasons, breaks=raw_manifest(data))

for label, path, to, reasons in [
    ("newer", ("format",), 2, ["format 2", "format 1 or older", "pip install --upgrade qdinfer"]),
    ("zero", ("format",), 0, ["format: Expected `int` >= 1 (it is 0)"]),
    ("negative", ("format",), -3, ["format:", "(it is -3)"]),
    ("format string", ("format",), "1", ["format: Expected `int`, got `str` (it is '1')"]),
    ("format float", ("format",), 1.5, ["format: Expected `int`, got `float` (it is 1.5)"]),
    ("format true", ("format",), True, ["format: Expected `int`, got `bool` (it is True)"]),
    ("format missing", ("format",), ..., ["found Object missing required field `format`;"]),
    ("unknown field", ("pickle",), "gASVCg==", ["found Object contains unknown field `pickle`;"]),
    ("unknown inner field", ("encoder", "code"), "x", ["found encoder: Object contains unknown field `code`;"]),
    ("name with a newline", ("name",), "tiny\n", ["name: Expected `str` matching regex", "(it is 'tiny\\n')"]),
    ("label with a newline", ("labels", 0), "weather\n", ["labels.0: Expected `str` matching regex"]),
    ("input with a newline", ("circuit", "inputs", 0), "theta_0\n", ["circuit.inputs.0: Expected `str` matching"]),
    ("observable with a newline", ("circuit", "observables", 0), "IIZI\n", ["circuit.observables.0: Expected `str`"]),
    (
        "hash with a newline",
        ("compiled", "circuit_sha256"),
        "a" * 64 + "\n",
        ["compiled.circuit_sha256: Expected `str`"],
    ),
    ("file with a newline", ("files", "x\n"), {"size": 1, "sha256": "0" * 64}, ["files.x", "matching regex"]),
    ("name a path", ("name",), "../evil", ["name: Expected `str` matching regex", "'../evil'"]),
    (
        "file a path",
        ("files", "../evil"),
        {"size": 1, "sha256": "0" * 64},
        ["files.../evil: Expected `str` matching regex", "(it is '../evil')"],
    ),
    (
        "hash no hash",
        ("files", "README.md", "sha256"),
        "abc",
        ["files.README.md.sha256: Expected `str` matching regex", "(it is 'abc')"],
    ),
    ("size negative", ("files", "README.md", "size"), -1, ["files.README.md.size: Expected `int` >= 0 (it is -1)"]),
    ("lists itself", ("files", "student.json"), {"size": 1, "sha256": "0" * 64}, ["no such file"]),
    ("README unlisted", ("files", "README.md"), ..., ["no README.md under files"]),
    ("golden unlisted", ("files", "golden.json"), ..., ["no golden.json under files"]),
    ("weight NaN", ("readout", "weights", 0, 1), float("nan"), ["no valid JSON", "invalid character"]),
    ("bias infinite", ("readout", "bias", 2), float("inf"), ["no valid JSON", "invalid character"]),
    (
        "weight string",
        ("readout", "weights", 0, 1),
        "1",
        ["readout.weights.0.1: Expected `float`, got `str` (it is '1')"],
    ),
    ("weight bool", ("readout", "weights", 0, 1), True, ["readout.weights.0.1: Expected `float`, got `bool`"]),
    ("weight null", ("readout", "weights", 0, 1), None, ["readout.weights.0.1: Expected `float`, got `null`"]),
    ("tokens a float", ("encoder", "max_tokens"), 8.0, ["encoder.max_tokens: Expected `int`, got `float` (it is 8.0)"]),
    ("teacher a number", ("provenance", "teacher"), 1, ["provenance.teacher: Expected `str | null`, got `int`"]),
    (
        "metric a string",
        ("provenance", "metrics", "f1"),
        "1",
        ["provenance.metrics.f1: Expected `float`", "(it is '1')"],
    ),
    ("setting a list", ("provenance", "settings", "rate"), [1], ["provenance.settings.rate: Expected `bool | int |"]),
    ("file without size", ("files", "README.md"), {"sha256": "0" * 64}, ["files.README.md: Object missing required"]),
    ("file of no object", ("files", "README.md"), 3, ["files.README.md: Expected `object`, got `int` (it is 3)"]),
    ("field like a path", ("x - at `$.files[...].y",), 1, ["Object contains unknown field `x - at `$.files[...].y`;"]),
    ("rows", ("readout", "weights"), [[1.0] * 4] * 2, ["readout.weights has 2 rows for 3 labels"]),
    ("columns", ("readout", "weights", 1), [1.0] * 5, ["weights row 1 has 5 columns for 4 observables"]),
    ("bias length", ("readout", "bias"), [0.0] * 4, ["readout.bias has 4 entries for 3 labels"]),
    (
        "weight huge",
        ("readout", "weights", 0, 0),
        1e308,
        ["readout.weights.0.0: Expected `float` <= 1000000.0 (it is 1e+308)"],
    ),
    ("pad_id huge", ("encoder", "pad_id"), 10**30, ["encoder.pad_id: Expected `int` <= 2147483647"]),
    ("temperature zero", ("readout", "temperature"), 0, ["readout.temperature: Expected `float` >= 1e-06"]),
    (
        "temperature negative",
        ("readout", "temperature"),
        -1.0,
        ["readout.temperature: Expected `float` >= 1e-06"],
    ),
    ("labels more", ("labels",), ["a", "b", "c", "d"], ["3 rows for 4 labels"]),
    ("labels twice", ("labels",), ["a", "b", "a"], ["a label is listed more than once"]),
    ("one label", ("labels",), ["a"], ["labels: Expected `array` of length >= 2"]),
    ("empty label", ("labels", 0), "", ["labels.0: Expected `str` of length >= 1 (it is '')"]),
    ("control character", ("labels", 0), "a\x1b[2J", ["labels.0: Expected `str` matching regex"]),
    ("observables' lengths", ("circuit", "observables", 0), "IIZ", ["the observables differ in length"]),
    ("observable without Z", ("circuit", "observables", 0), "IIII", ["IIII has no Z"]),
    (
        "observable X",
        ("circuit", "observables", 0),
        "IIIX",
        ["circuit.observables.0: Expected `str` matching regex", "(it is 'IIIX')"],
    ),
    ("observable twice", ("circuit", "observables", 0), "IIZI", ["IIZI is listed more than once"]),
    ("input twice", ("circuit", "inputs", 0), "theta_1", ["theta_1 is listed more than once"]),
    ("input no name", ("circuit", "inputs", 0), "theta[0]", ["circuit.inputs.0", "'theta[0]'"]),
    ("no tokens", ("encoder", "max_tokens"), 0, ["encoder.max_tokens: Expected `int` >= 1 (it is 0)"]),
    (
        "compiled unlisted",
        ("files", "compiled.onnx"),
        ...,
        ["`compiled` and the file compiled.onnx", "both or neither"],
    ),
    ("compiled undescribed", ("compiled",), None, ["`compiled` and the file compiled.onnx", "both or neither"]),
]:
    add(f"manifest {label}", "student.json", *reasons, breaks=manifest(*path, to=to))

add(
    "compiled of another circuit",
    "compiled.onnx",
    f"the compiled form of circuit {'a' * 16}…",
    "circuit.qasm with its contract",
    breaks=manifest("compiled", "circuit_sha256", to="a" * 64),
)


@broken("compiled.onnx", "the compiled form of circuit", "circuit.qasm with its contract")
def compiled_for_another_order(folder: Path) -> None:
    manifest("circuit", "inputs", to=["theta_1", "theta_0", "theta_2", "theta_3"])(folder)


# --- content ---------------------------------------------------------------------------------------------------------


def content(name: str, data: bytes | Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Other bytes in a file, with sizes and hashes as they should be."""

    def breaks(folder: Path) -> Path:
        file = folder / name
        file.write_bytes(data(file.read_bytes()) if callable(data) else data)
        rehash(folder)
        return folder

    return breaks


def model(edit: Callable[[onnx.ModelProto], object], name: str = "encoder.onnx") -> Callable[[Path], Path]:
    def change(data: bytes) -> bytes:
        proto = onnx.load_from_string(data)
        edit(proto)
        return bytes(proto.SerializeToString())

    return content(name, change)


def encoder(label: str, *reasons: str, edit: Callable[[onnx.ModelProto], object]) -> None:
    add(f"encoder {label}", "encoder.onnx", *reasons, breaks=model(edit))


for label, data in {
    "random": bytes(range(256)) * 4,
    "picture": b"\xff\xd8\xff\xe0JFIF",
    "truncated": encoder_onnx(4)[:-20],
    "wide field number": encoder_onnx(4) + b"\xba\x80\x80\x80\x10\x00",  # field 7, if cut to 32 bits
    "field zero": encoder_onnx(4) + b"\x02\x00",
}.items():
    add(
        f"encoder {label}", "encoder.onnx", "no protobuf message", "an ONNX model", breaks=content("encoder.onnx", data)
    )
add("encoder empty", "encoder.onnx", "IR version 0", "3 to 10", breaks=content("encoder.onnx", b""))
add("encoder IR alone", "encoder.onnx", "no graph", breaks=content("encoder.onnx", b"\x08\x08"))
add(
    "encoder in onnxruntime's format",
    "encoder.onnx",
    "onnxruntime's own format",
    breaks=content("encoder.onnx", b"\x12\x20\x00\x00ORTM" + bytes(26) + encoder_onnx(4)),
)


def external(tensor: TensorProto) -> TensorProto:
    """The tensor, said to be in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=DECOY)
    return tensor


def elsewhere(name: str = "away") -> TensorProto:
    return external(helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0]))


def listed(tensor: TensorProto) -> TensorProto:
    """The same, without saying that it is external: a location is listed all the same."""
    tensor.ClearField("data_location")
    return tensor


def constant(model: onnx.ModelProto, **attributes: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Constant", [], ["spare"], **attributes))


def subgraph(inner: Any = None, *, initializer: TensorProto | None = None) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])
    node = inner or helper.make_node("Constant", [], ["inner"], value_floats=[1.0, 2.0])
    return helper.make_graph([node], "branch", [], [out], [initializer] if initializer else [])


def branch(model: onnx.ModelProto, graph: onnx.GraphProto) -> None:
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    model.graph.node.append(helper.make_node("If", ["yes"], ["branched"], then_branch=graph, else_branch=subgraph()))


def nested(depth: int, graph: onnx.GraphProto) -> onnx.GraphProto:
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("If", ["yes"], ["inner"], then_branch=graph)], "deeper", [], [])
    return graph


def field(number: int, data: bytes) -> bytes:
    """A field of a protobuf message, as it is on the wire: onnx itself would not nest so deep."""
    size = bytes([len(data) & 127 | 128, len(data) >> 7 & 127 | 128, len(data) >> 14])
    return (number << 3 | 2).to_bytes(1, "little") + size + data


def deep(levels: int) -> bytes:
    graph = b""
    for _ in range(levels):  # a graph's node's attribute's graph
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x08" + field(7, graph)


def sparse(values: TensorProto) -> onnx.SparseTensorProto:
    indices = helper.make_tensor("indices", TensorProto.INT64, [2], [0, 1])
    return helper.make_sparse_tensor(values, indices, [4])


def function(model: onnx.ModelProto, node: Any = None, attribute: onnx.AttributeProto | None = None) -> None:
    opsets = [helper.make_opsetid("", 17)]
    body = [node or helper.make_node("Identity", ["a"], ["b"])]
    made = helper.make_function("com.microsoft", "Mine", ["a"], ["b"], body, opsets)
    if attribute:
        made.attribute_proto.append(attribute)
    model.functions.append(made)


AWAY = ("the tensor 'away' in another file", "all data inside the model")
encoder("external", "the tensor 'table' in another file", edit=lambda m: external(m.graph.initializer[0]))
encoder("external, unsaid", "the tensor 'table'", edit=lambda m: listed(external(m.graph.initializer[0])))
encoder("external constant", *AWAY, edit=lambda m: constant(m, value=elsewhere()))
encoder("external sparse constant", *AWAY, edit=lambda m: constant(m, sparse_value=sparse(elsewhere())))
encoder("external sparse", *AWAY, edit=lambda m: m.graph.sparse_initializer.append(sparse(elsewhere())))
encoder("external in branch", *AWAY, edit=lambda m: branch(m, subgraph(initializer=elsewhere())))
encoder("external deep", *AWAY, edit=lambda m: branch(m, nested(5, subgraph(initializer=elsewhere()))))
add("encoder nested too deep", "encoder.onnx", "nested over 32 deep", breaks=content("encoder.onnx", deep(33)))
encoder(
    "external in a list",
    *AWAY,
    edit=lambda m: m.graph.node[0].attribute.append(helper.make_attribute("t", [elsewhere()])),
)
encoder(
    "external in function",
    *AWAY,
    edit=lambda m: function(m, node=helper.make_node("Constant", [], ["b"], value=elsewhere())),
)
encoder("external default", *AWAY, edit=lambda m: function(m, attribute=helper.make_attribute("v", elsewhere())))
encoder(
    "training", "training graphs", edit=lambda m: m.training_info.add().initialization.initializer.append(elsewhere())
)

FOREIGN = helper.make_node("Run", [], ["inner"], domain="evil.ops")
CUSTOM = ("the custom operator evil.ops::Run", "standard operators only")
encoder("custom operator", *CUSTOM, edit=lambda m: m.graph.node.append(FOREIGN))
encoder("custom in branch", *CUSTOM, edit=lambda m: branch(m, subgraph(FOREIGN)))
encoder("custom in function", *CUSTOM, edit=lambda m: function(m, node=FOREIGN))
encoder("domain", "the domain 'evil.ops'", edit=lambda m: m.opset_import.add(domain="evil.ops", version=1))
encoder("IR new", "ONNX IR version 99", "3 to 10", edit=lambda m: setattr(m, "ir_version", 99))
encoder("IR old", "ONNX IR version 2", "3 to 10", edit=lambda m: setattr(m, "ir_version", 2))
encoder("opset new", "opset 99", "7 to 21", edit=lambda m: setattr(m.opset_import[0], "version", 99))
encoder("opset old", "opset 6", "7 to 21", edit=lambda m: setattr(m.opset_import[0], "version", 6))


def port(kind: str, index: int, **changes: Any) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        value = getattr(model.graph, kind)[index]
        tensor = value.type.tensor_type
        if "name" in changes:
            value.name = changes["name"]
        if "dtype" in changes:
            tensor.elem_type = changes["dtype"]
        if "shape" in changes:
            value.CopyFrom(helper.make_tensor_value_info(value.name, tensor.elem_type, changes["shape"]))

    return edit


WANTED = "[input_ids: int64 (?, ?); attention_mask: int64 (?, ?)]"
encoder("input's name", "words: int64 (?, ?)", WANTED, edit=port("input", 0, name="words"))
encoder("input's type", "input_ids: int32 (?, ?)", WANTED, edit=port("input", 0, dtype=TensorProto.INT32))
encoder("input's rank", "input_ids: int64 (?)", WANTED, edit=port("input", 0, shape=["N"]))
encoder("input's odd type", "input_ids: type 8 (?, ?)", WANTED, edit=port("input", 0, dtype=TensorProto.STRING))
encoder(
    "input more",
    "inputs [input_ids: int64 (?, ?); attention_mask: int64 (?, ?); extra: float32 (3)]",
    edit=lambda m: m.graph.input.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, [3])),
)
encoder("input fewer", "inputs [input_ids: int64 (?, ?)]; expected", edit=lambda m: m.graph.input.pop())
encoder("input twice", "inputs [input_ids", edit=lambda m: m.graph.input[1].CopyFrom(m.graph.input[0]))
encoder("output's width", "outputs [angles: float32 (?, 5)]", "(?, 4)", edit=port("output", 0, shape=["N", 5]))
encoder("output's rank", "outputs [angles: float32 (?, 1, 4)]", edit=port("output", 0, shape=["N", 1, 4]))
encoder("output's type", "outputs [angles: float16 (?, 4)]", edit=port("output", 0, dtype=TensorProto.FLOAT16))
encoder("output's name", "outputs [logits: float32", "[angles: float32 (?, 4)]", edit=port("output", 0, name="logits"))
encoder(
    "output no tensor",
    "outputs [angles: ? (?)]",
    edit=lambda m: m.graph.output[0].type.CopyFrom(onnx.TypeProto(sequence_type=onnx.TypeProto.Sequence())),
)
add(
    "compiled width",
    "compiled.onnx",
    "outputs [expectations: float32 (?, 3)]",
    "[expectations: float32 (?, 4)]",
    breaks=model(port("output", 0, shape=["N", 3]), "compiled.onnx"),
)
add(
    "compiled input",
    "compiled.onnx",
    "inputs [angles: float32 (?, 11)]",
    breaks=model(port("input", 0, shape=["N", 11]), "compiled.onnx"),
)
add(
    "compiled external",
    "compiled.onnx",
    "in another file",
    breaks=model(lambda m: external(m.graph.initializer[0]), "compiled.onnx"),
)
add(
    "encoder loop",
    "encoder.onnx",
    "a Loop, which may never end",
    breaks=model(lambda m: setattr(m.graph.node[0], "op_type", "Loop")),
)
add("compiled random", "compiled.onnx", "no protobuf message", breaks=content("compiled.onnx", b"\xff" * 100))


def qasm(label: str, *reasons: str, old: str = "qubit[4] q;\n", new: str, append: bool = True) -> None:
    """Put a text after (or in place of) a line of the circuit."""
    edit = lambda data: data.replace(old.encode(), (old if append else "").encode() + new.encode())  # noqa: E731
    add(f"circuit {label}", "circuit.qasm", *reasons, breaks=content("circuit.qasm", edit))


LAUGHS = "gate l0 a { x a; }\n" + "".join(f"gate l{i} a {{ {f'l{i - 1} a; ' * 10} }}\n" for i in range(1, 9))
STRAIGHT = "declarations, gate definitions and gate calls only"
for label, text, *reasons in [
    ("include", 'include "/etc/passwd";', "line 9", """'include "/etc/passwd"'""", 'no include but "stdgates.inc"'),
    ("include after a hidden line", '// hi\rinclude "evil.inc";', 'no include but "stdgates.inc"'),
    ("for", "for int i in [0:9] { x q[0]; }", "line 9", "'for int i in", STRAIGHT),
    ("while", "while (true) { x q[0]; }", "'while (true)", STRAIGHT),
    ("if", "if (true) x q[0];", "'if (true) x q[0]'", STRAIGHT),
    ("def", "def f(qubit a) { x a; }", "'def f(qubit a)", STRAIGHT),
    ("defcal", "defcal x $0 { }", "'defcal x $0", STRAIGHT),
    ("cal", "cal { }", "'cal {'", STRAIGHT),
    ("ctrl", "ctrl @ x q[0], q[1];", "'ctrl @ x q[0], q[1]'", STRAIGHT),
    ("pow in definition", "gate g a { pow(2) @ x a; }", "'gate g a { pow(2) @ x a;'", STRAIGHT),
    ("extern", "extern f(int) -> int;", "'extern f(int) -> int'", STRAIGHT),
    ("pragma", "#pragma run this\n;", "'#pragma run this'", STRAIGHT),
    ("annotation", "@run this\nx q[0];", "'@run this x q[0]'", STRAIGHT),
    ("reset", "reset q;", "'reset q'", STRAIGHT),
    ("variable", "int i = 3;", "'int i = 3'", STRAIGHT),
    ("assignment", "q = 3;", "'q = 3'", "GATE(angles) qubits;"),
    ("output", "output bit c;", "'output bit c'", STRAIGHT),
    ("angle input", "input angle t;", "'input angle t'", "input float[64] NAME;"),
    ("brace", "}", "line 9", "a } without its {", "balanced braces"),
    ("open comment", "/* never closed", "'/* never closed", STRAIGHT),
    ("open definition", "gate g a { x a;", "at the end", "a statement that ends with ;"),
    ("register", "qubit[300] r;", "304 qubits", "at most 256"),
    ("odd register", "qubit[n] r;", "'qubit[n] r'", "qubit[N] NAME;"),
    ("more qubits", "qubit r;", "5 qubits", "4, as the observables have letters"),
    ("more inputs", "input float[64] phi;", "inputs ['phi', 'theta_0'", "['theta_0', 'theta_1'"),
    ("input twice", "input float[64] theta_0;", "inputs ['theta_0', 'theta_0'"),
    ("laughs", LAUGHS, "line 14", "100000 gates in one definition", "at most 20000"),
    ("laughs in calls", "gate g a { " + "x a; " * 200 + "}\n" + "g q;" * 26, "over 20000 gates"),
    ("laughs, measured", "qubit measured;gate g a {" + "x a;" * 900 + "}\n" + "g measured;" * 30, "over 20000 gates"),
    ("laughs over a register", "qubit[200] r;" + "cx q[0], r;" * 101, "over 20000 gates"),
    ("laughs over a slice", "qubit[200] r;" + "x r[0:199];" * 101, "over 20000 gates"),
    ("many gates", "x q[0];" * 20_001, "over 20000 gates"),
]:  # fmt: skip
    qasm(label, *reasons, new=text)
qasm("version 2", "line 1", "'OPENQASM 2.0'", "OPENQASM 3.0;", old="OPENQASM 3.0;", new="OPENQASM 2.0;", append=False)
qasm("no version", "line 1", "OPENQASM 3.0; as the first statement", old="OPENQASM 3.0;\n", new="", append=False)
qasm("fewer inputs", "inputs ['theta_0'", old="input float[64] theta_3;\n", new="", append=False)
qasm("no qubits", "no qubit declaration", new="", append=False)
for label, rest in {"unterminated": b"x q[0]", "open comment at the end": b"/* never closed"}.items():
    reasons = [f"{rest.decode()!r} at the end", "a statement that ends with ;"]
    add(
        f"circuit {label}",
        "circuit.qasm",
        *reasons,
        breaks=content("circuit.qasm", lambda data, rest=rest: data + rest),
    )
add("circuit no UTF-8", "circuit.qasm", "not UTF-8 (at 13)", breaks=content("circuit.qasm", b"OPENQASM 3.0;\xff"))
add("circuit empty", "circuit.qasm", "no qubit declaration", breaks=content("circuit.qasm", b""))


def golden(label: str, *reasons: str, edit: Callable[[dict[str, Any]], object]) -> None:
    def change(data: bytes) -> bytes:
        columns = json.loads(data)
        edit(columns)
        return json.dumps(columns).encode()

    add(f"golden {label}", "golden.json", *reasons, breaks=content("golden.json", change))


golden("angles", "3 values in angles[1]", "expected 4", edit=lambda g: g["angles"][1].pop())
golden("expectations", "5 values in expectations[4]", "expected 4", edit=lambda g: g["expectations"][4].append(0.0))
golden("probabilities", "2 values in probabilities[0]", "expected 3", edit=lambda g: g["probabilities"][0].pop())
golden(
    "unknown label",
    "the label 'art'",
    "one of ['weather', 'sport', 'money']",
    edit=lambda g: g["labels"].append(g["labels"].pop() and "art"),
)
golden("columns", "the columns differ in length", "'labels': 4", edit=lambda g: g["labels"].pop())
golden("tokens missing", "found Object missing required field `token_ids`;", edit=lambda g: g.pop("token_ids"))
golden(
    "no case", "texts: Expected `array` of length >= 1", edit=lambda g: [g[k].clear() for k in g if k != "tolerance"]
)
golden(
    "NaN",
    "no valid JSON",
    "invalid character",
    edit=lambda g: g["angles"][0].__setitem__(0, float("nan")),
)
golden("numbers for texts", "texts.0: Expected `str`, got `int` (it is 1)", edit=lambda g: g.update(texts=[1] * 1000))
golden(
    "tolerance", "tolerance.angles: Expected `float` > 0.0 (it is 0)", edit=lambda g: g["tolerance"].update(angles=0)
)
add("golden deep", "golden.json", "recursion depth", breaks=content("golden.json", b'{"texts": ' + b"[" * 100_000))
add("golden no JSON", "golden.json", "no valid JSON", breaks=content("golden.json", b"\x80\x04]"))
add("README no UTF-8", "README.md", "not UTF-8", "a text", breaks=content("README.md", "Größe".encode("latin-1")))

for label, data in {
    "no JSON": b"hello",
    "empty": b"",
    "other JSON": b"{}",
    "no UTF-8": b"\xff\xfe",
    "odd model": tokenizer_json().replace(b"WordLevel", b"Wordless"),
}.items():
    add(
        f"tokenizer {label}",
        "tokenizer.json",
        "no tokenizer (",
        "a Hugging Face tokenizers file",
        breaks=content("tokenizer.json", data),
        by_loading=True,
    )


def unloadable(label: str, name: str, edit: Callable[[onnx.ModelProto], object]) -> None:
    add(f"{name} {label}", name, "onnxruntime", "cannot load", breaks=model(edit, name), by_loading=True)


unloadable("unknown operator", "encoder.onnx", lambda m: setattr(m.graph.node[0], "op_type", "Gathr"))
unloadable("unknown tensor", "encoder.onnx", lambda m: m.graph.node[0].input.__setitem__(0, "nowhere"))
unloadable("no opset", "encoder.onnx", lambda m: m.ClearField("opset_import"))
unloadable("short data", "encoder.onnx", lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"))
unloadable("unknown operator", "compiled.onnx", lambda m: setattr(m.graph.node[0], "op_type", "Gemmm"))


# --- the tests -------------------------------------------------------------------------------------------------------

EVENTS: list[tuple[str, str]] | None = None
OUTSIDE = ("socket.", "subprocess.", "urllib.", "http.", "ftplib.", "os.system", "os.exec", "os.posix_spawn", "os.fork")
WRITES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "shutil.",
)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if EVENTS is None:
        return
    if event == "open" and not isinstance(arguments[0], int):  # a number is a file that is open already
        EVENTS.append((event, os.fsdecode(arguments[0])))
    elif event.startswith((*OUTSIDE, *WRITES, "pickle.", "exec")):
        EVENTS.append((event, ""))


sys.addaudithook(_hook)  # which cannot be taken away again; it sleeps while EVENTS is None


@pytest.fixture
def events() -> Iterator[list[tuple[str, str]]]:
    """What Python is asked to do from here on: files opened, sockets, processes, anything renamed or removed."""
    global EVENTS
    EVENTS = []
    yield EVENTS
    EVENTS = None


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything in the folder, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        small = path.is_file() and not path.is_symlink() and status.st_size < 2**24
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if small else ""
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, digest)
    return found


@pytest.fixture
def folder(student: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student's folder, beside a decoy for external data and in a process without a network."""
    made = tmp_path / "student"
    made.mkdir()
    for name, data in {"student.json": student.manifest.to_json(), **student.files}.items():
        (made / name).write_bytes(data)
    for place in (tmp_path, tmp_path / "cwd"):
        place.mkdir(exist_ok=True)
        (place / DECOY).write_bytes(bytes(1024))
    monkeypatch.chdir(tmp_path / "cwd")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network call")

    monkeypatch.setattr(socket, "socket", refuse)
    return made


@pytest.fixture(scope="module", autouse=True)
def _warm(student: Artifact) -> None:
    Classifier(student)  # all imports done, so that `events` shows what opening does


def test_the_unbroken_folder_opens(folder: Path) -> None:
    assert Artifact.open(folder).golden.texts
    rehash(folder)
    assert Artifact.open(folder).sha256 == tiny().sha256
    assert Artifact.open(zipped(folder)).sha256 == tiny().sha256


def test_there_are_enough_cases_and_each_is_named_once() -> None:
    names = [case.name for case in CASES]
    assert len(names) >= 150
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "_"))
def test_a_broken_student_is_refused(case: Case, folder: Path, events: list[tuple[str, str]]) -> None:
    path = case.breaks(folder)
    before = snapshot(folder.parent)
    events.clear()
    if case.by_loading:
        artifact = Artifact.open(path)
        seen = list(events)
        with pytest.raises(ArtifactError) as refused:
            Classifier(artifact)
    else:
        with pytest.raises(ArtifactError) as refused:
            Artifact.open(path)
        seen = list(events)
        with pytest.raises(ArtifactError) as loaded:
            Classifier.load(path)
        assert str(loaded.value) == str(refused.value)
    error = refused.value
    assert error.file == (case.file or str(path))
    where = error.file if error.line is None else f"{error.file} line {error.line}"
    assert str(error) == f"{where}: found {error.found}; expected {error.expected}"
    for reason in case.reasons:
        assert reason in str(error)
    assert snapshot(folder.parent) == before
    assert [event for event, _ in seen if event != "open"] == []
    assert [opened for _, opened in seen if not Path(opened).is_relative_to(path)] == []


def test_nothing_at_the_path(tmp_path: Path) -> None:
    for load in (Artifact.open, Classifier.load):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.zip: found nothing there; expected a student's folder"):
            load(tmp_path / "nowhere.zip")


def test_a_folder_that_may_not_be_read_is_an_os_error(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    folder.chmod(0)
    with pytest.raises(PermissionError):
        Artifact.open(folder)


@pytest.fixture(scope="module")
def archive(student: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return student.save(tmp_path_factory.mktemp("fuzz") / "student.zip")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_zip_is_the_same_student_or_refused(archive: Path, student: Artifact, data: st.DataObject) -> None:
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\1\2")  # where most that can go wrong is
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(directory, len(content) - 1) | st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    damaged = archive.with_name("damaged.zip")
    damaged.write_bytes(content[data.draw(st.just(0) | st.integers(0, len(content))) :])
    try:
        assert Artifact.open(damaged).sha256 == student.sha256
    except ArtifactError as error:
        assert error.found  # noqa: PT017 - either outcome will do
        assert error.expected  # noqa: PT017
