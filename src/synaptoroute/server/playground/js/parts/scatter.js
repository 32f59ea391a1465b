// Points in a plane on a canvas: dragged, zoomed, pointed at, and moved by keys.

import { h } from "../dom.js";

const DOT_PX = 4;
const REACH_PX = 14;

/**
 * `style(point)` gives {fill, ring, size, faint} of a point {x, y, ...}; `about(point)` the text for the pointer;
 * `pick(point)` is called for a click. Labels are [{x, y, text, fill}].
 *
 * Gives the element, with `show(points, labels)`, `mark(point)` (null for none), `draw()` and `fit()`.
 */
export function scatter({ label, style, about, pick, colour }) {
  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": label });
  const tip = h("div", { class: "tip", hidden: true });
  const box = h("div", { class: "scatter" }, canvas, tip);
  const context = canvas.getContext("2d");
  let points = [];
  let labels = [];
  let marked = null;
  let view = { x: 0, y: 0, scale: 1 };
  let fitted = true;
  let scheduled = false;

  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const toScreen = (point) => {
    const [width, height] = size();
    return [width / 2 + (point.x - view.x) * view.scale, height / 2 - (point.y - view.y) * view.scale];
  };

  const fit = () => {
    const all = marked ? [...points, marked] : points;
    if (!all.length) return;
    const [width, height] = size();
    const xs = all.map((point) => point.x);
    const ys = all.map((point) => point.y);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    view = {
      x: (left + right) / 2, y: (low + high) / 2,
      scale: Math.min((width - 110) / Math.max(right - left, 1e-3), (height - 60) / Math.max(high - low, 1e-3)),
    };
    fitted = true;
    draw();
  };

  const paint = () => {
    scheduled = false;
    const [width, height] = size();
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    for (const pass of [true, false]) {
      for (const point of points) {
        const { fill, ring, size: radius = DOT_PX, faint } = style(point);
        if (Boolean(faint) !== pass) continue;
        const [x, y] = toScreen(point);
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        context.globalAlpha = faint ? 0.16 : 0.85;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fillStyle = fill;
        context.fill();
        if (ring && !faint) {
          context.globalAlpha = 1;
          context.beginPath();
          context.arc(x, y, radius + 3, 0, 2 * Math.PI);
          context.lineWidth = 1.5;
          context.strokeStyle = ring;
          context.stroke();
        }
      }
    }
    context.globalAlpha = 1;
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineJoin = "round";
    const taken = [];
    const ground = colour("card");
    for (const { text, fill, ...at } of labels) {
      const [x, y] = toScreen(at);
      const half = context.measureText(text).width / 2 + 3;
      if (x < -half || y < 0 || x > width + half || y > height) continue;
      if (taken.some(([left, right, top, bottom]) => x - half < right && x + half > left && y - 9 < bottom && y + 9 > top)) continue;
      taken.push([x - half, x + half, y - 9, y + 9]);
      context.lineWidth = 4;
      context.strokeStyle = ground;
      context.strokeText(text, x, y + 4);
      context.fillStyle = fill;
      context.fillText(text, x, y + 4);
    }
    if (marked) {
      const [x, y] = toScreen(marked);
      context.lineWidth = 2.5;
      context.strokeStyle = colour("ink");
      context.fillStyle = colour("warn");
      context.beginPath();
      for (let at = 0; at < 10; at += 1) {
        const radius = at % 2 ? 4.5 : 11;
        const angle = (Math.PI * at) / 5 - Math.PI / 2;
        context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
      }
      context.closePath();
      context.stroke();
      context.fill();
    }
  };

  function draw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(paint);
  }

  const nearest = (event) => {
    const area = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    let best = null;
    let least = REACH_PX ** 2;
    for (const point of points) {
      const [px, py] = toScreen(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least && !style(point).faint) [best, least] = [point, distance];
    }
    return best;
  };

  const zoom = (factor, x = 0, y = 0) => {
    const scale = Math.min(1e5, Math.max(10, view.scale * factor));
    view = { scale, x: view.x + x / view.scale - x / scale, y: view.y - y / view.scale + y / scale };
    fitted = false;
    draw();
  };
  const pan = (x, y) => {
    view = { ...view, x: view.x - x / view.scale, y: view.y + y / view.scale };
    fitted = false;
    draw();
  };

  const pointers = new Map();
  let moved = 0;
  let pinch = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    moved = 0;
    pinch = null;
  });
  canvas.addEventListener("pointermove", (event) => {
    const former = pointers.get(event.pointerId);
    if (!former) {
      const point = nearest(event);
      canvas.style.cursor = point ? "pointer" : "grab";
      tip.hidden = !point;
      if (point) {
        tip.textContent = about(point);
        const [x, y] = toScreen(point);
        tip.style.left = `${Math.min(Math.max(x, 100), size()[0] - 100)}px`;
        tip.style.top = `${y + 12}px`;
      }
      return;
    }
    tip.hidden = true;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const [one, other] = [...pointers.values()];
      const apart = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (pinch) zoom(apart / pinch);
      pinch = apart;
      return;
    }
    const [x, y] = [event.clientX - former.clientX, event.clientY - former.clientY];
    moved += Math.abs(x) + Math.abs(y);
    pan(x, y);
  });
  const up = (event) => {
    if (event.type === "pointerup" && moved < 4 && pointers.has(event.pointerId)) {
      const point = nearest(event);
      if (point) pick(point);
    }
    pointers.delete(event.pointerId);
    pinch = null;
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("wheel", (event) => {
    // The page scrolls unless a zoom is meant.
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    const area = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - area.left - area.width / 2, event.clientY - area.top - area.height / 2);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = { ArrowLeft: () => pan(40, 0), ArrowRight: () => pan(-40, 0), ArrowUp: () => pan(0, 40), ArrowDown: () => pan(0, -40), "+": () => zoom(1.3), "=": () => zoom(1.3), "-": () => zoom(1 / 1.3), 0: fit };
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(() => (fitted ? fit() : draw())).observe(canvas);

  return Object.assign(box, {
    show(next, names) {
      points = next;
      labels = names;
      fit();
    },
    mark(point) {
      marked = point;
      const [x, y] = point ? toScreen(point) : [0, 0];
      const [width, height] = size();
      if (point && fitted && (x < 0 || y < 0 || x > width || y > height)) fit();
      else draw();
    },
    draw,
    fit,
    zoom,
  });
}
