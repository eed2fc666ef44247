// Builds the page's elements and keeps them true to the state.
import { POSITIONS, banner, button, calm, choice, el, several, slider, toggle } from "./controls.js";
import { ALGORITHM, MODEL } from "./ensemble.js";
import { Outlet } from "./outlet.js";
import { meanText, short } from "./paint.js";
import { countsOf } from "./plots.js";
import { isBox, warningsOf } from "./state.js";
import { followTheme } from "./theme.js";

const CONSISTENT = 4; // standard errors
const MODELS = { theory: "its SDE", "as-printed": "SDE, printed covariance", sgd: "SGD’s SDE" };
const QUANTITIES = { distance: "distance", sharpness: "sharpness", "x[0]": "x[0]", "x[1]": "x[1]" };
const EDGES = ["left", "right", "bottom", "top"];
const SUMMARY_EVERY = 4000; // ms between spoken summaries
const HELP = [
  ["Click a map", "start there"], ["Drag a map", "start as a Gaussian cloud"], ["Drag a handle of the box", "where particles leave; “exit box” beside the maps has the same in numbers"], ["Arrow keys in a number of the box", "move that edge, with shift further"], ["Hover a map", "descent arrow, and the ascent of length rho"],
  ["Arrow keys on a map", "move the start, with shift further"], ["Click the phase map", "go to that (η, ρ)"], ["space", "play or pause"], [".", "one step"], ["r", "restart"], ["p", "pin the curves, or let them go"], ["s", "copy the link"], ["?", "this help"],
];

export class Panel extends Outlet {
  constructor(screen) {
    super();
    this.screen = screen;
    this.id = `sdesam-${Math.floor(performance.now() * 1000).toString(36)}`;
    this.banners = el("div", { class: "banners" });
    this.canvases = {};
    this.live = el("div", { class: "live", "aria-live": "polite" });
    this.controls = el("div", { class: "controls", role: "group", "aria-label": "Numbers" });
    this.head = el("header", { class: "head" });
    this.foot = el("footer", { class: "status" });
    const cells = [
      this.cell(ALGORITHM, "Map of the algorithm: click or arrow keys set the start"), this.cell(MODEL, "Map of the SDE: click or arrow keys set the start"),
      this.cell("phase", "Phase map: escaped fraction over eta and rho; click to go there"),
      this.cell("quantity", "Curve of the chosen quantity over time"), this.cell("survival", "Fraction still inside the box over time"), this.cell("loss", "Mean loss over time"),
    ];
    const body = el("div", { class: "body" }, [this.controls, el("div", { class: "maps" }, cells.slice(0, 2)), el("div", { class: "plots" }, cells.slice(3)), cells[2]]);
    screen.root.classList.add("sdesam");
    screen.root.replaceChildren(el("div", { class: "page", tabindex: "-1" }, [this.head, this.banners, body, this.foot, this.live]));
    this.keys();
    new ResizeObserver(() => (screen.dirty = true)).observe(screen.root);
    new IntersectionObserver((seen) => (screen.unseen = !seen.at(-1).isIntersecting)).observe(screen.root); // scrolled away: no work
    this.leave = followTheme(screen.root, () => (screen.dirty = true));
  }

  cell(name, words) {
    const canvas = el("canvas", { role: "img", "aria-label": words, tabindex: name === ALGORITHM || name === MODEL ? "0" : "-1" });
    this.canvases[name] = canvas;
    const title = el("figcaption", { class: `title ${name === ALGORITHM ? "algorithm" : name === MODEL ? "model" : ""}` });
    (this.titles ||= {})[name] = title;
    return el("figure", { class: `cell ${name}` }, [title, canvas]);
  }

  keys() {
    const act = { " ": () => this.screen.play(), ".": () => (this.screen.play(false), this.screen.step()), r: () => this.screen.restart(), p: () => this.screen.pin(), s: () => this.share(), "?": () => this.help() };
    this.screen.root.addEventListener("keydown", (event) => {
      const typing = event.target.matches("input[type=text], select, textarea"), pressed = event.key === " " && event.target.matches("button, input, summary");
      event.stopPropagation();
      if (event.target.closest("dialog")) return;
      if (typing || pressed || event.ctrlKey || event.metaKey || event.altKey || !act[event.key]) return;
      event.preventDefault();
      act[event.key]();
    });
  }

  // All controls anew: after a change of landscape or method.
  build() {
    const { screen } = this, { state, schema, science, config } = screen, id = this.id;
    const set = (name) => (value) => screen.set({ [name]: value });
    const names = Object.keys(config.landscapes), methods = screen.host.load ? config.methods : config.methods.filter((m) => config.sciences.some((s) => s.landscape === state.landscape && s.models[m]));
    this.shown = {
      landscape: choice({ text: "Landscape", options: (screen.host.load ? names : [...new Set(config.sciences.map((s) => s.landscape))]).map((n) => [n, n]), value: state.landscape, set: set("landscape") }),
      method: choice({ text: "Method", options: methods.map((m) => [m, config.titles[m]]), value: state.method, set: set("method") }),
      model: choice({ text: "Beside it", options: Object.keys(science.models[state.method]).map((m) => [m, MODELS[m]]), value: state.model, set: set("model") }),
      integrator: choice({ text: "Scheme", options: [["srk", "small-noise RK"], ["euler", "Euler-Maruyama"]], value: state.integrator, set: set("integrator") }),
      quantity: choice({ text: "First plot", options: Object.entries(QUANTITIES), value: state.quantity, set: set("quantity") }),
      shared: toggle({ text: "shared noise", value: state.shared, set: set("shared") }),
      absorb: toggle({ text: "absorb at the box", value: state.absorb, set: set("absorb") }),
      box: several({ text: "exit box", names: EDGES, words: "left < right, bottom < top, within ±20", value: state.box, good: isBox, set: set("box"), size: () => 2 * science.facts.view }),
    };
    const line = (name, text, log, reach) => (this.shown[name] = slider({ name, text, range: schema.ranges[name], reach, log, value: state[name], set: set(name), id }));
    const numbers = [line("eta", "η learning rate", true), line("rho", "ρ ascent radius", true), line("sigma", "σ gradient noise", true)];
    const parameters = Object.entries(schema.parametersOf(state.landscape)).map(([name, range]) => (this.shown[`p.${name}`] = slider({ name: `p.${name}`, text: name, range, log: range[0] > 0, value: state.parameters[name], set: (v) => screen.set({ parameters: { ...screen.state.parameters, [name]: v } }), id })));
    const others = [line("substeps", "SDE substeps", true), line("n", "n particles", true), line("horizon", "horizon T", true), line("seed", "seed", false, [0, POSITIONS, true])];
    this.playButton = button("Pause", () => screen.play(), { class: "main" });
    this.pinButton = button("Pin", () => screen.pin(), { "aria-pressed": "false" });
    const run = el("div", { class: "buttons" }, [this.playButton, button("Step", () => (screen.play(false), screen.step())), button("Restart", () => screen.restart(), { title: "Restart (r)" }), this.pinButton]);
    const slow = toggle({ text: "slow motion: SAM’s half-steps", value: screen.slow, set: (on) => Object.assign(screen, { slow: on, ascent: null, dirty: true }) });
    const fold = el("details", { class: "more" }, [el("summary", {}, "Particles, scheme, noise, box"), ...others.map((s) => s.node), this.shown.integrator.node, this.shown.shared.node, this.shown.absorb.node, this.shown.box.node, slow.node]);
    fold.open = this.controls.querySelector("details")?.open ?? (screen.root.getBoundingClientRect().width >= 1100 && innerHeight >= 900);
    this.notes = el("div", { class: "notes" });
    this.controls.replaceChildren(run, ...[...numbers, ...parameters].map((s) => s.node), this.shown.model.node, this.shown.quantity.node, fold, this.notes);
    this.buildHead();
    this.buildStatus();
    this.show();
  }

  buildHead() {
    const { config, host } = this.screen, held = (p) => host.load || config.sciences.some((s) => s.landscape === p.state.landscape && s.models[p.state.method]);
    const presets = config.presets.filter(held);
    this.preset = choice({ text: "Story", options: [["", "choose a story …"], ...presets.map((p) => [p.name, p.title])], value: this.storyName || "", set: (name) => this.story(presets.find((p) => p.name === name)) });
    const menu = el("details", { class: "menu" }, [el("summary", {}, "Export"), el("div", { class: "items", role: "group" }, this.exports().map(([text, act]) => button(text, () => (menu.removeAttribute("open"), act()))))]);
    menu.addEventListener("keydown", (event) => event.key === "Escape" && (menu.removeAttribute("open"), menu.firstChild.focus()));
    this.head.replaceChildren(
      el("strong", { class: "brand" }, "sdesam"), this.shown.landscape.node, this.shown.method.node, ...(presets.length ? [this.preset.node] : []),
      el("span", { class: "grow" }), button("?", () => this.help(), { "aria-label": "Help", title: "Keys and gestures (?)" }), button("Share", () => this.share(), { title: "Copy the link (s)" }), menu,
    );
    const opening = this.screen.host.fragment ? null : presets.find((p) => p.name === config.story);
    this.caption ||= el("p", { class: "story" }, opening?.sentence ?? "");
    if (opening && this.storyName === undefined) this.preset.show((this.storyName = opening.name));
    this.head.append(this.caption);
  }

  story(preset) {
    if (!preset) return;
    this.storyName = preset.name;
    this.caption.textContent = preset.sentence;
    const { schema } = this.screen;
    this.screen.playing = !calm();
    this.screen.open({ ...schema.defaults, ...schema.startOf(preset.state.landscape), ...preset.state, parameters: { ...schema.startOf(preset.state.landscape).parameters, ...preset.state.parameters } }).then(() => this.screen.changed());
  }

  // Another landscape or address: no story.
  forget() {
    this.storyName = "";
    if (this.caption) this.caption.textContent = "";
  }

  buildStatus() {
    this.sentence = el("span", { class: "sentence", title: "mean ± one standard error of the chosen quantity now" });
    this.counts = el("span", { class: "counts" });
    const engine = el("span", { class: "engine" }, `engine: ${this.screen.host.kind === "file" ? "this file" : "page"}`);
    this.checkButton = button("Check with the toolkit", () => this.screen.checkWithToolkit());
    this.foot.replaceChildren(this.sentence, this.counts, el("span", { class: "grow" }), engine, ...(this.screen.host.check ? [this.checkButton] : []));
  }

  checking(on) {
    this.checkButton.disabled = on;
    this.checkButton.textContent = on ? "Checking …" : "Check with the toolkit";
  }

  // Controls, titles and notes follow the state.
  show() {
    const { state, theory, pins, playing, reference } = this.screen;
    if (!this.shown) return;
    for (const [name, control] of Object.entries(this.shown)) control.show(name.startsWith("p.") ? state.parameters[name.slice(2)] : state[name]);
    this.shown.eta.tick(theory.ticks.eta);
    this.shown.rho.tick(theory.ticks.rho);
    this.playButton.textContent = playing ? "Pause" : "Play";
    this.pinButton.textContent = pins.length ? "Unpin" : "Pin";
    this.pinButton.setAttribute("aria-pressed", String(pins.length > 0));
    this.notes.replaceChildren(...warningsOf(state, theory, reference).map((text) => el("p", { class: "amber" }, text)));
  }

  status() {
    const { pair, state, switched } = this.screen, v = pair.verdict(), { censored, diverged } = countsOf(pair);
    const method = pair.state.method, name = this.screen.config.titles[method];
    this.titles[ALGORITHM].replaceChildren(el("b", {}, `Algorithm ${name}`), ` k = ${pair.k}${switched ? ", switched" : ""}`);
    this.titles[MODEL].replaceChildren(el("b", {}, "SDE model"), ` t = ${short(pair.t, 4)}${state.model === "theory" ? "" : `, ${MODELS[state.model]}`}`);
    const pm = (e) => (v.quiet || !Number.isFinite(e.mean) ? short(e.mean, 5) : `${meanText(e)} ± ${short(e.error, 2)}`);
    this.sentence.replaceChildren(
      el("span", { class: "algorithm" }, `algorithm ${pm(v.a)}`), " ", el("span", { class: "model" }, `SDE ${pm(v.b)}`), " ",
      `difference ${short(Math.abs(v.gap) < 1e-12 ? 0 : v.gap)}${v.quiet ? "; " : `, z = ${short(v.z, 2)}: `}`, el("b", { class: this.word(v).replace(/\W.*/, "") }, this.word(v)),
    );
    const inside = (100 * censored) / (2 * state.n);
    this.counts.textContent = `${state.absorb ? `still inside ${short(inside, 2)} %` : ""}${diverged ? `  diverged: ${diverged}` : ""}`;
    const now = performance.now();
    if (now - (this.spoken || 0) > SUMMARY_EVERY && this.screen.playing && !this.screen.finished) {
      this.spoken = now;
      this.screen.summary(false);
    }
  }

  word(v) {
    if (!Number.isFinite(v.gap) || !(v.a.n > 1)) return "undecided: nothing left to average";
    if (v.quiet) return "without noise: one path each";
    if (v.heavy) return "undecided: heavy tails";
    return v.z <= CONSISTENT ? "consistent" : "differ";
  }

  say(text) {
    this.live.textContent = text;
  }

  help() {
    if (this.screen.root.querySelector("dialog")) return;
    const dialog = el("dialog", { class: "help", "aria-label": "Help" }, [
      el("h2", {}, "One landscape, two worlds"), el("p", {}, "Left the optimizer, right its stochastic differential equation: the same start, the same clock t = kη. Circles and diamonds are independent runs; curves are means with 95 % bands; dotted lines are theory."),
      el("dl", {}, HELP.flatMap(([key, words]) => [el("dt", {}, key), el("dd", {}, words)])), button("Close", () => dialog.close()),
    ]);
    dialog.addEventListener("close", () => dialog.remove());
    this.screen.root.firstChild.append(dialog);
    dialog.showModal();
  }
}
