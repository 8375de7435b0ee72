// What a person does on the page, in a real Chromium, with a real hearth that plays a recording at its own pace.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Hearth, PHONE, open, openBrowser, openIn, profile, until, violations } from "./harness.mjs";

let browser;
before(async () => { browser = await openBrowser(); });
after(() => browser?.close());

describe("a household is heard", () => {
  let hearth, page;
  before(async () => {
    hearth = await Hearth.start(browser);
    page = await open(browser, hearth.url);
  });
  after(() => hearth?.end());

  const alert = rule => page.locator("#alarms li", { has: page.locator("b", { hasText: new RegExp(`^${rule}$`) }) });

  test("what is said and an alert appear by themselves", async () => {
    await page.locator("#transcript li", { hasText: "box on the porch" }).waitFor();
    await alert("leak").waitFor();
    assert.match(await alert("leak").locator("q").textContent(), /ceiling|squelching/i);
    assert.match(await page.locator("#announced").textContent(), /^Alert, (critical|warning|info): /);
  });

  test("the address bar does not keep the token", async () => {
    assert.equal(page.url(), `http://${hearth.address}/`);
  });

  test("an alert can be acknowledged, and another be called a false alarm", async () => {
    await alert("leak").getByRole("button", { name: "Acknowledged" }).click();
    await page.getByText("leak: acknowledged.").waitFor();
    await alert("leak").getByText("Acknowledged.").waitFor();
    await alert("help").getByRole("button", { name: "False alarm" }).click();
    await page.getByText("help: false alarm.").waitFor();
    assert.equal(await page.locator("#alerts b", { hasText: "help" }).count(), 0, "it is over, and folded away");
    await page.getByText(/^Earlier: \d/).click();
    await page.locator("#earlier", { hasText: "False alarm." }).waitFor();
  });

  test("how severe an alert is, is written beside it", async () => {
    assert.equal(await alert("leak").locator(".severity").textContent(), "critical");
  });

  test("each rule has its name, its probability and its threshold beside its graph", async () => {
    const row = page.getByRole("row", { name: /leak/ });
    assert.match(await row.textContent(), /^leak\d+ %from 50 %$/);
    assert.match(await row.getByRole("img").getAttribute("aria-label"), /^leak: .* alerts from 50 % on$/);
  });

  test("a question is answered with the words that the answer rests on", async () => {
    await page.getByLabel("Question").fill("Is there water on the carpet?");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.locator("#answer :not(.none)").first().waitFor();
    assert.ok((await page.locator("#answer").textContent()).length > 3);
  });

  test("a question about a time that nobody understands is answered by a sentence", async () => {
    await page.getByLabel("as of").fill("the day of the bike");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.locator("#notice", { hasText: "the day of the bike" }).waitFor();
    await page.getByLabel("as of").fill("");
  });

  test("what was said is found again, with its time and room, and the words are marked", async () => {
    await page.getByLabel("Words").fill("PORCH box");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText("Found once.").waitFor();
    const found = page.locator("#found li");
    assert.match(await found.textContent(), /^\d\d:\d\d:\d\dhome {2}There is a huge box on the porch/);
    assert.deepEqual((await found.locator("mark").allTextContents()).sort(), ["box", "porch"]);
  });

  test("a search within times and a room, one without words, and one that finds nothing", async () => {
    const search = async (words, since = "", until = "", room = "") => {
      for (const [label, text] of [["Words", words], ["since", since], ["until", until], ["room", room]]) {
        await page.getByRole("search").getByLabel(label).fill(text);
      }
      await page.getByRole("button", { name: "Search" }).click();
    };
    await search("porch", "1h", "", "home");
    await page.getByText("Found once.").waitFor();
    await search("porch", "1h", "", "garage");
    await page.getByText("Nothing that is stored matches").waitFor();
    assert.equal(await page.locator("#found li").count(), 0);
    await search("?!");
    await page.getByText("there is no word to search for").waitFor();
    await search("porch", "the day of the bike");
    await page.locator("#search-notice", { hasText: "\"the day of the bike\" is no time" }).waitFor();
    await search("porch", "1h", "2h");
    await page.getByText("nothing lies between these times").waitFor();
    await search("porch");
    await page.getByText("Found once.").waitFor();
  });

  test("the day is a band and a list: talk, alerts, a summary", async () => {
    await page.getByRole("button", { name: "Summarize now" }).click();
    await page.locator("#digests li").first().waitFor();
    const band = page.getByRole("img", { name: /^\w+,? .*: talk for \d+ minutes, / });
    await band.locator(".lane.digest i").first().waitFor({ state: "attached" });
    assert.ok(await band.locator(".lane.talk i").count() >= 1);
    assert.ok(await band.locator(".lane.alert i.critical").count() >= 1);
    await page.getByText("The same as a list").click();
    const list = page.locator("#day-list");
    await list.getByText(/talk, \d+ utterances/).first().waitFor();
    await list.getByText(/alert leak, critical: /).waitFor();
    await list.getByText(/summary: /).first().waitFor();
  });

  test("the same day from the store, another day, and the last hour", async () => {
    await page.reload();
    await page.getByText("The same as a list").click();
    const list = page.locator("#day-list");
    await list.getByText(/alert leak, critical: /).waitFor();
    const stored = await list.locator("li").count();
    await page.getByLabel("Shown of it").selectOption("the last hour");
    await list.getByText(/alert leak, critical: /).waitFor();
    await page.getByRole("button", { name: "The day before" }).click();
    await list.getByText("Nothing is stored of this time.").waitFor();
    await page.getByRole("button", { name: "The day after" }).click();
    await list.getByText(/alert leak, critical: /).waitFor();
    assert.equal(await list.locator("li").count(), stored);
    await page.getByLabel("Shown of it").selectOption("all of it");
  });

  for (const [name, options] of [
    ["light", { colorScheme: "light" }],
    ["dark", { colorScheme: "dark" }],
    ["a phone, light", { colorScheme: "light", viewport: PHONE }],
    ["a phone, dark", { colorScheme: "dark", viewport: PHONE }],
  ]) {
    test(`axe-core finds nothing: ${name}`, async () => {
      const other = await open(browser, hearth.url, options);
      await other.locator("#alarms li").first().waitFor();
      await other.locator("#rules tr").first().waitFor();
      assert.deepEqual(await violations(other), []);
      await other.evaluate(() => document.querySelectorAll("details").forEach(details => { details.open = true; }));
      assert.deepEqual(await violations(other), [], "with everything unfolded");
      const wide = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `the page is ${wide} pixels wider than the window`);
      assert.deepEqual(other.faults, []);
      await other.context().close();
    });
  }

  test("axe-core finds nothing on the form that asks for the token, and a wrong one is refused", async () => {
    const other = await open(browser, `http://${hearth.address}/`);
    await other.getByLabel("Token").waitFor();
    assert.deepEqual(await violations(other), []);
    await other.getByLabel("Token").fill("wrong");
    await other.getByRole("button", { name: "Look in" }).click();
    await other.getByText("the token is missing or wrong").waitFor();
    assert.equal(await other.locator("#content").isVisible(), false);
    await other.getByLabel("Token").fill(hearth.token);
    await other.getByRole("button", { name: "Look in" }).click();
    await other.locator("#alarms li").first().waitFor();
    await other.context().close();
  });

  test("the page can be installed", async () => {
    const client = await page.context().newCDPSession(page);
    const { errors, manifest } = await client.send("Page.getAppManifest");
    assert.deepEqual(errors, []);
    assert.equal(manifest.name, "hearth");
    const { installabilityErrors } = await client.send("Page.getInstallabilityErrors");
    // A profile that forgets everything installs nothing.
    assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"), []);
  });

  test("its scripts made no error", () => assert.deepEqual(page.faults, []));
});

describe("many pages", () => {
  let hearth;
  before(async () => { hearth = await Hearth.start(browser); });
  after(() => hearth?.end());

  test("the seventh shows what is heard, and its buttons work", async () => {
    const context = await profile(browser);
    const pages = [];
    while (pages.length < 7) pages.push(await openIn(context, hearth.url));
    const [first, seventh] = [pages[0], pages[6]];
    await seventh.locator("#transcript li", { hasText: "curry" }).waitFor();
    await seventh.getByRole("button", { name: "Mute" }).click();
    for (const page of [seventh, first]) await page.locator("#ears", { hasText: "muted" }).waitFor();
    await first.getByRole("button", { name: "Listen again" }).click();
    await seventh.locator("#ears", { hasText: "listening" }).waitFor();
    for (const page of pages) assert.deepEqual(page.faults, []);
    await context.close();
  });

  test("seven pages have one event stream", async () => {
    const first = await open(browser, hearth.url);
    const pages = [first];
    while (pages.length < 7) pages.push(await openIn(first.context(), hearth.url));
    for (const page of pages) await page.locator("#transcript li").first().waitFor();
    const requests = await Promise.all(pages.map(page => page.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/events")).length)));
    assert.deepEqual(requests, [0, 0, 0, 0, 0, 0, 0], "no page has a stream of its own");
    await first.context().close();
  });

  test("a page in a browser without shared workers has its own", async () => {
    const context = await profile(browser);
    await context.addInitScript(() => { delete window.SharedWorker; });
    const page = await openIn(context, hearth.url);
    await page.locator("#transcript li", { hasText: "curry" }).waitFor();
    await page.locator("#levels .level").waitFor();
    assert.deepEqual(page.faults, []);
    await context.close();
  });
});

/** What the browser shows beside its pages. */
const notifications = page => page.evaluate(async () => {
  const service = await navigator.serviceWorker.getRegistration();
  return (await service.getNotifications()).map(({ title, body }) => `${title} ${body}`);
});

describe("hearth is stopped, and forgets", () => {
  let hearth, page;
  before(async () => {
    hearth = await Hearth.start(browser);
    page = await open(browser, hearth.url, { permissions: ["notifications"] });
  });
  after(() => hearth?.end());

  test("a muted room shows no level, and the day says that it is muted", async () => {
    await page.locator("#levels .level").waitFor();
    await page.getByRole("button", { name: "Mute" }).click();
    await page.locator("#ears", { hasText: "muted" }).waitFor();
    assert.equal(await page.locator("#levels .level").count(), 0);
    await page.locator("#band i.muted").waitFor();
    await page.getByRole("button", { name: "Listen again" }).click();
    await page.locator("#ears", { hasText: "listening" }).waitFor();
    await page.locator("#band i.muted").waitFor();
    await page.getByText("The same as a list").click();
    await page.locator("#day-list").getByText(/not heard: muted/).waitFor();
  });

  test("an alert is notified by the browser after a button was pressed, and not before", async () => {
    assert.equal(await page.evaluate(() => navigator.serviceWorker.getRegistration().then(Boolean)), false);
    await page.getByRole("button", { name: "Notify me of alerts" }).click();
    await page.getByText("Alerts are notified while a page of hearth is open.").waitFor();
    await until(async () => (await notifications(page)).some(text => /^critical: .* \w+/.test(text)));
  });

  test("of a hearth that hangs the page says since when it does not answer, and goes on when it does", async () => {
    hearth.process.kill("SIGSTOP");
    try {
      const mute = page.getByRole("button", { name: "Mute" });
      await mute.click();
      await page.getByText(/^hearth does not answer since \d\d:\d\d:\d\d\./).waitFor();
      await page.getByText("hearth does not answer: nothing was done, as far as this page knows.").waitFor();
    } finally {
      hearth.process.kill("SIGCONT");
    }
    await page.locator("#ears", { hasText: /^(listening|muted)$/ }).waitFor();
    // The command had arrived, and hearth carries it out when it goes on.
    if (await page.locator("#ears", { hasText: "muted" }).count()) await page.getByRole("button", { name: "Listen again" }).click();
    await page.locator("#ears", { hasText: "listening" }).waitFor();
    assert.equal(await page.getByText("does not answer since").count(), 0);
  });

  test("without hearth the page says since when, and its buttons say that nothing was done", async () => {
    await page.locator("#alerts li").first().waitFor();
    await hearth.stop();
    await page.getByText(/^hearth does not answer since \d\d:\d\d:\d\d\. What is shown is as it was then/).waitFor();
    assert.match(await page.locator("#ears").textContent(), /^no answer since \d\d:\d\d/);
    assert.equal(await page.locator("#link").isVisible(), false);
    assert.equal(await page.locator("#levels .level").count(), 0);
    assert.match(await page.title(), /^no answer/);
    await page.getByRole("button", { name: "Mute" }).click();
    await page.getByText("hearth does not answer: nothing was done, as far as this page knows.").waitFor();
    assert.deepEqual(await violations(page), []);
  });

  test("a hearth that has just begun again shows what it had stored", async () => {
    const utterances = page.locator("#transcript li:not(:has(.gap))");
    const said = await utterances.count();
    await hearth.begin();
    await page.locator("#ears", { hasText: /^(listening|waiting for sound)$/ }).waitFor();
    await page.locator("#alerts li, #earlier li").first().waitFor({ state: "attached" });
    assert.ok(said > 3 && await utterances.count() >= said);
    assert.equal(await page.getByText("does not answer since").count(), 0);
    assert.doesNotMatch(await page.title(), /no answer/);
    await page.getByText("The same as a list").waitFor();
  });

  test("after a forget nothing of an alert is left", async () => {
    // The first hearth may have been stopped before this was said; the second one hears the recording from its beginning.
    await page.locator("#transcript li", { hasText: "carpet" }).first().waitFor();
    await page.getByLabel("Words").fill("carpet");
    await page.getByRole("button", { name: "Search" }).click();
    await page.locator("#found li").first().waitFor();
    await page.getByRole("button", { name: "Mute" }).click();
    await page.locator("#ears", { hasText: "muted" }).waitFor();
    page.on("dialog", dialog => dialog.accept());
    await page.getByLabel("Forget the last").selectOption("day");
    await page.getByRole("button", { name: "Forget" }).click();
    await page.getByText("The last day: forgotten.").waitFor();
    // Of what is on the page, also where it is not seen: no alert, and no word that was said.
    await page.waitForFunction(() => !/squelching|carpet squ|ceiling|keeled|flames|tablets/i.test(document.documentElement.outerHTML));
    await page.waitForFunction(() => !document.querySelector("#alerts li, #earlier li, #transcript li:not(:has(.gap)), #found li, #band .alert i"));
    await until(async () => (await notifications(page)).length === 0);
    assert.equal(await page.locator("#announced").textContent(), "");
    const other = await openIn(page.context(), hearth.url);
    await other.locator("#ears", { hasText: "muted" }).waitFor();
    assert.equal(await other.locator("#alerts li, #earlier li, #transcript li:not(:has(.gap))").count(), 0, "nor on a page that is opened later");
  });

  test("its scripts made no error", () => assert.deepEqual(page.faults, []));
});
