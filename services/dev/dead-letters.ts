import { Command } from "commander";
import { type DeadLetter, listDeadLetters, requeueDeadLetter } from "#platform/inbox/dead-letters.ts";
import { createLogger } from "#platform/log/logger.ts";
import { connectNats, type Nats } from "#platform/nats/connect.ts";
import { runCommand, UsageError } from "../../db/target.ts";
import { decodedEvent } from "./events-format.ts";
import { operatorNatsUrl } from "./nats-target.ts";

// `npm run events:dead-letters`: events that a consumer gave up after all its tries.

const program = new Command("events:dead-letters").description("Events that a consumer gave up, with the cause.");
program
  .command("list", { isDefault: true })
  .description("shows them, oldest first")
  .option("--consumer <name>", "only of this one, e.g. user-quota-chunks")
  .option("--json", "one JSON object per line, with the decoded event")
  .action((options: { consumer?: string; json?: boolean }) => run((nats) => list(nats, options)));
program
  .command("requeue")
  .description("hands events to their consumer again, once the cause is mended")
  .argument("[numbers...]", "as the list shows them")
  .option("--all", "all of them")
  .option("--consumer <name>", "with --all: only of this one")
  .action((numbers: string[], options: { all?: boolean; consumer?: string }) =>
    run((nats) => requeue(nats, numbers, options)),
  );
await program.parseAsync();

async function run(work: (nats: Nats) => Promise<number>): Promise<void> {
  await runCommand(async () => {
    const log = createLogger("dead-letters", "error");
    await using nats = await connectNats({ url: await operatorNatsUrl(process.env), name: "dead-letters", log });
    return await work(nats);
  });
}

async function list(nats: Nats, options: { consumer?: string; json?: boolean }): Promise<number> {
  const letters = await listDeadLetters(nats, options);
  for (const letter of letters) console.log(options.json ? JSON.stringify(decoded(letter)) : lineOf(letter));
  if (letters.length === 0 && !options.json) console.log("no dead letters");
  return 0;
}

async function requeue(
  nats: Nats,
  numbers: readonly string[],
  options: { all?: boolean; consumer?: string },
): Promise<number> {
  const wanted = options.all
    ? (await listDeadLetters(nats, options)).map((letter) => letter.sequence)
    : numbers.map(Number);
  if (wanted.length === 0 && !options.all) throw new UsageError("which? give numbers of the list, or --all");
  if (!wanted.every((number) => Number.isSafeInteger(number) && number > 0)) {
    throw new UsageError("dead letters are numbered: see the list");
  }
  for (const sequence of wanted) {
    const letter = await requeueDeadLetter(nats, sequence);
    console.log(`${sequence}: ${letter.subject} goes to ${letter.consumer} again`);
  }
  return 0;
}

function lineOf(letter: DeadLetter): string {
  const head = `${letter.sequence}  ${letter.time}  ${letter.consumer}  ${letter.subject}`;
  return `${head}\n    event ${letter.eventId}, given up after ${letter.tries} tries: ${letter.cause}`;
}

function decoded(letter: DeadLetter) {
  const { payload, ...facts } = letter;
  return { ...facts, event: decodedEvent(letter.type, payload) };
}
