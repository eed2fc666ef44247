// Curves over time: both sides with 95 % bands, theory dashed, pinned runs grey, the toolkit's band beside them.
import { ALGORITHM, MODEL } from "./ensemble.js";
import { area, label, line, short, tickTexts, ticks, within } from "./paint.js";

const MARGIN = { left: 54, right: 10, top: 26, bottom: 30 };
const NORMAL95 = 1.96;
const MOST_POINTS = 400;
const WIDE = 6.6; // pixels a letter takes
const BEYOND = 8; // pixels beyond its frame at which a curve is cut
const FAR = 1000; // horizons: a mean exit time beyond is told without its number

// Evenly chosen places of a long series, the last one included.
export function thin(count, most = MOST_POINTS) {
  const stride = Math.max(1, Math.ceil(count / most)), places = [];
  for (let i = 0; i < count; i += stride) places.push(i);
  if (count && places.at(-1) !== count - 1) places.push(count - 1);
  return places;
}

// { t, value, low, high } of one side's series; DKW-free binomial bands for survival.
export function curveOf(series, side, what, n) {
  const places = thin(series.t.length), t = places.map((i) => series.t[i]);
  if (what === "inside") {
    const value = places.map((i) => series[side].inside[i]);
    const half = value.map((v) => NORMAL95 * Math.sqrt((v * (1 - v)) / n));
    return { t, value, low: value.map((v, i) => Math.max(0, v - half[i])), high: value.map((v, i) => Math.min(1, v + half[i])) };
  }
  const e = places.map((i) => series[side][what][i]);
  return { t, value: e.map((v) => v.mean), low: e.map((v) => v.mean - NORMAL95 * v.error), high: e.map((v) => v.mean + NORMAL95 * v.error) };
}

// Limits of an axis that hold every finite number of the curves.
export function limitsOf(curves, fixed) {
  if (fixed) return fixed;
  let low = Infinity, high = -Infinity;
  for (const c of curves.filter((c) => !c.theory))
    for (const v of [...c.value, ...(c.low || []), ...(c.high || [])])
      if (Number.isFinite(v)) {
        if (v < low) low = v;
        if (v > high) high = v;
      }
  if (!(low <= high)) return [0, 1];
  const pad = 0.06 * (high - low) || Math.max(1e-9, Math.abs(high) * 0.1) || 1;
  return [low - pad, high + pad];
}

// One plot.  spec: { title, curves: [{ t, value, low, high, color, dash, marker }], vertical, horizontal, fixed, note, aside }
export function drawPlot(ctx, width, height, spec, colors) {
  const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
  const [low, high] = limitsOf(spec.curves, spec.fixed);
  const X = (t) => MARGIN.left + (w * t) / spec.horizon, Y = (v) => MARGIN.top + h * (1 - (v - low) / (high - low));
  ctx.fillStyle = colors.ground;
  ctx.fillRect(MARGIN.left, MARGIN.top, w, h);
  const marks = ticks(low, high, Math.max(3, Math.floor(h / 32))), texts = tickTexts(marks);
  marks.forEach((v, k) => {
    line(ctx, [[MARGIN.left, Y(v)], [MARGIN.left + w, Y(v)]], { color: colors.grid, width: 1 });
    label(ctx, texts[k], MARGIN.left - 6, Y(v), { color: colors.muted, align: "right" });
  });
  for (const t of ticks(0, spec.horizon, 6)) label(ctx, short(t), Math.min(X(t), width - 2 - (WIDE / 2) * short(t).length), MARGIN.top + h + 11, { color: colors.muted, align: "center" });
  label(ctx, "time t = kη", MARGIN.left + w / 2, height - 6, { color: colors.muted, align: "center" });
  label(ctx, spec.title, MARGIN.left, 12, { color: colors.ink, font: "600 12.5px system-ui, sans-serif" });
  drawCurves(ctx, spec, X, Y, { left: MARGIN.left, right: MARGIN.left + w, top: MARGIN.top, bottom: MARGIN.top + h }, colors);
  if (spec.note) label(ctx, spec.note, MARGIN.left + 6, MARGIN.top + h - 10, { color: colors.muted });
  if (spec.aside) label(ctx, spec.aside, MARGIN.left + w - 6, MARGIN.top + h - 10, { color: colors.muted, align: "right" });
}

function drawCurves(ctx, spec, X, Y, edge, colors) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(edge.left, edge.top, edge.right - edge.left, edge.bottom - edge.top);
  ctx.clip();
  const near = { left: edge.left - BEYOND, right: edge.right + BEYOND, top: edge.top - BEYOND, bottom: edge.bottom + BEYOND };
  for (const c of spec.curves) {
    const at = (values) => c.t.map((t, i) => [X(t), Y(values[i])]).filter(([, y]) => Number.isFinite(y));
    if (c.low) area(ctx, at(c.high), at(c.low), c.color, 0.2);
    line(ctx, within(at(c.value), near), { color: c.color, dash: c.dash || [], width: c.width || 2 });
    if (c.marker) markers(ctx, at(c.value), c);
  }
  for (const v of spec.vertical || []) {
    line(ctx, [[X(v.at), edge.top], [X(v.at), edge.bottom]], { color: v.color, dash: [2, 3], width: 1.6 });
    const right = X(v.at) > (edge.left + edge.right) / 2, room = right ? X(v.at) - edge.left : edge.right - X(v.at); // the wider side
    const text = WIDE * v.text.length + 8 < room ? v.text : v.brief;
    label(ctx, text, X(v.at) + (right ? -5 : 5), edge.top + 26, { color: colors.ink, align: right ? "right" : "left" });
  }
  for (const v of spec.horizontal || []) {
    line(ctx, [[edge.left, Y(v.at)], [edge.right, Y(v.at)]], { color: v.color, dash: [2, 3], width: 1.6 });
    label(ctx, v.text, edge.right - 5, Y(v.at) - 8, { color: colors.ink, align: "right" });
  }
  ctx.restore();
}

// A shape every so often, so that the sides differ without colour: circles and diamonds.
function markers(ctx, points, { color, marker }) {
  const every = Math.max(1, Math.floor(points.length / 8));
  ctx.fillStyle = color;
  for (let i = every; i < points.length; i += every) {
    const [x, y] = points[i];
    ctx.beginPath();
    if (marker === "circle") ctx.arc(x, y, 3.5, 0, 7);
    else for (const [k, [dx, dy]] of [[0, -5], [5, 0], [0, 5], [-5, 0]].entries()) k ? ctx.lineTo(x + dx, y + dy) : ctx.moveTo(x + dx, y + dy);
    ctx.closePath();
    ctx.fill();
  }
}

const TITLES = { distance: "distance (root mean square)", sharpness: "sharpness λ_max, mean", "x[0]": "x[0], mean", "x[1]": "x[1], mean" };

// The three plots of the screen.
export function plotsOf(pair, { state, theory, spread, reference, pins, check, colors }) {
  const n = state.n, horizon = state.horizon;
  const both = (what) => [
    ...pins.map((pin) => ({ ...pin[what][ALGORITHM], color: colors.pin, low: null })),
    ...pins.map((pin) => ({ ...pin[what][MODEL], color: colors.pin, low: null, dash: [5, 4] })),
    ...(check && check[what] ? checked(check[what], colors) : []),
    { ...curveOf(pair.series, ALGORITHM, what, n), color: colors.algorithm, marker: "circle" },
    { ...curveOf(pair.series, MODEL, what, n), color: colors.model, marker: "diamond", dash: [7, 4] },
  ];
  const { censored, diverged } = countsOf(pair);
  const quantity = { horizon, title: state.quantity === "distance" ? `distance to the ${reference.kind}, rms` : TITLES[state.quantity], curves: both("quantity") };
  if (spread.length && state.quantity === "distance") quantity.curves.push({ t: spread.map((v) => v[0]), value: spread.map((v) => v[1]), color: colors.theory, dash: [2, 3], width: 1.8, theory: true });
  if (spread.length > 1 && state.quantity === "distance") quantity.aside = "dotted: linear theory";
  const survival = { horizon, title: "still inside the box", curves: both("inside"), fixed: [0, 1.04], note: state.absorb ? `censored ${Math.round((100 * censored) / (2 * n))} %` : "the box absorbs nothing now", vertical: [] };
  const exits = state.absorb ? theory.exit : NaN;
  if (exits <= horizon) survival.vertical.push({ at: theory.exit, color: colors.theory, text: `theory: mean exit ${short(theory.exit)}`, brief: `theory ${short(theory.exit)}` });
  else if (exits > horizon) survival.note = theory.exit > FAR * horizon ? "theory: mean exit never within this run" : `theory: mean exit ${short(theory.exit)}`;
  const loss = { horizon, title: "loss f, mean", curves: both("loss"), horizontal: [] };
  if (Number.isFinite(theory.level)) loss.horizontal.push({ at: theory.level, color: colors.theory, text: `theory: ${short(theory.level)}` });
  if (diverged) loss.note = `without ${diverged} diverged`;
  return [quantity, survival, loss];
}

const checked = (found, colors) =>
  [ALGORITHM, MODEL].map((side) => ({ ...found[side], color: colors.check, width: 1.2, dash: side === MODEL ? [5, 4] : [] }));

export function countsOf(pair) {
  let censored = 0, diverged = 0;
  for (const side of Object.values(pair.sides)) {
    censored += side.n - side.escaped - side.diverged;
    diverged += side.diverged;
  }
  return { censored, diverged };
}
