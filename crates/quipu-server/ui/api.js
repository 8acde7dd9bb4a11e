// The server's API: requests with the session's token, problems as errors, server-sent events.

const TOKEN = "quipu-token";

/** An answer that is not what was asked for, as RFC 9457 describes it. */
export class Problem extends Error {
  constructor(problem, status) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.problem = problem;
    this.status = status;
  }
}

/** The token lives as long as the tab, and goes with requests only where this page puts it. */
export const session = {
  get token() { return sessionStorage.getItem(TOKEN); },
  set token(value) { value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN); },
  /** What `GET /whoami` answered last. */
  who: { principal: "", open: true, actions: [] },
  may(action) { return this.who.actions.includes(action); },
};

/** Sends a request and answers the response. */
export async function send(path, { method = "GET", headers = {}, body, signal, accept } = {}) {
  const all = { ...headers };
  if (session.token && !all.Authorization) all.Authorization = `Bearer ${session.token}`;
  if (accept) all.Accept = accept;
  let response;
  try {
    response = await fetch(path, { method, headers: all, body, signal, cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server does not answer", detail: "no connection", hint: "see whether quipu serve runs; this page goes on by itself when it is back" }, 0);
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ title: response.statusText }));
  throw new Problem(problem, response.status);
}

/** Reads JSON. */
export const get = async (path, options) => (await send(path, options)).json();

/** Sends JSON and reads what comes back, if anything does. */
export async function post(path, value, options = {}) {
  const headers = { "Content-Type": "application/json" };
  const response = await send(path, { method: "POST", headers, body: JSON.stringify(value), ...options });
  return response.status === 204 ? null : response.json();
}

/** A path with parameters. Those without a value are left out; a list stands once for each. */
export function path(base, params = {}) {
  const pairs = [];
  for (const [name, value] of Object.entries(params)) {
    for (const own of [value].flat()) {
      if (own === undefined || own === null || own === "") continue;
      pairs.push(`${name}=${encodeURIComponent(own)}`);
    }
  }
  return pairs.length > 0 ? `${base}?${pairs.join("&")}` : base;
}

/** The path of a stream. */
export const streamPath = (name, rest = "") => `/streams/${encodeURIComponent(name)}${rest}`;

/** Reads server-sent events from a response until it ends. */
async function* sentEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    // An event may come in many pieces: only what is new is looked at for its end.
    let end = rest.lastIndexOf("\n\n");
    if (end < 0) continue;
    const blocks = rest.slice(0, end).split("\n\n");
    rest = rest.slice(end + 2);
    for (const block of blocks) yield parseSent(block);
  }
}

function parseSent(block) {
  const sent = { kind: "message", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    const [name, value] = at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 2)];
    if (name === "event") sent.kind = value;
    else if (name === "id") sent.id = value;
    else if (name === "data") sent.data = value;
  }
  return sent;
}

/** How long reading goes on before the page lives again, in milliseconds. */
const SLICE_MS = 10;

/**
 * Reads JSON lines of any number as they come. `then` gets some at a time, each with the length of its line;
 * between them the page lives.
 */
export async function readLines(path, then, signal) {
  const response = await send(path, { accept: "application/x-ndjson", signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = [];
  let due = performance.now() + SLICE_MS;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const end = value.lastIndexOf("\n");
      if (end < 0) { pieces.push(value); continue; }
      // A line may come in many pieces: they are joined once.
      const lines = [...pieces, value.slice(0, end)].join("").split("\n");
      pieces = [value.slice(end + 1)];
      for (const line of lines) if (line) then(JSON.parse(line), line.length);
      if (performance.now() < due) continue;
      await new Promise((resolve) => setTimeout(resolve));
      signal?.throwIfAborted();
      due = performance.now() + SLICE_MS;
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    if (signal?.aborted) throw error;
    throw new Problem({ title: "The answer broke off", detail: error.message, hint: "read on: what was read is kept" }, 0);
  }
}

/** One task whose progress is told while it runs: `on[kind](data)` for each event. */
export async function progress(path, on, signal) {
  const response = await send(path, { accept: "text/event-stream", signal });
  for await (const sent of sentEvents(response)) {
    if (sent.kind === "failed") throw new Problem(JSON.parse(sent.data), 500);
    on[sent.kind]?.(JSON.parse(sent.data));
  }
}

/**
 * Follows a subscription for as long as `signal` lets it, and comes back by itself after the last id
 * when the connection breaks. `onState` hears "live", "waiting" and "refused".
 */
export async function follow(path, { onEvent, onState = () => {}, signal }) {
  let last = null;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      const response = await send(path, { headers, accept: "text/event-stream", signal });
      onState("live");
      wait = 500;
      for await (const sent of sentEvents(response)) {
        if (sent.id !== undefined) last = sent.id;
        if (sent.kind === "event") onEvent(JSON.parse(sent.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if ([400, 401, 403, 410].includes(error.status)) {
        onState("refused", error);
        return;
      }
    }
    if (signal.aborted) return;
    onState("waiting");
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, 5_000);
  }
}
