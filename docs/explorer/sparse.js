// Sparsemax and entmax: maps onto the simplex that reach its border.
//
// p_i = [(a - 1) x_i/T - tau]_+^(1/(a - 1)) with tau such that they sum to 1; a = 2 is sparsemax, a -> 1 is softmax.

import { largest, softmax } from "./math.js";

/** The point of the simplex nearest to x/T, by the sort of Held, Wolfe and Crowder. */
export function sparsemax({ x, mask, T }) {
  const m = largest({ x, mask });
  const z = x.map((value, i) => (mask[i] ? (value - m) / T : -Infinity));
  const sorted = z.filter((value) => value > -Infinity).sort((a, b) => b - a);
  let total = 0;
  let tau = 0;
  sorted.forEach((value, k) => {
    total += value;
    if (value * (k + 1) > total - 1) tau = (total - 1) / (k + 1);
  });
  return z.map((value) => Math.max(value - tau, 0));
}

/** Entmax by bisection on tau; alpha from 1 (softmax) on. */
export function entmax(row, alpha) {
  if (alpha < 1.0001) return softmax(row).p;
  const { x, mask, T } = row;
  const m = largest(row);
  const power = 1 / (alpha - 1);
  const z = x.map((value, i) => (mask[i] ? ((alpha - 1) * (value - m)) / T : -Infinity));
  const at = (tau) => z.map((value) => (value > tau ? (value - tau) ** power : 0));
  let low = -1; // the largest entry alone is (0 + 1)^power = 1 there
  let high = 0;
  for (let step = 0; step < 100; step++) {
    const middle = (low + high) / 2;
    if (at(middle).reduce((s, value) => s + value, 0) >= 1) low = middle;
    else high = middle;
  }
  const p = at(low);
  const total = p.reduce((s, value) => s + value, 0);
  return p.map((value) => value / total);
}
