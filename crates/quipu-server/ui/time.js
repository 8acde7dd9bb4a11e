// A stream or a query through time: what was known at each point, and what each event changed.

import { empty, field, h, problemBox, put, s, toast } from "./dom.js";
import { get, path } from "./api.js";
import { count, short, time } from "./format.js";
import { compare } from "./fold.js";
import { Past } from "./past.js";
import { queryField } from "./query.js";
import { colour, typeLabel } from "./shapes.js";
import { go, link, note } from "./address.js";

const ROWS_MAX = 300;
const KNOTS_MAX = 400;

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
    const moment = asOf || await now(signal);
    await begin(place, new Past({ stream, queries, asOf: moment }), { through: Number(moment), params, signal });
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

/** Where the log ends, as text for `as_of`: what was read can be read again then. */
const now = async (signal) => String((await get("/frontier", { signal })).frontier);

/** Reads the past, and lets one travel in what was read so far. */
function begin(place, past, { through, params, signal }) {
  const bar = h("progress", { "aria-label": "Reading" });
  const told = h("span.quiet", { role: "status" }, "Reading…");
  const button = h("button.small", { type: "button" });
  const reading = h("div.card.row.reading", {}, told, bar, button);
  const view = h("div.stack");
  put(place, h("div.stack", {}, reading, view));
  if (Number.isInteger(through)) bar.max = Math.max(through, 1);
  let shown = null;
  let stop = null;
  let due = 0;

  function tell() {
    if (past.length === 0 && !past.isComplete) return;
    const time = performance.now();
    if (time < due && stop && !past.isComplete) return;
    due = time + 300;
    if (bar.max > 1) bar.value = Math.min(past.position, bar.max);
    told.textContent = `${count(past.length)} events read${past.length > 0 ? `, up to ${stamp(past.timeOf(past.length - 1))}` : ""}`;
    reading.hidden = past.isComplete;
    if (past.length === 0) put(view, empty("Nothing to follow", "No event matches, or there was nothing at that moment."));
    else if (shown === null) shown = travel(view, past, { params, signal });
    else shown.grew();
  }

  async function read() {
    stop = new AbortController();
    signal.addEventListener("abort", () => stop?.abort());
    button.textContent = "Stop";
    bar.hidden = false;
    try {
      await past.read(tell, stop.signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!stop.signal.aborted && past.length === 0) { put(place, problemBox(error)); return; }
      if (!stop.signal.aborted) toast(error.message, "wrong");
      told.textContent = `Stopped after ${count(past.length)} events: there are more.`;
    } finally {
      stop = null;
      button.textContent = "Read on";
      bar.hidden = true;
      if (past.length > 0) shown?.grew();
    }
  }
  button.addEventListener("click", () => stop ? stop.abort() : read());
  return read();
}

/** A time in milliseconds as people read it. */
const stamp = (millis) => time(new Date(millis).toISOString());

/** What somebody wrote as a time, in milliseconds: a date is its beginning, without a zone it is UTC. */
function parseTime(written) {
  const own = written.trim();
  if (/^\d{4}-\d\d-\d\d$/.test(own)) return Date.parse(`${own}T00:00:00Z`);
  return Date.parse(/Z|[+-]\d\d:?\d\d$/.test(own) ? own : `${own.replace(" ", "T")}Z`);
}

function travel(place, past, { params, signal }) {
  const numberIn = (name) => /^\d+$/.test(params.get(name) ?? "") ? Number(params.get(name)) : null;
  // Until somebody moves, the last event is looked at, or the one that the address wants.
  let wanted = numberIn("at");
  let wantedOther = numberIn("b");
  let isFollowing = true;
  let at = 0;
  let other = null;
  const last = () => past.length - 1;

  const line = h("div");
  let drawn = null;
  const slider = h("input", { type: "range", min: 0, "aria-label": "Event", oninput: () => move(Number(slider.value)) });
  const label = h("output.number");
  const button = (text, title, then) => h("button", { type: "button", title, "aria-label": title, onclick: then }, text);
  const dateForm = (title, go, then) => {
    const input = h("input", { type: "text", placeholder: "2026-11-30 or a time", size: 20 });
    return h("form.row", { onsubmit: (event) => { event.preventDefault(); moveTo(input, then); } }, h("label.row", {}, title, input), h("button", { type: "submit" }, go));
  };
  const play = button("Play", "Play", () => playing ? pause() : playOn());
  const second = button("Compare with…", "Compare with…", () => setOther(other === null ? Math.max(0, at - 1) : null));
  const picker = h("input", { type: "range", min: 0, "aria-label": "The other event", oninput: () => setOther(Number(picker.value)) });
  const pickerLabel = h("output.number.small-text.quiet");
  const pickerRow = h("div.stack", {}, h("label.field", {}, h("span.row.apart", {}, "The other moment", pickerLabel), picker), dateForm("The other date", "Travel", setOther));
  const known = h("div");
  const knownPlace = h("section.card.stack", { "aria-live": "off" }, pickerRow, known);
  const changedPlace = h("section.card");
  const room = h("p.notice", { hidden: true }, "There are more fields than there is room for: the first 20,000 are shown.");
  let playing = null;

  function pause() { clearInterval(playing); playing = null; play.textContent = "Play"; }
  function playOn() {
    if (at === last()) move(0);
    isFollowing = false;
    playing = setInterval(() => { if (at >= last()) pause(); else { at += 1; draw(); } }, 900);
    play.textContent = "Pause";
  }
  signal.addEventListener("abort", pause);

  function move(index) {
    pause();
    isFollowing = false;
    at = Math.min(Math.max(index, 0), last());
    draw();
  }
  function setOther(index) {
    wantedOther = null;
    other = index;
    draw();
  }
  function moveTo(input, then) {
    const refuse = (reason) => { input.setCustomValidity(reason); input.reportValidity(); };
    const moment = parseTime(input.value);
    if (Number.isNaN(moment)) return refuse("a date such as 2026-11-30, or a time");
    // The last event not after it; before the first one nothing was known.
    const index = past.before(moment);
    if (index < 0) return refuse("before the first event");
    if (index === last() && !past.isComplete) return refuse(`read so far up to ${stamp(past.timeOf(last()))}: wait, or read on`);
    input.setCustomValidity("");
    then(index);
  }

  let noting = null;
  let seen = null;
  let isLooking = false;
  function draw() {
    slider.max = picker.max = last();
    slider.value = at;
    label.textContent = `${count(at + 1)} of ${count(past.length)} · ${stamp(past.timeOf(at))} UTC`;
    slider.setAttribute("aria-valuetext", `${past.typeOf(at)}, ${label.textContent}`);
    drawn?.mark(at, other);
    // Browsers let a page note its address only so often.
    clearTimeout(noting);
    noting = setTimeout(() => { if (!signal.aborted) note({ at: isFollowing ? wanted : at, b: wantedOther ?? other }); }, 200);
    second.setAttribute("aria-pressed", other !== null);
    pickerRow.hidden = other === null;
    picker.value = other ?? 0;
    pickerLabel.textContent = other === null ? "" : `${count(other + 1)} · ${stamp(past.timeOf(other))} UTC`;
    room.hidden = past.hasRoom;
    look();
  }

  // One look at a time: whoever moves quickly sees the points that there is time for, and the last one.
  async function look() {
    if (isLooking) return;
    isLooking = true;
    try {
      while (!signal.aborted && seen !== `${at} ${other}`) {
        const [own, against] = [at, other];
        seen = `${own} ${against}`;
        const [state, second] = await Promise.all([past.state(own, signal), against === null ? null : past.state(against, signal)]);
        put(changedPlace, changes(state));
        put(known, second === null ? knownAt(state) : sideBySide({ at: own, ...state }, { at: against, ...second }));
      }
    } catch (error) {
      seen = null;
      if (!signal.aborted) put(known, problemBox(error, look));
    } finally {
      isLooking = false;
    }
  }

  /** More was read. */
  function grew() {
    if (!drawn?.isHeld()) {
      drawn = timeline(past, move);
      put(line, drawn.element);
    }
    if (isFollowing) at = Math.min(wanted ?? Infinity, last());
    if (wantedOther !== null) other = Math.min(wantedOther, last());
    draw();
  }

  put(place,
    h("section.card.stack", { "aria-label": "Timeline" },
      line, slider,
      h("div.row.apart", {},
        h("div.row", {}, button("⇤", "First event", () => move(0)), button("←", "Event before", () => move(at - 1)), play, button("→", "Event after", () => move(at + 1)), button("⇥", "Last event", () => move(last())), label),
        h("div.row", {}, dateForm("As of", "Go", move), second))),
    room,
    h("div.columns", {}, knownPlace, changedPlace));
  grew();
  return { grew };
}

/** What the event is, and what it changed. */
function changes({ event, changes: all }) {
  return [
    h("h2", {}, typeLabel(event.type)),
    h("p.quiet", {}, h("a", { href: link("events", { event: event.position }) }, `position ${count(event.position)}`), ` in ${event.stream}`),
    h("h3", {}, "What it changed"),
    event.data === undefined ? h("p.quiet", {}, "Its data is not JSON, or was erased.") :
      all.length === 0 ? h("p.quiet", {}, "Nothing that was not known before.") :
        h("ul.diff", {}, all.slice(0, ROWS_MAX).map((own) => h(`li.${own.kind}`, {}, h("span.offscreen", {}, own.kind), `${own.path}: `,
          own.kind === "altered" && [h("span.was", {}, text(own.was)), " → "], text(own.value))),
        all.length > ROWS_MAX && h("li", {}, `${count(all.length - ROWS_MAX)} more`)),
  ];
}

const text = (value) => short(JSON.stringify(value) ?? "", 300);

/** A table of fields: as many as one can look through, the rest when asked for. */
function fieldTable(label, columns, rows) {
  const body = h("tbody", {}, rows.slice(0, ROWS_MAX));
  const more = rows.length > ROWS_MAX && h("button.small", { type: "button", onclick: () => { body.append(...rows.slice(ROWS_MAX)); more.remove(); } }, `${count(rows.length - ROWS_MAX)} fields more`);
  return [h("div.scroll", { tabindex: "0", role: "group", "aria-label": label },
    h("table.fold", {}, h("thead", {}, h("tr", {}, columns.map((own) => h("th", { scope: "col" }, own)))), body)), more];
}

/** Everything that is known at a point. */
function knownAt({ fields, changes: all }) {
  const changed = new Set(all.map((own) => own.path));
  return [
    h("h2", {}, "What was known"),
    fields.size === 0 ? h("p.quiet", {}, "Nothing: no event had JSON data.") :
      fieldTable("What was known", ["Field", "Value", "Last written by"], [...fields].map(([name, own]) =>
        h(`tr${changed.has(name) ? ".changed" : ""}`, {}, h("td", {}, name), h("td", {}, text(own.value)), h("td.by", {}, typeLabel(own.by))))),
  ];
}

function sideBySide(here, other) {
  const head = ({ at, event }, name) => [h("strong", {}, name), h("div.quiet.small-text", {}, `${count(at + 1)} · ${time(event.time)}`)];
  return [
    h("h2", {}, "Side by side"),
    fieldTable("Two moments", ["Field", head(other, "The other"), head(here, "This")], compare(other.fields, here.fields).map((own) =>
      h(`tr${own.differs ? ".differs" : ""}`, {}, h("td", {}, own.path), h("td", {}, own.a ? text(own.a.value) : "–"), h("td", {}, own.b ? text(own.b.value) : "–")))),
  ];
}

/** The cord of the events, at their times, with a cursor that can be dragged. */
function timeline(past, onMove) {
  const [width, high] = [1000, 74];
  const last = past.length - 1;
  const [first, end] = [past.timeOf(0), past.timeOf(last)];
  // By time, but no two knots on one place: half of the place is shared out evenly.
  const x = (index) => {
    const even = last > 0 ? index / last : 0.5;
    const real = end > first ? (past.timeOf(index) - first) / (end - first) : even;
    return 20 + 960 * (0.5 * even + 0.5 * real);
  };
  const step = Math.max(1, Math.floor(past.length / KNOTS_MAX));
  const [wide, tall] = past.length > 80 ? [2.6, 6] : [6.5, 5];
  const knots = [];
  for (let index = 0; index <= last; index += step) {
    knots.push(s("ellipse", { cx: x(index), cy: 34, rx: wide, ry: tall, fill: colour(past.typeOf(index)) }, s("title", {}, `${past.typeOf(index)} ${stamp(past.timeOf(index))}`)));
  }
  const beforeIt = s("line.past", { x1: 20, y1: 34, y2: 34 });
  const cursor = s("line.cursor", { y1: 10, y2: 58 });
  const second = s("line.second", { y1: 10, y2: 58 });
  const element = s("svg.timeline", { viewBox: `0 0 ${width} ${high}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    s("line.axis", { x1: 20, x2: 980, y1: 34, y2: 34 }), beforeIt, knots, second, cursor,
    s("text", { x: 20, y: 71 }, stamp(first).slice(0, 16)), s("text", { x: 980, y: 71, "text-anchor": "end" }, stamp(end).slice(0, 16)));
  const pick = (event) => {
    const box = element.getBoundingClientRect();
    const wanted = (event.clientX - box.left) / box.width * width;
    let [low, up] = [0, last];
    while (low < up) { const middle = (low + up) >> 1; if (x(middle) < wanted) low = middle + 1; else up = middle; }
    onMove(low > 0 && wanted - x(low - 1) < x(low) - wanted ? low - 1 : low);
  };
  let isHeld = false;
  element.addEventListener("pointerdown", (event) => { isHeld = true; element.setPointerCapture(event.pointerId); pick(event); });
  element.addEventListener("lostpointercapture", () => { isHeld = false; });
  element.addEventListener("pointermove", (event) => { if (event.buttons === 1) pick(event); });
  const setAt = (mark, index) => { mark.setAttribute("x1", x(index)); mark.setAttribute("x2", x(index)); };
  return {
    element,
    isHeld: () => isHeld,
    mark(at, other) {
      setAt(cursor, at);
      beforeIt.setAttribute("x2", x(at));
      second.style.display = other === null ? "none" : "";
      if (other !== null) setAt(second, other);
    },
  };
}
