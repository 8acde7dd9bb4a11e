// Draws a graph in layers, from the top down: after Sugiyama, Tagawa and Toda (1981).
//
// 1. From the first node on, the most frequent edge to a node not yet reached points down, until all
//    are reached; then the most frequent of the others that make no circle. The rest points up.
// 2. Each node comes one layer below the lowest that points down to it.
// 3. An edge over several layers gets a bend in each.
// 4. Layers are put in an order with few crossings, by the middles of neighbours, back and forth.
// 5. Nodes move toward the middles of their neighbours as far as their order lets them.

const LAYER = 104;
const GAP = 34;
const SWEEPS = 24;

/**
 * Lays out `nodes` (`{ id, width }`) and `edges` (`{ from, to, weight }`, no loops). The node `lowest`
 * comes into the last layer. Answers the place of each node, the points of each edge, and the size.
 */
export function layOut(nodes, edges, lowest) {
  const down = orient(nodes, edges);
  const layerOf = layer(nodes, down);
  if (layerOf.has(lowest)) layerOf.set(lowest, Math.max(...layerOf.values()));
  const { layers, lines } = withBends(nodes, edges, layerOf);
  order(layers, lines);
  place(layers, lines);
  return measure(nodes, edges, layers, lines);
}

/** The edges that point down: as many of the most frequent as make no circle. */
function orient(nodes, edges) {
  const next = new Map(nodes.map((node) => [node.id, []]));
  const reaches = (from, to) => {
    const seen = new Set([from]);
    const open = [from];
    while (open.length > 0) {
      const at = open.pop();
      if (at === to) return true;
      for (const own of next.get(at)) if (!seen.has(own)) { seen.add(own); open.push(own); }
    }
    return false;
  };
  const down = [];
  for (const edge of [...reach(nodes, edges), ...[...edges].sort((a, b) => b.weight - a.weight)]) {
    if (down.includes(edge) || reaches(edge.to, edge.from)) continue;
    next.get(edge.from).push(edge.to);
    down.push(edge);
  }
  return down;
}

/** The edges by which a walk from the first node on reaches the others, the most frequent ways first. */
function reach(nodes, edges) {
  const reached = new Set(nodes.slice(0, 1).map((node) => node.id));
  const taken = [];
  for (;;) {
    let best = null;
    for (const edge of edges) {
      if (reached.has(edge.from) && !reached.has(edge.to) && (best === null || edge.weight > best.weight)) best = edge;
    }
    if (best === null) return taken;
    reached.add(best.to);
    taken.push(best);
  }
}

function layer(nodes, down) {
  const before = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of down) before.get(edge.to).push(edge.from);
  const layers = new Map();
  const depth = (id) => {
    if (!layers.has(id)) layers.set(id, Math.max(-1, ...before.get(id).map(depth)) + 1);
    return layers.get(id);
  };
  for (const node of nodes) depth(node.id);
  return layers;
}

function withBends(nodes, edges, layerOf) {
  const layers = Array.from({ length: Math.max(0, ...layerOf.values()) + 1 }, () => []);
  const boxes = new Map();
  for (const node of nodes) {
    const box = { id: node.id, width: node.width, layer: layerOf.get(node.id), up: [], down: [] };
    boxes.set(node.id, box);
    layers[box.layer].push(box);
  }
  const join = (upper, lower, weight) => { upper.down.push([lower, weight]); lower.up.push([upper, weight]); };
  const lines = new Map();
  for (const edge of edges) {
    let [from, to] = [boxes.get(edge.from), boxes.get(edge.to)];
    const isUp = from.layer > to.layer;
    if (isUp) [from, to] = [to, from];
    const line = [from];
    for (let at = from.layer + 1; at < to.layer; at += 1) {
      const bend = { id: null, width: 26, layer: at, up: [], down: [] };
      layers[at].push(bend);
      line.push(bend);
    }
    line.push(to);
    for (let at = 1; at < line.length; at += 1) join(line[at - 1], line[at], edge.weight);
    lines.set(edge, isUp ? line.reverse() : line);
  }
  return { layers, lines };
}

const middle = (neighbours) => {
  if (neighbours.length === 0) return null;
  let [sum, weights] = [0, 0];
  for (const [box, weight] of neighbours) { const own = Math.sqrt(weight) + 1; sum += box.at * own; weights += own; }
  return sum / weights;
};

function order(layers) {
  const number = (boxes) => boxes.forEach((box, at) => { box.at = at - (boxes.length - 1) / 2; });
  layers.forEach(number);
  let best = { crossings: Infinity, order: null };
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    const all = isDown ? layers.slice(1) : layers.slice(0, -1).reverse();
    for (const boxes of all) {
      const wanted = new Map(boxes.map((box) => [box, middle(isDown ? box.up : box.down) ?? box.at]));
      boxes.sort((a, b) => wanted.get(a) - wanted.get(b));
      number(boxes);
    }
    const crossings = count(layers);
    if (crossings < best.crossings) best = { crossings, order: layers.map((boxes) => [...boxes]) };
  }
  best.order?.forEach((boxes, at) => { layers[at].splice(0, boxes.length, ...boxes); number(layers[at]); });
}

/** How much of the edges crosses, by weight. */
function count(layers) {
  let crossings = 0;
  for (const boxes of layers) {
    const ends = boxes.flatMap((box) => box.down.map(([to, weight]) => [box.at, to.at, Math.log2(weight + 1)]));
    for (let a = 0; a < ends.length; a += 1) {
      for (let b = a + 1; b < ends.length; b += 1) {
        if ((ends[a][0] - ends[b][0]) * (ends[a][1] - ends[b][1]) < 0) crossings += ends[a][2] + ends[b][2];
      }
    }
  }
  return crossings;
}

function place(layers) {
  for (const boxes of layers) {
    let x = 0;
    for (const box of boxes) { box.at = x + box.width / 2; x += box.width + GAP; }
    const shift = (x - GAP) / 2;
    for (const box of boxes) box.at -= shift;
  }
  for (let round = 0; round < 40; round += 1) {
    const isDown = round % 2 === 0;
    for (const boxes of isDown ? layers : [...layers].reverse()) {
      const wanted = boxes.map((box) => middle(round > 20 ? [...box.up, ...box.down] : isDown ? box.up : box.down) ?? box.at);
      settle(boxes, wanted);
    }
  }
}

/** Moves a layer's boxes as near to where they want to be as they go without touching: pools of
 * boxes that would overlap share the middle of their wishes. */
function settle(boxes, wanted) {
  const pools = [];
  boxes.forEach((box, at) => {
    let pool = { first: at, count: 1, sum: wanted[at], width: 0, offsets: [0] };
    pools.push(pool);
    while (pools.length > 1) {
      const [before, own] = pools.slice(-2);
      const lastBox = boxes[before.first + before.count - 1];
      const room = lastBox.width / 2 + boxes[own.first].width / 2 + GAP;
      const start = before.sum / before.count + before.offsets.at(-1) + room;
      if (own.sum / own.count >= start) break;
      // What the own pool wants of the first box of both together.
      const shift = before.offsets.at(-1) + room;
      pool = { first: before.first, count: before.count + own.count, sum: before.sum + own.sum - shift * own.count, offsets: [...before.offsets, ...own.offsets.map((offset) => offset + shift)] };
      pools.splice(-2, 2, pool);
    }
  });
  for (const pool of pools) pool.offsets.forEach((offset, at) => { boxes[pool.first + at].at = pool.sum / pool.count + offset; });
}

function measure(nodes, edges, layers, lines) {
  let [low, high] = [Infinity, -Infinity];
  for (const box of layers.flat()) { low = Math.min(low, box.at - box.width / 2); high = Math.max(high, box.at + box.width / 2); }
  const margin = 50;
  const point = (box) => ({ x: box.at - low + margin, y: box.layer * LAYER + 44 });
  const places = new Map();
  for (const box of layers.flat()) if (box.id !== null) places.set(box.id, point(box));
  return {
    places,
    points: new Map(edges.map((edge) => [edge, lines.get(edge).map(point)])),
    width: high - low + 2 * margin,
    height: layers.length * LAYER,
  };
}
