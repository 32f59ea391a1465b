// Decisions that were wrong, what would mend them, what that would gain and lose; accepted by a person or dismissed.

import { call, get, job, post } from "../api.js";
import { fill, h } from "../dom.js";
import { ago, count, percent, shortened } from "../format.js";
import { alertBox, complain, confirmed, toast } from "../parts/messages.js";
import { routePicker } from "../parts/picker.js";
import { may, refresh } from "../state.js";

const STATES = [["", "All"], ["open", "Open"], ["proposed", "Proposed"], ["accepted", "Accepted"], ["dismissed", "Dismissed"]];
const PAGE = 50;
const TONE = { open: "warn", proposed: "info", accepted: "good", dismissed: "" };

export async function show(root) {
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "State" });
  const list = h("ol", { class: "stack" });
  let state = "";

  const more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => load(next) }, "Show older");
  let next = null;

  const load = async (before = null) => {
    fill(tabs, STATES.map(([value, label]) => h("button", { type: "button", "aria-pressed": String(state === value), onclick: () => { state = value; load(); } }, label)));
    if (!may("write")) {
      fill(list, h("li", { class: "card empty" }, "These are texts that others have sent. Reading them takes a key with the scope write."));
      return;
    }
    try {
      const answer = await get("v1/feedback", { state, before, limit: PAGE });
      const cards = answer.feedback.map((item) => card(item, load));
      if (before !== null) list.append(...cards);
      else fill(list, cards.length ? cards : h("li", { class: "card empty" }, "Nothing here. Say on “Try a query” that a decision was wrong, or send it to POST /v1/feedback."));
      next = answer.next;
      more.hidden = next === null;
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
    h("div", { class: "stack" }, h("form", { class: "card row", onsubmit: send }, text, right, h("button", { type: "submit" }, "Add")), tabs, list, more));
  await load();
}

function card(item, changed) {
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
  const propose = h("button", {
    type: "button",
    class: item.state === "open" ? "primary" : null,
    onclick: () => act(() => job(`${path}/propose`, undefined, {
      progress: ({ state, done, total }) => {
        propose.disabled = true;
        says.textContent = total ? `Trying changes on held-out queries, ${done} of ${total}…` : `Trying changes on held-out queries (${state})…`;
      },
    }).finally(() => { propose.disabled = false; })),
  }, item.state === "proposed" ? "Propose anew" : "Propose a change");
  const dismiss = h("button", { type: "button", class: "quiet", onclick: () => act(() => post(`${path}/dismiss`), "Dismissed.") }, "Dismiss");
  const forget = async () => {
    if (!(await confirmed("Forget this feedback?", "Its text is deleted. What was accepted stays in the routes.", { yes: "Forget it", danger: true }))) return;
    act(() => call("DELETE", path), "Forgotten.");
  };
  // Doing nothing is dismissing it.
  const accept = (option) => option.key !== "nothing" && h("button", {
    disabled: option.min_confidence !== null && !may("admin"),
    type: "button", class: option.key === item.proposal.recommended ? "primary" : null,
    onclick: () => act(() => post(`${path}/accept`, { option: option.key }), "Accepted; History can undo it."),
  }, "Accept");
  const was = item.decided;
  return h("li", { class: "card stack tight feedback" },
    h("div", { class: "row apart top" },
      h("div", { class: "grow" },
        h("p", { class: "break said" }, h("q", {}, shortened(item.text, 400))),
        h("p", { class: "small note break" }, was && ["went to ", h("b", {}, was.name ?? "none"), ` at ${percent(was.confidence)}, `], "should be ", h("b", {}, item.expected ?? "none"),
          item.count > 1 && ` · said ${count(item.count)} times`, item.actor && ` · by ${item.actor}`, ` · ${ago(item.last_at ?? item.at)}`, item.note && ` · ${item.note}`)),
      h("div", { class: "row" }, item.contradicts?.length > 0 && h("span", { class: "tag bad" }, "contradicted"), h("span", { class: `tag ${TONE[item.state] ?? ""}` }, item.state))),
    item.outcome && h("p", { class: "small" }, item.outcome.option ? `Accepted: ${item.proposal?.options.find((option) => option.key === item.outcome.option)?.summary ?? item.outcome.option}` : "Dismissed",
      `, revision ${item.outcome.revision}`, item.outcome.actor && `, by ${item.outcome.actor}`, "."),
    open && item.proposal && proposed(item.proposal, may("write") ? accept : () => null),
    says,
    (open || may("admin")) && h("div", { class: "row" }, open && [propose, dismiss], may("admin") && h("button", { type: "button", class: "quiet danger", onclick: forget }, "Forget")));
}

const ORIGINS = { fit: "labelled queries", feedback: "other feedback", utterance: "utterances left out" };

function proposed(proposal, accept) {
  const checks = Object.entries(proposal.checks).filter(([, number]) => number).map(([origin, number]) => `${count(number)} ${ORIGINS[origin] ?? origin}`);
  return h("div", { class: "stack tight" },
    h("p", { class: "small note" }, checks.length ? `Tried on ${checks.join(", ")}, none of which the routes had learned from.` : "There was nothing held out to try changes on."),
    proposal.warnings.map((warning) => h("div", { class: "alert warn small" }, warning)),
    h("ol", { class: "stack tight" }, proposal.options.map((option) => offered(option, option.key === proposal.recommended, accept(option)))));
}

function offered(option, recommended, button) {
  const { effect } = option;
  const flips = [
    ...option.edits.flatMap((edit) => [...edit.remove.map((text) => h("del", {}, `${edit.route}: ${shortened(text, 200)}`)), ...edit.add.map((text) => h("ins", {}, `${edit.route}: ${shortened(text, 200)}`))]),
  ];
  const range = effect.net_interval && ` (accuracy ${signed(effect.net_interval[0])} to ${signed(effect.net_interval[1])})`;
  return h("li", { class: recommended ? "proposal recommended" : "proposal" },
    h("div", { class: "row apart top" },
      h("div", { class: "grow" },
        h("p", { class: "break" }, option.summary, " ", recommended && h("span", { class: "tag good" }, "recommended")),
        h("p", { class: "small" },
          h("span", { class: effect.fixes ? "plus" : "minus" }, effect.fixes ? "mends it" : "does not mend it"), ` (${effect.decided ?? "none"}, ${percent(effect.confidence)}) · `,
          h("span", { class: effect.gained ? "plus" : "note" }, `${count(effect.gained)} gained`), " · ", h("span", { class: effect.lost ? "minus" : "note" }, `${count(effect.lost)} lost`),
          h("span", { class: "note" }, ` of ${count(effect.checked)}`, range))),
      button),
    flips.length > 0 && h("div", { class: "small" }, flips),
    effect.gains.length + effect.losses.length > 0 && h("details", {}, h("summary", {}, "Which ones"),
      h("ul", { class: "small" }, effect.gains.map((flip) => h("li", {}, h("ins", {}, told(flip)))), effect.losses.map((flip) => h("li", {}, h("del", {}, told(flip)))))));
}

const signed = (share) => `${share >= 0 ? "+" : "−"}${(Math.abs(share) * 100).toFixed(1)} %`;
const told = (flip) => `${shortened(flip.text, 160)}: ${flip.before ?? "none"} → ${flip.after ?? "none"}`;
