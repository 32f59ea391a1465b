// All routes, searched and listed; the chosen one beside them, to be edited.

import { debounced, fill, h } from "../dom.js";
import { count, plural } from "../format.js";
import { confirmed, alertBox } from "../parts/messages.js";
import { virtualList } from "../parts/virtual.js";
import { events, may, routes } from "../state.js";
import { editor } from "./route_editor.js";
import { transfer } from "./transfer.js";

export async function show(root, wanted) {
  const search = h("input", { type: "search", placeholder: "Search names and descriptions…", "aria-label": "Search routes", data: { first: "" } });
  const found = h("p", { class: "small note", role: "status" });
  const pane = h("div", { class: "pane" });
  let all = [];
  let open = null;

  const list = virtualList({
    label: "Routes",
    rowPx: 56,
    render: (route) => [
      h("div", { class: "row apart nowrap" }, h("b", { class: "cut" }, route.name), h("span", { class: "small note num" }, count(route.utterance_count))),
      h("div", { class: "small note cut" }, route.description || (route.threshold === null ? "no description" : `threshold ${route.threshold}`)),
    ],
    pick: (route) => choose(route.name),
  });

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = words.length
      ? all.filter((route) => words.every((word) => `${route.name} ${route.description ?? ""}`.toLowerCase().includes(word)))
      : all;
    found.textContent = words.length ? `${plural(matching.length, "route")} of ${count(all.length)}` : plural(all.length, "route");
    list.show(matching);
    list.choose(matching.find((route) => route.name === open?.name) ?? null);
  };

  const load = async (fresh = false) => {
    all = await routes({ fresh });
    filter();
  };

  const leaveOpen = async () =>
    !open?.dirty() || confirmed("Leave without saving?", "The changes to this route are not saved.", { yes: "Leave", danger: true });

  const choose = async (name) => {
    if (open?.name === name && !open.gone) return;
    if (!(await leaveOpen())) return;
    history.replaceState(null, "", `#/routes/${encodeURIComponent(name)}`);
    await put(name);
  };

  const put = async (name) => {
    open?.close();
    open = editor(name, {
      saved: async (now) => {
        await load(true);
        if (now === null) {
          open = null;
          fill(pane, hint());
          history.replaceState(null, "", "#/routes");
        } else if (now !== name) {
          await put(now);
        }
        filter();
      },
    });
    fill(pane, open.element);
    pane.scrollTop = 0;
    list.choose(list.items().find((route) => route.name === name) ?? null);
    await open.ready;
  };

  const hint = () => h("div", { class: "card empty" }, all.length ? "Choose a route, or add one." : "There are no routes yet. Add the first one, or import a file.");

  fill(root,
    h("div", { class: "head" },
      h("div", {}, h("h1", {}, "Routes"), h("p", {}, "Changes are durable when they are saved, and the next query sees them.")),
      h("div", { class: "row" }, transfer(() => load(true)),
        h("button", { type: "button", class: "primary", disabled: !may("write"), onclick: async () => (await leaveOpen()) && put(null) }, "New route"))),
    h("div", { class: "routes-grid" }, h("div", { class: "card list-card" }, h("div", { class: "search" }, search, found), list), pane));

  search.addEventListener("input", debounced(filter, 80));
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") {
      list.focus();
      event.preventDefault();
    }
  });
  try {
    await load();
  } catch (error) {
    fill(pane, alertBox(error));
    return () => {};
  }
  if (wanted) await put(wanted);
  else fill(pane, hint());

  const changed = () => load(true).then(() => open?.changedElsewhere()).catch(() => {});
  const unload = (event) => open?.dirty() && event.preventDefault();
  events.addEventListener("revision", changed);
  window.addEventListener("beforeunload", unload);
  const leave = () => {
    events.removeEventListener("revision", changed);
    window.removeEventListener("beforeunload", unload);
    open?.close();
  };
  return Object.assign(leave, { ask: leaveOpen });
}
