// The page at /: the log's head, its streams, and its newest events as they come.
"use strict";
const ROWS_MAX = 100;
const byId = (id) => document.getElementById(id);

function showEvent(event) {
  const row = document.createElement("tr");
  const data = event.data_base64 === undefined ? JSON.stringify(event.data) : "(bytes)";
  const cells = [["number", event.position], ["stream", event.stream], ["type", event.type], ["data", data]];
  for (const [name, value] of cells) {
    const cell = document.createElement("td");
    cell.className = name;
    // Text, never markup: events come from anywhere.
    cell.textContent = String(value).slice(0, 2000);
    row.append(cell);
  }
  byId("tail").prepend(row);
  while (byId("tail").rows.length > ROWS_MAX) byId("tail").deleteRow(-1);
  byId("head").textContent = event.position;
}

async function showStreams() {
  const answer = await fetch("/streams?limit=100");
  if (!answer.ok) throw new Error((await answer.json()).title);
  const names = (await answer.json()).streams;
  byId("streams").replaceChildren(...names.map((name) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = "/streams/" + encodeURIComponent(name);
    link.textContent = name;
    item.append(link);
    return item;
  }));
}

async function start() {
  const answer = await fetch("/events?direction=backward&limit=20");
  if (!answer.ok) throw new Error((await answer.json()).title);
  const page = await answer.json();
  byId("head").textContent = page.frontier;
  for (const event of page.events.reverse()) showEvent(event);
  await showStreams();
  const tail = new EventSource("/subscribe?after=" + page.frontier);
  tail.addEventListener("event", (message) => showEvent(JSON.parse(message.data)));
  tail.onopen = () => { byId("state").textContent = "live"; };
  tail.onerror = () => { byId("state").textContent = "reconnecting"; };
}

start().catch((error) => { byId("state").textContent = String(error.message || error); });
