// Labelled queries in, and out comes how good the routes are, where to stop answering, and what goes wrong.

import { job } from "../api.js";
import { debounced, fill, h } from "../dom.js";
import { count, number, percent, plural, shortened } from "../format.js";
import { alertBox, dialog, toast } from "../parts/messages.js";
import { meter } from "../parts/figures.js";
import { forget } from "../parts/charts.js";
import { events, may, refresh, routes } from "../state.js";
import { parsed } from "./labelled.js";
import { report } from "./report.js";

const EXAMPLE = "query,route\nwhere is my parcel,order_status\nwho painted the Mona Lisa,";
let kept = "";
let result = null;

export async function show(root) {
  const input = h("textarea", {
    rows: 7, class: "mono", spellcheck: "false", placeholder: EXAMPLE, "aria-label": "Labelled queries", value: kept, data: { first: "" },
  });
  const file = h("input", { type: "file", accept: ".csv,.tsv,.txt,.jsonl,.ndjson", hidden: true });
  const says = h("div", { class: "small", role: "status" });
  const evaluate = h("button", { type: "button", class: "primary", disabled: true }, "Evaluate");
  const fit = h("button", { type: "button", disabled: true, title: "Learn from these queries, if that helps on held-out ones" }, "Fit…");
  const running = h("div", {});
  const shown = h("div", { class: "stack" });
  let known = new Set();
  let queries = [];
  let controller = null;

  const read = () => {
    kept = input.value;
    const found = parsed(kept, known);
    queries = found.queries;
    const unknown = [...new Set(queries.map((query) => query.label).filter((label) => label !== null && !known.has(label)))];
    const outside = queries.filter((query) => query.label === null).length;
    const labels = new Set(queries.map((query) => query.label).filter((label) => label !== null));
    fill(says,
      !kept.trim() ? h("span", { class: "note" }, "CSV, cells apart by tabs, or JSON lines, with query and route; an empty route is out of scope.")
        : h("span", { class: "note" }, `${plural(queries.length, "query", "queries")} of ${plural(labels.size, "route")}, ${count(outside)} out of scope`),
      found.wrong.length > 0 && h("div", { class: "alert warn" },
        `${plural(found.wrong.length, "line")} left out: `, found.wrong.slice(0, 3).map((entry) => `line ${entry.line} ${entry.why}`).join("; ")),
      unknown.length > 0 && h("div", { class: "alert" },
        `${plural(unknown.length, "label")} without a route: ${unknown.slice(0, 5).map((name) => shortened(name, 40)).join(", ")}. Add the routes or correct the labels.`));
    evaluate.disabled = !queries.length || unknown.length > 0 || controller !== null;
    fit.disabled = evaluate.disabled || !may("write");
  };

  const work = async (what, path, body) => {
    controller = new AbortController();
    read();
    const bar = h("div", {});
    const told = ({ state, done, total }) => fill(bar,
      h("span", { class: "small note" }, total ? `${what} ${count(done)} of ${count(total)}` : `${what}${state === "queued" ? " (waiting for another job)" : ""}…`),
      total ? meter(done / total, { label: what }) : null);
    fill(running, h("div", { class: "card progress" }, bar, h("div", {}, h("button", { type: "button", onclick: () => controller.abort() }, "Cancel"))));
    told({ state: "running" });
    try {
      return await job(path, body, { progress: told, signal: controller.signal });
    } catch (error) {
      if (error.name !== "AbortError") fill(running, alertBox(error));
      return null;
    } finally {
      if (!running.querySelector(".alert")) fill(running);
      controller = null;
      read();
    }
  };

  const draw = () => {
    forget(shown);
    fill(shown, result && report(result));
  };

  evaluate.addEventListener("click", async () => {
    const found = await work("Evaluating", "v1/evaluate", { queries });
    if (!found) return;
    result = found;
    draw();
    shown.scrollIntoView({ block: "start", behavior: "smooth" });
  });

  fit.addEventListener("click", async () => {
    const options = await askFit();
    if (!options) return;
    const found = await work("Learning from", "v1/fit", { queries, ...options });
    if (!found) return;
    await refresh();
    await dialog(found.applied ? "The fit is in use" : "The fit was not applied", (close) => [
      fitted(found), h("div", { class: "row end" }, h("button", { type: "button", class: "primary", onclick: () => close() }, "Close")),
    ]);
  });

  const load = async (chosen) => {
    if (!chosen) return;
    if (chosen.size > 8 << 20) {
      toast("The file is over 8 MiB; use the command line for it.", { bad: true });
      return;
    }
    input.value = await chosen.text();
    read();
  };
  file.addEventListener("change", () => {
    load(file.files[0]);
    file.value = "";
  });
  input.addEventListener("input", debounced(read, 150));
  input.addEventListener("dragover", (event) => event.preventDefault());
  input.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    load(event.dataTransfer.files[0]);
  });

  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Evaluate"), h("p", {}, "Hold the router against queries whose route you know, choose where it should abstain, and see what goes wrong."))),
    h("div", { class: "stack" },
      h("div", { class: "card stack" }, input, says,
        h("div", { class: "row" }, evaluate, fit, h("button", { type: "button", onclick: () => file.click() }, "Open a file…"), file,
          h("button", { type: "button", class: "quiet", onclick: () => { input.value = ""; read(); } }, "Clear"))),
      running, shown));
  const learnNames = async () => {
    known = new Set((await routes()).map((route) => route.name));
    read();
  };
  draw();
  await learnNames();
  events.addEventListener("revision", learnNames);
  return () => {
    events.removeEventListener("revision", learnNames);
    controller?.abort();
  };
}

function askFit() {
  return dialog("Fit on these queries", (close) => {
    const goal = h("select", { id: "fit-goal" },
      h("option", { value: "" }, "Leave the operating point as it is by default"),
      h("option", { value: "target_precision" }, "Answers shall be right at least this often"),
      h("option", { value: "max_false_reject" }, "Queries in scope shall be rejected at most this often"));
    const share = h("input", { type: "number", min: 0.1, max: 99.9, step: 0.1, value: 95, disabled: true, "aria-label": "Per cent" });
    const force = h("input", { type: "checkbox" });
    goal.addEventListener("change", () => {
      share.disabled = !goal.value;
      share.value = goal.value === "max_false_reject" ? 5 : 95;
    });
    return h("form", {
      class: "stack",
      onsubmit: (event) => {
        event.preventDefault();
        close({ ...(goal.value ? { [goal.value]: share.valueAsNumber / 100 } : {}), force: force.checked });
      },
    },
    h("p", { class: "note" }, "They are stored with the routes. A fit that does not improve on held-out queries changes nothing, unless forced."),
    h("label", { for: "fit-goal" }, "Operating point"), goal,
    h("div", { class: "row" }, share, h("span", {}, "%")),
    h("label", { class: "check" }, force, "apply it even if it does not help"),
    h("div", { class: "row end" }, h("button", { type: "button", onclick: () => close(null) }, "Cancel"), h("button", { type: "submit", class: "primary" }, "Fit")));
  }, { narrow: true });
}

function fitted(found) {
  const rows = [
    ["right outcomes", "accuracy", percent], ["in scope, first choice right", "in_scope_accuracy", percent],
    ["out of scope, rejected", "out_of_scope_recall", percent], ["AUROC", "auroc", number], ["calibration error", "ece", percent],
  ];
  return h("div", { class: "stack" },
    h("p", {}, `${plural(found.queries, "query", "queries")} were used, ${count(found.out_of_scope)} out of scope. Figures are of held-out queries.`),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, ""), h("th", { class: "num" }, "before"), h("th", { class: "num" }, "with the fit"))),
      h("tbody", {}, rows.map(([label, key, shape]) => h("tr", {}, h("td", {}, label), h("td", { class: "num" }, shape(found.before[key])), h("td", { class: "num" }, shape(found.after[key])))))),
    found.min_confidence !== null && h("p", {}, `Operating point: least confidence ${percent(found.min_confidence)}.`),
    found.promise && h("p", {}, found.promise),
    found.warnings.map((warning) => h("div", { class: "alert warn" }, warning)));
}
