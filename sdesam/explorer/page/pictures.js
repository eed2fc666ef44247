// What a screen draws: two maps, three plots, the phase map; still things once, moving ones every frame.
import { ALGORITHM, MODEL } from "./ensemble.js";
import { arrow, drawCloud, drawGround, drawHandles, drawHover, frameOf } from "./maps.js";
import { reliefOf } from "./contours.js";
import { surfaceOf } from "./paint.js";
import { drawPlot, plotsOf } from "./plots.js";

const PLOT_EVERY = 50; // ms between pictures of the plots and of the status line

export class Pictures {
  colors() {
    const style = getComputedStyle(this.root), of = (name) => style.getPropertyValue(`--${name}`).trim();
    return Object.fromEntries(["algorithm", "model", "theory", "start", "ink", "muted", "line", "grid", "ground", "paper", "contour", "pin", "check"].map((name) => [name, of(name)]));
  }

  drawMap(ctx, width, height, name, colors) {
    const frame = frameOf(width, height, this.view);
    this.drawGround(ctx, frame, colors);
    drawCloud(ctx, frame, this.pair.sides[name], name, colors, this.most);
    drawHandles(ctx, frame, this.state, colors);
    if (name === ALGORITHM && this.slow && this.ascent) this.drawHalfSteps(ctx, frame, colors);
    if (this.hover && this.hover.name === name) drawHover(ctx, frame, this.science, this.pair.p, this.pair.state.method, this.hover.at, colors);
    return frame;
  }

  // What stands still is drawn once into a picture of its own, until a number, a size or a colour changes.
  drawGround(ctx, frame, colors) {
    const { width, height } = frame, key = `${width}x${height}`;
    if (!this.reliefs.has(key)) this.reliefs.set(key, reliefOf(this.science, this.p, frame.half));
    const parts = { relief: this.reliefs.get(key), points: this.points, region: this.region, colors };
    if (!ctx.drawImage || !ctx.canvas.isConnected) return drawGround(ctx, frame, parts);
    const ratio = ctx.canvas.width / width, place = this.grounds.get(ctx.canvas);
    const seen = [this.scene, key, ratio, colors.paper, this.reference.x, this.region.length && this.state.rho].join();
    if (place?.seen === seen) return ctx.drawImage(place.picture, 0, 0, width, height);
    const picture = document.createElement("canvas");
    Object.assign(picture, { width: ctx.canvas.width, height: ctx.canvas.height });
    const still = picture.getContext("2d");
    still.scale(ratio, ratio);
    drawGround(still, frame, parts);
    this.grounds.set(ctx.canvas, { seen, picture });
    ctx.drawImage(picture, 0, 0, width, height);
  }

  drawHalfSteps(ctx, frame, colors) {
    const s = this.phaseOfStep, part = (a, b, u) => frame.to(a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1]));
    for (const { from, up, to } of this.ascent) {
      arrow(ctx, ...frame.to(...from), ...part(from, up, Math.min(1, 2 * s)), colors.theory, 1.4);
      if (s > 0.5) arrow(ctx, ...frame.to(...from), ...part(from, to, 2 * s - 1), colors.ink, 1.8);
    }
  }

  draw() {
    const colors = this.colors(), { canvases } = this.panel;
    this.frameOfMap = {};
    for (const name of [ALGORITHM, MODEL]) {
      const { ctx, width, height } = surfaceOf(canvases[name]);
      this.frameOfMap[name] = this.drawMap(ctx, width, height, name, colors);
    }
    const now = performance.now();
    if (now - (this.plotted || 0) > PLOT_EVERY || !this.playing || this.finished) {
      this.plotted = now;
      this.drawPlots(colors);
    }
    this.dirty = false;
    this.painted = (this.painted || 0) + 1;
    this.firstPicture ??= performance.now(); // ms since the page was asked for
  }

  drawPlots(colors) {
    const specs = plotsOf(this.pair, { ...this.plotParts(), colors });
    ["quantity", "survival", "loss"].forEach((key, k) => {
      const { ctx, width, height } = surfaceOf(this.panel.canvases[key]);
      drawPlot(ctx, width, height, specs[k], colors);
    });
    this.drawPhase(colors);
    this.panel.status();
  }

  drawPhase(colors = this.colors()) {
    const { ctx, width, height } = surfaceOf(this.panel.canvases.phase);
    this.phase.draw(ctx, width, height, colors);
    this.phaseDirty = false;
  }

  plotParts() {
    const gone = this.state.absorb ? this.pair.series.t.findIndex((_, k) => this.pair.series[ALGORITHM].inside[k] < 0.99) : -1;
    const last = gone < 0 ? Infinity : gone;
    const stride = Math.max(1, Math.ceil(this.spread.length / 400));
    const spread = this.spread.map((v, k) => [k * this.state.eta, v]).filter(([, v], k) => k % stride === 0 && k <= last && v < 1e3);
    return { state: this.state, theory: this.theory, spread, reference: this.reference, pins: this.pins, check: this.check };
  }
}
