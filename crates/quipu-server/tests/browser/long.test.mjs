// A long log, of `QUIPU_UI_EVENTS` events: every page is drawn at once, names are completed, the past of a
// stream and of a query is travelled in, and nothing freezes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { directory, end, open, serve } from "./support.mjs";

const COUNT = Number(process.env.QUIPU_UI_EVENTS ?? 40_000);
/** Every tenth event is a reading of one meter; all others but the first and the last belong to orders. */
const READINGS = Math.floor((COUNT - 2) / 10);
const ORDERS = COUNT - 2 - READINGS;
const STEPS = ["OrderPlaced", "OrderPaid", "OrderPacked", "OrderSent", "OrderReceived"];
/** A second lies between two events. */
const BEGUN = Date.parse("2020-01-01T00:00:00Z");
/** How long something may take that reads all events once. */
const LONG = 60_000 + COUNT;
/** How long one task of the page may take. One that does everything in one go is far beyond it. */
const TASK_MAX = 4_000;
const isLong = COUNT >= 1_000_000;

const whole = (number) => new Intl.NumberFormat("en").format(number);
const timeOf = (number) => new Date(BEGUN + number * 1_000).toISOString();

function lineOf(number) {
  const event = { time: timeOf(number) };
  if (number === 0) {
    // What no other event has is in the first one, and in the last.
    Object.assign(event, { stream: "zebra-1", type: "ZebraSighted", tags: ["herd:north"], data: {} });
  } else if (number === COUNT - 1) {
    Object.assign(event, { stream: "lynx-1", type: "LynxSighted", tags: ["pack:south"], data: {} });
  } else if (number % 10 === 0) {
    const reading = number / 10 - 1;
    Object.assign(event, { stream: "meter-1", type: "MeterRead", data: { number: reading, hundred: reading - reading % 100, clock: { hour: reading % 24 } } });
  } else {
    const order = Math.floor(number / 50) * 10 + number % 10;
    Object.assign(event, { stream: `order-${order}`, type: STEPS[Math.floor(number / 10) % 5], tags: [`order:${order}`, `region:${order % 12}`], data: { order, total_cents: number % 9_973 } });
  }
  return JSON.stringify(event);
}

/** Makes the log, as anybody would: by an import. */
async function fill(data) {
  const begun = Date.now();
  const child = spawn(process.env.QUIPU_BIN, ["--data", data, "import", "-", "--keep-time"], { stdio: ["pipe", "ignore", "inherit"] });
  const ended = once(child, "exit");
  for (let number = 0; number < COUNT;) {
    let text = "";
    for (const last = Math.min(number + 1_000, COUNT); number < last; number += 1) text += `${lineOf(number)}\n`;
    if (!child.stdin.write(text)) await once(child.stdin, "drain");
  }
  child.stdin.end();
  assert.deepEqual(await ended, [0, null]);
  console.log(`${whole(COUNT)} events were imported in ${Math.round((Date.now() - begun) / 1_000)} s`);
}

let server;
before(async () => {
  const data = `${directory()}/data`;
  await fill(data);
  server = await serve(["--data", data, "serve"]);
});
after(end);

/** Opens a page that notes its longest task. */
async function look(hash) {
  const opened = await open(`${server.url}/#/${hash}`);
  const begun = Date.now();
  await opened.page.evaluate(() => {
    globalThis.longest = 0;
    const note = (list) => { for (const own of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, own.duration); };
    new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
  });
  return {
    ...opened,
    async done(what) {
      const longest = Math.round(await opened.page.evaluate(() => globalThis.longest));
      console.log(`${what}: ${Date.now() - begun} ms, the longest task ${longest === 0 ? "below 50" : longest} ms`);
      assert.ok(longest < TASK_MAX, `${what}: a task of ${longest} ms`);
      opened.quiet();
      await opened.close();
    },
  };
}

test("the overview, events, streams and consumers are drawn at once", async () => {
  const pages = { overview: ".cords .knot", events: ".events tbody tr", streams: ".names li a", "streams?prefix=order-1": ".names li a", "stream?name=order-11": ".events tbody tr", consumers: ".empty" };
  for (const [hash, ready] of Object.entries(pages)) {
    const { page, done } = await look(hash);
    await page.locator(ready).first().waitFor();
    if (hash === "overview") await page.locator(".tile", { hasText: "watermark" }).locator(".value", { hasText: whole(COUNT) }).waitFor();
    await done(hash);
  }
});

test("the first event is found by its type, and the log is paged both ways", async () => {
  const { page, done } = await look("events?q=type:ZebraSighted&event=1");
  await page.locator("#detail-title", { hasText: "ZebraSighted" }).waitFor();
  const middle = Math.floor(COUNT / 2);
  const row = (position) => page.locator(`.events tr[data-position="${position}"]`);
  await page.goto(`${server.url}/#/events?from=${middle}`);
  await row(middle).waitFor();
  for (let at = 0; at < 3; at += 1) {
    const newest = await page.locator(".events tbody tr").first().getAttribute("data-position");
    await page.getByRole("button", { name: "↑ Newer" }).click();
    await row(Number(newest) + 20).waitFor();
  }
  await row(middle - 20).waitFor();
  // Further down than rows are kept: what is above falls out, and comes again.
  while (await row(middle - 600).count() === 0) {
    await page.mouse.move(600, 500);
    await page.mouse.wheel(0, 4_000);
    await page.waitForTimeout(30);
  }
  assert.equal(await row(middle).count(), 0);
  assert.ok(await page.locator(".events tbody tr").count() <= 400);
  await done("the first event, and the middle of the log");
});

test("names of the whole log complete a query, while they are gathered", async () => {
  // Here no events are shown whose names would be known.
  const { page, done } = await look("time");
  const query = page.getByRole("combobox", { name: "What to follow" });
  const offered = async (typed, name) => {
    await query.fill(typed);
    await page.getByRole("option", { name }).first().waitFor({ timeout: LONG });
  };
  await offered("stream:zeb", "stream:zebra-1");
  await offered("category:met", "category:meter");
  await offered("type:Zeb", "type:ZebraSighted");
  await offered("tag:her", /^tag:herd:/);
  await offered("tag:herd:", "tag:herd:north");
  // The last event's are known when all of the log is gathered.
  await offered("type:Lyn", "type:LynxSighted");
  await offered("tag:pack:", "tag:pack:south");
  await done("completion");
});

/** What a reading has written, as `lineOf` makes it. */
async function assertReading(page, at) {
  const cell = (name, value) => page.locator("[aria-label='What was known'] tr").filter({ has: page.locator("td:first-child", { hasText: new RegExp(`^${name}$`) }) }).locator("td:nth-child(2)", { hasText: new RegExp(`^${value}$`) }).waitFor();
  await cell("number", at);
  await cell("hundred", at - at % 100);
  await cell("clock\\.hour", at % 24);
}

test("a long stream is travelled in, while it is read and after", async () => {
  const { page, done } = await look("time?stream=meter-1");
  await page.locator(".fold tbody tr").first().waitFor();
  const slider = page.getByLabel("Event", { exact: true });
  const scrub = (at) => slider.evaluate((own, value) => { own.value = value; own.dispatchEvent(new Event("input")); }, at);
  await canTravel(page, 150);
  await scrub(150);
  await assertReading(page, 150);
  await page.locator("output", { hasText: `of ${whole(READINGS)} ` }).first().waitFor({ timeout: LONG });
  assert.equal(await page.locator(".reading").isVisible(), false, "all of it is read");
  const times = [];
  let seed = 7;
  for (let step = 0; step < 20; step += 1) {
    seed = (seed * 48_271) % 2_147_483_647;
    const at = seed % READINGS;
    const begun = Date.now();
    await scrub(at);
    await assertReading(page, at);
    times.push(Date.now() - begun);
  }
  console.log(`twenty points of ${whole(READINGS)} were looked at in ${times.sort((a, b) => a - b)} ms`);
  assert.ok(times[10] < 5_000, `${times} ms`);
  // Many moves at once: the last one is what is seen.
  for (let at = 0; at < READINGS; at += Math.ceil(READINGS / 200)) await scrub(at);
  await scrub(READINGS - 1);
  await assertReading(page, READINGS - 1);
  // What an event changed: the number with each, the hundred with every hundredth.
  const hundred = READINGS - READINGS % 100 - 100;
  await scrub(hundred);
  await page.locator(".diff .altered", { hasText: `number: ${hundred - 1} → ${hundred}` }).waitFor();
  await page.locator(".diff .altered", { hasText: `hundred: ${hundred - 100} → ${hundred}` }).waitFor();
  // Two dates, far apart.
  await page.getByRole("button", { name: "Compare with…" }).click();
  await page.getByLabel("As of").fill(timeOf(READINGS * 10));
  await page.getByRole("button", { name: "Go", exact: true }).click();
  await page.getByLabel("The other date").fill(timeOf(65));
  await page.getByRole("button", { name: "Travel", exact: true }).click();
  await page.locator("[aria-label='Two moments'] tr.differs", { hasText: `number5${READINGS - 1}` }).waitFor();
  await done("time travel of a stream");
});

/** Waits until so many events can be travelled in. */
const canTravel = (page, count) => page.waitForFunction((wanted) => Number(document.querySelector("input[aria-label='Event']")?.max) > wanted, count);

test("the past of a query is read, stopped, travelled in and read on", async () => {
  const { page, done } = await look("time?q=category:order");
  await page.locator(".fold tbody tr").first().waitFor();
  // A short log may be read before anybody can stop it.
  if (isLong) {
    await page.getByRole("button", { name: "Stop", exact: true }).click();
    await page.getByText(/^Stopped after/).waitFor();
    await page.getByRole("button", { name: "First event" }).click();
    await page.locator("output", { hasText: /^1 of/ }).waitFor();
    await page.locator("[aria-label='What was known'] td", { hasText: /^total_cents$/ }).waitFor();
    await page.getByRole("button", { name: "Read on" }).click();
  }
  await page.locator("output", { hasText: `of ${whole(ORDERS)} ` }).first().waitFor({ timeout: LONG });
  await page.getByRole("button", { name: "Last event" }).click();
  await page.locator("output", { hasText: `${whole(ORDERS)} of ${whole(ORDERS)} ` }).first().waitFor();
  await done("time travel of a query");
});

test("a map of everything tells how far it is, is cancelled, and goes on", async () => {
  const { page, done } = await look("map?case=tag:region");
  if (isLong) {
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText(/^Cancelled/).waitFor();
    await page.getByRole("button", { name: "Go on" }).click();
  }
  await page.locator("svg.graph .node").first().waitFor({ timeout: LONG });
  assert.equal(await page.locator("svg.graph .node").count(), STEPS.length);
  await done("the process map");
});
