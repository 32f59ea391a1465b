// Routes and utterances in a plane: where they overlap, and where a query falls.

import { get, post } from "../api.js";
import { debounced, fill, h } from "../dom.js";
import { count, number, percent, plural, shortened } from "../format.js";
import { colour } from "../parts/charts.js";
import { alertBox } from "../parts/messages.js";
import { routePicker } from "../parts/picker.js";
import { scatter } from "../parts/scatter.js";
import { events } from "../state.js";

const WAIT_MS = 150;
const LIMIT = 5000;
const LABELS = 300;
const CROWD = 1500;
let typed = "";

export async function show(root, wanted) {
  const query = h("input", { class: "grow", placeholder: "Type a query to see where it falls…", "aria-label": "Query", value: typed, maxlength: 32768, data: { first: "" }, spellcheck: "false" });
  const says = h("p", { class: "small note map-says", role: "status" });
  const verdict = h("p", { class: "map-verdict break", role: "status" });
  const beside = h("div", { class: "stack" });
  const chips = h("div", { class: "row" });
  let only = wanted ? wanted.split("\n").filter(Boolean) : [];
  let lit = null;
  // Looked up once for each theme: a lookup for every point makes dragging 5,000 of them jerk.
  let palette = new Map();
  let ring = colour("bad");
  let dots = 4;
  let asked = 0;

  const plot = scatter({
    label: "Map of utterances; arrow keys move it, plus and minus zoom, 0 shows all",
    colour,
    style: (point) => ({
      fill: palette.get(point.route), ring: point.nearest ? ring : null, size: dots,
      faint: lit !== null && point.route !== lit,
    }),
    about: (point) => `${point.route}\n${shortened(point.utterance, 140)}${point.nearest ? `\nnearest to ${point.nearest} (${number(point.score)})` : ""}`,
    pick: (point) => light(lit === point.route ? null : point.route),
  });

  const light = (name) => {
    lit = name;
    plot.draw();
    chosen();
  };

  const chosen = () => fill(chips,
    lit !== null && h("span", { class: "tag good" }, shortened(lit, 40), " ", h("button", { type: "button", class: "link", "aria-label": "Show all alike", onclick: () => light(null) }, "✕")),
    lit !== null && h("a", { class: "small", href: `#/routes/${encodeURIComponent(lit)}` }, "open"),
    lit !== null && !only.includes(lit) && h("button", { type: "button", class: "compact", onclick: () => focus([...only, lit]) }, only.length ? "Add to these" : "Only this"),
    only.map((name) => h("span", { class: "tag" }, shortened(name, 32), " ", h("button", { type: "button", class: "link", "aria-label": `Without ${name}`, onclick: () => focus(only.filter((other) => other !== name)) }, "✕"))),
    only.length > 0 && h("button", { type: "button", class: "compact", onclick: () => focus([]) }, "All routes"));

  const focus = (names) => {
    only = names;
    lit = null;
    load();
  };

  const load = async () => {
    try {
      const map = await get("v1/map", { limit: LIMIT, routes: only });
      const groups = new Map();
      for (const point of map.points) {
        if (!groups.has(point.route)) groups.set(point.route, []);
        groups.get(point.route).push(point);
      }
      // Neighbours in the list get hues far apart: the golden angle never comes back to where it was.
      const dark = colour("page").startsWith("#1");
      ring = colour("bad");
      dots = map.points.length > CROWD ? 2.5 : 4;
      palette = new Map([...groups.keys()].map((name, at) => [name, `hsl(${Math.round((at * 137.508) % 360)} ${dark ? "60% 66%" : "58% 42%"})`]));
      const mean = (list, key) => list.reduce((sum, point) => sum + point[key], 0) / list.length;
      const labels = [...groups].slice(0, LABELS).map(([name, list]) => ({ text: shortened(name, 28), x: mean(list, "x"), y: mean(list, "y"), fill: palette.get(name) }));
      plot.show(map.points, labels);
      const astray = map.points.filter((point) => point.nearest).length;
      says.textContent = `${count(map.shown)}${map.shown < map.total ? ` of ${count(map.total)}` : ""} utterances; the plane keeps ${percent(map.explained[0] + map.explained[1], 0)} of how they differ. `
        + `${plural(astray, "utterance")} with a red ring ${astray === 1 ? "is" : "are"} nearest to one of another route, found among the vectors themselves.`;
      overlaps(map.overlaps);
      chosen();
      locate.flush();
    } catch (error) {
      fill(beside, alertBox(error));
    }
  };

  const overlaps = (pairs) => fill(beside, h("section", { class: "card" },
    h("h2", {}, "Overlaps"),
    h("p", { class: "small note" }, pairs.length ? "Share of two routes' utterances that are nearest to the other. Choose a pair to see it alone." : "No route reaches into another."),
    h("ol", { class: "overlaps" }, pairs.map((pair) => h("li", {},
      h("button", { type: "button", class: "link", onclick: () => focus(pair.routes) }, pair.routes.join(" – ")),
      h("span", { class: pair.share >= 0.2 ? "tag bad" : pair.share >= 0.05 ? "tag warn" : "tag" }, percent(pair.share, 0)))))));

  const locate = debounced(async () => {
    typed = query.value;
    asked += 1;
    const mine = asked;
    if (!typed.trim()) {
      plot.mark(null);
      fill(verdict);
      return;
    }
    try {
      const found = await post("v1/map/locate", { text: typed, limit: LIMIT, routes: only.length ? only : null });
      if (mine !== asked) return;
      plot.mark(found);
      const { decision } = found;
      fill(verdict, "★ ", decision.name ? h("b", {}, decision.name) : h("b", {}, "none"), ` at ${percent(decision.confidence)}`,
        !decision.name && decision.matches[0] && `, best guess ${decision.matches[0].name}`);
    } catch (error) {
      if (mine === asked) fill(verdict, h("span", { class: "minus" }, error.message));
    }
  }, WAIT_MS);

  const add = routePicker({ label: "Show only", placeholder: "Show only a route…" });
  add.input.addEventListener("change", () => {
    const name = add.choice();
    if (!name || only.includes(name)) return;
    add.input.value = "";
    focus([...only, name]);
  });
  query.addEventListener("input", () => locate());
  fill(root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Map"), h("p", {}, "Principal components of the routes' vectors. Neighbours here are likely, not surely, neighbours."))),
    h("div", { class: "map-grid" },
      h("div", { class: "card stack tight" },
        h("div", { class: "row" }, query, add), h("div", { class: "row apart map-row" }, verdict, chips),
        plot, h("div", { class: "row apart" }, says, h("div", { class: "row" },
          h("button", { type: "button", class: "compact", "aria-label": "Zoom in", onclick: () => plot.zoom(1.4) }, "+"),
          h("button", { type: "button", class: "compact", "aria-label": "Zoom out", onclick: () => plot.zoom(1 / 1.4) }, "−"),
          h("button", { type: "button", class: "compact", onclick: () => plot.fit() }, "Fit")))),
      beside));
  await load();
  events.addEventListener("revision", load);
  events.addEventListener("theme", load);
  return () => {
    locate.cancel();
    asked += 1;
    events.removeEventListener("revision", load);
    events.removeEventListener("theme", load);
  };
}
