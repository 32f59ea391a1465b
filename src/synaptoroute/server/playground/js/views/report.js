// What an evaluation found: figures, curves with an operating point to pick, confusions, routes, failures.

import { call, get, post, routePath } from "../api.js";
import { fill, h } from "../dom.js";
import { count, number, percent, plural, shortened } from "../format.js";
import { chart } from "../parts/charts.js";
import { matrix, meter, tile } from "../parts/figures.js";
import { complain, confirmed, toast } from "../parts/messages.js";
import { may, refresh, status } from "../state.js";

const MATRIX_ROUTES = 28;
const FAILURES_SHOWN = 100;
const POINT_SOURCES = {
  router: "given to the server when it was started, which goes before any point set here", set: "set by somebody", fit: "chosen by fit",
  default: "the default",
};

/** The whole report as elements. */
export function report(found) {
  const failures = failureTable(found);
  return [
    status?.fitted && h("div", { class: "alert info" },
      `The router was fitted on ${plural(status.fitted.queries, "query", "queries")}. If these are among them it has learned them, and the figures are too good.`),
    h("dl", { class: "tiles" },
      tile("Accuracy", percent(found.accuracy), `${(found.accuracy_interval[0] * 100).toFixed(1)} – ${percent(found.accuracy_interval[1])}`),
      tile("In scope", percent(found.in_scope_accuracy), `right, of ${count(found.n_in_scope)}`),
      tile("Out of scope", percent(found.oos_recall), `rejected, of ${count(found.n - found.n_in_scope)}`),
      tile("First choice", percent(found.best_match_accuracy), "right, in scope"),
      tile("AUROC", found.auroc === null ? "–" : number(found.auroc), "in scope or out"),
      tile("Calibration", percent(found.ece), "mean error"),
      tile("Wrong", count(found.failures.length), `of ${count(found.n)}`)),
    h("div", { class: "two" }, operatingPoint(found), reliability(found)),
    confusions(found, failures.show),
    perRoute(found, failures.show),
    failures.element,
  ];
}

// -------------------------------------------------------------------------------------------------- the curves
function operatingPoint(found) {
  const points = [...found.curve].sort((one, other) => one.coverage - other.coverage);
  const says = h("p", { class: "point", role: "status" });
  const slider = h("input", { type: "range", min: 0, max: Math.max(points.length - 1, 0), step: 1, "aria-label": "Operating point" });
  const apply = h("button", { type: "button", class: "primary", disabled: !may("admin") }, "Use this point");
  const reset = h("button", { type: "button", disabled: !may("admin") }, "Forget the point set");
  let at = null;

  const coverage = points.map((point) => point.coverage * 100);
  const precision = points.map((point) => point.precision * 100);
  const standing = (least) => {
    const below = points.findIndex((point) => point.min_confidence < least);
    return below < 0 ? points.length - 1 : Math.max(below - 1, 0);
  };
  const picked = () => points.map((_, place) => (place === at ? precision[place] : null));
  const curve = chart(({ axis, colour }) => ({
    scales: { x: { time: false, range: [0, 100] }, y: { range: (_, low) => [Math.max(0, Math.floor((low - 4) / 5) * 5), 100.5] } },
    axes: [axis({ label: "coverage: % of queries answered", labelSize: 18, size: 34 }), axis({ label: "precision: % right", labelSize: 18, size: 42 })],
    series: [
      {},
      { label: "precision", stroke: colour("accent"), width: 2, points: { show: points.length < 3 } },
      { label: "point", stroke: colour("warn"), width: 0, points: { show: true, size: 11, fill: colour("warn"), stroke: colour("card") } },
    ],
    hooks: { ready: [(plot) => plot.over.addEventListener("click", () => plot.cursor.idx !== null && move(plot.cursor.idx))] },
  }), [coverage, precision, picked()], { label: "Coverage and precision; the slider below moves along it", height: 230 });

  const move = (to) => {
    at = Math.min(points.length - 1, Math.max(0, to));
    slider.value = at;
    const point = points[at];
    slider.setAttribute("aria-valuetext", `least confidence ${percent(point.min_confidence)}, coverage ${percent(point.coverage)}, precision ${percent(point.precision)}`);
    fill(says, "From a confidence of ", h("b", { class: "num" }, percent(point.min_confidence)), " on, ", h("b", { class: "num" }, percent(point.coverage)),
      " of queries are answered, and ", h("b", { class: "num" }, percent(point.precision)), " of the answers are right.");
    curve.setData([coverage, precision, picked()]);
  };

  const put = async (value) => {
    try {
      await call("PUT", "v1/operating-point", { body: { min_confidence: value } });
      toast(value === null ? "The operating point is left to the fit again, or to the default." : `The router abstains below ${percent(value)} from now on.`);
      await refresh();
      await tell();
    } catch (error) {
      complain(error);
    }
  };
  apply.addEventListener("click", async () => {
    const value = points[at].min_confidence;
    if (await confirmed("Change the operating point?", `From now on the router abstains where its confidence is below ${percent(value)}. This holds for everybody, and is kept.`, { yes: "Use it" })) put(value);
  });
  reset.addEventListener("click", () => put(null));
  slider.addEventListener("input", () => move(slider.valueAsNumber));

  const now = h("p", { class: "small note" });
  const tell = async () => {
    try {
      const { min_confidence: value, source } = await get("v1/operating-point");
      now.textContent = `In use: ${percent(value)}, ${POINT_SOURCES[source] ?? source}.`;
      return value;
    } catch (error) {
      now.textContent = error.message;
      return null;
    }
  };
  // Begin where the router stands.
  tell().then((value) => points.length && at === null && move(standing(value ?? 0.5)));
  return h("section", { class: "card stack" }, h("h2", {}, "Coverage and precision"), curve, slider, says, h("div", { class: "row" }, apply, reset), now);
}

function reliability(found) {
  const bins = (found.reliability ?? []).filter((bin) => bin.count > 0);
  const element = h("section", { class: "card stack" }, h("h2", {}, "Reliability"));
  if (!bins.length) return fill(element, h("h2", {}, "Reliability"), h("p", { class: "note" }, "The server tells no bins of confidence."));
  const sure = bins.map((bin) => bin.confidence * 100);
  const right = bins.map((bin) => bin.accuracy * 100);
  const counts = bins.map((bin) => bin.count);
  // The ideal line needs its ends, which are no bins.
  const xs = [0, ...sure, 100];
  element.append(
    chart(({ axis, colour }) => ({
      scales: { x: { time: false, range: [0, 100] }, y: { range: [0, 102] }, n: { range: [0, 3 * Math.max(...counts)] } },
        axes: [axis({ label: "confidence, %", labelSize: 18, size: 34 }), axis({ label: "% right", labelSize: 18, size: 42 })],
      series: [
        {},
        { label: "queries", scale: "n", stroke: colour("line"), fill: colour("line"), width: 0, paths: window.uPlot.paths.bars({ size: [0.5, 24, 12] }), points: { show: false } },
        { label: "ideal", stroke: colour("soft"), dash: [4, 4], width: 1, points: { show: false } },
        { label: "right", stroke: colour("accent"), width: 2, points: { show: true, size: 8, fill: colour("accent") } },
      ],
    }), [xs, [null, ...counts, null], xs, [null, ...right, null]], { label: "Share of first choices that are right, by confidence", height: 230 }),
    h("p", { class: "small note" }, "On the dashed line, confidence is what it says: of answers given with 80 %, 80 % are right. Above it the router is too modest, below too sure. The bars show how many queries a point stands for."),
    h("details", {}, h("summary", {}, "Figures"),
      h("table", {}, h("thead", {}, h("tr", {}, ["confidence", "queries", "right"].map((name) => h("th", { class: "num" }, name)))),
        h("tbody", {}, bins.map((bin) => h("tr", {}, h("td", { class: "num" }, percent(bin.confidence)), h("td", { class: "num" }, count(bin.count)), h("td", { class: "num" }, percent(bin.accuracy))))))));
  return element;
}

// ---------------------------------------------------------------------------------------------- routes, confusions
function confusions(found, pick) {
  if (!found.confusions.length) return h("section", { class: "card" }, h("h2", {}, "Confusions"), h("p", { class: "note" }, "None."));
  const weight = new Map();
  for (const { expected, chosen, count: times } of found.confusions) {
    for (const name of [expected, chosen]) weight.set(name, (weight.get(name) ?? 0) + times);
  }
  const names = [...weight.keys()].filter((name) => name !== null).sort((one, other) => weight.get(other) - weight.get(one)).slice(0, MATRIX_ROUTES);
  if (weight.has(null)) names.push(null);
  const right = new Map(found.routes.map((route) => [route.name, route.right]));
  const cells = [...found.confusions, ...names.filter((name) => name !== null).map((name) => ({ expected: name, chosen: name, count: right.get(name) ?? 0 }))];
  return h("section", { class: "card" }, h("h2", {}, "Confusions"),
    h("p", { class: "small note" }, weight.size > names.length ? `The ${names.length} routes with the most mistakes, of ${weight.size}. ` : "", "Rows are what was right, columns what was chosen; none is out of scope or abstained."),
    h("div", { class: "confusions" },
      matrix(names, cells, pick),
      h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Confusions, most frequent first" },
        h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "right"), h("th", {}, "chosen"), h("th", { class: "num" }, "times"))),
          h("tbody", {}, found.confusions.slice(0, 60).map((pair) =>
            h("tr", {}, h("td", { class: "break" }, pair.expected ?? h("i", {}, "none")), h("td", { class: "break" }, pair.chosen ?? h("i", {}, "none")),
              h("td", { class: "num" }, h("button", { type: "button", class: "link", "aria-label": `Show the ${pair.count} of ${pair.expected ?? "none"} taken for ${pair.chosen ?? "none"}`, onclick: () => pick(pair.expected, pair.chosen) }, pair.count)))))))));
}

function perRoute(found, pick) {
  return h("section", { class: "card" }, h("h2", {}, "Routes, weakest first"),
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Figures of each route" },
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, h("th", {}, "route"), h("th", {}, "F1"), ["precision", "recall", "queries", "chosen", "right"].map((name) => h("th", { class: "num" }, name)))),
        h("tbody", {}, found.routes.map((route) => h("tr", {},
          h("td", { class: "break" }, h("button", { type: "button", class: "link", onclick: () => pick(route.name, undefined) }, route.name)),
          h("td", { class: "f1" }, meter(route.f1, { label: `F1 of ${route.name}`, kind: route.f1 < 0.7 ? "abstained" : "" })),
          h("td", { class: "num" }, percent(route.precision)), h("td", { class: "num" }, percent(route.recall)),
          h("td", { class: "num" }, count(route.support)), h("td", { class: "num" }, count(route.chosen)), h("td", { class: "num" }, count(route.right))))))));
}

// ------------------------------------------------------------------------------------------------------ failures
function failureTable(found) {
  const heading = h("h2", { tabindex: -1 });
  const body = h("tbody", {});
  const all = h("button", { type: "button", class: "quiet compact" }, "Show all");
  const more = h("button", { type: "button", class: "quiet" });
  let wanted = found.failures;
  let shown = FAILURES_SHOWN;

  const draw = () => {
    fill(body, wanted.slice(0, shown).map(row));
    more.hidden = wanted.length <= shown;
    more.textContent = `Show more of ${count(wanted.length - shown)}`;
    all.hidden = wanted === found.failures;
  };
  const show = (expected, chosen) => {
    wanted = found.failures.filter((failure) =>
      chosen === undefined ? failure.expected === expected || failure.chosen === expected : failure.expected === expected && failure.chosen === chosen);
    heading.textContent = chosen === undefined ? `${plural(wanted.length, "failure")} with ${expected}` : `${plural(wanted.length, "failure")}: ${expected ?? "none"} taken for ${chosen ?? "none"}`;
    shown = FAILURES_SHOWN;
    draw();
    heading.focus({ preventScroll: true });
    element.scrollIntoView({ block: "start", behavior: "smooth" });
  };
  all.addEventListener("click", () => {
    wanted = found.failures;
    heading.textContent = plural(wanted.length, "failure");
    draw();
  });
  more.addEventListener("click", () => {
    shown += 5 * FAILURES_SHOWN;
    draw();
  });
  heading.textContent = plural(wanted.length, "failure");
  const element = h("section", { class: "card" }, h("div", { class: "row apart" }, heading, all),
    h("div", { class: "scroll tall", tabindex: 0, role: "group", "aria-label": "Failures" },
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["query", "right", "chosen"].map((name) => h("th", {}, name)), h("th", { class: "num" }, "confidence"), h("th", {}, "nearest utterance"), h("th", {}, ""))), body)),
    more);
  draw();
  return { element, show };
}

function row(failure) {
  const nearest = failure.matches[0];
  const add = h("button", { type: "button", class: "compact", title: "Add the query to the route's utterances" }, "Add to route");
  add.addEventListener("click", async () => {
    add.disabled = true;
    try {
      await post(routePath(failure.expected, "/utterances"), { utterances: [failure.query] });
      add.textContent = "Added";
      toast(`Added to ${failure.expected}. A query that is an utterance says nothing in the next evaluation.`);
      refresh();
    } catch (error) {
      add.disabled = false;
      complain(error);
    }
  });
  return h("tr", {},
    h("td", { class: "break" }, shortened(failure.query, 300)),
    h("td", { class: "break" }, failure.expected ?? h("i", {}, "none")),
    h("td", { class: "break" }, failure.chosen ?? h("i", {}, "none")),
    h("td", { class: "num" }, percent(failure.confidence)),
    h("td", { class: "break small note" }, nearest ? `${shortened(nearest.utterance, 120)} (${nearest.name}, ${number(nearest.score)})` : "–"),
    h("td", {}, failure.expected !== null && may("write") && add));
}
