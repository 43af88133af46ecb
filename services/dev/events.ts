import { Command } from "commander";
import { createLogger } from "#platform/log/logger.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { readStream } from "#platform/nats/read-stream.ts";
import { isStreamMissing, isStreamName, type StreamName, subjectMatches } from "#platform/nats/streams.ts";
import { eventLine, type PrintedEvent, printedEvent } from "./events-format.ts";
import { subscriberNatsUrl } from "./nats-target.ts";

// `npm run events`: what happens, decoded, with the rights of a stranger who may only read.

const command = new Command("events")
  .description("Prints the events of the network, live and decoded.")
  .option("--subject <subject>", "NATS subject with wildcards, without the decentrastore. prefix", ">")
  .option("--replay [stream]", "first what the streams (or one of USERS, QUOTAS, NODES, CHUNKS) still hold")
  .option("--no-follow", "end after the replay")
  .option("--heartbeats", "also heartbeats, which are many")
  .option("--json", "one JSON object per line")
  .parse();
const options = command.opts<{
  subject: string;
  replay?: string | true;
  follow: boolean;
  heartbeats?: boolean;
  json?: boolean;
}>();

const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
const subject = `decentrastore.${options.subject}`;
const heartbeats = "decentrastore.node.heartbeat.*";

try {
  await using nats = await connectNats({
    url: await subscriberNatsUrl(process.env),
    name: "events",
    inboxPrefix: "_INBOX",
    log: createLogger("events", "warn"),
    signal: stop.signal,
  });
  // Subscribed before the replay, so that nothing falls between the two; what is in both is printed once.
  const subscription = nats.connection.subscribe(subject);
  stop.signal.addEventListener("abort", () => subscription.unsubscribe());
  const replayed = options.replay === undefined ? new Set<string>() : await replay(nats, options.replay);
  if (options.follow) {
    for await (const message of subscription) {
      const isWanted = options.heartbeats || !subjectMatches(heartbeats, message.subject);
      const id = message.headers?.get("ce-id") ?? "";
      if (isWanted && !replayed.delete(id)) print(printedEvent(message.subject, message.headers, message.data));
    }
  }
} catch (error) {
  if (!stop.signal.aborted) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}

/** Answers the ids of what it printed last, which the subscription may have received too. */
async function replay(nats: Nats, from: string | true): Promise<Set<string>> {
  const all: StreamName[] = ["USERS", "NODES", "CHUNKS", "QUOTAS"];
  if (from !== true && !isStreamName(from)) throw new Error(`there is no stream ${from}`);
  const events: PrintedEvent[] = [];
  for (const stream of from === true ? all : [from]) {
    try {
      for await (const { subject: its, headers, payload } of readStream(nats, stream, { signal: stop.signal })) {
        if (subjectMatches(subject, its)) events.push(printedEvent(its, headers, payload));
      }
    } catch (error) {
      if (!isStreamMissing(error)) throw error;
    }
  }
  events.sort((a, b) => (Date.parse(a.time) || 0) - (Date.parse(b.time) || 0));
  for (const event of events) print(event);
  return new Set(events.slice(-10_000).map(({ id }) => id));
}

function print(event: PrintedEvent): void {
  process.stdout.write(`${options.json ? JSON.stringify(event) : eventLine(event)}\n`);
}
