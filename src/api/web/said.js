// What was said, and what is being said.

import { $, item, make } from "./dom.js";

const KEEP = 200;
const FOLLOW = 40; // the transcript scrolls with new text if it is within so many pixels of its end

export const rooms = new Set();
const several = () => rooms.size > 1;
const saying = new Map();

function insert(line, time) {
  const list = $("transcript");
  const follow = list.scrollHeight - list.scrollTop - list.clientHeight < FOLLOW;
  line.dataset.at = Date.parse(time);
  // Utterances of two rooms may arrive in another order than they were spoken.
  let before = list.lastChild;
  while (before?.dataset.at > line.dataset.at) before = before.previousSibling;
  if (before) before.after(line); else list.prepend(line);
  while (list.children.length > KEEP) list.firstChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
}

export const inRoom = room => several() ? [make("span", `${room}  `, "room")] : [];

export const saidBy = u => u.speaker ? `${u.speaker}: ` : "";

export function addRoom(room) {
  if (rooms.has(room)) return;
  rooms.add(room);
  $("rooms").append(make("option", room));
}

function utterance(u) {
  addRoom(u.room);
  insert(item(u.start, ...inRoom(u.room), saidBy(u) + u.text), u.start);
  saying.delete(u.room);
  drawSaying();
}

const REASONS = {
  muted: "muted",
  device_lost: "the microphone was lost",
  overload: "hearing was too slow",
  restart: "hearth did not run",
  store_refused: "the disk took nothing",
};
export const reason = gap => REASONS[gap.reason] ?? gap.reason;

function gap(gap) {
  const seconds = Math.round((new Date(gap.to) - new Date(gap.from)) / 1000);
  insert(item(gap.from, make("span", `${several() ? `${gap.room}: ` : ""}${seconds} s were not heard: ${reason(gap)}`, "gap")), gap.from);
}

function hypothesis(h) {
  if (h.committed.length || h.tentative) saying.set(h.room, h); else saying.delete(h.room);
  drawSaying();
}

function drawSaying() {
  $("saying").replaceChildren(...[...saying].map(([room, h]) => {
    const line = make("p");
    line.append(...inRoom(room), make("b", h.committed.join(" ")), ` ${h.tentative} …`);
    return line;
  }));
}

export const show = { utterance, gap, hypothesis };

/** Begins anew with what hearth remembers, and the events after that. Who has scrolled back stays there. */
export function begin(all, later) {
  const list = $("transcript");
  const { scrollTop } = list;
  const follow = list.scrollHeight - scrollTop - list.clientHeight < FOLLOW;
  list.replaceChildren();
  saying.clear();
  all.utterances.forEach(utterance);
  Object.values(all.hypotheses).forEach(hypothesis);
  later.forEach(scene => Object.entries(scene).forEach(([kind, what]) => show[kind]?.(what)));
  drawSaying();
  list.scrollTop = follow ? list.scrollHeight : scrollTop;
}
