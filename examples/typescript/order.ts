// Orders over plain HTTP, with fetch alone:
//
//     node order.ts http://127.0.0.1:2118
//
// Two clients change one order, then two orders want one coupon. Both conflicts are shown and
// handled. Node runs it as it is from 22.18 on.

type NewEvent = { id: string; type: string; data: unknown; tags: string[]; stream?: string };
type Recorded = { revision: number; type: string; data: { article?: string } };
type Page = { events: Recorded[]; next: string | null; frontier?: number };

const server = process.argv[2] ?? "http://127.0.0.1:2118";

class Conflict extends Error {} // A demand of an append does not hold: nothing was appended.

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(server + path, { method, headers, body: JSON.stringify(body) });
  const value: any = await answer.json();
  if (answer.ok) return value as T;
  if (value.type === "/problems/conflict") throw new Conflict(JSON.stringify(value.violations));
  throw new Error(`${value.detail}; hint: ${value.hint}`);
}

const event = (type: string, data: unknown, tags: string[] = []): NewEvent =>
  ({ id: crypto.randomUUID(), type, data, tags });

// The order as its events tell, and the revision to expect.
async function rebuild(order: string): Promise<{ lines: string[]; revision: number | "none" }> {
  const lines: string[] = [];
  let revision: number | "none" = "none";
  for (let path: string | null = `/streams/${encodeURIComponent(order)}`; path !== null; ) {
    const page: Page = await call<Page>("GET", path);
    for (const recorded of page.events) {
      revision = recorded.revision;
      if (recorded.type === "LineAdded") lines.push(recorded.data.article ?? "");
    }
    path = page.next;
  }
  return { lines, revision };
}

const append = (order: string, expect: number | string, ...events: NewEvent[]) =>
  call("POST", `/streams/${encodeURIComponent(order)}?expect=${expect}`, events);

// Answers whether the attempt was a conflict.
async function conflicts(attempt: Promise<unknown>): Promise<boolean> {
  try { await attempt; } catch (error) {
    if (!(error instanceof Conflict)) throw error;
    console.log("conflict:", error.message);
    return true;
  }
  return false;
}

async function sameOrderTwice(order: string): Promise<boolean> {
  await append(order, "none", event("OrderPlaced", {}, [order]));
  const seen = (await rebuild(order)).revision;
  await append(order, seen, event("LineAdded", { article: "wool" })); // Another client is faster.
  const needle = event("LineAdded", { article: "needle" });
  if (!(await conflicts(append(order, seen, needle)))) return false;
  await append(order, (await rebuild(order)).revision, needle); // Read, decide, append again.
  return (await rebuild(order)).lines.join() === "wool,needle";
}

async function sameCouponTwice(first: string, second: string): Promise<boolean> {
  const coupon = `coupon:${crypto.randomUUID()}`;
  const query = `type:CouponUsed tag:${coupon}`;
  const { frontier } = await call<Page>("GET", `/events?query=${encodeURIComponent(query)}`);
  const fail_if = [{ query, after: frontier }];
  const use = (stream: string) => ({ fail_if, events: [{ stream, ...event("CouponUsed", {}, [coupon]) }] });
  await call("POST", "/append", use(first));
  const lost = await conflicts(call("POST", "/append", use(second)));
  return lost && (await rebuild(second)).revision === "none"; // It pays the full price.
}

const number = crypto.randomUUID();
const both = [await sameOrderTwice(`order-${number}`), await sameCouponTwice(`order-${number}`, `order-${number}b`)];
process.exit(both.every(Boolean) ? 0 : 1);
