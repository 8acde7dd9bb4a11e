// The fold of events: what is known at each point, by field, the last write of each. And what changed.

const FIELDS_MAX = 2_000;

/** The fields of a value as paths: objects are taken apart, lists and the rest are values. */
export function fieldsOf(value, prefix = "", into = new Map()) {
  if (into.size >= FIELDS_MAX) return into;
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
 * Folds events up to and with the one at `index`. Answers the fields in the order in which they were
 * first written, each with its value, the event that wrote it last, and what it was before.
 */
export function foldTo(events, index) {
  const fields = new Map();
  for (let at = 0; at <= index && at < events.length; at += 1) {
    const event = events[at];
    if (event.data === undefined) continue;
    for (const [path, value] of fieldsOf(event.data)) {
      const before = fields.get(path);
      const isChanged = before === undefined || !isEqual(before.value, value);
      fields.set(path, { value, by: event, before: before?.value, isNew: before === undefined, isChanged: at === index && isChanged });
    }
  }
  return fields;
}

/** What the event at `index` changed: fields it added and fields it altered. */
export function changesAt(events, index) {
  const before = foldTo(events, index - 1);
  const event = events[index];
  if (!event || event.data === undefined) return [];
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
