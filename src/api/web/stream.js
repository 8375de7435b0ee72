// The event stream of hearth, kept open. Used by the worker that all pages share, and by a page where there is none.
// Over fetch: EventSource cannot send the token in a header, and a token in a URL would be logged.

const RETRY_MS = 2000;
// hearth sends its status every second. Without anything for so long the connection is lost, though nobody has closed it.
const SILENCE_MS = 15000;
// So many events are kept for a page that is opened later; with more, what was is requested anew.
const KEPT = 1000;

/** The headers of a request. Where the page needs no token, the second one says that it is this page that asks. */
export const headersWith = token => ({ Authorization: `Bearer ${token}`, "X-Requested-With": "hearth" });

/**
 * Delivers messages: `event` with the name and data of an event, `silent` with the time since when hearth does not answer (none if
 * it never did), `refused` with hearth's reason, after which the stream has ended.
 */
export class Stream {
  constructor(token, deliver) {
    Object.assign(this, { token, deliver, heard: null, silent: null, recent: null, later: [], status: null });
    this.run();
  }

  /** What a page is told first: the messages that lead to what the other pages show. */
  past() {
    if (this.silent) return [this.silent];
    return [...(this.recent ? [{ ...this.recent, later: this.later }] : []), ...(this.status ? [this.status] : [])];
  }

  stop() {
    this.stopped = true;
    this.abort?.abort();
  }

  /** Requests anew what was. */
  again() {
    this.onceMore = true;
    this.abort?.abort();
  }

  async run() {
    while (!this.stopped) {
      const abort = this.abort = new AbortController();
      this.onceMore = false;
      let begun = Date.now();
      const guard = setInterval(() => Date.now() - begun > SILENCE_MS && abort.abort(), 1000);
      let error;
      try {
        const response = await fetch("events", { headers: headersWith(this.token), signal: abort.signal });
        if (response.status === 401) {
          this.stopped = true;
          return this.deliver({ kind: "refused", error: (await response.json()).error });
        }
        if (!response.ok) throw (await response.json()).error;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let text = "";
        for (let part; !(part = await reader.read()).done;) {
          begun = this.heard = Date.now();
          const events = (text + part.value).split("\n\n");
          text = events.pop();
          events.forEach(event => this.accept(event));
        }
      } catch (thrown) {
        // What hearth says; the rest is the browser's own words for a lost connection.
        if (typeof thrown === "string") error = thrown;
      } finally {
        clearInterval(guard);
      }
      if (this.onceMore || this.stopped) continue;
      this.recent = this.status = null;
      this.later = [];
      this.silent = { kind: "silent", since: this.heard, error };
      this.deliver(this.silent);
      await new Promise(done => setTimeout(done, RETRY_MS));
    }
  }

  accept(event) {
    const fields = event.split("\n").map(line => line.split(/: ?(.*)/s));
    const name = fields.find(([key]) => key === "event")?.[1];
    if (!name) return;
    const data = JSON.parse(fields.filter(([key]) => key === "data").map(([, data]) => data).join("\n"));
    const message = { kind: "event", name, data };
    this.silent = null;
    if (name === "recent") {
      this.recent = message;
      this.later = [];
    } else if (name === "status") {
      this.status = message;
    } else {
      this.later.push(data);
    }
    this.deliver(message);
    // Nothing of what was forgotten is kept here.
    if (data.forgotten || this.later.length > KEPT) this.again();
  }
}
