import { randomUUID } from "node:crypto";
import { connectSubscriber } from "../../system-tests/fixtures/stream-replay.ts";
import type { History } from "../history.ts";
import { pause } from "./ask.ts";

/** Somebody with the read-only account who tries to write events and to tamper with the services' consumers. */
export async function runStranger(natsUrl: string, history: History, signal: AbortSignal): Promise<void> {
  const connection = await connectSubscriber(natsUrl);
  while (!signal.aborted) {
    history.strangerAttempts += 1;
    connection.publish(`decentrastore.user.registered.${randomUUID()}`, "forged");
    connection.publish(`decentrastore.chunk.stored.${"0".repeat(64)}`, "forged");
    for (const question of ["STREAM.DELETE.CHUNKS", "CONSUMER.DELETE.CHUNKS.user-quota-chunks", "STREAM.PURGE.USERS"]) {
      try {
        const reply = await connection.request(`$JS.API.${question}`, "", { timeout: 300 });
        history.strangerSuccesses.push(`${question} was answered: ${reply.string().slice(0, 200)}`);
      } catch {
        // Not answered: as it should be.
      }
    }
    await pause(2_000, signal);
  }
  await connection.close();
}
