// The screen: controls, two maps, three plots, a phase map, and one loop that keeps them moving.
import { banner, el } from "./controls.js";
import { ALGORITHM, MODEL, Pair, numbersOf } from "./ensemble.js";
import { fragmentOf, parseFragment } from "./state.js";
import { arrow, drawCloud, drawGround, drawHandles, drawHover, frameOf, reliefOf } from "./maps.js";
import { short, surfaceOf } from "./paint.js";
import { PhaseMap } from "./phase.js";
import { curveOf, drawPlot, plotsOf } from "./plots.js";
import { captureRegion, criticalPoints, referenceOf, spreadCurve, theoryOf } from "./theory.js";
import { Panel } from "./panel.js";
import { listen } from "./pointer.js";

const BUDGET = 8; // ms of a frame for simulating
const HEAVY = 33; // ms of work a frame beyond which fewer particles are drawn
const RUN_SECONDS = 14; // to the horizon at speed 1
const PLOT_EVERY = 50; // ms between pictures of the plots and of the status line
const SLOW_SECONDS = 1.6; // one step in slow motion
const PHASE_KEYS = ["landscape", "method", "sigma", "horizon", "start", "box", "seed"];
const RESTART = ["landscape", "n", "seed", "start", "spread", "quantity", "absorb", "horizon"];

export class Screen {
  constructor(root, config, host) {
    Object.assign(this, { root, config, host, pins: [], check: null, playing: true, slow: false, hover: null, speed: 1, most: Infinity, work: 0, grounds: new Map() });
    this.schema = schemaOf(config);
    const { state, notes } = parseFragment(host.fragment || "", this.schema);
    this.panel = new Panel(this);
    notes.forEach((text) => this.note(text));
    this.ready = this.open(state);
    listen(this);
    this.frame = this.frame.bind(this);
    this.request();
  }

  note(text, kind = "note", action = null) {
    banner(this.panel.banners, text, kind, action);
  }

  // ---- states
  async open(state, { keepPins = false } = {}) {
    try {
      this.science = await this.scienceFor(state.landscape, state.method);
    } catch (error) {
      this.note(`${state.landscape} with ${state.method} could not be loaded (${error.message}); the page goes on.`, "warning");
      if (!this.science) return;
      state = { ...this.state };
    }
    if (!keepPins) this.pins = [];
    this.state = state;
    this.check = null;
    this.rethink();
    this.restart();
    this.panel.build();
  }

  async scienceFor(landscape, method) {
    const held = this.config.sciences.find((s) => s.landscape === landscape && s.models[method]);
    if (held) return held;
    if (!this.host.load) throw new Error("this page holds other methods only");
    const loaded = await this.host.load(landscape, method);
    this.config.sciences.push(loaded);
    return loaded;
  }

  // A change of some entries; what needs another science opens it, what needs a new start restarts.
  set(changes) {
    const next = { ...this.state, ...changes };
    if (changes.landscape) return this.open({ ...next, ...this.schema.startOf(changes.landscape), landscape: changes.landscape });
    const known = this.science.models[next.method];
    if (!known) return this.open(next, { keepPins: true });
    if (!this.science.models[next.method][next.model]) next.model = "theory";
    this.state = next;
    this.check = null;
    if (Object.keys(changes).some((key) => RESTART.includes(key))) {
      this.rethink();
      this.restart();
    } else {
      this.rethink();
      this.pair.apply(this.state);
    }
    this.panel.show();
    this.changed();
  }

  get view() {
    return Math.max(this.science.facts.view, ...this.state.box.map((v) => 1.15 * Math.abs(v)), ...this.state.start.map((v) => 1.15 * Math.abs(v)));
  }

  // Everything derived from the state without simulating.
  rethink() {
    const { science, state } = this, p = numbersOf(science, state, [0, 0]);
    const scene = [state.landscape, this.view, ...Object.values(state.parameters)].join();
    if (scene !== this.scene) {
      this.scene = scene;
      this.points = criticalPoints(science, p, this.view);
      this.reliefs = new Map();
    }
    this.reference = referenceOf(this.points, state.start);
    this.p = numbersOf(science, state, this.reference.x);
    this.theory = theoryOf(science, state, this.points, this.reference);
    const attracts = ["sam", "dnsam", "dnsam-full-numerator"].includes(state.method);
    this.region = attracts ? captureRegion(science, this.p, this.reference) : [];
    const kind = state.sigma > 0 ? this.theory.kind : "";
    const quadratic = kind && ["saddle", "rotated-saddle", "quadratic"].includes(state.landscape);
    this.spread = quadratic ? spreadCurve(science, state, this.reference, kind, Math.min(4000, Math.ceil(state.horizon / state.eta))) : [];
    const key = JSON.stringify([PHASE_KEYS.map((k) => state[k]), state.parameters]);
    if (key !== this.phaseKey || !(state.eta > this.phase.slow && state.eta < this.phase.fast && state.rho < this.phase.top)) {
      this.phaseKey = key;
      this.phase = new PhaseMap(science, state, this.reference, this.theory);
    } else Object.assign(this.phase, { state: { ...this.phase.state, eta: state.eta, rho: state.rho } });
    this.dirty = true;
  }

  restart() {
    this.pair = new Pair(this.science, this.state, this.reference.x);
    Object.assign(this, { owed: 0, ascent: null, switched: false, told: new Set(), dirty: true });
  }

  changed() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.host.save?.(fragmentOf(this.state, this.schema), this.state), 150);
  }

  // ---- time
  request() {
    this.ticket = requestAnimationFrame(this.frame);
  }

  stop() {
    cancelAnimationFrame(this.ticket);
    this.stopped = true;
  }

  frame(now) {
    if (this.stopped) return;
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000), began = performance.now();
    this.last = now;
    if (this.pair && this.root.isConnected) {
      if (this.playing && !document.hidden) this.move(passed, began);
      if (this.phase.advance(performance.now() + 2)) this.phaseDirty = true;
      if (this.dirty || this.hover || this.slow) this.draw();
      else if (this.phaseDirty) this.drawPhase();
      this.measure(performance.now() - began);
    }
    this.frames = (this.frames || 0) + 1;
    this.request();
  }

  get finished() {
    return this.pair.t >= this.state.horizon * (1 - 1e-9);
  }

  move(passed, began) {
    if (this.slow) return this.slowly(passed);
    if (this.finished) return;
    this.owed += (passed * this.speed * this.state.horizon) / RUN_SECONDS;
    let steps = 0;
    while (this.owed >= this.state.eta && !this.finished && (steps === 0 || performance.now() - began < BUDGET)) {
      this.step();
      this.owed -= this.state.eta;
      steps++;
    }
    this.owed = Math.min(this.owed, this.state.eta * 4);
    if (!this.finished) return;
    this.play(false);
    this.summary(true);
  }

  // One step of both sides.
  step() {
    if (this.finished) return;
    const { switch_at: at, switch_to: to } = this.state;
    if (at > 0 && to && !this.switched && this.pair.t >= at - 1e-9) this.turn(to);
    this.pair.step();
    this.dirty = true;
    this.tell();
  }

  // The method becomes another at a time that the state names; the address keeps the first one.
  turn(to) {
    this.switched = true;
    this.pair.apply({ ...this.state, method: this.science.models[to] ? to : this.state.method, model: "theory" });
  }

  // Slow motion: the ascent of some particles first, then the step itself.
  slowly(passed) {
    if (this.finished) return;
    this.phaseOfStep = (this.phaseOfStep || 0) + passed / SLOW_SECONDS;
    if (!this.ascent) {
      const cloud = this.pair.sides[ALGORITHM], before = Float64Array.from(cloud.x), on = Uint8Array.from(cloud.on);
      const method = this.pair.state.method;
      this.step();
      const z = this.pair.used, n = cloud.n, ascent = this.science.f[`${method}/ascent`];
      const chosen = Array.from({ length: n }, (_, i) => i).filter((i) => on[i]).slice(0, 40);
      this.ascent = chosen.map((i) => ({ from: [before[i], before[n + i]], up: ascent(this.pair.p, [before[i], before[n + i], z[i], z[n + i]]), to: [cloud.x[i], cloud.x[n + i]] }));
    }
    if (this.phaseOfStep >= 1) Object.assign(this, { phaseOfStep: 0, ascent: null });
  }

  measure(work) {
    this.work = 0.95 * this.work + 0.05 * work;
    if ((this.frames || 0) % 60) return;
    this.heavy = this.work > HEAVY ? (this.heavy || 0) + 1 : 0;
    if (this.heavy < 3) return;
    this.heavy = 0;
    if (this.most > 1500) {
      this.most = 1500;
      this.note(`A frame takes ${Math.round(this.work)} ms: 1,500 of ${this.state.n} particles are drawn, all are simulated.`);
    } else if (this.state.n > 1000) this.note(`This is heavy (${Math.round(this.work)} ms a frame).`, "note", ["Use 1,000 particles", () => this.set({ n: 1000 })]);
  }

  tell() {
    const diverged = this.pair.sides[ALGORITHM].diverged + this.pair.sides[MODEL].diverged;
    if (diverged && !this.told.has("diverged")) {
      this.told.add("diverged");
      this.note("Particles diverged: they are frozen and left out of the means.", "warning");
    }
  }

  // ---- pictures
  colors() {
    const style = getComputedStyle(this.root), of = (name) => style.getPropertyValue(`--${name}`).trim();
    return Object.fromEntries(["algorithm", "model", "theory", "start", "ink", "muted", "line", "grid", "ground", "paper", "contour", "pin", "check"].map((name) => [name, of(name)]));
  }

  drawMap(ctx, width, height, name, colors) {
    const frame = frameOf(width, height, this.view);
    this.drawGround(ctx, frame, colors);
    drawCloud(ctx, frame, this.pair.sides[name], name, colors, this.most);
    drawHandles(ctx, frame, this.state, colors);
    if (name === ALGORITHM && this.slow && this.ascent) this.drawHalfSteps(ctx, frame, colors);
    if (this.hover && this.hover.name === name) drawHover(ctx, frame, this.science, this.pair.p, this.pair.state.method, this.hover.at, colors);
    return frame;
  }

  // What stands still is drawn once into a picture of its own, until a number, a size or a colour changes.
  drawGround(ctx, frame, colors) {
    const { width, height } = frame, key = `${width}x${height}`;
    if (!this.reliefs.has(key)) this.reliefs.set(key, reliefOf(this.science, this.p, frame.half));
    const parts = { relief: this.reliefs.get(key), points: this.points, region: this.region, colors };
    if (!ctx.drawImage || !ctx.canvas.isConnected) return drawGround(ctx, frame, parts);
    const ratio = ctx.canvas.width / width, place = this.grounds.get(ctx.canvas);
    const seen = [this.scene, key, ratio, colors.paper, this.reference.x, this.region.length && this.state.rho].join();
    if (place?.seen === seen) return ctx.drawImage(place.picture, 0, 0, width, height);
    const picture = document.createElement("canvas");
    Object.assign(picture, { width: ctx.canvas.width, height: ctx.canvas.height });
    const still = picture.getContext("2d");
    still.scale(ratio, ratio);
    drawGround(still, frame, parts);
    this.grounds.set(ctx.canvas, { seen, picture });
    ctx.drawImage(picture, 0, 0, width, height);
  }

  drawHalfSteps(ctx, frame, colors) {
    const s = this.phaseOfStep, part = (a, b, u) => frame.to(a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1]));
    for (const { from, up, to } of this.ascent) {
      arrow(ctx, ...frame.to(...from), ...part(from, up, Math.min(1, 2 * s)), colors.theory, 1.4);
      if (s > 0.5) arrow(ctx, ...frame.to(...from), ...part(from, to, 2 * s - 1), colors.ink, 1.8);
    }
  }

  draw() {
    const colors = this.colors(), { canvases } = this.panel;
    this.frameOfMap = {};
    for (const name of [ALGORITHM, MODEL]) {
      const { ctx, width, height } = surfaceOf(canvases[name]);
      this.frameOfMap[name] = this.drawMap(ctx, width, height, name, colors);
    }
    const now = performance.now();
    if (now - (this.plotted || 0) > PLOT_EVERY || !this.playing || this.finished) {
      this.plotted = now;
      this.drawPlots(colors);
    }
    this.dirty = false;
    this.painted = (this.painted || 0) + 1;
    this.firstPicture ??= performance.now(); // ms since the page was asked for
  }

  drawPlots(colors) {
    const specs = plotsOf(this.pair, { ...this.plotParts(), colors });
    ["quantity", "survival", "loss"].forEach((key, k) => {
      const { ctx, width, height } = surfaceOf(this.panel.canvases[key]);
      drawPlot(ctx, width, height, specs[k], colors);
    });
    this.drawPhase(colors);
    this.panel.status();
  }

  drawPhase(colors = this.colors()) {
    const { ctx, width, height } = surfaceOf(this.panel.canvases.phase);
    this.phase.draw(ctx, width, height, colors);
    this.phaseDirty = false;
  }

  plotParts() {
    const gone = this.state.absorb ? this.pair.series.t.findIndex((_, k) => this.pair.series[ALGORITHM].inside[k] < 0.99) : -1;
    const last = gone < 0 ? Infinity : gone;
    const stride = Math.max(1, Math.ceil(this.spread.length / 400));
    const spread = this.spread.map((v, k) => [k * this.state.eta, v]).filter(([, v], k) => k % stride === 0 && k <= last && v < 1e3);
    return { state: this.state, theory: this.theory, spread, reference: this.reference, pins: this.pins, check: this.check };
  }

  // ---- acts
  pin() {
    const n = this.state.n, take = (what) => ({ [ALGORITHM]: curveOf(this.pair.series, ALGORITHM, what, n), [MODEL]: curveOf(this.pair.series, MODEL, what, n) });
    this.pins = this.pins.length ? [] : [{ quantity: take("quantity"), inside: take("inside"), loss: take("loss") }];
    this.dirty = true;
    this.panel.show();
  }

  play(on = !this.playing) {
    this.playing = on;
    if (on && this.finished) this.restart();
    this.panel.show();
  }

  async checkWithToolkit() {
    this.panel.checking(true);
    try {
      const asked = this.state, found = await this.host.check(asked);
      if (asked !== this.state) return;
      this.check = Object.fromEntries(["quantity", "inside", "loss"].map((key) => [key, found[key]]));
      this.note(found.summary);
      this.dirty = true;
    } catch (error) {
      this.note(`The toolkit did not answer: ${error.message} The page goes on without it.`, "warning");
    } finally {
      this.panel.checking(false);
    }
  }

  summary(finished) {
    const v = this.pair.verdict();
    this.panel.say(`${finished ? "Finished. " : ""}t = ${short(this.pair.t)}: algorithm ${short(v.a.mean)}, SDE ${short(v.b.mean)}; ${this.panel.word(v)}.`);
  }
}

// The schema of states with what depends on the page: landscapes, methods, defaults.
function schemaOf(config) {
  const { schema, landscapes } = config, base = { ...schema.defaults, ...config.state };
  const parametersOf = (name) => Object.fromEntries(Object.entries(landscapes[name].parameters).map(([k, [, low, high]]) => [k, [low, high, false]]));
  const startOf = (name) => {
    const { start, view, parameters } = landscapes[name], half = Math.max(0.5, view / 2);
    return { landscape: name, start: [...start], box: [start[0] - half, start[0] + half, start[1] - half, start[1] + half], parameters: Object.fromEntries(Object.entries(parameters).map(([k, v]) => [k, v[0]])) };
  };
  const parameters = { ...startOf(base.landscape).parameters, ...base.parameters };
  return { ...schema, landscapes, parametersOf, startOf, methods: config.methods, base: { ...base, parameters } };
}
