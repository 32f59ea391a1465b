// What looks wrong with the routes themselves, and changes that mend it.

import { get, post } from "../api.js";
import { fill, h } from "../dom.js";
import { count, plural, shortened } from "../format.js";
import { complain, alertBox, toast } from "../parts/messages.js";
import { events, may, refresh } from "../state.js";

const SHOWN = 100;
const MOST = 10000;
const TONE = { error: "bad", warning: "warn", info: "info" };
const KINDS = {
  duplicate: "same text in several routes", near_duplicate: "nearly the same text", unreachable_threshold: "threshold out of reach",
  stray: "nearer to another route", overlap: "overlapping routes", few: "few utterances", uniform: "all alike", repeats: "repeats", short: "one word",
};

export async function show(root) {
  const filters = h("div", { class: "tabs", role: "group", "aria-label": "Severity" });
  const search = h("input", { type: "search", placeholder: "Search…", "aria-label": "Search findings", data: { first: "" } });
  const list = h("ol", { class: "stack findings" });
  const says = h("p", { class: "small note", role: "status" });
  const more = h("button", { type: "button", class: "quiet" });
  let findings = [];
  let at = 0;
  let severity = null;
  let shown = SHOWN;
  let loading = false;

  const draw = () => {
    const words = search.value.trim().toLowerCase();
    const wanted = findings.filter((finding) =>
      (severity === null || finding.severity === severity)
      && (!words || [...finding.routes, ...finding.utterances, KINDS[finding.kind] ?? finding.kind].some((text) => text.toLowerCase().includes(words))));
    const tally = (name) => findings.filter((finding) => finding.severity === name).length;
    fill(filters, [[null, "All", findings.length], ["error", "Errors", tally("error")], ["warning", "Warnings", tally("warning")], ["info", "Notes", tally("info")]].map(([name, label, number]) =>
      h("button", { type: "button", "aria-pressed": String(severity === name), onclick: () => { severity = name; shown = SHOWN; draw(); } }, `${label} ${count(number)}`)));
    says.textContent = wanted.length === findings.length ? "" : `${plural(wanted.length, "finding")} shown`;
    fill(list, wanted.length ? wanted.slice(0, shown).map((finding) => card(finding, mend)) : h("li", { class: "card empty" }, findings.length ? "Nothing fits the filter." : "Nothing looks wrong."));
    more.hidden = wanted.length <= shown;
    more.textContent = `Show more of ${count(wanted.length - shown)}`;
  };

  const load = async () => {
    if (loading) return;
    loading = true;
    try {
      ({ findings, revision: at } = await get("v1/lint", { limit: MOST }));
      draw();
    } catch (error) {
      fill(list, h("li", {}, alertBox(error)));
    } finally {
      loading = false;
    }
  };

  const mend = async (finding, button) => {
    button.disabled = true;
    try {
      await post("v1/lint/fix", { fixes: finding.fixes }, { revision: at });
      toast("Mended. History can undo it.");
      await refresh();
      await load();
    } catch (error) {
      button.disabled = false;
      complain(error);
      if (error.status === 404 || error.status === 409 || error.status === 412) load();
    }
  };

  search.addEventListener("input", draw);
  more.addEventListener("click", () => { shown += SHOWN; draw(); });
  fill(root,
    h("div", { class: "head" },
      h("div", {}, h("h1", {}, "Lint"), h("p", {}, "Found without a single query, by asking each utterance as if it were a new one.")),
      h("button", { type: "button", onclick: load }, "Look again")),
    h("div", { class: "row apart bottom" }, filters, h("div", { class: "search-box" }, search)), says,
    list, more);
  fill(list, h("li", { class: "card empty" }, "Comparing all utterances with each other…"));
  await load();
  events.addEventListener("revision", load);
  return () => events.removeEventListener("revision", load);
}

function card(finding, mend) {
  const fixable = finding.fixes?.length > 0;
  return h("li", { class: "card finding" },
    h("div", { class: "row apart top" },
      h("div", { class: "grow" },
        h("div", { class: "row" }, h("span", { class: `tag ${TONE[finding.severity] ?? ""}` }, KINDS[finding.kind] ?? finding.kind),
          finding.routes.slice(0, 4).map((name) => h("a", { class: "small break", href: `#/routes/${encodeURIComponent(name)}` }, name))),
        h("p", { class: "break problem" }, finding.problem),
        h("p", { class: "small note break advice" }, finding.advice)),
      fixable && h("button", { type: "button", disabled: !may("write"), class: "fix", onclick: (event) => mend(finding, event.currentTarget) }, words(finding.fixes))));
}

function words(fixes) {
  const [first] = fixes;
  const what = {
    remove_utterance: () => `Remove from ${shortened(first.route, 24)}`,
    move_utterance: () => `Move to ${shortened(first.to, 24)}`,
    set_threshold: () => `Set threshold ${first.threshold}`,
  }[first.action];
  return fixes.length === 1 && what ? what() : `Apply ${plural(fixes.length, "change")}`;
}
