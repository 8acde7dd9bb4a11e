// Events of the log: by query, at a time, as they were, as they come.

import { field, h, problemBox, put } from "./dom.js";
import { follow, get, path } from "./api.js";
import { count } from "./format.js";
import { eventList } from "./list.js";
import { queryField } from "./query.js";
import { go, link, note } from "./address.js";

const WAITING_MAX = 500;

export async function show(root, params, signal) {
  const queries = params.getAll("q");
  const state = {
    asOf: params.get("asof") ?? "", at: params.get("at") ?? "",
    isLive: params.has("live"), isSystem: params.has("system"), from: params.get("from"), event: params.get("event"),
  };
  const place = h("div");
  const fields = queries.length > 0 ? queries.map((value) => queryField({ value, onSubmit: submit })) : [queryField({ onSubmit: submit })];
  const lines = h("div.stack", {}, fields.map((own, at) => h("label.field.wide", {}, h("span", {}, at === 0 ? "Query" : "or"), own.element)));
  const at = h("input", { type: "text", value: state.at, placeholder: "2026-11-30T12:00Z", size: 22 });
  const asOf = h("input", { type: "text", value: state.asOf, placeholder: "position or time", size: 22 });
  const system = h("input", { type: "checkbox" });
  system.checked = state.isSystem;

  function changed(more = {}) {
    return { q: fields.map((own) => own.input.value.trim()).filter(Boolean), at: at.value, asof: asOf.value, system: system.checked && "1", ...more };
  }
  function submit() { go("events", changed()); }

  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Events"), h("p", {}, "Everything that happened, in the one order of the log."))),
    h("form.card.stack", { role: "search", onsubmit: (event) => { event.preventDefault(); submit(); } },
      lines,
      h("div.row.bottom", {},
        field("Up to the time (UTC)", at), field("As the log was", asOf),
        h("label.row", {}, system, "with the store's own events"),
        h("button.primary", { type: "submit" }, "Find"),
        h("button", { type: "button", onclick: addLine }, "Or …"),
        h("a.button", { href: link("time", { q: queries.length > 0 ? queries : null }) }, "Through time"),
        h("a.button", { href: link("map", { q: queries.length > 0 ? queries : null }) }, "As a map"))),
    place);

  function addLine() {
    const own = queryField({ onSubmit: submit });
    fields.push(own);
    lines.append(h("label.field.wide", {}, h("span", {}, "or"), own.element));
    own.input.focus();
  }

  try {
    await events(place, { queries, state, signal });
  } catch (error) {
    if (!signal.aborted) put(place, problemBox(error));
  }
}

async function events(place, { queries, state, signal }) {
  let start = state.from === null ? undefined : Number(state.from);
  if (state.at) {
    const time = /^\d{4}-\d\d-\d\d$/.test(state.at) ? `${state.at}T00:00:00Z` : state.at.replace(/(T\d\d:\d\d)Z?$/, "$1:00Z");
    start = (await get(path("/position", { at: time }), { signal })).position;
  }
  if (start === undefined && state.event && !state.isLive) {
    // Some of what came after the chosen event stands above it.
    const above = await get(path("/events", { query: queries, from: state.event, limit: 12, as_of: state.asOf }), { signal });
    start = above.events.at(-1)?.position;
  }
  // An anchor beyond the end is the end.
  if (start !== undefined) {
    const { frontier } = await get("/frontier", { signal });
    if (start >= frontier) start = undefined;
  }
  const source = { base: "/events", query: queries, asOf: state.asOf || undefined, place: "position" };
  const list = eventList({ source, start, selected: state.event, signal, showReserved: state.isSystem });
  put(place, state.asOf ? null : tail({ queries, list, state, signal }), list.element);
  await list.ready;
}

/** Live events, which can be paused: what comes meanwhile is kept and told, within bounds. */
function tail({ queries, list, state, signal }) {
  const lamp = h("span.lamp", {}, "not following");
  const button = h("button", { type: "button", "aria-pressed": "false" }, "Follow live");
  const waiting = [];
  let following = null;
  let isPaused = false;
  let dropped = 0;
  const pause = h("button", { type: "button", hidden: true, "aria-pressed": "false" }, "Pause");
  const flush = () => {
    list.arrived(waiting.splice(0));
    pause.textContent = "Pause";
    dropped = 0;
  };
  let due = null;
  const arrive = (event) => {
    waiting.push(event);
    if (waiting.length > WAITING_MAX) { waiting.shift(); dropped += 1; }
    if (isPaused) pause.textContent = `Go on (${count(waiting.length + dropped)} waiting)`;
    // Many events of one moment are drawn once.
    else due ??= requestAnimationFrame(() => { due = null; if (!isPaused) flush(); });
  };
  const toggle = async () => {
    if (following) {
      following.abort();
      following = null;
    } else {
      following = new AbortController();
      signal.addEventListener("abort", () => following?.abort());
      const after = list.high === null ? {} : { after: list.high };
      const from = list.high === null ? { from: "end" } : after;
      follow(path("/subscribe", { query: queries, system: state.isSystem || undefined, ...from }), {
        onEvent: arrive, signal: following.signal,
        onState: (own, error) => { lamp.className = `lamp ${own}`; lamp.textContent = { live: "live", waiting: "coming back…", refused: error?.message ?? "refused" }[own]; },
      });
    }
    const isOn = following !== null;
    button.setAttribute("aria-pressed", isOn);
    button.textContent = isOn ? "Stop following" : "Follow live";
    pause.hidden = !isOn;
    if (!isOn) { lamp.className = "lamp"; lamp.textContent = "not following"; }
    note({ live: isOn && "1" });
  };
  button.addEventListener("click", toggle);
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", isPaused);
    if (!isPaused) flush();
  });
  if (state.isLive) list.ready.then(() => { if (!signal.aborted && !following) toggle(); });
  return h("div.row.live-row", {}, button, pause, lamp);
}
