"""Saving: the whole student or what was there before, and nothing else."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from students import tiny

from qdinfer import Artifact, ArtifactError, InputError
from qdinfer.atomic import replacing


@pytest.fixture
def other() -> Artifact:
    """Another student than `student`."""
    artifact = tiny()
    return Artifact.create(replace(artifact.manifest, name="other"), artifact.files)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["student", "student.zip", "a student.v2", "näme.zip"])
def test_round_trip(student: Artifact, tmp_path: Path, name: str) -> None:
    assert student.save(tmp_path / name) == tmp_path / name
    opened = Artifact.open(str(tmp_path / name))
    assert opened.manifest == student.manifest
    assert opened.files == student.files
    assert opened.sha256 == student.sha256
    assert opened.size == student.size
    assert opened.golden == student.golden
    assert opened.path == str(tmp_path / name)
    assert names(tmp_path) == [name]


def test_the_folder_has_exactly_the_student(student: Artifact, student_path: Path) -> None:
    on_disk = {path.name: path.read_bytes() for path in student_path.iterdir()}
    assert on_disk == {"student.json": student.manifest.to_json(), **student.files}
    assert student.size == sum(map(len, on_disk.values()))


def test_two_zips_are_equal_byte_for_byte(student: Artifact, tmp_path: Path) -> None:
    first = student.save(tmp_path / "first.zip").read_bytes()
    reopened = Artifact.open(student.save(tmp_path / "folder"))  # whose files come in the order of the disk
    assert reopened.save(tmp_path / "second.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "first.zip") as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_what_was_opened_cannot_be_changed(student: Artifact) -> None:
    with pytest.raises(TypeError):
        student.files["README.md"] = b""  # type: ignore[index]
    with pytest.raises(AttributeError, match="immutable"):
        student.manifest.name = "x"  # type: ignore[misc]


def test_create_refuses_what_could_not_be_opened(student: Artifact) -> None:
    with pytest.raises(ArtifactError, match=r"student\.json: found no README\.md under files"):
        Artifact.create(student.manifest, {k: v for k, v in student.files.items() if k != "README.md"})
    with pytest.raises(ArtifactError, match=r"student\.json: found files\.\.\./evil"):
        Artifact.create(student.manifest, {**student.files, "../evil": b""})
    broken = replace(student.manifest.readout, temperature=float("nan"))
    with pytest.raises(ArtifactError, match=r"student\.json: found readout\.temperature"):
        Artifact.create(replace(student.manifest, readout=broken), student.files)


# --- overwriting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student", "student.zip"])
def test_nothing_is_replaced_unasked(student: Artifact, other: Artifact, tmp_path: Path, name: str) -> None:
    place = student.save(tmp_path / name)
    with pytest.raises(InputError) as refused:
        other.save(place)
    assert str(refused.value) == (f"{place}: found something there already; expected a new path, or to overwrite it")
    assert Artifact.open(place).manifest.name == "tiny"
    other.save(place, overwrite=True)
    assert Artifact.open(place).manifest.name == "other"
    assert names(tmp_path) == [name]


def test_a_dangling_link_is_something(student: Artifact, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="found something there already"):
        student.save(link)
    assert names(tmp_path) == ["link"]


def test_a_folder_that_is_no_student_stays(student: Artifact, tmp_path: Path) -> None:
    place = tmp_path / "thesis"
    place.mkdir()
    (place / "chapter.tex").write_text("years of work")
    with pytest.raises(InputError) as refused:
        student.save(place, overwrite=True)
    found = "what is no student (thesis: found no student.json; expected a student)"
    assert str(refused.value) == f"{place}: found {found}; expected a student or a new path"
    assert names(place) == ["chapter.tex"]


def test_an_empty_folder_may_be_replaced(student: Artifact, tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    assert Artifact.open(student.save(tmp_path / "student", overwrite=True)).sha256 == student.sha256


def test_a_folder_does_not_become_a_file_nor_a_file_a_folder(student: Artifact, tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(InputError, match=r"folder\.zip: found a folder; expected the other kind"):
        student.save(tmp_path / "folder.zip", overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file: found a file; expected the other kind"):
        student.save(tmp_path / "file", overwrite=True)
    assert names(tmp_path) == ["file", "folder.zip"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["student", "student.zip"])
def test_the_parent_must_exist(student: Artifact, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        student.save(tmp_path / "missing" / name)
    assert names(tmp_path) == []


# --- failures on the way ---------------------------------------------------------------------------------------------


def failing(real: Callable[..., Any], call: int) -> Callable[..., Any]:
    """Fails at its n-th call only, so that what cleans up can go on."""
    calls = 0

    def function(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    return function


@pytest.mark.parametrize(
    ("name", "owner", "function", "call"),
    [
        ("student", os, "fsync", 1),
        ("student", os, "fsync", 4),
        ("student", Path, "rename", 1),
        ("student", Path, "rename", 2),
        ("student", Path, "mkdir", 1),
        ("student.zip", os, "fsync", 1),
        ("student.zip", Path, "replace", 1),
        ("student.zip", os, "open", 1),
    ],
)
@pytest.mark.parametrize("there", [True, False], ids=["over an old one", "anew"])
def test_a_full_disk_leaves_what_was_there(
    student: Artifact, other: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, owner: Any, function: str, call: int, there: bool,
) -> None:  # fmt: skip
    place = tmp_path / name
    if there:
        student.save(place)
    elif (function, call) == ("rename", 2):
        pytest.skip("a new folder is renamed once")
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, failing(getattr(owner, function), call))
        with pytest.raises(OSError, match="No space left on device"):
            other.save(place, overwrite=True)
    assert names(tmp_path) == ([name] if there else [])
    if there:
        assert Artifact.open(place).sha256 == student.sha256


def test_an_interrupt_leaves_nothing_behind(student: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    for name in ("student", "student.zip"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", interrupt)
            with pytest.raises(KeyboardInterrupt):
                student.save(tmp_path / name)
        assert names(tmp_path) == []


# --- permissions -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_decides_who_may_read(student: Artifact, tmp_path: Path, umask: int) -> None:
    folder = student.save(tmp_path / "student")
    assert mode(folder) == 0o777 & ~umask
    assert {mode(file) for file in folder.iterdir()} == {0o666 & ~umask}
    student.save(folder, overwrite=True)
    assert mode(folder) == 0o777 & ~umask
    assert mode(student.save(tmp_path / "student.zip")) == 0o666 & ~umask


# --- qdinfer.atomic --------------------------------------------------------------------------------------------------


def test_replacing_shows_the_file_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        assert [name for name in names(tmp_path) if not name.startswith(".")] == ["results.csv"]
    assert path.read_text() == "new"
    assert names(tmp_path) == ["results.csv"]


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("error", [ValueError("half way"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_replacing_with_a_block_that_fails(tmp_path: Path, old: str | None, error: BaseException) -> None:
    path = tmp_path / "results.csv"
    if old is not None:
        path.write_text(old)

    def half_way() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        half_way()
    assert names(tmp_path) == ([] if old is None else ["results.csv"])
    assert old is None or path.read_text() == old


def test_replacing_twice_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with replacing(path) as first, replacing(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_text() == "first"  # the outer block ends last
    assert names(tmp_path) == ["results.csv"]


def test_replacing_a_folder_or_in_none(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as file:
        file.write(b"x")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "missing" / "file"):
        pass
    assert names(tmp_path) == ["folder"]


def test_a_student_with_somebody_elses_file_in_it_stays(student: Artifact, tmp_path: Path) -> None:
    place = student.save(tmp_path / "mixed")
    (place / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="found notes.txt, which is no part of a student"):
        student.save(place, overwrite=True)
    assert (place / "notes.txt").read_text() == "mine"


def test_a_zip_that_is_no_student_stays(student: Artifact, tmp_path: Path) -> None:
    place = tmp_path / "photos.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("beach.jpg", b"sand")
    with pytest.raises(InputError, match=r"found what is no student \(photos.zip: found no student.json"):
        student.save(place, overwrite=True)
    assert zipfile.ZipFile(place).namelist() == ["beach.jpg"]


def test_an_altered_student_may_be_replaced(student: Artifact, tmp_path: Path) -> None:
    place = student.save(tmp_path / "altered")
    (place / "README.md").write_text("altered")
    student.save(place, overwrite=True)
    assert Artifact.open(place).sha256 == student.sha256


def test_text_that_is_not_unicode_is_found_before_writing(student: Artifact) -> None:
    labels = [*student.manifest.labels[:-1], "\ud800"]
    with pytest.raises(ArtifactError, match="student.json: found a text that is not Unicode"):
        Artifact.create(replace(student.manifest, labels=labels), student.files)


@pytest.mark.parametrize("setting", [float("nan"), float("inf"), -float("inf")])
def test_a_setting_that_is_not_finite_is_found_before_writing(student: Artifact, setting: float) -> None:
    # JSON would have null for it, and a setting may be null.
    provenance = replace(student.manifest.provenance, settings={"rate": setting})
    with pytest.raises(ArtifactError) as refused:
        Artifact.create(replace(student.manifest, provenance=provenance), student.files)
    assert str(refused.value) == f"student.json: found provenance.settings.rate: {setting}; expected a finite number"


def test_a_value_that_json_has_not_is_found_before_writing(student: Artifact) -> None:
    manifest = replace(student.manifest, name=object())  # type: ignore[arg-type]
    with pytest.raises(
        ArtifactError, match=r"student\.json: found a value that JSON has not \(.* object is unsupported"
    ):
        Artifact.create(manifest, student.files)


def test_an_artifact_survives_pickling(student: Artifact) -> None:
    again = pickle.loads(pickle.dumps(student))
    assert again.manifest == student.manifest
    assert again.sha256 == student.sha256
    assert dict(again.files) == dict(student.files)


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with replacing(tmp_path / "pipe") as file:
        file.write(b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["link", "pipe", "there"]


def test_a_folder_that_is_not_there_is_named(student: Artifact, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"found no folder {tmp_path / 'no'}; expected an existing one"):
        student.save(tmp_path / "no" / "student")
