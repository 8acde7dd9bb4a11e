// What runs on the log, as it reports; and what it is asked to do.

import { confirmed, empty, h, keepFocus, problemBox, put, toast } from "./dom.js";
import { get, post, send, session } from "./api.js";
import { ago, count } from "./format.js";
import { go, link } from "./address.js";

const KINDS = { projection: "Projection", process: "Process", relay: "Relay", group: "Group" };
/** In place of the version of a group that nobody has been in yet. */
const UNREPORTED = "new";
const ITEMS_MAX = 200;
/** How often one looks; and how often while a consumer does what it was asked for, which may be over soon. */
const LOOK_MS = 1_000;
const WATCH_MS = 200;
/** How long one waits for a consumer to do what it was asked for. */
const PATIENCE_MS = 15_000;

const pathOf = (own) => `/components/${own.kind}/${encodeURIComponent(own.name)}/${own.version}`;
const keyOf = (own) => `${own.kind}/${own.name}/${own.version}`;
const groupPath = (name) => `/groups/${encodeURIComponent(name)}`;

export async function show(root, params, signal) {
  const chosen = params.get("c");
  const list = h("section.card", { "aria-label": "Consumers" });
  const detail = h("section", { "aria-label": "The chosen consumer" });
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Consumers"), h("p", {}, "Projections, processes, relays and groups, wherever they run. A request waits until its consumer next looks, within a second if it runs."))),
    h("div.stack", {}, list, detail));
  // What the chosen one was asked for, until it is seen to have been done.
  let awaited = [];
  let drawn = "";
  const look = async () => {
    const all = await consumers(signal);
    const own = all.find((one) => keyOf(one) === chosen) ?? sameGroup(all, chosen);
    const full = own ? await inFull(own, signal) : null;
    awaited = awaited.filter((one) => full && !isOver(one, full));
    const now = JSON.stringify([all, full]);
    // What has not changed is left alone: the focus and the selection in it too.
    if (now === drawn) return;
    drawn = now;
    keepFocus(root, () => {
      put(list, table(all, own && keyOf(own)));
      put(detail, chosen && (full ? describe(full, { again, await: (one) => awaited.push(one) }) : h("p.notice", {}, "This consumer has not reported, or was forgotten.")));
    });
  };
  let wake = () => {};
  const again = () => { drawn = ""; wake(); };
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
    await new Promise((resolve) => { wake = resolve; setTimeout(resolve, awaited.length > 0 ? WATCH_MS : LOOK_MS); });
  }
}

/** All that reports, and the groups of this server that nobody has been in yet. */
async function consumers(signal) {
  const { components } = await get("/components", { signal });
  if (!session.may("consume")) return components;
  const { groups } = await get("/groups", { signal });
  const reported = new Set(components.filter((own) => own.kind === "group").map((own) => own.name));
  const unreported = groups.filter((own) => !reported.has(own.name)).map((own) => (
    { kind: "group", name: own.name, version: UNREPORTED, state: "empty", position: own.after, parked_count: 0 }));
  return [...components, ...unreported];
}

/** The group that a link of another time names: its version is new, or was. */
function sameGroup(all, chosen) {
  const [, name] = /^group\/(.*)\/[^/]+$/.exec(chosen ?? "") ?? [];
  return name && all.find((own) => own.kind === "group" && own.name === name);
}

/** A consumer with what it parked; a group with its members too. */
async function inFull(own, signal) {
  const full = own.version === UNREPORTED ? { ...own, parked: [] } : await get(pathOf(own), { signal });
  if (own.kind !== "group" || !session.may("consume")) return full;
  // Groups of other protocols are none of the server's own.
  const group = await get(groupPath(own.name), { signal }).catch((error) => { if (error.status === 404) return null; throw error; });
  if (group === null) return full;
  if (own.version === UNREPORTED) Object.assign(full, { position: group.checkpoint, lag: group.lag, parked_count: group.parked_count });
  return { ...full, group };
}

function isOver({ isDone, done, until }, full) {
  if (isDone(full)) { toast(done); return true; }
  if (Date.now() < until) return false;
  toast("It has not done so yet: it may not run just now. The request waits for it", "wrong");
  return true;
}

const HEADS = ["Name", "Kind", "Version", "State", "Position", "Lag", "Parked", "Run by", "Reported"];
const NUMBERS = ["Version", "Position", "Lag", "Parked"];

function table(components, chosen) {
  if (components.length === 0) {
    return empty("Nothing has reported", "Projections, processes and relays of the framework report by themselves when they run; groups are here when they are created.");
  }
  const row = (own) => h(`tr${keyOf(own) === chosen ? ".chosen" : ""}`, {},
    h("td", {}, h("a", { href: link("consumers", { c: keyOf(own) }), "data-key": `link ${keyOf(own)}` }, own.name)),
    h("td", {}, KINDS[own.kind]), h("td.number", {}, own.version),
    h("td", {}, stateOf(own)),
    h("td.number", {}, count(own.position)), h("td.number", {}, count(own.lag)), h("td.number", {}, count(own.parked_count)),
    h("td.quiet", {}, own.owner ?? "nobody yet"), h("td.quiet", {}, own.reported_at ? ago(own.reported_at) : "–"));
  return h("div.scroll", { tabindex: "0", role: "group", "aria-label": "All consumers" }, h("table.all", {},
    h("caption.offscreen", {}, "Consumers"),
    h("thead", {}, h("tr", {}, HEADS.map((title) => h(`th${NUMBERS.includes(title) ? ".number" : ""}`, { scope: "col" }, title)))),
    h("tbody", {}, components.map(row))));
}

const stateOf = (own) => h(`span.state.${own.state}`, {}, own.state);

const button = (text, key, then, kind = "") => h(`button${kind}`, { type: "button", "data-key": key, onclick: then }, text);

/** What can be asked of a consumer: each is confirmed before, and seen to be done after. */
function wishesOf(own, then) {
  const name = `“${own.name}”`;
  const ask = async (request, position, isDone, done) => {
    try {
      await post(`${pathOf(own)}/requests`, { request, position });
      toast(`Asked to ${request}${position === undefined ? "" : ` at ${count(position)}`}`);
      if (isDone) then.await({ isDone, done, until: Date.now() + PATIENCE_MS });
      then.again();
    } catch (error) { toast(error.message, "wrong"); }
  };
  const isParked = (full, position) => full.parked.some((item) => item.position === position);
  const before = new Set(own.parked.map((item) => item.position));
  const isCleared = (full) => !full.parked.some((item) => before.has(item.position));
  return {
    async pause() {
      if (await confirmed("Pause?", `${name} handles nothing more until it is resumed. It goes on where it stopped.`, "Pause it")) ask("pause", undefined, (full) => full.state === "paused", `${name} is paused`);
    },
    async resume() {
      if (await confirmed("Resume?", `${name} goes on where it stopped.`, "Resume it")) ask("resume", undefined, (full) => full.state !== "paused", `${name} goes on`);
    },
    async retry(position) {
      if (await confirmed("Retry this event?", `${name} handles the event at ${count(position)} again, and then those of its key that wait behind it.`, "Retry it")) ask("retry", position, (full) => !isParked(full, position), `The event at ${count(position)} is not parked any more`);
    },
    async retryAll() {
      if (await confirmed("Retry everything that is parked?", `${name} handles ${count(own.parked_count)} events again.`, "Retry them")) ask("retry", undefined, isCleared, `What ${name} had parked is not parked any more`);
    },
    async begin() {
      if (await confirmed("Retry?", `${name} stopped, and begins again with the event at which it did.`, "Retry")) ask("retry", undefined, (full) => full.state !== "stopped", `${name} goes on`);
    },
    async drop(position) {
      if (await confirmed("Drop this event?", `${name} will not handle the event at ${count(position)}. The log keeps it.`, "Drop it")) ask("drop", position, (full) => !isParked(full, position), `The event at ${count(position)} is dropped`);
    },
    async dropAll() {
      if (await confirmed("Drop everything that is parked?", `${count(own.parked_count)} events of ${name} will not be handled. The log keeps them.`, "Drop them")) ask("drop", undefined, isCleared, `What ${name} had parked is dropped`);
    },
    async replay() {
      const input = h("input", { type: "number", min: 0, value: "0", required: true, "aria-label": "Position" });
      const from = await confirmed("Replay?", `${name} begins again behind this position, and handles everything after it once more. 0 is the beginning of the log.`, "Replay", input);
      if (from === null || !/^\d+$/.test(from)) return;
      ask("replay", Number(from), (full) => full.epoch !== own.epoch || full.position < own.position, `${name} begins again behind ${count(Number(from))}`);
    },
    async promote() {
      if (await confirmed("Promote?", `Version ${own.version} of ${name} serves from now on.`, "Promote")) ask("promote");
    },
    async forget() {
      if (!await confirmed("Forget this consumer?", "It is gone from this list until it reports again. What it has handled stays handled.", "Forget it")) return;
      try { await send(pathOf(own), { method: "DELETE" }); go("consumers"); } catch (error) { toast(error.message, "wrong"); }
    },
  };
}

function describe(own, then) {
  const wishes = wishesOf(own, then);
  const isNew = own.version === UNREPORTED;
  return h("div.stack", {},
    h("div.card.stack", {},
      h("div.row.apart", {}, h("h2", {}, own.name, " ", stateOf(own)), h("span.quiet", {}, isNew ? `${KINDS[own.kind]}, nobody has been in it yet` : `${KINDS[own.kind]}, version ${own.version}, epoch ${own.epoch}`)),
      own.last_error && h("p.notice.wrong", {}, own.last_error),
      isNew ? h("p.quiet", {}, "It begins when its first member joins, and can be paused and replayed then.") : h("div.row", {},
        own.state === "paused" ? button("Resume…", "resume", wishes.resume, ".primary") : button("Pause…", "pause", wishes.pause),
        own.state === "stopped" && button("Retry…", "begin", wishes.begin, ".primary"),
        button("Replay…", "replay", wishes.replay),
        // Of others there is one version that serves.
        own.kind === "projection" && button("Promote…", "promote", wishes.promote),
        button("Forget…", "forget", wishes.forget, ".danger"))),
    own.group && members(own.group),
    parked(own, wishes));
}

function parked(own, wishes) {
  const row = (item) => h("tr", {},
    h("td.number", {}, h("a", { href: link("events", { event: item.position }) }, count(item.position))), h("td", {}, item.key), h("td", {}, item.cause),
    h("td", {}, h("div.row", {},
      button("Retry…", `retry ${item.position}`, () => wishes.retry(item.position), ".small"),
      button("Drop…", `drop ${item.position}`, () => wishes.drop(item.position), ".small.danger"))));
  const shown = own.parked.slice(0, ITEMS_MAX);
  return h("div.card.stack", {},
    h("div.row.apart", {}, h("h2", {}, own.parked_count === 0 ? "Nothing is parked" : `${count(own.parked_count)} parked`),
      own.parked_count > 0 && h("div.row", {}, button("Retry all…", "retry", wishes.retryAll), button("Drop all…", "drop", wishes.dropAll, ".danger"))),
    own.parked_count > shown.length && h("p.quiet", {}, `The first ${count(shown.length)} are shown.`),
    shown.length > 0 && h("div.scroll", { tabindex: "0", role: "group", "aria-label": "Parked events" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th.number", { scope: "col" }, "Position"), h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "Cause"), h("th", { scope: "col" }, "Do"))),
      h("tbody", {}, shown.map(row)))));
}

/** What a group is, and who is in it. */
function members({ config, running }) {
  const all = running?.members ?? [];
  const term = (title, ...value) => h("div", {}, h("dt.quiet.small-text", {}, title), h("dd", {}, ...value));
  return h("div.card.stack", {},
    h("h2", {}, all.length === 0 ? "Nobody is in it" : `${count(all.length)} ${all.length === 1 ? "member" : "members"}`),
    h("dl.row.wide-gap", {},
      term("Events", config.queries.map((own) => own || "all").join(" or ")), term("Strategy", config.strategy), term("Key", config.key_tag ? `the tag ${config.key_tag}:` : "the stream"),
      term("Tried again", `${config.retries} times, then ${config.give_up}`),
      running && term("With members", count(running.in_flight)), running && term("Ready", count(running.ready)), running && term("Waiting", count(running.waiting + running.blocked))),
    all.length > 0 && h("div.scroll", { tabindex: "0", role: "group", "aria-label": "Members" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Member", "Principal", "In flight", "Capacity", "Handed out"].map((title, at) => h(`th${at > 1 ? ".number" : ""}`, { scope: "col" }, title)))),
      h("tbody", {}, all.map((own) => h("tr", {}, h("td", {}, own.name), h("td", {}, own.principal), h("td.number", {}, count(own.in_flight)), h("td.number", {}, count(own.capacity)), h("td.number", {}, count(own.total))))))));
}
