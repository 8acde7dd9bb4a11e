// Which events led to which: the chain that an event's metadata tells, drawn.
//
// The log has no index of metadata. What belongs together nearly always shares a tag or a stream, or
// is near in the log, so that is where the others are looked for, within bounds that are told.

import { h, put, s } from "./dom.js";
import { get, path } from "./api.js";
import { colour } from "./shapes.js";
import { count, quoted, short } from "./format.js";
import { link } from "./address.js";

const NEAR = 300;
const SHARED = 500;
const PAGE = 1_000;
/** How many times as far a further look goes, and the farthest. */
const FURTHER = 10;
const REACH_MAX = 100;
/** The most events that are drawn. */
const DRAWN_MAX = 300;

const of = (event, key) => event.metadata && typeof event.metadata === "object" ? event.metadata[key] : undefined;

/** Whether the event's metadata tells of a chain. */
export const hasChain = (event) => of(event, "$correlationId") !== undefined || of(event, "$causationId") !== undefined;

/** Reads up to so many events, a page at a time. */
async function readSome(params, most, signal) {
  const events = [];
  let next = path("/events", { ...params, limit: Math.min(most, PAGE) });
  while (next && events.length < most) {
    const page = await get(next, { signal });
    events.push(...page.events);
    next = page.next;
  }
  return events;
}

/** Looks for the events that belong to the event's chain; `reach` says how many times as far as at first. */
export async function findChain(event, reach, signal) {
  const correlation = of(event, "$correlationId");
  const terms = [`stream:${quoted(event.stream)}`, ...event.tags.slice(0, 16).map((tag) => `tag:${quoted(tag)}`)];
  const [near, shared] = [NEAR * reach, SHARED * reach];
  const places = await Promise.all([
    readSome({ query: terms, from: event.position, direction: "backward" }, shared, signal),
    readSome({ query: terms, from: event.position }, shared, signal),
    // Who may read some of the log only may not read what is near in it.
    readSome({ from: Math.max(1, event.position - near / 2) }, near, signal).catch((error) => { if (error.status === 403) return []; throw error; }),
  ]);
  const found = new Map([[event.id, event]]);
  for (const own of places.flat()) found.set(own.id, own);
  const effects = new Map();
  for (const own of found.values()) {
    const cause = of(own, "$causationId");
    if (cause !== undefined) effects.set(cause, [...effects.get(cause) ?? [], own]);
  }
  const isOfChain = (own) => own.id === event.id || correlation !== undefined && (own.id === correlation || of(own, "$correlationId") === correlation);
  const chain = new Map();
  const open = [...found.values()].filter(isOfChain);
  // Causes and effects, also where nothing tells of a correlation.
  while (open.length > 0) {
    const own = open.pop();
    if (own === undefined || chain.has(own.id)) continue;
    chain.set(own.id, own);
    open.push(found.get(of(own, "$causationId")), ...effects.get(own.id) ?? []);
  }
  return [...chain.values()].sort((a, b) => a.position - b.position);
}

/** Draws a chain: each event below its cause, later ones to the right. */
export function drawChain(events, here) {
  const [width, height] = [176, 62];
  const byId = new Map(events.map((event) => [event.id, event]));
  const column = new Map();
  const rows = new Map();
  let lastRow = -1;
  for (const event of events) {
    // What says that it was caused by a later event is drawn as if nothing had caused it.
    const cause = column.has(of(event, "$causationId")) && byId.get(of(event, "$causationId"));
    const isFirstChild = cause && ![...rows.keys()].some((id) => of(byId.get(id), "$causationId") === cause.id);
    column.set(event.id, cause ? column.get(cause.id) + 1 : 0);
    rows.set(event.id, isFirstChild ? rows.get(cause.id) : (lastRow += 1));
  }
  const place = (event) => [column.get(event.id) * width + 14, rows.get(event.id) * height + 10];
  const wide = (Math.max(...column.values()) + 1) * width + 10;
  const high = (lastRow + 1) * height + 8;
  const links = events.map((event) => {
    const cause = byId.get(of(event, "$causationId"));
    if (!cause) return null;
    const [[fromX, fromY], [toX, toY]] = [place(cause), place(event)];
    return s("path.link", { d: `M${fromX + 150} ${fromY + 22}C${fromX + 172} ${fromY + 22} ${toX - 22} ${toY + 22} ${toX - 2} ${toY + 22}` });
  });
  const boxes = events.map((event) => {
    const [x, y] = place(event);
    return s("a", { href: link("events", { q: `stream:${quoted(event.stream)}`, event: event.position }) },
      s(`rect${event.id === here.id ? ".here" : ""}`, { x, y, width: 150, height: 44, rx: 8, fill: "var(--felt)", stroke: colour(event.type), "stroke-width": 1.5 }),
      s("text", { x: x + 10, y: y + 19 }, short(event.type, 20)),
      s("text.sub", { x: x + 10, y: y + 35 }, short(event.stream, 24)));
  });
  return h("div.chain", { tabindex: "0", role: "group", "aria-label": "Chain of causes" },
    s("svg", { width: wide, height: high, viewBox: `0 0 ${wide} ${high}` }, links, boxes));
}

/** Those of a chain that are nearest to one of them, as many as can be drawn. */
function around(events, here) {
  const first = Math.max(0, events.findIndex((own) => own.id === here.id) - DRAWN_MAX / 2);
  return events.slice(first, first + DRAWN_MAX);
}

/** A place that finds and draws the chain. */
export function chainPlace(event, signal) {
  const place = h("div");
  const look = async (reach) => {
    put(place, h("p.quiet", { role: "status" }, "Looking for what belongs together…"));
    try {
      const events = await findChain(event, reach, signal);
      const bounds = `among the nearest ${count(SHARED * reach)} events each way that share a tag or its stream, and ${count(NEAR * reach)} around it in the log`;
      put(place,
        events.length < 2 ? h("p.quiet", {}, `No other event of this chain was found ${bounds}.`) :
          [drawChain(around(events, event), event), h("p.quiet.small-text", {}, `${count(events.length)} events, found ${bounds}.${events.length > DRAWN_MAX ? ` The ${DRAWN_MAX} nearest are drawn.` : ""}`)],
        reach < REACH_MAX && h("button.small", { type: "button", onclick: () => look(reach * FURTHER) }, "Look further"));
    } catch (error) {
      if (!signal.aborted) put(place, h("p.quiet", {}, error.message));
    }
  };
  look(1);
  return place;
}
