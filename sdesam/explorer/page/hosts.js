// Where the screen lives: a file, the toolkit's local server, or a notebook.
import { Screen } from "./main.js";
import { fragmentOf, parseFragment } from "./state.js";

const HEARTBEAT = 10000; // ms
const PATIENCE = 120000; // ms for a check in a notebook

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
    host.load = async (landscape, method) => {
      const path = `./science/${encodeURIComponent(landscape)}/${encodeURIComponent(method)}.js`;
      await answerOf(path); // its refusal has a sentence, an import's has none
      return (await import(path)).science;
    };
    host.check = (state) => ask("check", state);
  }
  const screen = new Screen(root, config, host);
  window.addEventListener("hashchange", () => {
    const fragment = location.hash.slice(1);
    if (fragment === saved) return;
    saved = fragment;
    follow(screen, fragment);
  });
  if (config.server) setInterval(() => heartbeat(screen), HEARTBEAT);
  return screen;
}

// Another address on the same screen.
function follow(screen, fragment) {
  const { state, notes } = parseFragment(fragment, screen.schema);
  notes.forEach((text) => screen.note(text));
  screen.panel.forget();
  screen.open(state);
}

async function answerOf(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("the local server is gone.");
  });
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

async function ask(path, body) {
  const sent = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await answerOf(`./${path}`, sent)).json();
}

// Told once each time that it goes.
async function heartbeat(screen) {
  const alive = await fetch("./alive").then((a) => a.ok, () => false);
  if (!alive && !screen.alone) screen.note("The toolkit’s server is gone: the page goes on without it.", "warning");
  screen.alone = !alive;
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
        setTimeout(() => reject(new Error("the notebook’s kernel is silent.")), PATIENCE);
      }),
  };
  const screen = new Screen(root, config, host);
  model.on("msg:custom", (message) => {
    const [resolve, reject] = waiting.shift() || [];
    if (message.error) reject?.(new Error(message.error));
    else resolve?.(message.found);
  });
  model.on("change:fragment", () => {
    const text = model.get("fragment");
    if (!screen.state || text !== fragmentOf(screen.state, screen.schema)) follow(screen, text);
  });
  return () => screen.stop();
}
