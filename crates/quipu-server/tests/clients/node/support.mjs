// What the programs of this folder share.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";

// The packages are installed in the folder that this is run from.
export const require = createRequire(`${process.cwd()}/package.json`);
export const kurrent = require("@kurrent/kurrentdb-client");

export const name = (category) => `${category}-${randomUUID()}`;

export const events = (count, type = "Made") =>
  Array.from({ length: count }, (_, number) =>
    kurrent.jsonEvent({ type, data: { number }, metadata: { by: "node" } }),
  );

export const refuses = async (type, call) => {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof type, `${type.name} was expected, not ${error}`);
    return true;
  });
};

/// Asks for the server to be started again, and waits until it was.
export async function restart() {
  console.log("restart");
  const lines = createInterface({ input: process.stdin });
  const [line] = await new Promise((resolve) => lines.once("line", (text) => resolve([text])));
  assert.equal(line, "restarted");
  lines.close();
}
