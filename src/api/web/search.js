// A search over what was said and is stored.

import { $, item, make, tell, whileBusy } from "./dom.js";
import { request } from "./hearth.js";
import { saidBy } from "./said.js";

async function find(form) {
  const asked = Object.fromEntries(new FormData(form));
  const answer = await request("search", { method: "POST", body: JSON.stringify(asked) });
  const found = answer.utterances ?? [];
  $("found").replaceChildren(...found.map(u => item(u.start, make("span", `${u.room}  `, "room"), saidBy(u), ...marked(u.text, asked.words))));
  const newest = `The newest ${found.length} are listed: name a time or more words to see others.`;
  const count = found.length === 1 ? "Found once." : `Found ${found.length} times.`;
  tell("search-notice", answer.error ?? (answer.more ? newest : found.length ? count : "Nothing that is stored matches; [store] keep says how long text is kept."));
}

// The text with the words that were searched for marked.
function marked(text, words) {
  const plain = part => part.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const wanted = new Set(plain(words).split(/[^\p{L}\p{N}]+/u).filter(Boolean));
  return text.split(/([^\p{L}\p{M}\p{N}]+)/u).map(part => wanted.has(plain(part)) ? make("mark", part) : part);
}

/** Takes back what was found. */
export function forget() {
  $("found").replaceChildren();
  tell("search-notice", "");
}

export function begin() {
  $("search").addEventListener("submit", event => {
    event.preventDefault();
    whileBusy(event.submitter ?? $("search").querySelector("button"), () => find(event.target));
  });
}
