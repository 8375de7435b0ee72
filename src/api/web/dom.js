// Elements and times. All text is inserted as text, never as markup.

export const $ = id => document.getElementById(id);

export function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** Sets a text that a screen reader announces when it changes, and only then. */
export function tell(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

const style = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };

/** A time with its day, where that is not today. */
export function clock(time) {
  const then = new Date(time);
  const today = then.toDateString() === new Date().toDateString();
  return then.toLocaleString([], today ? { ...style, second: "2-digit" } : { day: "numeric", month: "short", ...style });
}

export const minute = time => new Date(time).toLocaleTimeString([], style);

export function item(time, ...inside) {
  const li = make("li");
  li.append(make("time", clock(time)), make("div"));
  li.lastChild.append(...inside);
  return li;
}

/** A button that cannot be pressed again until what it does is done. */
export function button(text, press) {
  const element = make("button", text);
  element.type = "button";
  element.addEventListener("click", () => whileBusy(element, press));
  return element;
}

export async function whileBusy(button, act) {
  button.disabled = true;
  try {
    await act();
  } finally {
    button.disabled = false;
  }
}

/** The quotes behind a sentence, opened by a click on it. */
export function withEvidence(text, evidence) {
  if (!evidence.length) return make("p", text);
  const details = make("details");
  const quotes = make("ol");
  quotes.append(...evidence.map(e => item(e.time, make("q", e.text))));
  details.append(make("summary", text), quotes);
  return details;
}

export const percent = p => `${Math.round(100 * p)} %`;

/** A part of an SVG picture. */
export const svg = tag => document.createElementNS("http://www.w3.org/2000/svg", tag);

/** A line through points whose y is 0 … 1, in a box of `width` by `height`. */
export function line(points, width, height) {
  const step = width / Math.max(points.length - 1, 1);
  const at = (y, i) => `${(i * step).toFixed(1)} ${(height - 1 - y * (height - 2)).toFixed(1)}`;
  const path = svg("path");
  path.setAttribute("d", points.length === 1 ? `M${at(points[0], 0)} H${width}` : `M${points.map(at).join(" L")}`);
  return path;
}
