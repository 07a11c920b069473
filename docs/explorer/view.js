// The page of the explorer: controls, and what is drawn from the state.

import { crossEntropy, entropy, jacobian, softmax, usualCrossEntropy, usualSoftmax } from "./math.js";
import { entmax, sparsemax } from "./sparse.js";
import { FEWEST, MOST, START, fromLink, toLink } from "./state.js";
import { agreement, brief, full } from "./digits.js";

const PRESETS = {
  "1, 2, 3": { ...START },
  "nearly certain (float32)": { ...START, x: [20, 0, 0], mask: [true, true, true], label: 0, f32: true },
  "overflow (float32, no shift)": { ...START, x: [89, 88, 0], label: 0, f32: true, shift: false },
  "a tie": { ...START, x: [2, 2, 0, -1], mask: [true, true, true, true], label: 1 },
};

let root;
let state;

/** Build the page into an element, from the link if it holds a state. */
export function start(element) {
  root = element;
  state = fromLink(location.hash);
  for (const [name, preset] of Object.entries(PRESETS)) {
    const button = make("button", { type: "button", textContent: name });
    button.addEventListener("click", () => rebuild(structuredClone(preset)));
    get("presets").append(button);
  }
  get("more").addEventListener("click", () => rebuild({ ...state, x: [...state.x, 0], mask: [...state.mask, true] }));
  get("fewer").addEventListener("click", () => {
    const x = state.x.slice(0, -1);
    const mask = state.mask.slice(0, -1);
    rebuild({ ...state, x, mask: mask.some(Boolean) ? mask : x.map(() => true), label: Math.min(state.label, x.length - 1) });
  });
  for (const name of ["shift", "f32"]) {
    get(name).addEventListener("change", (event) => change({ [name]: event.target.checked }));
  }
  for (const [name, low, high] of [["T", 0, 100], ["alpha", 1, 4]]) {
    for (const control of [get(name), get(`${name}-number`)]) {
      control.addEventListener("input", () => {
        const value = control.valueAsNumber;
        if (value >= low && value <= high) change({ [name]: value }, control);
      });
    }
  }
  get("copy").addEventListener("click", copyLink);
  addEventListener("hashchange", () => {
    if (location.hash.slice(1) !== toLink(state)) rebuild(fromLink(location.hash));
  });
  rebuild(state);
}

function rebuild(next) {
  state = next;
  get("rows").replaceChildren(...state.x.map((_, i) => makeRow(i)));
  draw();
}

/** Change part of the state; `source` is the control that is being used, whose text stays as typed. */
function change(part, source = null) {
  state = { ...state, ...part };
  draw(source);
}

function makeRow(i) {
  const row = make("tr", {});
  const slider = make("input", { type: "range", min: -20, max: 100, step: 0.1, className: "slider" });
  const number = make("input", { type: "number", step: "any", className: "number" });
  slider.setAttribute("aria-label", `logit ${i + 1}, slider`);
  number.setAttribute("aria-label", `logit ${i + 1}`);
  for (const control of [slider, number]) {
    control.addEventListener("input", () => {
      const value = control.valueAsNumber;
      if (Number.isFinite(value)) change({ x: state.x.with(i, value) }, control);
    });
  }
  const kept = make("input", { type: "checkbox", className: "kept" });
  kept.setAttribute("aria-label", `class ${i + 1} counts`);
  kept.addEventListener("change", () => {
    const mask = state.mask.with(i, kept.checked);
    if (mask.some(Boolean)) change({ mask });
    else kept.checked = true; // one class must be left
  });
  const label = make("input", { type: "radio", name: "label", className: "label" });
  label.setAttribute("aria-label", `class ${i + 1} is the label`);
  label.addEventListener("change", () => change({ label: i }));
  const bar = make("div", { className: "meter" }, [make("div", { className: "fill" })]);
  const cells = [[slider], [number], [kept], [label], [bar, make("span", { className: "p" })], [make("span", { className: "usual" })]];
  row.append(make("th", { scope: "row", textContent: i + 1 }), ...cells.map((inside) => make("td", {}, inside)));
  return row;
}

function draw(source = null) {
  const round = state.f32 ? Math.fround : (value) => value;
  const row = { x: state.x.map(round), mask: state.mask, T: round(state.T) };
  const exact = softmax(row);
  const usual = usualSoftmax(row, round, state.shift);
  drawControls(source);
  drawRows(exact, usual);
  drawJacobian(exact, row.T);
  drawLoss(row, exact, usual, round);
  drawSimplex(row);
  get("entropy").textContent = `Entropy: ${brief(entropy(exact.p))} nats = ${brief(entropy(exact.p) / Math.LN2)} bits.`;
  history.replaceState(null, "", `#${toLink(state)}`);
}

function drawControls(source) {
  for (const name of ["shift", "f32"]) get(name).checked = state[name];
  for (const name of ["T", "alpha"]) {
    for (const control of [get(name), get(`${name}-number`)]) if (control !== source) control.value = state[name];
  }
  get("more").disabled = state.x.length >= MOST;
  get("fewer").disabled = state.x.length <= FEWEST;
  [...get("rows").children].forEach((row, i) => {
    for (const control of row.querySelectorAll(".slider, .number")) if (control !== source) control.value = state.x[i];
    row.querySelector(".kept").checked = state.mask[i];
    row.querySelector(".label").checked = state.label === i;
  });
}

function drawRows({ p }, usual) {
  [...get("rows").children].forEach((row, i) => {
    row.querySelector(".fill").style.width = `${100 * p[i]}%`;
    row.querySelector(".p").textContent = brief(p[i]);
    const cell = row.querySelector(".usual");
    cell.textContent = brief(usual.p[i]);
    cell.classList.toggle("wrong", differs(usual.p[i], p[i]));
    row.classList.toggle("out", !state.mask[i]);
  });
  const type = state.f32 ? "float32" : "float64";
  const overflow = !Number.isFinite(usual.total);
  const largest = Math.max(...usual.e.filter((value) => !Number.isNaN(value)));
  get("sum").textContent = overflow
    ? `The usual formula overflows: the largest exponential is ${brief(largest)} in ${type}, and ∞/∞ is NaN.`
    : `In the usual formula the largest exponential is ${brief(largest)} and the sum ${brief(usual.total)}, in ${type}.`;
  get("sum").classList.toggle("wrong", overflow);
}

/** Whether a value is off by more than a thousandth, or not a number. */
function differs(value, truth) {
  return !(Math.abs(value - truth) <= 1e-3 * Math.abs(truth));
}

function drawJacobian(exact, T) {
  const table = get("jacobian");
  if (T === 0) {
    table.replaceChildren();
    get("meaning").textContent = "At temperature 0 softmax has no derivative.";
    return;
  }
  const J = jacobian(exact, T);
  const most = Math.max(...J.flat().map(Math.abs)) || 1;
  const head = make("tr", {}, [make("td", {}), ...J.map((_, j) => make("th", { scope: "col", textContent: `x${j + 1}` }))]);
  const rows = J.map((entries, i) => {
    const cells = entries.map((value) => {
      const cell = make("td", { textContent: brief(value) });
      const strength = Math.round(70 * Math.sqrt(Math.abs(value) / most));
      cell.style.background = `color-mix(in srgb, var(${value < 0 ? "--minus" : "--plus"}) ${strength}%, transparent)`;
      return cell;
    });
    const name = make("th", { scope: "row", tabIndex: 0, textContent: `p${i + 1}` });
    const row = make("tr", {}, [name, ...cells]);
    for (const kind of ["pointerenter", "focusin", "click"]) row.addEventListener(kind, () => explain(i, J));
    return row;
  });
  table.replaceChildren(make("thead", {}, [head]), make("tbody", {}, rows));
  get("meaning").textContent = "Point at a row, or move to it with the Tab key.";
}

function explain(i, J) {
  [...get("jacobian").tBodies[0].rows].forEach((row, k) => row.classList.toggle("chosen", k === i));
  const parts = J[i].map((value, j) => `x${j + 1} by ${brief(value)}`).join(", ");
  get("meaning").textContent =
    `Row ${i + 1}: how fast p${i + 1} changes with each logit: with ${parts}. ` +
    "The row sums to 0, since adding one number to all logits changes nothing; so does the column, since the probabilities always sum to 1.";
}

function drawLoss(row, exact, usual, round) {
  const y = state.label;
  if (row.T === 0) {
    get("loss").replaceChildren();
    return;
  }
  const own = crossEntropy(row, y);
  const other = usualCrossEntropy(usual.p, y, row.T, round);
  const k = exact.p.indexOf(Math.max(...exact.p));
  const lines = [
    [`1 − p${k + 1}, of the largest probability`, round(1 - usual.p[k]), exact.others[k]],
    [`∂p${k + 1}/∂x${k + 1} = p(1 − p)/T`, round(round(usual.p[k] * round(1 - usual.p[k])) / row.T), (exact.p[k] * exact.others[k]) / row.T],
    [`loss −log p${y + 1} (nats)`, other.loss, own.loss],
    ...own.grad.map((value, i) => [`∂loss/∂x${i + 1}`, other.grad[i], value]),
  ];
  get("loss").replaceChildren(
    ...lines.map(([name, value, truth]) => {
      const [right, wrong] = agreement(value, round(truth), state.f32);
      const usualCell = make("td", {}, [make("span", { className: "right", textContent: right }), make("span", { className: "wrong", textContent: wrong })]);
      return make("tr", {}, [make("th", { scope: "row", textContent: name }), usualCell, make("td", { textContent: full(round(truth), state.f32) })]);
    }),
  );
}

const CORNERS = [[150, 12], [12, 250], [288, 250]];

function place(p) {
  return [0, 1].map((axis) => CORNERS.reduce((s, corner, i) => s + p[i] * corner[axis], 0));
}

function drawSimplex(row) {
  const shown = row.x.length === 3 && row.T > 0;
  get("simplex").toggleAttribute("hidden", !shown);
  get("simplex-note").textContent = shown
    ? "Each curve is a map for all temperatures, from one corner or edge at T → 0 to the centre at T → ∞; the dot is the temperature above."
    : "The triangle is drawn for three classes and T > 0.";
  if (!shown) return;
  const maps = { softmax: (r) => softmax(r).p, entmax: (r) => entmax(r, state.alpha), sparsemax };
  for (const [name, map] of Object.entries(maps)) {
    const path = Array.from({ length: 121 }, (_, i) => place(map({ ...row, T: 10 ** (-2 + i / 30) })));
    get(`${name}-path`).setAttribute("points", path.map((point) => point.map((v) => v.toFixed(2)).join(",")).join(" "));
    const p = map(row);
    const [cx, cy] = place(p);
    get(`${name}-dot`).setAttribute("cx", cx);
    get(`${name}-dot`).setAttribute("cy", cy);
    get(`${name}-p`).textContent = `(${p.map(brief).join(", ")})`;
  }
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    get("copied").textContent = "Copied.";
  } catch {
    get("copied").textContent = "Copy the address of this page: it holds the state.";
  }
}

function get(name) {
  return root.querySelector(`#explorer-${name}`);
}

function make(tag, properties, children = []) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
