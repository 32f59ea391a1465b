// What is said over the page: short notices, and dialogs that ask.

import { fill, freshId, h } from "../dom.js";

const SHOWN_MS = 6000;

/** Say something in the corner. */
export function toast(text, { bad = false, action = null } = {}) {
  const box = h("div", { class: bad ? "toast bad" : "toast" }, h("span", {}, text));
  const close = () => box.remove();
  if (action) box.append(h("button", { type: "button", onclick: () => { close(); action.run(); } }, action.label));
  box.append(h("button", { type: "button", "aria-label": "Dismiss", onclick: close }, "✕"));
  document.getElementById("toasts").append(box);
  setTimeout(close, bad ? SHOWN_MS * 2 : SHOWN_MS);
}

/** Say what went wrong, unless it was given up on purpose. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  const id = error?.requestId ? ` (request ${error.requestId})` : "";
  toast(`${error?.message ?? error}${error?.status >= 500 ? id : ""}`, { bad: true });
}

/** A box with a problem, to be put into a view. */
export function alertBox(error) {
  return h("div", { class: "alert", role: "alert" }, error?.message ?? String(error));
}

/**
 * Open a dialog and wait for it. `build(close)` gives its content; the promise gives what `close` was called with, null
 * if it was dismissed.
 */
export function dialog(title, build, { narrow = false } = {}) {
  return new Promise((resolve) => {
    const id = freshId("dialog");
    const box = h("dialog", { class: narrow ? "narrow" : null, "aria-labelledby": id });
    let result = null;
    const close = (value = null) => {
      result = value;
      box.close();
    };
    box.addEventListener("close", () => {
      box.remove();
      resolve(result);
    });
    fill(box, h("h2", { id }, title), build(close));
    document.body.append(box);
    box.showModal();
  });
}

/** Ask before something happens; true if it may. */
export async function confirmed(title, body, { yes = "Go on", danger = false } = {}) {
  const answer = await dialog(
    title,
    (close) => [
      typeof body === "string" ? h("p", {}, body) : body,
      h("div", { class: "row end" },
        h("button", { type: "button", onclick: () => close(false) }, "Cancel"),
        h("button", { type: "button", class: danger ? "danger" : "primary", onclick: () => close(true) }, yes)),
    ],
  );
  return answer === true;
}
