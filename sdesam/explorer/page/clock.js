// A screen in time: the loop of frames, the steps of both sides, slow motion, and what becomes too heavy.
import { ALGORITHM, MODEL } from "./ensemble.js";
import { Pictures } from "./pictures.js";

const BUDGET = 8; // ms of a frame for simulating
const HEAVY = 33; // ms of work a frame beyond which fewer particles are drawn
const RUN_SECONDS = 14; // to the horizon at speed 1
const LEAST = 2; // steps a second, where the horizon has only a few
const SLOW_SECONDS = 1.6; // one step in slow motion

export class Clock extends Pictures {
  request() {
    this.ticket = requestAnimationFrame(this.frame);
  }

  stop() {
    cancelAnimationFrame(this.ticket);
    this.panel.leave();
    this.stopped = true;
  }

  frame(now) {
    if (this.stopped) return;
    const passed = Math.min(0.1, (now - (this.last ?? now)) / 1000), began = performance.now();
    this.last = now;
    if (this.pair && this.root.isConnected && !document.hidden && !this.unseen) {
      if (this.playing) this.move(passed, began);
      if (this.phase.advance(Math.max(performance.now() + 2, began + BUDGET))) this.phaseDirty = true;
      if (this.dirty || this.hover || this.slow) this.draw();
      else if (this.phaseDirty) this.drawPhase();
      this.measure(performance.now() - began);
    }
    this.frames = (this.frames || 0) + 1;
    this.request();
  }

  get finished() {
    return this.pair.t >= this.state.horizon * (1 - 1e-9);
  }

  move(passed, began) {
    if (this.slow) return this.slowly(passed);
    if (this.finished) return;
    this.owed += passed * this.speed * Math.max(this.state.horizon / RUN_SECONDS, LEAST * this.state.eta);
    let steps = 0;
    while (this.owed >= this.state.eta && !this.finished && (steps === 0 || performance.now() - began < BUDGET)) {
      this.step();
      this.owed -= this.state.eta;
      steps++;
    }
    this.owed = Math.min(this.owed, this.state.eta * 4);
    if (!this.finished) return;
    this.play(false);
    this.summary(true);
  }

  // One step of both sides.
  step() {
    if (this.finished) return;
    const { switch_at: at, switch_to: to } = this.state;
    if (at > 0 && to && !this.switched && this.pair.t >= at - 1e-9) this.turn(to);
    this.pair.step();
    this.dirty = true;
    this.tell();
  }

  // The method becomes another at a time that the state names; the address keeps the first one.
  turn(to) {
    this.switched = true;
    this.pair.apply({ ...this.state, method: this.science.models[to] ? to : this.state.method, model: "theory" });
  }

  // New numbers for the moving clouds; a method that has been switched stays so.
  follow() {
    if (this.switched) this.turn(this.state.switch_to);
    else this.pair.apply(this.state);
  }

  // Slow motion: the ascent of some particles first, then the step itself.
  slowly(passed) {
    if (this.finished) return;
    this.phaseOfStep = (this.phaseOfStep || 0) + passed / SLOW_SECONDS;
    if (!this.ascent) {
      const cloud = this.pair.sides[ALGORITHM], before = Float64Array.from(cloud.x), on = Uint8Array.from(cloud.on);
      const method = this.pair.state.method;
      this.step();
      const z = this.pair.used, n = cloud.n, ascent = this.science.f[`${method}/ascent`];
      const chosen = Array.from({ length: n }, (_, i) => i).filter((i) => on[i]).slice(0, 40);
      this.ascent = chosen.map((i) => ({ from: [before[i], before[n + i]], up: ascent(this.pair.p, [before[i], before[n + i], z[i], z[n + i]]), to: [cloud.x[i], cloud.x[n + i]] }));
    }
    if (this.phaseOfStep >= 1) Object.assign(this, { phaseOfStep: 0, ascent: null });
  }

  measure(work) {
    this.work = 0.95 * this.work + 0.05 * work;
    if ((this.frames || 0) % 60) return;
    this.heavy = this.work > HEAVY ? (this.heavy || 0) + 1 : 0;
    if (this.heavy < 3) return;
    this.heavy = 0;
    if (this.most > 1500) {
      this.most = 1500;
      this.note(`A frame takes ${Math.round(this.work)} ms: 1,500 of ${this.state.n} particles are drawn, all are simulated.`);
    } else if (this.state.n > 1000 && this.toldHeavy !== this.state.n) {
      this.toldHeavy = this.state.n; // once for a number of particles, however often the run begins anew
      this.note(`This is heavy (${Math.round(this.work)} ms a frame).`, "note", ["Use 1,000 particles", () => this.set({ n: 1000 })]);
    }
  }

  tell() {
    const diverged = this.pair.sides[ALGORITHM].diverged + this.pair.sides[MODEL].diverged;
    if (diverged && !this.told.has("diverged")) {
      this.told.add("diverged");
      this.note("Particles diverged: they are frozen and left out of the means.", "warning");
    }
  }
}
