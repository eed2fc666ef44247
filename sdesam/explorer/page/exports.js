// What leaves the page: PNG, SVG, JSON, CSV, and the same state as Python or as a command.
import { ALGORITHM, MODEL } from "./ensemble.js";
import { SvgContext, label, short } from "./paint.js";
import { format, fragmentOf } from "./state.js";

const WIDTH = 1500, HEIGHT = 940;

// Both maps and three plots on any context; `panels` are [draw(ctx, w, h), x, y, w, h].
export function drawSheet(ctx, panels, caption, colors) {
  ctx.fillStyle = colors.paper;
  ctx.fillRect(0, 0, WIDTH, HEIGHT);
  for (const [draw, x, y, w, h] of panels) {
    ctx.translate(x, y);
    draw(ctx, w, h);
    ctx.translate(-x, -y);
  }
  caption.forEach((text, k) => label(ctx, text, 20, HEIGHT - 18 * (caption.length - k), { color: colors.ink }));
}

export function sheetPanels(draws) {
  const [algorithm, model, phase, quantity, survival, loss] = draws;
  return [[algorithm, 10, 10, 490, 480], [model, 505, 10, 490, 480], [phase, 1000, 10, 490, 480], [quantity, 10, 510, 490, 350], [survival, 505, 510, 490, 350], [loss, 1000, 510, 490, 350]];
}

export function pngOf(panels, caption, colors) {
  const canvas = document.createElement("canvas");
  canvas.width = 2 * WIDTH;
  canvas.height = 2 * HEIGHT;
  const ctx = canvas.getContext("2d");
  ctx.scale(2, 2);
  drawSheet(ctx, panels, caption, colors);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export function svgOf(panels, caption, colors) {
  const ctx = new SvgContext(WIDTH, HEIGHT, colors.paper);
  drawSheet(ctx, panels, caption, colors);
  return new Blob([ctx.text()], { type: "image/svg+xml" });
}

// Every recorded step, numbers as numbers; what is not finite is null.
export function rowsOf(pair) {
  const plain = (v) => (Number.isFinite(v) ? v : null);
  return pair.series.t.flatMap((t, k) =>
    [ALGORITHM, MODEL].map((side) => {
      const s = pair.series[side];
      return { side, step: k, time: t, [pair.state.quantity]: plain(s.quantity[k].mean), [`${pair.state.quantity} stderr`]: plain(s.quantity[k].error), loss: plain(s.loss[k].mean), "loss stderr": plain(s.loss[k].error), inside: plain(s.inside[k]), n: s.loss[k].n };
    }),
  );
}

export function jsonOf(state, pair, version) {
  return new Blob([JSON.stringify({ schema: 1, sdesam: version, state, series: rowsOf(pair) }, null, 1)], { type: "application/json" });
}

export function csvOf(pair) {
  const rows = rowsOf(pair), names = Object.keys(rows[0]);
  const text = [names.map((n) => `"${n}"`).join(","), ...rows.map((r) => names.map((n) => r[n] ?? "").join(","))];
  return new Blob([text.join("\n") + "\n"], { type: "text/csv" });
}

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- the same state in the toolkit
const SCHEMES = { srk: "small_noise_srk", euler: "euler_maruyama" };
const float = (v) => (Number.isInteger(v) ? `${v}.0` : String(+v.toPrecision(12)));

export function pythonOf(state, facts) {
  const f = facts.code.replace(/\{(\w+)\}/g, (_, name) => float(state.parameters[name]));
  const update = state.method === "sgd" ? "ss.sgd" : `partial(${facts.updates[state.method]}, rho=${float(state.rho)})`;
  const h = `${float(state.eta)} / ${state.substeps}`, [left, right, bottom, top] = state.box.map(float);
  const sde = { theory: `model_of(update, g, ${float(state.eta)})`, "as-printed": `mc23.sam_sde_as_printed(g, eta=${float(state.eta)}, rho=${float(state.rho)}, clip=True)`, sgd: `mc23.sgd_sde(g, eta=${float(state.eta)})` }[state.model];
  const start = state.spread > 0 ? `Cloud([${state.start.map(float).join(", ")}], ${float(state.spread)})` : `[${state.start.map(float).join(", ")}]`;
  const steps = Math.max(1, Math.round(state.horizon / state.eta));
  return [
    "from functools import partial", "", "import sdesam as ss",
    "import sdesam.catalogue", "from sdesam.ensembles import Cloud", "from sdesam.explorer.stopped import Stopped",
    "from sdesam.theory import model_of", "from sdesam.theory import monzio_compagnoni2023 as mc23", "",
    `f = ${f}`, `g = ss.GaussianOracle(f, ${float(state.sigma)}, dim=2)`, `update = ${update}`,
    `algorithm = ss.optimizer(update, g, ${float(state.eta)})`,
    `sde = ss.subcycle(ss.${SCHEMES[state.integrator]}(${sde}, ${h}), ${state.substeps})`,
    `box = ${state.absorb ? `(${left}, ${right}, ${bottom}, ${top})` : "None"}  # left, right, bottom, top`,
    `watched = {"f": f, "x[0]": ss.coordinate(0), "x[1]": ss.coordinate(1)}`,
    `for seed, kernel in enumerate((algorithm, sde), start=${state.seed}):`,
    `    run = ss.simulate(Stopped(kernel, box), ${start}, steps=${steps}, n=${state.n}, seed=seed, save_every=${saveEvery(state)},`,
    `                      observables=watched, internals={"inside": lambda s: s[2]})`,
    `    print(kernel.name, "f =", run.estimate("f")[-1], " inside =", run.estimate("inside")[-1])`, "",
  ].join("\n");
}

// The largest divisor of the steps that leaves at most a hundred rows and more.
function saveEvery(state) {
  const steps = Math.max(1, Math.round(state.horizon / state.eta));
  for (let k = Math.max(1, Math.floor(steps / 50)); k > 1; k--) if (steps % k === 0) return k;
  return 1;
}

export const commandOf = (state, schema) => `sdesam render '${fragmentOf(state, schema).replaceAll("'", "")}' -o explorer.pdf`;

export function captionOf(state, pair, version) {
  const numbers = ["eta", "rho", "sigma", "substeps", "n", "seed", "horizon"].map((k) => `${k} = ${format(state[k])}`).join(", ");
  const parameters = Object.entries(state.parameters).map(([k, v]) => `, ${k} = ${format(v)}`).join("");
  return [`sdesam ${version}: ${state.method} (circles) and its SDE, ${state.model} (diamonds), on ${state.landscape}${parameters}; t = ${short(pair.t, 4)}. Bands: 95 %.`, numbers];
}
