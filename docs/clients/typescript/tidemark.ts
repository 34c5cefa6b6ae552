// Sends usage events to tidemark, one JSON event per line. Needs Node.js 18 or newer, nothing else.
//   TIDEMARK_URL=http://127.0.0.1:8787 TIDEMARK_KEY=tmk_... node tidemark.js events.ndjson
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const BATCH = Number(process.env.TIDEMARK_BATCH ?? "500");
const RETRIES = Number(process.env.TIDEMARK_RETRIES ?? "10");
const RETRIED = new Set([408, 429, 500, 502, 503, 504, 507]);
const LONGEST_WAIT_MS = 60_000;

export interface Refused {
  event: string;
  why: string;
}

interface Accepted {
  taken: number;
  refused: { index: number; code: string; field?: string; detail: string }[];
  usageUnknown: number[];
}

/** The batch was not accepted, or not certainly. Keep its events and send them again. */
export class Unsent extends Error {}

export class Tidemark {
  constructor(
    private readonly url: string,
    private readonly key: string,
  ) {}

  /**
   * Sends a batch of events, each a JSON object without line breaks.
   *
   * Returns the refused ones with the reason: correct those, sending them again changes nothing.
   * Every other event is durable. Throws Unsent if the batch must be sent again as it is.
   */
  async send(events: string[]): Promise<Refused[]> {
    const answer = await this.post(events.join("\n"));
    if (answer.status === 204) return [];
    const text = await answer.text();
    if (answer.status === 200) {
      const { refused, usageUnknown } = JSON.parse(text) as Accepted;
      for (const index of usageUnknown) {
        console.error("no token counts, not charged:", events[index]);
      }
      const reasons = new Map<number, string[]>();
      for (const { index, detail } of refused) {
        reasons.set(index, [...(reasons.get(index) ?? []), detail]);
      }
      return [...reasons].map(([index, why]) => ({ event: events[index]!, why: why.join("; ") }));
    }
    if (answer.status === 413 && events.length > 1) {
      const middle = Math.floor(events.length / 2);
      const first = await this.send(events.slice(0, middle));
      return [...first, ...(await this.send(events.slice(middle)))];
    }
    if (answer.status === 400 || answer.status === 413) {
      // Nothing in this body can be read, or its one event is too large.
      return events.map((event) => ({ event, why: text }));
    }
    // 401, 403, 415: correct the key or the URL. Others: still failing after all retries.
    throw new Unsent(`status ${answer.status}: ${text}`);
  }

  /** Repeating a POST is safe: an event counts once. */
  private async post(body: string): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const last = attempt >= RETRIES;
      let retryAfter: string | null = null;
      try {
        const answer = await fetch(`${this.url}/api/v1/events?partial=true`, {
          method: "POST",
          headers: {
            authorization: `Bearer ${this.key}`,
            "content-type": "application/x-ndjson",
          },
          body,
          signal: AbortSignal.timeout(60_000),
        });
        if (last || !RETRIED.has(answer.status)) return answer;
        await answer.arrayBuffer(); // so that the connection can be used again
        retryAfter = answer.headers.get("retry-after");
      } catch (error) {
        if (last) throw new Unsent("no answer", { cause: error });
      }
      const asked = Number(retryAfter ?? "0") * 1000 || 0;
      const backoff = Math.min(500 * 2 ** attempt, LONGEST_WAIT_MS);
      await sleep(Math.max(asked, backoff * (0.5 + Math.random() / 2)));
    }
  }
}

async function main(path: string): Promise<number> {
  const client = new Tidemark(process.env.TIDEMARK_URL!, process.env.TIDEMARK_KEY!);
  const lines = readFileSync(path, "utf8").split("\n");
  const events = lines.filter((line) => line.trim() !== "");
  let anyRefused = false;
  for (let start = 0; start < events.length; start += BATCH) {
    try {
      for (const { event, why } of await client.send(events.slice(start, start + BATCH))) {
        anyRefused = true;
        console.log(JSON.stringify({ refused: event, why }));
      }
    } catch (error) {
      if (!(error instanceof Unsent)) throw error;
      console.error(`not sent from event ${start} on: ${error.message}`);
      return 1;
    }
  }
  return anyRefused ? 3 : 0;
}

main(process.argv[2]!).then((code) => {
  process.exitCode = code;
});
