// Level lines of a function on a grid.
const GRID = 96;
const LEVELS = 16;

// Loss on a grid with levels that are dense where it is flat: [values, levels, xs, ys].
export function reliefOf(science, p, half) {
  const xs = Array.from({ length: GRID }, (_, i) => half[0] * ((2 * i) / (GRID - 1) - 1));
  const ys = Array.from({ length: GRID }, (_, i) => half[1] * ((2 * i) / (GRID - 1) - 1));
  const values = ys.map((y) => xs.map((x) => science.f.value(p, [x, y])[0]));
  const sorted = values.flat().filter(Number.isFinite).sort((a, b) => a - b);
  const levels = Array.from({ length: LEVELS }, (_, k) => sorted[Math.floor(((k + 0.5) / LEVELS) * (sorted.length - 1))]);
  const segments = levels.map((level) => contour(values, xs, ys, level));
  return { xs, ys, values, levels, segments };
}

// Marching squares: [x0, y0, x1, y1] pieces of one level line.
export function contour(values, xs, ys, level) {
  const pieces = [];
  const cut = (a, b, p, q) => p + ((level - a) / (b - a)) * (q - p);
  for (let j = 0; j + 1 < ys.length; j++)
    for (let i = 0; i + 1 < xs.length; i++) {
      const a = values[j][i], b = values[j][i + 1], c = values[j + 1][i + 1], d = values[j + 1][i];
      const ends = [];
      if (a < level !== b < level) ends.push([cut(a, b, xs[i], xs[i + 1]), ys[j]]);
      if (b < level !== c < level) ends.push([xs[i + 1], cut(b, c, ys[j], ys[j + 1])]);
      if (d < level !== c < level) ends.push([cut(d, c, xs[i], xs[i + 1]), ys[j + 1]]);
      if (a < level !== d < level) ends.push([xs[i], cut(a, d, ys[j], ys[j + 1])]);
      for (let k = 0; k + 1 < ends.length; k += 2) pieces.push([...ends[k], ...ends[k + 1]]);
    }
  return pieces;
}
