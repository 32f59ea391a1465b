// A list of any length that holds only the rows one sees. It is one stop of the Tab key; arrows move in it.

import { freshId, h } from "../dom.js";

const AROUND = 8;

/**
 * `render(item)` gives the content of a row, `pick(item)` is called when one is chosen. `label` names the list.
 *
 * Gives the element, with `show(items)`, `choose(item)` and `items()`.
 */
export function virtualList({ label, rowPx = 52, render, pick }) {
  const spacer = h("div");
  const box = h("div", { class: "virtual", role: "listbox", tabindex: 0, "aria-label": label }, spacer);
  const id = freshId("list");
  let items = [];
  let active = -1;
  let chosen = null;
  const rows = new Map();

  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / rowPx) - AROUND);
    const last = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / rowPx) + AROUND);
    for (const [at, row] of rows) {
      if (at < first || at >= last) {
        row.remove();
        rows.delete(at);
      }
    }
    for (let at = first; at < last; at += 1) {
      if (rows.has(at)) continue;
      const item = items[at];
      const row = h("div", {
        class: "item", role: "option", id: `${id}-${at}`, "aria-setsize": items.length, "aria-posinset": at + 1,
        "aria-selected": String(item === chosen), style: { top: `${at * rowPx}px`, height: `${rowPx}px` },
        onclick: () => take(at),
      }, render(item));
      rows.set(at, row);
      spacer.append(row);
    }
    for (const [at, row] of rows) {
      row.classList.toggle("active", at === active);
      row.setAttribute("aria-selected", String(items[at] === chosen));
    }
    if (active >= 0 && rows.has(active)) box.setAttribute("aria-activedescendant", `${id}-${active}`);
    else box.removeAttribute("aria-activedescendant");
  };

  const move = (to) => {
    if (!items.length) return;
    active = Math.min(items.length - 1, Math.max(0, to));
    const top = active * rowPx;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + rowPx > box.scrollTop + box.clientHeight) box.scrollTop = top + rowPx - box.clientHeight;
    draw();
  };

  const take = (at) => {
    active = at;
    pick(items[at]);
    draw();
  };

  box.addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(draw).observe(box);
  box.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(box.clientHeight / rowPx) - 1);
    const steps = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: items.length - 1 };
    if (event.key in steps) move(steps[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && active >= 0) take(active);
    else return;
    event.preventDefault();
  });

  return Object.assign(box, {
    show(next) {
      items = next;
      active = items.indexOf(chosen);
      for (const row of rows.values()) row.remove();
      rows.clear();
      spacer.style.height = `${items.length * rowPx}px`;
      draw();
    },
    choose(item) {
      chosen = item;
      active = items.indexOf(item);
      if (active >= 0) move(active);
      else draw();
    },
    items: () => items,
  });
}
