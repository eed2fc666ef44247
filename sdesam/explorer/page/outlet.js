// What leaves the page through its buttons: files, texts for the clipboard, and the link.
import { banner, el } from "./controls.js";
import { ALGORITHM, MODEL } from "./ensemble.js";
import { captionOf, commandOf, csvOf, download, jsonOf, pngOf, pythonOf, sheetPanels, svgOf } from "./exports.js";
import { drawPlot, plotsOf } from "./plots.js";
import { fragmentOf } from "./state.js";

export class Outlet {
  exports() {
    const { screen } = this, version = screen.config.version, name = () => `sdesam-${screen.state.landscape}-${screen.state.method}`;
    const sheet = () => [sheetPanels(this.draws()), captionOf(screen.state, screen.pair, version), screen.colors()];
    return [
      ["PNG picture", async () => download(await pngOf(...sheet()), `${name()}.png`)], ["SVG picture", () => download(svgOf(...sheet()), `${name()}.svg`)],
      ["JSON data", () => download(jsonOf(screen.state, screen.pair, version), `${name()}.json`)], ["CSV data", () => download(csvOf(screen.pair), `${name()}.csv`)],
      ["Copy Python", () => this.copy(pythonOf(screen.state, screen.science.facts, screen.reference.x), "Python")], ["Copy command", () => this.copy(commandOf(screen.state, screen.schema, screen.config.sources), "command")],
    ];
  }

  draws() {
    const { screen } = this, colors = screen.colors(), specs = plotsOf(screen.pair, { ...screen.plotParts(), colors });
    const maps = [ALGORITHM, MODEL].map((name) => (ctx, w, h) => screen.drawMap(ctx, w, h, name, colors));
    return [...maps, (ctx, w, h) => screen.phase.draw(ctx, w, h, colors), ...specs.map((spec) => (ctx, w, h) => drawPlot(ctx, w, h, spec, colors))];
  }

  async copy(text, what) {
    this.copied = text;
    try {
      await navigator.clipboard.writeText(text);
      banner(this.banners, `The ${what} is on the clipboard.`);
    } catch {
      this.banners.querySelector(".copy")?.parentNode.remove();
      const area = el("textarea", { class: "copy", readonly: "", "aria-label": what, rows: "6" }, text);
      const note = banner(this.banners, `Copy the ${what} from here:`);
      note?.insertBefore(area, note.lastChild);
      area.select();
    }
  }

  share() {
    const base = this.screen.host.address?.() ?? "";
    return this.copy(`${base}#${fragmentOf(this.screen.state, this.screen.schema)}`, "link");
  }
}
