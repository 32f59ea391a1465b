// Line and bar charts by uPlot, in the colours of the page, redrawn when these change.

import { h } from "../dom.js";

/** Kept free below a chart from the start, so that nothing moves when it is drawn. */
const LEGEND_PX = 32;

const live = new Set();

/** The value of a colour of the page. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const axis = (extra) => ({
  stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 },
  font: "12px system-ui, sans-serif", ...extra,
});

/**
 * A chart that fills its box. `options()` gives uPlot's options without size, anew for each theme; `data` its columns.
 *
 * Gives the element, with `setData(data)`, `plot()` and `destroy()`.
 */
export function chart(options, data, { label, height = 220, legend = false } = {}) {
  const box = h("figure", { class: "chart", role: "img", "aria-label": label, style: { "min-height": `${height + (legend ? LEGEND_PX : 0)}px` } });
  let plot = null;
  let current = data;
  const size = () => ({ width: Math.max(box.clientWidth, 120), height });
  const draw = () => {
    plot?.destroy();
    plot = new window.uPlot({ cursor: { drag: { x: false, y: false } }, legend: { show: legend }, ...options({ axis, colour }), ...size() }, current, box);
  };
  const observer = new ResizeObserver(() => {
    if (!box.isConnected) return;
    if (plot) plot.setSize(size());
    else draw();
  });
  observer.observe(box);
  const handle = { draw: () => plot && draw() };
  live.add(handle);
  return Object.assign(box, {
    setData(next) {
      current = next;
      plot?.setData(next);
    },
    plot: () => plot,
    destroy() {
      observer.disconnect();
      live.delete(handle);
      plot?.destroy();
      plot = null;
    },
  });
}

/** Draw all charts anew, in other colours. */
export function redraw() {
  for (const handle of live) handle.draw();
}

/** Forget the charts of a view that is left. */
export function forget(root) {
  for (const box of root.querySelectorAll(".chart")) box.destroy?.();
}
