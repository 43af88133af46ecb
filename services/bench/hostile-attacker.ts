import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { constants, setPriority } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { edgeTarget, mainTarget, type Target } from "../system-tests/fixtures/attack-target.ts";
import { http1Attacks } from "../system-tests/fixtures/http1-attacks.ts";
import { http2Attacks } from "../system-tests/fixtures/http2-attacks.ts";
import { payloadAttacks } from "../system-tests/fixtures/payload-attacks.ts";
import { tlsAttacks } from "../system-tests/fixtures/tls-attacks.ts";

// The attackers of hostile.bench.ts, in a process of their own: one attack after the other at both ports, for as long as
// it is told to, beside connections that stay open and say nothing. It yields to the services: in the world they do not
// share a processor with their attackers.

const config = z
  .object({
    mainUrl: z.string(),
    mainPath: z.string(),
    edgeAddress: z.string(),
    ca: z.string(),
    node: z.object({ certificate: z.string(), privateKey: z.string(), nodeId: z.string() }),
    idleConnections: z.int(),
  })
  .parse(JSON.parse(process.argv[2] ?? ""));

setPriority(constants.priority.PRIORITY_LOW);
const main = mainTarget(config.mainUrl, config.mainPath);
const edge = edgeTarget(config.edgeAddress, config.ca, config.node);
let isAttacking = false;
let done = 0;

process.on("message", (order) => {
  isAttacking = order === "attack";
  if (order === "count") process.send?.({ done });
});
process.once("disconnect", () => process.exit(0));

const runs = [
  ...[...http1Attacks, ...http2Attacks, ...payloadAttacks].map(
    ({ run }) =>
      () =>
        run(main),
  ),
  ...[...http2Attacks, ...payloadAttacks].map(
    ({ run }) =>
      () =>
        run(edge),
  ),
  ...tlsAttacks.map(
    ({ run }) =>
      () =>
        run(edge),
  ),
];

async function attack(): Promise<never> {
  for (;;) {
    for (const run of runs) {
      while (!isAttacking) await sleep(50);
      await run();
      done += 1;
    }
  }
}

/** A connection that has been served once and is kept, opened again when the server has closed it. */
async function keepIdle(target: Target): Promise<never> {
  for (;;) {
    while (!isAttacking) await sleep(500);
    const socket: Socket = connect(Number(new URL(config.mainUrl).port), "127.0.0.1");
    socket.on("error", () => {}).resume();
    socket.write(`GET /livez HTTP/1.1\r\nhost: ${target.name}\r\n\r\n`);
    await once(socket, "close").catch(() => {});
    await sleep(1_000);
  }
}

await Promise.all([
  attack(),
  ...Array.from({ length: config.idleConnections }, async (_, index) => {
    await sleep(index / 2); // two per millisecond
    return keepIdle(main);
  }),
]);
