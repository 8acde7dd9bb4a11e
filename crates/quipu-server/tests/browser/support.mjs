// Servers, and a browser that notes whatever goes wrong in a page.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRequire } from "node:module";

const QUIPU = process.env.QUIPU_BIN;
const require = createRequire(join(process.env.QUIPU_BROWSER_MODULES, "package.json"));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** How long anything may take before the test fails instead of hanging. */
export const PATIENCE = 30_000;

const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A directory of one test's own. */
export function directory() {
  const path = mkdtempSync(join(tmpdir(), "quipu-browser-"));
  process.on("exit", () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Runs a verb to its end. */
export function quipu(args, input = "") {
  const env = { ...process.env };
  for (const name of Object.keys(env)) if (name.startsWith("QUIPU_")) delete env[name];
  const ran = spawnSync(QUIPU, args, { input, encoding: "utf8", env, maxBuffer: 64 << 20 });
  assert.equal(ran.status, 0, `quipu ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Ends what a test leaves behind, one that failed too: a server or a browser would keep Node waiting for ever. */
export async function end() {
  for (const child of running) child.kill("SIGKILL");
  running.clear();
  await browser.close();
}

/** Serves, on a port that the system chooses unless one is given. */
export async function serve(args, port = 0) {
  const child = spawn(QUIPU, [...args, "--listen", `127.0.0.1:${port}`, "--print-address"], { stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  const url = await new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (piece) => { text += piece; if (text.includes("\n")) resolve(text.trim()); });
    child.on("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return {
    url,
    port: Number(new URL(url).port),
    async stop() {
      const ended = new Promise((resolve) => child.on("exit", resolve));
      child.kill("SIGTERM");
      await ended;
      running.delete(child);
    },
  };
}

/** Waits until what is asked for holds. */
export async function until(what, ask) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    last = await ask().catch((error) => { last = error; return false; });
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it never came to: ${what}; last: ${last}`);
}

export const browser = await chromium.launch({ executablePath: process.env.QUIPU_CHROMIUM, args: FLAGS });

/**
 * Opens a page. What goes wrong in it is gathered: errors, refusals of the policy, requests to anywhere
 * else. `quiet()` asserts that there was nothing.
 */
export async function open(url, { width = 1280, height = 860, dark = false, ...more } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const wrong = [];
  const origin = new URL(url).origin;
  page.on("pageerror", (error) => wrong.push(`error: ${error.stack ?? error.message}`));
  page.on("console", (message) => { if (message.type() === "error" && !/Failed to load resource/.test(message.text())) wrong.push(`console: ${message.text()}`); });
  page.on("request", (request) => { if (!request.url().startsWith(origin) && !request.url().startsWith("blob:")) wrong.push(`a request to ${request.url()}`); });
  page.on("dialog", (dialog) => { wrong.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(url);
  return {
    page,
    wrong,
    quiet() { assert.deepEqual(wrong, []); },
    close: () => context.close(),
  };
}

/** What axe-core finds serious or critical, as text. */
export async function serious(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter((own) => ["serious", "critical"].includes(own.impact))
    .map((own) => `${own.id}: ${own.help}: ${own.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.any[0]?.message ?? node.failureSummary})`).join(" | ")}`);
}

/** A line for import. */
export const line = (stream, type, data, more = {}) => `${JSON.stringify({ stream, type, data, ...more })}\n`;
