// The fold of events: what is known at a point, by field, the last write of each. And what changed.

const EVENT_FIELDS_MAX = 2_000;
const FIELDS_MAX = 20_000;

/** The fields of a value as paths: objects are taken apart, lists and the rest are values. */
export function fieldsOf(value, prefix = "", into = new Map()) {
  if (into.size >= EVENT_FIELDS_MAX) return into;
  const isPlain = value !== null && typeof value === "object" && !Array.isArray(value);
  if (isPlain && Object.keys(value).length > 0) {
    for (const [key, own] of Object.entries(value)) fieldsOf(own, prefix ? `${prefix}.${key}` : key, into);
  } else {
    into.set(prefix || "(value)", value);
  }
  return into;
}

const isEqual = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

/**
 * Takes an event into a fold: its fields in the order in which they were first written, each with its
 * value and the type that wrote it last. Answers whether there was room for all of them.
 */
export function take(fields, event) {
  if (event.data === undefined) return true;
  let hasRoom = true;
  for (const [path, value] of fieldsOf(event.data)) {
    if (fields.size < FIELDS_MAX || fields.has(path)) fields.set(path, { value, by: event.type });
    else hasRoom = false;
  }
  return hasRoom;
}

/** What an event changed of what was known before it: fields it added and fields it altered. */
export function changesOf(before, event) {
  if (event.data === undefined) return [];
  const changes = [];
  for (const [path, value] of fieldsOf(event.data)) {
    const own = before.get(path);
    if (own === undefined) changes.push({ path, kind: "added", value });
    else if (!isEqual(own.value, value)) changes.push({ path, kind: "altered", value, was: own.value });
  }
  return changes;
}

/** Fields of two folds side by side, with whether they differ. */
export function compare(first, second) {
  const paths = [...new Set([...first.keys(), ...second.keys()])];
  return paths.map((path) => {
    const [a, b] = [first.get(path), second.get(path)];
    return { path, a, b, differs: a === undefined || b === undefined || !isEqual(a.value, b.value) };
  });
}
