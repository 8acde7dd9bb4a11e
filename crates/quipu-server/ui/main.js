// The frame around the pages: who is here, where one is, and whether the server answers.

import { announce, h, problemBox, put, s, toast } from "./dom.js";
import { get, send, session } from "./api.js";
import { count } from "./format.js";
import { address, current, onMove } from "./address.js";
import { forget } from "./names.js";
import { savedPlace } from "./saved.js";

// Each page is a module that is loaded when it is first shown. `needs` is the right without which
// the page is not offered.
const PAGES = [
  { name: "overview", title: "Overview" },
  { name: "events", title: "Events", needs: "read" },
  { name: "streams", title: "Streams", needs: "read" },
  { name: "time", title: "Time travel", needs: "read" },
  { name: "map", title: "Process map", needs: "read" },
  { name: "consumers", title: "Consumers", needs: ["consume", "operate"] },
  { name: "start", title: "First steps" },
];
const HIDDEN = [{ name: "stream", title: "Stream", needs: "read", under: "streams" }];

const isOffered = (page) => !page.needs || [page.needs].flat().some((own) => session.may(own));

let shown = { page: null, abort: new AbortController() };
/** Ends with the frame around the pages: who is here may change. */
let frame = new AbortController();

function knots() {
  const knot = (x, y, fill) => s("ellipse", { cx: x, cy: y, rx: 3.2, ry: 2.3, fill });
  return s("svg", { viewBox: "3 4 26 25", "aria-hidden": "true" },
    s("path", { d: "M4 9c8-3 16-3 24 0", stroke: "currentColor", "stroke-width": 2.4, fill: "none", "stroke-linecap": "round" }),
    s("path", { d: "M10 8v18M16 7v20M22 8v15", stroke: "currentColor", "stroke-width": 1.4, "stroke-linecap": "round", opacity: .6 }),
    knot(10, 15, "var(--cochineal)"), knot(16, 20, "var(--ochre)"), knot(22, 14, "var(--indigo)"),
    knot(10, 21, "var(--moss)"), knot(16, 13, "var(--cochineal)"));
}

function shell() {
  frame.abort();
  frame = new AbortController();
  const side = h("header.side", {},
    h("div.head", {},
      h("a.brand", { href: "#/overview" }, knots(), "Quipu"),
      h("button.menu-button", {
        type: "button", "aria-expanded": "false", "aria-controls": "menu",
        onclick: (event) => event.currentTarget.setAttribute("aria-expanded", side.classList.toggle("open")),
      }, "Menu")),
    h("nav", { id: "menu", "aria-label": "Pages" }, PAGES.filter(isOffered).map((page) =>
      h("a", { href: `#/${page.name}`, "data-page": page.name }, page.title))),
    savedPlace(frame.signal),
    h("div.foot", {},
      h("div", {}, h("span.lamp", { id: "lamp", role: "status" }, "connecting")),
      h("div.quiet", { id: "log" }),
      h("div.row", {}, whoIsHere(), themeButton()),
      h("div.row.quiet", {}, h("a", { href: "/docs" }, "API"), h("a", { href: "/openapi.json" }, "OpenAPI"))));
  return h("div.frame", {}, side, h("main.main", { id: "content", tabindex: "-1" }),
    h("div.offscreen", { id: "announcer", "aria-live": "polite" }), h("div", { id: "toasts" }));
}

function whoIsHere() {
  const { open, principal } = session.who;
  if (open) return h("span.chip", { title: "The server asks for no credentials; it answers to this machine only" }, "open server");
  return [h("span.chip", {}, principal), h("button.small", { type: "button", onclick: logOut }, "Log out")];
}

function themeButton() {
  const root = document.documentElement;
  const order = ["auto", "light", "dark"];
  const use = (theme) => {
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    button.textContent = { auto: "Auto colours", light: "Light", dark: "Dark" }[theme];
    try { localStorage.setItem("quipu-theme", theme); } catch { /* Not kept, then. */ }
  };
  const button = h("button.small", { type: "button", onclick: () => {
    use(order[(order.indexOf(root.dataset.theme ?? "auto") + 1) % order.length]);
  } });
  let kept = "auto";
  try { kept = localStorage.getItem("quipu-theme") ?? "auto"; } catch { /* The usual, then. */ }
  use(order.includes(kept) ? kept : "auto");
  return button;
}

/** Shows the page that the address names. */
async function show() {
  const at = current();
  const pages = [...PAGES, ...HIDDEN];
  const page = pages.find((own) => own.name === at.page && isOffered(own)) ?? pages.find(isOffered);
  shown.abort.abort();
  shown = { page: page.name, abort: new AbortController() };
  const { signal } = shown.abort;
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page === (page.under ?? page.name)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.querySelector(".side")?.classList.remove("open");
  document.title = `${page.title} · Quipu`;
  const content = document.getElementById("content");
  const root = h("div");
  try {
    const module = await import(`./${page.name}.js`);
    if (signal.aborted) return;
    put(content, root);
    await module.show(root, at.params, signal);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error.status === 401) return start();
    put(content, problemBox(error, show));
  }
}

// What stands on every page: whether the server is there, and which log it serves.
async function heartbeat() {
  const lamp = document.getElementById("lamp");
  if (!lamp) return;
  const was = lamp.textContent;
  try {
    await send("/health/live");
    if (session.may("read")) {
      const { frontier, name } = await get("/frontier");
      put(document.getElementById("log"), `${name} · ${count(frontier)}`);
    }
    lamp.className = "lamp live";
    lamp.textContent = "live";
    // Who was away may come back as another: a restart, or other rights.
    if (was === "server is away") { toast("The server is back"); await start(); }
  } catch (error) {
    if (error.status === 401) return start();
    lamp.className = "lamp waiting";
    lamp.textContent = error.status === 0 ? "server is away" : "server has trouble";
  }
}

async function logOut() {
  await send("/session", { method: "DELETE" }).catch(() => {});
  session.token = null;
  await start();
}

function login(reason) {
  const user = h("input", { id: "user", autocomplete: "username", required: true });
  const password = h("input", { type: "password", autocomplete: "current-password", required: true });
  const token = h("input", { type: "password", autocomplete: "off", placeholder: "qp_…" });
  const failed = h("div", { role: "alert" });
  const enter = async (event, begin) => {
    event.preventDefault();
    put(failed);
    try {
      await begin();
      await start(true);
    } catch (error) {
      session.token = null;
      put(failed, h("p.notice.wrong", {}, error.problem?.detail ?? error.message));
    }
  };
  const byPassword = async () => {
    const bytes = new TextEncoder().encode(`${user.value}:${password.value}`);
    const basic = btoa(String.fromCharCode(...bytes));
    const response = await fetch("/session", { method: "POST", credentials: "omit", headers: { Authorization: `Basic ${basic}` } });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    session.token = answer.token;
  };
  const byToken = async () => {
    session.token = token.value.trim();
    await get("/whoami");
  };
  const page = h("main.login.stack", { id: "content" },
    h("a.brand", { href: "#/overview" }, knots(), "Quipu"),
    reason && h("p.notice", {}, reason), failed,
    h("form.card", { onsubmit: (event) => enter(event, byPassword) },
      h("h1", {}, "Log in"),
      h("label.field", {}, h("span", {}, "User"), user),
      h("label.field", {}, h("span", {}, "Password"), password),
      h("button.primary", { type: "submit" }, "Log in")),
    h("form.card", { onsubmit: (event) => enter(event, byToken) },
      h("h2", {}, "Or show a token"),
      h("label.field", {}, h("span", {}, "Token"), token, h("small", {}, "It stays in this tab, and goes with this tab.")),
      h("button", { type: "submit" }, "Use the token")));
  put(document.getElementById("shell"), page);
  document.title = "Log in · Quipu";
  user.focus();
}

/** Finds out who is here, and draws what they may see. */
async function start(isFresh = false) {
  shown.abort.abort();
  forget();
  const root = document.getElementById("shell");
  try {
    session.who = await get("/whoami");
  } catch (error) {
    if (error.status === 401) {
      session.token = null;
      return login("The session is over, or the token is not valid any more.");
    }
    put(root, h("main.login", { id: "content" }, problemBox(error, () => start())));
    setTimeout(() => start(), 2_000);
    return;
  }
  if (!session.who.open && session.who.actions.length === 0) {
    const reason = session.who.principal === "anonymous" ? "The session is over, or the token is not valid." : "This principal may do nothing here.";
    return login(session.token ? reason : null);
  }
  put(root, shell());
  await heartbeat();
  await show();
  if (isFresh) announce(`Logged in as ${session.who.principal}`);
}

onMove(show);
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address is the page's state: the link must not change it.
  event.preventDefault();
  document.getElementById("content")?.focus();
});
if (!location.hash) address({ page: "overview", params: new URLSearchParams() });
setInterval(heartbeat, 3_000);
await start();

