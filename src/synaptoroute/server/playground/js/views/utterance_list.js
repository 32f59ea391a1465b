// The utterances of one route: added by typing or pasting lines, filtered, changed and removed.

import { debounced, fill, h } from "../dom.js";
import { count, plural } from "../format.js";

const SHOWN = 100;

/** Gives the element, with `texts()` and `put(texts)`; `changed()` is called after each change. */
export function utteranceList({ writing, changed }) {
  let texts = [];
  let shown = SHOWN;
  const add = h("textarea", {
    rows: 1, class: "add", placeholder: "Add an utterance and press Enter; pasted lines become one each",
    "aria-label": "Add utterances, one a line", maxlength: 200000,
  });
  const filter = h("input", { type: "search", class: "filter", placeholder: "Filter…", "aria-label": "Filter utterances" });
  const heading = h("h3", {});
  const list = h("ol", { class: "utterances" });
  const more = h("button", { type: "button", class: "quiet", onclick: () => { shown += 5 * SHOWN; draw(); } });

  const change = () => {
    draw();
    changed();
  };

  const draw = () => {
    const wanted = filter.value.trim().toLowerCase();
    const matching = [...texts.entries()].filter(([, text]) => !wanted || text.toLowerCase().includes(wanted));
    heading.textContent = plural(texts.length, "utterance");
    filter.hidden = texts.length < 8;
    more.hidden = matching.length <= shown;
    more.textContent = `Show more of ${count(matching.length - shown)}`;
    fill(list, matching.slice(0, shown).map(([at, text]) => row(at, text)));
  };

  const row = (at, text) => {
    if (!writing) return h("li", {}, h("span", { class: "break" }, text));
    const input = h("input", { value: text, "aria-label": `Utterance ${at + 1}`, maxlength: 32768, spellcheck: "false" });
    input.addEventListener("change", () => {
      const now = input.value.trim();
      if (now && (now === text || !texts.includes(now))) texts[at] = now;
      change();
    });
    // A field of one line would show a text with line breaks without them, and keep it so.
    const shownAs = text.includes("\n") ? h("pre", { class: "break" }, text) : input;
    return h("li", {}, shownAs,
      h("button", {
        type: "button", class: "quiet icon", "aria-label": `Remove utterance ${at + 1}`, title: "Remove",
        onclick: () => {
          texts.splice(at, 1);
          change();
          list.querySelectorAll("button")[Math.min(at, texts.length - 1)]?.focus();
        },
      }, "✕"));
  };

  const take = (value) => {
    const fresh = value.split("\n").map((line) => line.trim()).filter((line) => line && !texts.includes(line));
    texts.push(...new Set(fresh));
    add.value = "";
    change();
    list.lastElementChild?.scrollIntoView({ block: "nearest" });
  };

  add.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      take(add.value);
    }
  });
  add.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text/plain");
    if (text.trim().includes("\n")) {
      event.preventDefault();
      take(text);
    }
  });
  add.addEventListener("blur", () => add.value.trim() && take(add.value));
  filter.addEventListener("input", debounced(draw, 80));

  return {
    element: h("div", { class: "stack tight" }, h("div", { class: "row apart" }, heading, filter), writing && add, list, more),
    texts: () => [...texts],
    put(next) {
      texts = [...next];
      draw();
    },
  };
}
