// What was done to the routes, by whom; how revisions differ; and ways back.

import { call, get, post } from "../api.js";
import { fill, h } from "../dom.js";
import { ago, count, plural, when } from "../format.js";
import { alertBox, complain, confirmed, dialog, toast } from "../parts/messages.js";
import { routePicker } from "../parts/picker.js";
import { events, may, refresh, status } from "../state.js";

const PAGE = 200;
const ROUTES_NAMED = 6;
const SIGNS = { add: "plus", delete: "minus", update: "", migrate: "" };

export async function show(root) {
  const list = h("ol", { class: "revisions" });
  const shelf = h("div", { class: "stack tight" });
  const route = routePicker({ label: "Only this route", placeholder: "All routes" });
  const more = h("button", { type: "button", class: "quiet", hidden: true }, "Show older");
  let limit = PAGE;

  const load = async () => {
    try {
      const name = route.choice() || null;
      const { entries } = await get("v1/history", { limit, route: name });
      const revisions = grouped(entries);
      fill(list, revisions.length ? revisions.map((revision) => entry(revision, load)) : h("li", { class: "empty" }, "Nothing has been changed yet."));
      more.hidden = entries.length < limit;
    } catch (error) {
      fill(list, h("li", {}, alertBox(error)));
    }
  };

  const loadShelf = async () => {
    try {
      const { snapshots } = await get("v1/snapshots");
      fill(shelf, snapshots.length ? snapshots.map((snapshot) => kept(snapshot, loadShelf)) : h("p", { class: "note small" }, "None saved."));
    } catch (error) {
      fill(shelf, alertBox(error));
    }
  };

  const name = h("input", { placeholder: "Name, such as before-launch", "aria-label": "Name of the snapshot", maxlength: 128, required: true });
  const save = async (event) => {
    event.preventDefault();
    try {
      await post("v1/snapshots", { name: name.value.trim() });
      toast(`Saved as ${name.value.trim()}.`);
      name.value = "";
      await loadShelf();
    } catch (error) {
      complain(error);
    }
  };

  const first = h("input", { type: "number", min: 0, "aria-label": "First revision", required: true });
  const second = h("input", { type: "number", min: 0, "aria-label": "Second revision", value: status?.revision ?? "", required: true });
  const compare = (event) => {
    event.preventDefault();
    differences(first.valueAsNumber, second.valueAsNumber);
  };

  route.input.addEventListener("change", load);
  more.addEventListener("click", () => { limit += 5 * PAGE; load(); });
  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "History"), h("p", {}, "Going back is a change of its own, so it can be undone as well.")), h("div", { class: "search-box" }, route)),
    h("div", { class: "history-grid" },
      h("div", { class: "card" }, list, more),
      h("div", { class: "stack" },
        h("section", { class: "card stack tight" }, h("h2", {}, "Compare"), h("form", { class: "row nowrap", onsubmit: compare }, first, h("span", {}, "to"), second, h("button", { type: "submit" }, "Show"))),
        h("section", { class: "card stack tight" }, h("h2", {}, "Snapshots"), h("p", { class: "small note" }, "Kept until deleted, however much history is forgotten."),
          shelf, may("write") && h("form", { class: "row nowrap", onsubmit: save }, name, h("button", { type: "submit" }, "Save"))))));
  await Promise.all([load(), loadShelf()]);
  events.addEventListener("revision", load);
  return () => events.removeEventListener("revision", load);
}

function grouped(entries) {
  const revisions = [];
  for (const one of entries) {
    const last = revisions[revisions.length - 1];
    if (last?.revision === one.revision) last.entries.push(one);
    else revisions.push({ ...one, entries: [one] });
  }
  return revisions;
}

function entry(revision, changed) {
  const { entries } = revision;
  return h("li", {},
    h("div", { class: "when" }, h("b", { class: "num" }, revision.revision), h("time", { class: "small note", datetime: revision.at, title: when(revision.at) }, ago(revision.at))),
    h("div", { class: "grow" },
      h("p", { class: "break" }, entries.slice(0, ROUTES_NAMED).map((one, at) => [at > 0 && ", ", h("span", { class: SIGNS[one.operation] }, `${one.operation} `), one.route === null ? "another encoder" : one.route]),
        entries.length > ROUTES_NAMED && ` and ${count(entries.length - ROUTES_NAMED)} more`),
      h("p", { class: "small note break" }, [revision.actor && `by ${revision.actor}`, revision.cause].filter(Boolean).join(" · "))),
    h("div", { class: "row" },
      h("button", { type: "button", class: "compact", "aria-label": `What revision ${revision.revision} changed`, onclick: () => differences(revision.revision - 1, revision.revision) }, "Diff"),
      revision.revision !== status?.revision && may("admin") && h("button", { type: "button", class: "compact", "aria-label": `Go back to revision ${revision.revision}`, onclick: () => back(revision.revision, changed) }, "Go back to")));
}

/** The changes between two revisions, as elements. */
function changesOf(diff) {
  if (!diff.changes.length) return h("p", { class: "note" }, "They are the same.");
  return h("div", { class: "scroll tall", tabindex: 0, role: "group", "aria-label": "Changes" }, diff.changes.map((change) =>
    h("section", { class: "change" },
      h("h3", { class: "break" }, h("span", { class: SIGNS[change.operation] }, `${change.operation} `), change.route),
      Object.entries(change.fields).map(([field, { before, after }]) => [h("p", { class: "label" }, field), h("del", {}, text(before)), h("ins", {}, text(after))]),
      change.removed.map((utterance) => h("del", {}, utterance)),
      change.added.map((utterance) => h("ins", {}, utterance)))));
}

const text = (value) => (value === null ? "none" : typeof value === "object" ? JSON.stringify(value) : String(value));

async function differences(first, second) {
  try {
    const diff = await get("v1/diff", { first, second });
    await dialog(`From revision ${first} to ${second}`, (close) => [changesOf(diff), h("div", { class: "row end" }, h("button", { type: "button", class: "primary", onclick: () => close() }, "Close"))]);
  } catch (error) {
    complain(error);
  }
}

async function back(revision, changed) {
  try {
    const from = status.revision;
    const diff = await get("v1/diff", { first: from, second: revision });
    const body = h("div", { class: "stack" }, h("p", {}, `${plural(diff.changes.length, "route")} would change:`), changesOf(diff));
    if (!(await confirmed(`Go back to revision ${revision}?`, body, { yes: "Go back" }))) return;
    const now = await post("v1/rollback", { revision }, { revision: from });
    toast(`The routes are those of revision ${revision}; this is revision ${now.revision}.`);
    await refresh();
    await changed();
  } catch (error) {
    complain(error);
  }
}

function kept(snapshot, changed) {
  const { name } = snapshot;
  const use = async () => {
    if (!(await confirmed(`Use ${name}?`, "The routes become what they were when it was saved. This is a change like any other and can be undone.", { yes: "Use it" }))) return;
    try {
      await post(`v1/snapshots/${encodeURIComponent(name)}/use`);
      toast(`The routes are those of ${name}.`);
      await refresh();
    } catch (error) {
      complain(error);
    }
  };
  const remove = async () => {
    if (!(await confirmed(`Delete the snapshot ${name}?`, "This cannot be undone.", { yes: "Delete", danger: true }))) return;
    try {
      await call("DELETE", `v1/snapshots/${encodeURIComponent(name)}`);
      await changed();
    } catch (error) {
      complain(error);
    }
  };
  const at = snapshot.at ?? snapshot.created_at;
  return h("div", { class: "row apart snapshot" },
    h("div", { class: "grow" }, h("b", { class: "break" }, name), h("p", { class: "small note" }, `revision ${snapshot.revision}`, at && `, ${ago(at)}`)),
    may("admin") && h("div", { class: "row" }, h("button", { type: "button", class: "compact", "aria-label": `Use snapshot ${name}`, onclick: use }, "Use"),
      h("button", { type: "button", class: "compact danger", "aria-label": `Delete snapshot ${name}`, onclick: remove }, "Delete")));
}
