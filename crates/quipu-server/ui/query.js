// A field for queries, with completion of terms, types, tags, streams and categories.

import { announce, h, put } from "./dom.js";
import { complete, lookUp, sample, tagCount } from "./names.js";
import { count, quoted } from "./format.js";

const TERMS = [
  ["type:", "one of these types: type:A,B"], ["tag:", "with this tag, and each further one"],
  ["category:", "in streams of this category"], ["stream:", "in this stream"],
];
/** How long the typing has to rest before the server is asked. */
const REST_MS = 120;
let number = 0;

/** Makes the field. `onSubmit` hears Enter. */
export function queryField({ value = "", label = "Query", placeholder = "type:OrderPlaced tag:customer:7", onSubmit }) {
  sample();
  number += 1;
  const listId = `suggestions-${number}`;
  const input = h("input.mono", {
    type: "text", value, placeholder, role: "combobox", spellcheck: "false", autocomplete: "off", autocapitalize: "none",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": listId, "aria-label": label,
  });
  const list = h("ul", { id: listId, role: "listbox", "aria-label": "Completions", hidden: true });
  let chosen = -1;
  let options = [];
  let resting = null;

  const close = () => {
    clearTimeout(resting);
    resting = null;
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (index) => {
    chosen = index;
    [...list.children].forEach((item, at) => item.setAttribute("aria-selected", at === index));
    const item = list.children[index];
    if (item) { input.setAttribute("aria-activedescendant", item.id); item.scrollIntoView({ block: "nearest" }); }
  };
  const take = (index) => {
    const option = options[index];
    const { start, end } = word(input);
    input.setRangeText(option.text, start, end, "end");
    close();
    if (option.isTerm) open();
    input.focus();
  };
  const open = () => {
    const { text } = word(input);
    show(text);
    // What is known is there at once; what the server knows besides comes when it has answered.
    clearTimeout(resting);
    resting = setTimeout(() => {
      const own = resting;
      const isWanted = () => own === resting && document.activeElement === input && word(input).text === text;
      // Who has begun to choose keeps what there is to choose from.
      const again = () => { if (isWanted() && chosen < 0) show(text); };
      for (const kind of kindsOf(text)) lookUp(kind, unquoted(last(kind, text.slice(text.indexOf(":") + 1))), isWanted, again);
    }, REST_MS);
  };
  const show = (text) => {
    const before = options.length;
    options = suggestions(text);
    put(list, options.map((option, at) => h("li", {
      role: "option", id: `${listId}-${at}`, "aria-selected": "false",
      onpointerdown: (event) => { event.preventDefault(); take(at); },
    }, option.text, option.hint && h("span", {}, option.hint))));
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    if (options.length !== before) announce(options.length === 1 ? "1 completion" : `${options.length} completions`);
    chosen = -1;
  };
  input.addEventListener("input", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open();
      else choose((chosen + (event.key === "ArrowDown" ? 1 : -1) + options.length) % options.length);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      close();
    } else if ((event.key === "Enter" || event.key === "Tab") && chosen >= 0) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === "Enter") {
      close();
      onSubmit?.(input.value);
    }
  });
  return { input, element: h("span.suggest", {}, input, list) };
}

/** The word of the input that the cursor is in: blanks in quotes do not end it. */
function word(input) {
  const end = input.selectionStart ?? input.value.length;
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < end; at += 1) {
    const own = input.value[at];
    if (own === '"') isQuoted = !isQuoted;
    else if (own === "\\" && isQuoted) at += 1;
    else if (own === " " && !isQuoted) start = at + 1;
  }
  return { start, end, text: input.value.slice(start, end) };
}

/** The kinds of names that complete a word. */
function kindsOf(text) {
  const at = text.indexOf(":");
  if (at < 0) return text.length < 2 ? [] : ["type", "category"];
  const kind = text.slice(0, at);
  // A tag is written key first: there may be very many tags of one key.
  return kind === "tag" && text.indexOf(":", at + 1) < 0 ? ["key", "tag"] : [kind];
}

function suggestions(text) {
  const at = text.indexOf(":");
  if (at < 0) {
    const terms = TERMS.filter(([term]) => term.startsWith(text)).map(([term, hint]) => ({ text: term, hint, isTerm: true }));
    const names = kindsOf(text).flatMap((kind) =>
      complete(kind, text, 5).map((name) => ({ text: `${kind}:${quoted(name)} ` })));
    return [...terms, ...names];
  }
  const kind = text.slice(0, at);
  const rest = text.slice(at + 1);
  const wanted = last(kind, rest);
  const before = rest.slice(0, rest.length - wanted.length);
  const names = complete(kind, unquoted(wanted)).map((name) => ({ text: `${kind}:${before}${quoted(name)}` }));
  const keys = !kindsOf(text).includes("key") ? [] : complete("key", unquoted(wanted)).filter((key) => quoted(key) === key).map((key) => (
    { text: `tag:${key}:`, hint: tagCount(key) === undefined ? "" : `${count(tagCount(key))} tags`, isTerm: true }));
  return [...keys, ...names].slice(0, 14);
}

/** Types are a list: the last one is being written. */
const last = (kind, text) => kind === "type" ? text.slice(text.lastIndexOf(",") + 1) : text;

/** The name in what may be the beginning of a quoted one. */
const unquoted = (text) => text.startsWith('"') ? text.slice(1).replace(/"$/, "").replace(/\\(.)/g, "$1") : text;
