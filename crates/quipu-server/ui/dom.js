// Elements, without markup: what comes from the log only ever becomes text.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: `h("a.quiet", { href }, "text")`. Handlers are `onclick` and their like. */
export function h(spec, attributes = {}, ...children) {
  return fill(document.createElement(spec.split(".")[0] || "div"), spec, attributes, children);
}

/** Makes an SVG element. */
export function s(spec, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, spec.split(".")[0]), spec, attributes, children);
}

function fill(element, spec, attributes, children) {
  const classes = spec.split(".").slice(1);
  if (classes.length > 0) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, own] of Object.entries(value)) element.style.setProperty(key, own);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Puts other children in place of an element's. */
export function put(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Changes what is in an element; the focus stays with what has the same `data-key` afterwards. */
export function keepFocus(root, change) {
  const at = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  change();
  if (at) [...root.querySelectorAll("[data-key]")].find((own) => own.dataset.key === at)?.focus();
}

/** Tells a screen reader, without moving the focus. */
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

/** A short message that goes by itself. */
export function toast(text, kind = "done") {
  const shelf = document.getElementById("toasts");
  const note = h(`p.toast.${kind}`, {}, text);
  shelf.append(note);
  announce(text);
  setTimeout(() => note.remove(), 4500);
}

/** A button that copies text. `text` may be a function, asked when it is pressed. */
export function copyButton(label, text) {
  return h("button.small", {
    type: "button",
    onclick: async () => {
      const value = typeof text === "function" ? await text() : text;
      const shown = label.replace(/^Copy( as)? ?/, "");
      if (await copy(value)) toast(shown ? `Copied: ${shown}` : "Copied");
      else toast("The browser does not let this page copy", "wrong");
    },
  }, label);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS and away from localhost there is no clipboard; a selection still works.
    const area = h("textarea.offscreen", { "aria-hidden": "true", value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/**
 * Asks before something is done. Resolves to whether it was confirmed; with an `input`, to what stands in
 * it, or null. `shown` is what the input stands in, where it is in something.
 */
export function confirmed(title, text, action, input, shown = input) {
  return new Promise((resolve) => {
    const done = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(input ? (answer ? input.value : null) : answer);
    };
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title),
      h("p", {}, text),
      h("form.stack", { method: "dialog", onsubmit: (event) => { event.preventDefault(); done(true); } }, shown,
        h("div.row.end", {},
          h("button", { type: "button", onclick: () => done(false) }, "Leave it"),
          h("button.danger", { type: "submit" }, action))));
    dialog.addEventListener("cancel", () => done(false));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Saves text as a file. */
export function download(name, kind, parts) {
  const url = URL.createObjectURL(new Blob([parts].flat(), { type: kind }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A labelled form control. */
export function field(label, control, hint) {
  return h("label.field", {}, h("span", {}, label), control, hint && h("small", {}, hint));
}

/** A box that says why something is not shown, and what to do. */
export function problemBox(error, retry) {
  const { title, detail, hint, cause } = error.problem ?? {};
  return h("div.notice.wrong", { role: "alert" },
    h("strong", {}, title ?? "That did not work"),
    h("p", {}, detail ?? error.message),
    cause && h("p.quiet", {}, cause),
    hint && h("p", {}, `What to do: ${hint}.`),
    retry && h("button.small", { type: "button", onclick: retry }, "Try again"));
}

/** What a place with nothing in it says. */
export function empty(title, ...more) {
  return h("div.empty", {}, h("strong", {}, title), ...more.map((own) => own instanceof Node ? own : h("p", {}, own)));
}
