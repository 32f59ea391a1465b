// One route: its fields, saved on the condition that nobody else has changed it meanwhile.

import { call, get, routePath } from "../api.js";
import { debounced, field, fill, h } from "../dom.js";
import { plural } from "../format.js";
import { alertBox, complain, confirmed, toast } from "../parts/messages.js";
import { may, refresh } from "../state.js";
import { resolve } from "./conflict.js";
import { utteranceList } from "./utterance_list.js";

/**
 * An editor of the route of that name; null for a new one. `saved(name)` is called after a change, with null for one that
 * was deleted.
 */
export function editor(name, { saved }) {
  const element = h("div", { class: "card editor" });
  const writing = may("write");
  const title = h("input", { value: name ?? "", maxlength: 128, spellcheck: "false", readonly: name !== null, required: true });
  const description = h("textarea", { rows: 2, maxlength: 8192, readonly: !writing });
  const threshold = h("input", { type: "number", min: -1, max: 1, step: "any", placeholder: "none", readonly: !writing });
  const metadata = h("textarea", { rows: 4, class: "mono", spellcheck: "false", readonly: !writing });
  const utterances = utteranceList({ writing, changed: () => note() });
  const notice = h("div", {});
  const says = h("span", { class: "small note", role: "status" });
  const save = h("button", { type: "submit", class: "primary", disabled: true }, name === null ? "Create" : "Save");
  const revert = h("button", { type: "button", disabled: true, onclick: () => put(base) }, "Revert");
  let base = { name: name ?? "", description: null, threshold: null, metadata: {}, utterances: [], revision: 0 };
  let closed = false;
  const self = { name, element, gone: false };

  const put = (route) => {
    description.value = route.description ?? "";
    threshold.value = route.threshold ?? "";
    metadata.value = Object.keys(route.metadata ?? {}).length ? JSON.stringify(route.metadata, null, 2) : "";
    utterances.put(route.utterances);
    note();
  };

  const current = () => ({
    name: name ?? title.value.trim().normalize("NFC"),
    description: description.value.trim() || null,
    threshold: threshold.value === "" ? null : threshold.valueAsNumber,
    metadata: metadata.value.trim() ? JSON.parse(metadata.value) : {},
    utterances: utterances.texts(),
  });

  self.dirty = () => {
    if (!writing || closed) return false;
    try {
      return JSON.stringify(plain(current())) !== JSON.stringify(plain(base));
    } catch {
      return true;
    }
  };

  const note = () => {
    const dirty = self.dirty();
    save.disabled = !dirty || !utterances.texts().length || (name === null && !title.value.trim());
    revert.disabled = !dirty;
    says.textContent = dirty ? "not saved" : "";
  };

  const write = async (route, condition) => {
    const { name: to, ...body } = route;
    const options = condition === 0 ? { onlyNew: true } : { revision: condition };
    save.disabled = true;
    try {
      const now = await call("PUT", routePath(to), { body, ...options });
      base = now;
      self.gone = false;
      put(now);
      fill(notice);
      toast(name === null ? `Route ${to} is there.` : "Saved.");
      await refresh();
      saved(to);
    } catch (problem) {
      note();
      if (problem.status === 412 || problem.status === 409) await settle(route);
      else fill(notice, alertBox(problem));
    }
  };

  /** Somebody else was faster: show both, and let the user choose. */
  const settle = async (mine) => {
    let theirs = null;
    try {
      theirs = await get(routePath(mine.name));
    } catch (problem) {
      if (problem.status !== 404) return complain(problem);
    }
    const chosen = await resolve(base, mine, theirs);
    if (chosen === null) return undefined;
    if (chosen === "theirs") {
      if (theirs === null) return saved(null);
      base = theirs;
      put(theirs);
      return saved(mine.name);
    }
    return write({ ...chosen, name: mine.name }, theirs?.revision ?? 0);
  };

  const submit = () => {
    let route;
    try {
      route = current();
    } catch {
      fill(notice, alertBox(new Error("The metadata is not a JSON object.")));
      return;
    }
    write(route, name === null ? 0 : base.revision);
  };

  const remove = async () => {
    const sure = await confirmed(`Delete ${name}?`, `Its ${plural(base.utterances.length, "utterance")} go with it. History can bring it back.`, { yes: "Delete", danger: true });
    if (!sure) return;
    try {
      await call("DELETE", routePath(name), { revision: base.revision });
      closed = true;
      toast(`Route ${name} is deleted.`);
      await refresh();
      saved(null);
    } catch (problem) {
      if (problem.status === 412) await settle(current());
      else complain(problem);
    }
  };

  self.changedElsewhere = async () => {
    if (name === null || closed) return;
    try {
      const now = await get(routePath(name));
      if (now.revision === base.revision) return;
      if (self.dirty()) {
        fill(notice, h("div", { class: "alert warn row apart" }, `Somebody has changed this route (revision ${now.revision}).`,
          h("button", { type: "button", class: "compact", onclick: () => settle(current()) }, "Compare")));
      } else {
        base = now;
        put(now);
      }
    } catch (problem) {
      if (problem.status !== 404) return;
      self.gone = true;
      fill(notice, h("div", { class: "alert warn" }, "This route was deleted by somebody. Saving creates it anew."));
    }
  };

  self.close = () => {
    closed = true;
    document.removeEventListener("keydown", keys);
  };
  const keys = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s" && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      if (!save.disabled) submit();
    }
  };
  document.addEventListener("keydown", keys);

  for (const input of [title, description, threshold, metadata]) input.addEventListener("input", debounced(note, 60));
  self.ready = name === null ? Promise.resolve() : get(routePath(name)).then((route) => {
    base = route;
    draw();
    put(route);
  }).catch((problem) => fill(element, alertBox(problem)));

  const draw = () => fill(element,
    h("form", { class: "stack", onsubmit: (event) => { event.preventDefault(); submit(); } },
      h("div", { class: "row apart" },
        h("h2", { class: "break" }, name ?? "New route"),
        name !== null && h("span", { class: "small note" }, `changed last at revision ${base.revision}`)),
      notice,
      name === null && field("Name", title, "1 to 128 letters, digits, spaces or _ . , : / @ + & ( ) ? ! ' -"),
      field("Description", description),
      field("Threshold", threshold, "Least cosine score of the nearest utterance, from -1 to 1. Empty leaves it to the calibrated confidence."),
      utterances.element,
      h("details", {}, h("summary", {}, "Metadata"), h("div", {}, metadata)),
      writing && h("div", { class: "row apart actions" },
        h("div", { class: "row" }, save, revert, says),
        name !== null && h("button", { type: "button", class: "danger", onclick: remove }, "Delete"))));

  if (name === null) {
    draw();
    put(base);
    queueMicrotask(() => title.focus());
  }
  return self;
}

/** What of a route a person edits, in one order. */
function plain(route) {
  return [route.description ?? null, route.threshold ?? null, sorted(route.metadata ?? {}), route.utterances];
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}
