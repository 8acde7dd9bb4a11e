// The state of a view is its address, so that every view is a link: `#/events?q=type%3AOrderPlaced`.

/** What the address says: the page, and its parameters. */
export function current() {
  const [page, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: page || "overview", params: new URLSearchParams(query ?? "") };
}

/** The link to a page. Parameters without a value are left out. */
export function link(page, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const own of [value].flat()) {
      if (own !== undefined && own !== null && own !== "" && own !== false) query.append(name, own);
    }
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** Goes to a page, as a link would. */
export function go(page, params) {
  const target = link(page, params);
  if (location.hash === target) window.dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = target;
}

/** Notes the view's state without showing it anew, and without a step in the history. */
export function address({ page, params }) {
  const text = params.toString();
  history.replaceState(null, "", `#/${page}${text ? `?${text}` : ""}`);
}

/** Changes some parameters of the present view's address. */
export function note(changes) {
  const { page, params } = current();
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    for (const own of [value].flat()) {
      if (own !== undefined && own !== null && own !== "" && own !== false) params.append(name, own);
    }
  }
  address({ page, params });
}

/** Calls when the address changes by a link, the back button, or `go`. */
export function onMove(then) {
  window.addEventListener("hashchange", then);
}
