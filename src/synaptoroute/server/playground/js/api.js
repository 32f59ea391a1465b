// The HTTP interface: one call, its problems, and jobs that take longer.

const BASE = new URL(".", document.baseURI);
const KEY = "synaptoroute.key";
const POLL_MS = 300;

export const keyOf = () => sessionStorage.getItem(KEY) ?? "";

export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** What the server refused, or that it cannot be reached (status 0). */
export class Problem extends Error {
  constructor(status, content) {
    super(content.detail ?? `the server answered ${status}`);
    this.status = status;
    this.code = content.code ?? "unknown";
    this.title = content.title ?? "";
    this.errors = content.errors ?? [];
    this.requestId = content.request_id ?? null;
  }
}

let refused = () => {};

/** Who is told when a key is missing or wrong. */
export function onRefused(listener) {
  refused = listener;
}

/**
 * Call the server; gives the JSON of its answer. Raises Problem.
 *
 * Options: body (sent as JSON), text (sent as it is, with `type`), revision (for If-Match), onlyNew (If-None-Match: *),
 * query (an object), signal.
 */
export async function call(method, path, options = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(options.query ?? {})) {
    if (value === null || value === undefined || value === "") continue;
    for (const item of Array.isArray(value) ? value : [value]) url.searchParams.append(name, item);
  }
  const headers = {};
  if (keyOf()) headers.Authorization = `Bearer ${keyOf()}`;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (options.text !== undefined) headers["Content-Type"] = options.type ?? "text/plain";
  if (options.revision !== undefined && options.revision !== null) headers["If-Match"] = `"${options.revision}"`;
  if (options.onlyNew) headers["If-None-Match"] = "*";
  const body = options.body === undefined ? options.text : JSON.stringify(options.body);
  let response;
  try {
    response = await fetch(url, { method, headers, body, signal: options.signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { code: "unreachable", detail: "the server cannot be reached" });
  }
  const said = await response.text();
  let content = null;
  try {
    content = said ? JSON.parse(said) : null;
  } catch {
    content = null;
  }
  if (!response.ok) {
    const problem = new Problem(response.status, content ?? {});
    if (response.status === 401) refused(problem);
    throw problem;
  }
  return options.raw ? said : content;
}

export const get = (path, query, options) => call("GET", path, { query, ...options });
export const post = (path, body, options) => call("POST", path, { body, ...options });

/** The path of a route; the name may hold slashes. */
export const routePath = (name, rest = "") => `v1/routes/${encodeURIComponent(name)}${rest}`;

/**
 * Start a job and wait for what comes of it. Told `progress({state, done, total})`; an aborted signal cancels it.
 */
export async function job(path, body, { progress = () => {}, signal } = {}) {
  let state = await post(path, body);
  while (state.state === "queued" || state.state === "running") {
    progress({ state: state.state, ...(state.progress ?? {}) });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (signal?.aborted) {
      await call("DELETE", `v1/jobs/${state.id}`).catch(() => {});
      throw new DOMException("cancelled", "AbortError");
    }
    state = await get(`v1/jobs/${state.id}`);
  }
  if (state.state === "done") return state.result;
  throw new Problem(state.problem?.status ?? 500, state.problem ?? { code: state.state, detail: `the job was ${state.state}` });
}
