// A hearth that runs, and a Chromium that looks at its page.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PROGRAM = process.env.HEARTH ?? join(ROOT, "target/release/hearth");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
/** How long something may take to come, on a machine that does much else. A test waits for what it wants, and never for a time. */
export const PATIENCE = 240_000;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// hearth ends with its recording, so an hour of a quiet room comes after it: not without any noise, which is a dead microphone.
// The browser decodes the recording, because it is there anyway.
const RATE = 16000;
const QUIET_S = 3600;
async function withQuiet(browser, recording, file) {
  const page = await browser.newPage();
  const flac = (await readFile(join(ROOT, "examples", `${recording}.flac`))).toString("base64");
  const decoded = await page.evaluate(async ({ flac, rate }) => {
    const bytes = Uint8Array.from(atob(flac), c => c.charCodeAt(0));
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.buffer);
    const samples = Int16Array.from(sound.getChannelData(0), x => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
    return new Promise(done => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result.split(",")[1]);
      reader.readAsDataURL(new Blob([samples]));
    });
  }, { flac, rate: RATE });
  await page.close();
  const quiet = Int16Array.from({ length: RATE * QUIET_S }, (_, n) => n * n % 7 - 3);
  const sound = Buffer.concat([Buffer.from(decoded, "base64"), Buffer.from(quiet.buffer)]);
  const header = Buffer.alloc(44);
  header.write("RIFF", 0);
  header.writeUInt32LE(36 + sound.length, 4);
  header.write("WAVEfmt ", 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(RATE, 24);
  header.writeUInt32LE(2 * RATE, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write("data", 36);
  header.writeUInt32LE(sound.length, 40);
  await writeFile(file, Buffer.concat([header, sound]));
}

export class Hearth {
  /** A hearth that hears the recording of that name in `examples`; `more` is added to its config, `page` to the table of the page. */
  static async start(browser, recording = "everyday", more = "", page = "") {
    const hearth = new Hearth();
    hearth.folder = await mkdtemp(join(tmpdir(), "hearth-page-"));
    await withQuiet(browser, recording, join(hearth.folder, "recording.wav"));
    hearth.address = `127.0.0.1:${await freePort()}`;
    hearth.config = join(hearth.folder, "hearth.toml");
    await writeFile(hearth.config, [
      `[source.file]\npath = "recording.wav"`,
      `[mqtt]\nurl = "embedded"\nlisten = "127.0.0.1:${await freePort()}"`,
      `[page]\nlisten = "${hearth.address}"\n${page}`,
      `[store]\ndir = "state"`,
      more,
    ].join("\n"));
    await hearth.begin();
    return hearth;
  }

  /** Starts the program, and waits until its page is open. */
  async begin() {
    this.log = "";
    const env = { ...process.env, HEARTH_MODELS: join(ROOT, "models") };
    this.process = spawn(PROGRAM, ["run", "--config", this.config], { env, stdio: ["ignore", "ignore", "pipe"] });
    this.process.stderr.setEncoding("utf8");
    this.ended = once(this.process, "exit");
    await new Promise((open, fail) => {
      this.process.stderr.on("data", text => {
        this.log += text;
        if (this.log.includes("the page is open")) open();
      });
      this.process.on("exit", code => fail(new Error(`hearth ended with ${code}:\n${this.log}`)));
      this.process.on("error", fail);
    });
    this.token = (await readFile(join(this.folder, "state/page.token"), "utf8")).trim();
  }

  get url() {
    return `http://${this.address}/#token=${this.token}`;
  }

  /** Ends the program, as a service manager does. */
  async stop() {
    if (this.process.exitCode === null) this.process.kill("SIGTERM");
    await this.ended;
  }

  async end() {
    await this.stop();
    await rm(this.folder, { recursive: true });
  }
}

/** Chromium. It refuses its sandbox to root, in whose name tests run in a container. */
export const openBrowser = () => chromium.launch({
  executablePath: CHROMIUM,
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** A page in a browser profile of its own. `page.faults` collects errors of its scripts and what its policy refused. */
export async function open(browser, url, options = {}) {
  return openIn(await profile(browser, options), url);
}

export async function profile(browser, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, locale: "en-GB", ...options });
  context.setDefaultTimeout(PATIENCE);
  return context;
}

export async function openIn(context, url) {
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", error => page.faults.push(String(error)));
  page.on("console", message => {
    // That hearth does not answer, or refuses a request, the browser writes there as well.
    const refused = /net::ERR_|with a status of 40[01] /.test(message.text());
    if (message.type() === "error" && !refused) page.faults.push(message.text());
  });
  await page.goto(url);
  return page;
}

/** What axe-core finds wrong, a line for each element; all of its rules but the experimental ones. */
export async function violations(page) {
  // The page's policy refuses scripts that are added to it, so this goes by the debugger.
  await page.evaluate(`${axe.source}; undefined`);
  const { violations } = await page.evaluate("axe.run()");
  return violations.flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.target.join(" ")}: ${node.failureSummary}`));
}

/** Waits until something is so. */
export async function until(isSo) {
  for (const end = Date.now() + PATIENCE; !await isSo(); await new Promise(done => setTimeout(done, 100))) {
    if (Date.now() > end) throw new Error(`it did not become so: ${isSo}`);
  }
}
