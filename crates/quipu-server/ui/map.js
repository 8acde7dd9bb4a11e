// The process map: which type follows which, drawn as a graph that can be looked into.

import { download, empty, field, h, problemBox, put, s } from "./dom.js";
import { get, path, progress } from "./api.js";
import { categories, sampleKeys, tagKeys } from "./names.js";
import { count, quoted, short, span, time } from "./format.js";
import { queryField } from "./query.js";
import { colour, typeLabel } from "./shapes.js";
import { go, link, note } from "./address.js";
import { layOut } from "./layout.js";

const HEIGHT = 46;
const START = " start";
const END = " end";
const EDGES_USUAL = 26;

export async function show(root, params, signal) {
  await sampleKeys();
  if (signal.aborted) return;
  const queries = params.getAll("q");
  const keys = tagKeys();
  const by = params.get("case") ?? (queries.length === 0 && keys.length > 0 ? `tag:${keys[0]}` : "stream");
  const asOf = params.get("asof") ?? "";
  const query = queryField({ value: queries[0] ?? "", placeholder: "everything; or category:order", label: "Which events", onSubmit: submit });
  const options = [["stream", "its stream"], ...keys.map((key) => [`tag:${key}`, `its tag ${key}:`])];
  if (!options.some(([own]) => own === by)) options.push([by, by]);
  const caseBy = h("select", {}, options.map(([value, title]) => h("option", { value, selected: value === by }, title)));
  const at = h("input", { type: "text", value: asOf, placeholder: "position, time or date", size: 20 });
  const place = h("div.gap-top");
  const shelf = h("div.chips");
  put(root,
    h("div.top", {}, h("div", {}, h("h1", {}, "Process map"), h("p", {}, "What follows what, how often, and after how long: the way things really go, read off the log."))),
    h("form.card.stack", { role: "search", onsubmit: (event) => { event.preventDefault(); submit(); } },
      h("div.row.bottom", {}, h("div.field.wide", {}, h("span.small-text.quiet", {}, "Which events"), query.element), field("An event belongs to", caseBy), field("As the log was", at), h("button.primary", { type: "submit" }, "Draw")),
      shelf),
    place);
  function submit() { go("map", { q: query.input.value.trim(), case: caseBy.value, asof: at.value }); }
  categories().then((found) => put(shelf, found.slice(0, 14).map(({ name }) => h("a.chip", { href: link("map", { q: `category:${quoted(name)}`, case: "stream" }) }, name)),
    keys.slice(0, 6).map((key) => h("a.chip", { href: link("map", { case: `tag:${key}` }) }, `all with ${key}:`)))).catch(() => {});
  await read(place, { queries, by, asOf, params, signal });
}

async function read(place, view) {
  const { queries, by, asOf, signal } = view;
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const told = h("p.quiet", { role: "status" }, "Reading…");
  const cancel = h("button", { type: "button", onclick: () => stop.abort() }, "Cancel");
  put(place, h("div.card.stack", {}, told, bar, h("div.row", {}, cancel)));
  try {
    await progress(path("/process-map", { query: queries, case: by, as_of: asOf }), {
      progress: ({ position, through }) => { bar.max = through; bar.value = position; told.textContent = `Read up to ${count(position)} of ${count(through)}`; },
      map: (map) => draw(place, map, view),
    }, stop.signal);
  } catch (error) {
    if (signal.aborted) return;
    if (stop.signal.aborted) put(place, h("div.card.row", {}, "Cancelled. ", h("button", { type: "button", onclick: () => read(place, view) }, "Go on")));
    else put(place, problemBox(error, () => read(place, view)));
  }
}

function draw(place, map, view) {
  if (map.types.length === 0) {
    put(place, empty("Nothing to draw", map.event_count > 0 ? "These events belong to no such case: choose what else they belong to." : "No event matches."));
    return;
  }
  const { params } = view;
  const state = {
    show: params.get("show") ?? "count",
    types: Math.min(Number(params.get("types") ?? map.types.length), map.types.length),
    edges: Math.min(Number(params.get("edges") ?? EDGES_USUAL), map.edges.length),
    from: params.get("from"), to: params.get("to"),
  };
  const canvas = h("div.map.card");
  const aside = h("div.stack", { hidden: true });
  const columns = h("div.columns.gap-top.map-columns", {}, canvas, aside);
  const redraw = () => {
    note({ show: state.show === "count" ? null : state.show, types: state.types === map.types.length ? null : state.types, edges: state.edges === EDGES_USUAL ? null : state.edges, from: state.from, to: state.to });
    graph(canvas, map, state, choose);
  };
  const choose = (edge) => {
    [state.from, state.to] = edge ? [edge.from, edge.to] : [null, null];
    redraw();
    put(aside, edge ? behind(edge, () => choose(null), view) : null);
    aside.hidden = !edge;
    columns.classList.toggle("open", Boolean(edge));
  };
  const slider = (label, name, max) => {
    const value = h("output.number", {}, `${state[name]} of ${max}`);
    const input = h("input", { type: "range", min: Math.min(1, max), max, value: state[name], "aria-label": label, oninput: () => { state[name] = Number(input.value); value.textContent = `${input.value} of ${max}`; redraw(); } });
    return h("label.field", {}, h("span.row.apart", {}, label, value), input);
  };
  const shows = h("select", { onchange: () => { state.show = shows.value; redraw(); } }, [["count", "how often"], ["median", "the median wait"], ["p90", "the wait of 90 %"]].map(([value, title]) => h("option", { value, selected: value === state.show }, title)));
  const exports = (format, title) => h("a.button.small", { href: path("/process-map/export", { format, query: view.queries, case: view.by, as_of: view.asOf }), download: "", onclick: (event) => saveExport(event, format, view) }, title);
  put(place,
    map.left_out_count > 0 && h("p.notice", {}, `The map has room for a million cases and 500 types: ${count(map.left_out_count)} events are not in it. Narrow the query.`),
    h("div.card.row.apart", {},
      h("div.row.wide-gap", {}, [["Cases", map.case_count], ["Events", map.event_count], ["Types", map.types.length], ["Ways through", map.path_count], ["Up to", map.position]].map(([title, value]) => h("div", {}, h("div.quiet.small-text", {}, title), h("strong.number", {}, count(value))))),
      h("div.row", {}, h("button.small", { type: "button", onclick: () => saveSvg(canvas.querySelector("svg.graph")) }, "SVG"), exports("ocel", "OCEL 2.0"), exports("xes", "XES"))),
    h("div.card.row.gap-top.map-tools", {}, field("Edges tell", shows), slider("Types", "types", map.types.length), slider("Edges, the most frequent", "edges", map.edges.length)),
    columns,
    h("div.columns.gap-top.map-below", {}, paths(map), edges(map, choose)));
  choose(map.edges.find((own) => own.from === state.from && own.to === state.to) ?? null);
}

/** What is drawn: the types wanted, the most frequent edges, and for each type the ways that lead to it and away. */
function chosen(map, state) {
  const types = new Set(map.types.slice(0, state.types).map((own) => own.type));
  const all = map.edges.filter((edge) => types.has(edge.from) && types.has(edge.to));
  const kept = new Set(all.slice(0, state.edges));
  for (const type of types) {
    const into = all.find((edge) => edge.to === type && edge.from !== type);
    const out = all.find((edge) => edge.from === type && edge.to !== type);
    for (const edge of [into, out]) if (edge) kept.add(edge);
  }
  return { types: map.types.filter((own) => types.has(own.type)), edges: [...kept] };
}

function graph(place, map, state, choose) {
  const { types, edges: kept } = chosen(map, state);
  const most = Math.max(...types.map((own) => own.count));
  const mostEdge = Math.max(1, ...kept.map((own) => own.count));
  const nodes = types.map((own) => ({ id: own.type, width: Math.min(250, Math.max(118, own.type.length * 8.1 + 30)), own }));
  // Ends that few cases have would hide the ways that most take.
  const starts = types.filter((own) => own.start_count > map.case_count / 50);
  const ends = types.filter((own) => own.end_count > map.case_count / 50);
  const isLoop = (edge) => edge.from === edge.to;
  const links = [
    ...kept.filter((edge) => !isLoop(edge)).map((edge) => ({ from: edge.from, to: edge.to, weight: edge.count, edge })),
    ...starts.map((own) => ({ from: START, to: own.type, weight: own.start_count * 1.5, terminal: own.start_count })),
    ...ends.map((own) => ({ from: own.type, to: END, weight: own.end_count, terminal: own.end_count })),
  ];
  const all = [{ id: START, width: 30 }, ...nodes, { id: END, width: 30 }];
  const { places, points, width, height } = layOut(all, links, END);
  const isChosen = (edge) => edge.from === state.from && edge.to === state.to;
  const label = (edge) => ({ count: count(edge.count), median: span(edge.median_us), p90: span(edge.p90_us) })[state.show];
  const drawLink = (own) => {
    const line = points.get(own);
    const thick = own.edge ? 1 + 5 * Math.sqrt(own.edge.count / mostEdge) : 1.2;
    const curve = through(line);
    return s(`g.edge${own.edge ? "" : ".terminal-edge"}${own.edge && isChosen(own.edge) ? ".chosen" : ""}`, own.edge ? { onclick: () => choose(own.edge) } : {},
      own.edge && s("path.hit", { d: curve }),
      s("path.line", { d: curve, "stroke-width": thick.toFixed(1) }), arrow(line, thick),
      own.edge && s("title", {}, `${own.edge.from} → ${own.edge.to}: ${count(own.edge.count)} times, median ${span(own.edge.median_us)}, 90 % within ${span(own.edge.p90_us)}`));
  };
  // Labels lie above all lines, each where none lies yet, if there is such a place.
  const taken = [...nodes.map((node) => { const { x, y } = places.get(node.id); return { x, y, w: node.width, h: HEIGHT }; })];
  const drawLabel = (own) => {
    const text = own.edge ? label(own.edge) : count(own.terminal);
    const spots = labelSpots(points.get(own)).map(({ x, y }) => ({ x, y, w: text.length * 7 + 4, h: 14 }));
    const isFree = (a) => taken.every((b) => Math.abs(a.x - b.x) * 2 >= a.w + b.w || Math.abs(a.y - b.y) * 2 >= a.h + b.h);
    const spot = spots.find(isFree) ?? spots[0];
    taken.push(spot);
    return s(`text${own.edge ? "" : ".sub"}`, { x: spot.x, y: spot.y + 4, "text-anchor": "middle" }, text);
  };
  const loops = kept.filter(isLoop).map((edge) => {
    const node = nodes.find((own) => own.id === edge.from);
    const { x, y } = places.get(edge.from);
    const right = x + node.width / 2;
    const curve = `M${right} ${y - 12}C${right + 34} ${y - 30} ${right + 34} ${y + 30} ${right + 4} ${y + 12}`;
    return s(`g.edge${isChosen(edge) ? ".chosen" : ""}`, { onclick: () => choose(edge) }, s("path.hit", { d: curve }),
      s("path.line", { d: curve, "stroke-width": (1 + 5 * Math.sqrt(edge.count / mostEdge)).toFixed(1) }),
      s("polygon", { points: `${right},${y + 10} ${right + 10},${y + 9} ${right + 7},${y + 18}` }),
      s("text", { x: right + 28, y: y + 4 }, label(edge)), s("title", {}, `${edge.from} again: ${count(edge.count)} times, median ${span(edge.median_us)}`));
  });
  const drawNode = ({ id, width: wide, own }) => {
    const { x, y } = places.get(id);
    return s("g.node", { style: { "--dye": colour(id) }, onclick: () => go("events", { q: `type:${quoted(id)}` }) },
      s("rect", { x: x - wide / 2, y: y - HEIGHT / 2, width: wide, height: HEIGHT, rx: 10 }),
      s("rect.fillbar", { x: x - wide / 2 + 10, y: y + HEIGHT / 2 - 8, width: Math.max(2, (wide - 20) * own.count / most), height: 3, rx: 1.5 }),
      s("text", { x, y: y - 3, "text-anchor": "middle" }, short(id, 29)), s("text.sub", { x, y: y + 11, "text-anchor": "middle" }, count(own.count)),
      s("title", {}, `${id}: ${count(own.count)} times, first in ${count(own.start_count)} cases, last in ${count(own.end_count)}`));
  };
  const terminal = (id, title) => {
    const { x, y } = places.get(id);
    return s("g", {}, s("circle.terminal", { cx: x, cy: y, r: 9 }), s("title", {}, title));
  };
  const svg = s("svg.graph", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": `Process map: ${types.length} types, ${kept.length} edges. The table of edges says the same. Arrow keys move, plus and minus zoom.` },
    links.map(drawLink), loops, s("g.edge.labels", {}, [...links].sort((a, b) => b.weight - a.weight).map(drawLabel)), nodes.map(drawNode), starts.length > 0 && terminal(START, "where cases begin"), ends.length > 0 && terminal(END, "where cases are now"));
  const view = zoomable(svg, width, height, place.dataset);
  put(place, svg, h("div.tools", {}, [["+", "Zoom in", () => view.zoom(0.8)], ["−", "Zoom out", () => view.zoom(1.25)], ["Fit", "Fit", () => view.fit()]].map(([text, title, then]) => h("button.small", { type: "button", "aria-label": title, title, onclick: then }, text))));
}

/** A curve through points from the bottom of one node to the top of another, or from top to bottom. */
function through(points) {
  const line = trimmed(points);
  let text = `M${line[0].x.toFixed(1)} ${line[0].y.toFixed(1)}`;
  for (let at = 1; at < line.length; at += 1) {
    const [from, to] = [line[at - 1], line[at]];
    const half = (from.y + to.y) / 2;
    text += `C${from.x.toFixed(1)} ${half.toFixed(1)} ${to.x.toFixed(1)} ${half.toFixed(1)} ${to.x.toFixed(1)} ${to.y.toFixed(1)}`;
  }
  return text;
}

function trimmed(points) {
  const isDown = points.at(-1).y > points[0].y;
  const by = HEIGHT / 2;
  const line = points.map((point) => ({ ...point }));
  line[0].y += isDown ? by : -by;
  line.at(-1).y += isDown ? -by - 7 : by + 7;
  // Up and down between the same two do not lie on each other.
  if (!isDown) for (const point of [line[0], line.at(-1)]) point.x += 16;
  return line;
}

function arrow(points, thick) {
  const line = trimmed(points);
  const isDown = points.at(-1).y > points[0].y;
  const { x, y } = line.at(-1);
  const wide = 4 + thick;
  const tip = isDown ? y + 8 : y - 8;
  return s("polygon", { points: `${x},${tip} ${x - wide},${y} ${x + wide},${y}` });
}

/** Where an edge's label may lie: on the edge, the middle first. */
function labelSpots(points) {
  const line = trimmed(points);
  const middle = (line.length - 1) / 2;
  const spots = [];
  for (let at = 0.5; at < line.length - 1; at += 1) for (const by of [0, -0.18, 0.18, -0.3, 0.3]) spots.push(at + by);
  spots.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
  return spots.map((spot) => {
    const part = Math.min(Math.floor(spot), line.length - 2);
    const [from, to, t] = [line[part], line[part + 1], spot - part];
    // The curve's own place: its handles are at half the height.
    const x = from.x + (to.x - from.x) * t * t * (3 - 2 * t);
    const half = (from.y + to.y) / 2;
    const y = (1 - t) ** 3 * from.y + 3 * (1 - t) ** 2 * t * half + 3 * (1 - t) * t * t * half + t ** 3 * to.y;
    return { x, y };
  });
}

/** Lets an SVG be moved and zoomed: by pointer, wheel, and keys. What is looked at stays when it is drawn anew. */
function zoomable(svg, width, height, kept) {
  let box = kept.box && kept.size === `${width} ${height}` ? kept.box.split(" ").map(Number) : [0, 0, width, height];
  const use = () => {
    svg.setAttribute("viewBox", box.join(" "));
    kept.box = box.join(" ");
    kept.size = `${width} ${height}`;
  };
  const zoom = (by, x = box[0] + box[2] / 2, y = box[1] + box[3] / 2) => {
    if (box[2] * by > width * 4 || box[2] * by < 60) return;
    box = [x - (x - box[0]) * by, y - (y - box[1]) * by, box[2] * by, box[3] * by];
    use();
  };
  const move = (x, y) => { box[0] += x; box[1] += y; use(); };
  const fit = () => { box = [0, 0, width, height]; use(); };
  const scale = () => { const own = svg.getBoundingClientRect(); return Math.max(box[2] / own.width, box[3] / own.height); };
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== svg) return;
    event.preventDefault();
    const own = svg.getBoundingClientRect();
    const ratio = scale();
    const x = box[0] + box[2] / 2 + (event.clientX - own.left - own.width / 2) * ratio;
    const y = box[1] + box[3] / 2 + (event.clientY - own.top - own.height / 2) * ratio;
    zoom(event.deltaY > 0 ? 1.1 : 0.9, x, y);
  }, { passive: false });
  let drag = null;
  svg.addEventListener("pointerdown", (event) => { drag = [event.clientX, event.clientY]; });
  svg.addEventListener("pointermove", (event) => {
    if (!drag || event.buttons !== 1) { drag = null; return; }
    const ratio = scale();
    move((drag[0] - event.clientX) * ratio, (drag[1] - event.clientY) * ratio);
    drag = [event.clientX, event.clientY];
  });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("keydown", (event) => {
    const step = box[2] / 10;
    const act = { ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step), "+": () => zoom(0.8), "=": () => zoom(0.8), "-": () => zoom(1.25), 0: fit }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  use();
  return { zoom, fit };
}

/** The cases behind an edge, a page at a time. */
function behind(edge, onClose, { queries, by, asOf, signal }) {
  const list = h("tbody");
  const more = h("button.small", { type: "button" }, "More");
  const told = h("p.quiet.small-text", { role: "status" }, "Looking…");
  let next = path("/process-map/cases", { query: queries, case: by, from: edge.from, to: edge.to, limit: 20 });
  const caseLink = (own) => by === "stream" ? link("time", { stream: own.case }) : link("time", { q: `tag:${quoted(own.case)}` });
  const load = async () => {
    more.disabled = true;
    try {
      const page = await get(next, { signal });
      next = page.next;
      list.append(...page.cases.map((own) => h("tr", {}, h("td", {}, h("a", { href: caseLink(own) }, own.case)), h("td.number", {}, span(own.wait_us)), h("td.quiet.number", {}, h("a", { href: link("events", { event: own.to }) }, time(own.time).slice(0, 16))))));
      told.textContent = list.childElementCount === 0 ? (next ? "None among the newest; look further." : "None.") : "";
      more.hidden = next === null;
    } catch (error) {
      if (!signal.aborted) told.textContent = error.message;
    }
    more.disabled = false;
  };
  more.addEventListener("click", load);
  load();
  return h("section.card", { "aria-label": "The chosen edge" },
    h("div.row.apart", {}, h("h2", {}, typeLabel(edge.from), " → ", typeLabel(edge.to)), h("button.small", { type: "button", onclick: onClose }, "Close")),
    h("dl.facts", {}, h("dt", {}, "How often"), h("dd", {}, count(edge.count)), h("dt", {}, "Median wait"), h("dd", {}, span(edge.median_us)), h("dt", {}, "90 % within"), h("dd", {}, span(edge.p90_us))),
    h("h3", {}, "Cases behind it, the newest first"), asOf && h("p.quiet.small-text", {}, "As the log is now."), told,
    h("div.scroll.tall", { tabindex: "0", role: "group", "aria-label": "Cases" }, h("table", {}, h("caption.offscreen", {}, "Cases"), list)), more);
}

/** The sequences that most cases went through. */
function paths(map) {
  return h("section.card", {}, h("h2", {}, "Most frequent ways through"),
    h("ol.path-list", {}, map.paths.slice(0, 12).map((own) => h("li", {},
      h("span.row.apart", {}, h("strong.number", {}, count(own.count)), h("span.quiet.number.small-text", {}, `${(100 * own.count / map.case_count).toFixed(1)} %`)),
      bar(own.count / map.case_count),
      h("span.steps", {}, own.types.slice(0, 14).map((type, at) => [at > 0 && h("i", { "aria-hidden": "true" }, "→"), typeLabel(type)]), own.types.length > 14 && h("i", {}, `… ${own.types.length - 14} more`))))));
}

function bar(share) {
  return h("span.bar", { "aria-hidden": "true" }, h("span", { style: { width: `${(100 * share).toFixed(1)}%` } }));
}

function edges(map, choose) {
  return h("section.card", {}, h("h2", {}, "All edges"),
    h("div.scroll.tall", { tabindex: "0", role: "group", "aria-label": "All edges" }, h("table.small-text", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "From → to"), h("th.number", { scope: "col" }, "Count"), h("th.number", { scope: "col" }, "Median"), h("th.number", { scope: "col" }, "90 %"))),
      h("tbody", {}, map.edges.slice(0, 300).map((edge) => h("tr", {}, h("td", {}, h("button.plain.edge-button", { type: "button", onclick: () => choose(edge) }, `${edge.from} → ${edge.to}`)), h("td.number", {}, count(edge.count)), h("td.number", {}, span(edge.median_us)), h("td.number", {}, span(edge.p90_us))))))));
}

/** Saves an export. A link would carry no token. */
async function saveExport(event, format, view) {
  event.preventDefault();
  const { send } = await import("./api.js");
  const response = await send(path("/process-map/export", { format, query: view.queries, case: view.by, as_of: view.asOf }), { signal: view.signal });
  download(`events.${format === "ocel" ? "jsonocel" : "xes"}`, response.headers.get("content-type"), await response.blob());
}

/** Saves the drawing as it looks, with its colours in it. */
function saveSvg(svg) {
  const copy = svg.cloneNode(true);
  const originals = [svg, ...svg.querySelectorAll("*")];
  const copies = [copy, ...copy.querySelectorAll("*")];
  const names = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "font-weight", "opacity", "paint-order", "stroke-linejoin"];
  originals.forEach((own, at) => {
    const style = getComputedStyle(own);
    for (const name of names) copies[at].setAttribute(name, style.getPropertyValue(name));
    copies[at].removeAttribute("style");
    copies[at].removeAttribute("tabindex");
  });
  const [x, y, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  copy.setAttribute("width", Math.ceil(width));
  copy.setAttribute("height", Math.ceil(height));
  const ground = s("rect", { x, y, width, height, fill: getComputedStyle(svg).backgroundColor });
  copy.prepend(ground);
  download("process-map.svg", "image/svg+xml", `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}`);
}
