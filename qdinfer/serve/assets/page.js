// The page: one text in, its label, probabilities and circuit out. All it asks for are the server's own /v1 addresses.

import { drawCircuit, element, observables } from "./circuit.js";

const SHOTS = 1000;
const at = (id) => document.getElementById(id);
const circuits = new Map();
let latest = 0; // of several requests under way, only the last one is shown,
let latestText = 0; // and only the last text's circuit

class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = { "Content-Type": "application/json" };
  const token = at("token").value.trim();
  if (/[^\x21-\x7e]/.test(token)) throw new Problem(401, "The access token has letters that no token has.");
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  const response = await fetch(path, options).catch(() => {
    throw new Problem(0, "The server cannot be reached.");
  });
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401) at("token-row").hidden = false;
    throw new Problem(response.status, content.error?.message ?? `The server answered ${response.status}.`);
  }
  return content;
}

// What goes on, for all to see, or for screen readers alone: others see the result itself.
function say(text, quiet = false) {
  at("status").textContent = text;
  at("status").classList.toggle("unseen", quiet);
}

function show(error) {
  at("problem").textContent = error ? error.message : "";
  at("problem").hidden = !error;
}

async function loadModels() {
  const { models } = await ask("v1/models");
  at("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  at("model-row").hidden = models.length < 2;
}

function cell(row, text, kind = "td") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "th") made.scope = "row";
  else made.className = "number";
  row.append(made);
  return made;
}

function plot(exact, shots) {
  const svg = element("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  svg.append(element("rect", { class: "bar", x: 0, y: 0.5, width: 100 * exact, height: 4 }));
  if (shots) {
    const [middle, spread] = [100 * shots.probability, 100 * shots.error];
    const line = { class: "error-bar", "vector-effect": "non-scaling-stroke" };
    svg.append(element("line", { ...line, x1: Math.max(0, middle - spread), x2: middle + spread, y1: 7.5, y2: 7.5 }));
    svg.append(element("rect", { class: "dot", x: middle - 0.4, y: 5.5, width: 0.8, height: 4 }));
  }
  return svg;
}

// As many digits as the error has a say in.
function withError(value, error) {
  const digits = Math.min(8, Math.max(3, Math.ceil(-Math.log10(error))));
  return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

// sampled: not given while it is waited for, null if there is none.
function showAnswer(exact, sampled) {
  const prediction = exact.predictions[0], measured = sampled?.predictions[0];
  at("label").textContent = prediction.label;
  const rows = exact.classes.map((name) => {
    const row = document.createElement("tr");
    row.className = name === prediction.label ? "winner" : "";
    cell(row, name, "th");
    const exactly = prediction.probabilities[name];
    cell(row, exactly.toFixed(3));
    const shots = measured && { probability: measured.probabilities[name], error: measured.standard_errors[name] };
    cell(row, shots ? withError(shots.probability, shots.error) : sampled === null ? "–" : "…");
    const drawing = cell(row, "");
    drawing.className = "plot";
    drawing.append(plot(exactly, shots));
    return row;
  });
  at("classes").replaceChildren(...rows);
  const chance = measured && Math.min(999, Math.floor(measured.confidence * 1000)) / 10; // a bound is not rounded up
  at("confidence").textContent = measured
    ? `With ${SHOTS} shots the label is ${measured.label}; it stands with a chance of at least ${chance.toFixed(1)} %.` +
      (prediction.truncated ? " The text is longer than the student reads; the rest was cut off." : "")
    : "";
  at("answer").hidden = false;
}

function showAngles({ inputs, angles }) {
  const values = Object.fromEntries(inputs.map((name, index) => [name, angles[0][index]]));
  const rows = inputs.map((name) => {
    const row = document.createElement("tr");
    cell(row, name, "th");
    cell(row, values[name].toFixed(4));
    return row;
  });
  at("angles").replaceChildren(...rows);
  return values;
}

async function showCircuit(model, values, text) {
  if (!circuits.has(model)) circuits.set(model, await ask(`v1/models/${encodeURIComponent(model)}/circuit`));
  if (text !== latestText) return;
  const circuit = circuits.get(model);
  at("circuit-told").textContent =
    `${circuit.qubits} qubits, ${circuit.gates.length} gates. Marked gates take in the text's angles, in radians; ` +
    `the others were trained. Measured at the end: ${observables(circuit)}.`;
  at("circuit").replaceChildren(drawCircuit(circuit, values));
}

async function measure(request, exact, number) {
  say("Measuring …");
  try {
    const sampled = await ask("v1/classify", { ...request, shots: SHOTS });
    if (number === latest) showAnswer(exact, sampled);
  } catch (error) {
    if (number !== latest) return;
    showAnswer(exact, null);
    at("confidence").textContent = `No shots: ${error.message}`;
  }
  if (number === latest) say(`Label: ${exact.predictions[0].label}. ${at("confidence").textContent}`, true);
}

async function classify(event) {
  event?.preventDefault();
  if (!at("form").reportValidity()) return;
  const number = ++latest, text = ++latestText;
  show(null);
  say("Asking …");
  try {
    if (!at("model").options.length) await loadModels();
    const model = at("model").value, request = { texts: [at("text").value], model };
    const [exact, angles] = await Promise.all([ask("v1/classify", request), ask("v1/angles", request)]);
    if (number !== latest) return;
    showAnswer(exact);
    at("again").onclick = () => measure(request, exact, ++latest);
    at("circuit-section").hidden = false;
    const drawing = showCircuit(model, showAngles(angles), text).catch((error) => {
      if (text !== latestText) return;
      at("circuit-told").textContent = `No drawing: ${error.message}`;
      at("circuit").replaceChildren();
    });
    await Promise.all([measure(request, exact, number), drawing]);
  } catch (error) {
    if (number !== latest) return;
    at("answer").hidden = at("circuit-section").hidden = true;
    say("");
    show(error);
  }
}

at("form").addEventListener("submit", classify);
at("model").addEventListener("change", () => {
  latest += 1;
  latestText += 1;
  say("");
  at("answer").hidden = at("circuit-section").hidden = true; // they were another student's
});
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) classify(event);
});
loadModels().catch(show);
