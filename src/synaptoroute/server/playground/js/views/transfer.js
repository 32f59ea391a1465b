// Routes to a file, and from one, with what an import would do shown before it is done.

import { call } from "../api.js";
import { h } from "../dom.js";
import { count } from "../format.js";
import { complain, dialog, toast } from "../parts/messages.js";
import { may, refresh } from "../state.js";

const FORMATS = ["json", "jsonl", "yaml", "csv"];
const TYPES = { json: "application/json", jsonl: "application/jsonl", yaml: "application/yaml", csv: "text/csv" };
const ENDINGS = { json: "json", jsonl: "jsonl", ndjson: "jsonl", yaml: "yaml", yml: "yaml", csv: "csv" };

/** The two buttons; `done()` is called after an import. */
export function transfer(done) {
  const format = h("select", { "aria-label": "Format of the export", class: "narrow" }, FORMATS.map((name) => h("option", { value: name }, name.toUpperCase())));
  const file = h("input", { type: "file", hidden: true, accept: Object.keys(ENDINGS).map((end) => `.${end}`).join(",") });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    file.value = "";
    if (chosen && (await importing(chosen))) done();
  });
  return [
    h("span", { class: "row joined" }, format, h("button", { type: "button", onclick: () => exporting(format.value) }, "Export")),
    h("button", { type: "button", disabled: !may("write"), onclick: () => file.click() }, "Import…"),
    file,
  ];
}

async function exporting(format) {
  try {
    const text = await call("GET", "v1/export", { query: { format }, raw: true });
    const url = URL.createObjectURL(new Blob([text], { type: TYPES[format] }));
    h("a", { href: url, download: `routes.${format}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  } catch (error) {
    complain(error);
  }
}

async function importing(file) {
  const format = ENDINGS[file.name.split(".").pop().toLowerCase()];
  if (!format) {
    toast("A routes file ends in .json, .jsonl, .yaml or .csv.", { bad: true });
    return false;
  }
  const text = await file.text();
  const send = (mode, dry) => call("POST", "v1/import", { query: { mode, format, dry_run: dry }, text, type: TYPES[format] });
  return dialog(`Import ${file.name}`, (close) => {
    const mode = h("select", { id: "import-mode" },
      h("option", { value: "put" }, "Add new routes, replace those of the same name"),
      h("option", { value: "add" }, "Add new routes only; refuse the file if one is there"),
      may("admin") && h("option", { value: "replace" }, "Make the routes exactly those of the file"));
    const plan = h("p", { role: "status", class: "plan" }, "…");
    const go = h("button", { type: "button", class: "primary", disabled: true }, "Import");
    const look = async () => {
      go.disabled = true;
      try {
        const would = await send(mode.value, true);
        plan.textContent = `${summary(would)}.`;
        go.disabled = false;
      } catch (error) {
        plan.textContent = error.message;
      }
    };
    mode.addEventListener("change", look);
    go.addEventListener("click", async () => {
      go.disabled = true;
      plan.textContent = "Encoding and storing…";
      try {
        const did = await send(mode.value, false);
        toast(`Imported: ${summary(did)}.`);
        await refresh();
        close(true);
      } catch (error) {
        plan.textContent = error.message;
      }
    });
    look();
    return [h("label", { for: "import-mode" }, "How"), mode, plan,
      h("div", { class: "row end" }, h("button", { type: "button", onclick: () => close(false) }, "Cancel"), go)];
  }, { narrow: true });
}

const size = (value) => (Array.isArray(value) ? value.length : (value ?? 0));
const summary = (answer) => ["added", "updated", "deleted", "unchanged"].map((what) => `${count(size(answer[what]))} ${what}`).join(", ");
