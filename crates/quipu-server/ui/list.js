// Events as a table that can be paged both ways without end, with one of them beside it in detail.

import { empty, h, problemBox, put } from "./dom.js";
import { get, path } from "./api.js";
import { count, preview, time } from "./format.js";
import { learn } from "./names.js";
import { showDetail } from "./detail.js";
import { streamLink, typeLabel } from "./shapes.js";
import { current, link, note } from "./address.js";

const PAGE = 50;
const ROWS_MAX = 400;

/**
 * Makes the table. `source` says where the events are: `{ base, query, asOf, place }`, where `place`
 * is "position" in the log and "revision" in a stream. Newest are on top.
 */
export function eventList({ source, start, selected, signal, withStream = true, showReserved = false }) {
  const body = h("tbody");
  const newer = h("button.small", { type: "button", onclick: () => load("newer"), hidden: true }, "↑ Newer");
  const older = h("button.small", { type: "button", onclick: () => load("older"), hidden: true }, "↓ Older");
  const status = h("p.quiet.small-text", { role: "status" });
  const aside = h("aside.card.detail", { hidden: true, "aria-label": "Event" });
  const columns = [["at number", source.place === "revision" ? "Revision" : "Position"], ["when", "Recorded (UTC)"], withStream && ["in", "Stream"], ["what", "Type"], ["data", "Data"]].filter(Boolean);
  const table = h("table.events", {},
    h("caption.offscreen", {}, "Events, the newest first"),
    h("thead", {}, h("tr", {}, columns.map(([own, title]) => h("th", { class: own, scope: "col" }, title)))), body);
  const message = h("div");
  const left = h("div.stack", {}, h("div.row.apart", {}, status, newer), h("div.card.scroll", { tabindex: "0", role: "group", "aria-label": "Events" }, table, message), h("div.row", {}, older));
  const element = h("div.browse", {}, left, aside);
  const rows = new Map();
  let ends = { low: null, high: null, hasOlder: true, hasNewer: false };
  let busy = false;
  let wanted = null;

  const place = (event) => event[source.place];
  const isShown = (event) => showReserved || !(event.stream.startsWith("$") || event.type.startsWith("$"));

  function row(event, isFresh) {
    const own = h(`tr${isFresh ? ".fresh" : ""}`, { "data-position": event.position },
      h("td.at.number", {}, h("a", { href: link(current().page, { ...Object.fromEntries(current().params), event: event.position }), onclick: (click) => { click.preventDefault(); select(event.position); } }, count(place(event)))),
      h("td.when.number", {}, time(event.time)),
      withStream && h("td.in", {}, streamLink(event.stream)),
      h("td.what", {}, typeLabel(event.type)),
      h("td.data", {}, preview(event)));
    rows.set(event.position, own);
    return own;
  }

  function insert(events, where, isFresh = false) {
    learn(events);
    const shown = events.filter(isShown).map((event) => row(event, isFresh));
    if (where === "top") body.prepend(...shown); else body.append(...shown);
    for (const event of events) {
      const at = place(event);
      if (ends.low === null || at < ends.low) ends.low = at;
      if (ends.high === null || at > ends.high) ends.high = at;
    }
    trim(where);
    tell();
  }

  // As many rows as one can look through stay; what falls out comes again from the server.
  function trim(where) {
    while (body.rows.length > ROWS_MAX) {
      const out = where === "top" ? body.lastElementChild : body.firstElementChild;
      out.remove();
      rows.delete(Number(out.dataset.position));
      if (where === "top") ends.hasOlder = true; else ends.hasNewer = true;
    }
    const edge = where === "top" ? body.lastElementChild : body.firstElementChild;
    if (!edge) return;
    const at = Number(edge.querySelector(".at").textContent.replaceAll(",", ""));
    if (where === "top" && ends.hasOlder) ends.low = Math.max(ends.low, Math.min(at, ends.high));
    if (where !== "top" && ends.hasNewer) ends.high = at;
  }

  function tell() {
    older.hidden = !ends.hasOlder;
    newer.hidden = !ends.hasNewer;
    status.textContent = body.rows.length === 0 ? "" : `${count(body.rows.length)} shown, ${source.place}s ${count(ends.low)} to ${count(ends.high)}`;
    put(message, body.rows.length === 0 && !busy && empty("No events", source.asOf ? "There was nothing that matches at that moment." : "Nothing matches, or nothing has happened yet."));
    table.hidden = body.rows.length === 0;
  }

  async function read(direction, from) {
    const params = { query: source.query, from, direction, limit: PAGE, as_of: source.asOf };
    return get(path(source.base, params), { signal });
  }

  async function load(where) {
    if (signal.aborted) return;
    // Newer ones that somebody asks for while older ones are read come after them.
    if (busy) { if (where === "newer") wanted = where; return; }
    busy = true;
    put(message);
    try {
      if (where === "newer") {
        const page = await read("forward", ends.high === null ? undefined : ends.high + 1);
        ends.hasNewer = page.next !== null;
        insert(page.events.reverse(), "top");
      } else {
        const from = ends.low === null ? start : ends.low - 1;
        if (ends.low === 0 || from === 0 && source.place === "position") { ends.hasOlder = false; return; }
        const page = await read("backward", from);
        ends.hasOlder = page.next !== null;
        insert(page.events, "bottom");
      }
    } catch (error) {
      if (!signal.aborted) put(message, problemBox(error, () => load(where)));
      older.hidden = true;
      return;
    } finally {
      busy = false;
      const next = wanted;
      wanted = null;
      if (next) load(next);
    }
    tell();
  }

  async function select(position, isStep = true) {
    if (isStep) note({ event: position });
    for (const own of body.rows) own.classList.toggle("chosen", Number(own.dataset.position) === Number(position));
    aside.hidden = position === null;
    element.classList.toggle("open", position !== null);
    if (position === null) {
      const last = rows.get(Number(selected));
      last?.querySelector("a")?.focus();
      return;
    }
    selected = position;
    await showDetail(aside, position, { onClose: () => select(null), signal });
    if (isStep) aside.querySelector("h2")?.focus();
  }

  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !aside.hidden) { select(null); return; }
    if (!["ArrowDown", "ArrowUp"].includes(event.key) || !event.target.closest?.("tbody")) return;
    event.preventDefault();
    const own = event.target.closest("tr");
    const next = event.key === "ArrowDown" ? own.nextElementSibling : own.previousElementSibling;
    next?.querySelector("a").focus();
  });
  addEventListener("quipu-event", (event) => { if (!signal.aborted) select(event.detail); }, { signal });
  // The next page comes by itself when its place comes into view.
  const watcher = new IntersectionObserver((entries) => { if (entries.some((own) => own.isIntersecting) && !older.hidden && body.rows.length > 0) load("older"); }, { rootMargin: "300px" });
  watcher.observe(older);
  signal.addEventListener("abort", () => watcher.disconnect());

  const ready = (async () => {
    ends.hasNewer = start !== undefined;
    await load("older");
    if (selected) await select(Number(selected), false);
  })();
  return {
    element,
    ready,
    /** Puts events that have just come on top. */
    arrived(events) { if (!ends.hasNewer) insert([...events].reverse(), "top", true); },
    get high() { return ends.high; },
  };
}
