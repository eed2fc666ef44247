// The screen: what it shows follows one state; what its pictures and its clock are is in pictures.js and clock.js.
import { banner } from "./controls.js";
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
