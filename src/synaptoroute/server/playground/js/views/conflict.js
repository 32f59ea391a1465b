// Two people have changed the same route: both versions side by side, and what to keep.

import { h } from "../dom.js";
import { dialog } from "../parts/messages.js";

const FIELDS = [["description", "Description"], ["threshold", "Threshold"], ["metadata", "Metadata"]];
const same = (one, other) => JSON.stringify(one ?? null) === JSON.stringify(other ?? null);
const shown = (value) => (value === null || value === undefined ? "none" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** Theirs, with what is mine on top: fields I changed, utterances I added, without those I removed. */
export function merged(base, mine, theirs) {
  const was = new Set(base.utterances);
  const kept = new Set(mine.utterances);
  const result = { ...theirs };
  for (const [name] of FIELDS) if (!same(mine[name], base[name])) result[name] = mine[name];
  const utterances = theirs.utterances.filter((text) => !(was.has(text) && !kept.has(text)));
  utterances.push(...mine.utterances.filter((text) => !was.has(text) && !utterances.includes(text)));
  return body({ ...result, utterances });
}

const body = ({ description, threshold, metadata, utterances }) => ({ description, threshold, metadata, utterances });

/**
 * Ask what shall be saved: gives the content of a route, "theirs" to take over what is stored, null to go on editing.
 *
 * `theirs` is null if the route was deleted.
 */
export function resolve(base, mine, theirs) {
  if (theirs === null) {
    return dialog("Somebody has deleted this route", (close) => [
      h("p", {}, `${mine.name} is not there any more. Your version has ${mine.utterances.length} utterances.`),
      h("div", { class: "row end" },
        h("button", { type: "button", onclick: () => close(null) }, "Go on editing"),
        h("button", { type: "button", onclick: () => close("theirs") }, "Leave it deleted"),
        h("button", { type: "button", class: "primary", onclick: () => close(body(mine)) }, "Create it anew")),
    ]);
  }
  const both = merged(base, mine, theirs);
  return dialog("Somebody else has changed this route", (close) => [
    h("p", { class: "note" }, base.revision
      ? `You began at revision ${base.revision}; it is at ${theirs.revision} now. Compared with where you began:`
      : `A route of this name is there already, since revision ${theirs.revision}. Compared with an empty one:`),
    h("div", { class: "versions two" }, version("Yours", base, mine), version("Stored now", base, theirs)),
    h("div", { class: "row end" },
      h("button", { type: "button", onclick: () => close(null) }, "Go on editing"),
      h("button", { type: "button", onclick: () => close("theirs") }, "Take what is stored"),
      h("button", { type: "button", class: "danger", onclick: () => close(body(mine)) }, "Overwrite with yours"),
      h("button", { type: "button", class: "primary", onclick: () => close(both) }, "Keep both changes")),
  ]);
}

function version(title, base, route) {
  const was = new Set(base.utterances);
  const now = new Set(route.utterances);
  const changes = [
    ...FIELDS.filter(([name]) => !same(base[name], route[name])).map(([name, label]) =>
      h("div", {}, h("p", { class: "label" }, label), h("del", {}, shown(base[name])), h("ins", {}, shown(route[name])))),
    ...base.utterances.filter((text) => !now.has(text)).map((text) => h("del", {}, text)),
    ...route.utterances.filter((text) => !was.has(text)).map((text) => h("ins", {}, text)),
  ];
  return h("section", { class: "version" }, h("h3", {}, title), h("div", { class: "scroll" }, changes.length ? changes : h("p", { class: "note" }, "as it was")));
}
