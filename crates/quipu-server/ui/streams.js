// Streams: by the beginning of their names, or by category.

import { empty, field, h, problemBox, put } from "./dom.js";
import { get, path } from "./api.js";
import { categories } from "./names.js";
import { count } from "./format.js";
import { go, link } from "./address.js";
import { streamLink } from "./shapes.js";

const PAGE = 100;

export async function show(root, params, signal) {
  const prefix = params.get("prefix") ?? "";
  const category = params.get("category") ?? "";
  const input = h("input.mono", { type: "search", value: prefix, placeholder: "order-10", spellcheck: "false", autocapitalize: "none" });
  const list = h("ul.stack.names");
  const more = h("button", { type: "button", hidden: true }, "More");
  const shelf = h("nav.card", { "aria-label": "Categories" }, h("h2", {}, "Categories"), h("p.quiet", {}, "Reading…"));
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Streams"), h("p", {}, "Each stream is one thing's history: a cord, with a knot for each event."))),
    h("form.card.row.bottom", { role: "search", onsubmit: (event) => { event.preventDefault(); go("streams", { prefix: input.value, category }); } },
      h("div.field.wide", {}, field("The name begins with", input)),
      h("button.primary", { type: "submit" }, "Find"),
      h("button", { type: "button", onclick: () => go("stream", { name: input.value || prefix }) }, "Open this very name")),
    h("div.columns.gap-top", {}, h("section.card", { "aria-label": "Streams" }, h("h2", {}, category ? `Streams of ${category}` : "Streams"), list, more), shelf));
  input.addEventListener("input", debounce(() => { if (!signal.aborted) go("streams", { prefix: input.value, category }); }, 600));
  if (prefix) { input.focus(); input.setSelectionRange(prefix.length, prefix.length); }

  let next = path("/streams", { prefix, category, limit: PAGE });
  const load = async () => {
    try {
      const page = await get(next, { signal });
      next = page.next;
      const names = page.streams.filter((name) => prefix.startsWith("$") || !name.startsWith("$"));
      list.append(...names.map((name) => h("li.row.apart", {}, streamLink(name), h("span.row", {}, h("a.small-text", { href: link("time", { stream: name }), "aria-label": `${name} through time` }, "through time")))));
      more.hidden = next === null;
      if (list.childElementCount === 0 && next === null) put(list, h("li", {}, empty("No such streams", prefix ? `Nothing begins with “${prefix}”.` : "Append an event, and its stream is here.")));
    } catch (error) {
      if (!signal.aborted) put(list, h("li", {}, problemBox(error, load)));
    }
  };
  more.addEventListener("click", load);
  const [, found] = await Promise.all([load(), categories().catch(() => null)]);
  if (signal.aborted) return;
  put(shelf, h("h2", {}, "Categories"), found === null || found.length === 0 ? h("p.quiet", {}, found === null ? "You may not list all of them." : "None yet.") : h("ul.stack.names", {},
    found.map(({ name, event_count: events }) => h("li.row.apart", {},
      h("a", { href: link("streams", { category: name }), "aria-current": name === category ? "true" : null }, name),
      h("span.quiet.number", {}, `${count(events)} events`),
      h("span.row.small-text", {}, h("a", { href: link("events", { q: `category:${name}` }), "aria-label": `events of ${name}` }, "events"), h("a", { href: link("map", { q: `category:${name}` }), "aria-label": `map of ${name}` }, "map"))))));
}

function debounce(then, wait) {
  let timer = null;
  return () => { clearTimeout(timer); timer = setTimeout(then, wait); };
}
