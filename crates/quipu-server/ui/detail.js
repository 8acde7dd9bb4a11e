// One event, with all that is known of it.

import { copyButton, download, h, problemBox, put } from "./dom.js";
import { get, path, send, session, streamPath } from "./api.js";
import { count, quoted, shell, size, time } from "./format.js";
import { jsonTree, parseExactly } from "./json.js";
import { chainPlace, hasChain } from "./chain.js";
import { streamLink, typeLabel } from "./shapes.js";
import { link } from "./address.js";

/** The event's line, byte for byte as the server writes it. */
const lineOf = async (position) => (await send(path("/events", { from: position, limit: 1 }), { accept: "application/x-ndjson" })).text();

/** Shows the event at a position in `place`. `onClose` hears the button. */
export async function showDetail(place, position, { onClose, signal }) {
  put(place, h("p.quiet", {}, "Reading…"));
  try {
    const text = await (await send(path("/events", { from: position, limit: 1 }), { accept: "application/x-ndjson", signal })).text();
    if (text === "") throw new Error("There is no event at this position, or it was scavenged.");
    const event = parseExactly(text);
    if (Number(event.position) !== Number(position)) throw new Error(`There is no event at position ${position}; the next one is at ${event.position}.`);
    put(place, content(event, text, onClose, signal));
  } catch (error) {
    if (!signal.aborted) put(place, closeButton(onClose), problemBox(error));
  }
}

const closeButton = (onClose) => h("button.small", { type: "button", "aria-label": "Close the event", onclick: onClose }, "Close");

function content(event, text, onClose, signal) {
  const before = h("button.small", { type: "button", onclick: () => step(event, -1) }, "← in stream");
  const after = h("button.small", { type: "button", onclick: () => step(event, 1) }, "in stream →");
  return h("div.stack", {},
    h("div.row.apart", {}, h("h2", { id: "detail-title", tabindex: "-1" }, typeLabel(event.type)), closeButton(onClose)),
    facts(event),
    h("section", { "aria-label": "Data" }, h("h3", {}, "Data"), dataPlace(event)),
    (event.metadata !== undefined && event.metadata !== null || event.metadata_base64 !== undefined) &&
      h("section", {}, h("h3", {}, "Metadata"), event.metadata_base64 !== undefined ? h("p.quiet", {}, "not JSON") : jsonTree(event.metadata)),
    hasChain(event) && h("section", {}, h("h3", {}, "Cause and effect"), chainPlace(event, signal)),
    h("div.row", {},
      copyButton("Copy JSON", () => lineOf(event.position)),
      session.may("append") && copyButton("Copy as curl", () => curlOf(event)),
      copyButton("Copy as CLI", () => cliOf(event)),
      copyButton("Copy link", () => `${location.origin}/${link("events", { event: event.position })}`),
      h("button.small", { type: "button", onclick: () => download(`event-${event.position}.json`, "application/json", text) }, "Save")),
    h("div.row", {}, before, after,
      h("a.button.small", { href: link("time", { stream: event.stream, at: event.revision }) }, "Through time")));
}

function facts(event) {
  const term = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  return h("dl.facts", {},
    term("Stream", streamLink(event.stream), ` · revision ${count(event.revision)}`),
    term("Position", h("a", { href: link("events", { event: event.position }) }, count(event.position))),
    term("Recorded", h("span.number", {}, `${time(event.time)} UTC`)),
    term("Id", h("code", {}, event.id)),
    event.tags.length > 0 && term("Tags", h("span.chips", {}, event.tags.map((tag) =>
      h("a.chip", { href: link("events", { q: `tag:${quoted(tag)}` }) }, tag)))),
    term("Content", event.content_type));
}

function dataPlace(event) {
  if (event.erased) return h("p.quiet", {}, "The data was erased after it was appended.");
  if (event.data_base64 !== undefined) {
    const bytes = Math.floor(event.data_base64.length * 0.75);
    return h("p.quiet", {}, `${size(bytes)} that are not JSON. `, h("code", {}, event.data_base64.slice(0, 300)));
  }
  return jsonTree(event.data);
}

async function step(event, by) {
  const revision = event.revision + by;
  if (revision < 0) return;
  const page = await get(path(streamPath(event.stream), { from: revision, limit: 1, direction: by > 0 ? "forward" : "backward" })).catch(() => null);
  const next = page?.events[0];
  if (next) dispatchEvent(new CustomEvent("quipu-event", { detail: next.position }));
}

const tokenHeader = () => session.who.open ? "" : ` -H "Authorization: Bearer $QUIPU_TOKEN"`;

/** The event as the request that would append it. */
export function curlOf(event) {
  const body = { id: event.id, type: event.type, tags: event.tags };
  if (event.data_base64 !== undefined) body.data_base64 = event.data_base64; else body.data = event.data;
  if (event.metadata !== null && event.metadata !== undefined) body.metadata = event.metadata;
  return `curl${tokenHeader()} -H 'Content-Type: application/json' \\\n  -d ${shell(JSON.stringify(body))} \\\n  ${shell(`${location.origin}${streamPath(event.stream)}`)}`;
}

/** The event as the command that reads it. */
export const cliOf = (event) => `quipu --url ${location.origin} read ${shell(event.stream)} --from ${event.revision} --limit 1`;

