// The way to hearth: the token, requests, and the events of the stream.

import { tell } from "./dom.js";
import { Stream, headersWith } from "./stream.js";

// The token is in the address after the # the first time, and is then stored for this page.
const hash = new URLSearchParams(location.hash.slice(1));
if (hash.has("token")) {
  localStorage.setItem("token", hash.get("token"));
  history.replaceState(null, "", location.pathname);
}

const token = () => localStorage.getItem("token") ?? "";
const AWAY = "hearth does not answer: nothing was done, as far as this page knows.";

// While hearth does not answer, a request waits no longer than this.
const PATIENCE_MS = 5000;
const pending = new Set();
let away = false;

/** Notes whether hearth answers. What still waits for it is given up when it does not. */
export function answering(yes) {
  away = !yes;
  if (away) pending.forEach(abort => abort.abort());
}

/** What hearth answers to a request, or an object whose `error` says why there is no answer. */
export async function request(path, options = {}) {
  const abort = new AbortController();
  const timer = away && setTimeout(() => abort.abort(), PATIENCE_MS);
  pending.add(abort);
  try {
    const response = await fetch(path, { ...options, headers: headersWith(token()), signal: abort.signal });
    return await response.json();
  } catch {
    return { error: AWAY };
  } finally {
    pending.delete(abort);
    clearTimeout(timer);
  }
}

/** Sends a command. False if it was not done; then a notice says why. */
export async function command(object) {
  const answer = await request("command", { method: "POST", body: JSON.stringify(object) });
  tell("notice", answer.status === "ok" ? "" : answer.error);
  return answer.status === "ok" && answer;
}

/** Receives the events, by way of the worker that all pages share, or by a connection of this page. */
export function listen(deliver) {
  let own, worker;
  // Without the worker only a page that is seen is connected: a browser allows six connections.
  const alone = () => {
    own?.stop();
    own = document.hidden ? undefined : new Stream(token(), deliver);
  };
  const join = () => worker ? worker.port.postMessage({ token: token() }) : alone();
  addEventListener("pagehide", () => worker ? worker.port.postMessage({ leave: true }) : own?.stop());
  addEventListener("pageshow", event => event.persisted && join());
  document.addEventListener("visibilitychange", () => worker || alone());
  try {
    worker = new SharedWorker("shared.js", { type: "module", name: "hearth" });
    worker.port.onmessage = ({ data }) => deliver(data);
    worker.onerror = () => {
      worker = undefined;
      alone();
    };
  } catch {
    // An older browser on a phone.
  }
  join();
  return join;
}
