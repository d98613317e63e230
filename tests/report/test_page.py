"""The report: what it measures, that its page is sound HTML, and that no text can do anything in it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from answers import Answers
from students import LABELS, dense_circuit, parts

from qdinfer import AerBackend, Artifact, Circuit, Classifier, Expectations, InputError, figures
from qdinfer.agreement import compare
from qdinfer.evaluation import evaluate_labels
from qdinfer.report import Measurements, Origin, measure, page
from qdinfer.report.markup import beginning, shown
from qdinfer.report.measurement import SHOTS
from qdinfer.report.pictures import picture
from qdinfer.report.sections import circuit as circuit_section
from qdistill.export import export

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ORIGIN = Origin("texts.csv", "ab" * 32, "qdinfer report tiny --input texts.csv", WHEN)
VOID = {"meta", "img", "br"}
SECTIONS = ["labels", "certainty", "texts", "shots", "noise", "circuit", "about"]


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self._open: list[str] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("th", "td"):
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        elif {"th", "td"} & set(self._open):
            self.tables[self._caption][-1][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.elements for key, value in attributes.items() if key == name]


def measured(classifier: Classifier, answers: Answers, **options: Any) -> Measurements:
    backend = AerBackend(100, seed=1)
    return measure(classifier, answers.texts, answers.labels, backend, **({"seed": 3} | options))


@pytest.fixture(scope="module")
def found(classifier: Classifier, answers: Answers) -> Measurements:
    return measured(classifier, answers, noisy_texts=40, shot_texts=50)


@pytest.fixture(scope="module")
def written(classifier: Classifier, found: Measurements) -> str:
    return page(classifier, found, ORIGIN)


# measure


def test_everything_is_measured_on_what_it_says(classifier: Classifier, answers: Answers, found: Measurements) -> None:
    np.testing.assert_array_equal(found.exact.labels, answers.exact.labels)
    np.testing.assert_allclose(found.exact.probabilities, answers.exact.probabilities, atol=1e-6)
    expected = evaluate_labels(LABELS, answers.labels, answers.exact.labels.tolist())
    np.testing.assert_array_equal(found.evaluation.confusion, expected.confusion)
    assert [len(found.shots.exact), len(found.noisy.exact)] == [50, 40]
    assert [set(each.shots.tolist()) for each in found.shots.others] == [{shots} for shots in SHOTS]
    (noisy,) = found.noisy.others
    assert (noisy.backend, set(noisy.shots.tolist())) == ("aer", {100})
    for sample in (found.shots, found.noisy):
        rows = sample.rows.tolist()
        assert rows == sorted(set(rows))
        np.testing.assert_array_equal(sample.exact.expectations.values, found.exact.expectations.values[rows])
        assert list(sample.labels) == [answers.labels[row] for row in rows]
        assert sample.exact.labels.tolist() == [answers.exact.labels[row] for row in rows]
        for other in sample.others:
            errors = np.maximum(other.expectations.standard_errors, 1e-9)
            z = (other.expectations.values - sample.exact.expectations.values) / errors
            assert np.abs(z).max() < 6, "answers of the same texts, in the same order"


def test_no_two_points_of_the_curve_share_their_shots(classifier: Classifier) -> None:
    """With one seed and the same offset, a longer measurement would begin with the bits of the shorter."""
    found = measure(classifier, ["sun goal"] * 200, ["sport"] * 200, AerBackend(256, seed=0))
    points = [each.expectations.values for each in [*found.shots.others[3:], *found.noisy.others]]
    errors = [np.sqrt(np.mean((each - found.shots.exact.expectations.values) ** 2)) for each in points]
    assert len({round(float(error), 12) for error in errors}) == len(errors)
    for i, one in enumerate(points):
        for other in points[:i]:
            a, b = (each - each.mean(axis=0) for each in (one, other))
            correlation = float(np.sum(a * b) / np.sqrt(np.sum(a**2) * np.sum(b**2)))
            assert abs(correlation) < 0.2, "of 800 numbers"


def test_the_seed_decides(classifier: Classifier, answers: Answers, found: Measurements, written: str) -> None:
    again = measured(classifier, answers, noisy_texts=40, shot_texts=50)
    assert page(classifier, again, ORIGIN) == written
    other = measured(classifier, answers, noisy_texts=40, seed=4)
    assert other.noisy.rows.tolist() != found.noisy.rows.tolist()
    both = [each.shots.others[0].expectations.values for each in (other, measured(classifier, answers, seed=3))]
    assert (both[0] != both[1]).any(), "of all texts, with one shot"


def test_progress_is_told_of_every_text(classifier: Classifier, answers: Answers) -> None:
    told: dict[str, list[int]] = {}

    @contextmanager
    def progress(title: str, total: int) -> Iterator[Any]:
        told[title] = [total]
        yield told[title].append

    measured(classifier, answers, noisy_texts=40, shot_texts=50, progress=progress)
    assert {title: (total, sum(steps)) for title, (total, *steps) in told.items()} == {
        "exact values": (64, 64),
        "noisy backend": (40, 40),
        "shots": (50 * len(SHOTS), 50 * len(SHOTS)),
    }


@pytest.mark.parametrize(
    ("texts", "labels", "options", "message"),
    [
        (["sun"], [], {}, "report: found 1 texts and 0 labels; expected as many, not 0"),
        ([], [], {}, "report: found 0 texts and 0 labels; expected as many, not 0"),
        (["sun"], ["tennis"], {}, "label 1: found 'tennis'; expected one of ['weather', 'sport', 'money']"),
        ([None], ["sport"], {}, "texts[0]: found None; expected str"),
        (["sun"], ["sport"], {"seed": -1}, "seed: found -1; expected a whole number from 0 to 2147483647"),
        (["sun"], ["sport"], {"noisy_texts": 0}, "noisy_texts: found 0; expected a whole number from 1 to 2147483648"),
        (
            ["sun"],
            ["sport"],
            {"shot_texts": 0.5},
            "shot_texts: found 0.5; expected a whole number from 1 to 2147483648",
        ),
    ],
)
def test_measure_refuses_what_it_cannot_measure(
    classifier: Classifier, texts: Any, labels: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        measure(classifier, texts, labels, AerBackend(1), **options)
    assert str(caught.value) == message


def test_measure_needs_an_exact_student_and_a_noisy_backend(classifier: Classifier, student: Artifact) -> None:
    shots = Classifier(student, backend=AerBackend(5))
    with pytest.raises(InputError, match=r"^classifier: found aer with shots; expected an exact backend$"):
        measure(shots, ["sun"], ["sport"], AerBackend(1))
    found = measure(classifier, ["sun"], ["sport"], AerBackend())
    with pytest.raises(InputError, match=r"^compare: found aer without error bars; expected a backend with shots$"):
        page(classifier, found, ORIGIN)


# page


def test_the_page_is_sound_and_has_all_sections(written: str) -> None:
    assert written.startswith('<!DOCTYPE html>\n<html lang="en">')
    found = Page(written)
    names = found.attributes("id")
    assert names == SECTIONS
    assert found.attributes("href") == [f"#{name}" for name in SECTIONS]
    assert found.attributes("aria-labelledby") == SECTIONS
    assert [tag for tag, _ in found.elements if re.fullmatch(r"h\d", tag)] == ["h1"] + ["h2"] * len(SECTIONS)
    for tag, attributes in found.elements:
        if tag == "th":
            assert attributes["scope"] in ("row", "col")


def test_nothing_is_fetched_and_nothing_is_run(written: str) -> None:
    found = Page(written)
    tags = {tag for tag, _ in found.elements}
    assert not {"script", "link", "iframe", "object", "embed", "form", "svg"} & tags
    policies = [attributes["content"] for _, attributes in found.elements if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert "http" not in re.sub(r'"data:[^"]*"', "", written).replace("http-equiv", "")
    assert "url(" not in written
    assert "@import" not in written


def test_every_picture_is_there_with_words_in_its_place(written: str) -> None:
    pictures = [attributes for tag, attributes in Page(written).elements if tag == "img"]
    assert len(pictures) == 6
    for attributes in pictures:
        kind, _, content = (attributes["src"] or "").partition(",")
        assert kind == "data:image/svg+xml;base64"
        picture = ElementTree.fromstring(base64.b64decode(content))
        assert picture.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [element for element in picture.iter() if element.tag.endswith("script")]
        assert len(attributes["alt"] or "") > 20


def test_the_numbers_are_those_measured(
    classifier: Classifier, answers: Answers, found: Measurements, written: str
) -> None:
    read = Page(written)
    evaluation = evaluate_labels(LABELS, answers.labels, answers.exact.labels.tolist())
    low, high = evaluation.interval
    assert (
        f"Accuracy {evaluation.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}) and macro F1 "
        f"{evaluation.macro_f1:.4f} on 64 texts of texts.csv."
    ) in read.text
    assert read.tables["True label down, predicted label across"] == [
        ["true / predicted", *LABELS],
        *([label, *map(str, row)] for label, row in zip(LABELS, evaluation.confusion.tolist(), strict=True)),
    ]
    _, *classes = read.tables["By class, with 95 % intervals (Wilson 1927)"]
    assert [row[1] for row in classes] == [str(answers.labels.count(label)) for label in LABELS]
    points = [compare(found.shots.exact, each, found.shots.labels) for each in found.shots.others]
    _, *curve = read.tables["Accuracy and labels with shots, with 95 % intervals"]
    assert [(row[0], row[1].split()[0], row[3].split(":")[0]) for row in curve] == [
        (f"{point.shots:g}", f"{point.accuracy[0]:.4f}", f"{point.flipped.sum()}") for point in points
    ]
    noise = compare(found.noisy.exact, found.noisy.others[0], found.noisy.labels)
    summary = dict(read.tables["In numbers, with 95 % intervals"])
    assert summary["texts"] == "40"
    assert summary["z, rms (1 if shot noise is all)"].startswith(f"{noise.rms_z[0]:.2f} (")
    assert summary["accuracy, exact"] == f"{noise.exact_accuracy:.4f}"
    _, *bins = read.tables["The reliability diagram's numbers"]
    assert sum(int(row[1]) for row in bins) == 64
    assert "On 50 of the 64 texts, drawn with seed 3" in read.text
    assert "on 40 of the 64 texts, drawn with seed 3" in read.text
    assert "A circuit of this size has not been seen to beat a classical layer of the same width" in read.text


def test_the_texts_are_in_order(answers: Answers, written: str) -> None:
    tables = Page(written).tables
    certainty = answers.exact.probabilities.max(axis=1)
    right = answers.exact.labels == np.array(answers.labels)
    wanted = {
        "Most certain": np.sort(certainty)[::-1],
        "Least certain, the least certain first": np.sort(certainty),
        "Most certain of those that are wrong": np.sort(certainty[~right])[::-1],
    }
    for title, expected in wanted.items():
        header, *rows = tables[title]
        assert header == ["row", "certainty", "predicted", "true", "second", "text"]
        assert [row[1] for row in rows] == [f"{value:.4f}" for value in expected[:10]]
        for row, _, predicted, true, second, text in rows:
            place = int(row) - 1
            assert (predicted, true, text) == (answers.exact.labels[place], answers.labels[place], answers.texts[place])
            assert second.split()[0] == LABELS[answers.exact.probabilities[place].argsort()[-2]]


def test_the_student_and_the_data_are_named(classifier: Classifier, student: Artifact, written: str) -> None:
    tables = Page(written).tables
    about = dict(tables["The student"])
    assert about["identity"] == f"sha256 {student.sha256}"
    assert about["trained on"] == "made up"
    made = dict(tables["The report"])
    assert made["data"] == "texts.csv, 64 texts"
    assert made["data's hash"] == f"sha256 {'ab' * 32}"
    assert made["command"] == ORIGIN.command
    assert made["made"].startswith("2026-01-02 03:04 UTC, with qdinfer ")
    assert written.count("2026") == 1, "all but this is the same at any time"


HOSTILE = [
    "<script>alert(1)</script>",
    "</td></table><img src=x onerror=alert(1)>",
    "\"' & &lt; &#60;",
    "\x1b[2J\x07\x00\x9b31m",
    "\u202egnp.exe \u2066 \u2029",
    "goal " * 20_000,
    "ㅤ" * 3,
    "",
    "👨\u200d👩\u200d👧 می\u200cخواهم",
]


def test_no_text_can_do_anything(classifier: Classifier) -> None:
    texts = HOSTILE + [f"{a} {b}" for a in ("sun", "goal") for b in ("rain", "bank", "star")]
    labels = [LABELS[i % 3] for i in range(len(texts))]
    found = measure(classifier, texts, labels, AerBackend(5, seed=1))
    origin = Origin("<script>x.csv", None, "qdinfer report '<b>'", WHEN)
    written = page(classifier, found, origin)
    read = Page(written)
    assert not {"script", "b", "svg"} & {tag for tag, _ in read.elements}
    assert len([tag for tag, _ in read.elements if tag == "img"]) == 6
    assert not set(written) & set("\x00\x07\x1b\x9b\u202e\u2066\u2029")
    titles = ("Most certain", "Least certain, the least certain first")
    shown_texts = {row[-1] for title in titles for row in read.tables[title]}
    assert {*HOSTILE[:3], "�[2J���31m", "�gnp.exe � �", "(empty)", HOSTILE[-1]} <= shown_texts
    assert any(text.endswith(" […] (100000 letters)") and len(text) < 450 for text in shown_texts)
    assert dict(read.tables["The report"])["data's hash"] == "none: it was no file"
    assert max(map(len, re.sub(r'"data:[^"]*"', "", written).splitlines())) < 5000


def test_no_name_of_a_class_can_do_anything() -> None:
    names = ("<script>alert(1)</script>", "$\\frac{新}$", "x" * 200)
    artifact, reason = export(replace(parts(2), labels=names))
    assert reason is None
    found = measure(Classifier(artifact), ["sun", "goal"], names[:2], AerBackend(5, seed=1))
    written = page(Classifier(artifact), found, ORIGIN)
    read = Page(written)
    assert "script" not in {tag for tag, _ in read.elements}
    assert [row[0] for row in read.tables["True label down, predicted label across"]] == ["true / predicted", *names]
    drawn = base64.b64decode(read.attributes("src")[0].partition(",")[2])
    words = [element.text for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert words.count(names[0][:23] + "…") == words.count(names[1]) == 2, "as letters, which a viewer's fonts have"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("<a&b>\"'", "&lt;a&amp;b&gt;&quot;&#x27;"), (" a\n\tb ", "a b"), ("\x1b\u202e", "��"), ("\u200d", "\u200d")],
)
def test_any_text_can_be_shown(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_long_text_is_cut_with_a_mark() -> None:
    assert beginning("x" * 400) == "x" * 400
    assert beginning("x" * 401) == "x" * 400 + " […] (401 letters)"
    assert beginning(" \n ") == "(empty)"


@pytest.mark.filterwarnings("error")
def test_one_text_and_classes_that_never_occur(classifier: Classifier) -> None:
    right = str(classifier.predict("sun")[0])
    found = measure(classifier, ["sun"], [right], AerBackend(1, seed=1))
    read = Page(page(classifier, found, ORIGIN))
    assert "Accuracy 1.0000 (95 % interval 0.2065 to 1.0000)" in read.text
    assert " on 1 text of texts.csv." in read.text
    assert "No label is wrong." in read.text
    assert len(read.tables["Most certain"]) == 2
    _, *classes = read.tables["By class, with 95 % intervals (Wilson 1927)"]
    assert [row[1:] for row in classes if row[0] != right] == [["0", "0", "–", "–", "–"]] * 2


def test_a_huge_circuit_is_not_drawn() -> None:
    told, instead = circuit_section(dense_circuit(30, 12, 0.1))
    assert "30 qubits" in told
    assert instead == "<p>A circuit of over 1000 gates is not drawn: nobody could read it.</p>"


def test_observables_are_told_by_their_qubits() -> None:
    circuit = parts(4).circuit
    told, _ = circuit_section(Circuit(circuit.qasm, circuit.inputs, ("IIIZ", "ZIZI")))
    assert "Expectation values: Z0, Z1 Z3." in told


def test_a_devices_noise_is_told_from_shot_noise(classifier: Classifier, answers: Answers) -> None:
    class Damped:
        """Shots, and values that are all too small."""

        def expectations(self, circuit: Circuit, angles: Any) -> Expectations:
            found = AerBackend(400, seed=1).expectations(circuit, angles)
            return Expectations(0.5 * found.values, found.shots, "a device", found.covariance)

    found = measure(classifier, answers.texts, answers.labels, Damped(), shot_texts=1)
    read = Page(page(classifier, found, ORIGIN))
    assert "a device with 400 shots a text against exact values, on all 64 texts. Error bars know of its" in read.text
    value = float(dict(read.tables["In numbers, with 95 % intervals"])["z, rms (1 if shot noise is all)"].split()[0])
    assert value > 3


def test_users_settings_of_matplotlib_change_nothing(answers: Answers) -> None:
    import matplotlib

    def draw() -> str:
        return picture(lambda: figures.certainty_histogram(answers.exact, answers.labels))

    expected = draw()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.fonttype": "path"}):
        assert draw() == expected
        assert matplotlib.rcParams["axes.facecolor"] == "red", "and are not changed"
