import { randomBytes } from "node:crypto";
import { Command } from "commander";
import { z } from "zod";
import { loadConfig } from "#platform/config/load-config.ts";
import { systemClock } from "#platform/time/clock.ts";
import { loadCommonPasswords } from "./accounts/common-passwords.ts";
import { createAdmin } from "./accounts/create-admin.event.ts";
import { createPasswordHasher } from "./accounts/password-hash.ts";
import { emailProblem, usernameProblem } from "./accounts/username.ts";
import { CommandError, print, runCommand } from "./cli.ts";
import { argon2Parameters, minPasswordLength, passwordConfigShape } from "./config.ts";

const optionsSchema = z.object({
  username: z.string(),
  password: z.string().optional(),
  email: z.string().optional(),
  json: z.boolean().default(false),
});

const command = new Command("auth:create-admin")
  .description("Makes a user who is an admin. Nothing happens where the name is an admin's already.")
  .requiredOption("--username <name>", "3 to 80 characters")
  .option("--password <password>", "better in ADMIN_PASSWORD, where no process list shows it; otherwise one is made")
  .option("--email <address>")
  .option("--json", "print one JSON object")
  .parse();
const options = optionsSchema.parse(command.opts());

await runCommand(async (pool) => {
  const config = loadConfig(passwordConfigShape);
  const given = options.password ?? (process.env.ADMIN_PASSWORD || undefined);
  const passwordPolicy = { minLength: minPasswordLength(config), common: loadCommonPasswords() };
  // More characters than bytes.
  const password = given ?? randomBytes(Math.max(18, passwordPolicy.minLength)).toString("base64url");
  const { username, email } = options;
  const problems = {
    "--username": usernameProblem(username),
    "--email": email === undefined ? undefined : emailProblem(email),
  };
  for (const [what, problem] of Object.entries(problems)) {
    if (problem !== undefined) throw new CommandError(`${what} ${problem}`);
  }
  const hasher = await createPasswordHasher(argon2Parameters(config));
  const result = await createAdmin({ pool, clock: systemClock, hasher, passwordPolicy }, { username, password, email });
  if (result.kind === "taken") {
    throw new CommandError("the name or the e-mail address belongs to a user who is no admin: choose another");
  }
  if (result.kind === "refused") throw new CommandError(`password ${result.problem}`);
  const { userId, username: name } = result.user;
  const isNew = result.kind === "created";
  // Shown once, and only where nobody has it yet.
  const shown = isNew && given === undefined ? { password } : {};
  print({ userId, username: name, created: isNew, ...shown }, options.json);
});
