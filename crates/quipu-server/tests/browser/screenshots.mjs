// Takes the pictures for the README and the docs: `screenshots.mjs DIRECTORY`. The living sample is
// what is on them.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { browser, open, serve, until } from "./support.mjs";

const [directory] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });

const PICTURES = [
  { name: "overview", hash: "overview", ready: ".state.live", wait: 6_000, height: 800 },
  { name: "overview-dark", hash: "overview", ready: ".state.live", wait: 4_000, height: 800, dark: true },
  { name: "events", hash: "events?q=tag:customer:22&event=1", ready: ".chain rect", height: 800 },
  { name: "time", hash: "time?q=tag:order:1001&at=2", ready: ".fold tr", height: 760 },
  { name: "map", hash: "map?case=tag:order&show=median", ready: "svg.graph .node", height: 1_000 },
  { name: "consumers", hash: "consumers?c=process/tracking-mails/1", ready: "td .row button", height: 760 },
  { name: "start", hash: "start?in=rust", ready: "pre.code", height: 700 },
];

const server = await serve(["serve", "--sample"]);
await until("something is parked", async () => {
  const { components } = await (await fetch(`${server.url}/components`)).json();
  return components.some((own) => own.parked_count > 1);
});
for (const { name, hash, ready, wait = 700, height, dark } of PICTURES) {
  const { page, close } = await open(`${server.url}/#/${hash}`, { width: 1_200, height, dark });
  await page.locator(ready).first().waitFor();
  await page.waitForTimeout(wait);
  await page.screenshot({ path: join(directory, `${name}.png`) });
  await close();
}
await server.stop();
await browser.close();
