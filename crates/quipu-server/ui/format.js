// How numbers, times, names and types look.

const whole = new Intl.NumberFormat("en");

/** 12345 as 12,345. */
export const count = (number) => number === null || number === undefined ? "–" : whole.format(number);

/** Bytes in the largest unit that keeps them above 1. */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (bytes >= 1024 && step < units.length - 1) { bytes /= 1024; step += 1; }
  return `${bytes < 10 && step > 0 ? bytes.toFixed(1) : Math.round(bytes)} ${units[step]}`;
}

/** A time span in microseconds, in two units at most. */
export function span(micros) {
  if (micros === null || micros === undefined) return "–";
  const sign = micros < 0 ? "−" : "";
  micros = Math.abs(micros);
  if (micros < 1_000) return `${sign}${Math.round(micros)} µs`;
  if (micros < 1_000_000) return `${sign}${trim(micros / 1_000)} ms`;
  const seconds = micros / 1e6;
  if (seconds < 60) return `${sign}${trim(seconds)} s`;
  const steps = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  const first = steps.findIndex(([, own]) => seconds >= own);
  const [unit, length] = steps[first];
  const next = steps[first + 1];
  let large = Math.floor(seconds / length);
  let small = next ? Math.round((seconds - large * length) / next[1]) : 0;
  if (next && small * next[1] >= length) { large += 1; small = 0; }
  return `${sign}${large} ${unit}${small > 0 && large < 100 ? ` ${small} ${next[0]}` : ""}`;
}

const trim = (number) => number < 10 ? String(Math.round(number * 10) / 10) : String(Math.round(number));

/** An RFC 3339 time as people read it, in UTC. */
export function time(text) {
  if (!text) return "–";
  const [day, rest] = text.replace("Z", "").split("T");
  return `${day} ${rest.slice(0, 12)}`;
}

/** How long ago that was. */
export function ago(text) {
  const seconds = (Date.now() - Date.parse(text)) / 1000;
  if (seconds < 2) return "now";
  return `${span(Math.floor(seconds) * 1e6).replace(/ \d+ s$/, "")} ago`;
}

/** The category of a stream: the part before the first hyphen. */
export const category = (stream) => stream.split("-", 1)[0];

const DYES = 12;
const DYED = "quipu-dyes";
let dyed;

/**
 * The number of a type's dye. The first types that are seen get dyes of their own; a name keeps its
 * dye in this browser.
 */
export function dye(name) {
  dyed ??= readDyes();
  if (!dyed.has(name)) {
    const taken = [...dyed.values()];
    let own = hash(name) % DYES;
    while (dyed.size < DYES && taken.includes(own)) own = (own + 1) % DYES;
    dyed.set(name, own);
    if (dyed.size <= 200) try { localStorage.setItem(DYED, JSON.stringify([...dyed])); } catch { /* Not kept, then. */ }
  }
  return dyed.get(name);
}

function readDyes() {
  try {
    return new Map(JSON.parse(localStorage.getItem(DYED) ?? "[]").filter(([, own]) => Number.isInteger(own) && own >= 0 && own < DYES));
  } catch {
    return new Map();
  }
}

function hash(name) {
  let own = 2166136261;
  for (let at = 0; at < name.length; at += 1) own = Math.imul(own ^ name.charCodeAt(at), 16777619);
  return (own ^ (own >>> 15)) >>> 0;
}

/** Text that is at most so long. */
export const short = (text, length) => text.length > length ? `${text.slice(0, length - 1)}…` : text;

/** An event's data on one line. */
export function preview(event, length = 180) {
  if (event.erased) return "(erased)";
  if (event.data_base64 !== undefined) return `(${Math.floor(event.data_base64.length * 0.75)} bytes)`;
  if (typeof event.data === "string") return short(JSON.stringify(event.data.slice(0, length)), length);
  return briefly(event.data, length);
}

// Writes JSON until it is long enough, so that a large value costs no more than a small one.
function briefly(value, length) {
  let text = "";
  const write = (own, depth) => {
    if (text.length > length) return;
    if (own === null || typeof own !== "object") {
      text += typeof own === "string" ? JSON.stringify(short(own, length)) : String(own);
      return;
    }
    const isList = Array.isArray(own);
    text += isList ? "[" : "{";
    let isFirst = true;
    for (const key in own) {
      if (text.length > length || depth > 6) { text += "…"; break; }
      if (!isFirst) text += ", ";
      isFirst = false;
      if (!isList) text += `${key}: `;
      write(own[key], depth + 1);
    }
    text += isList ? "]" : "}";
  };
  write(value, 0);
  return short(text.replace(/^\{|\}$/g, ""), length);
}

/** A query's value, quoted where it has to be. */
export const quoted = (value) => /[\s",\\]/.test(value) ? `"${value.replace(/[\\"]/g, "\\$&")}"` : value;

/** Text for a shell, in single quotes where it has to be. */
export const shell = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
