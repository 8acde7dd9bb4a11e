// The names that are known: types, tags and categories, for completion and for lists. Types and tags
// come from the newest events and from whatever else was shown.

import { get, path } from "./api.js";
import { category } from "./format.js";

const seen = { type: new Map(), tag: new Map(), category: new Map(), stream: new Map() };
const keyed = new Map();
let sampled = null;

/** Takes note of the names in events. */
export function learn(events) {
  const add = (kind, name) => {
    if (seen[kind].size < 5_000 || seen[kind].has(name)) seen[kind].set(name, (seen[kind].get(name) ?? 0) + 1);
  };
  for (const event of events) {
    add("type", event.type);
    add("category", category(event.stream));
    add("stream", event.stream);
    for (const tag of event.tags) add("tag", tag);
    for (const key of new Set(event.tags.map(keyOf))) if (key) keyed.set(key, (keyed.get(key) ?? 0) + 1);
  }
}

/** Reads some of the newest events, once, so that there is something to complete from. */
export function sample() {
  sampled ??= Promise.all([
    get(path("/events", { direction: "backward", limit: 300 })).then((page) => learn(page.events)),
    categories().then((found) => found.forEach(({ name }) => seen.category.set(name, seen.category.get(name) ?? 1))),
  ]).catch(() => { sampled = null; });
  return sampled;
}

/** The categories of the log, with how many events each has. */
export const categories = async () => (await get("/categories?limit=200")).categories;

const keyOf = (tag) => tag.startsWith("$") ? "" : tag.slice(0, Math.max(tag.indexOf(":"), 0));

/** The keys of tags, the part before the first colon: those of most events first, then of most values. */
export function tagKeys() {
  const values = new Map();
  for (const tag of seen.tag.keys()) values.set(keyOf(tag), (values.get(keyOf(tag)) ?? 0) + 1);
  return [...keyed].sort((a, b) => b[1] - a[1] || values.get(b[0]) - values.get(a[0])).map(([key]) => key);
}

/** Names of a kind that begin with, or else have in them, this text. */
export function complete(kind, text, limit = 12) {
  const wanted = text.toLowerCase();
  const found = [];
  for (const [name, times] of seen[kind] ?? []) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at >= 0) found.push({ name, rank: (at === 0 ? 1e9 : 0) + times });
  }
  return found.sort((a, b) => b.rank - a.rank).slice(0, limit).map((own) => own.name);
}
