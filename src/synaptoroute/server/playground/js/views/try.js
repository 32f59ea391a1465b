// Type a query and see the decision as it is typed, what made it, and where the time went.

import { post } from "../api.js";
import { debounced, field, fill, h } from "../dom.js";
import { ms, number, percent, shortened } from "../format.js";
import { alertBox, complain, toast } from "../parts/messages.js";
import { meter, stages } from "../parts/figures.js";
import { routePicker } from "../parts/picker.js";
import { status } from "../state.js";

const WAIT_MS = 120;
const KEPT = 12;
const recent = [];
let typed = "";

const REASONS = {
  matched: "matched",
  below_threshold: "its score is below the route's threshold",
  below_confidence: "not sure enough",
  ambiguous: "the lead over the runner-up is too small",
  no_routes: "there are no routes yet",
};
const SOURCES = {
  call: "asked for here", route: "of the route", router: "of the server", fit: "chosen by fit", default: "the default",
  set: "set by somebody",
};
const PARTS = { head: "the learned head", neighbours: "nearest utterances (the route is not learned yet)", two_stage: "two stages, for large tables", static: "the static first stage, which was sure; what follows is of the full path" };

export function show(root) {
  const query = h("textarea", {
    rows: 2, class: "query", "aria-label": "Query", placeholder: "Type what a user would say…", data: { first: "" },
    spellcheck: "false", value: typed, maxlength: 32768,
  });
  const answer = h("div", { class: "answer stack" });
  const beside = h("div", { class: "beside stack" });
  const spoken = h("p", { class: "visually-hidden", role: "status" });
  const past = h("ol", { class: "past" });
  const options = optionFields(() => ask.flush());
  let asked = 0;
  let controller = null;

  const ask = debounced(async () => {
    typed = query.value;
    asked += 1;
    const mine = asked;
    controller?.abort();
    if (!typed.trim()) {
      fill(answer, nothing());
      fill(beside, waiting());
      return;
    }
    controller = new AbortController();
    const began = performance.now();
    try {
      const body = { text: typed, explain: true, ...options.values() };
      const answered = await post("v1/route", body, { signal: controller.signal });
      // An answer to what was typed before must never stand below what is typed now.
      if (mine !== asked) return;
      const took = { server: answered.took_ms, whole: performance.now() - began };
      const [decision] = answered.decisions;
      fill(answer, decided(decision));
      fill(beside, timing(decision, took), feedback(typed, decision));
      remember(typed, decision);
    } catch (error) {
      if (mine === asked && error.name !== "AbortError") fill(answer, alertBox(error));
    }
  }, WAIT_MS);

  const remember = debounced((text, decision) => {
    // Once typing has stopped, for those who hear the page: every letter would be too much.
    spoken.textContent = `${decision.name ?? "none"}, ${percent(decision.confidence)} sure`;
    if (recent[0]?.text === text) recent.shift();
    recent.unshift({ text, name: decision.name, confidence: decision.confidence });
    recent.length = Math.min(recent.length, KEPT);
    drawPast();
  }, 900);

  const drawPast = () => fill(past, recent.map((entry) =>
    h("li", {}, h("button", { type: "button", class: "quiet", onclick: () => { query.value = entry.text; ask.flush(); query.focus(); } },
      h("span", { class: "break" }, shortened(entry.text, 60)),
      h("span", { class: entry.name ? "tag good" : "tag warn" }, entry.name ? shortened(entry.name, 28) : "none")))));

  query.addEventListener("input", () => ask());
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      ask.flush();
    }
  });
  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Try a query"), h("p", {}, "The decision follows what you type; nothing is stored."))),
    h("div", { class: "try-grid" },
      h("div", { class: "stack" }, h("div", { class: "card ask" }, query, options.element), answer, spoken),
      h("aside", { class: "stack" }, beside, h("div", { class: "card" }, h("h2", {}, "Asked lately"), past))));
  drawPast();
  fill(answer, nothing());
  fill(beside, waiting());
  if (typed) ask.flush();
  query.focus({ preventScroll: true });
  return () => {
    ask.cancel();
    remember.cancel();
    controller?.abort();
  };
}

const waiting = () => h("div", { class: "card" }, h("h2", {}, "Where the time went"), h("p", { class: "note" }, "By stage, once there is an answer."));

const nothing = () => h("div", { class: "card empty" }, "Nothing typed yet.");

function optionFields(changed) {
  const probability = (name) => h("input", { type: "number", min: 0, max: 1, step: 0.001, inputmode: "decimal", placeholder: "server's", name });
  const topK = h("input", { type: "number", min: 1, max: 50, step: 1, value: 5 });
  const confidence = probability("min_confidence");
  const margin = probability("min_margin");
  const threshold = h("input", { type: "number", min: -1, max: 1, step: 0.001, placeholder: "routes'" });
  const exact = h("input", { type: "checkbox" });
  const allow = routePicker({ label: "Only among", placeholder: "all routes" });
  for (const input of [topK, confidence, margin, threshold, exact, allow.input]) input.addEventListener("input", debounced(changed, 250));
  const given = (input) => (input.value === "" || !input.checkValidity() ? undefined : input.valueAsNumber);
  return {
    element: h("details", { class: "options" }, h("summary", {}, "Options"),
      h("div", { class: "fields" },
        field("Routes listed", topK), field("Least confidence", confidence), field("Least lead", margin), field("Least score", threshold),
        h("div", { class: "field" }, h("span", { class: "label" }, "Only this route"), allow),
        h("label", { class: "check" }, exact, "compare with every utterance"))),
    values: () => ({
      top_k: given(topK) ?? 5, min_confidence: given(confidence), min_margin: given(margin), threshold: given(threshold),
      exact: exact.checked || undefined, allow: allow.choice() ? [allow.choice()] : undefined,
    }),
  };
}

function decided(decision) {
  const why = decision.explanation ?? null;
  const [best] = decision.matches;
  const least = why?.limits?.min_confidence?.value ?? status?.min_confidence ?? status?.fitted?.min_confidence ?? 0.5;
  return [
    h("div", { class: decision.name ? "card verdict" : "card verdict abstained" },
      h("div", { class: "row apart" },
        h("div", { class: "grow" },
          h("p", { class: "small note" }, decision.name ? "goes to" : "abstains"),
          h("p", { class: "chosen break" }, decision.name
            ? h("a", { href: `#/routes/${encodeURIComponent(decision.name)}` }, decision.name)
            : best ? `none: ${REASONS[decision.reason] ?? decision.reason}` : REASONS.no_routes)),
        h("div", { class: "sure" }, h("span", { class: "big num" }, percent(decision.confidence)),
          h("span", { class: "small note" }, decision.name || !best ? "sure" : `sure of ${shortened(best.name, 30)}`))),
      meter(decision.confidence, { label: "Confidence", mark: least, kind: decision.name ? "" : "abstained" }),
      h("dl", { class: "measures" },
        measure("Score", number(decision.score), limitText(why?.limits?.threshold, "at least", number)),
        measure("Lead over runner-up", decision.margin === null ? "–" : percent(decision.margin), limitText(why?.limits?.min_margin, "at least", percent)),
        measure("Least confidence", least === null ? "–" : percent(least), SOURCES[why?.limits?.min_confidence?.source] ?? ""),
        measure("Revision", String(decision.revision), ""))),
    best && h("div", { class: "card" },
      h("h2", {}, "Best routes"),
      h("ol", { class: "ranked" }, decision.matches.map((match, at) =>
        h("li", {},
          h("div", { class: "row apart" },
            h("a", { class: "break", href: `#/routes/${encodeURIComponent(match.name)}` }, match.name),
            h("span", { class: "num small" }, `${percent(match.confidence)} · ${number(match.score)}`)),
          meter(match.confidence, { label: `Confidence in ${match.name}`, kind: at === 0 ? (decision.name ? "" : "abstained") : "soft" }),
          h("p", { class: "small note break" }, "nearest: ", h("q", {}, shortened(match.utterance, 220))))))),
    why?.nearest?.length > 0 && h("div", { class: "card" },
      h("h2", {}, "Nearest utterances"),
      h("ol", { class: "nearest" }, why.nearest.map((near) =>
        h("li", {},
          h("span", { class: "num small" }, number(near.score)),
          h("span", { class: "break" }, shortened(near.utterance, 160)),
          h("span", { class: near.name === best?.name ? "tag good" : "tag" }, shortened(near.name, 32))))),
      why.decided_by && h("p", { class: "small note" }, `Ranked by ${PARTS[why.decided_by] ?? why.decided_by}.`)),
  ];
}

function timing(decision, took) {
  const why = decision.explanation ?? null;
  return h("div", { class: "card" },
    h("h2", {}, "Where the time went"),
    why?.stages
      ? stages(Object.entries(why.stages).filter(([, value]) => typeof value === "number").map(([name, value]) => [name.replace(/_ms$/, "").replaceAll("_", " "), value]), ms)
      : h("p", { class: "note" }, "The server tells no stages."),
    h("p", { class: "small note" }, `${ms(took.server)} in the server, ${ms(took.whole)} until it was here`,
      why?.cached ? `; a plain call would have found the ${why.cached} in a cache` : "", "."));
}

function limitText(limit, words, form) {
  return limit?.value === null || limit?.value === undefined ? "" : `${words} ${form(limit.value)}, ${SOURCES[limit.source] ?? limit.source}`;
}

const measure = (name, value, hint) => h("div", {}, h("dt", {}, name), h("dd", { class: "num" }, value), h("dd", { class: "small note" }, hint));

function feedback(text, decision) {
  const picker = routePicker({ label: "Should be", none: true, placeholder: "right route, or none" });
  const send = async (expected) => {
    try {
      await post("v1/feedback", {
        text, expected,
        decision: { name: decision.name, confidence: decision.confidence, revision: decision.revision },
      });
      toast("Noted. Nothing changes before somebody accepts a proposal.", { action: { label: "Feedback", run: () => { location.hash = "#/feedback"; } } });
    } catch (error) {
      complain(error);
    }
  };
  return h("form", {
    class: "card",
    onsubmit: (event) => {
      event.preventDefault();
      const choice = picker.choice();
      if (choice === undefined) toast("Choose a route from the list, or none.", { bad: true });
      else send(choice);
    },
  },
  h("h2", {}, "This was wrong?"),
  h("div", { class: "stack tight" }, picker, h("div", {}, h("button", { type: "submit" }, "It should be this"))));
}
