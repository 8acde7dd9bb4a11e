// What /metrics says, as numbers: the same that Prometheus reads.

import { send } from "./api.js";

/** Reads all metrics once. */
export async function readMetrics(signal) {
  const text = await (await send("/metrics", { signal })).text();
  const values = new Map();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const end = line.lastIndexOf(" ");
    values.set(line.slice(0, end), Number(line.slice(end + 1)));
  }
  return { at: performance.now(), values };
}

/** The sum of a metric over its labels. */
export function total(metrics, name) {
  let sum = 0;
  for (const [key, value] of metrics.values) if (key === name || key.startsWith(`${name}{`)) sum += value;
  return sum;
}

/** A counter's rate between two readings, a second. */
export function rate(before, after, name) {
  const seconds = (after.at - before.at) / 1000;
  return seconds > 0 ? Math.max(0, total(after, name) - total(before, name)) / seconds : 0;
}

/** Quantiles of a histogram of seconds between two readings, in microseconds; null where nothing was timed. */
export function quantiles(before, after, name, wanted) {
  const bounds = [];
  for (const [key, value] of after.values) {
    const match = key.startsWith(`${name}_bucket{`) && /le="([^"]+)"/.exec(key);
    if (match) bounds.push([match[1] === "+Inf" ? Infinity : Number(match[1]), value - (before?.values.get(key) ?? 0)]);
  }
  bounds.sort((a, b) => a[0] - b[0]);
  const all = bounds.at(-1)?.[1] ?? 0;
  if (all <= 0) return wanted.map(() => null);
  return wanted.map((quantile) => {
    const at = bounds.findIndex(([, below]) => below >= quantile * all);
    const [upper, below] = bounds[at];
    const [lower, before] = at > 0 ? bounds[at - 1] : [0, 0];
    if (upper === Infinity) return lower * 1e6;
    // Within a bucket the times are taken as spread evenly.
    return (lower + (upper - lower) * (quantile * all - before) / Math.max(below - before, 1)) * 1e6;
  });
}
