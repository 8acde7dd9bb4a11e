#!/usr/bin/env python3
"""Orders over plain HTTP, with the standard library alone.

    python3 order.py http://127.0.0.1:2118

Two clients change one order, then two orders want one coupon. Both conflicts are shown and handled.
"""
import json
import sys
import uuid
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

SERVER = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:2118"

class Conflict(Exception): """A demand of an append does not hold: nothing was appended."""

def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = Request(SERVER + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urlopen(request) as answer:
            return json.load(answer)
    except HTTPError as error:
        problem = json.load(error)
        if problem["type"] != "/problems/conflict":
            raise SystemExit(f"error: {problem['detail']}\nhint: {problem['hint']}") from None
        raise Conflict(problem["violations"]) from None

def event(kind, data, tags=()):
    return {"id": str(uuid.uuid4()), "type": kind, "data": data, "tags": list(tags)}

def rebuild(order):
    """The order as its events tell, and the revision to expect."""
    lines, revision, path = [], "none", f"/streams/{quote(order, safe='')}"
    while path:
        page = call("GET", path)
        for recorded in page["events"]:
            revision = recorded["revision"]
            if recorded["type"] == "LineAdded":
                lines.append(recorded["data"]["article"])
        path = page["next"]
    return lines, revision

def append(order, expect, *events):
    return call("POST", f"/streams/{quote(order, safe='')}?expect={expect}", list(events))

def same_order_twice(order):
    append(order, "none", event("OrderPlaced", {}, [order]))
    _, seen = rebuild(order)
    append(order, seen, event("LineAdded", {"article": "wool"}))  # Another client is faster.
    try:
        append(order, seen, event("LineAdded", {"article": "needle"}))
    except Conflict as conflict:
        print("conflict:", conflict)
        _, seen = rebuild(order)  # Read again, decide again, append again.
        append(order, seen, event("LineAdded", {"article": "needle"}))
        return rebuild(order)[0] == ["wool", "needle"]

def same_coupon_twice(first, second):
    coupon = f"coupon:{uuid.uuid4()}"
    query = f"type:CouponUsed tag:{coupon}"
    page = call("GET", "/events?" + urlencode({"query": query}))
    use = {"fail_if": [{"query": query, "after": page["frontier"]}]}
    call("POST", "/append", {**use, "events": [{"stream": first, **event("CouponUsed", {}, [coupon])}]})
    try:
        call("POST", "/append", {**use, "events": [{"stream": second, **event("CouponUsed", {}, [coupon])}]})
    except Conflict as conflict:
        print("conflict:", conflict)
        return rebuild(second) == ([], "none")  # It pays the full price.

number = uuid.uuid4()
sys.exit(not (same_order_twice(f"order-{number}") and same_coupon_twice(f"order-{number}", f"order-{number}b")))
