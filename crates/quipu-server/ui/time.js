// A stream or a query through time: what was known at each point, and what each event changed.

import { empty, field, h, problemBox, put, s } from "./dom.js";
import { get, path, streamPath } from "./api.js";
import { count, short, time } from "./format.js";
import { changesAt, compare, foldTo } from "./fold.js";
import { queryField } from "./query.js";
import { colour, typeLabel } from "./shapes.js";
import { go, link, note } from "./address.js";

const PAGE = 1_000;
const EVENTS_MAX = 5_000;

export async function show(root, params, signal) {
  const stream = params.get("stream");
  const queries = params.getAll("q");
  const asOf = params.get("asof") ?? "";
  const start = stream ? `stream:${/[\s",\\]/.test(stream) ? JSON.stringify(stream) : stream}` : queries[0] ?? "";
  const query = queryField({ value: start, placeholder: "stream:order-1001 or tag:order:1001", label: "What to follow", onSubmit: submit });
  const at = h("input", { type: "text", value: asOf, placeholder: "position, time or date", size: 22 });
  const place = h("div.stack.gap-top");
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Time travel"), h("p", {}, "Follow a stream, or whatever a query finds, from its first event on: what was known, and what each event changed."))),
    h("form.card.row.bottom", { role: "search", onsubmit: (event) => { event.preventDefault(); submit(); } },
      h("div.field.wide", {}, h("span.small-text.quiet", {}, "A stream or a query"), query.element),
      field("As the log was", at),
      h("button.primary", { type: "submit" }, "Follow")),
    place);

  function submit() {
    const text = query.input.value.trim();
    const only = /^stream:("(?:[^"\\]|\\.)*"|\S+)$/.exec(text);
    const name = only && (only[1].startsWith('"') ? JSON.parse(only[1]) : only[1]);
    go("time", { stream: name, q: name ? null : text, asof: at.value });
  }

  if (!stream && queries.length === 0) {
    await propose(place, signal);
    return;
  }
  try {
    const loaded = await load({ stream, queries, asOf, place, signal });
    if (loaded.events.length === 0) put(place, empty("Nothing to follow", asOf ? "There was nothing at that moment." : "No event matches."));
    else travel(place, loaded, { params, signal });
  } catch (error) {
    if (!signal.aborted) put(place, problemBox(error));
  }
}

/** Without a choice: things of the newest events that have a history. */
async function propose(place, signal) {
  const { events } = await get(path("/events", { direction: "backward", limit: 200 }), { signal });
  const seen = new Map();
  for (const event of events) {
    if (event.stream.startsWith("$")) continue;
    for (const own of [`tag:${event.tags.find((tag) => tag.includes(":")) ?? ""}`, `stream:${event.stream}`]) {
      if (own !== "tag:") seen.set(own, (seen.get(own) ?? 0) + 1);
    }
  }
  const best = [...seen].sort((a, b) => b[1] - a[1]).slice(0, 12).map(([text]) => text);
  put(place, h("div.card", {}, h("h2", {}, "For instance"), best.length === 0 ? h("p.quiet", {}, "The log is empty.") :
    h("div.chips", {}, best.map((text) => h("a.chip.mono", { href: text.startsWith("stream:") ? link("time", { stream: text.slice(7) }) : link("time", { q: text }) }, text)))));
}

/** Reads the first events, a page at a time. */
async function load({ stream, queries, asOf, place, signal }) {
  const base = stream ? streamPath(stream) : "/events";
  const params = stream ? { limit: PAGE, as_of: asOf } : { query: queries, limit: PAGE, as_of: asOf };
  const events = [];
  let next = path(base, params);
  const told = h("p.quiet", { role: "status" }, "Reading…");
  put(place, told);
  while (next && events.length < EVENTS_MAX) {
    const page = await get(next, { signal });
    events.push(...page.events.filter((event) => stream || !event.stream.startsWith("$")));
    next = page.next;
    told.textContent = `${count(events.length)} events read…`;
  }
  return { events, isCut: Boolean(next) };
}

function travel(place, { events, isCut }, { params, signal }) {
  const last = events.length - 1;
  const within = (value, otherwise) => {
    const number = Number(value);
    return value === null || !Number.isInteger(number) ? otherwise : Math.min(Math.max(number, 0), last);
  };
  let at = within(params.get("at"), last);
  let other = params.has("b") ? within(params.get("b"), last) : null;

  const line = timeline(events, (index) => move(index));
  const slider = h("input", { type: "range", min: 0, max: last, value: at, "aria-label": "Event", oninput: () => move(Number(slider.value)) });
  const label = h("output.number");
  const when = h("input", { type: "text", placeholder: "2026-11-30 or a time", size: 20 });
  const button = (text, title, then) => h("button", { type: "button", title, "aria-label": title, onclick: then }, text);
  const play = button("Play", "Play", () => playing ? stop() : begin());
  const second = button("Compare with…", "Compare with…", () => { other = other === null ? Math.max(0, at - 1) : null; draw(); });
  const picker = h("input", { type: "range", min: 0, max: last, "aria-label": "The other event", oninput: () => { other = Number(picker.value); draw(); } });
  const pickerRow = h("label.field", {}, h("span", {}, "The other moment"), picker);
  const knownTable = h("div");
  const knownPlace = h("section.card.stack", { "aria-live": "off" }, pickerRow, knownTable);
  const changedPlace = h("section.card");
  let playing = null;

  function stop() { clearInterval(playing); playing = null; play.textContent = "Play"; }
  function begin() {
    if (at === last) at = -1;
    playing = setInterval(() => { if (at >= last) stop(); else move(at + 1, true); }, 900);
    play.textContent = "Pause";
  }
  signal.addEventListener("abort", stop);

  function move(index, isPlaying = false) {
    if (!isPlaying) stop();
    at = Math.min(Math.max(index, 0), last);
    draw();
  }
  function moveTo(text) {
    const wanted = Date.parse(/^\d{4}-\d\d-\d\d$/.test(text.trim()) ? `${text.trim()}T00:00:00Z` : /Z|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.trim().replace(" ", "T")}Z`);
    if (Number.isNaN(wanted)) { when.setCustomValidity("a date such as 2026-11-30, or a time"); when.reportValidity(); return; }
    when.setCustomValidity("");
    // The last event not after it; before the first one nothing was known.
    let index = -1;
    while (index < last && Date.parse(events[index + 1].time) <= wanted) index += 1;
    if (index < 0) { when.setCustomValidity("before the first event"); when.reportValidity(); return; }
    move(index);
  }

  function draw() {
    slider.value = at;
    const event = events[at];
    label.textContent = `${count(at + 1)} of ${count(events.length)} · ${time(event.time)} UTC`;
    slider.setAttribute("aria-valuetext", `${event.type}, ${label.textContent}`);
    line.mark(at, other);
    note({ at, b: other });
    second.setAttribute("aria-pressed", other !== null);
    put(changedPlace, changes(events, at));
    pickerRow.hidden = other === null;
    picker.value = other ?? 0;
    put(knownTable, other === null ? known(events, at) : sideBySide(events, at, other));
  }

  put(place,
    h("section.card.stack", { "aria-label": "Timeline" },
      line.element, slider,
      h("div.row.apart", {},
        h("div.row", {}, button("⇤", "First event", () => move(0)), button("←", "Event before", () => move(at - 1)), play, button("→", "Event after", () => move(at + 1)), button("⇥", "Last event", () => move(last)), label),
        h("form.row", { onsubmit: (event) => { event.preventDefault(); moveTo(when.value); } }, h("label.row", {}, "As of", when), h("button", { type: "submit" }, "Go"), second))),
    isCut && h("p.notice", {}, `Shown are the first ${count(events.length)} events. Narrow the query, or ask for a moment with “As the log was”.`),
    h("div.columns", {}, knownPlace, changedPlace));
  draw();
}

/** What the event is, and what it changed. */
function changes(events, at) {
  const event = events[at];
  const all = changesAt(events, at);
  return [
    h("h2", {}, typeLabel(event.type)),
    h("p.quiet", {}, h("a", { href: link("events", { event: event.position }) }, `position ${count(event.position)}`), ` in ${event.stream}`),
    h("h3", {}, "What it changed"),
    event.data === undefined ? h("p.quiet", {}, "Its data is not JSON, or was erased.") :
      all.length === 0 ? h("p.quiet", {}, "Nothing that was not known before.") :
        h("ul.diff", {}, all.map((own) => h(`li.${own.kind}`, {}, h("span.offscreen", {}, own.kind), `${own.path}: `,
          own.kind === "altered" && [h("span.was", {}, text(own.was)), " → "], text(own.value)))),
  ];
}

const text = (value) => short(JSON.stringify(value) ?? "", 300);

/** Everything that is known at a point. */
function known(events, at) {
  const fields = foldTo(events, at);
  return [
    h("h2", {}, "What was known"),
    fields.size === 0 ? h("p.quiet", {}, "Nothing: no event had JSON data.") :
      h("div.scroll", { tabindex: "0", role: "group", "aria-label": "What was known" }, h("table.fold", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Field"), h("th", { scope: "col" }, "Value"), h("th", { scope: "col" }, "Last written by"))),
        h("tbody", {}, [...fields].map(([name, own]) => h(`tr${own.isChanged ? ".changed" : ""}`, {}, h("td", {}, name), h("td", {}, text(own.value)), h("td.by", {}, typeLabel(own.by.type))))))),
  ];
}

function sideBySide(events, at, other) {
  const rows = compare(foldTo(events, other), foldTo(events, at));
  const head = (index, name) => [h("strong", {}, name), h("div.quiet.small-text", {}, `${count(index + 1)} · ${time(events[index].time)}`)];
  return [
    h("h2", {}, "Side by side"),
    h("div.scroll", { tabindex: "0", role: "group", "aria-label": "Two moments" }, h("table.fold", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Field"), h("th", { scope: "col" }, head(other, "The other")), h("th", { scope: "col" }, head(at, "This")))),
      h("tbody", {}, rows.map((own) => h(`tr${own.differs ? ".differs" : ""}`, {}, h("td", {}, own.path), h("td", {}, own.a ? text(own.a.value) : "–"), h("td", {}, own.b ? text(own.b.value) : "–")))))),
  ];
}

/** The cord of the events, at their times, with a cursor that can be dragged. */
function timeline(events, onMove) {
  const [width, high] = [1000, 74];
  const times = events.map((event) => Date.parse(event.time));
  const [first, end] = [times[0], times.at(-1)];
  // By time, but no two knots on one place: half of the place is shared out evenly.
  const x = (index) => {
    const even = events.length > 1 ? index / (events.length - 1) : 0.5;
    const real = end > first ? (times[index] - first) / (end - first) : even;
    return 20 + 960 * (0.5 * even + 0.5 * real);
  };
  const step = Math.max(1, Math.floor(events.length / 400));
  const knots = [];
  for (let index = 0; index < events.length; index += step) {
    knots.push(s("ellipse", { cx: x(index), cy: 34, rx: events.length > 80 ? 2.6 : 6.5, ry: events.length > 80 ? 6 : 5, fill: colour(events[index].type) }, s("title", {}, `${events[index].type} ${time(events[index].time)}`)));
  }
  const past = s("line.past", { x1: 20, y1: 34, y2: 34 });
  const cursor = s("line.cursor", { y1: 10, y2: 58 });
  const second = s("line.second", { y1: 10, y2: 58 });
  const element = s("svg.timeline", { viewBox: `0 0 ${width} ${high}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    s("line.axis", { x1: 20, x2: 980, y1: 34, y2: 34 }), past, knots, second, cursor,
    s("text", { x: 20, y: 71 }, time(events[0].time).slice(0, 16)), s("text", { x: 980, y: 71, "text-anchor": "end" }, time(events.at(-1).time).slice(0, 16)));
  const pick = (event) => {
    const box = element.getBoundingClientRect();
    const wanted = (event.clientX - box.left) / box.width * width;
    let [low, up] = [0, events.length - 1];
    while (low < up) { const middle = (low + up) >> 1; if (x(middle) < wanted) low = middle + 1; else up = middle; }
    onMove(low > 0 && wanted - x(low - 1) < x(low) - wanted ? low - 1 : low);
  };
  element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); pick(event); });
  element.addEventListener("pointermove", (event) => { if (event.buttons === 1) pick(event); });
  return {
    element,
    mark(at, other) {
      for (const own of [cursor]) { own.setAttribute("x1", x(at)); own.setAttribute("x2", x(at)); }
      past.setAttribute("x2", x(at));
      second.style.display = other === null ? "none" : "";
      if (other !== null) { second.setAttribute("x1", x(other)); second.setAttribute("x2", x(other)); }
    },
  };
}
