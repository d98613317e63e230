"""`qdinfer forecast`: what it prints, draws and saves, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command import Run
from forecast_twins import noise, twin

from qdinfer import Classifier
from qdinfer.forecast import Workload, forecast
from qdinfer.noise import DeviceNoise
from qdinfer.noise.twin import Twin


@pytest.fixture
def labelled(work: Workload, texts: list[str], tmp_path: Path) -> Path:
    assert work.labels is not None
    path = tmp_path / "labelled.csv"
    rows = [f"{text},{work.readout.labels[label]}\n" for text, label in zip(texts, work.labels, strict=True)]
    path.write_text("text,label\n" + "".join(rows))
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "bad.json"
    noise(0.03, 0.06, "a/bad device").save(path)
    return path


def test_the_table_has_the_librarys_numbers(
    run: Run, student_path: Path, labelled: Path, device: Path, work: Workload
) -> None:
    out, err = run("forecast", student_path, "--input", labelled, "--device", device, "--shots", 300)
    assert err == ""
    title, _, header, exact, plain, mitigated, _, *words = out.splitlines()
    assert title == "tiny, 64 texts, 300 shots each"
    assert header.split("  ")[-1] == "QPU s"
    assert exact.split()[:3] == ["exact", "-", f"{work.exact_accuracy:.4f}"]
    for line, mitigate in ((plain, False), (mitigated, True)):
        told = forecast(work, twin(0.03, 0.06), shots=300, mitigate_readout=mitigate)
        assert told.accuracy is not None
        assert line.startswith("a/bad device" + ", mitigated" * mitigate + " ")
        assert f"{told.accuracy.mean:.4f}  {told.accuracy.low:.4f} to {told.accuracy.high:.4f}" in line
        assert f"{100 * told.limit_flipped:.1f} %" in line
        assert line.endswith(f"{told.rms_z:.1f}      -"), "a file has no device behind it"
    assert " ".join(words).startswith("Best: a/bad device")


def test_json_has_all_of_it(run: Run, student_path: Path, labelled: Path, device: Path, work: Workload) -> None:
    out, _ = run("forecast", student_path, "--input", labelled, "--device", device, "--seed", 3, "--json")
    found = json.loads(out)
    assert (found["student"], found["texts"], found["shots"], found["seed"]) == ("tiny", 64, 4096, 3)
    assert found["exact_accuracy"] == work.exact_accuracy
    told = forecast(work, twin(0.03, 0.06), seed=3)
    first, second = found["forecasts"]
    assert first["accuracy"] == json.loads(json.dumps(told.to_dict()))["accuracy"]
    assert first["name"] == second["name"] == "a/bad device"
    assert (first["mitigated"], second["mitigated"]) == (False, True)
    assert first["qpu_seconds"] is first["money"] is None
    assert found["verdict"].startswith("Best: ")


def test_a_device_has_a_price(run: Run, student_path: Path, labelled: Path) -> None:
    words = ["--shots", 500, "--json"]
    costs = []
    for more in ([], ["--mitigate-readout"]):
        out, _ = run("estimate", student_path, "--input", labelled, "--backend", "fake:FakeManilaV2", *words, *more)
        costs.append(json.loads(out)[0]["seconds"])
    out, _ = run("forecast", student_path, "--input", labelled, "--device", "fake:FakeManilaV2", *words, "--rate", 2)
    found = json.loads(out)["forecasts"]
    assert [each["qpu_seconds"] for each in found] == costs
    assert [each["money"] for each in found] == [2 * cost for cost in costs]
    assert costs[0] < costs[1]
    assert found[0]["device"] == "fake_manila"


def test_what_is_saved_can_be_used_again(
    run: Run, student_path: Path, labelled: Path, device: Path, tmp_path: Path, classifier: Classifier
) -> None:
    words = ["forecast", student_path, "--input", labelled, "--shots", 100]
    first, _ = run(*words, "--device", device, "--save", tmp_path / "twins")
    assert sorted(path.name for path in (tmp_path / "twins").iterdir()) == [
        "a-bad-device.noise.json",
        "a-bad-device.twin.onnx",
    ]
    noise_file, twin_file = sorted((tmp_path / "twins").iterdir())
    assert DeviceNoise.load(noise_file) == noise_of(device)
    assert Twin.load(twin_file).spec.noise == noise_of(device)
    assert run(*words, "--device", twin_file)[0] == run(*words, "--device", noise_file)[0] == first
    evaluated, _ = run("evaluate", student_path, "--input", labelled, "--backend", f"twin:{twin_file}", "--json")
    assert json.loads(evaluated)["backend"] == "twin:a/bad device"


def noise_of(path: Path) -> DeviceNoise:
    return DeviceNoise.load(path)


def test_devices_of_one_name_are_told_apart(run: Run, student_path: Path, labelled: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "one.json", tmp_path / "other.json"]
    for path, error in zip(paths, (0.001, 0.2), strict=True):
        noise(error).save(path)
    out, _ = run("forecast", student_path, "--input", labelled, "--device", paths[0], "--device", paths[1])
    assert [line.split()[0].rstrip(",") for line in out.splitlines()[4:8]] == [str(paths[i // 2]) for i in range(4)]
    assert f"Best: {paths[0]}" in out.replace("\n", " ")


def test_unlabelled_texts_give_all_but_the_accuracy(run: Run, student_path: Path, device: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("words\nsun rain\ngoal match\n")
    words = ["--input", path, "--text-column", "words", "--device", device]
    out, _ = run("forecast", student_path, *words)
    assert "accuracy" not in out.splitlines()[2]
    assert "flipped" in out.splitlines()[2]
    found = json.loads(run("forecast", student_path, *words, "--json")[0])
    assert found["exact_accuracy"] is found["forecasts"][0]["accuracy"] is None
    assert 0 < found["forecasts"][0]["settled"]["mean"] <= 1


def test_another_column_of_labels(run: Run, student_path: Path, device: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "sun rain", "truth": "weather", "label": "no class"}) + "\n")
    words = ["forecast", student_path, "--input", path, "--device", device]
    assert json.loads(run(*words, "--label-column", "truth", "--json")[0])["exact_accuracy"] in (0, 1)
    assert "found 'no class'; expected one of" in run.error(*words)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_plot_is_a_picture(run: Run, student_path: Path, labelled: Path, device: Path, ending: str) -> None:
    target = labelled.parent / f"plot.{ending}"
    run("forecast", student_path, "--input", labelled, "--device", device, "--plot", target)
    content = target.read_bytes()
    if ending == "svg":
        assert "svg" in ElementTree.fromstring(content).tag
    else:
        assert content.startswith(b"\x89PNG")


# Failures


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shots", "0"], "--shots: found 0; expected a whole number from 1 to 16777216"),
        (["--seed", "-1"], "--seed: found -1; expected a whole number from 0"),
        (["--rate", "nan"], "--rate: found nan; expected money for a second, from 0"),
        (["--plot", "a.gif"], "--plot a.gif: found no picture's ending; expected one of ['.png', '.svg']"),
        (["--plot", "{folder}/none/a.png"], "{folder}/none/a.png: found no folder for it; expected an existing one"),
        (["--save", "{folder}/labelled.csv"], "--save {folder}/labelled.csv: found a file; expected a folder"),
        (["--device", "fake:FakeNobody"], "fake:FakeNobody: found no such device; expected one such as"),
        (["--device", "{folder}/bad.json"], "expected each once"),
        (["--device", "{folder}/none.json"], "{folder}/none.json: No such file or directory"),
        (["--label-column", "truth"], "found columns ['text', 'label']; expected 'truth'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    run: Run,
    student_path: Path,
    labelled: Path,
    device: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("qdinfer.compiler.noisy.compile_twin", lambda *_, **__: pytest.fail("a twin was compiled"))
    given = ["--device", str(device), *(word.format(folder=labelled.parent) for word in words)]
    told = run.error("forecast", student_path, "--input", labelled, *given)
    assert message.format(folder=labelled.parent) in told


def test_a_word_that_is_no_device_is_refused(run: Run, student_path: Path, labelled: Path) -> None:
    _, err = run("forecast", student_path, "--input", labelled, "--device", "fez", code=2)
    assert "found 'fez'; expected fake:DEVICE, ibm:DEVICE, a noise file (.json) or a twin (.onnx)" in err


def test_an_empty_table_is_refused(run: Run, student_path: Path, device: Path, tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text("text,label\n")
    assert "found no rows; expected texts" in run.error("forecast", student_path, "--input", path, "--device", device)
