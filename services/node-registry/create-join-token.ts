import { Command } from "commander";
import { z } from "zod";
import { duration, integer } from "#platform/config/types.ts";
import { runCommand } from "./command.ts";
import { openAuthorities } from "./enrollment/authorities.worker.ts";
import { issueJoinToken } from "./enrollment/issue-join-token.worker.ts";

const command = new Command("node-registry:create-join-token")
  .description("Makes a join token for storage nodes with DATABASE_URL and KEY_ENCRYPTION_KEY of the node-registry.")
  .option("--max-uses <count>", "how many nodes may join with it, 0 for any number", "1")
  .option("--ttl <span>", "how long it is good, such as 24h", "24h")
  .option("--json", "print one JSON object")
  .parse();
const optionsSchema = z.object({
  maxUses: integer({ min: 0, max: 2 ** 31 - 1 }),
  ttl: duration({ min: 1_000 }),
  json: z.boolean().default(false),
});

await runCommand(async (deps) => {
  const parsed = optionsSchema.safeParse(command.opts());
  if (!parsed.success) throw new Error(z.prettifyError(parsed.error));
  const options = parsed.data;
  const authorities = await openAuthorities(deps);
  const wanted = { maxUses: options.maxUses, ttlMs: options.ttl, createdBy: "command" };
  const token = await issueJoinToken({ ...deps, authorities }, wanted);
  const answer = {
    joinToken: token.joinToken,
    joinTokenId: token.joinTokenId,
    expiresAt: token.expiresAt.toString(),
    caCertificatePem: authorities.bundlePem(),
  };
  const lines = Object.entries(answer).map(([name, value]) => `${name}: ${value}`);
  return options.json ? JSON.stringify(answer) : lines.join("\n");
});
