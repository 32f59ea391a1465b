// What several views need: the server's status, and the names of its routes; told anew when they change.

import { get } from "./api.js";

const STATUS_EVERY_MS = 5000;
const PAGE = 1000;

export const events = new EventTarget();
export let status = null;

let listed = null;
let listedAt = null;

const ORDER = ["read", "write", "admin"];

/** Whether the caller's key may do what needs this scope. */
export function may(scope) {
  const scopes = status?.scopes;
  if (!scopes) return true;
  if (Array.isArray(scopes)) return scopes.includes(scope);
  return ORDER.indexOf(scopes) >= ORDER.indexOf(scope);
}

/** Ask how the server is; tells "status", and "revision" if routes have changed. */
export async function refresh() {
  const former = status?.revision;
  try {
    status = await get("v1/status");
  } catch (problem) {
    events.dispatchEvent(new CustomEvent("down", { detail: problem }));
    return;
  }
  events.dispatchEvent(new Event("status"));
  if (former !== undefined && former !== status.revision) events.dispatchEvent(new Event("revision"));
}

/** All routes without their utterances, in the server's order. Asked for once, however many want them. */
export async function routes({ fresh = false } = {}) {
  if (fresh || !listed || listedAt !== status?.revision) {
    listedAt = status?.revision;
    listed = listAll().catch((error) => {
      listed = null;
      throw error;
    });
  }
  return listed;
}

async function listAll() {
  const all = [];
  let after = null;
  do {
    const page = await get("v1/routes", { limit: PAGE, after });
    all.push(...page.routes);
    after = page.next;
  } while (after !== null);
  return all;
}

/** Begin to ask for the status now and then, while the page is seen. */
export function watch() {
  setInterval(() => {
    if (!document.hidden) refresh();
  }, STATUS_EVERY_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  return refresh();
}
