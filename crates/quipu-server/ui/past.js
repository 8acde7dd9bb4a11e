// The events of a stream or a query from the first on, however many.
//
// They are read once, in order, as lines. Of each its place, its time and its type are kept, 18 bytes; of
// the fold what it was before every 500th, before every 1,000th where that becomes too much, and so on. To
// look at a point, the events since the last such place are read again, unless they were looked at just
// now. So a point among ten million events is as near as one among ten thousand.

import { path, readLines, streamPath } from "./api.js";
import { changesOf, take } from "./fold.js";

/** How many events lie between two folds at first, and are read again together. */
const SPAN = 500;
/** How many fields all kept folds have together, before every other fold is dropped. */
const KEPT_FIELDS_MAX = 300_000;
/** How much of events is kept, in characters of their lines; of one span, half of it. */
const KEPT_SIZE_MAX = 16 << 20;

export class Past {
  /** How many events were read. */
  length = 0;
  /** Whether that is all of them. */
  isComplete = false;
  /** Whether the fold has room for all fields. */
  hasRoom = true;
  /** The position of the last event that was read. */
  position = 0;
  #source;
  #places = new Float64Array(1_024);
  #times = new Float64Array(1_024);
  #kinds = new Uint16Array(1_024);
  #types = [];
  #numbers = new Map();
  /** The fold of all that was read. */
  #fields = new Map();
  /** The folds before spans, by the number of the span: those of every `#stride`th. */
  #folds = new Map();
  #keptFields = 0;
  #stride = 1;
  /** Spans that were looked at just now, by their number; the last one comes last. */
  #spans = new Map();
  #keptSize = 0;
  /** The span that is being read. */
  #newest = new Span();

  /** `source` is `{ stream }` or `{ queries }`, and `asOf`: a moment at which the log does not change. */
  constructor(source) {
    this.#source = source;
  }

  /** Reads on from where it is. `onMore` hears of each event. */
  async read(onMore, signal) {
    const from = this.length === 0 ? undefined : this.#places[this.length - 1] + 1;
    await readLines(this.#path({ from }), (event, size) => { this.#add(event, size); onMore(); }, signal);
    this.isComplete = true;
    onMore();
  }

  /** When the event was recorded, in milliseconds. */
  timeOf(at) { return this.#times[at]; }

  typeOf(at) { return this.#types[this.#kinds[at]]; }

  /** The last event before the first one recorded after a time; -1 where there is none. */
  before(time) {
    let at = 0;
    while (at < this.length && this.#times[at] <= time) at += 1;
    return at - 1;
  }

  /** What was known with the event: `{ event, fields, changes }`. */
  async state(at, signal) {
    const span = Math.floor(at / SPAN);
    const first = span - span % this.#stride;
    const fields = new Map(this.#folds.get(first));
    let [count, state] = [first * SPAN, null];
    const visit = (event) => {
      if (count > at) return;
      const changes = count === at ? changesOf(fields, event) : null;
      take(fields, event);
      // Where some are gone from the log since, the others are not who they were.
      if (count === at && this.#placeOf(event) === this.#places[at]) state = { event, fields, changes };
      count += 1;
    };
    for (let number = first; number <= span; number += 1) await this.#visit(number, visit, signal);
    if (state === null) throw new Error("The event was there and is not any more: begin anew.");
    return state;
  }

  #path(more) {
    const { stream, queries, asOf } = this.#source;
    return path(stream ? streamPath(stream) : "/events", { query: stream ? undefined : queries, as_of: asOf, ...more });
  }

  #isShown(event) {
    return this.#source.stream || !event.stream.startsWith("$");
  }

  #placeOf(event) {
    return this.#source.stream ? event.revision : event.position;
  }

  #add(event, size) {
    this.position = event.position;
    if (!this.#isShown(event)) return;
    if (this.length % SPAN === 0) this.#begin(this.length / SPAN);
    this.#grow();
    this.#places[this.length] = this.#placeOf(event);
    this.#times[this.length] = Date.parse(event.time);
    this.#kinds[this.length] = this.#numberOf(event.type);
    this.hasRoom = take(this.#fields, event) && this.hasRoom;
    this.#newest.add(event, size);
    this.length += 1;
  }

  /** A new span begins: keeps the fold before it, and now and then drops every other one. */
  #begin(span) {
    if (span > 0) this.#remember(span - 1, this.#newest);
    this.#newest = new Span();
    if (span % this.#stride !== 0) return;
    this.#folds.set(span, new Map(this.#fields));
    this.#keptFields += this.#fields.size;
    if (this.#keptFields <= KEPT_FIELDS_MAX || this.#folds.size < 8) return;
    this.#stride *= 2;
    for (const [number, fold] of this.#folds) {
      if (number % this.#stride === 0) continue;
      this.#folds.delete(number);
      this.#keptFields -= fold.size;
    }
  }

  #grow() {
    if (this.length < this.#places.length) return;
    const twice = (own) => { const more = new own.constructor(own.length * 2); more.set(own); return more; };
    [this.#places, this.#times, this.#kinds] = [twice(this.#places), twice(this.#times), twice(this.#kinds)];
  }

  #numberOf(type) {
    let number = this.#numbers.get(type);
    if (number === undefined) {
      // More types than there are numbers for share the last one.
      number = Math.min(this.#types.length, 65_535);
      this.#types[number] = type;
      this.#numbers.set(type, number);
    }
    return number;
  }

  /** Shows each event of a span, which is read again where it is not kept. */
  async #visit(number, visit, signal) {
    const isNewest = number === Math.floor((this.length - 1) / SPAN);
    const kept = isNewest ? this.#newest : this.#spans.get(number);
    if (kept?.events) {
      kept.events.forEach(visit);
      if (!isNewest) this.#remember(number, kept);
      return;
    }
    const own = new Span();
    await readLines(this.#pathOf(number), (event, size) => {
      if (!this.#isShown(event)) return;
      visit(event);
      own.add(event, size);
    }, signal);
    if (!isNewest) this.#remember(number, own);
  }

  #pathOf(span) {
    const from = this.#places[span * SPAN];
    if (this.#source.stream) return this.#path({ from, limit: SPAN });
    // A query may find events that are not shown: its span ends with its last event.
    return this.#path({ from, as_of: this.#places[Math.min((span + 1) * SPAN, this.length) - 1] });
  }

  #remember(number, span) {
    if (!span.events) return;
    this.#keptSize += span.size - (this.#spans.get(number)?.size ?? 0);
    this.#spans.delete(number);
    this.#spans.set(number, span);
    for (const [oldest, own] of this.#spans) {
      if (this.#keptSize <= KEPT_SIZE_MAX) return;
      this.#spans.delete(oldest);
      this.#keptSize -= own.size;
    }
  }
}

/** Events that follow each other, unless they are too large to be kept. */
class Span {
  events = [];
  size = 0;

  add(event, size) {
    this.size += size;
    if (this.size > KEPT_SIZE_MAX / 2) [this.events, this.size] = [null, 0];
    this.events?.push(event);
  }
}
