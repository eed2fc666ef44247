// What maps and plots share: sizes, tick marks, and a drawing surface that writes SVG instead of pixels.
export const FONT = "12px system-ui, -apple-system, 'Segoe UI', sans-serif";

// Ticks at 1, 2 or 5 times a power of ten.
export function ticks(low, high, most = 6) {
  const raw = (high - low) / Math.max(1, most - 1);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.min(20, Math.floor(high / step + 1e-9) - first + 1);
  return Array.from({ length: Math.max(0, count) }, (_, i) => +((first + i) * step).toPrecision(12));
}

// A number for an axis or a status line: never NaN, never ten digits.
export function short(v, digits = 3) {
  if (!Number.isFinite(v)) return "–";
  const size = Math.abs(v);
  if (size !== 0 && (size >= 1e5 || size < 1e-4)) return v.toExponential(Math.max(1, digits - 2)).replace("e+", "e");
  return String(+v.toPrecision(digits));
}

// A mean with the digits that its standard error leaves, three at least.
export function meanText({ mean, error }) {
  const size = Math.abs(mean);
  if (!(error > 1e-12 * size && size > error && size >= 1e-4 && size < 1e5)) return short(mean);
  return mean.toPrecision(Math.min(8, Math.max(3, Math.floor(Math.log10(size)) - Math.floor(Math.log10(error)) + 2)));
}

// Texts of ticks, with as many digits as tell them apart; powers of ten where that is shorter than a long row of zeros.
export function tickTexts(values) {
  let texts;
  for (let digits = 3; digits <= 7; digits++) {
    texts = values.map((v) => narrow(v, short(v, digits), digits));
    if (new Set(texts).size === texts.length) break;
  }
  return texts;
}

const MOST_LETTERS = 7;
function narrow(v, text, digits) {
  const power = (+v.toPrecision(digits)).toExponential().replace("e+", "e");
  return text.length > MOST_LETTERS && power.length < text.length ? power : text;
}

// A canvas with the resolution of the screen; coordinates are CSS pixels.
export function surfaceOf(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = Math.min(3, canvas.ownerDocument.defaultView.devicePixelRatio || 1);
  const w = Math.max(1, Math.round(width * ratio)), h = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return { ctx, width, height };
}

export function line(ctx, points, { color, width = 1.5, dash = [], alpha = 1 }) {
  ctx.globalAlpha = alpha;
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.beginPath();
  let down = false;
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) down = false;
    else if (down) ctx.lineTo(x, y);
    else {
      ctx.moveTo(x, y);
      down = true;
    }
  }
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
}

// The parts of a polyline within a rectangle, each cut where it leaves; a lone NaN lifts the pen between them.
// A dashed line that runs millions of pixels off the screen costs the browser seconds: every dash is made.
export function within(points, { left, right, top, bottom }) {
  const kept = [];
  let last = null;
  for (let i = 1; i < points.length; i++) {
    const [[x, y], [u, v]] = [points[i - 1], points[i]];
    let enter = 0, leave = 1;
    for (const [from, by, low, high] of [[x, u - x, left, right], [y, v - y, top, bottom]]) {
      const [a, b] = by ? [(low - from) / by, (high - from) / by] : from >= low && from <= high ? [0, 1] : [2, 2];
      enter = Math.max(enter, Math.min(a, b));
      leave = Math.min(leave, Math.max(a, b));
    }
    if (!(enter <= leave)) continue;
    if (enter > 0 || last !== i - 1) kept.push([NaN, NaN], [x + enter * (u - x), y + enter * (v - y)]);
    kept.push([x + leave * (u - x), y + leave * (v - y)]);
    last = leave < 1 ? null : i;
  }
  return kept;
}

export function area(ctx, upper, lower, color, alpha) {
  if (!upper.length) return;
  ctx.globalAlpha = alpha;
  ctx.fillStyle = color;
  ctx.beginPath();
  for (const [i, [x, y]] of [...upper, ...lower.toReversed()].entries()) i ? ctx.lineTo(x, y) : ctx.moveTo(x, y);
  ctx.closePath();
  ctx.fill();
  ctx.globalAlpha = 1;
}

export function label(ctx, text, x, y, { color, align = "left", baseline = "middle", font = FONT } = {}) {
  ctx.fillStyle = color;
  ctx.font = font;
  ctx.textAlign = align;
  ctx.textBaseline = baseline;
  ctx.fillText(text, x, y);
}

const escapeText = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const ANCHOR = { left: "start", center: "middle", right: "end" };
const SHIFT = { top: 9, middle: 4, bottom: -2, alphabetic: 0 };

// The part of CanvasRenderingContext2D that maps and plots use, as SVG elements.
export class SvgContext {
  constructor(width, height, background) {
    Object.assign(this, { width, height, globalAlpha: 1, lineWidth: 1, strokeStyle: "#000", fillStyle: "#000", font: FONT });
    this.parts = [`<rect width="${width}" height="${height}" fill="${background}"/>`];
    this.path = [];
    this.dash = [];
    this.shift = [0, 0];
    this.saved = [];
    this.open = 0;
  }
  at(x, y) {
    return `${+(x + this.shift[0]).toFixed(2)} ${+(y + this.shift[1]).toFixed(2)}`;
  }
  translate(x, y) {
    this.shift = [this.shift[0] + x, this.shift[1] + y];
  }
  beginPath() {
    this.path = [];
  }
  moveTo(x, y) {
    this.path.push(`M${this.at(x, y)}`);
  }
  lineTo(x, y) {
    this.path.push(`L${this.at(x, y)}`);
  }
  closePath() {
    this.path.push("Z");
  }
  arc(x, y, r) {
    this.path.push(`M${this.at(x - r, y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`);
  }
  setLineDash(dash) {
    this.dash = dash;
  }
  stroke() {
    this.parts.push(`<path d="${this.path.join("")}" fill="none" stroke="${escapeText(this.strokeStyle)}" stroke-width="${this.lineWidth}" stroke-dasharray="${this.dash.join(" ")}" opacity="${this.globalAlpha}"/>`);
  }
  fill() {
    this.parts.push(`<path d="${this.path.join("")}" fill="${escapeText(this.fillStyle)}" opacity="${this.globalAlpha}"/>`);
  }
  fillRect(x, y, w, h) {
    const [px, py] = this.at(x, y).split(" ");
    this.parts.push(`<rect x="${px}" y="${py}" width="${+w.toFixed(2)}" height="${+h.toFixed(2)}" fill="${escapeText(this.fillStyle)}" opacity="${this.globalAlpha}"/>`);
  }
  strokeRect(x, y, w, h) {
    this.beginPath();
    this.moveTo(x, y);
    this.lineTo(x + w, y);
    this.lineTo(x + w, y + h);
    this.lineTo(x, y + h);
    this.closePath();
    this.stroke();
  }
  fillText(text, x, y) {
    const [px, py] = this.at(x, y + (SHIFT[this.textBaseline] ?? 0)).split(" ");
    const size = /(\d+)px/.exec(this.font)[1], weight = /^\d{3} /.test(this.font) ? this.font.slice(0, 3) : "400";
    this.parts.push(`<text x="${px}" y="${py}" font-size="${size}" font-weight="${weight}" font-family="sans-serif" text-anchor="${ANCHOR[this.textAlign] || "start"}" fill="${escapeText(this.fillStyle)}">${escapeText(text)}</text>`);
  }
  // Clips are groups: a save remembers how many are open, its restore closes the rest.
  save() {
    this.saved.push(this.open);
  }
  restore() {
    for (const keep = this.saved.pop() ?? 0; this.open > keep; this.open--) this.parts.push("</g>");
  }
  rect(x, y, w, h) {
    const [px, py] = this.at(x, y).split(" ");
    this.frame = `<rect x="${px}" y="${py}" width="${+w.toFixed(2)}" height="${+h.toFixed(2)}"/>`;
  }
  clip() {
    const id = `clip${this.parts.length}`;
    this.parts.push(`<clipPath id="${id}">${this.frame}</clipPath><g clip-path="url(#${id})">`);
    this.open++;
  }
  text() {
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${this.width} ${this.height}" width="${this.width}" height="${this.height}">\n${this.parts.join("\n")}\n</svg>\n`;
  }
}
