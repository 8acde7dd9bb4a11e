// The names that are known, for completion and for lists. Types, tags and their keys are those of the
// whole log, as the server gathers them; streams and categories come from its index. Each is asked for by
// its beginning, a few at a time. Whoever may not read all of the log has the names of what was shown.

import { get, path } from "./api.js";
import { category } from "./format.js";

/** How many names of a kind are kept: those that came first make room. */
const KNOWN_MAX = 5_000;
const FEW = 50;
const MANY = 1_000;
const LISTS = { type: "/types", tag: "/tags", key: "/tag-keys" };

const known = { type: new Map(), tag: new Map(), key: new Map(), category: new Map(), stream: new Map() };

function know(kind, name, count, tags) {
  const own = known[kind];
  if (own.size >= KNOWN_MAX && !own.has(name)) own.delete(own.keys().next().value);
  own.set(name, { count, tags });
}

/** Takes note of the names in events. */
export function learn(events) {
  const add = (kind, name) => { const own = known[kind].get(name); know(kind, name, (own?.count ?? 0) + 1, own?.tags); };
  for (const event of events) {
    add("type", event.type);
    add("category", category(event.stream));
    add("stream", event.stream);
    const tags = event.tags.filter((tag) => !tag.startsWith("$"));
    for (const tag of tags) add("tag", tag);
    for (const key of new Set(tags.filter((tag) => tag.includes(":")).map((tag) => tag.split(":", 1)[0]))) add("key", key);
  }
}

/** Forgets all names: somebody else may be here, who may see others. */
export function forget() {
  for (const own of Object.values(known)) own.clear();
}

/** The categories of the log after a name, with how many events each has. */
export async function categories(after, limit = MANY) {
  const { categories: found } = await get(path("/categories", { after, limit }));
  for (const own of found) know("category", own.name, own.event_count);
  return found;
}

/** Reads names of a kind that begin with this text. Answers whether the server has gathered all of the log. */
async function read(kind, prefix, limit) {
  if (kind === "category") {
    await categories(prefix, limit);
  } else if (kind === "stream") {
    const { streams } = await get(path("/streams", { prefix, limit }));
    const shown = streams.filter((name) => prefix.startsWith("$") || !name.startsWith("$"));
    for (const name of shown) know(kind, name, known.stream.get(name)?.count ?? 0);
  } else if (LISTS[kind]) {
    const page = await get(path(LISTS[kind], { prefix, limit }));
    for (const own of page.names) know(kind, own.name, own.event_count, own.tag_count);
    return page.position >= page.frontier;
  }
  return true;
}

/** Reads the keys of tags, as far as they are gathered; none where not all of the log may be read. */
export const sampleKeys = () => read("key", "", MANY).catch(() => {});

/** Reads what there is to begin with: types, the keys of tags, categories. */
export const sample = () => Promise.allSettled([read("type", "", MANY), sampleKeys(), categories()]);

/**
 * Asks the server for names of a kind that begin with this text, for as long as they are wanted: it
 * gathers for a moment with each request, until it is at the end of the log. `then` hears each time that
 * `complete` may have more.
 */
export async function lookUp(kind, text, isWanted, then) {
  try {
    for (let isAll = false; !isAll && isWanted();) {
      isAll = await read(kind, text, FEW);
      then();
    }
  } catch {
    // Not all of the log may be read, or the server is away: what was shown is known.
  }
}

/** The keys of tags, the part before the first colon: those of most events first, then of most tags. */
export function tagKeys() {
  return [...known.key].sort(([, a], [, b]) => b.count - a.count || (b.tags ?? 0) - (a.tags ?? 0)).map(([key]) => key);
}

/** How many tags with a key are known, where the server has said. */
export const tagCount = (key) => known.key.get(key)?.tags;

/** Names of a kind that begin with, or else have in them, this text: those of most events first. */
export function complete(kind, text, limit = 12) {
  const wanted = text.toLowerCase();
  const found = [];
  for (const [name, { count }] of known[kind] ?? []) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at >= 0) found.push({ name, isBeginning: at === 0, count });
  }
  return found.sort((a, b) => b.isBeginning - a.isBeginning || b.count - a.count || (a.name < b.name ? -1 : 1)).slice(0, limit).map((own) => own.name);
}
