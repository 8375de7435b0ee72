// The page below a path of another server and in a frame, as Home Assistant shows it ("ingress"), to somebody who needs no token.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { Hearth, open, openBrowser, until } from "./harness.mjs";

const PATH = "/api/hassio_ingress/V3ry-S3cret/";
let browser, hearth, proxy, origin;

before(async () => {
  browser = await openBrowser();
  hearth = await Hearth.start(browser, "household", "", 'trusted = ["127.0.0.1"]');
  proxy = createServer((asked, answer) => {
    const [host, port] = hearth.address.split(":");
    if (!asked.url.startsWith(PATH)) {
      const framed = asked.url === "/another" ? `http://${hearth.address}/` : PATH;
      answer.writeHead(asked.url === "/favicon.ico" ? 204 : 200, { "content-type": "text/html" });
      return answer.end(`<title>Home Assistant</title><iframe title="hearth" src="${framed}" width="1200" height="800"></iframe>`);
    }
    const onward = request({ host, port, method: asked.method, path: `/${asked.url.slice(PATH.length)}`, headers: asked.headers }, got => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  }).listen(0, "127.0.0.1");
  await once(proxy, "listening");
  origin = `http://127.0.0.1:${proxy.address().port}`;
});

after(async () => {
  await browser.close();
  proxy.closeAllConnections();
  proxy.close();
  await hearth.end();
});

test("in a frame of Home Assistant the page shows what is said, without a token, and takes commands", async () => {
  const page = await open(browser, `${origin}/`);
  const missing = [];
  page.on("response", response => response.status() >= 400 && missing.push(response.url()));
  const frame = page.frameLocator("iframe");
  await frame.getByText("Good morning, Emma").first().waitFor();
  assert.equal(await frame.locator("#enter").isVisible(), false);
  await frame.locator("#mute").click();
  await frame.locator("#ears", { hasText: "muted" }).waitFor();
  assert.deepEqual(missing, []);
  assert.deepEqual(page.faults, []);
});

test("another site may not show it in a frame", async () => {
  const page = await open(browser, `${origin}/another`);
  await until(() => page.frames()[1]?.url().startsWith("chrome-error:"));
});
