// Persistent subscriptions: shared, acknowledged, retried, parked and replayed.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { events, kurrent, name, refuses, restart } from "./support.mjs";

const { KurrentDBClient, START, PARK, RETRY, SKIP, streamNameFilter } = kurrent;
const ofStream = kurrent.persistentSubscriptionToStreamSettingsFromDefaults;
const ofAll = kurrent.persistentSubscriptionToAllSettingsFromDefaults;
const fromStart = (settings = {}) => ofStream({ startFrom: START, ...settings });

async function becomes(what, isSo) {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await isSo()) return;
    await sleep(100);
  }
  assert.fail(`${what} was expected`);
}

const info = (client, stream) => client.getPersistentSubscriptionToStreamInfo(stream, "g");
const parked = (client, stream, count) =>
  becomes(`${count} parked events`, async () => {
    const { stats } = await info(client, stream);
    return stats.parkedMessageCount === BigInt(count);
  });

/// Hands the next events over until there are as many as asked for. The call goes on until it is ended,
/// whether or not anybody looks at what comes.
async function take(subscription, count, handle) {
  const seen = [];
  for await (const event of subscription) {
    seen.push([Number((event.link ?? event.event).revision), event.retryCount]);
    await handle(event);
    if (seen.length === count) break;
  }
  return seen;
}

async function manages(client) {
  const stream = name("manage");
  const create = () => client.createPersistentSubscriptionToStream(stream, "g", fromStart());
  await create();
  await refuses(kurrent.PersistentSubscriptionExistsError, create);
  const { eventSource, groupName, status } = await info(client, stream);
  assert.deepEqual([eventSource, groupName, status], [stream, "g", "Live"]);
  const changed = fromStart({ maxRetryCount: 3, consumerStrategyName: kurrent.PINNED });
  await client.updatePersistentSubscriptionToStream(stream, "g", changed);
  const [listed] = await client.listPersistentSubscriptionsToStream(stream);
  assert.equal(listed.settings.maxRetryCount, 3);
  assert.equal(listed.settings.consumerStrategyName, kurrent.PINNED);
  assert.equal(listed.settings.startFrom, START);
  const all = await client.listAllPersistentSubscriptions();
  assert.ok(all.some((own) => own.eventSource === stream));
  const remove = () => client.deletePersistentSubscriptionToStream(stream, "g");
  await remove();
  const missing = kurrent.PersistentSubscriptionDoesNotExistError;
  await refuses(missing, remove);
  await refuses(missing, () => info(client, stream));
  await refuses(missing, () => client.replayParkedMessagesToStream(stream, "g"));
  await refuses(missing, () => client.listPersistentSubscriptionsToStream(stream));
  await refuses(missing, () =>
    take(client.subscribeToPersistentSubscriptionToStream(stream, "g"), 1, () => {}),
  );
  const small = fromStart({ readBatchSize: 20, historyBufferSize: 20 });
  await assert.rejects(() => client.createPersistentSubscriptionToStream(stream, "g", small));
}

async function retriesParksAndReplays(client) {
  const stream = name("park");
  await client.appendToStream(stream, events(4));
  const settings = fromStart({ maxRetryCount: 2 });
  await client.createPersistentSubscriptionToStream(stream, "g", settings);
  const first = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  const log = await take(first, 6, async (event) => {
    const actions = [[RETRY, "again"], [PARK, "bücher"], [SKIP, "not for us"]];
    const action = actions[Number(event.event.revision)];
    if (action) await first.nack(...action, event);
    else await first.ack(event);
  });
  assert.deepEqual(log.sort(), [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [3, 0]]);
  await parked(client, stream, 2);
  await first.unsubscribe();
  await client.replayParkedMessagesToStream(stream, "g", { stopAt: 1 });
  const second = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  await take(second, 1, (event) => second.ack(event));
  await parked(client, stream, 1);
  await second.unsubscribe();
  await client.replayParkedMessagesToStream(stream, "g");
  const third = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  await take(third, 1, (event) => third.ack(event));
  await parked(client, stream, 0);
}

async function limitsAndDrops(client) {
  const stream = name("limit");
  const settings = fromStart({ maxSubscriberCount: 1 });
  await client.createPersistentSubscriptionToStream(stream, "g", settings);
  const first = client.subscribeToPersistentSubscriptionToStream(stream, "g");
  await new Promise((resolve) => first.once("confirmation", resolve));
  const full = kurrent.PersistentSubscriptionMaximumSubscribersReachedError;
  await refuses(full, () =>
    take(client.subscribeToPersistentSubscriptionToStream(stream, "g"), 1, () => {}),
  );
  const dropped = refuses(kurrent.PersistentSubscriptionDroppedError, () => take(first, 1));
  await client.deletePersistentSubscriptionToStream(stream, "g");
  await dropped;
}

async function filtersAll(client) {
  const [group, category] = [name("group"), name("filtered")];
  const filter = streamNameFilter({ prefixes: [category] });
  const settings = ofAll({ startFrom: START });
  await client.createPersistentSubscriptionToAll(group, settings, { filter });
  for (const stream of [`${category}-1`, name("other"), `${category}-2`]) {
    await client.appendToStream(stream, events(2));
  }
  const subscription = client.subscribeToPersistentSubscriptionToAll(group);
  const names = [];
  await take(subscription, 4, async (event) => {
    names.push(event.event.streamId);
    await subscription.ack(event);
  });
  assert.deepEqual(names, [1, 1, 2, 2].map((number) => `${category}-${number}`));
  await client.restartPersistentSubscriptionSubsystem();
  await client.deletePersistentSubscriptionToAll(group);
}

/// The entries of a system projection are acknowledged by their own ids.
async function readsLinks(client) {
  const category = name("linked").replaceAll("-", "_");
  await client.appendToStream(`${category}-1`, events(2));
  const settings = fromStart({ resolveLinkTos: true });
  await client.createPersistentSubscriptionToStream(`$ce-${category}`, "g", settings);
  const subscription = client.subscribeToPersistentSubscriptionToStream(`$ce-${category}`, "g");
  const seen = await take(subscription, 2, async (event) => {
    assert.equal(event.event.streamId, `${category}-1`);
    assert.equal(event.link.streamId, `$ce-${category}`);
    await subscription.ack(event);
  });
  assert.deepEqual(seen, [[0, 0], [1, 0]]);
}

/// Its place is the server's to keep, across a restart too.
async function keepsItsPlace(client, url) {
  const stream = name("place");
  await client.appendToStream(stream, events(6));
  const settings = fromStart({ checkPointLowerBound: 1, checkPointAfter: 100 });
  await client.createPersistentSubscriptionToStream(stream, "g", settings);
  const before = client.subscribeToPersistentSubscriptionToStream(stream, "g", { bufferSize: 4 });
  const first = await take(before, 4, (event) => before.ack(event));
  await becomes("a checkpoint", async () => {
    const { stats } = await info(client, stream);
    return stats.lastCheckpointedEventRevision === 3n;
  });
  await restart();
  const again = KurrentDBClient.connectionString(url);
  const after = again.subscribeToPersistentSubscriptionToStream(stream, "g");
  const rest = await take(after, 2, (event) => after.ack(event));
  assert.deepEqual([...first, ...rest].map(([revision]) => revision), [0, 1, 2, 3, 4, 5]);
}

export async function play(client, url) {
  await manages(client);
  await retriesParksAndReplays(client);
  await limitsAndDrops(client);
  await filtersAll(client);
  await readsLinks(client);
  await keepsItsPlace(client, url);
}
