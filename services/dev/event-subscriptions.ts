import { Command } from "commander";
import { createLogger } from "#platform/log/logger.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { isStreamMissing, type StreamName } from "#platform/nats/streams.ts";
import {
  addSubscription,
  listServicePlaces,
  listSubscriptions,
  removeSubscription,
  type ServicePlace,
  type Subscription,
} from "#platform/nats/subscriptions.ts";
import { runCommand, UsageError } from "../../db/target.ts";
import { operatorNatsUrl } from "./nats-target.ts";
import { sinceFrom } from "./since-option.ts";

// `npm run events:subscriptions`: places in a stream that the broker remembers for subscribers, who may only read, and for
// our services.

const streamNames: StreamName[] = ["USERS", "QUOTAS", "NODES", "CHUNKS"];

const program = new Command("events:subscriptions").description("Durable subscriptions for readers of events.");
program
  .command("list", { isDefault: true })
  .description("shows them")
  .action(() => run(list));
program
  .command("add")
  .description("makes one and prints where to listen")
  .argument("<name>", "letters, digits and dashes")
  .requiredOption("--stream <name>", streamNames.join(", "))
  .option("--subject <subject>", "only these, with wildcards and without the decentrastore. prefix")
  .option("--since <time>", "only from this time on, e.g. 2026-01-31T12:00:00Z")
  .action((name: string, options: { stream: string; subject?: string; since?: string }) =>
    run((nats) => add(nats, name, options)),
  );
program
  .command("remove")
  .argument("<name>")
  .requiredOption("--stream <name>", streamNames.join(", "))
  .action((name: string, options: { stream: string }) => run((nats) => remove(nats, name, options.stream)));
await program.parseAsync();

async function run(work: (nats: Nats) => Promise<void>): Promise<void> {
  await runCommand(async () => {
    const log = createLogger("subscriptions", "error");
    await using nats = await connectNats({ url: await operatorNatsUrl(process.env), name: "subscriptions", log });
    await work(nats);
    return 0;
  });
}

async function list(nats: Nats): Promise<void> {
  const found: Subscription[] = [];
  const places: ServicePlace[] = [];
  for (const stream of streamNames) {
    try {
      found.push(...(await listSubscriptions(nats, stream)));
      places.push(...(await listServicePlaces(nats, stream)));
    } catch (error) {
      if (!isStreamMissing(error)) throw error;
    }
  }
  for (const subscription of found) console.log(lineOf(subscription));
  if (found.length === 0) console.log("no subscriptions");
  for (const place of places) console.log(`${place.name}: of a service, ${place.stream}; ${waiting(place)}`);
}

async function add(nats: Nats, name: string, options: { stream: string; subject?: string; since?: string }) {
  if (!/^[a-zA-Z0-9-]{1,64}$/.test(name)) throw new UsageError("a name has 1 to 64 letters, digits and dashes");
  const subscription = await addSubscription(nats, {
    name,
    stream: streamFrom(options.stream),
    ...(options.subject === undefined ? {} : { filterSubject: filterFrom(options.subject) }),
    ...(options.since === undefined ? {} : { since: sinceFrom(options.since) }),
  });
  console.log(lineOf(subscription));
}

async function remove(nats: Nats, name: string, stream: string): Promise<void> {
  await removeSubscription(nats, streamFrom(stream), name);
  console.log(`${name} is removed from ${stream}`);
}

function streamFrom(name: string): StreamName {
  const stream = streamNames.find((known) => known === name);
  if (stream === undefined) throw new UsageError(`--stream must be one of ${streamNames.join(", ")}, not "${name}"`);
  return stream;
}

function filterFrom(subject: string): string {
  if (!/^(?:(?:[^\s.*>]+|\*)\.)*(?:[^\s.*>]+|[*>])$/.test(subject)) {
    throw new UsageError(`--subject must be words between dots, each may be *, the last one >, not "${subject}"`);
  }
  return `decentrastore.${subject}`;
}

function lineOf(subscription: Subscription): string {
  const { name, stream, deliverSubject, filterSubject, isListening } = subscription;
  const what = filterSubject ?? "everything";
  return `${name}: ${what} of ${stream}, listen on ${deliverSubject}; ${waiting(subscription)}, ${isListening ? "somebody listens" : "nobody listens"}`;
}

function waiting({ stream, pending, dropped = 0 }: ServicePlace): string {
  if (dropped === 0) return `${pending} waiting`;
  return `${pending} waiting, ${dropped} DROPPED UNREAD (npm run events:replay -- --stream ${stream})`;
}
