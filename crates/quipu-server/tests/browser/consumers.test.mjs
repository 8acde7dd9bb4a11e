// What runs on the log: looked at, and asked for everything that it can be asked for.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { end, open, serious, serve, until } from "./support.mjs";

after(end);

/** Asks a consumer for something: what asks first is confirmed, and can be left. */
async function ask(page, button, action) {
  const dialog = page.getByRole("dialog");
  await button.click();
  await dialog.waitFor();
  assert.deepEqual(await serious(page), []);
  await dialog.getByRole("button", { name: "Leave it" }).click();
  assert.equal(await dialog.count(), 0);
  await button.click();
  const asked = page.waitForResponse((own) => own.url().endsWith("/requests") && own.request().method() === "POST");
  await dialog.getByRole("button", { name: action, exact: true }).click();
  assert.equal((await asked).status(), 202);
}

const seen = (page, text) => page.locator(".toast", { hasText: text }).waitFor();

test("a parked event is looked at, retried and dropped", async () => {
  const server = await serve(["serve", "--sample"]);
  const parked = async () => (await (await fetch(`${server.url}/components/process/tracking-mails/1`)).json()).parked ?? [];
  await until("enough is parked", async () => (await parked()).length >= 3);
  const { page, quiet, close } = await open(`${server.url}/#/consumers`);
  await page.getByRole("link", { name: "tracking-mails" }).click();
  await page.getByText(/the carrier does not know parcel QP\d+ yet/).first().waitFor();
  const [first, second] = await parked();
  const row = (item) => page.locator("[aria-label='Parked events'] tr", { has: page.locator(`a[href*='event=${item.position}']`) }).filter({ hasText: item.key });

  await ask(page, row(first).getByRole("button", { name: "Retry…" }), "Retry it");
  await seen(page, /is not parked any more/);
  assert.equal((await parked()).some((own) => own.position === first.position), false);

  await ask(page, row(second).getByRole("button", { name: "Drop…" }), "Drop it");
  await seen(page, /is dropped/);
  assert.equal((await parked()).some((own) => own.position === second.position), false);

  await ask(page, page.getByRole("button", { name: "Retry all…" }), "Retry them");
  await seen(page, /What “tracking-mails” had parked is not parked any more/);
  // What cannot be mailed goes on coming: it is parked, and dropped.
  await until("something is parked again", async () => (await parked()).length > 0);
  await ask(page, page.getByRole("button", { name: "Drop all…" }), "Drop them");
  await seen(page, /had parked is dropped/);
  quiet();
  await close();
  await server.stop();
});

test("a projection is paused, resumed, replayed and promoted", async () => {
  const server = await serve(["serve", "--sample"]);
  const { page, quiet, close } = await open(`${server.url}/#/consumers?c=projection/sales/1`);
  const json = async (path) => (await fetch(server.url + path)).json();
  const sales = () => json("/components/projection/sales/1");
  const state = (name) => page.locator(`h2 .state.${name}`).waitFor();
  await state("live");

  await ask(page, page.getByRole("button", { name: "Pause…" }), "Pause it");
  await state("paused");
  await seen(page, /is paused/);
  // Events that it does not want pass by one who is paused. The first one that it wants holds it.
  const { frontier } = await json("/frontier");
  const wanted = await until("there is something for it to handle", async () => {
    const { events } = await json(`/events?query=type:OrderPlaced,PaymentRefunded&from=${frontier + 1}&limit=1`);
    return events[0]?.position;
  });
  await until("the log goes on", async () => (await json("/frontier")).frontier > wanted + 5);
  const paused = await sales();
  assert.equal(paused.state, "paused");
  assert.ok(paused.position < wanted, `${paused.position} is behind ${wanted}, which nobody handled`);

  await ask(page, page.getByRole("button", { name: "Resume…" }), "Resume it");
  await seen(page, /goes on/);
  await state("live");
  await until("it has handled what waited", async () => (await sales()).position >= wanted);

  await ask(page, page.getByRole("button", { name: "Replay…" }), "Replay");
  await seen(page, /begins again behind 0/);
  await until("it has handled everything again", async () => { const own = await sales(); return own.state === "live" && own.position >= wanted; });

  await ask(page, page.getByRole("button", { name: "Promote…" }), "Promote");
  await seen(page, /Asked to promote/);
  quiet();
  await close();
  await server.stop();
});

test("a group is there from its creation on, with its members and what it parked", async () => {
  const server = await serve(["serve", "--memory"]);
  const post = async (path, body) => {
    const response = await fetch(server.url + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    return response.json();
  };
  for (const name of ["order-1", "order-2", "order-3"]) await post(`/streams/${name}`, { type: "OrderPlaced", data: {} });
  await post("/groups/billing%2Feu", { queries: ["category:order"], retries: 0, backoff_first_ms: 0 });
  const { page, quiet, close } = await open(`${server.url}/#/consumers`);
  await page.locator("table.all .state.empty").waitFor();
  await page.getByRole("link", { name: "billing/eu" }).click();
  await page.getByRole("heading", { name: "Nobody is in it" }).waitFor();
  await page.getByText("category:order").waitFor();
  assert.deepEqual(await serious(page), []);

  const join = async () => {
    const { member } = await post("/groups/billing%2Feu/members", { name: "worker-1", capacity: 10 });
    return `/groups/billing%2Feu/members/${member}`;
  };
  const receive = async (member) => (await (await fetch(`${server.url}${member}/events?wait=20`)).json()).events;
  let member = await join();
  const got = [];
  while (got.length < 3) got.push(...await receive(member));
  await post(`${member}/answers`, { ack: [got[0].number], park: [got[1].number, got[2].number], cause: "the <b>printer</b> is out of paper" });
  // The same link shows what the group has become.
  await page.getByRole("heading", { name: "1 member" }).waitFor();
  await page.locator("[aria-label='Members'] td", { hasText: "worker-1" }).waitFor();
  await page.getByRole("heading", { name: "2 parked" }).waitFor();
  await page.getByText("the <b>printer</b> is out of paper").first().waitFor();

  const row = (at) => page.locator("[aria-label='Parked events'] tbody tr", { hasText: got[at].key });
  await ask(page, row(1).getByRole("button", { name: "Retry…" }), "Retry it");
  let again = [];
  while (again.length === 0) again = await receive(member);
  assert.equal(again[0].event.position, got[1].event.position);
  await post(`${member}/answers`, { ack: [again[0].number] });
  await seen(page, /is not parked any more/);
  await ask(page, row(2).getByRole("button", { name: "Drop…" }), "Drop it");
  await page.getByRole("heading", { name: "Nothing is parked" }).waitFor();

  await ask(page, page.getByRole("button", { name: "Pause…" }), "Pause it");
  await page.locator("h2 .state.paused").waitFor();
  await post("/streams/order-4", { type: "OrderPlaced", data: {} });
  assert.deepEqual(await (await fetch(`${server.url}${member}/events?wait=2`)).json(), { events: [] }, "nothing is handed out");
  await ask(page, page.getByRole("button", { name: "Resume…" }), "Resume it");
  again = [];
  while (again.length === 0) again = await receive(member);
  assert.equal(again[0].event.stream, "order-4");
  await post(`${member}/answers`, { ack: [again[0].number] });

  await ask(page, page.getByRole("button", { name: "Replay…" }), "Replay");
  await until("its members are sent away", async () => (await fetch(`${server.url}${member}/events`)).status === 404);
  member = await join();
  const replayed = [];
  while (replayed.length < 4) replayed.push(...await receive(member));
  assert.deepEqual(replayed.map((own) => own.event.stream).sort(), ["order-1", "order-2", "order-3", "order-4"]);
  assert.equal(await page.getByRole("button", { name: "Promote…" }).count(), 0, "of a group there is one version");
  quiet();
  await close();
  await server.stop();
});
