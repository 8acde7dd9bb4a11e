// Queries: completed from the names of the whole log, and saved as links.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { directory, end, line, open, quipu, serious, serve, until } from "./support.mjs";

after(end);

/** A log whose oldest events have names that no newer ones have. */
function oldNames() {
  const data = `${directory()}/data`;
  const lines = [line("zebra-1", "ZebraSighted", {}, { tags: ["herd:north", "herd:south", "place:Kruger Park", "unkeyed"] })];
  for (let at = 0; at < 2_000; at += 1) lines.push(line(`order-${at % 40}`, "OrderPlaced", { at }, { tags: [`order:${at % 40}`] }));
  quipu(["--data", data, "import", "-"], lines.join(""));
  return data;
}

test("a query is completed with the names of the whole log", async () => {
  const server = await serve(["--data", oldNames(), "serve"]);
  const { page, quiet, close } = await open(`${server.url}/#/events`);
  await page.locator(".events tbody tr").first().waitFor();
  const query = page.getByRole("combobox", { name: "Query" });
  const offered = async (typed, wanted) => {
    await query.fill(typed);
    await page.getByRole("option", { name: wanted }).first().waitFor();
  };
  await offered("type:Zeb", "type:ZebraSighted");
  await offered("category:zeb", "category:zebra");
  await offered("stream:zeb", "stream:zebra-1");
  await offered("tag:her", /^tag:herd:\s*2 tags$/);
  await offered("tag:herd:s", "tag:herd:south");
  await offered("tag:unk", "tag:unkeyed");
  await offered("tag:place:", 'tag:"place:Kruger Park"');
  await offered("Zebra", "type:ZebraSighted");
  // A key is taken, and its tags are offered at once.
  await query.fill("tag:her");
  await page.getByRole("option", { name: /^tag:herd:\s*2 tags$/ }).click();
  await page.getByRole("option", { name: "tag:herd:north" }).click();
  await query.press("Enter");
  await page.locator(".events tbody tr", { hasText: "ZebraSighted" }).waitFor();
  assert.equal(await page.locator(".events tbody tr").count(), 1);
  quiet();
  await close();
  await server.stop();
});

test("a view is saved under a name, opened again and forgotten", async () => {
  const server = await serve(["--data", oldNames(), "serve"]);
  const { page, quiet, close } = await open(`${server.url}/#/events?q=type%3AZebraSighted`);
  await page.locator(".events tbody tr").first().waitFor();
  const saved = page.getByRole("region", { name: "Saved views" });
  const save = async (name) => {
    await saved.getByRole("button", { name: "Save this view…" }).click();
    const field = page.getByRole("dialog").getByLabel("Name");
    await field.waitFor();
    if (name) await field.fill(name);
    await page.keyboard.press("Enter");
  };
  await saved.getByRole("button", { name: "Save this view…" }).click();
  assert.equal(await page.getByRole("dialog").getByLabel("Name").inputValue(), "Events: type:ZebraSighted");
  assert.deepEqual(await serious(page), []);
  await page.keyboard.press("Escape");
  await save(`<img src=x onerror="hacked=1"> zebras`);
  const link = saved.getByRole("link", { name: /zebras$/ });
  await link.waitFor();
  await page.goto(`${server.url}/#/map?q=category%3Aorder&case=stream`);
  await save(null);
  await saved.getByRole("link", { name: "Process map: category:order" }).waitFor();

  // They are there in another tab of this browser, and after a reload.
  await page.reload();
  await link.click();
  await page.locator(".events tbody tr", { hasText: "ZebraSighted" }).waitFor();
  assert.match(page.url(), /#\/events\?q=type%3AZebraSighted$/);
  assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
  assert.deepEqual(await serious(page), []);

  await saved.getByRole("button", { name: /^Forget .*zebras$/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Forget it" }).click();
  await until("it is gone", async () => await link.count() === 0);
  assert.equal(await saved.getByRole("link").count(), 1);
  // What is no link into this page is none, whoever put it there.
  await page.evaluate(() => localStorage.setItem("quipu-saved", JSON.stringify([{ name: "x", hash: "javascript:globalThis.hacked=1" }, 7, null])));
  await page.reload();
  await page.locator("main h1").waitFor();
  assert.equal(await saved.getByRole("link").count(), 0);
  quiet();
  await close();
  await server.stop();
});

test("who may read a part of the log is offered what was shown, and hears of nothing else", async () => {
  const data = oldNames();
  const auth = `${directory()}/auth.json`;
  const token = quipu(["token", "create", "orders", "--allow", "read category:order", "--auth", auth]).match(/qp_\w+/)[0];
  const server = await serve(["--data", data, "serve", "--auth", auth]);
  const { page, quiet, close } = await open(`${server.url}/#/events?q=category%3Aorder`);
  await page.getByLabel("Token", { exact: false }).fill(token);
  await page.keyboard.press("Enter");
  await page.locator(".events tbody tr").first().waitFor();
  const query = page.getByRole("combobox", { name: "Query" });
  await query.fill("category:order type:Ord");
  await page.getByRole("option", { name: "type:OrderPlaced" }).waitFor();
  const refused = page.waitForResponse((own) => new URL(own.url()).pathname.startsWith("/tag"));
  await query.fill("category:order tag:he");
  assert.equal((await refused).status(), 403);
  assert.equal(await page.getByRole("option", { name: /herd/ }).count(), 0);
  quiet();
  await close();
  await server.stop();
});
