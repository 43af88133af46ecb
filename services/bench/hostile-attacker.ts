import { EventEmitter, once } from "node:events";
import { connect, type Socket } from "node:net";
import { constants, setPriority } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { edgeTarget, mainTarget, type Target } from "../system-tests/fixtures/attack-target.ts";
import { http1Attacks } from "../system-tests/fixtures/http1-attacks.ts";
import { http2Attacks } from "../system-tests/fixtures/http2-attacks.ts";
import { payloadAttacks } from "../system-tests/fixtures/payload-attacks.ts";
import { tlsAttacks } from "../system-tests/fixtures/tls-attacks.ts";

// The attackers of hostile.bench.ts, in a process of their own at the lowest priority: one attack after the other at both
// ports, for as long as it is told to, beside connections that stay open and say nothing. Told to spin instead, it uses
// the share of a processor that it is given, and attacks nobody.

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

const orders = z.discriminatedUnion("do", [
  z.object({ do: z.literal("attack") }),
  z.object({ do: z.literal("spin"), share: z.number() }),
  z.object({ do: z.literal("rest") }),
]);
const SLICE_MS = 50;

setPriority(constants.priority.PRIORITY_LOW);
const main = mainTarget(config.mainUrl, config.mainPath);
const edge = edgeTarget(config.edgeAddress, config.ca, config.node);
let order: z.infer<typeof orders> = { do: "rest" };
const goes = new EventEmitter();

process.on("message", (message) => {
  if (message === "go") return void goes.emit("go");
  order = orders.parse(message);
});
process.once("disconnect", () => process.exit(0));

const runs = [
  ...[...http1Attacks, ...http2Attacks, ...payloadAttacks].map(({ name, run }) => ({
    name: `main port: ${name}`,
    run: () => run(main),
  })),
  ...[...http2Attacks, ...payloadAttacks, ...tlsAttacks].map(({ name, run }) => ({
    name: `node edge: ${name}`,
    run: () => run(edge),
  })),
];

/** Announces each attack and waits until the bench has read the meters: what they show next belongs to this attack. */
async function attack(): Promise<never> {
  for (;;) {
    for (const { name, run } of runs) {
      while (order.do !== "attack") await sleep(20);
      const go = once(goes, "go");
      process.send?.({ attack: name });
      await go;
      await run();
    }
  }
}

async function spin(): Promise<never> {
  for (;;) {
    const share = order.do === "spin" ? order.share : 0;
    const until = performance.now() + share * SLICE_MS;
    while (performance.now() < until);
    await sleep(Math.max(1, (1 - share) * SLICE_MS));
  }
}

/** A connection that has been served once and is kept, opened again when the server has closed it. */
async function keepIdle(target: Target): Promise<never> {
  for (;;) {
    while (order.do !== "attack") await sleep(500);
    const socket: Socket = connect(Number(new URL(config.mainUrl).port), "127.0.0.1");
    socket.on("error", () => {}).resume();
    socket.write(`GET /livez HTTP/1.1\r\nhost: ${target.name}\r\n\r\n`);
    await once(socket, "close").catch(() => {});
    await sleep(1_000);
  }
}

await Promise.all([
  attack(),
  spin(),
  ...Array.from({ length: config.idleConnections }, async (_, index) => {
    await sleep(index / 2); // two per millisecond
    return keepIdle(main);
  }),
]);
