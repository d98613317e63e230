"""The schema: what it keeps, and what it says."""

from __future__ import annotations

import json
import struct
import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from qdinfer import Artifact, ArtifactError
from qdinfer.manifest import (
    FORMAT,
    CircuitSpec,
    CompiledSpec,
    EncoderSpec,
    FileRecord,
    Golden,
    Manifest,
    Provenance,
    ReadoutSpec,
    circuit_sha256,
    parse_golden,
    parse_manifest,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
printable = st.characters(exclude_categories=("Cs", "Cc"))
labels = st.lists(st.text(printable, min_size=1, max_size=20), min_size=2, max_size=5, unique=True)
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
file_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda n: n != "compiled.onnx")
records = st.builds(FileRecord, size=st.integers(0, 2**62), sha256=hashes)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


weights = st.floats(-1e6, 1e6)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    classes = draw(labels)
    qubits = draw(st.integers(1, 5))
    strings = st.text("IZ", min_size=qubits, max_size=qubits).filter(lambda s: "Z" in s)
    observables = draw(st.lists(strings, min_size=1, max_size=4, unique=True))
    vector = st.lists(weights, min_size=len(observables), max_size=len(observables))
    files = draw(st.dictionaries(file_names, records, max_size=4))
    compiled = draw(
        st.none() | st.builds(CompiledSpec, circuit_sha256=hashes, max_error=st.floats(0, 1), checked=st.just(9))
    )
    if compiled:
        files["compiled.onnx"] = draw(records)
    return Manifest(
        format=FORMAT,
        name=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)),
        labels=classes,
        encoder=EncoderSpec(max_tokens=draw(st.integers(1, 65536)), pad_id=draw(st.integers(0, 2**31 - 1))),
        circuit=CircuitSpec(
            inputs=draw(st.lists(identifiers, min_size=1, max_size=5, unique=True)), observables=observables
        ),
        readout=ReadoutSpec(
            weights=draw(st.lists(vector, min_size=len(classes), max_size=len(classes))),
            bias=draw(st.lists(weights, min_size=len(classes), max_size=len(classes))),
            temperature=draw(st.floats(1e-6, 1e6)),
        ),
        compiled=compiled,
        provenance=Provenance(
            teacher=draw(st.none() | texts),
            metrics=draw(st.dictionaries(texts, finite, max_size=3)),
            settings=draw(
                st.dictionaries(texts, st.none() | texts | st.booleans() | finite | st.integers(), max_size=4)
            ),
        ),
        files=files,
    )


def test_numbers_are_written_as_ever(student: Artifact) -> None:
    # Should a library write them otherwise, the identity of students would change.
    numbers = [1e-5, 1e-7, 0.1, 1.0, -0.0, 1e15, 1e16, 5e-324, 1.7976931348623157e308]
    metrics = {str(i): number for i, number in enumerate(numbers)}
    manifest = replace(student.manifest, provenance=Provenance(metrics=metrics, settings={"n": 10**30, "no": None}))
    lines = manifest.to_json().decode().splitlines()
    start = lines.index('    "metrics": {')
    assert lines[start + 1 : start + 14] == [
        '      "0": 0.00001,',
        '      "1": 1e-7,',
        '      "2": 0.1,',
        '      "3": 1.0,',
        '      "4": -0.0,',
        '      "5": 1000000000000000.0,',
        '      "6": 1e16,',
        '      "7": 5e-324,',
        '      "8": 1.7976931348623157e308',
        "    },",
        '    "settings": {',
        f'      "n": {10**30},',
        '      "no": null',
    ]


def bits(values: list[float]) -> bytes:
    return struct.pack(f"{len(values)}d", *values)


@settings(max_examples=150)
@given(manifests())
def test_round_trip(manifest: Manifest) -> None:
    data = manifest.to_json()
    read = parse_manifest(data)
    assert read == manifest
    assert read.to_json() == data
    for row, same in zip(manifest.readout.weights, read.readout.weights, strict=True):
        assert bits(row) == bits(same)  # == would not tell -0.0 from 0.0
    assert bits([*manifest.readout.bias, manifest.readout.temperature]) == bits(
        [*read.readout.bias, read.readout.temperature]
    )
    for name, setting in manifest.provenance.settings.items():
        assert type(read.provenance.settings[name]) is type(setting)
    assert data.endswith(b"}\n")
    assert not data.endswith(b"\n\n")


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(Manifest.__struct_fields__) | st.text(max_size=5), inner, max_size=8),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_an_artifact_error(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^student\.json: found [\s\S]+; expected "):
        parse_manifest(data)


def test_labels_stay_as_they_are_written(student: Artifact) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    names = [composed, decomposed, "天気 🌦"]
    manifest = replace(student.manifest, labels=names)
    assert parse_manifest(manifest.to_json()).labels == names


@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT + 1000, 10**30])
def test_a_newer_format_says_how_to_upgrade(number: int) -> None:
    # Whatever else a newer format has, its number alone decides.
    data = json.dumps({"format": number, "labels": "all new", "quantum": True}).encode()
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(data)
    assert str(refused.value) == (
        f"student.json: found format {number}; expected format {FORMAT} or older, which is what this version reads: "
        "pip install --upgrade qdinfer"
    )


def test_the_first_wrong_field_is_named(student: Artifact) -> None:
    content = json.loads(student.manifest.to_json())
    content["name"], content["encoder"]["pad_id"], content["more"] = "a b", -1, 1
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(json.dumps(content).encode())
    assert refused.value.found.startswith("name: Expected `str` matching regex")
    assert refused.value.found.endswith("(it is 'a b')")
    assert refused.value.expected == f"the schema of format {FORMAT} (docs/format.md)"


def test_a_long_value_is_shortened(student: Artifact) -> None:
    content = json.loads(student.manifest.to_json())
    content["name"] = "x" * 10_000
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(json.dumps(content).encode())
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["x\n", "x", "x - at `$", "x - at `$.x", ".x", "[0]"])
def test_a_long_name_of_a_field_is_shortened(name: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        parse_manifest(json.dumps({"format": 1, name * 1_000_000: 1}).encode())
    assert refused.value.found.startswith("Object contains unknown field `" + " ".join(name.split()))
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_of_a_field_that_is_given_twice_the_last_counts(student: Artifact) -> None:
    data = student.manifest.to_json().replace(b'"name": "tiny"', b'"name": "first", "name": "last"')
    assert parse_manifest(data).name == "last"
    with pytest.raises(ArtifactError, match="found format 2; expected format 1 or older"):
        parse_manifest(data.replace(b'"format": 1', b'"format": 1, "format": 2'))


def test_junk_takes_little_memory(student: Artifact) -> None:
    size = 2**20
    data = student.manifest.to_json().rstrip()[:-1] + b',"more":[' + b"[]," * (size // 3) + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="unknown field `more`"):
            parse_manifest(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * size


def test_a_million_wrong_entries_are_one_error(student: Artifact) -> None:
    content = json.loads(student.golden.to_json())
    content["texts"] = [0] * 1_000_000  # named one by one, they take a gigabyte
    with pytest.raises(ArtifactError) as refused:
        parse_golden(json.dumps(content).encode(), student.manifest)
    assert refused.value.found == "texts.0: Expected `str`, got `int` (it is 0)"


# --- golden.json -----------------------------------------------------------------------------------------------------


def test_golden_round_trip(student: Artifact) -> None:
    golden = parse_golden(student.golden.to_json(), student.manifest)
    assert golden == student.golden
    assert [bits(row) for row in golden.angles] == [bits(row) for row in student.golden.angles]


@pytest.mark.parametrize(
    ("column", "row", "found", "expected"),
    [
        ("angles", [0.0] * 3, "3 values in angles[2]", "4"),
        ("expectations", [0.0] * 5, "5 values in expectations[2]", "4"),
        ("probabilities", [1.0], "1 values in probabilities[2]", "3"),
    ],
)
def test_golden_shapes(student: Artifact, column: str, row: list[float], found: str, expected: str) -> None:
    rows = list(getattr(student.golden, column))
    rows[2] = row
    data = replace(student.golden, **{column: rows}).to_json()
    with pytest.raises(ArtifactError) as refused:
        parse_golden(data, student.manifest)
    assert (refused.value.file, refused.value.found, refused.value.expected) == ("golden.json", found, expected)


@pytest.mark.parametrize("column", [name for name in Golden.__struct_fields__ if name != "tolerance"])
def test_golden_columns_are_of_one_length(student: Artifact, column: str) -> None:
    data = replace(student.golden, **{column: getattr(student.golden, column)[:-1]}).to_json()
    with pytest.raises(ArtifactError, match="the columns differ in length") as refused:
        parse_golden(data, student.manifest)
    assert f"'{column}': 4" in refused.value.found


def test_golden_labels_are_the_students(student: Artifact) -> None:
    data = replace(student.golden, labels=["sport", "art", "money", "sport", "zoo"]).to_json()
    with pytest.raises(ArtifactError) as refused:
        parse_golden(data, student.manifest)
    assert refused.value.found == "the label 'art'"
    assert refused.value.expected == "one of ['weather', 'sport', 'money']"


# --- circuit_sha256 --------------------------------------------------------------------------------------------------


def test_circuit_sha256_is_pinned() -> None:
    # What is compiled is bound to it: should it change, no stored student would open.
    digest = circuit_sha256("OPENQASM 3.0;\nqubit[2] q;\n", ["theta_0", "theta_10"], ["IZ", "ZI"])
    assert digest == "1099de2a161b04a6f2359f52573147670f428462e5510648b99b45ab540d1639"


def test_circuit_sha256_sees_text_order_and_observables() -> None:
    different = {
        circuit_sha256("qasm", ["a", "b"], ["IZ", "ZI"]),
        circuit_sha256("qasm ", ["a", "b"], ["IZ", "ZI"]),
        circuit_sha256("qasm", ["b", "a"], ["IZ", "ZI"]),
        circuit_sha256("qasm", ["a", "b"], ["ZI", "IZ"]),
        circuit_sha256("qasm", ["a", "b"], ["ZI"]),
        circuit_sha256("qasm", ["ab"], ["IZ", "ZI"]),
        circuit_sha256("qasm", ["a", "b", "IZ"], ["ZI"]),
    }
    assert len(different) == 7
    assert circuit_sha256("qasm", ("a", "b"), ("IZ", "ZI")) in different
