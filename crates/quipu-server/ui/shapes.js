// Small drawings and pieces that several pages have.

import { h, s } from "./dom.js";
import { dye } from "./format.js";
import { link } from "./address.js";

/** The colour of a type. */
export const colour = (type) => `var(--dye-${dye(type)})`;

/** A type with its knot. */
export const typeLabel = (type) => h("span.type", { style: { "--dye": colour(type) } }, type);

/** A link to a stream. */
export const streamLink = (name) => h("a", { href: link("stream", { name }) }, name);

/** A knot on a cord, of an event's type. */
export function knot(x, y, type, size = 1) {
  return s("g.knot", { transform: `translate(${x} ${y})` },
    s("ellipse", { rx: 7 * size, ry: 5 * size, fill: colour(type) }),
    s("path.knot-wrap", { d: `M${-3 * size} ${-4.2 * size}q${2 * size} ${4 * size} 0 ${8.4 * size}M${2 * size} ${-4.6 * size}q${2 * size} ${4.4 * size} 0 ${9 * size}` }));
}

/** A line through numbers, filled to the ground. */
export function sparkline(values, stroke = "var(--cochineal)") {
  const top = Math.max(...values, 1e-9);
  const step = 100 / Math.max(values.length - 1, 1);
  const points = values.map((value, at) => `${(at * step).toFixed(2)},${(30 - 28 * value / top).toFixed(2)}`);
  return s("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("polygon", { points: `0,30 ${points.join(" ")} 100,30`, fill: stroke, opacity: .25 }),
    s("polyline", { points: points.join(" "), fill: "none", stroke, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
}
