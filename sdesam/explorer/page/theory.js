// Critical points and the closed forms laid over the data; every formula is one of the science's functions.
import { isInside, numbersOf } from "./ensemble.js";

const CELLS = 200;
const SAME = 1e-3;

// Newton's method from a grid of starts: the critical points in view with their curvatures.
export function criticalPoints(science, p, view) {
  const found = [];
  const grid = 9;
  for (let a = 0; a < grid; a++)
    for (let b = 0; b < grid; b++) {
      let x = [view * ((2 * a) / (grid - 1) - 1) * 0.97, view * ((2 * b) / (grid - 1) - 1) * 0.97];
      for (let k = 0; k < 40; k++) x = science.f.newton(p, x);
      const g = science.f.gradient(p, x);
      if (!(Math.hypot(...g) < 1e-9) || !(Math.hypot(...x) < 1.5 * view)) continue;
      if (found.some((q) => Math.hypot(q.x[0] - x[0], q.x[1] - x[1]) < SAME * view)) continue;
      const [low, high, ax, ay] = science.f.curvature(p, x);
      const flat = Math.abs(low) < 1e-6 * Math.max(1, Math.abs(high)) || Math.abs(high) < 1e-6;
      const kind = flat ? "valley" : low < 0 ? (high < 0 ? "maximum" : "saddle") : "minimum";
      found.push({ x, low, high, axis: [ax, ay], kind });
    }
  return found;
}

// The point distances are taken from: the saddle nearest to the start, else the minimum.
export function referenceOf(points, start) {
  const distance = (q) => Math.hypot(q.x[0] - start[0], q.x[1] - start[1]);
  for (const kind of ["saddle", "maximum", "minimum", "valley"]) {
    const candidates = points.filter((q) => q.kind === kind).sort((a, b) => distance(a) - distance(b));
    if (candidates.length) return candidates[0];
  }
  return { x: [0, 0], low: NaN, high: NaN, axis: [0, 1], kind: "origin" };
}

const family = (science, state) => (state.model === undefined ? "" : science.facts.formulas[state.method]) || "";

// Mean time to leave the box along the unstable axis of the saddle, from the saddle, linearised there.
export function meanExit(science, p, kind, saddle, box) {
  const loop = science.f[`${kind}/exit`];
  if (!loop || !saddle || saddle.kind !== "saddle" || !isInside(box, ...saddle.x)) return NaN;
  const A = wayOut(saddle, box), h = A / CELLS;
  let U = 0, T = 0;
  for (let k = 0; k < CELLS; k++) [U, T] = loop(p, [-saddle.low, (k + 0.5) * h, h, U, T]);
  return T;
}

// Whether the start counts as the saddle for an exit: along the unstable axis within a fifth of the way out.
export function startsAt(saddle, { start, box, spread }) {
  const along = Math.abs((start[0] - saddle.x[0]) * saddle.axis[0] + (start[1] - saddle.x[1]) * saddle.axis[1]);
  return along + spread <= 0.2 * wayOut(saddle, box);
}

// Distance from the saddle to the box along its unstable axis, the shorter way.
export function wayOut(saddle, box) {
  const [ax, ay] = saddle.axis, [x, y] = saddle.x;
  const reach = (at, low, high, slope) =>
    Math.abs(slope) < 1e-9 ? Infinity : Math.min(at - low, high - at) / Math.abs(slope);
  return Math.min(reach(x, box[0], box[1], ax), reach(y, box[2], box[3], ay));
}

// Everything the screen draws as theory, for one state.
export function theoryOf(science, state, points, reference) {
  const p = numbersOf(science, state, reference.x);
  const kind = state.sigma > 0 ? family(science, state) : state.method === "sgd" || state.method === "usam" ? state.method : "";
  const theory = { kind, ticks: { eta: [], rho: [] } };
  const top = Math.max(...points.map((q) => q.high), 0);
  if (kind && top > 0 && science.f[`${kind}/limit`]) {
    theory.limit = science.f[`${kind}/limit`](p, [top])[0];
    theory.ticks.eta.push({ at: theory.limit, text: "stability" });
  }
  if (reference.kind === "saddle" && science.f[`${kind}/critical`]) {
    theory.critical = science.f[`${kind}/critical`](p, [-reference.low])[0];
    theory.ticks.rho.push({ at: theory.critical, text: "saddle attracts" });
  }
  if (kind && state.sigma > 0 && startsAt(reference, state)) theory.exit = meanExit(science, p, kind, reference, state.box);
  if (kind && state.sigma > 0 && reference.kind === "minimum")
    theory.level = science.f[`${kind}/stationary`](p, [reference.low, reference.high])[0] + science.f.value(p, reference.x)[0];
  return theory;
}

// Root mean square distance from the reference on its quadratic, step by step; exact for SGD and USAM on quadratics.
export function spreadCurve(science, state, reference, kind, steps) {
  const loop = science.f[`${kind}/spread`];
  if (!loop || !["saddle", "minimum"].includes(reference.kind)) return [];
  const p = numbersOf(science, state, reference.x), [ax, ay] = reference.axis;
  const dx = state.start[0] - reference.x[0], dy = state.start[1] - reference.x[1];
  let low = (dx * ax + dy * ay) ** 2 + state.spread ** 2, high = (dy * ax - dx * ay) ** 2 + state.spread ** 2;
  const curve = [Math.sqrt(low + high)];
  for (let k = 0; k < steps; k++) {
    [low] = loop(p, [low, reference.low]);
    [high] = loop(p, [high, reference.high]);
    curve.push(Math.sqrt(low + high));
  }
  return curve;
}

// The boundary of the region from which full-batch SAM and DNSAM are drawn to a saddle.
export function captureRegion(science, p, saddle, count = 72) {
  if (!saddle || saddle.kind !== "saddle") return [];
  return Array.from({ length: count + 1 }, (_, k) => {
    const angle = (2 * Math.PI * k) / count;
    return science.f.capture(p, [...saddle.x, Math.cos(angle), Math.sin(angle)]);
  });
}
