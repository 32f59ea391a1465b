// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

export const count = (value) => (value === null || value === undefined ? "–" : whole.format(value));

/** "1 route", "2 routes". */
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function percent(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;
}

export function number(value, digits = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** Milliseconds, with as many digits as mean something. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${value.toFixed(2)} ms`;
  return value < 1000 ? `${value.toFixed(1)} ms` : `${(value / 1000).toFixed(2)} s`;
}

export const when = (iso) => moment.format(new Date(iso));

export function ago(iso) {
  const seconds = (new Date(iso) - Date.now()) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(Math.round(seconds / size), unit);
  }
  return seconds > -5 ? "just now" : relative.format(Math.round(seconds), "second");
}

export function shortened(text, chars = 140) {
  return text.length > chars ? `${text.slice(0, chars - 1)}…` : text;
}
