// The phase map: the escaped fraction over (eta, rho), filled in while nothing else needs the time.
import { Cloud, cloudOf, numbersOf } from "./ensemble.js";
import { label, line, short } from "./paint.js";
import { contour } from "./contours.js";
import { derived } from "./random.js";
import { meanExit } from "./theory.js";

const COLUMNS = 12, ROWS = 12, PARTICLES = 48, PASSES = 4;
const BORDER = { left: 40, right: 10, top: 26, bottom: 46 };
const MARKS = [-4, -3, -2, -1, 0].flatMap((k) => [1, 2, 5].map((m) => +`${m}e${k}`)), MARK_WIDTH = 38; // pixels
const STOPS = [[13, 39, 84], [66, 84, 111], [122, 126, 125], [180, 167, 111], [250, 226, 84]]; // dark to light, safe for colour-blind eyes

export class PhaseMap {
  constructor(science, state, reference, theory) {
    Object.assign(this, { science, state, reference, theory });
    const top = Math.max(0.6, 1.4 * state.rho, Math.min(2, 1.3 * (theory.critical || 0)));
    const fast = Math.min(2, Math.max(0.2, 2.5 * state.eta)), slow = Math.min(fast / 16, state.eta / 2);
    this.etas = Array.from({ length: COLUMNS }, (_, i) => slow * (fast / slow) ** ((i + 0.5) / COLUMNS));
    this.rhos = Array.from({ length: ROWS }, (_, j) => (top * (j + 0.5)) / ROWS);
    Object.assign(this, { top, slow, fast });
    this.sums = new Float64Array(COLUMNS * ROWS);
    this.counts = new Float64Array(COLUMNS * ROWS);
    this.order = placesByCost(this.etas);
    this.next = 0;
    this.lines = null;
  }

  // Works until the deadline; true when the picture changed.
  advance(deadline) {
    let changed = false;
    if (!this.lines) {
      this.lines = this.theoryLine();
      changed = true;
    }
    while (!this.done && performance.now() < deadline) {
      const [pass, place] = this.order[this.next];
      this.cell ||= new Cell(this.science, this.state, this.reference.x, this.etas[place % COLUMNS], this.rhos[Math.floor(place / COLUMNS)], PARTICLES, derived(this.state.seed, "phase", pass));
      if (!this.cell.advance(deadline)) break;
      this.sums[place] += this.cell.fraction;
      this.counts[place]++;
      this.cell = null;
      this.next++;
      changed = true;
    }
    return changed;
  }

  // Whether a state lies on this map.
  holds({ eta, rho }) {
    return eta > this.slow && eta <= this.fast && rho <= this.top;
  }

  get done() {
    return this.next >= this.order.length;
  }

  // Where theory's mean exit time is the horizon.
  theoryLine() {
    const kind = this.theory.kind;
    if (!kind || !(this.theory.exit > 0)) return [];
    const values = this.rhos.map((rho) =>
      this.etas.map((eta) => {
        const T = meanExit(this.science, numbersOf(this.science, { ...this.state, eta, rho }, this.reference.x), kind, this.reference, this.state.box);
        return T > 0 ? Math.log(Math.min(T, 1e12)) : 30;
      }),
    );
    return contour(values, this.etas.map(Math.log), this.rhos, Math.log(this.state.horizon));
  }

  frame(width, height) {
    const w = width - BORDER.left - BORDER.right, h = height - BORDER.top - BORDER.bottom;
    const span = Math.log(this.fast / this.slow);
    return {
      w, h,
      to: (logEta, rho) => [BORDER.left + (w * (logEta - Math.log(this.slow))) / span, BORDER.top + h * (1 - rho / this.top)],
      from: (px, py) => [Math.exp(Math.log(this.slow) + (span * (px - BORDER.left)) / w), Math.max(0, this.top * (1 - (py - BORDER.top) / h))],
    };
  }

  draw(ctx, width, height, colors) {
    const { w, h, to } = this.frame(width, height), cw = w / COLUMNS, ch = h / ROWS;
    label(ctx, `escaped by t = ${short(this.state.horizon)}`, BORDER.left, 12, { color: colors.ink, font: "600 12.5px system-ui, sans-serif" });
    ctx.fillStyle = colors.line; // not known yet: a colour that is none of the scale
    ctx.fillRect(BORDER.left, BORDER.top, w, h);
    for (let k = 0; k < this.sums.length; k++) {
      if (!this.counts[k]) continue;
      ctx.fillStyle = shade(this.sums[k] / this.counts[k]);
      ctx.fillRect(BORDER.left + (k % COLUMNS) * cw, BORDER.top + h - (Math.floor(k / COLUMNS) + 1) * ch, cw + 0.6, ch + 0.6);
    }
    for (const [a, b, c, d] of this.lines || []) line(ctx, [to(a, b), to(c, d)], { color: "#fff", width: 2.2 });
    if (this.theory.critical < this.top) line(ctx, [to(Math.log(this.slow), this.theory.critical), to(Math.log(this.fast), this.theory.critical)], { color: "#fff", dash: [5, 4], width: 1.6 });
    this.drawAxes(ctx, width, height, colors);
    const [px, py] = to(Math.log(this.state.eta), this.state.rho);
    ctx.strokeStyle = "#fff";
    ctx.lineWidth = 4;
    ctx.beginPath();
    ctx.arc(px, py, 6, 0, 7);
    ctx.stroke();
    ctx.strokeStyle = "#111";
    ctx.lineWidth = 2;
    ctx.stroke();
  }

  drawAxes(ctx, width, height, colors) {
    const { h, w, to } = this.frame(width, height);
    let last = -Infinity;
    for (const eta of MARKS.filter((eta) => eta > this.slow && eta < this.fast)) {
      const [at] = to(Math.log(eta), 0);
      if (at - last < MARK_WIDTH) continue;
      label(ctx, short(eta), (last = at), BORDER.top + h + 11, { color: colors.muted, align: "center" });
    }
    for (let k = 0; k <= 4; k++) label(ctx, short((this.top * k) / 4, 2), BORDER.left - 5, to(0, (this.top * k) / 4)[1], { color: colors.muted, align: "right" });
    label(ctx, "η", BORDER.left + w + 2, BORDER.top + h + 11, { color: colors.muted });
    label(ctx, "ρ", BORDER.left - 14, 12, { color: colors.muted });
    const y = height - 12, x = BORDER.left + 4;
    for (let k = 0; k < 40; k++) {
      ctx.fillStyle = shade(k / 39);
      ctx.fillRect(x + 16 + k * 1.6, y - 5, 1.8, 9);
    }
    label(ctx, "0", x, y, { color: colors.muted });
    label(ctx, "1", x + 86, y, { color: colors.muted });
    label(ctx, this.lines?.length ? width < 250 ? "– theory" : "line: theory" : this.done ? "" : "filling …", x + 102, y, { color: colors.muted });
  }
}

// [pass, cell] in the order of their cost: a cell takes horizon / eta steps, and slow columns must not keep fast ones waiting.
function placesByCost(etas) {
  const count = COLUMNS * ROWS, all = Array.from({ length: PASSES * count }, (_, k) => [Math.floor(k / count), (k * 89) % count]);
  const cost = ([pass, place]) => (pass + 1) / etas[place % COLUMNS];
  return all.sort((a, b) => cost(a) - cost(b));
}

// The escaped fraction of a small cloud by the horizon, for the phase map; `advance` runs until `deadline`.
class Cell {
  constructor(science, state, reference, eta, rho, n, seed) {
    this.state = { ...state, eta, rho, n, substeps: 1, spread: 0 };
    this.p = numbersOf(science, this.state, reference);
    this.loop = science.f[state.method];
    this.cloud = new Cloud(n, this.state, seed, cloudOf(this.state));
    this.steps = Math.max(1, Math.round(state.horizon / eta));
    this.k = 0;
  }

  advance(deadline) {
    const c = this.cloud;
    while (this.k < this.steps && c.escaped + c.diverged < c.n) {
      c.keep();
      c.streams.normals(2, c.z, c.on);
      this.loop(c.n, this.p, c.x, c.z, c.on);
      c.look(this.state.box);
      this.k++;
      if ((this.k & 15) === 0 && performance.now() > deadline) return false;
    }
    return true;
  }

  get fraction() {
    return (this.cloud.escaped + this.cloud.diverged) / this.cloud.n;
  }
}

function shade(f) {
  const s = Math.min(0.9999, Math.max(0, f)) * (STOPS.length - 1), k = Math.floor(s), u = s - k;
  return `rgb(${STOPS[k].map((v, c) => Math.round(v + u * (STOPS[k + 1][c] - v))).join(",")})`;
}
