// What runs on the log, as it reports; and what it is asked to do.

import { confirmed, empty, h, problemBox, put, toast } from "./dom.js";
import { get, post, send } from "./api.js";
import { ago, count } from "./format.js";
import { go, link } from "./address.js";

const KINDS = { projection: "Projection", process: "Process", relay: "Relay", group: "Group" };
const pathOf = (own) => `/components/${own.kind}/${encodeURIComponent(own.name)}/${own.version}`;
const keyOf = (own) => `${own.kind}/${own.name}/${own.version}`;

export async function show(root, params, signal) {
  const chosen = params.get("c");
  const list = h("section.card", { "aria-label": "Consumers" });
  const detail = h("section", { "aria-label": "The chosen consumer" });
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Consumers"), h("p", {}, "Projections, processes, relays and groups, wherever they run. A request waits until its consumer next looks, within a second if it runs."))),
    h("div.stack", {}, list, detail));
  let drawn = "";
  const look = async () => {
    const { components } = await get("/components", { signal });
    const own = components.find((one) => keyOf(one) === chosen);
    const full = own ? await get(pathOf(own), { signal }) : null;
    const now = JSON.stringify([components, full]);
    // What has not changed is left alone: the focus and the selection in it too.
    if (now === drawn) return;
    drawn = now;
    keepFocus(root, () => {
      put(list, table(components, chosen));
      put(detail, chosen && (full ? describe(full, again) : h("p.notice", {}, "This consumer has not reported, or was forgotten.")));
    });
  };
  const again = async () => { drawn = ""; await look(); };
  let failed = false;
  while (!signal.aborted) {
    try {
      await look();
      failed = false;
    } catch (error) {
      if (signal.aborted) return;
      if (!failed && (drawn === "" || error.status === 403)) { put(list, problemBox(error)); drawn = ""; }
      failed = true;
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

function keepFocus(root, change) {
  const at = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  change();
  if (at) [...root.querySelectorAll("[data-key]")].find((own) => own.dataset.key === at)?.focus();
}

function table(components, chosen) {
  if (components.length === 0) {
    return empty("Nothing has reported", "Projections, processes and relays of the framework report by themselves when they run.");
  }
  const row = (own) => h(`tr${keyOf(own) === chosen ? ".chosen" : ""}`, {},
    h("td", {}, h("a", { href: link("consumers", { c: keyOf(own) }), "data-key": `link ${keyOf(own)}` }, own.name)),
    h("td", {}, KINDS[own.kind]), h("td.number", {}, own.version),
    h("td", {}, h(`span.state.${own.state}`, {}, own.state)),
    h("td.number", {}, count(own.position)), h("td.number", {}, count(own.lag)), h("td.number", {}, count(own.parked_count)),
    h("td.quiet", {}, own.owner), h("td.quiet", {}, ago(own.reported_at)));
  return h("div.scroll", { tabindex: "0", role: "group", "aria-label": "All consumers" }, h("table.all", {},
    h("caption.offscreen", {}, "Consumers"),
    h("thead", {}, h("tr", {}, ["Name", "Kind", "Version", "State", "Position", "Lag", "Parked", "Run by", "Reported"].map((title, at) => h(`th${[2, 4, 5, 6].includes(at) ? ".number" : ""}`, { scope: "col" }, title)))),
    h("tbody", {}, components.map(row))));
}

function describe(own, again) {
  const ask = async (request, position) => {
    try {
      await post(`${pathOf(own)}/requests`, position === undefined ? { request } : { request, position });
      toast(`Asked to ${request}${position === undefined ? "" : ` at ${count(position)}`}`);
      setTimeout(again, 700);
    } catch (error) { toast(error.message, "wrong"); }
  };
  const button = (text, key, then, kind = "") => h(`button${kind}`, { type: "button", "data-key": key, onclick: then }, text);
  const replay = async () => {
    const input = h("input", { type: "number", min: 0, value: "0", required: true, "aria-label": "Position" });
    const from = await confirmed("Replay?", `“${own.name}” begins again behind this position, and handles everything after it once more. 0 is the beginning of the log.`, "Replay", input);
    if (from !== null && /^\d+$/.test(from)) ask("replay", Number(from));
  };
  const dropAll = async () => {
    if (await confirmed("Drop everything that is parked?", `${count(own.parked_count)} events of “${own.name}” will not be handled. The log keeps them.`, "Drop them")) ask("drop");
  };
  const promote = async () => {
    if (await confirmed("Promote?", `Version ${own.version} of “${own.name}” serves from now on.`, "Promote")) ask("promote");
  };
  const forget = async () => {
    if (!await confirmed("Forget this consumer?", "It is gone from this list until it reports again. What it has handled stays handled.", "Forget it")) return;
    try { await send(pathOf(own), { method: "DELETE" }); go("consumers"); } catch (error) { toast(error.message, "wrong"); }
  };
  return h("div.stack", {},
    h("div.card.stack", {},
      h("div.row.apart", {}, h("h2", {}, own.name, " ", h(`span.state.${own.state}`, {}, own.state)), h("span.quiet", {}, `${KINDS[own.kind]}, version ${own.version}, epoch ${own.epoch}`)),
      own.last_error && h("p.notice.wrong", {}, own.last_error),
      h("div.row", {},
        own.state === "paused" ? button("Resume", "resume", () => ask("resume"), ".primary") : button("Pause", "pause", () => ask("pause")),
        own.state === "stopped" && button("Retry", "retry-all", () => ask("retry"), ".primary"),
        button("Replay…", "replay", replay), button("Promote…", "promote", promote), button("Forget…", "forget", forget, ".danger"))),
    h("div.card.stack", {},
      h("div.row.apart", {}, h("h2", {}, own.parked_count === 0 ? "Nothing is parked" : `${count(own.parked_count)} parked`),
        own.parked_count > 0 && h("div.row", {}, button("Retry all", "retry", () => ask("retry")), button("Drop all…", "drop", dropAll, ".danger"))),
      own.parked_count > own.parked.length && h("p.quiet", {}, `The first ${count(own.parked.length)} are shown.`),
      own.parked.length > 0 && h("div.scroll", { tabindex: "0", role: "group", "aria-label": "Parked events" }, h("table", {}, h("thead", {}, h("tr", {}, h("th.number", { scope: "col" }, "Position"), h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "Cause"), h("th", { scope: "col" }, "Do"))),
        h("tbody", {}, own.parked.slice(0, 200).map((item) => h("tr", {},
          h("td.number", {}, h("a", { href: link("events", { event: item.position }) }, count(item.position))), h("td", {}, item.key), h("td", {}, item.cause),
          h("td", {}, h("div.row", {}, button("Retry", `retry ${item.position}`, () => ask("retry", item.position), ".small"),
            button("Drop…", `drop ${item.position}`, async () => { if (await confirmed("Drop this event?", `“${own.name}” will not handle the event at ${count(item.position)}. The log keeps it.`, "Drop it")) ask("drop", item.position); }, ".small.danger"))))))))));
}
