// What is not every day's: no mouse, a server that is away, content that means ill, rights that are few.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { after, test } from "node:test";

import { directory, end, line, open, quipu, serious, serve, until } from "./support.mjs";

after(end);

const EVIL = `<img src=x onerror="globalThis.hacked=1"><script>globalThis.hacked=1</script>`;

function hostileStore() {
  const data = `${directory()}/data`;
  const names = [`${EVIL}-1`, "javascript:alert(1)-1", "\u202Ertl-1", "a/b?c=d&e#f-1", "'; drop table-1", "  -1", "x".repeat(512)];
  const lines = names.map((name) => line(name, EVIL.slice(0, 200), { html: EVIL, [EVIL]: EVIL, __proto__: 1, deep: JSON.parse("[".repeat(100) + "]".repeat(100)) }, { tags: [`evil:${EVIL}`] }));
  lines.push(line("big-1", "Grown", { text: "ä<".repeat(1_250_000), list: Array.from({ length: 20_000 }, (_, at) => ({ at })) }));
  lines.push(line("numbers-1", "Counted", "RAW").replace('"RAW"', '{"large":12345678901234567890,"exact":0.10}'));
  lines.push(`${JSON.stringify({ stream: "bytes-1", type: "Made", data_base64: "AAECAwQ=", metadata_base64: "/w==" })}\n`);
  quipu(["--data", data, "import", "-"], lines.join(""));
  return { data, names };
}

test("hostile content is text, and freezes nothing", async () => {
  const { data, names } = hostileStore();
  const server = await serve(["--data", data, "serve"]);
  const hashes = ["overview", "events", "streams", "map?case=stream", "map?case=tag:evil", "time", "consumers", ...names.flatMap((name) => [`stream?name=${encodeURIComponent(name)}&event=1`, `time?stream=${encodeURIComponent(name)}`]), `events?q=${encodeURIComponent(EVIL)}`, `stream?name=&asof=${encodeURIComponent(EVIL)}`, "consumers?c=%3Cb%3E"];
  for (const hash of hashes) {
    const { page, wrong, close } = await open(`${server.url}/#/${hash}`);
    await page.locator("h1, .empty").first().waitFor();
    // What the page reads has come by then; a page that lives never falls silent.
    await page.waitForTimeout(500);
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined, hash);
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0, hash);
    assert.deepEqual(wrong, [], hash);
    await close();
  }
  await server.stop();
});

test("an event of five megabytes is looked at without waiting", async () => {
  const { data } = hostileStore();
  const server = await serve(["--data", data, "serve"]);
  const { page, quiet, close } = await open(`${server.url}/#/stream?name=big-1&event=8`);
  await page.locator(".json .key", { hasText: "text" }).waitFor();
  const begun = Date.now();
  await page.getByRole("button", { name: /characters more/ }).click();
  await page.locator(".json summary", { hasText: "20000 items" }).click();
  await page.locator(".json button", { hasText: "19900 more" }).waitFor();
  assert.ok(Date.now() - begun < 10_000, "it opens at once");
  assert.ok(await page.locator("*").count() < 3_000, "what is not looked at is not there");
  quiet();
  await close();
  await server.stop();
});

test("numbers are shown as they were written", async () => {
  const { data } = hostileStore();
  const server = await serve(["--data", data, "serve"]);
  const { page, close } = await open(`${server.url}/#/stream?name=numbers-1&event=9`);
  await page.locator(".json .value", { hasText: /^12345678901234567890$/ }).waitFor();
  await page.locator(".json .value", { hasText: /^0\.10$/ }).waitFor();
  await close();
  await server.stop();
});

test("everything is reached and done with the keyboard alone", async () => {
  const server = await serve(["serve", "--sample"]);
  const { page, quiet, close } = await open(`${server.url}/#/overview`);
  await page.locator(".cords .knot").first().waitFor();
  const focused = () => page.evaluate(() => { const own = document.activeElement; return (own?.getAttribute("aria-label") ?? own?.textContent ?? "").trim(); });
  const tabTo = async (wanted, key = "Tab") => {
    for (let step = 0; step < 80; step += 1) {
      if (wanted.test(await focused())) return;
      await page.keyboard.press(key);
    }
    assert.fail(`${wanted} is not reached; last: ${await focused()}`);
  };
  // The skip link goes first, and leaves the address alone.
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  assert.match(page.url(), /#\/overview$/);
  await page.reload();
  await tabTo(/^Events$/);
  await page.keyboard.press("Enter");
  await page.locator(".events tbody tr").first().waitFor();
  await tabTo(/^Query$/);
  await page.keyboard.type("type:OrderC");
  await page.locator("[role=option]", { hasText: "type:OrderCancelled" }).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.locator(".events tbody tr", { hasText: "OrderCancelled" }).first().waitFor();
  assert.match(page.url(), /q=type%3AOrderCancelled/);
  await tabTo(/^[\d,]+$/);
  await page.keyboard.press("ArrowDown");
  const second = await focused();
  await page.keyboard.press("Enter");
  await page.locator("#detail-title").waitFor();
  await until("the focus is in the detail", async () => /OrderCancelled/.test(await focused()));
  await page.keyboard.press("Escape");
  await until("the focus is back", async () => await focused() === second);
  await tabTo(/^Time travel$/, "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.locator(".chips a").first().waitFor();
  await tabTo(/^tag:/);
  await page.keyboard.press("Enter");
  await page.locator(".fold").waitFor();
  await tabTo(/^Event$/);
  await page.keyboard.press("Home");
  await page.locator("output", { hasText: /^1 of/ }).waitFor();
  await page.keyboard.press("ArrowRight");
  await page.locator("output", { hasText: /^2 of/ }).waitFor();
  await page.goto(`${server.url}/#/map?case=tag:order`);
  await page.locator("svg.graph .node").first().waitFor();
  const box = () => page.locator("svg.graph").getAttribute("viewBox");
  const whole = await box();
  await tabTo(/^Process map:/);
  await page.keyboard.press("+");
  assert.notEqual(await box(), whole);
  await page.keyboard.press("0");
  assert.equal(await box(), whole);
  await tabTo(/OrderPlaced → PaymentReceived/);
  await page.keyboard.press("Enter");
  await page.locator("section[aria-label='The chosen edge'] td a").first().waitFor();
  quiet();
  await close();
  await server.stop();
});

test("a server that goes and comes back is told of, and gone on with", async () => {
  const data = `${directory()}/data`;
  quipu(["--data", data, "import", "-"], line("order-1", "OrderPlaced", { n: 1 }));
  let server = await serve(["--data", data, "serve"]);
  const { url, port } = server;
  const { page, close } = await open(`${url}/#/events?live=1`);
  await page.locator(".live-row .lamp.live").waitFor();
  await server.stop();
  await page.locator("#lamp", { hasText: "server is away" }).waitFor();
  await page.locator(".live-row .lamp.waiting").waitFor();
  quipu(["--data", data, "import", "-"], line("order-1", "OrderPaid", { n: 2 }));
  server = await serve(["--data", data, "serve"], port);
  await page.locator("#lamp", { hasText: "live" }).waitFor();
  await page.locator(".events tbody tr", { hasText: "OrderPaid" }).waitFor();
  assert.equal(await page.locator(".events tbody tr").count(), 2, "none is missing, none is there twice");
  await fetch(`${url}/streams/order-1`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ type: "OrderSent", data: {} }) });
  await page.locator(".events tbody tr", { hasText: "OrderSent" }).waitFor();
  await close();
  await server.stop();
});

test("who has credentials logs in, sees what they may, and logs out", async () => {
  const at = directory();
  const [data, auth] = [`${at}/data`, `${at}/auth.json`];
  quipu(["--data", data, "import", "-"], line("order-1", "OrderPlaced", { n: 1 }) + line("payroll-1", "Paid", { n: 1 }));
  quipu(["user", "add", "ada", "--role", "reader", "--auth", auth], "a good long password\n");
  const token = quipu(["token", "create", "ops", "--role", "operator", "--auth", auth]).match(/qp_\w+/)[0];
  const server = await serve(["--data", data, "serve", "--auth", auth]);
  const { page, quiet, close } = await open(`${server.url}/#/events`);
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  assert.deepEqual(await serious(page), []);
  await page.getByLabel("User").fill("ada");
  await page.getByLabel("Password").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("the name or the password is wrong").waitFor();
  await page.getByLabel("Password").fill("a good long password");
  await page.keyboard.press("Enter");
  // One comes to where one wanted to go.
  await page.locator(".events tbody tr").first().waitFor();
  assert.equal(await page.evaluate(() => document.cookie), "", "no cookie goes by itself");
  const kept = await page.evaluate(() => sessionStorage.getItem("quipu-token"));
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  const answer = await fetch(`${server.url}/events`, { headers: { authorization: `Bearer ${kept}` } });
  assert.equal(answer.status, 401, "the session is over on the server too");
  // An operator sees what runs and no events.
  await page.getByLabel("Token", { exact: false }).fill(token);
  await page.keyboard.press("Enter");
  await page.locator("nav a", { hasText: "Consumers" }).waitFor();
  assert.deepEqual(await page.locator("nav a").allTextContents(), ["Overview", "Consumers", "First steps"]);
  await page.getByRole("link", { name: "First steps" }).click();
  await page.getByText("You may neither read nor append here").waitFor();
  assert.equal(await page.locator("pre.code").count(), 0, "what they may not do is not offered");
  quiet();
  await close();
  await server.stop();
});

/** Runs every piece of the first steps as it is shown, in the environment of somebody who has a token. */
async function takeFirstSteps(server, page, token) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const env = { ...process.env, ...token && { QUIPU_TOKEN: token }, PATH: `${dirname(process.env.QUIPU_BIN)}:${process.env.PATH}` };
  const pieces = async (language) => {
    await page.getByRole("tab", { name: language }).click();
    await page.locator(`pre.code[aria-label$=", ${language}"]`).first().waitFor();
    const texts = await page.locator("pre.code").allTextContents();
    return Object.fromEntries(["append", "read", "subscribe"].map((name, at) => [name, texts[at]]));
  };
  const run = (program, args, limit) => spawnSync("timeout", [String(limit), program, ...args], { encoding: "utf8", env });
  const runners = {
    curl: (text, limit) => run("bash", ["-c", text], limit),
    CLI: (text, limit) => run("bash", ["-c", text], limit),
    Python: (text, limit) => run("python3", ["-c", text], limit),
    Node: (text, limit) => run("node", ["--input-type=module", "-e", text], limit),
  };
  let appended = 0;
  for (const [language, runner] of Object.entries(runners)) {
    const own = await pieces(language);
    const append = runner(own.append, 30);
    assert.equal(append.status, 0, `${language}: ${append.stderr}`);
    appended += 1;
    const { events } = await (await fetch(`${server.url}/streams/order-7`, { headers })).json();
    assert.equal(events.length, appended, `${language} appends one event`);
    assert.deepEqual([events.at(-1).type, events.at(-1).data, events.at(-1).tags], ["OrderPlaced", { total_cents: 1200 }, ["order:7"]], language);
    const read = runner(own.read, 30);
    assert.equal(read.status, 0, `${language}: ${read.stderr}`);
    assert.match(read.stdout, /OrderPlaced/, language);
    // A subscription has no end: it is cut off.
    const followed = runner(own.subscribe, 5);
    assert.match(followed.stdout, /OrderPlaced/, `${language}: ${followed.stderr}`);
  }
}

/** The programs in Rust are those that `tests/it/first_steps.rs` compiles, on this server. */
async function assertRustIsCompiled(server, page) {
  await page.getByRole("tab", { name: "Rust" }).click();
  for (const name of ["append", "read", "subscribe"]) {
    const compiled = readFileSync(new URL(`../../ui/${name}.rs`, import.meta.url), "utf8");
    assert.match(compiled, /"http:\/\/127\.0\.0\.1:2113"/);
    const shown = page.locator(`pre.code[aria-label$=", Rust"][data-piece=${name}]`);
    assert.equal(await shown.textContent(), compiled.trim().replace("http://127.0.0.1:2113", server.url));
  }
}

test("what the first steps show works as it stands, in every language", async () => {
  const server = await serve(["serve", "--memory"]);
  const { page, quiet, close } = await open(`${server.url}/#/start`);
  await takeFirstSteps(server, page, null);
  await assertRustIsCompiled(server, page);
  quiet();
  await close();
  await server.stop();
});

test("what the first steps show works with a token, on a server that wants one", async () => {
  const auth = `${directory()}/auth.json`;
  const token = quipu(["token", "create", "shop", "--role", "writer", "--auth", auth]).match(/qp_\w+/)[0];
  const server = await serve(["serve", "--memory", "--auth", auth]);
  const { page, quiet, close } = await open(`${server.url}/#/start`);
  await page.getByLabel("Token", { exact: false }).fill(token);
  await page.keyboard.press("Enter");
  await page.getByText("export QUIPU_TOKEN=qp_…").waitFor();
  await takeFirstSteps(server, page, token);
  quiet();
  await close();
  await server.stop();
});
