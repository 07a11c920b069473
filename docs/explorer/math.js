// The mathematics of the explorer: softmax and its derivatives, by the usual formulas and without loss.
//
// tests/docs/test_explorer.py compares these functions with softgrad. A row is {x, mask, T}: logits, which of them count, and a
// temperature T >= 0. Entries outside the mask have probability 0.

const SPLITTER = 134217729; // 2^27 + 1: halves of a float64 whose products are exact

/** a - b as a rounded difference and its rounding error, which is exact (Knuth). */
export function twoDifference(a, b) {
  const difference = a - b;
  const back = difference - a;
  return [difference, a - (difference - back) - (b + back)];
}

/** a * b as a rounded product and its rounding error (Dekker). */
export function twoProduct(a, b) {
  const product = a * b;
  const [ah, al] = halves(a);
  const [bh, bl] = halves(b);
  return [product, ah * bh - product + ah * bl + al * bh + al * bl];
}

function halves(a) {
  const scaled = SPLITTER * a;
  const high = scaled - (scaled - a);
  return [high, a - high];
}

/** e^((x - m)/T) in float64; the rounding errors of the difference and of the quotient are carried along. */
export function exponential(x, m, T) {
  const [difference, lost] = twoDifference(x, m);
  const quotient = difference / T;
  if (quotient < -745.2) return 0;
  const [product, error] = twoProduct(quotient, T);
  const remainder = (difference - product - error + lost) / T;
  return Math.exp(quotient) * (1 + remainder);
}

/** The largest logit that counts; -Infinity if none does. */
export function largest({ x, mask }) {
  return x.reduce((m, value, i) => (mask[i] && value > m ? value : m), -Infinity);
}

/** Softmax without loss: p, and for each entry the sum of the others, which is 1 - p but never subtracted. */
export function softmax({ x, mask, T }) {
  const m = largest({ x, mask });
  if (m === -Infinity) return { p: x.map(() => 0), others: x.map(() => 0) };
  const e = x.map((value, i) => (!mask[i] ? 0 : T === 0 ? Number(value === m) : exponential(value, m, T)));
  const total = sum(e);
  const p = e.map((value) => value / total);
  return { p, others: e.map((_, i) => sum(e.filter((_, j) => j !== i)) / total) };
}

/** The sum of a few numbers of one sign, the smallest first. */
export function sum(values) {
  return [...values].sort((a, b) => Math.abs(a) - Math.abs(b)).reduce((s, value) => s + value, 0);
}

/** Softmax by the usual formula, every operation rounded by `round` (Math.fround or the identity), with the shift or without. */
export function usualSoftmax({ x, mask, T }, round, shift) {
  const logits = x.map((value) => round(round(value) / round(T)));
  const m = shift ? logits.reduce((m, value, i) => (mask[i] && value > m ? value : m), -Infinity) : 0;
  const e = logits.map((value, i) => (mask[i] ? round(Math.exp(round(value - m))) : 0));
  const total = e.reduce((s, value) => round(s + value), 0);
  return { p: e.map((value) => round(value / total)), e, total };
}

/** The Jacobian (diag(p) - p p^T)/T, row by row; its diagonal is p times the sum of the others. */
export function jacobian({ p, others }, T) {
  return p.map((pi, i) => p.map((pj, j) => (i === j ? (pi * others[i]) / T : (-pi * pj) / T)));
}

/** Cross-entropy of a label, in nats, and its gradient with respect to the logits. */
export function crossEntropy(row, label) {
  const { x, mask, T } = row;
  const m = largest(row);
  if (!mask[label] || m === -Infinity) return { loss: Infinity, grad: x.map(() => NaN) };
  const top = x.findIndex((value, i) => mask[i] && value === m);
  const others = sum(x.map((value, i) => (mask[i] && i !== top ? exponential(value, m, T) : 0)));
  const { p, others: rest } = softmax(row);
  return {
    loss: Math.log1p(others) + (m - x[label]) / T,
    grad: p.map((pi, i) => (i === label ? -rest[i] : pi) / T),
  };
}

/** What the usual formulas make of a label, from probabilities that are rounded already. */
export function usualCrossEntropy(p, label, T, round) {
  return {
    loss: round(-Math.log(p[label])),
    grad: p.map((pi, i) => round(round(pi - (i === label ? 1 : 0)) / round(T))),
  };
}

/** The entropy of p in nats. */
export function entropy(p) {
  return sum(p.map((value) => (value > 0 ? -value * Math.log(value) : 0)));
}
