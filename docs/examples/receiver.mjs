// A receiver of Pricebook's events: verifies each, stores it once, and misses none.
//
//     WEBHOOK_SECRETS=whsec_… PRICEBOOK_URL=https://prices.example.com PRICEBOOK_KEY=… \
//         node receiver.mjs
//
// Node 18 or later, and no package. The variables are those of receiver.py, but STORE
// (events.ndjson) is a file of lines. docs/webhooks.md is the guide.

import { createHmac, timingSafeEqual } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const env = process.env;
const SECRETS = (env.WEBHOOK_SECRETS ?? "").split(" ").filter(Boolean);
const URL_OF_BOOK = (env.PRICEBOOK_URL ?? "").replace(/\/$/, "");
const TOLERANCE = 300; // seconds between our clock and the timestamp
const LONGEST_BODY = 1_000_000; // bytes

export class Unverified extends Error {}

/** Throws Unverified unless one of the signatures is by one of the secrets, and is new. */
export function verify(headers, body, secrets, now) {
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^[0-9]+$/.test(timestamp)) throw new Unverified("there is no timestamp");
  if (Math.abs(now - Number(timestamp)) > TOLERANCE)
    throw new Unverified("the timestamp is too old or too new");
  const ours = secrets.map((secret) =>
    createHmac("sha256", Buffer.from(secret.replace(/^whsec_/, ""), "base64"))
      .update(`${headers["webhook-id"] ?? ""}.${timestamp}.`)
      .update(body) // the bytes as they came, before any parsing
      .digest(),
  );
  for (const signature of (headers["webhook-signature"] ?? "").split(" ")) {
    const [version, text] = signature.split(",");
    const theirs = Buffer.from(text ?? "", "base64");
    if (version === "v1" && theirs.length === 32 && ours.some((own) => timingSafeEqual(own, theirs)))
      return;
  }
  throw new Unverified("no signature is by one of our secrets");
}

/** The events in a file of lines. `through`: all up to this number are stored. */
export class Store {
  constructor(path) {
    this.ids = new Set();
    this.through = null;
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const whole = text.slice(0, text.lastIndexOf("\n") + 1); // a kill may have cut the last line
    for (const line of whole.split("\n").filter(Boolean)) {
      const stored = JSON.parse(line);
      if (stored.webhook_id) this.ids.add(stored.webhook_id);
      this.through = stored.through;
    }
    this.file = openSync(path, text === whole ? "a" : "w");
    if (text !== whole) writeSync(this.file, whole);
  }

  /** Stores those that are new, and says whether some are missing before them. */
  add(events, through = null) {
    let jumps = false;
    const lines = [];
    for (const { webhook_id, event, body } of events) {
      if (this.through === null || event.number === this.through + 1) this.through = event.number;
      jumps ||= event.number > this.through;
      if (this.ids.has(webhook_id)) continue;
      this.ids.add(webhook_id);
      console.log(`${event.number} ${event.type} ${webhook_id}`);
      // The body stays text: JavaScript's numbers would round the larger amounts.
      lines.push({ webhook_id, number: event.number, type: event.type, body, through: this.through });
    }
    if (through !== null && through > (this.through ?? 0)) lines.push({ through });
    if (lines.length) {
      if (through !== null) this.through = Math.max(through, this.through ?? 0);
      writeSync(this.file, lines.map((line) => JSON.stringify(line) + "\n").join(""));
      fsyncSync(this.file);
    }
    return jumps;
  }

  close() {
    closeSync(this.file);
  }
}

/** Fetches what lies behind `through`: what was missed, or is of types that we don't take. */
async function readOn(store) {
  for (let after = store.through; after !== null; after = store.through) {
    const query = new URLSearchParams({ after, page_size: 1000 });
    if (env.TYPES) query.set("type", env.TYPES);
    const answer = await fetch(`${URL_OF_BOOK}/api/events/?${query}`, {
      headers: { Authorization: `Api-Key ${env.PRICEBOOK_KEY ?? ""}` },
    });
    let page = await answer.json();
    if (answer.status === 410) {
      console.error(`lost: the events before ${page.oldest}; read the ledger`);
      page = { result: [], next: page.oldest - 1 };
    } else if (!answer.ok) throw new Error(`${page.status} ${page.code}: ${page.detail}`);
    store.add(
      page.result.map((event) => ({
        webhook_id: event.webhook_id, event, body: JSON.stringify(event),
      })),
      page.next,
    );
    if (page.next === after) return console.log(`has all up to ${after}`);
  }
}

function main() {
  if (!SECRETS.length) {
    console.error("WEBHOOK_SECRETS is not set: it has the secret of the endpoint.");
    process.exit(1);
  }
  const store = new Store(env.STORE ?? "events.ndjson");
  let reading = false;

  async function keepWhole() {
    if (!URL_OF_BOOK || reading) return;
    reading = true;
    try {
      await readOn(store);
    } catch (error) {
      console.error(`can't read on: ${error.message}`);
      setTimeout(keepWhole, 5000);
    } finally {
      reading = false;
    }
  }

  const server = createServer((request, response) => {
    const answer = (status) => response.writeHead(status, { "Content-Length": 0 }).end();
    const parts = [];
    let length = 0;
    request.on("data", (part) => {
      length += part.length;
      if (length > LONGEST_BODY) return request.destroy();
      parts.push(part);
    });
    request.on("end", () => {
      const body = Buffer.concat(parts);
      try {
        verify(request.headers, body, SECRETS, Date.now() / 1000);
      } catch (error) {
        if (!(error instanceof Unverified)) throw error;
        console.error(`refused: ${error.message}`);
        return answer(401);
      }
      const text = body.toString();
      const event = JSON.parse(text);
      const webhook_id = request.headers["webhook-id"];
      if (event.number === null) {
        console.log(`${event.type} ${webhook_id}`);
        return answer(204);
      }
      // It is stored before it is answered, because nothing that was answered by 2xx comes again.
      // One that comes twice has the same id. Work on it elsewhere: an answer has 10 s.
      if (store.add([{ webhook_id, event, body: text }])) keepWhole();
      answer(204);
    });
  });
  server.listen(Number(env.PORT ?? 8001), "127.0.0.1", () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}/`);
    keepWhole(); // what came while we were away
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) main();
