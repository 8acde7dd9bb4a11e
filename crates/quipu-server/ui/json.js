// JSON as a tree that opens where one looks. A large value costs what is shown of it.

import { h } from "./dom.js";
import { short } from "./format.js";

const CHILDREN_MAX = 100;
const TEXT_MAX = 2_000;

/** A number that JavaScript cannot hold exactly keeps its own digits. */
class Digits {
  constructor(text) { this.text = text; }

  toJSON() { return JSON.rawJSON ? JSON.rawJSON(this.text) : Number(this.text); }
}

/** Parses JSON, with numbers exactly as they were written. */
export function parseExactly(text) {
  // A reviver visits every value, which a large text is not worth.
  if (text.length > 200_000) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) => {
    const source = context?.source;
    return typeof value === "number" && source !== undefined && String(value) !== source ? new Digits(source) : value;
  });
}

/** The tree of a value. The first levels are open. */
export function jsonTree(value) {
  return h("div.json", { tabindex: "0", role: "group", "aria-label": "Data" }, node(value, 0));
}

function node(value, depth) {
  if (value instanceof Digits) return h("span.value", {}, value.text);
  if (typeof value === "string") return textNode(value);
  if (value === null || typeof value !== "object") return h("span.value", {}, String(value));
  const isList = Array.isArray(value);
  const keys = Object.keys(value);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (keys.length === 0) return h("span", {}, open + close);
  const list = h("ul");
  const fill = (from) => {
    for (const key of keys.slice(from, from + CHILDREN_MAX)) {
      list.append(h("li", {}, h("span.key", {}, isList ? key : short(key, 200)), ": ", node(value[key], depth + 1)));
    }
    const left = keys.length - from - CHILDREN_MAX;
    if (left > 0) {
      const more = h("li", {}, h("button.small.more", { type: "button", onclick: () => { more.remove(); fill(from + CHILDREN_MAX); } }, `${left} more`));
      list.append(more);
    }
  };
  const details = h("details", {}, h("summary", {}, `${open}${keys.length} ${isList ? "items" : keys.length === 1 ? "field" : "fields"}${close}`), list);
  const openIt = () => { if (list.childElementCount === 0) fill(0); };
  details.addEventListener("toggle", () => { if (details.open) openIt(); });
  if (depth < 2 && keys.length <= 60) { openIt(); details.open = true; }
  return details;
}

function textNode(text) {
  const quote = (own) => JSON.stringify(own);
  if (text.length <= TEXT_MAX) return h("span.text", {}, quote(text));
  let shown = TEXT_MAX;
  const span = h("span.text", {}, quote(text.slice(0, shown)));
  const more = h("button.small.more", { type: "button", onclick: () => {
    shown = Math.min(shown + 50_000, text.length);
    span.textContent = quote(text.slice(0, shown));
    if (shown === text.length) more.remove();
    else more.textContent = `${text.length - shown} characters more`;
  } }, `${text.length - shown} characters more`);
  return h("span", {}, span, " ", more);
}
