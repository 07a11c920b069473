// What the explorer shows, and the link that holds it: #x=1,2,3&T=1&mask=111&label=2&shift=1&f32=0&alpha=1.5

export const MOST = 12;
export const FEWEST = 2;

export const START = { x: [1, 2, 3], mask: [true, true, true], T: 1, label: 2, shift: true, f32: false, alpha: 1.5 };

/** The state as the part of a link after #. */
export function toLink({ x, mask, T, label, shift, f32, alpha }) {
  const bits = mask.map((kept) => (kept ? 1 : 0)).join("");
  return `x=${x.join(",")}&T=${T}&mask=${bits}&label=${label}&shift=${Number(shift)}&f32=${Number(f32)}&alpha=${alpha}`;
}

/** The state of a link; what is missing or makes no sense is as at the start. */
export function fromLink(link) {
  const fields = new URLSearchParams(link.replace(/^#/, ""));
  const numbers = (fields.get("x") ?? "").split(",").map((text) => (text.trim() === "" ? NaN : Number(text)));
  const good = numbers.length >= FEWEST && numbers.length <= MOST && numbers.every(Number.isFinite);
  const x = good ? numbers : [...START.x];
  const bits = fields.get("mask") ?? "";
  const mask = x.map((_, i) => bits[i] !== "0");
  const label = Number(fields.get("label") ?? Math.min(START.label, x.length - 1));
  return {
    x,
    mask: mask.some(Boolean) ? mask : x.map(() => true),
    T: within(fields.get("T"), 0, 100, START.T),
    label: Number.isInteger(label) && label >= 0 && label < x.length ? label : 0,
    shift: fields.get("shift") !== "0",
    f32: fields.get("f32") === "1",
    alpha: within(fields.get("alpha"), 1, 4, START.alpha),
  };
}

function within(text, low, high, otherwise) {
  const value = text === null || text === "" ? NaN : Number(text);
  return value >= low && value <= high ? value : otherwise;
}
