// Decisions that were wrong, what would mend them, what that would gain and lose; accepted by a person or dismissed.

import { get, job, post } from "../api.js";
import { fill, h } from "../dom.js";
import { ago, count, percent, shortened } from "../format.js";
import { alertBox, complain, toast } from "../parts/messages.js";
import { routePicker } from "../parts/picker.js";
import { may, refresh } from "../state.js";

const STATES = [["", "All"], ["open", "Open"], ["proposed", "Proposed"], ["accepted", "Accepted"], ["dismissed", "Dismissed"]];
const TONE = { open: "warn", proposed: "info", accepted: "good", dismissed: "" };

export async function show(root) {
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
  const list = h("ol", { class: "stack" });
  let state = "";

  const load = async () => {
    fill(tabs, STATES.map(([value, label]) => h("button", { type: "button", "aria-pressed": String(state === value), onclick: () => { state = value; load(); } }, label)));
    try {
      const answer = await get("v1/feedback", { state });
      const items = answer.feedback ?? answer.items ?? [];
      fill(list, items.length ? items.map((item) => card(item, load)) : h("li", { class: "card empty" }, "Nothing here. Say on “Try a query” that a decision was wrong, or send it to POST /v1/feedback."));
    } catch (error) {
      fill(list, h("li", {}, alertBox(error)));
    }
  };

  const text = h("input", { class: "grow", placeholder: "Query that was decided wrongly", "aria-label": "Query", required: true, maxlength: 32768, data: { first: "" } });
  const right = routePicker({ label: "Right route", none: true, placeholder: "right route, or none" });
  const send = async (event) => {
    event.preventDefault();
    const expected = right.choice();
    if (expected === undefined) {
      toast("Choose a route from the list, or none.", { bad: true });
      return;
    }
    try {
      await post("v1/feedback", { text: text.value, expected });
      text.value = "";
      right.input.value = "";
      await load();
    } catch (error) {
      complain(error);
    }
  };
  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Feedback"), h("p", {}, "Nothing is learned silently: a proposal shows what it gains and loses on held-out queries, and waits for a person."))),
    h("div", { class: "stack" }, h("form", { class: "card row", onsubmit: send }, text, right, h("button", { type: "submit" }, "Add")), tabs, list));
  await load();
}

function card(item, changed) {
  const body = h("div", { class: "stack tight" });
  const says = h("p", { class: "small note", role: "status" });
  const act = async (work, done) => {
    try {
      await work();
      if (done) toast(done);
      await refresh();
      await changed();
    } catch (error) {
      says.textContent = "";
      complain(error);
    }
  };
  const path = `v1/feedback/${encodeURIComponent(item.id)}`;
  const open = item.state === "open" || item.state === "proposed";
  const propose = h("button", { type: "button", onclick: () => act(() => job(`${path}/propose`, undefined, {
    progress: ({ state, done, total }) => { says.textContent = total ? `Trying changes on held-out queries, ${done} of ${total}…` : `Trying changes on held-out queries (${state})…`; },
  })) }, item.state === "proposed" ? "Propose anew" : "Propose a change");
  const dismiss = h("button", { type: "button", class: "quiet", onclick: () => act(() => post(`${path}/dismiss`), "Dismissed.") }, "Dismiss");
  fill(body, options(item).map((option, at) => proposal(option, item, may("write") && open
    ? h("button", { type: "button", class: "primary", onclick: () => act(() => post(`${path}/accept`, { option: option.option ?? option.id ?? at }), "Accepted; History can undo it.") }, "Accept")
    : null)));
  const was = item.decision;
  return h("li", { class: "card stack tight feedback" },
    h("div", { class: "row apart top" },
      h("div", { class: "grow" },
        h("p", { class: "break" }, h("q", {}, shortened(item.text, 400))),
        h("p", { class: "small note break" }, was ? ["went to ", h("b", {}, was.name ?? "none"), was.confidence !== undefined && was.confidence !== null && ` at ${percent(was.confidence)}`, ", "] : "", "should be ", h("b", {}, item.expected ?? "none"),
          item.actor && ` · ${item.actor}`, (item.at ?? item.created_at) && ` · ${ago(item.at ?? item.created_at)}`, item.note && ` · ${item.note}`)),
      h("span", { class: `tag ${TONE[item.state] ?? ""}` }, item.state)),
    body, says,
    open && may("write") && h("div", { class: "row" }, propose, dismiss));
}

const options = (item) => item.proposal?.options ?? item.proposals ?? item.options ?? [];

function proposal(option, item, accept) {
  const { gains = [], losses = [] } = option;
  return h("div", { class: "proposal" },
    h("div", { class: "row apart top" }, h("p", { class: "grow break" }, option.summary ?? option.description ?? option.kind), accept),
    h("p", { class: "small" }, h("span", { class: "plus" }, `${count(size(gains))} gained`), " · ", h("span", { class: "minus" }, `${count(size(losses))} lost`)),
    Array.isArray(gains) && gains.slice(0, 5).map((one) => h("ins", {}, told(one))),
    Array.isArray(losses) && losses.slice(0, 5).map((one) => h("del", {}, told(one))));
}

const size = (value) => (Array.isArray(value) ? value.length : value);
const told = (one) => (typeof one === "string" ? one : `${shortened(one.text ?? one.query, 120)}: ${one.before ?? "none"} → ${one.after ?? "none"}`);
