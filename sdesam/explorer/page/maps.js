// One map of the plane: level lines, critical points, the box, and a cloud of circles or diamonds.
import { ALGORITHM } from "./ensemble.js";
import { FONT, label, line, short, ticks } from "./paint.js";

const LIVELY = 0.62, PALE = 0.28; // opacity of particles that move and of those that left
const EDGE = { left: 34, right: 8, top: 8, bottom: 24 };

// World to pixels with one scale for both axes.
export function frameOf(width, height, view) {
  const w = width - EDGE.left - EDGE.right, h = height - EDGE.top - EDGE.bottom;
  const scale = Math.max(1, Math.min(w, h) / (2 * view)), cx = EDGE.left + w / 2, cy = EDGE.top + h / 2;
  return {
    width, height, scale, inner: [EDGE.left, EDGE.top, w, h], half: [w / 2 / scale, h / 2 / scale],
    to: (x, y) => [cx + x * scale, cy - y * scale],
    from: (px, py) => [(px - cx) / scale, (cy - py) / scale],
  };
}

// The still part: level lines, axes, critical points, attraction region.
export function drawGround(ctx, frame, { relief, points, region, colors }) {
  const [left, top, w, h] = frame.inner;
  ctx.fillStyle = colors.ground;
  ctx.fillRect(left, top, w, h);
  relief.segments.forEach((pieces, k) => {
    ctx.beginPath();
    for (const [a, b, c, d] of pieces) {
      ctx.moveTo(...frame.to(a, b));
      ctx.lineTo(...frame.to(c, d));
    }
    ctx.strokeStyle = colors.contour;
    ctx.lineWidth = 1;
    ctx.globalAlpha = 0.25 + (0.6 * k) / relief.segments.length;
    ctx.stroke();
  });
  ctx.globalAlpha = 1;
  drawAxes(ctx, frame, colors);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, w, h);
  ctx.clip();
  if (region.length) line(ctx, region.map(([x, y]) => frame.to(x, y)), { color: colors.theory, dash: [6, 4], width: 1.6 });
  for (const q of points) drawPoint(ctx, frame, q, colors);
  ctx.restore();
}

function drawAxes(ctx, frame, colors) {
  const [left, top, w, h] = frame.inner;
  ctx.strokeStyle = colors.line;
  ctx.lineWidth = 1;
  ctx.strokeRect(left, top, w, h);
  label(ctx, "x[0]", left + w - 5, top + h - 9, { color: colors.muted, align: "right" });
  label(ctx, "x[1]", left + 5, top + 10, { color: colors.muted });
  for (const v of ticks(-frame.half[0], frame.half[0], 6)) {
    const [px] = frame.to(v, 0);
    label(ctx, short(v), Math.min(px, left + w - 8), top + h + 12, { color: colors.muted, align: "center" });
  }
  for (const v of ticks(-frame.half[1], frame.half[1], 6)) {
    const [, py] = frame.to(0, v);
    if (py > top + 6 && py < top + h - 4) label(ctx, short(v), left - 5, py, { color: colors.muted, align: "right" });
  }
}

function drawPoint(ctx, frame, q, colors) {
  const [px, py] = frame.to(...q.x);
  ctx.strokeStyle = colors.ink;
  ctx.fillStyle = colors.ink;
  ctx.lineWidth = 2;
  ctx.beginPath();
  if (q.kind === "saddle") {
    ctx.moveTo(px - 6, py - 6);
    ctx.lineTo(px + 6, py + 6);
    ctx.moveTo(px - 6, py + 6);
    ctx.lineTo(px + 6, py - 6);
    ctx.stroke();
  } else if (q.kind === "maximum") {
    ctx.moveTo(px, py - 6);
    ctx.lineTo(px + 6, py + 5);
    ctx.lineTo(px - 6, py + 5);
    ctx.closePath();
    ctx.stroke();
  } else {
    ctx.arc(px, py, q.kind === "valley" ? 1.6 : 4, 0, 7);
    ctx.fill();
  }
}

// The moving part.  `most` particles are drawn; those that left stand at the edge, paler.
export function drawCloud(ctx, frame, cloud, name, colors, most) {
  const color = name === ALGORITHM ? colors.algorithm : colors.model, stride = Math.max(1, Math.ceil(cloud.n / most));
  if (ctx.drawImage) return stampCloud(ctx, frame, cloud, name, color, stride);
  ctx.fillStyle = color;
  for (let i = 0; i < cloud.n; i += stride) {
    const [px, py] = frame.to(cloud.x[i], cloud.x[cloud.n + i]), [left, top, w, h] = frame.inner;
    if (cloud.status[i] === 2 || px < left || py < top || px > left + w || py > top + h) continue;
    ctx.globalAlpha = cloud.on[i] ? LIVELY : PALE;
    ctx.beginPath();
    (name === ALGORITHM ? circle : diamond)(ctx, px, py);
    ctx.fill();
  }
  ctx.globalAlpha = 1;
}

// Thousands of paths would take tens of milliseconds: particles are stamped into pixels, which are drawn at once.
function stampCloud(ctx, frame, cloud, name, color, stride) {
  const ratio = ctx.getTransform().a, [left, top, w, h] = frame.inner.map((v) => Math.round(v * ratio));
  const layer = layerOf(w, h), { data } = layer.image, { x, n } = cloud;
  const [red, green, blue] = [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
  new Uint32Array(data.buffer).fill((blue << 16) | (green << 8) | red);
  const mask = maskOf(name === ALGORITHM, ratio), size = Math.sqrt(mask.length), reach = (size - 1) / 2;
  const ox = frame.to(0, 0)[0] * ratio - left, oy = frame.to(0, 0)[1] * ratio - top, scale = frame.scale * ratio;
  for (let i = 0; i < n; i += stride) {
    if (cloud.status[i] === 2) continue;
    const cx = Math.round(ox + x[i] * scale), cy = Math.round(oy - x[n + i] * scale), strength = cloud.on[i] ? LIVELY : PALE;
    if (cx < reach || cy < reach || cx >= w - reach || cy >= h - reach) continue;
    for (let v = 0, m = 0; v < size; v++) {
      let place = 4 * ((cy - reach + v) * w + cx - reach) + 3;
      for (let u = 0; u < size; u++, m++, place += 4) data[place] += (255 - data[place]) * mask[m] * strength;
    }
  }
  layer.ctx.putImageData(layer.image, 0, 0);
  ctx.drawImage(layer.canvas, left / ratio, top / ratio, w / ratio, h / ratio);
}

// How much of each pixel about a particle its shape covers: a circle or a diamond.
function maskOf(round, ratio) {
  const reach = Math.ceil(4 * ratio), size = 2 * reach + 1;
  return Float64Array.from({ length: size * size }, (_, k) => {
    const dx = Math.abs((k % size) - reach), dy = Math.abs(Math.floor(k / size) - reach);
    const inward = round ? 2.4 * ratio - Math.hypot(dx, dy) : (3.3 * ratio - dx - dy) / Math.SQRT2;
    return Math.min(1, Math.max(0, inward + 0.5));
  });
}

// One layer a size: it is filled anew for every cloud.
const layers = new Map();
function layerOf(w, h) {
  const key = `${w}x${h}`;
  if (layers.size > 8) layers.clear();
  if (!layers.has(key)) layers.set(key, newLayer(w, h));
  return layers.get(key);
}

function newLayer(w, h) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, w);
  canvas.height = Math.max(1, h);
  const ctx = canvas.getContext("2d");
  return { canvas, ctx, image: ctx.createImageData(canvas.width, canvas.height) };
}

const circle = (ctx, x, y) => {
  ctx.moveTo(x + 2.4, y);
  ctx.arc(x, y, 2.4, 0, 6.2832);
};
const diamond = (ctx, x, y) => {
  ctx.moveTo(x, y - 3.2);
  ctx.lineTo(x + 3.2, y);
  ctx.lineTo(x, y + 3.2);
  ctx.lineTo(x - 3.2, y);
  ctx.closePath();
};

// The exit box with its handles, and the start.
export function drawHandles(ctx, frame, state, colors) {
  const [x0, y1] = frame.to(state.box[0], state.box[2]), [x1, y0] = frame.to(state.box[1], state.box[3]);
  const [left, top, w, h] = frame.inner;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, w, h);
  ctx.clip();
  ctx.strokeStyle = state.absorb ? colors.ink : colors.muted;
  ctx.lineWidth = state.absorb ? 1.4 : 1;
  if (!state.absorb) ctx.setLineDash([2, 4]); // the phase map's box still
  ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
  ctx.setLineDash([]);
  if (state.absorb) {
    ctx.fillStyle = colors.ink;
    for (const [px, py] of [[x0, (y0 + y1) / 2], [x1, (y0 + y1) / 2], [(x0 + x1) / 2, y0], [(x0 + x1) / 2, y1]]) ctx.fillRect(px - 4, py - 4, 8, 8);
  }
  const [sx, sy] = frame.to(...state.start);
  ctx.strokeStyle = colors.start;
  ctx.lineWidth = 2.5;
  ctx.beginPath();
  ctx.arc(sx, sy, Math.max(7, state.spread * frame.scale), 0, 7);
  ctx.stroke();
  ctx.restore();
}

// Gradient and ascent at the pointer.
export function drawHover(ctx, frame, science, p, method, [x, y], colors) {
  const g = science.f.gradient(p, [x, y]), size = Math.hypot(...g);
  const [px, py] = frame.to(x, y);
  if (size > 0) arrow(ctx, px, py, px + (-g[0] / size) * 38, py + (g[1] / size) * 38, colors.ink);
  const [ax, ay] = frame.to(...science.f[`${method}/ascent`](p, [x, y, 0, 0]));
  if (Math.hypot(ax - px, ay - py) > 2) arrow(ctx, px, py, ax, ay, colors.theory);
  label(ctx, `|∇f| = ${short(size)}`, px + 10, py - 10, { color: colors.ink, font: FONT });
}

export function arrow(ctx, x0, y0, x1, y1, color, width = 2) {
  const angle = Math.atan2(y1 - y0, x1 - x0);
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x1, y1);
  for (const turn of [2.6, -2.6]) {
    ctx.moveTo(x1, y1);
    ctx.lineTo(x1 + 7 * Math.cos(angle + turn), y1 + 7 * Math.sin(angle + turn));
  }
  ctx.stroke();
}
