import { Command } from "commander";
import { runCommand } from "./command.ts";
import { openAuthorities } from "./enrollment/authorities.worker.ts";
import { announceAuthority } from "./enrollment/rotation.worker.ts";

new Command("node-registry:rotate-ca")
  .description(
    "Begins the replacement of the CA of storage nodes. The running registries do the rest: they trust the new one at " +
      "once, issue with it after a minute, ask nodes to renew, and retire the old one when no node needs it, after an " +
      "hour at the earliest. Join tokens made before name the old one: make new ones.",
  )
  .parse();

await runCommand(async (deps) => {
  await openAuthorities(deps);
  return (await announceAuthority(deps))
    ? "a new certificate authority is announced"
    : "a replacement is under way already";
});
