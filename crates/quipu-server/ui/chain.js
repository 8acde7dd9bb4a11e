// Which events led to which: the chain that an event's metadata tells, drawn.
//
// The log has no index of metadata. What belongs together nearly always shares a tag or a stream, or
// is near in the log, so that is where the others are looked for, within bounds that are told.

import { h, put, s } from "./dom.js";
import { get, path } from "./api.js";
import { colour } from "./shapes.js";
import { quoted, short } from "./format.js";
import { link } from "./address.js";

const NEAR = 300;
const SHARED = 500;

const of = (event, key) => event.metadata && typeof event.metadata === "object" ? event.metadata[key] : undefined;

/** Whether the event's metadata tells of a chain. */
export const hasChain = (event) => of(event, "$correlationId") !== undefined || of(event, "$causationId") !== undefined;

/** Looks for the events that belong to the event's chain. */
export async function findChain(event, signal) {
  const correlation = of(event, "$correlationId");
  const terms = [`stream:${quoted(event.stream)}`, ...event.tags.slice(0, 16).map((tag) => `tag:${quoted(tag)}`)];
  const from = Math.max(1, event.position - NEAR / 2);
  const pages = await Promise.all([
    get(path("/events", { query: terms, limit: SHARED, direction: "backward" }), { signal }),
    get(path("/events", { from, limit: NEAR }), { signal }),
    get(path("/events", { query: terms, from: event.position, limit: SHARED }), { signal }),
  ]);
  const found = new Map([[event.id, event]]);
  for (const own of pages.flatMap((page) => page.events)) found.set(own.id, own);
  const belongs = (own) => correlation !== undefined ? of(own, "$correlationId") === correlation || own.id === correlation : false;
  const chain = new Map([[event.id, event]]);
  for (const own of found.values()) if (belongs(own)) chain.set(own.id, own);
  // Causes and effects, also where nothing tells of a correlation.
  for (let grew = true; grew;) {
    grew = false;
    for (const own of found.values()) {
      const isLinked = chain.has(of(own, "$causationId")) || [...chain.values()].some((other) => of(other, "$causationId") === own.id);
      if (!chain.has(own.id) && isLinked) { chain.set(own.id, own); grew = true; }
    }
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
    const cause = byId.get(of(event, "$causationId"));
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

/** A place that finds and draws the chain. */
export function chainPlace(event, signal) {
  const place = h("div", {}, h("p.quiet", {}, "Looking for what belongs together…"));
  findChain(event, signal).then((events) => {
    if (events.length < 2) put(place, h("p.quiet", {}, "No other event of this chain shares a tag or a stream with it, or is near it in the log."));
    else put(place, drawChain(events, event), h("p.quiet.small-text", {}, `${events.length} events. They are looked for where they share a tag or a stream, and near in the log.`));
  }).catch((error) => { if (!signal.aborted) put(place, h("p.quiet", {}, error.message)); });
  return place;
}
