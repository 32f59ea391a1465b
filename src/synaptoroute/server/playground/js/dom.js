// Elements from code. Text only ever becomes a text node, so that no name or utterance can become markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, rule] of Object.entries(value)) element.style.setProperty(key, rule);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element: h("button", { class: "primary", onclick }, "Save"). */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function s(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** Put these in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let made = 0;

/** An id no other element has. */
export function freshId(prefix = "id") {
  made += 1;
  return `${prefix}-${made}`;
}

/** A field with its label. */
export function field(label, control, hint) {
  control.id ||= freshId("field");
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, hint && h("p", { class: "small note" }, hint));
}

/** Call it when nothing has called it again for so long. `flush()` calls it now, `cancel()` not at all. */
export function debounced(work, wait_ms) {
  let timer;
  const later = (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), wait_ms);
  };
  later.cancel = () => clearTimeout(timer);
  later.flush = (...args) => {
    clearTimeout(timer);
    work(...args);
  };
  return later;
}
