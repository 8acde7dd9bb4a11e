// The first steps: append, read, subscribe, in five languages, ready to copy.

import { copyButton, h, problemBox, put } from "./dom.js";
import { session } from "./api.js";
import { LANGUAGES } from "./samples.js";
import { link, note } from "./address.js";

const PIECES = [
  ["append", "append", "Append an event", "It is durable when the answer comes."],
  ["read", "read", "Read its stream", "In order, from the first event on."],
  ["subscribe", "read", "Subscribe", "What is there, then what comes, without a gap."],
];

const section = ([name, , title, explains], pieces, language) => h("section.card", {},
  h("div.row.apart", {}, h("h2", {}, title), copyButton("Copy", pieces[name])),
  h("p.quiet", {}, explains),
  h("pre.code", { tabindex: "0", "data-piece": name, "aria-label": `${title}, ${language.title}` }, h("code", {}, pieces[name])));

export async function show(root, params) {
  // What the caller may not do is not offered.
  const offered = PIECES.filter(([, needs]) => session.may(needs));
  const mayConsume = session.may("consume") || session.may("operate");
  const place = h("div.stack", { id: "pieces", role: "tabpanel" });
  const tabs = h("div.tabs", { role: "tablist", "aria-label": "Language" });
  let chosen = null;
  const choose = async (language, isMoved) => {
    chosen = language;
    for (const tab of tabs.children) {
      const isOn = tab.id === `tab-${language.name}`;
      tab.setAttribute("aria-selected", isOn);
      tab.tabIndex = isOn ? 0 : -1;
      if (isOn && isMoved) tab.focus();
    }
    place.setAttribute("aria-labelledby", `tab-${language.name}`);
    if (isMoved) note({ in: language.name });
    try {
      const pieces = await language.pieces();
      if (chosen === language) put(place, offered.map((piece) => section(piece, pieces, language)));
    } catch (error) {
      if (chosen === language) put(place, problemBox(error, () => choose(language, false)));
    }
  };
  tabs.append(...LANGUAGES.map((language, at) => h("button", {
    type: "button", role: "tab", id: `tab-${language.name}`, "aria-controls": "pieces",
    onclick: () => choose(language, true),
    onkeydown: (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) choose(LANGUAGES[(at + by + LANGUAGES.length) % LANGUAGES.length], true);
    },
  }, language.title)));
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "First steps"), h("p", {}, "These run against this server as they stand."))),
    offered.length < PIECES.length && h("p.notice", {}, `You may ${["read", "append"].filter((own) => session.may(own)).join(" and ") || "neither read nor append"} here; the rest is not shown.`),
    offered.length > 0 && !session.who.open && h("p.notice", {}, "They take your token from the environment: ", h("code", {}, "export QUIPU_TOKEN=qp_…")),
    offered.length > 0 && [tabs, place],
    (session.may("read") || mayConsume) && h("section.card.gap-top", {}, h("h2", {}, "Then look"),
      h("ul.stack.names", {},
        session.may("read") && [
          h("li", {}, h("a", { href: link("stream", { name: "order-7" }) }, "the stream order-7"), ", which the first piece makes"),
          h("li", {}, h("a", { href: link("time", { q: "tag:order:1001" }) }, "an order through time"), ", on the sample"),
          h("li", {}, h("a", { href: link("map", { case: "tag:order" }) }, "the process map of all orders"), ", on the sample")],
        mayConsume && h("li", {}, h("a", { href: link("consumers") }, "what runs on the log"), ", and what it has parked"))));
  await choose(LANGUAGES.find((own) => own.name === params.get("in")) ?? LANGUAGES[0], false);
}
