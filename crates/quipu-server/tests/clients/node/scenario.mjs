// What the npm package @kurrent/kurrentdb-client sees of a server. The first argument is its URL, the
// second which part to play. Asks for a restart by a line on standard output, and waits for one on
// standard input.

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { events, kurrent, name, refuses, require, restart } from "./support.mjs";
import * as persistentSubscriptions from "./persistent_subscriptions.mjs";

const { KurrentDBClient, binaryEvent, ANY, NO_STREAM, STREAM_EXISTS } = kurrent;
const { START, END, FORWARDS, BACKWARDS, eventTypeFilter, streamNameFilter } = kurrent;

const collect = async (stream) => {
  const all = [];
  for await (const event of stream) all.push(event.event);
  return all;
};

async function appends(client) {
  const stream = name("append");
  const first = events(3);
  const made = await client.appendToStream(stream, first, { streamState: NO_STREAM });
  assert.equal(made.nextExpectedRevision, 2n);
  const again = await client.appendToStream(stream, first, { streamState: NO_STREAM });
  assert.equal(again.nextExpectedRevision, 2n);
  const append = (streamState, count = 1) => () =>
    client.appendToStream(stream, events(count), { streamState });
  await refuses(kurrent.WrongExpectedVersionError, append(NO_STREAM));
  await refuses(kurrent.WrongExpectedVersionError, append(7n));
  await append(2n, 2)();
  await append(STREAM_EXISTS)();
  await append(ANY)();
  const binary = binaryEvent({ type: "Raw", data: Buffer.from([1, 2, 255]) });
  await client.appendToStream(stream, binary);
  const read = await collect(client.readStream(stream));
  assert.deepEqual(read.map((event) => Number(event.revision)), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(read[0].id, first[0].id);
  assert.deepEqual(read[0].metadata, { by: "node" });
  assert.deepEqual([...read[7].data], [1, 2, 255]);
}

async function reads(client) {
  const stream = name("read");
  const type = name("type");
  await client.appendToStream(stream, events(100, type));
  const revisions = async (options) =>
    (await collect(client.readStream(stream, options))).map((event) => Number(event.revision));
  assert.deepEqual(await revisions({ fromRevision: 10n, maxCount: 3 }), [10, 11, 12]);
  const backwards = { direction: BACKWARDS, fromRevision: END, maxCount: 2 };
  assert.deepEqual(await revisions(backwards), [99, 98]);
  const filter = eventTypeFilter({ prefixes: [type] });
  const found = await collect(client.readAll({ filter, direction: FORWARDS, fromPosition: START }));
  assert.equal(found.length, 100);
  await refuses(kurrent.StreamNotFoundError, () => collect(client.readStream(name("absent"))));
}

async function deletes(client) {
  const stream = name("delete");
  await client.appendToStream(stream, events(3));
  const wrong = () => client.deleteStream(stream, { expectedRevision: 7n });
  await refuses(kurrent.WrongExpectedVersionError, wrong);
  await client.deleteStream(stream);
  await refuses(kurrent.StreamNotFoundError, () => collect(client.readStream(stream)));
  await client.appendToStream(stream, events(1));
  const read = await collect(client.readStream(stream));
  assert.deepEqual(read.map((event) => event.revision), [3n]);
  await client.tombstoneStream(stream);
  await refuses(kurrent.StreamDeletedError, () => collect(client.readStream(stream)));
  const append = () => client.appendToStream(stream, events(1));
  await refuses(kurrent.StreamDeletedError, append);
}

async function metadata(client) {
  const stream = name("metadata");
  await client.appendToStream(stream, events(10));
  await client.setStreamMetadata(stream, { maxCount: 2, owner: "ada" });
  const { metadata } = await client.getStreamMetadata(stream);
  assert.equal(metadata.maxCount, 2);
  assert.equal(metadata.owner, "ada");
  assert.equal((await collect(client.readStream(stream))).length, 2);
}

async function manyStreams(client) {
  const [one, two] = [name("one"), name("two")];
  const made = await client.multiStreamAppend([
    { streamName: one, events: events(2), expectedState: NO_STREAM },
    { streamName: two, events: events(1), expectedState: ANY },
  ]);
  assert.equal(made.responses.length, 2);
  const wrong = () =>
    client.multiStreamAppend([
      { streamName: two, events: events(1), expectedState: 0n },
      { streamName: one, events: events(1), expectedState: 7n },
    ]);
  await assert.rejects(wrong);
  assert.equal((await collect(client.readStream(two))).length, 1, "all or nothing");
}

/// Catches up, goes on live, and goes on from where it was after the server is started again.
async function subscribes(client, url) {
  const stream = name("subscribe");
  await client.appendToStream(stream, events(3));
  const seen = [];
  const subscription = client.subscribeToStream(stream, { fromRevision: START });
  subscription.once("caughtUp", () => client.appendToStream(stream, events(2)));
  for await (const { event } of subscription) {
    seen.push(Number(event.revision));
    if (seen.length === 5) break;
  }
  await subscription.unsubscribe();

  await restart();
  const again = KurrentDBClient.connectionString(url);
  await again.appendToStream(stream, events(2));
  const rest = again.subscribeToStream(stream, { fromRevision: BigInt(seen.at(-1)) });
  for await (const { event } of rest) {
    seen.push(Number(event.revision));
    if (seen.length === 7) break;
  }
  await rest.unsubscribe();
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6]);
  const filter = streamNameFilter({ prefixes: [stream] });
  const all = again.subscribeToAll({ fromPosition: START, filter });
  let count = 0;
  for await (const { event } of all) {
    assert.equal(event.streamId, stream);
    count += 1;
    if (count === 7) break;
  }
  await all.unsubscribe();
}

/// The basic scenario of Emmett, which uses the client that was there before this one. Both in one
/// process would get in each other's way: they name their messages alike.
async function emmett(url) {
  const folder = pathToFileURL(`${process.cwd()}/node_modules/@event-driven-io/emmett-esdb/`);
  const { getEventStoreDBEventStore } = await import(new URL("dist/index.js", folder));
  const { EventStoreDBClient } = require("@eventstore/db-client");
  const client = EventStoreDBClient.connectionString(url.replace("kurrentdb:", "esdb:"));
  const store = getEventStoreDBEventStore(client);
  const cart = name("cart");
  const added = { type: "ItemAdded", data: { price: 3 } };
  await store.appendToStream(cart, [added, added], { expectedStreamVersion: "STREAM_DOES_NOT_EXIST" });
  const options = { evolve: (sum, event) => sum + event.data.price, initialState: () => 0 };
  const { state, currentStreamVersion } = await store.aggregateStream(cart, options);
  assert.equal(state, 6);
  assert.equal(currentStreamVersion, 1n);
  const late = { expectedStreamVersion: "STREAM_DOES_NOT_EXIST" };
  await assert.rejects(() => store.appendToStream(cart, [added], late));
  await client.dispose();
}

const [url, part] = process.argv.slice(2);
const client = KurrentDBClient.connectionString(url);
if (part === "plain") {
  await appends(client);
  await reads(client);
  await deletes(client);
  await metadata(client);
  await manyStreams(client);
  await subscribes(client, url);
} else if (part === "persistent") {
  await persistentSubscriptions.play(client, url);
} else if (part === "emmett") {
  await emmett(url);
} else {
  const stream = name("secure");
  await client.appendToStream(stream, events(2));
  assert.equal((await collect(client.readStream(stream))).length, 2);
}
console.log("done");
process.exit(0);
