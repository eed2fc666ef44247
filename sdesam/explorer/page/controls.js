// Sliders with number fields, choices and toggles; every control has a label and keeps the last good value.
import { short } from "./paint.js";
import { format } from "./state.js";

export const POSITIONS = 1000;

// Whether the reader's system asks for less motion: then nothing moves before Play.
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export function el(tag, attributes = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list" && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...[children].flat());
  return node;
}

// Positions 0 .. 1000 of a slider <-> values: logarithmic where low > 0; from 0, a zero and then four decades.
export function scaleOf([low, high, whole], log) {
  const floor = low > 0 ? low : high / 1e4, span = Math.log(high / floor);
  const round = (v) => (whole ? Math.round(v) : +v.toPrecision(4));
  if (!log) return { to: (v) => (POSITIONS * (v - low)) / (high - low), from: (s) => round(low + ((high - low) * s) / POSITIONS) };
  return {
    to: (v) => (v <= floor * 1.0001 && low <= 0 ? 0 : (POSITIONS * Math.log(Math.max(v, floor) / floor)) / span),
    from: (s) => (low <= 0 && s <= 0 ? 0 : round(Math.min(high, Math.max(low, floor * Math.exp((span * s) / POSITIONS))))),
  };
}

// A labelled slider with a number field.  `set(value)` hears good values only.
// `reach` is the part of a long range that the track covers.
export function slider({ name, text, range, reach = range, log, value, set, id }) {
  const [low, high, whole] = range, scale = scaleOf(reach, log);
  let current = value;
  const track = el("input", { type: "range", min: "0", max: String(POSITIONS), step: "1", id: `${id}-${name}`, "aria-label": `${text} slider` });
  const field = el("input", { type: "text", inputmode: "decimal", class: "field", "aria-label": text, autocomplete: "off", spellcheck: "false", "data-name": name });
  const hint = el("span", { class: "hint", role: "alert" });
  const marks = el("div", { class: "marks", "aria-hidden": "true" });
  const show = (v, keep) => {
    current = v;
    track.value = String(Math.round(scale.to(v)));
    track.setAttribute("aria-valuetext", format(v));
    if (!keep) field.value = format(v);
    field.removeAttribute("aria-invalid");
    hint.textContent = "";
  };
  const use = (v, keep) => {
    show(v, keep);
    set(v);
  };
  track.addEventListener("input", () => use(scale.from(+track.value)));
  track.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const share = event.shiftKey ? 0.1 : 0.01, high = reach[1];
    const moved = log ? (current || high / 1e4) * (1 + share) ** way : current + (whole ? way * 100 * share : way * share * (high - low));
    const next = whole ? Math.round(way > 0 ? Math.max(moved, current + 1) : Math.min(moved, current - 1)) : +moved.toPrecision(6);
    use(Math.min(range[1], Math.max(low, log && low <= 0 && next < high / 1e4 ? 0 : next)));
  });
  const typed = () => {
    const v = field.value.trim() === "" ? NaN : Number(field.value);
    const good = Number.isFinite(v) && v >= low && v <= high && (!whole || Number.isInteger(v));
    if (good) return use(v, true);
    field.setAttribute("aria-invalid", "true");
    hint.textContent = `${whole ? "whole number, " : ""}${short(low)} … ${short(high, 6)}`;
  };
  field.addEventListener("input", typed);
  field.addEventListener("blur", () => show(current));
  show(value);
  const node = el("div", { class: "slider" }, [el("label", { for: track.id }, text), field, el("div", { class: "track" }, [track, marks]), hint]);
  const tick = (list) => marks.replaceChildren(...list.filter((t) => t.at >= low && t.at <= high).map((t) => {
    const mark = el("span", { class: "mark", title: `${t.text}: ${short(t.at)}` }, el("i", {}, t.text));
    const place = scale.to(t.at) / POSITIONS;
    mark.style.left = `${100 * place}%`;
    if (place > 0.6) mark.classList.add("left");
    return mark;
  }));
  return { node, show: (v) => v !== current && show(v), tick };
}

// Numbers that are good or bad together, as the four edges of the exit box: `good(list)` decides, `set(list)` hears.
// Arrow keys up and down move one by a hundredth of `size()`, with shift by a tenth.
export function several({ text, names, words, value, good, set, size }) {
  let current = value;
  const hint = el("span", { class: "hint", role: "alert" });
  const fields = names.map((name) => el("input", { type: "text", inputmode: "decimal", class: "field", "aria-label": `${text} ${name}`, autocomplete: "off", spellcheck: "false", "data-name": `${text}.${name}` }));
  const mark = (bad) => {
    fields.forEach((field) => (bad ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid")));
    hint.textContent = bad ? words : "";
  };
  const show = (list) => {
    current = list;
    fields.forEach((field, k) => (field.value = format(list[k])));
    mark(false);
  };
  const use = (list, typed) => {
    mark(!good(list));
    if (!good(list)) return;
    current = list;
    if (!typed) show(list);
    set(list);
  };
  const read = () => fields.map((field) => (field.value.trim() === "" ? NaN : Number(field.value)));
  fields.forEach((field, k) => {
    field.addEventListener("input", () => use(read(), true));
    field.addEventListener("keydown", (event) => {
      const way = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      const moved = current.with(k, +(current[k] + way * size() * (event.shiftKey ? 0.1 : 0.01)).toPrecision(6));
      if (good(moved)) use(moved, false);
    });
  });
  show(value);
  const labels = names.map((name, k) => el("label", {}, [el("span", {}, name), fields[k]]));
  const node = el("div", { class: "several", role: "group", "aria-label": text }, [el("span", { class: "what" }, text), ...labels, hint]);
  node.addEventListener("focusout", (event) => node.contains(event.relatedTarget) || show(current));
  return { node, show: (list) => format(list) !== format(current) && show(list) };
}

export function choice({ text, options, value, set }) {
  const select = el("select", { "aria-label": text }, options.map(([key, words]) => el("option", { value: key }, words)));
  select.value = value;
  select.addEventListener("change", () => set(select.value));
  return { node: el("label", { class: "choice" }, [el("span", {}, text), select]), select, show: (v) => (select.value = v) };
}

export function toggle({ text, value, set }) {
  const box = el("input", { type: "checkbox" });
  box.checked = value;
  box.addEventListener("change", () => set(box.checked));
  return { node: el("label", { class: "toggle" }, [box, el("span", {}, text)]), show: (v) => (box.checked = v) };
}

export const button = (text, act, attributes = {}) => el("button", { type: "button", onclick: act, ...attributes }, text);

// A dismissible sentence; text only, never markup.
export function banner(area, text, kind = "note", action = null) {
  if ([...area.children].some((node) => node.firstChild.textContent === text)) return null;
  const node = el("div", { class: `banner ${kind}`, role: kind === "warning" ? "alert" : "status" }, [el("span", {}, text)]);
  if (action) node.append(button(action[0], () => (node.remove(), action[1]())));
  node.append(button("×", () => node.remove(), { class: "dismiss", "aria-label": "Dismiss" }));
  area.append(node);
  while (area.children.length > 6) area.firstChild.remove();
  return node;
}
