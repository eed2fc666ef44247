// Two clouds on one clock: the algorithm and its SDE, absorbed at the box, with means and standard errors.
import { Streams, derived } from "./random.js";

export const ALGORITHM = "algorithm", MODEL = "SDE";
const FARTHEST = 1e6; // beyond, a particle has diverged
const INSIDE = 0, ESCAPED = 1, DIVERGED = 2;

// The run-time numbers of a science, in its order.
export function numbersOf(science, state, reference) {
  const known = {
    eta: state.eta, rho: state.rho, sigma: state.sigma, h: state.eta / state.substeps,
    reference_x: reference[0], reference_y: reference[1], ...state.parameters,
  };
  return Float64Array.from(science.numbers, (name) => known[name]);
}

export const isInside = (box, x, y) => x > box[0] && x < box[1] && y > box[2] && y < box[3];

// Which loops run, and how many normals each eats.  Without noise SAM's SDE divides by none: it is DNSAM's.
export function kernelsOf(science, state) {
  const method = state.method;
  const quiet = state.sigma === 0 ? science.facts.noiseless[method] : method;
  const models = science.models[quiet] || science.models[method];
  const model = models[state.model] || models.theory;
  const integrator = `${model}/${state.integrator}`;
  const chosen = science.f[integrator] ? integrator : `${model}/euler`;
  return { algorithm: science.f[method], model: science.f[chosen], noise: science.noise[model], name: chosen };
}

export class Cloud {
  constructor(n, state, seed, starts) {
    this.n = n;
    this.x = Float64Array.from(starts);
    this.before = Float64Array.from(starts);
    this.on = new Uint8Array(n).fill(1);
    this.status = new Uint8Array(n);
    this.streams = new Streams(seed, n);
    this.z = new Float64Array(2 * n);
    this.y = new Float64Array(n);
    this.escaped = 0;
    this.diverged = 0;
  }

  room(count) {
    if (this.z.length < count * this.n) this.z = new Float64Array(count * this.n);
    return this.z;
  }

  keep() {
    this.before.set(this.x);
  }

  // After a step of the clock: freeze what diverged where it last was, absorb what left the box.
  look(box) {
    const { x, before, on, n } = this;
    for (let i = 0; i < n; i++) {
      if (!on[i]) continue;
      if (!(Math.abs(x[i]) < FARTHEST && Math.abs(x[n + i]) < FARTHEST)) {
        x[i] = before[i];
        x[n + i] = before[n + i];
        this.stop(i, DIVERGED);
      } else if (box && !isInside(box, x[i], x[n + i])) this.stop(i, ESCAPED);
    }
  }

  stop(i, why) {
    this.on[i] = 0;
    this.status[i] = why;
    if (why === ESCAPED) this.escaped++;
    else this.diverged++;
  }
}

export class Pair {
  constructor(science, state, reference) {
    this.science = science;
    this.reference = reference;
    this.start(state);
  }

  start(state) {
    const n = state.n, starts = cloudOf(state);
    this.sides = { [ALGORITHM]: new Cloud(n, state, state.seed, starts), [MODEL]: new Cloud(n, state, derived(state.seed, MODEL), starts) };
    this.k = 0;
    this.t = 0;
    this.sum = new Float64Array(2 * n);
    this.series = { t: [], quantity: state.quantity, [ALGORITHM]: emptySeries(), [MODEL]: emptySeries(), difference: [] };
    this.apply(state);
    if (state.absorb) for (const side of Object.values(this.sides)) side.look(state.box);
    this.record();
  }

  // Numbers may change while the clouds move.
  apply(state) {
    this.state = state;
    this.p = numbersOf(this.science, state, this.reference);
    this.kernels = kernelsOf(this.science, state);
    if (this.series.quantity !== state.quantity) this.series.quantity = state.quantity;
  }

  get box() {
    return this.state.absorb ? this.state.box : null;
  }

  // One step of the algorithm and `substeps` of the SDE.  Shared noise: the algorithm's z is the sum of the increments.
  step() {
    const { state, p, kernels } = this, a = this.sides[ALGORITHM], b = this.sides[MODEL];
    a.keep();
    b.keep();
    const r = state.substeps, n = state.n;
    if (state.shared) this.sum.fill(0);
    const z = b.room(kernels.noise);
    for (let j = 0; j < r; j++) {
      b.streams.normals(kernels.noise, z, state.shared ? this.all() : b.on);
      if (state.shared) for (let i = 0; i < 2 * n; i++) this.sum[i] += z[i];
      kernels.model(n, p, b.x, z, b.on);
    }
    if (state.shared) for (let i = 0; i < 2 * n; i++) this.sum[i] /= Math.sqrt(r);
    else a.streams.normals(2, a.room(2), a.on);
    this.used = state.shared ? this.sum : a.z;
    kernels.algorithm(n, p, a.x, this.used, a.on);
    a.look(this.box);
    b.look(this.box);
    this.k++;
    this.t += state.eta;
    this.record();
  }

  all() {
    if (!this.ones || this.ones.length !== this.state.n) this.ones = new Uint8Array(this.state.n).fill(1);
    return this.ones;
  }

  record() {
    const { series, state } = this;
    series.t.push(this.t);
    for (const name of [ALGORITHM, MODEL]) {
      const side = this.sides[name], into = series[name];
      for (const what of [state.quantity, "loss"]) {
        this.science.f[what](side.n, this.p, side.x, side.y);
        const found = mean(side.y, side.status, null);
        if (what === "loss") into.loss.push(found);
        else into.quantity.push(what === "distance" ? rooted(found) : found);
        if (what === state.quantity && name === ALGORITHM) this.first = Float64Array.from(side.y);
        if (what === state.quantity && name === MODEL && state.shared) this.pairs(side);
      }
      const counted = side.n - side.diverged;
      into.inside.push(counted ? 1 - side.escaped / counted : NaN);
    }
  }

  // Shared noise: the difference particle by particle, where neither diverged.
  pairs(side) {
    const rms = this.series[ALGORITHM].quantity.at(-1).mean + this.series[MODEL].quantity.at(-1).mean;
    const other = this.sides[ALGORITHM].status;
    for (let i = 0; i < side.n; i++) side.y[i] = this.first[i] - side.y[i];
    const found = mean(side.y, side.status, other), scale = this.state.quantity === "distance" ? rms || 1 : 1;
    this.paired = { ...found, mean: found.mean / scale, error: found.error / scale };
  }

  // What the status line says about the chosen quantity now.
  verdict() {
    const a = this.series[ALGORITHM].quantity.at(-1), b = this.series[MODEL].quantity.at(-1);
    const shared = this.state.shared && this.paired;
    const gap = shared ? this.paired.mean : a.mean - b.mean;
    const error = shared ? this.paired.error : Math.hypot(a.error, b.error);
    const z = Math.abs(gap) < 1e-12 ? 0 : error > 0 ? Math.abs(gap) / error : Infinity; // below: rounding
    return { a, b, gap, error, z, heavy: a.heavy || b.heavy, quiet: this.state.sigma === 0 && this.state.spread === 0 };
  }
}

const emptySeries = () => ({ quantity: [], loss: [], inside: [] });

// Starts: a point, or a Gaussian cloud about it from streams of its own.
export function cloudOf(state) {
  const n = state.n, x = new Float64Array(2 * n);
  x.fill(state.start[0], 0, n);
  x.fill(state.start[1], n);
  if (state.spread > 0) {
    const z = new Float64Array(2 * n);
    new Streams(derived(state.seed, "start"), n).normals(2, z, new Uint8Array(n).fill(1));
    for (let i = 0; i < 2 * n; i++) x[i] += state.spread * z[i];
  }
  return x;
}

// Mean, standard error and tail of what did not diverge; one particle with too much of the variance decides nothing.
export function mean(y, status, other) {
  let count = 0, sum = 0;
  for (let i = 0; i < y.length; i++)
    if (status[i] !== DIVERGED && !(other && other[i] === DIVERGED)) {
      count++;
      sum += y[i];
    }
  const m = sum / count;
  let square = 0, largest = 0;
  for (let i = 0; i < y.length; i++)
    if (status[i] !== DIVERGED && !(other && other[i] === DIVERGED)) {
      const d = (y[i] - m) ** 2;
      square += d;
      if (d > largest) largest = d;
    }
  const share = Math.min(0.5, Math.max(0.05, (3 * Math.log(Math.max(count, 2)) ** 2) / Math.max(count, 2)));
  return { mean: m, error: Math.sqrt(square / Math.max(count - 1, 1) / count), n: count, heavy: square > 0 && largest > share * square };
}

// From the mean of squares to its root.
const rooted = (e) => {
  const root = Math.sqrt(e.mean);
  return { ...e, mean: root, error: root > 0 ? e.error / (2 * root) : 0 };
};
