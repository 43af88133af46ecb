import { Command } from "commander";
import { z } from "zod";
import { systemClock } from "#platform/time/clock.ts";
import { CommandError, print, runCommand } from "./cli.ts";
import { ensureServiceClient } from "./service-clients/ensure-service-client.event.ts";
import { allScopes, scopesProblem } from "./service-clients/scopes.ts";

const optionsSchema = z.object({
  name: z.string(),
  scopes: z.string(),
  clientId: z.string().optional(),
  secret: z.string().optional(),
  json: z.boolean().default(false),
});

const command = new Command("auth:create-service-client")
  .description("Makes the account of an internal service, or with --client-id makes an existing one as described.")
  .requiredOption("--name <name>", "for humans, 1 to 80 characters")
  .requiredOption("--scopes <scopes>", `comma separated, or "all": ${allScopes.join(",")}`)
  .option("--client-id <id>", "lower case letters, digits, - and _; otherwise one is made")
  .option("--secret <secret>", "better in CLIENT_SECRET, where no process list shows it; otherwise one is made")
  .option("--json", "print one JSON object")
  .parse();
const options = optionsSchema.parse(command.opts());

await runCommand(async (pool) => {
  const { name, clientId } = options;
  const scopes = options.scopes === "all" ? allScopes : options.scopes.split(",").map((scope) => scope.trim());
  const secret = options.secret ?? (process.env.CLIENT_SECRET || undefined);
  const problem = scopesProblem(scopes);
  if (problem !== undefined) throw new CommandError(`--scopes ${problem}`);
  if ([...name].length < 1 || [...name].length > 80) throw new CommandError("--name must have 1 to 80 characters");
  if (clientId !== undefined && !/^[a-z0-9][a-z0-9_-]{0,63}$/.test(clientId)) {
    throw new CommandError("--client-id must have 1 to 64 lower case letters, digits, - and _");
  }
  if (secret !== undefined && secret.length < 32) throw new CommandError("the secret must have at least 32 characters");
  const result = await ensureServiceClient({ pool, clock: systemClock }, { name, scopes, clientId, secret });
  if (result.kind === "refused") {
    const why = {
      taken: "another service client has this name",
      revoked: "the service client is revoked: make another",
    };
    throw new CommandError(why[result.why]);
  }
  const shown = result.kind === "created" && secret === undefined ? { clientSecret: result.secret } : {};
  print({ clientId: result.clientId, name, scopes: scopes.join(" "), result: result.kind, ...shown }, options.json);
});
