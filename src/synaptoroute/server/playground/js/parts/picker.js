// A field for the name of a route, with those that match what is typed.

import { freshId, h } from "../dom.js";
import { routes } from "../state.js";

const SHOWN = 40;

/** An input with suggestions. `none` offers "none" as well; `choice()` gives the name, null for none, undefined if neither. */
export function routePicker({ label, none = false, value = "", placeholder = "Route…" } = {}) {
  const id = freshId("routes");
  const options = h("datalist", { id });
  const input = h("input", { list: id, "aria-label": label, placeholder, value, autocomplete: "off", spellcheck: "false" });
  let names = new Set();
  const suggest = () => {
    const typed = input.value.trim().toLowerCase();
    const matching = [...names].filter((name) => name.toLowerCase().includes(typed)).slice(0, SHOWN);
    options.replaceChildren(...(none ? [h("option", { value: "none" }, "belongs to no route")] : []), ...matching.map((name) => h("option", { value: name })));
  };
  input.addEventListener("input", suggest);
  routes().then((all) => {
    names = new Set(all.map((route) => route.name));
    suggest();
  }).catch(() => {});
  const box = h("span", { class: "picker grow" }, input, options);
  return Object.assign(box, {
    input,
    choice() {
      const typed = input.value.trim();
      if (names.has(typed)) return typed;
      return none && typed.toLowerCase() === "none" ? null : undefined;
    },
  });
}
