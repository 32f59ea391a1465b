// Small figures: meters, tiles, a confusion matrix, bars.

import { h, s } from "../dom.js";

const SIDE = 22;

/** A bar of a share in [0, 1]; `mark` is a line across it. */
export function meter(share, { label, mark = null, kind = "" } = {}) {
  const value = Math.min(1, Math.max(0, share ?? 0));
  return h("div", {
    class: `meter ${kind}`, role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 1,
    "aria-valuenow": value.toFixed(3),
  },
  h("span", { class: "bar-fill", style: { width: `${value * 100}%` } }),
  mark !== null && h("span", { class: "mark", style: { left: `${mark * 100}%` } }));
}

/** A number with its name. */
export function tile(name, value, hint = "") {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, h("small", {}, hint)));
}

/**
 * Which routes are taken for which: rows are expected, columns chosen, null for none. Only those with mistakes are drawn.
 *
 * `cells` is [{expected, chosen, count}], with the right ones. `pick(expected, chosen)` is called for a click.
 */
export function matrix(names, cells, pick) {
  const place = new Map(names.map((name, at) => [name, at]));
  const labels = names.map((name) => name ?? "none");
  const left = Math.min(170, 16 + 7 * Math.max(...labels.map((label) => Math.min(label.length, 22))));
  const top = left;
  const size = names.length * SIDE;
  const cut = (label) => (label.length > 22 ? `${label.slice(0, 21)}…` : label);
  const most = Math.max(1, ...cells.filter((cell) => cell.expected !== cell.chosen).map((cell) => cell.count));
  const drawing = s("svg", {
    class: "matrix", viewBox: `0 0 ${left + size + 4} ${top + size + 4}`, width: left + size + 4, height: top + size + 4,
    role: "img", "aria-label": `Confusion matrix of ${names.length} routes; the same is in the table beside it`,
  });
  labels.forEach((label, at) => {
    const middle = at * SIDE + SIDE / 2;
    drawing.append(
      s("text", { x: left - 6, y: top + middle + 4, "text-anchor": "end", class: names[at] === null ? "none" : "" }, cut(label)),
      s("text", { transform: `translate(${left + middle + 4} ${top - 6}) rotate(-90)`, class: names[at] === null ? "none" : "" }, cut(label)),
      s("rect", { class: "diagonal", x: left + at * SIDE, y: top + at * SIDE, width: SIDE - 1, height: SIDE - 1, rx: 3 }),
    );
  });
  drawing.append(s("rect", { class: "frame", x: left, y: top, width: size, height: size }));
  for (const { expected, chosen, count } of cells) {
    if (!count || !place.has(expected) || !place.has(chosen)) continue;
    const right = expected === chosen;
    const x = left + place.get(chosen) * SIDE;
    const y = top + place.get(expected) * SIDE;
    drawing.append(
      s("g", { class: right ? "cell right" : count / most > 0.6 ? "cell strong" : "cell", onclick: () => pick?.(expected, chosen) },
        s("title", {}, `${expected ?? "none"} → ${chosen ?? "none"}: ${count}`),
        s("rect", { x, y, width: SIDE - 1, height: SIDE - 1, rx: 3, "fill-opacity": right ? 0.35 : 0.25 + 0.75 * (count / most) }),
        s("text", { x: x + SIDE / 2, y: y + SIDE / 2 + 4, "text-anchor": "middle" }, count > 999 ? "…" : String(count))),
    );
  }
  return h("div", { class: "matrix-box scroll", tabindex: 0, role: "group", "aria-label": "Confusion matrix" }, drawing);
}

/** Milliseconds by stage in one bar, with a legend. `stages` is [[name, ms]]. */
export function stages(list, text) {
  const total = list.reduce((sum, [, value]) => sum + value, 0) || 1;
  return h("div", { class: "stages" },
    h("div", { class: "stage-bar", role: "img", "aria-label": list.map(([name, value]) => `${name} ${text(value)}`).join(", ") },
      list.map(([, value], at) => h("span", { class: `stage-${(at % 5) + 1}`, style: { width: `${(100 * value) / total}%` } }))),
    h("ul", { class: "legend" },
      list.map(([name, value], at) => h("li", {}, h("i", { class: `stage-${(at % 5) + 1}` }), name, h("b", { class: "num" }, text(value))))));
}
