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

// Python of an update with its rho, and of the SDE beside it; without noise SAM's is DNSAM's, as on the page.
const updateOf = (state, facts, method) => (method === "sgd" ? "ss.sgd" : `partial(${facts.updates[method]}, rho=${float(state.rho)})`);

function sdeOf(state, facts, name) {
  const eta = float(state.eta), quiet = state.sigma === 0, method = quiet ? facts.noiseless[state.method] : state.method;
  if (state.model === "sgd") return `mc23.sgd_sde(g, eta=${eta})`;
  if (state.model === "as-printed" && !quiet) return `mc23.sam_sde_as_printed(g, eta=${eta}, rho=${float(state.rho)}, clip=True)`;
  const update = method === state.method ? name : updateOf(state, facts, method), rule = facts.orders[method];
  return `model_of(${update}, g, ${eta}${rule && !quiet ? `, nodes=g.noise.nodes(${rule})` : ""})`;
}

// What a script of independent sides and one method leaves out.
function remarksOf(state) {
  const remarks = [];
  if (state.shared) remarks.push("# On the page both sides share their noise; here they are independent: the same laws, other paths.");
  return remarks;
}

function watchedOf(state, [x, y]) {
  if (state.quantity === "sharpness") return ', "sharpness": lambda x: planar_eigenvalues(ss.hessian(f)(x))[1]';
  return state.quantity === "distance" ? `, "distance squared": lambda x: (x[..., 0] - ${float(x)}) ** 2 + (x[..., 1] - ${float(y)}) ** 2` : "";
}

// The lines of an update, its algorithm and its SDE, by these names.
function sideLines(state, facts, [update, algorithm, sde]) {
  const h = `${float(state.eta)} / ${state.substeps}`;
  return [
    `${update} = ${updateOf(state, facts, state.method)}`, `${algorithm} = ss.optimizer(${update}, g, ${float(state.eta)})`,
    `${sde} = ss.subcycle(ss.${SCHEMES[state.integrator]}(${sdeOf(state, facts, update)}, ${h}), ${state.substeps})`,
  ];
}

// The two kernels, stopped at the box; where the method is switched, with the kernels that take over.
function kernelLines(state, facts) {
  const first = sideLines(state, facts, ["update", "algorithm", "sde"]);
  if (!(state.switch_at > 0 && state.switch_to)) return [...first, "kernels = [Stopped(kernel, box) for kernel in (algorithm, sde)]"];
  const after = Math.ceil((state.switch_at - 1e-9) / state.eta);
  return [
    ...first, ...sideLines({ ...state, method: state.switch_to, model: "theory" }, facts, ["other", "then", "then_sde"]),
    "from sdesam.dynamics.switched import Switched",
    `kernels = [Switched(Stopped(a, box), Stopped(b, box), ${after}) for a, b in ((algorithm, then), (sde, then_sde))]`,
  ];
}

export function pythonOf(state, facts, reference) {
  const f = facts.code.replace(/\{([^{}]+)\}/g, (all, name) => (name in state.parameters ? float(state.parameters[name]) : all));
  const [left, right, bottom, top] = state.box.map(float);
  const start = state.spread > 0 ? `Cloud([${state.start.map(float).join(", ")}], ${float(state.spread)})` : `[${state.start.map(float).join(", ")}]`;
  const steps = Math.max(1, Math.round(state.horizon / state.eta));
  return [
    ...remarksOf(state), "from functools import partial", "", "import sdesam as ss",
    "import sdesam.problems.catalogue", "from sdesam.engine.streams import derived", "from sdesam.engine.ensembles import Cloud", "from sdesam.explorer.stopped import Stopped",
    "from sdesam.theory import model_of", "from sdesam.theory import monzio_compagnoni2023 as mc23", "from sdesam.theory.exact.planar import planar_eigenvalues", "",
    `f = ${f}`, state.sigma > 0 ? `g = ss.GaussianOracle(f, ${float(state.sigma)}, dim=2)` : "g = ss.ExactOracle(f)",
    `box = ${state.absorb ? `(${left}, ${right}, ${bottom}, ${top})` : "None"}  # left, right, bottom, top`, ...kernelLines(state, facts),
    `watched = {"f": f, "x[0]": ss.coordinate(0), "x[1]": ss.coordinate(1)${watchedOf(state, reference)}}`,
    `for seed, kernel in zip((${state.seed}, derived(${state.seed}, "${MODEL}")), kernels, strict=True):`,
    `    run = ss.simulate(kernel, ${start}, steps=${steps}, n=${state.n}, seed=seed, save_every=${saveEvery(state)},`,
    `                      observables=watched, internals={"inside": lambda s: s[2]})`,
    `    print(kernel.name, *(f"{name} = {run.estimate(name)[-1]}" for name in (*watched, "inside")), sep="  ")`, "",
  ].join("\n");
}

// The largest divisor of the steps that leaves at most a hundred rows and more.
function saveEvery(state) {
  const steps = Math.max(1, Math.round(state.horizon / state.eta));
  for (let k = Math.max(1, Math.floor(steps / 50)); k > 1; k--) if (steps % k === 0) return k;
  return 1;
}

// In a shell's quotes; what the user brought is named again, by the file where the page knows it.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function commandOf(state, schema, sources) {
  const own = ["landscape", "method"].filter((kind) => state[kind] in sources[kind]);
  const named = own.map((kind) => ` --${kind} ${quoted(sources[kind][state[kind]] || `YOUR_FILE.py:${state[kind]}`)}`).join("");
  return `sdesam render ${quoted(fragmentOf(state, schema))}${named} --n ${state.n} -o explorer.pdf`;
}

export function captionOf(state, pair, version) {
  const numbers = ["eta", "rho", "sigma", "substeps", "n", "seed", "horizon"].map((k) => `${k} = ${format(state[k])}`).join(", ");
  const parameters = Object.entries(state.parameters).map(([k, v]) => `, ${k} = ${format(v)}`).join("");
  return [`sdesam ${version}: ${state.method} (circles) and its SDE, ${state.model} (diamonds), on ${state.landscape}${parameters}; t = ${short(pair.t, 4)}. Bands: 95 %.`, numbers];
}
