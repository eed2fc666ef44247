// Light or dark: as the notebook around the screen says, else as the reader's system does.
const DARK = "(prefers-color-scheme: dark)";
const WORDS = { dark: /^(vscode-|theme-)?(dark|high-contrast)(-theme)?$/, light: /^(vscode-|theme-)?(high-contrast-)?light(-theme)?$/ };

// JupyterLab says it in an attribute of the body, VS Code and marimo in its classes.
export function themeOf(body) {
  const jupyter = body.dataset.jpThemeLight, classes = [...body.classList];
  if (jupyter === "true" || jupyter === "false") return jupyter === "true" ? "light" : "dark";
  for (const name of ["light", "dark"]) if (classes.some((word) => WORDS[name].test(word))) return name;
  return matchMedia(DARK).matches ? "dark" : "light";
}

// Keeps `data-theme` of the root true and tells of changes; returns what ends that.
export function followTheme(root, changed) {
  const body = root.ownerDocument.body, system = matchMedia(DARK);
  const look = () => {
    if (root.dataset.theme === themeOf(body)) return;
    root.dataset.theme = themeOf(body);
    changed();
  };
  const watcher = new MutationObserver(look);
  watcher.observe(body, { attributes: true, attributeFilter: ["class", "data-jp-theme-light"] });
  system.addEventListener("change", look);
  look();
  return () => (watcher.disconnect(), system.removeEventListener("change", look));
}
