// Labelled queries as people have them: CSV, cells apart by tabs, or JSON lines.

const TEXT = ["query", "text", "utterance", "question", "input"];
const LABEL = ["route", "label", "intent", "expected", "class"];
const NONE = new Set(["", "none", "null", "oos", "out of scope", "out_of_scope"]);

/**
 * What was pasted, as [{text, label}] with null for out of scope, and what could not be read, as [{line, why}].
 *
 * `known` is a Set of route names: a label such as "none" is out of scope unless a route has that name.
 */
export function parsed(content, known) {
  const text = content.replace(/^\uFEFF/, "");
  const queries = [];
  const wrong = [];
  const put = (line, query, label) => {
    if (typeof query !== "string" || !query.trim()) {
      wrong.push({ line, why: "has no query" });
      return;
    }
    if (label !== null && typeof label !== "string") {
      wrong.push({ line, why: "has no route; out of scope is an empty cell or null" });
      return;
    }
    const name = (label ?? "").trim().normalize("NFC");
    queries.push({ text: query.trim(), label: !known.has(name) && NONE.has(name.toLowerCase()) ? null : name });
  };
  if (/^\s*\{/.test(text)) {
    text.split("\n").forEach((line, at) => {
      if (!line.trim()) return;
      try {
        const entry = JSON.parse(line);
        const label = LABEL.find((key) => key in entry);
        put(at + 1, entry[TEXT.find((key) => key in entry)], label === undefined ? undefined : entry[label]);
      } catch {
        wrong.push({ line: at + 1, why: "is not JSON" });
      }
    });
    return { queries, wrong };
  }
  const [first = ""] = text.split("\n", 1);
  const rows = cells(text, first.includes("\t") ? "\t" : first.includes(";") && !first.includes(",") ? ";" : ",");
  const header = (rows[0]?.cells ?? []).map((cell) => cell.trim().toLowerCase());
  const at = [header.findIndex((cell) => TEXT.includes(cell)), header.findIndex((cell) => LABEL.includes(cell))];
  const headed = at[0] >= 0 && at[1] >= 0;
  const [query, label] = headed ? at : [0, 1];
  for (const { line, cells: row } of headed ? rows.slice(1) : rows) {
    if (row.length === 1 && !row[0].trim()) continue;
    put(line, row[query], row[label]);
  }
  return { queries, wrong };
}

/** Rows of cells, with quotes as RFC 4180 has them. */
function cells(text, apart) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  let line = 1;
  let begins = 1;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === "\n") line += 1;
    if (quoted) {
      if (char === '"' && text[at + 1] === '"') {
        cell += '"';
        at += 1;
      } else if (char === '"') quoted = false;
      else cell += char;
    } else if (char === '"' && cell === "") quoted = true;
    else if (char === apart) {
      row.push(cell);
      cell = "";
    } else if (char === "\n") {
      row.push(cell.replace(/\r$/, ""));
      rows.push({ line: begins, cells: row });
      row = [];
      cell = "";
      begins = line;
    } else cell += char;
  }
  if (cell || row.length) rows.push({ line: begins, cells: [...row, cell] });
  return rows;
}
