// How the store is, drawn live: the log as a quipu, its numbers, what runs on it.

import { empty, h, keepFocus, put, s } from "./dom.js";
import { follow, get, path, session } from "./api.js";
import { ago, category, count, quoted, size, span } from "./format.js";
import { categories, learn } from "./names.js";
import { colour, knot, sparkline, streamLink, typeLabel } from "./shapes.js";
import { link } from "./address.js";
import { quantiles, rate, readMetrics, total } from "./metrics.js";

const CATEGORIES = 9;
const CORDS = 18;
const KNOTS = 13;
const HISTORY = 60;
const SUBSCRIBERS = 8;

export async function show(root, _, signal) {
  const mayRead = session.may("read");
  const drawing = h("figure.card");
  const tiles = h("section.tiles", { "aria-label": "Numbers" });
  const recent = h("section.card", {}, h("div.row.apart", {}, h("h2", {}, "Newest events"), h("a.small-text", { href: link("events", { live: "1" }) }, "Follow them")), h("div", {}));
  const running = h("section.card", {}, h("h2", {}, "Consumers"), h("div", {}));
  const following = h("section.card", {}, h("h2", {}, "Subscribers"), h("div", {}));
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Overview"), h("p", {}, mayRead ? "Every cord is a category of streams, every knot an event. New ones are tied where the cord is held." : "What this store takes and does."))),
    h("div.stack", {}, mayRead && drawing, tiles, h("div.columns", {}, mayRead ? recent : null, h("div.stack", {}, running, following))));
  const parts = [numbers(tiles, signal)];
  if (mayRead) parts.push(cords(drawing, recent.lastElementChild, signal));
  if (session.may("consume") || session.may("operate")) parts.push(consumers(running.lastElementChild, signal));
  else running.hidden = true;
  if (session.may("operate")) parts.push(subscribers(following.lastElementChild, signal));
  else following.hidden = true;
  await Promise.all(parts);
}

/** The log as a quipu: categories as pendant cords, their newest events as knots. */
async function cords(place, newest, signal) {
  const [found, page] = await Promise.all([
    categories().catch(() => []),
    get(path("/events", { direction: "backward", limit: 300 }), { signal }),
  ]);
  learn(page.events);
  const events = page.events.filter((event) => !event.stream.startsWith("$"));
  const names = found.sort((a, b) => b.event_count - a.event_count).slice(0, CATEGORIES).map((own) => own.name);
  for (const event of events) {
    const own = category(event.stream);
    if (!names.includes(own) && names.length < CATEGORIES) names.push(own);
  }
  const table = newestTable(newest, events.slice(0, 9));
  if (names.length === 0) {
    put(place, empty("The main cord is bare", "Nothing has happened yet.", h("a.button.primary", { href: link("start") }, "Tie the first knot")));
  }
  const counts = new Map(found.map((own) => [own.name, own.event_count]));
  const drawn = names.length > 0 ? draw(place, names.map((name) => ({ name, count: counts.get(name) ?? 0, types: typesOf(name, events) }))) : null;
  for (const event of [...events].reverse()) drawn?.tie(event, false);
  const after = page.frontier;
  let waiting = [];
  let due = null;
  follow(path("/subscribe", { after }), {
    signal,
    onEvent: (event) => {
      if (event.stream.startsWith("$")) return;
      waiting.push(event);
      // What comes within one frame is drawn once; of a flood, the end is seen.
      due ??= requestAnimationFrame(() => {
        due = null;
        const all = waiting.splice(0).slice(-60);
        learn(all);
        if (!drawn) { cords(place, newest, signal); return; }
        for (const own of all) drawn.tie(own, true);
        table.add(all);
      });
    },
  });
  const timer = setInterval(() => table.age(), 5_000);
  signal.addEventListener("abort", () => { clearInterval(timer); waiting = []; });
}

/** The types of a category's newest events, the most frequent first. */
function typesOf(name, events) {
  const types = new Map();
  for (const event of events) if (category(event.stream) === name) types.set(event.type, (types.get(event.type) ?? 0) + 1);
  return [...types].sort((a, b) => b[1] - a[1]).map(([type]) => type);
}

/** Draws a group of cords for each category: one for each of its types, as far as there is room. */
function draw(place, groups) {
  const [width, height, top] = [1000, 300, 40];
  const svg = s("svg.cords", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "The log as a quipu" });
  const sag = (x) => top + 13 * (1 - ((x - 500) / 500) ** 2);
  const cord = `M18 ${sag(18)}Q500 ${top + 26} 982 ${sag(982)}`;
  svg.append(s("path.main-cord", { d: cord }), s("path.twist", { d: cord }));
  const room = Math.max(1, Math.floor(CORDS / groups.length));
  const gap = 960 / groups.length;
  const drawn = new Map();
  const shown = new Set();
  groups.forEach((group, at) => {
    // The last cord takes what has none of its own, new types too.
    const types = group.types.slice(0, room);
    const middle = 20 + gap * (at + 0.5);
    const apart = Math.min(58, (gap - 24) / Math.max(types.length, 1));
    const anchor = s("a", { href: link("events", { q: `category:${group.name}`, live: "1" }) });
    const cords = (types.length > 0 ? types : [null]).map((type, index, all) => {
      const x = middle + (index - (all.length - 1) / 2) * apart;
      const y = sag(x);
      const lean = (index + at) % 2 === 0 ? 6 : -6;
      const knots = s("g", { "aria-hidden": "true" });
      const fall = height - y - 62;
      anchor.append(s("path.pendant", { d: `M${x} ${y}q${lean} ${fall / 3} 0 ${fall * 2 / 3}t0 ${fall / 3}`, style: { stroke: type ? colour(type) : "" } }), knots);
      if (type) shown.add(type);
      return { x, y, knots, ties: [] };
    });
    const total = s("text.sub", { x: middle, y: height - 8, "text-anchor": "middle" }, count(group.count));
    anchor.append(s("text", { x: middle, y: height - 26, "text-anchor": "middle" }, group.name.length > 17 ? `${group.name.slice(0, 16)}…` : group.name), total);
    svg.append(anchor);
    drawn.set(group.name, { cords, types, total, number: group.count });
  });
  put(place, svg, h("figcaption.chips", {}, [...shown].map((type) => h("a.chip", { href: link("events", { q: `type:${quoted(type)}` }) }, typeLabel(type)))));
  return {
    tie(event, isFresh) {
      const group = drawn.get(category(event.stream));
      if (!group) return;
      const index = group.types.indexOf(event.type);
      const own = group.cords[index < 0 ? group.cords.length - 1 : index];
      const tied = knot(own.x, own.y - 14, event.type, 1.12);
      tied.append(s("title", {}, `${event.type} in ${event.stream}`));
      own.knots.append(tied);
      own.ties.unshift(tied);
      if (own.ties.length > KNOTS) own.ties.pop().remove();
      if (isFresh) { group.number += 1; group.total.textContent = count(group.number); tied.getBoundingClientRect(); }
      own.ties.forEach((each, at) => {
        const y = own.y + 18 + at * 13.6;
        each.setAttribute("transform", `translate(${own.x} ${y})`);
        each.style.transform = `translate(${own.x}px, ${y}px)`;
        each.style.opacity = String(1 - Math.max(0, at - KNOTS + 5) * 0.18);
      });
    },
  };
}

function newestTable(place, events) {
  const body = h("tbody");
  put(place, h("table", {}, h("caption.offscreen", {}, "Newest events"), body));
  const row = (event) => h("tr", {}, h("td", {}, h("a", { href: link("events", { event: event.position }) }, typeLabel(event.type))), h("td", {}, streamLink(event.stream)), h("td.quiet.number", { "data-time": event.time }, ago(event.time)));
  body.append(...events.map(row));
  return {
    add(all) {
      body.prepend(...[...all].reverse().slice(0, 9).map(row));
      while (body.rows.length > 9) body.lastElementChild.remove();
    },
    age() { for (const cell of body.querySelectorAll("[data-time]")) cell.textContent = ago(cell.dataset.time); },
  };
}

/** The numbers, read every second. */
async function numbers(place, signal) {
  const tile = (name, explains) => {
    const value = h("p.value", {}, "–");
    const detail = h("small", {}, " ");
    const chart = h("span");
    place.append(h("div.tile", { title: explains }, h("h2.name", {}, name), value, detail, chart));
    return (text, more = " ", history) => {
      value.textContent = text;
      detail.textContent = more;
      if (history) put(chart, sparkline(history.values, history.stroke));
    };
  };
  const mayOperate = session.may("operate");
  const set = {
    events: tile("Events", "The position of the last event that readers see: the watermark"),
    streams: session.may("read") && tile("Streams", "Streams that ever had an event"),
    ...mayOperate && {
      rate: tile("Appended", "Events appended a second"), latency: tile("Append latency", "From taking an append to its answer, waiting and syncing included"),
      reads: tile("Read", "Events that reads gave, a second"), subscribers: tile("Subscribers", "Subscriptions that are open now"),
      disk: tile("Disk", "What the store takes of the disk"), memory: tile("Memory", "Memory of the server's process"),
    },
  };
  const history = { rate: [], latency: [], reads: [] };
  const keep = (list, value) => { list.push(value); if (list.length > HISTORY) list.shift(); return list; };
  let before = null;
  const readings = [];
  const look = async () => {
    if (mayOperate) {
      const now = await readMetrics(signal);
      readings.push(now);
      if (readings.length > 15) readings.shift();
      const of = (name) => now.values.get(name);
      set.events(count(of("quipu_frontier")), `watermark at ${count(of("quipu_frontier"))}`);
      if (before) {
        const since = readings[0];
        const appended = rate(before, now, "quipu_appended_events_total");
        set.rate(`${count(Math.round(rate(since, now, "quipu_appended_events_total") * 10) / 10)}/s`, `${count(total(now, "quipu_changes_total"))} appends`, { values: keep(history.rate, appended), stroke: colour("rate") });
        const [p50, p99] = quantiles(since, now, "quipu_change_duration_seconds", [0.5, 0.99]);
        set.latency(p50 === null ? "–" : span(p50), p99 === null ? "none just now" : `99 % within ${span(p99)}`, { values: keep(history.latency, p50 ?? 0), stroke: "var(--indigo)" });
        const reads = rate(before, now, "quipu_read_events_total") + rate(before, now, "quipu_delivered_events_total");
        set.reads(`${count(Math.round(reads))}/s`, "events a second", { values: keep(history.reads, reads), stroke: "var(--moss)" });
      }
      set.subscribers(count(of("quipu_subscriptions")), `slowest ${count(of("quipu_subscription_lag"))} behind`);
      const disk = total(now, "quipu_disk_bytes");
      set.disk(disk === 0 ? "–" : size(disk), disk === 0 ? "in memory" : `log ${size(of('quipu_disk_bytes{part="log"}'))}, index ${size(of('quipu_disk_bytes{part="index"}'))}`);
      set.memory(size(of("quipu_resident_memory_bytes")), `${count(of("quipu_open_files"))} open files`);
      before = now;
    }
    if (set.streams) {
      const found = await get("/categories?limit=1000", { signal }).catch(() => null);
      if (!mayOperate && found) set.events(count(found.frontier));
      set.streams(found ? count(found.stream_count) : "–", found ? `in ${count(found.categories.length)}${found.next ? "+" : ""} categories` : "not all may be read");
    }
  };
  const loop = async () => {
    while (!signal.aborted) {
      await look().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5_000 : 1_000));
    }
  };
  loop();
}

/** Shows again and again what `look` makes, until the page goes. */
function keepLooking(place, signal, look) {
  const loop = async () => {
    while (!signal.aborted) {
      await look().then((own) => keepFocus(place, () => put(place, own))).catch((error) => { if (!signal.aborted && error.status !== 0) put(place, h("p.quiet", {}, error.message)); });
      await new Promise((resolve) => setTimeout(resolve, 2_000));
    }
  };
  loop();
}

async function consumers(place, signal) {
  keepLooking(place, signal, async () => {
    const { components } = await get("/components", { signal });
    if (components.length === 0) return h("p.quiet", {}, "No projection, process, relay or group has reported.");
    return h("table", {}, h("caption.offscreen", {}, "Consumers"), h("tbody", {}, components.map((own) => h("tr", {},
      h("td", {}, h("a", { href: link("consumers", { c: keyOf(own) }), "data-key": keyOf(own) }, own.name), h("div.quiet.small-text", {}, own.kind)),
      h("td", {}, h(`span.state.${own.state}`, {}, own.state)),
      h("td.number.quiet", {}, behind(own.lag)),
      h("td.number", {}, own.parked_count > 0 ? `${count(own.parked_count)} parked` : "")))));
  });
}

const keyOf = (own) => `${own.kind}/${own.name}/${own.version}`;

const behind = (lag) => lag === 0 ? "up to date" : `${count(lag)} behind`;

/** Who has subscriptions open, the slowest first; this page's own are among them. */
async function subscribers(place, signal) {
  keepLooking(place, signal, async () => {
    const { subscriptions, count: all } = await get(path("/subscriptions", { limit: SUBSCRIBERS }), { signal });
    if (all === 0) return h("p.quiet", {}, "Nobody follows the log.");
    return [h("table", {}, h("caption.offscreen", {}, "Subscribers"), h("tbody", {}, subscriptions.map((own) => h("tr", {},
      h("td", {}, own.queries.map((query) => query || "every event").join(" or ") || "nothing", h("div.quiet.small-text", {}, `${own.principal}, opened ${ago(own.opened_at)}`)),
      h("td", {}, h(`span.state.${own.state}`, {}, own.state)),
      h("td.number.quiet", {}, own.lag === null ? `${count(own.event_count)} events` : behind(own.lag)))))),
    all > subscriptions.length && h("p.quiet.small-text", {}, `and ${count(all - subscriptions.length)} more`)];
  });
}
