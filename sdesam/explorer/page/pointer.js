// The pointer on a map: click sets the start, drag from it spreads a cloud, the box's edges are handles.
import { ALGORITHM, MODEL } from "./ensemble.js";

const NEAR = 11; // pixels
const LIMIT = 20;
const clamp = (v) => Math.min(LIMIT, Math.max(-LIMIT, v));
const rounded = (v, scale) => {
  const digits = Math.max(2, Math.ceil(Math.log10(scale)) + 1);
  return +clamp(v).toFixed(digits);
};

const placeOf = (event, canvas) => {
  const r = canvas.getBoundingClientRect();
  return [event.clientX - r.left, event.clientY - r.top];
};

// Which edge of the box is under the pointer: its index in [left, right, bottom, top], or -1.
function edgeAt(frame, state, [px, py]) {
  if (!state.absorb) return -1;
  const [x0, y1] = frame.to(state.box[0], state.box[2]), [x1, y0] = frame.to(state.box[1], state.box[3]);
  const across = px > x0 - NEAR && px < x1 + NEAR, along = py > y0 - NEAR && py < y1 + NEAR;
  const gaps = [along ? Math.abs(px - x0) : Infinity, along ? Math.abs(px - x1) : Infinity, across ? Math.abs(py - y1) : Infinity, across ? Math.abs(py - y0) : Infinity];
  const least = Math.min(...gaps);
  return least < NEAR * 0.6 ? gaps.indexOf(least) : -1;
}

export function listen(screen) {
  const { canvases } = screen.panel;
  for (const name of [ALGORITHM, MODEL]) listenToMap(screen, canvases[name], name);
  canvases.phase.addEventListener("click", (event) => {
    const r = canvases.phase.getBoundingClientRect();
    const [eta, rho] = screen.phase.frame(r.width, r.height).from(...placeOf(event, canvases.phase));
    const [low, high] = screen.schema.ranges.eta;
    screen.set({ eta: Math.min(high, Math.max(low, +eta.toPrecision(3))), rho: Math.min(screen.schema.ranges.rho[1], +rho.toPrecision(3)) });
    screen.restart();
  });
}

function listenToMap(screen, canvas, name) {
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || !screen.frameOfMap) return;
    const at = placeOf(event, canvas), frame = screen.frameOfMap[name];
    drag = { at, edge: edgeAt(frame, screen.state, at), frame, moved: false };
    canvas.setPointerCapture?.(event.pointerId);
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    if (drag.edge < 0) screen.set({ start: drag.start = worldOf(frame, at), spread: 0 });
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!screen.frameOfMap) return;
    const at = placeOf(event, canvas), frame = screen.frameOfMap[name];
    screen.hover = drag ? null : { name, at: frame.from(...at) };
    canvas.style.cursor = edgeAt(frame, screen.state, at) >= 0 ? "move" : "crosshair";
    if (drag) dragged(screen, drag, at);
  });
  canvas.addEventListener("keydown", (event) => byKey(screen, event));
  canvas.addEventListener("pointerup", () => (drag = null));
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => {
    screen.hover = null;
    screen.dirty = true;
  });
}

// Arrow keys move the start: by a hundredth of the map, with shift by a tenth.
function byKey(screen, event) {
  const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (!way || !screen.state) return;
  event.preventDefault();
  const length = screen.science.facts.view * (event.shiftKey ? 0.2 : 0.02);
  screen.set({ start: screen.state.start.map((v, i) => +clamp(v + way[i] * length).toPrecision(6)) });
}

const worldOf = (frame, at) => frame.from(...at).map((v) => rounded(v, frame.scale));

function dragged(screen, drag, at) {
  const [x, y] = worldOf(drag.frame, at);
  if (drag.edge >= 0) {
    const box = [...screen.state.box];
    box[drag.edge] = drag.edge < 2 ? x : y;
    if (box[0] < box[1] - 0.02 && box[2] < box[3] - 0.02) screen.set({ box });
    screen.dirty = true;
    return;
  }
  const reach = Math.hypot(at[0] - drag.at[0], at[1] - drag.at[1]);
  if (reach > 6 || screen.state.spread > 0) {
    const spread = Math.min(2, reach > 6 ? reach / drag.frame.scale : 0);
    screen.set({ spread: +spread.toPrecision(3) });
  }
}
