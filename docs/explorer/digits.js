// Numbers as text, and which digits of a number are right.

/** A few digits, for tables. */
export function brief(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e-3 && size < 1e5 ? value.toPrecision(3) : value.toExponential(2);
  return text.replace("e+", "e").replace(/-/g, "−");
}

/** All digits that the type has: 9 for float32, 17 for float64. */
export function full(value, f32) {
  if (!Number.isFinite(value)) return brief(value);
  if (value === 0) return "0";
  return value.toExponential(f32 ? 8 : 16).replace("e+", "e").replace(/-/g, "−");
}

/** The text of a value split into the digits that agree with the true one, and the others. */
export function agreement(value, truth, f32) {
  const text = full(value, f32);
  const right = full(truth, f32);
  if (text === right) return [text, ""];
  if (exponent(text) !== exponent(right)) return ["", text];
  let same = 0;
  while (same < text.length && text[same] === right[same]) same++;
  return [text.slice(0, same), text.slice(same)];
}

function exponent(text) {
  return text.includes("e") ? text.split("e")[1] : text;
}
