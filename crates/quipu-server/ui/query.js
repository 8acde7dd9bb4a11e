// A field for queries, with completion of terms, types, tags and categories.

import { h, put } from "./dom.js";
import { complete, sample } from "./names.js";
import { quoted } from "./format.js";

const TERMS = [
  ["type:", "one of these types: type:A,B"], ["tag:", "with this tag, and each further one"],
  ["category:", "in streams of this category"], ["stream:", "in this stream"],
];
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

  const close = () => {
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
    options = suggestions(word(input).text);
    put(list, options.map((option, at) => h("li", {
      role: "option", id: `${listId}-${at}`, "aria-selected": "false",
      onpointerdown: (event) => { event.preventDefault(); take(at); },
    }, option.text, option.hint && h("span", {}, option.hint))));
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
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

/** The word of the input that the cursor is in. */
function word(input) {
  const end = input.selectionStart ?? input.value.length;
  const start = input.value.lastIndexOf(" ", end - 1) + 1;
  return { start, end, text: input.value.slice(start, end) };
}

function suggestions(text) {
  const at = text.indexOf(":");
  if (at < 0) {
    const terms = TERMS.filter(([term]) => term.startsWith(text)).map(([term, hint]) => ({ text: term, hint, isTerm: true }));
    const names = text.length < 2 ? [] : ["type", "category"].flatMap((kind) =>
      complete(kind, text, 5).map((name) => ({ text: `${kind}:${quoted(name)} ` })));
    return [...terms, ...names];
  }
  const kind = text.slice(0, at);
  const rest = text.slice(at + 1);
  // Types are a list: the last one is being written.
  const comma = kind === "type" ? rest.lastIndexOf(",") + 1 : 0;
  return complete(kind, rest.slice(comma)).map((name) => ({ text: `${kind}:${rest.slice(0, comma)}${quoted(name)}` }));
}
