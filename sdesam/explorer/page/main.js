// The screen: what it shows follows one state; what its pictures and its clock are is in pictures.js and clock.js.
import { banner, calm } from "./controls.js";
import { Clock } from "./clock.js";
import { ALGORITHM, MODEL, Pair, numbersOf } from "./ensemble.js";
import { fragmentOf, parseFragment, schemaOf } from "./state.js";
import { short } from "./paint.js";
import { PhaseMap } from "./phase.js";
import { curveOf } from "./plots.js";
import { captureRegion, criticalPoints, referenceOf, spreadCurve, theoryOf } from "./theory.js";
import { Panel } from "./panel.js";
import { listen } from "./pointer.js";

const PHASE_KEYS = ["landscape", "method", "sigma", "horizon", "start", "box", "seed"];
const RESTART = ["landscape", "n", "seed", "start", "spread", "quantity", "absorb", "horizon"];

export class Screen extends Clock {
  constructor(root, config, host) {
    super();
    Object.assign(this, { root, config, host, pins: [], check: null, playing: !calm(), slow: false, hover: null, speed: 1, most: Infinity, work: 0, grounds: new Map() });
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
  // The last call wins, whichever science arrives first; what cannot be loaded leaves the screen as it was.
  async open(wanted, { keepPins = false } = {}) {
    const turn = (this.opened = (this.opened || 0) + 1);
    let state = wanted, science = null, trouble = null;
    try {
      science = await this.scienceFor(state);
    } catch (error) {
      trouble = error.message.replace(/\.$/, "");
    }
    if (turn !== this.opened) return;
    if (!science) {
      state = this.state || this.schema.base;
      this.note(`${wanted.landscape} with ${wanted.method} could not be loaded (${trouble}); ${state.landscape} with ${state.method} is shown.`, "warning");
      science = this.science || (await this.scienceFor(state));
    }
    this.science = science;
    if (!science.models[state.method][state.model]) {
      this.note(`model “${state.model}” is not one of ${state.method}; its own SDE is shown.`);
      state = { ...state, model: "theory" };
    }
    if (!keepPins) this.pins = [];
    this.state = state;
    this.check = null;
    this.rethink();
    this.restart();
    this.panel.build();
  }

  // The landscape's science with the method of a state and the one it switches to; what is missing is loaded.
  async scienceFor({ landscape, method, switch_at: at, switch_to: to }) {
    const { sciences } = this.config, held = () => sciences.find((s) => s.landscape === landscape);
    for (const name of at > 0 && to ? [method, to] : [method]) {
      if (held()?.models[name]) continue;
      if (!this.host.load) throw new Error("it is not in this page");
      const loaded = await this.host.load(landscape, name), old = held();
      if (old) sciences[sciences.indexOf(old)] = joined(old, loaded);
      else sciences.push(loaded);
    }
    return held();
  }

  // A change of some entries; what needs another science opens it, what needs a new start restarts.
  set(changes) {
    const next = { ...this.state, ...changes };
    if (next.horizon / next.eta > this.schema.mostSteps) {
      next.horizon = +(next.eta * this.schema.mostSteps).toPrecision(12);
      this.note(`horizon / eta is over ${this.schema.mostSteps} steps; the horizon ${short(next.horizon)} is used.`);
    }
    if (changes.method && this.switched) {
      Object.assign(next, { switch_at: 0, switch_to: "" }); // chosen by hand after the switch: it stays
      this.switched = false;
    }
    if (changes.landscape) {
      this.panel.forget();
      return this.open({ ...next, ...this.schema.startOf(changes.landscape), model: "theory" }).then(() => this.changed());
    }
    if (!this.science.models[next.method]) return this.open({ ...next, model: "theory" }, { keepPins: true }).then(() => this.changed());
    if (!this.science.models[next.method][next.model]) next.model = "theory";
    const anew = next.horizon !== this.state.horizon || Object.keys(changes).some((key) => RESTART.includes(key));
    this.state = next;
    this.check = null;
    if (anew) {
      this.rethink();
      this.restart();
    } else {
      this.rethink();
      this.follow();
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
    if (key !== this.phaseKey || !this.phase.holds(state)) {
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

// Two sciences of one landscape, with other methods, in one.
function joined(a, b) {
  const both = (key) => ({ ...a[key], ...b[key] });
  const facts = { ...a.facts, ...b.facts };
  for (const key of ["noiseless", "formulas", "updates", "orders"]) facts[key] = { ...a.facts[key], ...b.facts[key] };
  return { ...a, f: both("f"), noise: both("noise"), models: both("models"), facts };
}
