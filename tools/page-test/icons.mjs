// Makes the icons of the page from its drawing: node icons.mjs

import { readFile } from "node:fs/promises";
import { openBrowser } from "./harness.mjs";

const folder = new URL("../../src/api/web/", import.meta.url);
const drawing = await readFile(new URL("icon.svg", folder), "utf8");
const browser = await openBrowser();
for (const [name, size, picture] of [
  ["icon-192.png", 192, drawing],
  ["icon-512.png", 512, drawing],
  // A phone cuts it to a shape of its own, so the color goes to the edge and the flame stays in the middle.
  ["icon-maskable-512.png", 512, drawing.replace('rx="7" ', "").replace("<path ", '<path transform="translate(16 16) scale(.8) translate(-16 -16)" ')],
]) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(`<style>* { margin: 0 } svg { display: block; width: ${size}px; height: ${size}px }</style>${picture}`);
  await page.screenshot({ path: new URL(name, folder).pathname, omitBackground: true });
}
await browser.close();
