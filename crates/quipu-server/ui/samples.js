// What one can copy to begin with, in several languages, against this very server.

import { send, session } from "./api.js";
import { shell } from "./format.js";

const origin = () => location.origin;
const encode = encodeURIComponent;
const isOpen = () => session.who.open;

/** Reading a stream with curl. */
export const curlReading = (name) => `curl${isOpen() ? "" : " -H \"Authorization: Bearer $QUIPU_TOKEN\""} ${shell(`${origin()}/streams/${encode(name)}`)}`;

const curl = () => {
  const auth = isOpen() ? "" : ` -H "Authorization: Bearer $QUIPU_TOKEN"`;
  return {
    append: `curl${auth} -H 'Content-Type: application/json' \\
  -d '{"type": "OrderPlaced", "tags": ["order:7"], "data": {"total_cents": 1200}}' \\
  '${origin()}/streams/order-7'`,
    read: `curl${auth} '${origin()}/streams/order-7'`,
    subscribe: `curl${auth} --no-buffer '${origin()}/subscribe?query=category%3Aorder'`,
  };
};

const cli = () => {
  const setup = `export QUIPU_URL=${origin()}\n`;
  return {
    append: `${setup}quipu append order-7 --type OrderPlaced --tag order:7 --json '{"total_cents": 1200}'`,
    read: `${setup}quipu read order-7`,
    subscribe: `${setup}quipu tail --query category:order --from 0`,
  };
};

const python = () => {
  const head = isOpen() ? "" : `, "Authorization": "Bearer " + os.environ["QUIPU_TOKEN"]`;
  const imports = isOpen() ? "" : "import os\n";
  const headers = isOpen() ? "" : `, headers={${head.slice(2)}}`;
  return {
    append: `import json
${imports}from urllib.request import Request, urlopen

event = {"type": "OrderPlaced", "tags": ["order:7"], "data": {"total_cents": 1200}}
request = Request(
    "${origin()}/streams/order-7",
    data=json.dumps(event).encode(),
    headers={"Content-Type": "application/json"${head}},
)
print(json.load(urlopen(request)))`,
    read: `import json
${imports}from urllib.request import Request, urlopen

request = Request("${origin()}/streams/order-7"${headers})
for event in json.load(urlopen(request))["events"]:
    print(event["revision"], event["type"], event["data"])`,
    subscribe: `import json
${imports}from urllib.request import Request, urlopen

request = Request("${origin()}/subscribe?query=category%3Aorder"${headers})
for line in urlopen(request):
    if line.startswith(b"data: "):
        data = json.loads(line[6:])
        if "type" in data:
            print(data["position"], data["stream"], data["type"], flush=True)`,
  };
};

const node = () => {
  const head = isOpen() ? "" : ", Authorization: `Bearer ${process.env.QUIPU_TOKEN}`";
  const options = isOpen() ? "" : `, { headers: {${head.slice(1)} } }`;
  return {
    append: `const answer = await fetch("${origin()}/streams/order-7", {
  method: "POST",
  headers: { "Content-Type": "application/json"${head} },
  body: JSON.stringify({ type: "OrderPlaced", tags: ["order:7"], data: { total_cents: 1200 } }),
});
console.log(await answer.json());`,
    read: `const answer = await fetch("${origin()}/streams/order-7"${options});
for (const event of (await answer.json()).events) {
  console.log(event.revision, event.type, event.data);
}`,
    subscribe: `const answer = await fetch("${origin()}/subscribe?query=category%3Aorder"${options});
let rest = "";
for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + piece).split("\\n");
  rest = lines.pop();
  for (const line of lines.filter((line) => line.startsWith("data: "))) {
    const { position, stream, type } = JSON.parse(line.slice(6));
    if (type) console.log(position, stream, type);
  }
}`,
  };
};

/** The programs are files that are compiled with the tests: only where the server is differs. */
const rust = async () => {
  const program = async (name) => {
    const text = await (await send(`/ui/${name}.rs`)).text();
    return text.trim().replace("http://127.0.0.1:2113", origin());
  };
  const [append, read, subscribe] = await Promise.all(["append", "read", "subscribe"].map(program));
  return { append, read, subscribe };
};

/** The languages, each with its three pieces, at once or soon. */
export const LANGUAGES = [
  { name: "curl", title: "curl", pieces: curl },
  { name: "cli", title: "CLI", pieces: cli },
  { name: "rust", title: "Rust", pieces: rust },
  { name: "python", title: "Python", pieces: python },
  { name: "node", title: "Node", pieces: node },
];
