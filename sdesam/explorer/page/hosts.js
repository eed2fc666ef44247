// Where the screen lives: a file, the toolkit's local server, or a notebook.
import { Screen } from "./main.js";
import { parseFragment } from "./state.js";

const HEARTBEAT = 10000; // ms

// A page of its own.  `config.server` says that the toolkit answers beside it.
export function openPage(config) {
  const root = document.getElementById("sdesam");
  let saved = location.hash.slice(1);
  const host = {
    kind: config.server ? "server" : "file",
    fragment: location.hash,
    address: () => location.href.split("#")[0],
    save: (fragment) => {
      saved = fragment;
      history.replaceState(null, "", `#${fragment}`);
    },
  };
  if (config.server) {
    host.load = async (landscape, method) => (await import(`./science/${encodeURIComponent(landscape)}/${encodeURIComponent(method)}.js`)).science;
    host.check = (state) => ask("check", state);
  }
  const screen = new Screen(root, config, host);
  window.addEventListener("hashchange", () => {
    const fragment = location.hash.slice(1);
    if (fragment === saved) return;
    saved = fragment;
    const { state, notes } = parseFragment(fragment, screen.schema);
    notes.forEach((text) => screen.note(text));
    screen.open(state);
  });
  if (config.server) setInterval(() => heartbeat(screen), HEARTBEAT);
  return screen;
}

async function ask(path, body) {
  const answer = await fetch(`./${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(() => {
    throw new Error("the local server is gone.");
  });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

async function heartbeat(screen) {
  const alive = await fetch("./alive").then((a) => a.ok, () => false);
  if (!alive) screen.note("The toolkit’s server is gone: the page goes on without it.", "warning");
  return alive;
}

// anywidget: the state travels as a trait, checks as messages.
export function render({ model, el: root }) {
  const config = { ...model.get("config"), sciences: [notebookScience] };
  const waiting = [];
  const host = {
    kind: "notebook",
    fragment: model.get("fragment"),
    save: (fragment) => {
      model.set("fragment", fragment);
      model.save_changes();
    },
    check: (state) =>
      new Promise((resolve, reject) => {
        waiting.push([resolve, reject]);
        model.send({ check: state });
      }),
  };
  const screen = new Screen(root, config, host);
  model.on("msg:custom", (message) => {
    const [resolve, reject] = waiting.shift() || [];
    if (message.error) reject?.(new Error(message.error));
    else resolve?.(message.found);
  });
  model.on("change:fragment", () => {
    const text = model.get("fragment"), { state, notes } = parseFragment(text, screen.schema);
    if (JSON.stringify(state) === JSON.stringify(screen.state)) return;
    notes.forEach((note) => screen.note(note));
    screen.open(state);
  });
  return () => screen.stop();
}
