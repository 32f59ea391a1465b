// The frame: which view is shown, the bar above it, the key, the theme, the keyboard.

import { keyOf, onRefused, setKey } from "./api.js";
import { fill, h, s } from "./dom.js";
import { count } from "./format.js";
import { forget, redraw } from "./parts/charts.js";
import { alertBox, dialog } from "./parts/messages.js";
import { events, refresh, status, watch } from "./state.js";

const VIEWS = [
  ["try", "Try a query", "M4 12h10m0 0-4-4m4 4-4 4M18 5v14"],
  ["routes", "Routes", "M4 6h16M4 12h16M4 18h10"],
  ["evaluate", "Evaluate", "M5 19V9m7 10V5m7 14v-7"],
  ["lint", "Lint", "m5 12 4 4L19 6"],
  ["map", "Map", "M6 7h.01M17 6h.01M12 12h.01M7 17h.01M18 16h.01M9 10h.01M15 14h.01"],
  ["traffic", "Traffic", "M3 12h4l3-7 4 14 3-7h4"],
  ["history", "History", "M12 7v5l3 2M4 12a8 8 0 1 0 3-6.2M4 4v4h4"],
  ["feedback", "Feedback", "M5 5h14v10H9l-4 4Z"],
];
const THEMES = ["auto", "light", "dark"];
const THEME_ICONS = {
  auto: "M12 4a8 8 0 1 0 0 16ZM12 4a8 8 0 0 1 0 16",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2m0 16v2M2 12h2m16 0h2M5 5l1.4 1.4m11.2 11.2L19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  dark: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10Z",
};

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const icon = (path) => s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: path }));

let shown = 0;
let leave = () => {};

// -------------------------------------------------------------------------------------------------------- views
/** "#/routes/a%2Fb" is the view "routes" with "a/b". */
function where() {
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const known = VIEWS.some(([name]) => name === view);
  return { view: known ? view : "try", rest: known && rest.length ? decodeURIComponent(rest.join("/")) : "" };
}

async function show() {
  const { view, rest } = where();
  const [, title] = VIEWS.find(([name]) => name === view);
  shown += 1;
  const mine = shown;
  leave();
  leave = () => {};
  forget(main);
  for (const open of document.querySelectorAll("dialog[open]")) open.close();
  document.title = `${title} · SynaptoRoute`;
  for (const link of nav.querySelectorAll("a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  nav.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const root = h("section", { class: `view view-${view}`, "aria-label": title });
  fill(main, root);
  window.scrollTo(0, 0);
  try {
    const module = await import(`./views/${view}.js`);
    if (mine !== shown) return;
    leave = (await module.show(root, rest)) ?? (() => {});
    if (mine !== shown) leave();
  } catch (error) {
    if (mine === shown && error.name !== "AbortError") fill(root, alertBox(error));
  }
}

fill(nav, VIEWS.map(([name, title, path], at) =>
  h("a", { href: `#/${name}`, data: { view: name } }, icon(path), title, h("kbd", { "aria-hidden": "true" }, at + 1))),
h("a", { href: "docs", class: "apart" }, icon("M8 5 3 12l5 7m8-14 5 7-5 7"), "API"));

let restoring = false;
window.addEventListener("hashchange", async (event) => {
  if (restoring) {
    restoring = false;
    return;
  }
  // A view with something unsaved is asked before it is left.
  if (leave.ask && !(await leave.ask())) {
    restoring = true;
    location.hash = new URL(event.oldURL).hash;
    return;
  }
  show();
});

// ---------------------------------------------------------------------------------------------------------- bar
function facts() {
  const learning = status.settled === false;
  fill(document.getElementById("facts"),
    h("span", {}, h("b", {}, count(status.routes)), ` ${status.routes === 1 ? "route" : "routes"}`),
    h("span", {}, h("b", {}, count(status.utterances)), " utterances"),
    h("span", {}, "revision ", h("b", {}, status.revision)),
    h("span", { title: learning ? "Until it has learned, changed routes are decided by their nearest utterances alone" : null },
      h("span", { class: learning ? "tag warn" : "tag good" }, learning ? "learning" : "learned")),
    h("span", {}, `v${status.version}`));
}

events.addEventListener("status", facts);
events.addEventListener("down", (event) => {
  if (event.detail.status === 401) fill(document.getElementById("facts"), h("span", { class: "tag warn" }, "a key is needed"));
  else fill(document.getElementById("facts"), h("span", { class: "tag bad" }, event.detail.message));
});

// ---------------------------------------------------------------------------------------------------------- key
let asking = false;

async function askKey(reason = null) {
  if (asking) return;
  asking = true;
  const given = await dialog("API key", (close) => {
    const input = h("input", { type: "password", id: "key-input", value: keyOf(), autocomplete: "off", spellcheck: "false", placeholder: "sr_…" });
    return h("form", { onsubmit: (event) => { event.preventDefault(); close(input.value.trim()); } },
      reason && h("p", { class: "alert warn" }, reason),
      h("label", { for: "key-input" }, "Key"), input,
      h("p", { class: "small note" }, "Kept in this tab until it is closed, and sent to this server only."),
      h("div", { class: "row end" },
        keyOf() && h("button", { type: "button", onclick: () => close("") }, "Forget it"),
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Use")));
  }, { narrow: true });
  asking = false;
  if (given === null) return;
  setKey(given);
  keyShown();
  await refresh();
  show();
}

function keyShown() {
  document.getElementById("key-button").textContent = keyOf() ? "API key ✓" : "API key";
}

document.getElementById("key-button").addEventListener("click", () => askKey());
onRefused((problem) => askKey(keyOf() ? "This key is not accepted." : problem.message));
keyShown();

// -------------------------------------------------------------------------------------------------------- theme
const themeButton = document.getElementById("theme-button");

function themed(theme) {
  if (theme === "auto") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("synaptoroute.theme");
  } else {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("synaptoroute.theme", theme);
  }
  fill(themeButton, icon(THEME_ICONS[theme]));
  themeButton.setAttribute("aria-label", `Theme: ${theme}`);
  themeButton.title = `Theme: ${theme}`;
  themeButton.dataset.theme = theme;
  redraw();
  events.dispatchEvent(new Event("theme"));
}

themeButton.addEventListener("click", () => themed(THEMES[(THEMES.indexOf(themeButton.dataset.theme) + 1) % THEMES.length]));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  redraw();
  events.dispatchEvent(new Event("theme"));
});
themed(document.documentElement.dataset.theme ?? "auto");

// ----------------------------------------------------------------------------------------------------- keyboard
const SHORTCUTS = [
  ["1 – 8", "go to a view"],
  ["/", "go to the search or query field"],
  ["Ctrl S", "save the route that is edited"],
  ["↑ ↓ Enter", "move in a list and choose"],
  ["Esc", "close a dialog, leave a field"],
  ["?", "show this"],
];

function help() {
  dialog("Keyboard", (close) => [
    h("dl", { class: "keys" }, SHORTCUTS.map(([keys, what]) => [h("dt", {}, keys.split(" ").map((key) => (key === "–" ? " – " : h("kbd", {}, key)))), h("dd", {}, what)])),
    h("div", { class: "row end" }, h("button", { type: "button", class: "primary", onclick: () => close() }, "Close")),
  ], { narrow: true });
}

document.getElementById("help-button").addEventListener("click", help);
document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "Escape" && typing) typing.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    main.querySelector("[data-first]")?.focus();
    event.preventDefault();
  } else if (event.key === "?") {
    help();
  } else if (/^[1-8]$/.test(event.key)) {
    location.hash = `#/${VIEWS[Number(event.key) - 1][0]}`;
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

await watch();
show();
