"""The page at ``/``, in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from serve.chromium import Watched, browser
from serve.conftest import TOKEN
from serve.process import Served
from students import parts

from qdinfer import Circuit, Classifier
from qdistill.export import export

TEXT = "sun rain goal"
HOSTILE = "<img src=x onerror=\"document.title='pwned'\">"
ALLOWED = (
    r"Failed to load resource: the server responded with a status of \d+ \(.*\)|Failed to load resource: net::ERR_.*"
)
"""What Chromium itself says of an answer that is no success."""


expect.set_options(timeout=20_000)  # the first shots import Qiskit


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Watched]:
    """A new tab. In the end, nothing was asked of another host, and no error was written to the console."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(15_000)
    made = Watched(context.new_page())
    yield made
    hosts = {re.sub(r"^(\w+://[^/]+).*", r"\1", url) for url in made.requests}
    context.close()
    assert len(hosts) == 1
    assert [error for error in made.errors if not re.fullmatch(ALLOWED, error)] == []


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page


@pytest.fixture(scope="module")
def shown(server: Served) -> str:
    return f"{server.url}/"


def classify(page: Page, text: str = TEXT) -> None:
    """Type and click, and wait for all that comes."""
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#confidence")).to_contain_text(re.compile("chance of at least|No shots"))


def rows(page: Page) -> list[list[str]]:
    """The table of classes: name, exact, 1000 shots."""
    cells = page.locator("#classes tr").all()
    return [[cell.inner_text() for cell in row.locator("th, td").all()][:3] for row in cells]


def api(served: Served, path: str, body: dict[str, Any]) -> dict[str, Any]:
    with served.client() as client:
        response = client.post(path, json=body)
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        return found


@pytest.mark.parametrize("model", ["tiny", "topic-folded"])
def test_a_text_gets_its_label_and_numbers(page: Page, server: Served, shown: str, model: str) -> None:
    page.goto(shown)
    page.get_by_label("Student").select_option(model)
    classify(page)
    answer = api(server, "/v1/classify", {"texts": [TEXT], "model": model})
    exact = answer["predictions"][0]
    expect(page.locator("#label")).to_have_text(exact["label"])
    found = rows(page)
    assert [name for name, *_ in found] == answer["classes"]
    for name, shown_exact, shots in found:
        assert shown_exact == f"{exact['probabilities'][name]:.3f}"
        value, error = map(float, shots.split(" ± "))
        assert 0 < error < 0.1
        assert abs(value - exact["probabilities"][name]) < 6 * error
    winner = page.locator("#classes tr.winner th")
    expect(winner).to_have_text(exact["label"])
    told = page.locator("#confidence").inner_text()
    chance = re.fullmatch(
        r"With 1000 shots the label is (\w+); it stands with a chance of at least (\d+\.\d) %\.", told
    )
    assert chance is not None
    assert 0 <= float(chance[2]) <= 99.9
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_bars_are_as_long_as_the_numbers(page: Page, shown: str) -> None:
    page.goto(shown)
    classify(page)
    for index, (_, exact, shots) in enumerate(rows(page)):
        plot = page.locator("#classes tr").nth(index).locator("svg")
        width = float(plot.locator("rect.bar").get_attribute("width") or "nan")
        assert width == pytest.approx(100 * float(exact), abs=0.06)
        line = plot.locator("line.error-bar")
        left, right = (float(line.get_attribute(name) or "nan") for name in ("x1", "x2"))
        value, error = map(float, shots.split(" ± "))
        assert right == pytest.approx(100 * (value + error), abs=0.11)
        assert left == pytest.approx(max(0.0, 100 * (value - error)), abs=0.11)


@pytest.mark.parametrize("model", ["tiny", "topic-folded"])
def test_the_drawing_is_the_circuit_with_the_texts_angles(page: Page, server: Served, shown: str, model: str) -> None:
    page.goto(shown)
    page.get_by_label("Student").select_option(model)
    classify(page)
    with server.client() as client:
        circuit = client.get(f"/v1/models/{model}/circuit").json()
    encoded = api(server, "/v1/angles", {"texts": [TEXT], "model": model})
    inputs = dict(zip(encoded["inputs"], encoded["angles"][0], strict=True))
    gates = page.locator("#circuit svg > g").all()
    assert len(gates) == len(circuit["gates"])
    data = 0
    for drawn, gate in zip(gates, circuit["gates"], strict=True):
        names = [name for angle in gate["angles"] for name in angle["factors"]]
        assert drawn.get_attribute("class") == ("data" if names else "trained")
        data += bool(names)
        values = [
            angle["offset"] + sum(factor * inputs[name] for name, factor in angle["factors"].items())
            for angle in gate["angles"]
        ]
        told = drawn.locator("title").text_content() or ""
        assert told.startswith(f"{gate['name']} on {', '.join(f'q{qubit}' for qubit in gate['qubits'])}")
        assert [float(each) for each in re.findall(r"(-?\d+\.\d{4}) rad", told)] == pytest.approx(values, abs=1e-4)
        below = drawn.locator("text.angle").first
        if values:
            assert float(below.text_content() or "nan") == pytest.approx(values[0], abs=0.006)
    assert data >= len(inputs)
    qubits = circuit["qubits"]
    expect(page.locator("#circuit line.wire")).to_have_count(qubits)
    expect(page.locator("#circuit svg text", has_text="⟨Z⟩")).to_have_count(qubits)
    expect(page.locator("#circuit-told")).to_contain_text(f"{qubits} qubits, {len(gates)} gates.")
    expect(page.locator("#circuit-told")).to_contain_text("Measured at the end: Z on each qubit.")
    page.locator("summary").click()
    table = [[cell.inner_text() for cell in row.locator("th, td").all()] for row in page.locator("#angles tr").all()]
    assert table == [[name, f"{value:.4f}"] for name, value in inputs.items()]


def test_hostile_texts_and_labels_are_letters_and_other_observables_are_told_of(page: Page, tmp_path: Path) -> None:
    labels = (HOSTILE, "</td><script>document.title='pwned'</script>", "__proto__")
    made, names = parts(), [f"theta_{qubit}" for qubit in range(4)]
    drawn = QuantumCircuit(4)
    for qubit, name in enumerate(names):
        drawn.rx(2 * Parameter(name) - 0.5, qubit)
    drawn.cx(1, 0)
    drawn.rzz(0.25, 2, 3)
    circuit = Circuit.from_qiskit(drawn, names, ["IIIZ", "IIZZ", "ZIII"])
    artifact, _ = export(replace(made, labels=labels, circuit=circuit, weights=made.weights[:, :3]))
    with Served(artifact.save(tmp_path / "hostile")) as served:
        page.goto(served.url)
        classify(page, HOSTILE)
        expect(page.locator("#circuit-told")).to_contain_text("Measured at the end: Z0, Z0·Z1, Z3.")
        expect(page.locator("#circuit svg text", has_text="⟨Z⟩")).to_have_count(2)
        inputs = api(served, "/v1/angles", {"texts": HOSTILE})["angles"][0]
        told = page.locator("#circuit svg > g > title").all_text_contents()
        data = [f"rx on q{q}, {names[q]}: {2 * value - 0.5:.4f} rad" for q, value in enumerate(inputs)]
        assert sorted(told) == sorted([*data, "cx on q1, q0", "rzz on q2, q3, 0.2500 rad"])
        assert [row[0] for row in rows(page)] == list(labels)
        expect(page.locator("#label")).to_have_text(re.compile("|".join(map(re.escape, labels))))
        assert page.locator("main img, main script").count() == 0
        assert page.title() == "qdinfer"
        assert page.get_by_label("Text", exact=True).input_value() == HOSTILE


def test_measuring_again_changes_the_numbers_of_the_shots_alone(page: Page, shown: str) -> None:
    page.goto(shown)
    classify(page)
    before, table = rows(page), page.locator("#classes")
    text = table.text_content() or ""
    expect(table).to_have_text(text)
    page.get_by_role("button", name="Measure again").click()
    expect(table).not_to_have_text(text)  # a single one of the numbers may well be the same again
    after = rows(page)
    assert [row[:2] for row in before] == [row[:2] for row in after]
    assert page.evaluate("document.activeElement.id") == "again"


def test_only_the_last_of_several_texts_is_shown(page: Page, server: Served, shown: str) -> None:
    page.goto(shown)
    field = page.get_by_label("Text", exact=True)
    for text in ("rain", "bank", "sun sun", "goal"):
        field.fill(text)
        field.press("Control+Enter")
    expect(page.locator("#confidence")).to_contain_text("chance of at least")
    exact = api(server, "/v1/classify", {"texts": "goal", "model": "tiny"})["predictions"][0]
    assert [row[1] for row in rows(page)] == [f"{value:.3f}" for value in exact["probabilities"].values()]


def test_an_answer_that_comes_late_is_not_shown(page: Page, server: Served, shown: str) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "rain" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile(r"/v1/(classify|angles)"), hold)
    page.goto(shown)
    field = page.get_by_label("Text", exact=True)
    field.fill("rain")
    field.press("Control+Enter")
    field.fill("goal")
    field.press("Control+Enter")
    expect(page.locator("#confidence")).to_contain_text("chance of at least")
    before = rows(page), page.locator("#angles").inner_html()
    assert len(held) == 2
    with page.expect_response(lambda response: "rain" in (response.request.post_data or "")):
        for route in held:
            route.continue_()
    page.wait_for_load_state("networkidle")
    assert (rows(page), page.locator("#angles").inner_html()) == before
    exact = api(server, "/v1/classify", {"texts": "goal", "model": "tiny"})["predictions"][0]
    assert [row[1] for row in before[0]] == [f"{value:.3f}" for value in exact["probabilities"].values()]


def test_several_students_can_be_chosen(page: Page, server: Served, shown: str, folded: Classifier) -> None:
    page.goto(shown)
    choice = page.get_by_label("Student")
    assert choice.locator("option").all_inner_texts() == ["tiny", "topic-folded"]
    classify(page)
    assert len(rows(page)) == 3
    choice.select_option("topic-folded")
    classify(page, "Shares slide")
    expect(page.locator("#label")).to_have_text(str(folded.predict("Shares slide")[0]))
    assert len(rows(page)) == 4
    expect(page.locator("#circuit-told")).to_contain_text("11 qubits")


def test_one_student_needs_no_choice(page: Page, narrow: Served) -> None:
    page.goto(narrow.url)
    expect(page.locator("#go")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_label("Student")).to_be_hidden()
    classify(page, "sun")  # 1000 shots are more than this server allows
    expect(page.locator("#confidence")).to_have_text("No shots: shots: found 1000; expected at most 500")
    expect(page.locator("#label")).to_have_text(re.compile("weather|sport|money"))
    assert {row[2] for row in rows(page)} == {"–"}
    expect(page.locator("#circuit svg")).to_be_visible()


def test_a_cut_text_is_told_of(page: Page, shown: str) -> None:
    page.goto(shown)
    classify(page, "sun rain goal match bank")
    expect(page.locator("#confidence")).to_contain_text(
        "The text is longer than the student reads; the rest was cut off."
    )


def test_the_token_is_asked_for(page: Page, guarded: Served) -> None:
    page.goto(guarded.url)
    token = page.get_by_label("Access token")
    expect(token).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("authorization: found no valid token")
    assert token.get_attribute("type") == "password"
    page.get_by_label("Text", exact=True).fill(TEXT)
    for wrong, message in (
        ("wrong", "authorization: found no valid token"),
        ("täuschend ☂", "The access token has letters that no token has."),
    ):
        token.fill(wrong)
        page.get_by_role("button", name="Classify").click()
        expect(page.get_by_role("alert")).to_contain_text(message)
        expect(page.locator("#answer")).to_be_hidden()
    token.fill(f" {TOKEN} ")
    classify(page)
    expect(page.locator("#label")).to_have_text(re.compile("weather|sport|money"))
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#circuit svg")).to_be_visible()


def test_the_keyboard_is_enough(page: Page, shown: str) -> None:
    page.goto(shown)
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("goal")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#confidence")).to_contain_text("chance of at least")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.localName"))
    assert reached[:5] == ["go", "again", "circuit", "summary", "a"]
    page.keyboard.press("Shift+Tab")
    page.get_by_label("Text", exact=True).focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "model"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on the button
    expect(page.locator("#circuit-told")).to_contain_text("11 qubits")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "what has the focus is marked"
    page.locator("#circuit").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    end = time.monotonic() + 10
    while page.evaluate("document.getElementById('circuit').scrollLeft") == 0:
        assert time.monotonic() < end, "the drawing is scrolled by the keyboard"


def test_a_server_that_has_gone_is_told_of(page: Page, tiny_path: Path) -> None:
    with Served(tiny_path, blocked=("qiskit",)) as served:  # it starts sooner
        page.goto(served.url)
        classify(page)
    page.get_by_role("button", name="Measure again").click()
    expect(page.locator("#confidence")).to_have_text("No shots: The server cannot be reached.")
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#circuit-section")).to_be_hidden()


def test_an_empty_text_is_asked_for_again(page: Page, shown: str) -> None:
    page.goto(shown)
    page.get_by_role("button", name="Classify").click()
    assert page.evaluate("document.activeElement.matches(':invalid')")
    expect(page.locator("#answer")).to_be_hidden()


def test_without_aer_it_says_so(page: Page, without_aer: Served) -> None:
    page.goto(without_aer.url)
    classify(page)
    told = page.locator("#confidence")
    expect(told).to_have_text('No shots: the aer backend needs an optional part: pip install "qdinfer[aer]"')
    told = page.locator("#circuit-told")
    expect(told).to_have_text('No drawing: reading a circuit needs an optional part: pip install "qdinfer[aer]"')
    expect(page.locator("#label")).to_have_text(re.compile("weather|sport|money"))
    assert {row[2] for row in rows(page)} == {"–"}


NAMES = """() => [...document.querySelectorAll("input, select, textarea, button, a, summary, [tabindex]")]
    .filter((each) => each.checkVisibility())
    .map((each) => [each.localName, (each.labels?.[0] ?? document.getElementById(each.getAttribute("aria-labelledby"))
      ?? each).textContent.trim()])"""
CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((each) => {
    const share = each / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = (color) => channels(color).reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
  const seen = (color) => color !== "rgba(0, 0, 0, 0)" && color !== "none";
  const found = [];
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !each.checkVisibility() || ["title", "script", "style"].includes(each.localName)) continue;
    const style = getComputedStyle(each), drawn = each.namespaceURI.endsWith("svg");
    let behind = drawn ? each.parentElement.querySelector(":scope > rect") ?? each : each, ground;
    for (; !ground && behind; behind = behind.parentElement) {
      const color = getComputedStyle(behind);
      if (behind.localName === "rect" && seen(color.fill)) ground = color.fill;
      else if (seen(color.backgroundColor)) ground = color.backgroundColor;
    }
    const pair = [light(drawn ? style.fill : style.color), light(ground)].sort((a, b) => b - a);
    found.push([each.textContent.trim(), (pair[0] + 0.05) / (pair[1] + 0.05)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_it_can_be_read_and_every_control_has_a_name(page: Page, shown: str, scheme: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(shown)
    page.get_by_label("Student").select_option("topic-folded")
    classify(page, "Shares slide")
    expect(page.locator("#circuit svg")).to_be_visible()
    names = page.evaluate(NAMES)
    assert len(names) == 7
    assert all(name for _, name in names)
    contrasts = page.evaluate(CONTRAST)
    assert len(contrasts) > 100
    assert [(text, round(ratio, 2)) for text, ratio in contrasts if ratio < 4.5] == []  # WCAG 2, level AA
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "only the drawing scrolls sideways"
    assert page.evaluate("document.documentElement.lang") == "en"
    headings = page.locator("h1, h2").all_inner_texts()
    assert headings[0] == "Try a quantum student"
    svg = page.locator("#circuit svg")
    assert re.fullmatch(r"Circuit of 11 qubits and \d+ gates", svg.get_attribute("aria-label") or "")
    status = page.get_by_role("status").first
    expect(status).to_have_text(re.compile(r"^Label: \w+\. With 1000 shots"))


def test_another_site_may_not_show_it_in_a_frame_nor_run_scripts_in_it(server: Served) -> None:
    with server.client() as client:
        for path in ("/", "/page/page.js", "/page/circuit.js", "/page/page.css", "/page/icon.svg"):
            response = client.get(path)
            policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == "'self'"
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "//" not in response.text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


def test_the_docs_work_offline(watched: Watched, guarded: Served) -> None:
    """With a token too: what the page shows is no secret."""
    watched.page.goto(f"{guarded.url}/docs")
    expect(watched.page.get_by_role("heading", name="qdinfer").first).to_be_visible()
    expect(watched.page.locator(".opblock")).to_have_count(14)
