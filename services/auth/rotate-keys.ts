import { Command } from "commander";
import { z } from "zod";
import { loadConfig } from "#platform/config/load-config.ts";
import { systemClock } from "#platform/time/clock.ts";
import { recordAudit } from "./audit/audit.event.ts";
import { CommandError, print, runCommand } from "./cli.ts";
import { configShape } from "./config.ts";
import { rotationRules } from "./create-deps.ts";
import { rotateKeys } from "./keys/key-rotation.worker.ts";
import { resealKeys } from "./keys/reseal-keys.worker.ts";
import { createSealingKey } from "./keys/sealing.ts";

const command = new Command("auth:rotate-keys")
  .description(
    "Lets the next signing key sign from now on, and makes another next one. No valid token is refused. Also seals " +
      "with KEY_ENCRYPTION_KEY what KEY_ENCRYPTION_KEY_PREVIOUS had sealed.",
  )
  .option("--reseal-only", "only seal again, after KEY_ENCRYPTION_KEY was replaced")
  .option("--json", "print one JSON object")
  .parse();
const flags = z.object({ resealOnly: z.boolean().default(false), json: z.boolean().default(false) });
const options = flags.parse(command.opts());

const { KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS, SIGNING_KEY_ROTATION_INTERVAL } = configShape;

await runCommand(async (pool, env) => {
  const shape = { KEY_ENCRYPTION_KEY, KEY_ENCRYPTION_KEY_PREVIOUS, SIGNING_KEY_ROTATION_INTERVAL };
  const config = loadConfig(shape, env);
  const sealing = createSealingKey(config.KEY_ENCRYPTION_KEY.reveal(), config.KEY_ENCRYPTION_KEY_PREVIOUS?.reveal());
  const deps = { pool, sealing, clock: systemClock };
  const resealed = await resealKeys(deps);
  if (options.resealOnly) return print({ resealed }, options.json);
  const result = await rotateKeys(deps, rotationRules(config), {
    wanted: true,
    onPromoted: (tx) => recordAudit(tx, systemClock, { type: "ROTATE_SIGNING_KEY", actorId: "cli" }),
  });
  if (!result.promoted) {
    const seconds = Math.ceil(result.tooEarlyMs / 1_000);
    throw new CommandError(
      `the next key is not known to every verifier yet: try again in ${seconds} s (the keys as they are stay good)`,
    );
  }
  print({ promoted: true, dropped: result.dropped.length, resealed }, options.json);
});
