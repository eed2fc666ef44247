// The state of the screen: read from an address without trust, written back to it, and checked field by field.
import { isInside } from "./ensemble.js";

const BOUND = 20;

const shorten = (text) => (String(text).length > 40 ? String(text).slice(0, 40) + "…" : String(text));
export const format = (v) => (typeof v === "boolean" ? String(+v) : Array.isArray(v) ? v.map(format).join(",") : typeof v === "number" ? String(Number.isInteger(v) ? v : +v.toPrecision(12)) : String(v));

// Number text -> [value, sentence or null]: kept where it is no number, clamped where it is out of range.
function numberOf(name, text, [low, high, whole], old) {
  const value = text.trim() === "" ? NaN : Number(text);
  if (!Number.isFinite(value)) return [old, `${name} = “${shorten(text)}” is not a number; ${format(old)} is kept.`];
  const inside = Math.min(high, Math.max(low, whole ? Math.round(value) : value));
  return inside === value ? [value, null] : [inside, `${name} = ${shorten(text)} is outside ${format(low)} … ${format(high)}; ${format(inside)} is used.`];
}

const near = (list, count) => list.length === count && list.every((v) => Number.isFinite(v) && Math.abs(v) <= BOUND);
export const isBox = (list) => near(list, 4) && list[0] < list[1] && list[2] < list[3];

function listOf(name, text, old) {
  const parts = text.split(",").map((v) => (v.trim() === "" ? NaN : Number(v)));
  return (name === "box" ? isBox(parts) : near(parts, old.length)) ? [parts, null] : [old, `${name} = “${shorten(text)}” is not ${old.length} numbers within ±${BOUND}${name === "box" ? " in order" : ""}; ${format(old)} is kept.`];
}

// An address fragment over the defaults (nothing: the page's first state): { state, notes }.  Never throws; a note is one
// plain sentence.
export function parseFragment(fragment, schema) {
  const notes = [], pairs = [...new URLSearchParams(fragment.replace(/^#/, ""))].slice(0, 60);
  const wanted = pairs.findLast(([key]) => key === "landscape")?.[1];
  const landscape = Object.hasOwn(schema.landscapes, wanted ?? "") ? wanted : schema.base.landscape;
  const plain = { ...schema.defaults, method: schema.base.method, landscape, parameters: schema.startOf(landscape).parameters };
  const state = pairs.length ? plain : { ...schema.base, parameters: { ...schema.base.parameters } };
  for (const [key, text] of pairs) {
    const [value, note] = entryOf(key, text, state, schema);
    if (note) notes.push(note);
    if (value === undefined) continue;
    if (key.startsWith("p.")) state.parameters[key.slice(2)] = value;
    else state[key] = value;
  }
  if (state.horizon / state.eta > schema.mostSteps) {
    state.horizon = state.eta * schema.mostSteps;
    notes.push(`horizon / eta is over ${schema.mostSteps} steps; the horizon ${format(state.horizon)} is used.`);
  }
  return { state, notes };
}

function entryOf(key, text, state, schema) {
  const name = key.startsWith("p.") ? key.slice(2) : key;
  const ranges = key.startsWith("p.") ? schema.parametersOf(state.landscape) : schema.ranges;
  if (Object.hasOwn(ranges, name)) return numberOf(name, text, ranges[name], key.startsWith("p.") ? state.parameters[name] : state[name]);
  if (key === "start" || key === "box") return listOf(key, text, state[key]);
  if (key === "absorb" || key === "shared") return text === "0" || text === "1" ? [text === "1", null] : [undefined, `${key} must be 0 or 1; ${format(state[key])} is kept.`];
  const choices = { ...schema.choices, landscape: Object.keys(schema.landscapes), method: schema.methods, switch_to: ["", ...schema.methods] };
  if (!Object.hasOwn(choices, key)) return [undefined, `“${shorten(key)}” is no entry of a state; it is ignored.`];
  if (choices[key].includes(text)) return [text, null];
  return [undefined, `${key} “${shorten(text)}” is not one of ${choices[key].filter(Boolean).join(", ")}; ${state[key] || "none"} is kept.`];
}

// What differs from the default, in the order of the schema: the text after # in an address.
export function fragmentOf(state, schema) {
  const pairs = [["landscape", state.landscape], ["method", state.method]];
  for (const [name, value] of Object.entries(schema.defaults))
    if (!["landscape", "method", "parameters"].includes(name) && format(state[name]) !== format(value)) pairs.push([name, format(state[name])]);
  for (const [name, value] of Object.entries(state.parameters)) pairs.push([`p.${name}`, format(value)]);
  return pairs.map(([k, v]) => `${k}=${encodeURIComponent(v).replace(/%2C/g, ",").replace(/%5B/g, "[").replace(/%5D/g, "]")}`).join("&");
}

// What the reader should know about a state that is allowed, one sentence each.
export function warningsOf(state, theory, reference) {
  const notes = [];
  const say = (text) => notes.push(text);
  if (theory.limit && state.eta >= theory.limit)
    say(`η = ${format(+state.eta.toPrecision(3))} is above the stability limit ${format(+theory.limit.toPrecision(3))} at the sharpest critical point in view: steps there grow.`);
  if (state.rho === 0 && state.method !== "sgd") say(`${state.method.toUpperCase()} with rho = 0 is SGD.`);
  if (state.sigma === 0 && reference.kind === "saddle" && state.spread === 0 && onStableManifold(state, reference))
    say("sigma = 0 and the start lies on the saddle’s stable manifold: nothing can leave.");
  if (state.absorb && state.spread === 0 && !isInside(state.box, ...state.start)) say("The start lies outside the box: every particle has left at once.");
  if (state.substeps === 1 && state.integrator === "euler")
    say("SDE substeps 1: an Euler step with dt = η nearly is the algorithm, so agreement means nothing.");
  else if (state.substeps === 1) say("SDE substeps 1: at dt = η the scheme’s own error is as large as what is compared.");
  if (state.model === "sgd" && state.method !== "sgd") say("The right side is SGD’s SDE, not this method’s: a wrong model on purpose.");
  return notes;
}

const onStableManifold = (state, reference) =>
  Math.abs((state.start[0] - reference.x[0]) * reference.axis[0] + (state.start[1] - reference.x[1]) * reference.axis[1]) < 1e-12;

// The schema of states with what depends on the page: landscapes, methods, defaults.
export function schemaOf(config) {
  const { schema, landscapes } = config, base = { ...schema.defaults, ...config.state };
  const parametersOf = (name) => Object.fromEntries(Object.entries(landscapes[name].parameters).map(([k, [, low, high]]) => [k, [low, high, false]]));
  const startOf = (name) => {
    const { start, view, parameters } = landscapes[name], half = Math.max(0.5, view / 2);
    return { landscape: name, start: [...start], box: [start[0] - half, start[0] + half, start[1] - half, start[1] + half], parameters: Object.fromEntries(Object.entries(parameters).map(([k, v]) => [k, v[0]])) };
  };
  const parameters = { ...startOf(base.landscape).parameters, ...base.parameters };
  return { ...schema, landscapes, parametersOf, startOf, methods: config.methods, base: { ...base, parameters } };
}
