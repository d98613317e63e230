// Draws a circuit as SVG: one column a moment, gates that take in data marked, angles below their names.

const COLUMN = 48, ROW = 44, LEFT = 40, BOX = { width: 42, height: 32 };

export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== "") made.textContent = text;
  return made;
}

// The first column in which all wires that a gate crosses are free.
function columns(circuit) {
  const next = new Array(circuit.qubits).fill(0);
  return circuit.gates.map((gate) => {
    const low = Math.min(...gate.qubits), high = Math.max(...gate.qubits);
    const column = Math.max(...next.slice(low, high + 1));
    next.fill(column + 1, low, high + 1);
    return column;
  });
}

// Which qubits an observable has a Z on: "ZII" → [2].
const measured = (label) => [...label].reverse().flatMap((letter, qubit) => (letter === "Z" ? [qubit] : []));

// What is measured, in words.
export function observables(circuit) {
  const all = circuit.observables.map(measured);
  if (all.length === circuit.qubits && all.every((qubits, index) => qubits.length === 1 && qubits[0] === index)) {
    return "Z on each qubit";
  }
  return all.map((qubits) => qubits.map((qubit) => `Z${qubit}`).join("·") || "1").join(", ");
}

const isData = (gate) => gate.angles.some((angle) => Object.keys(angle.factors).length > 0);

function value(angle, inputs) {
  return Object.entries(angle.factors).reduce((sum, [input, factor]) => sum + factor * inputs[input], angle.offset);
}

const place = (column) => LEFT + (column + 0.5) * COLUMN;
const height = (qubit) => (qubit + 0.5) * ROW + 6;

function box(gate, qubit, x, inputs) {
  const y = height(qubit), group = element("g");
  const { width, height: tall } = BOX;
  group.append(element("rect", { class: "gate", x: x - width / 2, y: y - tall / 2, width, height: tall, rx: 3 }));
  group.append(element("text", { x, y: gate.angles.length ? y - 3 : y + 4 }, gate.name.toUpperCase()));
  if (gate.angles.length) {
    const shown = gate.angles.map((angle) => value(angle, inputs).toFixed(2)).join(" ");
    group.append(element("text", { class: "angle", x, y: y + 10 }, shown));
  }
  return group;
}

function drawGate(gate, x, inputs) {
  const group = element("g", { class: isData(gate) ? "data" : "trained" });
  const rows = gate.qubits.map(height);
  if (gate.qubits.length > 1) {
    group.append(element("line", { class: "link", x1: x, x2: x, y1: Math.min(...rows), y2: Math.max(...rows) }));
  }
  const told = [`${gate.name} on ${gate.qubits.map((qubit) => `q${qubit}`).join(", ")}`];
  for (const angle of gate.angles) {
    const names = Object.keys(angle.factors);
    told.push(`${names.length ? `${names.join(", ")}: ` : ""}${value(angle, inputs).toFixed(4)} rad`);
  }
  group.append(element("title", {}, told.join(", ")));
  if (gate.name === "cz" || gate.name === "cx") {
    rows.forEach((y, index) => {
      if (gate.name === "cx" && index === 1) {
        group.append(element("circle", { class: "target", cx: x, cy: y, r: 9 }));
        group.append(element("path", { class: "link", d: `M${x - 9} ${y}h18M${x} ${y - 9}v18` }));
      } else {
        group.append(element("circle", { class: "control", cx: x, cy: y, r: 4.5 }));
      }
    });
  } else {
    gate.qubits.forEach((qubit) => group.append(box(gate, qubit, x, inputs)));
  }
  return group;
}

// inputs: the value of each of the circuit's inputs, in radians.
export function drawCircuit(circuit, inputs) {
  const placed = columns(circuit);
  const width = LEFT + (Math.max(-1, ...placed) + 2) * COLUMN, tall = circuit.qubits * ROW + 12;
  const told = `Circuit of ${circuit.qubits} qubits and ${circuit.gates.length} gates`;
  const svg = element("svg", { width, height: tall, viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": told });
  const alone = new Set(circuit.observables.map(measured).filter((qubits) => qubits.length === 1).flat());
  for (let qubit = 0; qubit < circuit.qubits; qubit++) {
    const y = height(qubit);
    svg.append(element("text", { x: LEFT / 2, y: y + 4 }, `q${qubit}`));
    svg.append(element("line", { class: "wire", x1: LEFT, x2: width - 8, y1: y, y2: y }));
    if (alone.has(qubit)) svg.append(element("text", { x: width - COLUMN / 2, y: y - 5 }, "⟨Z⟩"));
  }
  circuit.gates.forEach((gate, index) => svg.append(drawGate(gate, place(placed[index]), inputs)));
  return svg;
}
