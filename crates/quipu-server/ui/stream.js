// One stream: what it is like, and its events.

import { copyButton, empty, field, h, problemBox, put } from "./dom.js";
import { get, streamPath } from "./api.js";
import { category, count, size } from "./format.js";
import { eventList } from "./list.js";
import { jsonTree } from "./json.js";
import { go, link } from "./address.js";
import { curlReading } from "./samples.js";

export async function show(root, params, signal) {
  const name = params.get("name") ?? "";
  const asOf = params.get("asof") ?? "";
  if (name === "") return put(root, empty("No stream is named", h("a.button", { href: link("streams") }, "Find one")));
  const at = h("input", { type: "text", value: asOf, placeholder: "position or time", size: 22 });
  const facts = h("div.card", { "aria-label": "What is known of it" }, h("p.quiet", {}, "Reading…"));
  const place = h("div");
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, name), h("p", {}, "in ", h("a", { href: link("streams", { category: category(name) }) }, category(name)))),
      h("div.row", {},
        h("a.button", { href: link("time", { stream: name, asof: asOf }) }, "Through time"),
        copyButton("Copy as curl", () => curlReading(name)),
        copyButton("Copy as CLI", () => `quipu --url ${location.origin} read ${name}`))),
    h("div.stack", {}, facts,
      h("form.row.bottom", { onsubmit: (event) => { event.preventDefault(); go("stream", { name, asof: at.value }); } },
        field("As the stream was", at), h("button", { type: "submit" }, "Show"),
        asOf && h("a.button", { href: link("stream", { name }) }, "Now")),
      place));
  describe(facts, name, signal);
  const source = { base: streamPath(name), asOf: asOf || undefined, place: "revision" };
  const list = eventList({ source, selected: params.get("event"), signal, withStream: false, showReserved: true });
  put(place, list.element);
  await list.ready;
}

async function describe(place, name, signal) {
  try {
    const info = await get(streamPath(name, "/info"), { signal });
    const term = (title, ...value) => h("div", {}, h("dt.quiet.small-text", {}, title), h("dd", {}, ...value));
    const hasMetadata = Object.keys(info.metadata).length > 0;
    put(place, h("dl.row.wide-gap", {},
      term("State", h(`span.state.${info.state === "live" ? "live" : "stopped"}`, {}, info.state)),
      term("Events shown", count(info.count)),
      term("Revisions", info.first === null ? "–" : `${count(info.first)} to ${count(info.last)}`),
      term("Data", size(info.size)),
      hasMetadata && term("Metadata", jsonTree(info.metadata))));
    if (info.state === "deleted" || info.state === "tombstoned") {
      put(place, ...place.childNodes, h("p.quiet", {}, "Its events are hidden. “As the stream was” shows them as they were before."));
    }
  } catch (error) {
    if (!signal.aborted) put(place, problemBox(error));
  }
}

