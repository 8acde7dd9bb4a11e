// Views that somebody keeps under names of their own: links, in this browser.

import { confirmed, field, h, put, toast } from "./dom.js";
import { short } from "./format.js";

const KEPT = "quipu-saved";
const COUNT_MAX = 100;
const NAME_MAX = 80;

/** What is kept: `{ name, hash }`, the one saved last comes last. What is not a link into this page is none. */
function read() {
  try {
    const all = JSON.parse(localStorage.getItem(KEPT) ?? "[]");
    return all.filter((own) => typeof own?.name === "string" && typeof own.hash === "string" && own.hash.startsWith("#/")).slice(-COUNT_MAX);
  } catch {
    return [];
  }
}

function write(all) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(all));
    return true;
  } catch {
    toast("The browser keeps nothing for this page", "wrong");
    return false;
  }
}

/** The view as somebody would call it: its page, and what it is of. */
function nameOfView() {
  const page = document.title.replace(/ · Quipu$/, "");
  const params = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const of = [...params.getAll("q"), params.get("stream"), params.get("name"), params.get("case"), params.get("category"), params.get("prefix"), params.get("c")].filter(Boolean);
  return short(of.length === 0 ? page : `${page}: ${of.join(" or ")}`, NAME_MAX);
}

/** The list of what is kept, with a button that adds the view that is shown. */
export function savedPlace(signal) {
  const list = h("ul");
  const draw = () => put(list, read().map((own) => h("li.row", {},
    h("a", { href: own.hash, title: own.name }, short(own.name, 42)),
    h("button.plain", { type: "button", "aria-label": `Forget ${own.name}`, onclick: () => forget(own) }, "×"))));
  async function forget(own) {
    if (!await confirmed("Forget this link?", `“${own.name}” is kept by this browser only.`, "Forget it")) return;
    if (write(read().filter((other) => other.name !== own.name))) draw();
  }
  async function save() {
    const hash = location.hash;
    const input = h("input", { type: "text", value: nameOfView(), maxlength: NAME_MAX, required: true });
    const named = await confirmed("Save this view", "It is kept as a link, in this browser. One with the same name is replaced.", "Save", input, field("Name", input));
    const name = named?.trim();
    if (!name) return;
    const others = read().filter((other) => other.name !== name);
    if (others.length >= COUNT_MAX) { toast(`There is room for ${COUNT_MAX}: forget one first`, "wrong"); return; }
    if (write([...others, { name, hash }])) { draw(); toast(`Saved: ${name}`); }
  }
  // Another tab may save too.
  addEventListener("storage", (event) => { if (event.key === KEPT) draw(); }, { signal });
  draw();
  return h("section.saved", { "aria-label": "Saved views" }, h("button.small", { type: "button", onclick: save }, "Save this view…"), list);
}
