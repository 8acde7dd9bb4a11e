// Every page, on the living sample and on a real log: drawn, without an error, for everybody.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { directory, end, open, quipu, serious, serve, until } from "./support.mjs";

const SAMPLE = ["overview", "events", "events?q=type:OrderPlaced&event=1", "streams", "stream?name=order-1001", "time?q=tag:order:1001", "time?stream=order-1001", "map", "map?q=category:shipment&case=stream", "consumers", "start"];
const LOANS = ["overview", "events", "streams", "stream?name=loan-173688", "time?stream=loan-173688&at=3&b=9", "map?q=category:loan&case=stream", "consumers", "start"];
/** What says that a page is drawn. */
const DRAWN = { overview: ".cords .knot", events: ".events tbody tr", streams: ".names li a", stream: ".events tbody tr", time: ".fold tbody tr, .chips a", map: "svg.graph .node", consumers: "table.all, .empty", start: "pre.code" };

let sample;
let loans;

before(async () => {
  sample = await serve(["serve", "--sample"]);
  if (process.env.QUIPU_LOANS) {
    const data = `${directory()}/data`;
    quipu(["--data", data, "import", process.env.QUIPU_LOANS, "--keep-time"]);
    loans = await serve(["--data", data, "serve"]);
  } else {
    console.log("SKIPPED: the loans log is not here");
  }
  await until("the sample has its past and its staff", async () => (await (await fetch(`${sample.url}/components`)).json()).components.length === 2);
});
after(end);

const drawn = (page, hash) => page.locator(DRAWN[hash.split("?")[0]]).first().waitFor();

async function look(url, hashes, options) {
  for (const hash of hashes) {
    const { page, quiet, close } = await open(`${url}/#/${hash}`, options);
    await drawn(page, hash);
    assert.deepEqual(await serious(page), [], hash);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 1, `${hash} is ${wide} pixels wider than the screen`);
    quiet();
    await close();
  }
}

test("every page is drawn on the living sample, with no serious issue", () => look(sample.url, SAMPLE));
test("every page is drawn in the dark", () => look(sample.url, SAMPLE, { dark: true }));
test("every page is drawn on a narrow screen", () => look(sample.url, SAMPLE, { width: 360, height: 740 }));
test("every page is drawn on the loans log", async (t) => loans ? look(loans.url, LOANS) : t.skip("the loans log is not here"));

test("the overview is painted within a second, from files that are small", async () => {
  const load = async () => {
    const { page, close } = await open(`${sample.url}/#/overview`);
    await drawn(page, "overview");
    const found = await page.evaluate(() => ({
      paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
      size: performance.getEntriesByType("resource").filter((own) => own.name.includes("/ui/")).reduce((sum, own) => sum + own.decodedBodySize, 0),
    }));
    await close();
    return found;
  };
  const loads = [];
  for (let at = 0; at < 5; at += 1) loads.push(await load());
  // A machine that runs all tests at once is busy now and then: one load that it lets through counts.
  const best = () => Math.min(...loads.map((own) => own.paint));
  while (best() >= 1_000 && loads.length < 20) loads.push(await load());
  const paints = loads.map((own) => Math.round(own.paint)).sort((a, b) => a - b);
  console.log(`first paint after ${paints.join(", ")} ms, ${Math.round(loads[0].size / 1024)} KiB of files`);
  assert.ok(best() < 1_000, `${paints} ms`);
  assert.ok(loads[0].size > 0 && loads[0].size < 300 * 1024, `${loads[0].size} bytes`);
});

test("files are asked for again only to hear that they are the same", async () => {
  const first = await fetch(`${sample.url}/ui/main.js`);
  const again = await fetch(`${sample.url}/ui/main.js`, { headers: { "If-None-Match": first.headers.get("etag") } });
  assert.equal(again.status, 304);
  assert.match(first.headers.get("content-security-policy"), /default-src 'none'; script-src 'self'; style-src 'self';/);
});

test("the overview lives: knots are tied and numbers go up", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/overview`);
  await drawn(page, "overview");
  const events = () => page.locator(".tile", { hasText: "Events" }).locator(".value").first().textContent();
  const before = await until("the number of events is known", async () => { const own = await events(); return own !== "–" && own; });
  await until("there are more", async () => await events() !== before);
  await page.locator(".state.live").first().waitFor();
  // The page itself follows the log, and is among those who do.
  const subscribers = page.locator("section.card", { has: page.getByRole("heading", { name: "Subscribers" }) });
  await subscribers.locator("td", { hasText: "every event" }).first().waitFor();
  quiet();
  await close();
});

test("an order is followed through time", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/time?q=tag:order:1001`);
  await drawn(page, "time");
  await page.getByRole("button", { name: "First event" }).click();
  await page.locator("h2", { hasText: "OrderPlaced" }).waitFor();
  assert.equal(await page.locator(".fold td", { hasText: /^amount_cents$/ }).count(), 0, "no payment is known yet");
  await page.getByRole("button", { name: "Event after" }).click();
  await page.locator("h2", { hasText: "PaymentReceived" }).waitFor();
  await page.locator(".fold tr.changed td", { hasText: /^amount_cents$/ }).waitFor();
  await page.locator(".diff .added", { hasText: "amount_cents" }).waitFor();
  await page.getByRole("button", { name: "Compare with…" }).click();
  await page.locator(".fold tr.differs td", { hasText: /^amount_cents$/ }).waitFor();
  // The address is the view: another tab sees the same.
  await until("the address has both", async () => /&b=\d/.test(page.url()));
  const other = await open(page.url());
  await other.page.locator(".fold tr.differs td", { hasText: /^amount_cents$/ }).waitFor();
  quiet();
  await other.close();
  await close();
});

test("a date is travelled to, and one before the first event is refused", async () => {
  const { page, close } = await open(`${sample.url}/#/time?q=tag:order:1001`);
  await drawn(page, "time");
  const day = (await page.locator("output").first().textContent()).match(/\d{4}-\d\d-\d\d/)[0];
  await page.getByLabel("As of").fill(`${day}T23:59:59Z`);
  await page.getByRole("button", { name: "Go", exact: true }).click();
  await page.locator("output", { hasText: day }).first().waitFor();
  await page.getByLabel("As of").fill("1999-01-01");
  await page.getByRole("button", { name: "Go", exact: true }).click();
  assert.equal(await page.getByLabel("As of").evaluate((own) => own.validationMessage), "before the first event");
  await close();
});

test("two dates are looked at side by side", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/time?q=tag:order:1001`);
  await drawn(page, "time");
  const { events } = await (await fetch(`${sample.url}/events?query=tag:order:1001`)).json();
  await page.getByRole("button", { name: "Compare with…" }).click();
  await page.getByLabel("As of").fill(events[1].time);
  await page.getByRole("button", { name: "Go", exact: true }).click();
  await page.getByLabel("The other date").fill(events[0].time);
  await page.getByRole("button", { name: "Travel", exact: true }).click();
  const rows = page.locator("[aria-label='Two moments'] tbody tr");
  // The second event is the payment, and the fields of the first are known at both dates.
  await rows.filter({ hasText: /^amount_cents–\d+$/ }).waitFor();
  await rows.filter({ hasText: /^total_cents(\d+)\1$/ }).waitFor();
  await until("the address has both", async () => /at=1&b=0/.test(page.url()));
  quiet();
  await close();
});

test("the chain of an event is drawn from its metadata", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/events?q=stream:order-1001&event=1`);
  await page.locator(".chain rect.here").waitFor();
  assert.ok(await page.locator(".chain rect").count() >= 3);
  assert.ok(await page.locator(".chain .link").count() >= 2);
  quiet();
  await close();
});

test("events are paged back to the first one", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/events?q=type:OrderCancelled`);
  await drawn(page, "events");
  const first = await (await fetch(`${sample.url}/events?query=type:OrderCancelled&limit=1`)).json();
  const wanted = page.locator(`tr[data-position="${first.events[0].position}"]`);
  await until("the first one is there", async () => {
    await page.mouse.wheel(0, 5_000);
    return await wanted.count() === 1;
  });
  assert.equal(await page.getByRole("button", { name: "Older" }).isVisible(), false);
  quiet();
  await close();
});

test("a live tail shows what comes, and keeps it while it is paused", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/events?live=1`);
  const newest = () => page.locator("tbody tr").first().getAttribute("data-position");
  await drawn(page, "events");
  const first = await newest();
  await until("another one came", async () => await newest() !== first);
  await page.getByRole("button", { name: "Pause" }).click();
  const paused = await newest();
  await page.getByRole("button", { name: /Go on \([1-9]/ }).waitFor();
  assert.equal(await newest(), paused, "nothing moves while it is paused");
  await page.getByRole("button", { name: /Go on/ }).click();
  await until("what waited is there", async () => await newest() !== paused);
  quiet();
  await close();
});

test("the process map shows counts and waits, and the cases behind an edge", async () => {
  const { page, quiet, close } = await open(`${sample.url}/#/map?case=tag:order`);
  await drawn(page, "map");
  assert.equal(await page.locator(".graph .node").count(), 8);
  await page.getByLabel("Edges tell").selectOption("median");
  await page.locator(".graph .labels text", { hasText: /\d+ (min|h|d|s)/ }).first().waitFor();
  await page.getByRole("button", { name: "PaymentFailed → OrderCancelled" }).click();
  await page.locator("section[aria-label='The chosen edge'] td a", { hasText: /^order:\d+$/ }).first().waitFor();
  assert.match(page.url(), /from=PaymentFailed&to=OrderCancelled/);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "SVG" }).click();
  const svg = await (await (await saved).createReadStream()).toArray();
  assert.match(Buffer.concat(svg).toString(), /^<\?xml[^]*OrderPlaced[^]*<\/svg>$/);
  quiet();
  await close();
});

test("the map of the loans log has all types, and most of them far apart", async (t) => {
  if (!loans) return t.skip("the loans log is not here");
  const { page, quiet, close } = await open(`${loans.url}/#/map?q=category:loan&case=stream`);
  await drawn(page, "map");
  assert.equal(await page.locator(".graph .node").count(), 20);
  const overlaps = await page.evaluate(() => {
    const boxes = [...document.querySelectorAll(".graph .node")].map((own) => own.getBoundingClientRect());
    return boxes.flatMap((a, at) => boxes.slice(at + 1).filter((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
  });
  assert.equal(overlaps, 0, "no type lies on another");
  quiet();
  await close();
});
