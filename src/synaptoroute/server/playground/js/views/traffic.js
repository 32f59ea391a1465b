// The last five minutes of what everybody asks: how much, how fast, how often none, and whether it has changed.

import { get } from "../api.js";
import { fill, h } from "../dom.js";
import { count, ms, number, percent } from "../format.js";
import { chart } from "../parts/charts.js";
import { tile } from "../parts/figures.js";
import { alertBox } from "../parts/messages.js";

const EVERY_MS = 2000;
const RECENT_S = 10;
const LEVELS = { none: ["good", "no drift"], some: ["warn", "some drift"], large: ["bad", "large drift"] };

export async function show(root) {
  const tiles = h("dl", { class: "tiles" });
  const notice = h("div", {});
  const drift = h("div", { class: "stack tight" });
  const time = (axis) => axis({ size: 34, values: (_, splits) => splits.map((at) => `${new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`), space: 90 });

  const rate = chart(({ axis, colour }) => ({
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.1] } },
    axes: [time(axis), axis({ size: 46 })],
    series: [stamp(), { label: "queries/s", stroke: colour("accent"), width: 2, fill: colour("accent-wash") }, { label: "no route", stroke: colour("warn"), width: 1.5 }, { label: "turned away", stroke: colour("bad"), width: 1.5 }],
  }), [[], [], [], []], { label: "Queries a second in the last five minutes", legend: true, height: 210 });

  const speed = chart(({ axis, colour }) => ({
    scales: { x: { time: false }, y: { distr: 3, range: (_, low, high) => [10 ** Math.floor(Math.log10(low || 1)), 10 ** Math.ceil(Math.log10((high || 10) * 1.01))] } },
    axes: [time(axis), axis({ size: 66, splits: (_, __, low, high) => powers(low, high), values: (_, splits) => splits.map((value) => `${value} ms`) })],
    series: [stamp(), ...[["p50", "accent"], ["p95", "stage-3"], ["p99", "warn"]].map(([label, name]) => ({ label, stroke: colour(name), width: 1.8, spanGaps: true, points: { show: true, size: 4 }, value: (_, value) => ms(value) }))],
  }), [[], [], [], []], { label: "Latency percentiles by ten seconds", legend: true, height: 210 });

  const bars = (shift, width) => window.uPlot.paths.bars({ size: [width, 60], align: shift });
  const spread = chart(({ axis, colour }) => ({
    scales: { x: { time: false, range: [0, 100] }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, 10) * 1.08] } },
    axes: [axis({ size: 34, label: "confidence, %", labelSize: 18 }), axis({ size: 46, label: "% of queries", labelSize: 18 })],
    series: [{ label: "confidence", value: (_, value) => (value === null ? "–" : `${value.toFixed(0)} %`) },
      { label: "now", stroke: colour("accent"), fill: colour("accent"), width: 0, paths: bars(0, 0.8), points: { show: false }, value: share },
      { label: "when fitted", stroke: colour("warn"), width: 2, paths: bars(0, 1), points: { show: false }, value: share }],
  }), [[], [], []], { label: "How sure decisions are, now and when the router was fitted", legend: true, height: 240 });

  const update = async () => {
    if (document.hidden) return;
    try {
      const now = await get("v1/traffic");
      draw(now);
      fill(notice);
    } catch (error) {
      fill(notice, alertBox(error));
    }
  };

  const draw = (now) => {
    const { queries, abstained, shed, failed } = now.seconds;
    const recent = (list) => list.slice(-RECENT_S - 1, -1).reduce((sum, value) => sum + value, 0) / RECENT_S;
    const { totals } = now;
    fill(tiles,
      tile("Queries a second", recent(queries).toFixed(1), `last ${RECENT_S} s; ${count(totals.queries)} in 5 min`),
      tile("Half within", ms(now.latency_ms.p50), "p50"), tile("95 % within", ms(now.latency_ms.p95), "p95"), tile("99 % within", ms(now.latency_ms.p99), "p99"),
      tile("No route", totals.queries ? percent(totals.abstained / totals.queries) : "–", `${count(totals.abstained)} abstained`),
      tile("Turned away", count(totals.shed), failed.some(Boolean) ? `${count(totals.failed)} failed` : "none failed"));
    const seconds = queries.map((_, at) => now.until - now.window_s + 1 + at);
    // Without the second that is still filling, which would look like a drop.
    rate.setData([seconds, queries, abstained, shed].map((column) => column.slice(0, -1)));
    const curves = now.latency_every_10_s;
    speed.setData([curves.p50.map((_, at) => now.until - now.window_s + 10 * (at + 1)), curves.p50, curves.p95, curves.p99]);
    const { live, baseline, n_live: live_n, n_baseline: base_n, state } = now.confidence;
    const middle = now.bins.slice(0, -1).map((low, at) => 50 * (low + now.bins[at + 1]));
    const shares = (counts, total) => counts.map((value) => (total ? (100 * value) / total : 0));
    spread.setData([middle, shares(live, live_n), baseline ? shares(baseline, base_n) : middle.map(() => null)]);
    fill(drift, verdict(now.confidence, live_n, base_n, state));
  };

  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Traffic"), h("p", {}, "The last five minutes of this process. Explained queries, as this playground asks them, are not counted."))),
    h("div", { class: "stack" }, notice, tiles,
      h("div", { class: "two" }, h("section", { class: "card" }, h("h2", {}, "Queries a second"), rate), h("section", { class: "card" }, h("h2", {}, "Latency"), speed)),
      h("section", { class: "card" }, h("div", { class: "drift-grid" }, h("div", {}, h("h2", {}, "Confidence"), spread), drift))));
  await update();
  const timer = setInterval(update, EVERY_MS);
  return () => clearInterval(timer);
}

const powers = (low, high) => {
  const found = [];
  for (let at = Math.round(Math.log10(low)); 10 ** at <= high * 1.001; at += 1) found.push(Number((10 ** at).toPrecision(1)));
  return found;
};

const stamp = () => ({ label: "at", value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleTimeString("en-GB")) });
const share = (_, value) => (value === null ? "–" : `${value.toFixed(1)} %`);

function verdict(confidence, live, base, state) {
  const { drift } = confidence;
  if (state === "unfitted") return [h("h3", {}, "Drift"), h("p", { class: "note" }, "Fit the router on labelled queries, and their confidences become what live traffic is compared with.")];
  if (state === "learning") return [h("h3", {}, "Drift"), h("p", { class: "note" }, "The baseline is being worked out: each fitted query is decided by a head that has not seen it.")];
  if (!drift) return [h("h3", {}, "Drift"), h("p", { class: "note" }, `${count(live)} live decisions so far; 100 are needed to compare them with ${count(base)} fitted queries.`)];
  const [tone, words] = LEVELS[drift.level];
  return [
    h("div", { class: "row" }, h("h3", {}, "Drift"), h("span", { class: `tag ${tone}` }, words)),
    h("p", {}, "Population stability index ", h("b", { class: "num" }, number(drift.psi)), ", of which chance alone gives ", h("b", { class: "num" }, number(drift.chance)), " with so few queries."),
    h("p", { class: "small note" }, `The last ${count(live)} decisions against the ${count(base)} queries of the fit, each decided by a head that had not seen it. Above chance, 0.1 is worth a look and 0.25 worth labelling new queries.`),
  ];
}
